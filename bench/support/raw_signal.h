/* SPDX-License-Identifier: MIT */
/* The signal handler that everybody writes by hand: what faults served in their threads are
 * measured against. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct raw_signal_options {
  int uffd;           /* negotiated with UFFD_FEATURE_SIGBUS; stays the caller's */
  uintptr_t base;     /* the registered range */
  size_t block;       /* bytes copied at once, a power of two */
  const void* source; /* one block */
};

/* Installs the process's action for SIGBUS; -1 with errno if it can't. One at a time. */
int raw_signal_start(const struct raw_signal_options* options);
/* Puts back what was there. */
void raw_signal_stop(void);

#ifdef __cplusplus
}
#endif
