/* SPDX-License-Identifier: MIT */
/* The pager that everybody writes by hand: what the library's is measured against. A file is read
 * by pread and installed by UFFDIO_COPY; under a budget what was loaded first is dropped first, by
 * MADV_DONTNEED; what was written is protected and written back page by page before. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct raw_pager_options {
  int uffd;          /* negotiated, O_NONBLOCK, no events; stays the caller's */
  int file;          /* stays the caller's */
  uintptr_t base;    /* the registered range, as large as the file */
  size_t size;       /* bytes, a multiple of unit */
  size_t unit;       /* bytes loaded and dropped at once, a power of two */
  size_t budget;     /* bytes that may be resident; 0: no limit */
  bool writable;     /* a unit is a page then, registered for write protection too */
  bool opens_writes; /* a page that is missed by a write needs no second fault to be written */
};

struct raw_pager_counters {
  uint64_t faults, reads, writes;
};

struct raw_pager;

/* One handler thread, left to the scheduler. Null with errno if it can't be had. */
struct raw_pager* raw_pager_start_thread(const struct raw_pager_options* options);
/* In the threads that fault, by the process's action for SIGBUS: one such pager at a time, on an
 * uffd with UFFD_FEATURE_SIGBUS. */
struct raw_pager* raw_pager_start_signal(const struct raw_pager_options* options);
struct raw_pager_counters raw_pager_count(const struct raw_pager* pager);
/* Stops, writes back what was written, and frees. Nobody may touch the memory any more. */
void raw_pager_stop(struct raw_pager* pager);

#ifdef __cplusplus
}
#endif
