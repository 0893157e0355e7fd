/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/raw_tracker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Older headers have none of these. */
struct scanned_run {
  uint64_t start, end, categories;
};
struct scan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
      category_mask, category_anyof_mask, return_mask;
};
enum { written = 2, protect_and_check = 1 | 2, most_runs = 256 };
#define SCAN_PAGEMAP _IOWR('f', 16, struct scan)

long raw_tracker_collect(int pagemap, uintptr_t begin, size_t size) {
  static struct scanned_run runs[most_runs];
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  struct scan what = {.size = sizeof what,
                      .flags = protect_and_check,
                      .start = begin,
                      .end = begin + size,
                      .vec = (uintptr_t)runs,
                      .vec_len = most_runs,
                      .category_mask = written,
                      .return_mask = written};
  long pages = 0;
  while (what.start < what.end) {
    const int count = ioctl(pagemap, SCAN_PAGEMAP, &what);
    if (count < 0) return -1;
    for (int i = 0; i < count; ++i) pages += (long)((runs[i].end - runs[i].start) / page);
    what.start = what.walk_end;
  }
  return pages;
}

static struct {
  uintptr_t begin;
  size_t size, page, most, count;
  uintptr_t* pages;
  struct sigaction former;
} segv;

static void note(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  const int kept = errno;
  const uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(segv.page - 1);
  if (page - segv.begin >= segv.size || segv.count == segv.most ||
      mprotect((void*)page, segv.page, PROT_READ | PROT_WRITE) != 0)
    abort();
  segv.pages[segv.count++] = page;
  errno = kept;
}

int segv_tracker_start(uintptr_t begin, size_t size, size_t most) {
  segv.begin = begin;
  segv.size = size;
  segv.page = (size_t)sysconf(_SC_PAGESIZE);
  segv.most = most;
  segv.count = 0;
  segv.pages = malloc(most * sizeof *segv.pages);
  if (segv.pages == NULL) return -1;
  struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_NODEFER};
  if (sigaction(SIGSEGV, &action, &segv.former) != 0) return -1;
  return mprotect((void*)begin, size, PROT_READ);
}

long segv_tracker_collect(void) {
  const size_t count = segv.count;
  if (mprotect((void*)segv.begin, segv.size, PROT_READ) != 0) return -1;
  segv.count = 0;
  return (long)count;
}

void segv_tracker_stop(void) {
  mprotect((void*)segv.begin, segv.size, PROT_READ | PROT_WRITE);
  sigaction(SIGSEGV, &segv.former, NULL);
  free(segv.pages);
}
