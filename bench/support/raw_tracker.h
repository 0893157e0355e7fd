/* SPDX-License-Identifier: MIT */
/* Which pages were written, as everybody asks by hand: what write_tracker is measured against. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Finds the written pages by PAGEMAP_SCAN and protects them again; how many, or -1 with errno.
 * `pagemap` is /proc/self/pagemap, the range is registered with UFFD_FEATURE_WP_ASYNC. */
long raw_tracker_collect(int pagemap, uintptr_t begin, size_t size);

/* The same by SIGSEGV and mprotect(2), with room for `most` pages. One at a time: it takes the
 * process's action for SIGSEGV. -1 with errno. */
int segv_tracker_start(uintptr_t begin, size_t size, size_t most);
long segv_tracker_collect(void);
void segv_tracker_stop(void);

#ifdef __cplusplus
}
#endif
