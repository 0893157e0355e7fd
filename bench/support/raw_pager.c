/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/raw_pager.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <ucontext.h>
#include <unistd.h>

#include "support/raw_pager_pages.h"

enum { most_messages = 16, page_alignment = 65536 };

struct raw_pager {
  struct raw_pages pages;
  void* buffer; /* of the handler thread */
  int stop_event;
  pthread_t thread;
  bool is_signal;
  struct sigaction former;
};

static void serve_batch(struct raw_pager* pager) {
  struct uffd_msg messages[most_messages];
  const ssize_t bytes = read(pager->pages.options.uffd, messages, sizeof messages);
  if (bytes < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    perror("raw pager: read");
    abort();
  }
  const size_t count = (size_t)bytes / sizeof messages[0];
  for (size_t i = 0; i < count; ++i) {
    if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
    const uint64_t flags = messages[i].arg.pagefault.flags;
    raw_pages_serve(&pager->pages, (uintptr_t)messages[i].arg.pagefault.address,
                    (flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP)) != 0,
                    pager->buffer);
  }
}

static void* serve(void* argument) {
  struct raw_pager* pager = argument;
  struct pollfd descriptors[2] = {{.fd = pager->pages.options.uffd, .events = POLLIN},
                                  {.fd = pager->stop_event, .events = POLLIN}};
  for (;;) {
    if (poll(descriptors, 2, -1) < 0) {
      if (errno == EINTR) continue;
      perror("raw pager: poll");
      abort();
    }
    if (descriptors[1].revents) return NULL;
    if (descriptors[0].revents) serve_batch(pager);
  }
}

static struct raw_pager* create(const struct raw_pager_options* options) {
  struct raw_pager* pager = calloc(1, sizeof *pager);
  if (!pager) return NULL;
  pager->stop_event = -1;
  if (raw_pages_create(&pager->pages, options) == 0) return pager;
  free(pager);
  return NULL;
}

static struct raw_pager* give_up(struct raw_pager* pager, int error) {
  if (pager->stop_event >= 0) close(pager->stop_event);
  raw_pages_destroy(&pager->pages);
  free(pager->buffer);
  free(pager);
  errno = error;
  return NULL;
}

struct raw_pager* raw_pager_start_thread(const struct raw_pager_options* options) {
  struct raw_pager* pager = create(options);
  if (!pager) return NULL;
  pager->buffer = aligned_alloc(
      page_alignment, (options->unit + page_alignment - 1) / page_alignment * page_alignment);
  if (!pager->buffer) return give_up(pager, ENOMEM);
  pager->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (pager->stop_event < 0) return give_up(pager, errno);
  const int error = pthread_create(&pager->thread, NULL, serve, pager);
  return error == 0 ? pager : give_up(pager, error);
}

static struct raw_pager* in_signal;

/* Whether the access that faulted was a write. Where the processor's error code isn't known: a page
 * that is there faults only when it is written. */
static bool was_write(const struct raw_pages* pages, uintptr_t address, const void* context) {
#if defined(__x86_64__)
  (void)pages, (void)address;
  return (((const ucontext_t*)context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
  (void)context;
  return pages->states[(address - pages->options.base) / pages->options.unit] != unit_absent;
#endif
}

enum { largest_page = 65536 };

static void serve_signal(int number, siginfo_t* info, void* context) {
  (void)number;
  const int kept = errno;
  _Alignas(4096) char buffer[largest_page];
  struct raw_pages* pages = &in_signal->pages;
  const uintptr_t address = (uintptr_t)info->si_addr;
  if (address - pages->options.base >= pages->options.size) abort();
  raw_pages_serve(pages, address, was_write(pages, address, context), buffer);
  errno = kept;
}

struct raw_pager* raw_pager_start_signal(const struct raw_pager_options* options) {
  if (options->unit > largest_page) {
    errno = EINVAL;
    return NULL;
  }
  struct raw_pager* pager = create(options);
  if (!pager) return NULL;
  pager->is_signal = true;
  in_signal = pager;
  struct sigaction action = {.sa_sigaction = serve_signal, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &pager->former) != 0) return give_up(pager, errno);
  return pager;
}

struct raw_pager_counters raw_pager_count(const struct raw_pager* pager) {
  const struct raw_pages* pages = &pager->pages;
  return (struct raw_pager_counters){
      .faults = pages->faults, .reads = pages->reads, .writes = pages->writes};
}

void raw_pager_stop(struct raw_pager* pager) {
  if (pager->is_signal) {
    sigaction(SIGBUS, &pager->former, NULL);
  } else {
    const uint64_t one = 1;
    if (write(pager->stop_event, &one, sizeof one) < 0) perror("raw pager: stop");
    pthread_join(pager->thread, NULL);
  }
  give_up(pager, 0);
}
