/* SPDX-License-Identifier: MIT */
/* The pager of those who have no userfaultfd: memory that can't be accessed, a handler of SIGSEGV
 * that fills it by another mapping of the same pages, and mprotect. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes loaded and dropped at once: single pages soon meet vm.max_map_count. */
enum { segv_unit = 65536 };

struct segv_pager_options {
  int file;      /* stays the caller's */
  size_t size;   /* bytes of the file, a multiple of segv_unit */
  size_t budget; /* bytes that may be resident; 0: no limit. Then one thread may fault at a time */
  bool writable;
};

struct segv_pager_counters {
  uint64_t faults, reads, writes;
};

struct segv_pager;

/* Null with errno. One at a time: it takes the process's action for SIGSEGV. */
struct segv_pager* segv_pager_start(const struct segv_pager_options* options);
void* segv_pager_memory(const struct segv_pager* pager);
struct segv_pager_counters segv_pager_count(const struct segv_pager* pager);
/* Writes back what was written, unmaps, and frees. Nobody may touch the memory any more. */
void segv_pager_stop(struct segv_pager* pager);

#ifdef __cplusplus
}
#endif
