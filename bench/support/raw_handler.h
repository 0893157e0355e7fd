/* SPDX-License-Identifier: MIT */
/* The loop that everybody writes by hand: what the library is measured against. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum raw_technique { raw_copy, raw_zeropage, raw_move, raw_continue, raw_write_unprotect };

struct raw_handler_options {
  int uffd;           /* negotiated, O_NONBLOCK, no events; stays the caller's */
  uintptr_t base;     /* the registered range */
  size_t block;       /* bytes resolved at once, a power of two */
  const void* source; /* copy: one block; move: as large as the range */
  enum raw_technique technique;
  const int* cpus;          /* one handler for each; -1 leaves it to the scheduler */
  unsigned handlers;        /* 1 to 64 */
  size_t messages_per_read; /* 1 to 16 */
  bool busy_polling;
};

struct raw_handler;

/* Null with errno if threads or descriptors can't be had. */
struct raw_handler* raw_handler_start(const struct raw_handler_options* options);
/* Stops, joins and frees. Nobody may wait for a page any more. */
void raw_handler_stop(struct raw_handler* handler);

#ifdef __cplusplus
}
#endif
