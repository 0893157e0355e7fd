/* SPDX-License-Identifier: MIT */
/* What the hand-written pagers share: which units are there, and how they come and go. */
#pragma once

#include <stdatomic.h>

#include "support/raw_pager.h"

enum unit_state { unit_absent, unit_clean, unit_dirty };

struct raw_pages {
  struct raw_pager_options options;
  _Atomic unsigned char* states;
  uint32_t* queue; /* of resident units, the oldest first */
  size_t capacity, first, count;
  atomic_flag busy; /* the queue, where several threads fault */
  _Atomic uint64_t faults, reads, writes;
};

/* -1 with errno. */
int raw_pages_create(struct raw_pages* pages, const struct raw_pager_options* options);
/* Makes the page present that was touched, or writable if it was there: ends with a wake. The
 * buffer has a unit. Ends the process where that fails. */
void raw_pages_serve(struct raw_pages* pages, uintptr_t address, bool is_write, void* buffer);
/* Writes back what was written, and frees. */
void raw_pages_destroy(struct raw_pages* pages);
