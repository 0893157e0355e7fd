/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/segv_pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum unit_state { unit_absent, unit_loading, unit_clean, unit_dirty };

struct segv_pager {
  struct segv_pager_options options;
  int pages;   /* the memory file */
  char* view;  /* what is touched */
  char* alias; /* the same pages, always accessible */
  _Atomic unsigned char* states;
  uint32_t* queue; /* of resident units, the oldest first */
  size_t capacity, first, count;
  _Atomic uint64_t faults, reads, writes;
  struct sigaction former;
};

static struct segv_pager* serving;

static void fail(const char* what) {
  perror(what);
  abort();
}

static void protect(struct segv_pager* pager, size_t unit, int protection) {
  if (mprotect(pager->view + unit * segv_unit, segv_unit, protection) != 0)
    fail("segv pager: mprotect");
}

static void write_back(struct segv_pager* pager, size_t unit) {
  const size_t at = unit * segv_unit;
  if (pwrite(pager->options.file, pager->alias + at, segv_unit, (off_t)at) != segv_unit)
    fail("segv pager: pwrite");
  atomic_fetch_add_explicit(&pager->writes, 1, memory_order_relaxed);
}

static void evict(struct segv_pager* pager, size_t unit) {
  protect(pager, unit, PROT_NONE);
  if (pager->states[unit] == unit_dirty) write_back(pager, unit);
  pager->states[unit] = unit_absent;
  if (fallocate(pager->pages, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(unit * segv_unit),
                segv_unit) != 0)
    fail("segv pager: fallocate");
}

static void make_room(struct segv_pager* pager, size_t unit) {
  if (pager->capacity == 0) return;
  if (pager->count == pager->capacity) {
    evict(pager, pager->queue[pager->first]);
    pager->first = (pager->first + 1) % pager->capacity;
    --pager->count;
  }
  pager->queue[(pager->first + pager->count++) % pager->capacity] = (uint32_t)unit;
}

static void load(struct segv_pager* pager, size_t unit) {
  const size_t at = unit * segv_unit;
  make_room(pager, unit);
  if (pread(pager->options.file, pager->alias + at, segv_unit, (off_t)at) != segv_unit)
    fail("segv pager: pread");
  atomic_fetch_add_explicit(&pager->reads, 1, memory_order_relaxed);
  protect(pager, unit, PROT_READ);
  pager->states[unit] = unit_clean;
}

/* Whose unit is loaded by another thread faults until it is there. What is there and faults is
 * written. */
static void serve(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  const int kept = errno;
  struct segv_pager* pager = serving;
  const uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)pager->view;
  if (offset >= pager->options.size) abort();
  const size_t unit = offset / segv_unit;
  unsigned char seen = unit_absent;
  if (atomic_compare_exchange_strong(&pager->states[unit], &seen, unit_loading)) {
    atomic_fetch_add_explicit(&pager->faults, 1, memory_order_relaxed);
    load(pager, unit);
  } else if (seen == unit_clean && pager->options.writable) {
    atomic_fetch_add_explicit(&pager->faults, 1, memory_order_relaxed);
    pager->states[unit] = unit_dirty;
    protect(pager, unit, PROT_READ | PROT_WRITE);
  }
  errno = kept;
}

static void release(struct segv_pager* pager) {
  const size_t size = pager->options.size;
  if (pager->view != MAP_FAILED) munmap(pager->view, size);
  if (pager->alias != MAP_FAILED) munmap(pager->alias, size);
  if (pager->pages >= 0) close(pager->pages);
  free((void*)(uintptr_t)pager->states);
  free(pager->queue);
  free(pager);
}

static bool map(struct segv_pager* pager) {
  const size_t size = pager->options.size;
  pager->view = pager->alias = MAP_FAILED;
  pager->states = calloc(size / segv_unit, sizeof *pager->states);
  pager->capacity = pager->options.budget / segv_unit;
  pager->queue = calloc(pager->capacity + 1, sizeof *pager->queue);
  pager->pages = memfd_create("segv pager", MFD_CLOEXEC);
  if (!pager->states || !pager->queue || pager->pages < 0) return false;
  if (ftruncate(pager->pages, (off_t)size) != 0) return false;
  pager->view = mmap(NULL, size, PROT_NONE, MAP_SHARED, pager->pages, 0);
  pager->alias = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, pager->pages, 0);
  return pager->view != MAP_FAILED && pager->alias != MAP_FAILED;
}

struct segv_pager* segv_pager_start(const struct segv_pager_options* options) {
  struct segv_pager* pager = calloc(1, sizeof *pager);
  if (!pager) return NULL;
  pager->options = *options;
  serving = pager;
  struct sigaction action = {.sa_sigaction = serve, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  if (map(pager) && sigaction(SIGSEGV, &action, &pager->former) == 0) return pager;
  const int error = errno;
  release(pager);
  errno = error;
  return NULL;
}

void* segv_pager_memory(const struct segv_pager* pager) { return pager->view; }

struct segv_pager_counters segv_pager_count(const struct segv_pager* pager) {
  return (struct segv_pager_counters){
      .faults = pager->faults, .reads = pager->reads, .writes = pager->writes};
}

void segv_pager_stop(struct segv_pager* pager) {
  sigaction(SIGSEGV, &pager->former, NULL);
  for (size_t unit = 0; unit < pager->options.size / segv_unit; ++unit)
    if (pager->states[unit] == unit_dirty) write_back(pager, unit);
  release(pager);
}
