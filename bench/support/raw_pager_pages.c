/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/raw_pager_pages.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void fail(const char* what) {
  perror(what);
  abort();
}

static uintptr_t address_of(const struct raw_pages* pages, size_t unit) {
  return pages->options.base + unit * pages->options.unit;
}

static void protect(const struct raw_pages* pages, size_t unit, bool is_protected) {
  struct uffdio_writeprotect change = {.range = {address_of(pages, unit), pages->options.unit},
                                       .mode = is_protected ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
  if (ioctl(pages->options.uffd, UFFDIO_WRITEPROTECT, &change) != 0)
    fail("raw pager: write protection");
}

static void wake(const struct raw_pages* pages, size_t unit) {
  struct uffdio_range range = {address_of(pages, unit), pages->options.unit};
  if (ioctl(pages->options.uffd, UFFDIO_WAKE, &range) != 0) fail("raw pager: wake");
}

static void write_back(struct raw_pages* pages, size_t unit) {
  protect(pages, unit, true);
  const size_t size = pages->options.unit;
  if (pwrite(pages->options.file, (const void*)address_of(pages, unit), size,
             (off_t)(unit * size)) != (ssize_t)size)
    fail("raw pager: pwrite");
  atomic_fetch_add_explicit(&pages->writes, 1, memory_order_relaxed);
}

static void evict(struct raw_pages* pages, size_t unit) {
  if (pages->states[unit] == unit_dirty) write_back(pages, unit);
  pages->states[unit] = unit_absent;
  if (madvise((void*)address_of(pages, unit), pages->options.unit, MADV_DONTNEED) != 0)
    fail("raw pager: madvise");
}

/* Before the unit is loaded: no more is resident than the budget says. */
static void make_room(struct raw_pages* pages, size_t unit) {
  if (pages->capacity == 0) return;
  while (atomic_flag_test_and_set_explicit(&pages->busy, memory_order_acquire)) sched_yield();
  if (pages->count == pages->capacity) {
    evict(pages, pages->queue[pages->first]);
    pages->first = (pages->first + 1) % pages->capacity;
    --pages->count;
  }
  pages->queue[(pages->first + pages->count++) % pages->capacity] = (uint32_t)unit;
  atomic_flag_clear_explicit(&pages->busy, memory_order_release);
}

static void load(struct raw_pages* pages, size_t unit, bool is_write, void* buffer) {
  const struct raw_pager_options* options = &pages->options;
  make_room(pages, unit);
  if (pread(options->file, buffer, options->unit, (off_t)(unit * options->unit)) !=
      (ssize_t)options->unit)
    fail("raw pager: pread");
  atomic_fetch_add_explicit(&pages->reads, 1, memory_order_relaxed);
  const bool opens = is_write && options->opens_writes;
  pages->states[unit] = opens ? unit_dirty : unit_clean;
  struct uffdio_copy copy = {.dst = address_of(pages, unit),
                             .src = (uintptr_t)buffer,
                             .len = options->unit,
                             .mode = options->writable && !opens ? UFFDIO_COPY_MODE_WP : 0};
  if (ioctl(options->uffd, UFFDIO_COPY, &copy) == 0) return;
  if (errno != EEXIST) fail("raw pager: copy");
  wake(pages, unit);
}

void raw_pages_serve(struct raw_pages* pages, uintptr_t address, bool is_write, void* buffer) {
  const size_t unit = (address - pages->options.base) / pages->options.unit;
  atomic_fetch_add_explicit(&pages->faults, 1, memory_order_relaxed);
  if (pages->states[unit] == unit_absent) {
    load(pages, unit, is_write, buffer);
  } else if (is_write && pages->options.writable) {
    pages->states[unit] = unit_dirty;
    protect(pages, unit, false);
  } else {
    wake(pages, unit);
  }
}

int raw_pages_create(struct raw_pages* pages, const struct raw_pager_options* options) {
  const size_t units = options->size / options->unit;
  pages->options = *options;
  pages->states = calloc(units, sizeof *pages->states);
  pages->capacity = options->budget / options->unit;
  pages->queue = calloc(pages->capacity + 1, sizeof *pages->queue);
  atomic_flag_clear(&pages->busy);
  if (pages->states && pages->queue) return 0;
  raw_pages_destroy(pages);
  errno = ENOMEM;
  return -1;
}

void raw_pages_destroy(struct raw_pages* pages) {
  const size_t units = pages->options.size / pages->options.unit;
  for (size_t unit = 0; pages->states && pages->options.writable && unit < units; ++unit)
    if (pages->states[unit] == unit_dirty) write_back(pages, unit);
  free((void*)(uintptr_t)pages->states);
  free(pages->queue);
}
