/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/raw_handler.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Linux 6.8; the installed header may be older than the kernel. */
struct move_argument {
  uint64_t dst, src, len, mode;
  int64_t move;
};
static const unsigned long move_request = _IOWR(UFFDIO, 0x05, struct move_argument);

enum { most_handlers = 64, most_messages = 16 };

struct raw_handler {
  struct raw_handler_options options;
  int stop_event;
  atomic_bool stopping;
  unsigned running;
  pthread_t threads[most_handlers];
};

static int ask(const struct raw_handler_options* options, uintptr_t page) {
  switch (options->technique) {
    case raw_copy: {
      struct uffdio_copy copy = {
          .dst = page, .src = (uintptr_t)options->source, .len = options->block};
      return ioctl(options->uffd, UFFDIO_COPY, &copy);
    }
    case raw_zeropage: {
      struct uffdio_zeropage zeropage = {.range = {page, options->block}};
      return ioctl(options->uffd, UFFDIO_ZEROPAGE, &zeropage);
    }
    case raw_move: {
      struct move_argument move = {.dst = page,
                                   .src = (uintptr_t)options->source + (page - options->base),
                                   .len = options->block};
      return ioctl(options->uffd, move_request, &move);
    }
    case raw_continue: {
      struct uffdio_continue map = {.range = {page, options->block}};
      return ioctl(options->uffd, UFFDIO_CONTINUE, &map);
    }
    case raw_write_unprotect: {
      struct uffdio_writeprotect unprotect = {.range = {page, options->block}};
      return ioctl(options->uffd, UFFDIO_WRITEPROTECT, &unprotect);
    }
  }
  errno = EINVAL;
  return -1;
}

static void resolve(const struct raw_handler_options* options, uintptr_t address) {
  const uintptr_t page = options->base + ((address - options->base) & ~(options->block - 1));
  if (ask(options, page) == 0) return;
  /* Somebody else was faster, or the kernel wants to be asked again: neither wakes the waiter. */
  if (errno == EEXIST || errno == EAGAIN) {
    struct uffdio_range range = {page, options->block};
    if (ioctl(options->uffd, UFFDIO_WAKE, &range) == 0) return;
  }
  perror("raw handler");
  abort();
}

static void serve_batch(const struct raw_handler_options* options) {
  struct uffd_msg messages[most_messages];
  const ssize_t bytes =
      read(options->uffd, messages, options->messages_per_read * sizeof messages[0]);
  if (bytes < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    perror("raw handler: read");
    abort();
  }
  const size_t count = (size_t)bytes / sizeof messages[0];
  for (size_t i = 0; i < count; ++i)
    if (messages[i].event == UFFD_EVENT_PAGEFAULT)
      resolve(options, (uintptr_t)messages[i].arg.pagefault.address);
}

static void* serve(void* argument) {
  struct raw_handler* handler = argument;
  if (handler->options.busy_polling) {
    while (!atomic_load_explicit(&handler->stopping, memory_order_relaxed))
      serve_batch(&handler->options);
    return NULL;
  }
  struct pollfd descriptors[2] = {{.fd = handler->options.uffd, .events = POLLIN},
                                  {.fd = handler->stop_event, .events = POLLIN}};
  for (;;) {
    if (poll(descriptors, 2, -1) < 0) {
      if (errno == EINTR) continue;
      perror("raw handler: poll");
      abort();
    }
    if (descriptors[1].revents) return NULL;
    if (descriptors[0].revents) serve_batch(&handler->options);
  }
}

static int start_thread(struct raw_handler* handler, int cpu) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
  }
  const int error =
      pthread_create(&handler->threads[handler->running], &attributes, serve, handler);
  pthread_attr_destroy(&attributes);
  if (error == 0) ++handler->running;
  return error;
}

struct raw_handler* raw_handler_start(const struct raw_handler_options* options) {
  struct raw_handler* handler = calloc(1, sizeof *handler);
  if (!handler) return NULL;
  handler->options = *options;
  handler->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int error = handler->stop_event < 0 ? errno : 0;
  if (options->handlers == 0 || options->handlers > most_handlers ||
      options->messages_per_read == 0 || options->messages_per_read > most_messages)
    error = EINVAL;
  for (unsigned i = 0; error == 0 && i < options->handlers; ++i)
    error = start_thread(handler, options->cpus[i]);
  if (error == 0) return handler;
  raw_handler_stop(handler);
  errno = error;
  return NULL;
}

void raw_handler_stop(struct raw_handler* handler) {
  atomic_store_explicit(&handler->stopping, true, memory_order_relaxed);
  const uint64_t one = 1;
  if (handler->stop_event >= 0 && write(handler->stop_event, &one, sizeof one) < 0)
    perror("raw handler: stop");
  for (unsigned i = 0; i < handler->running; ++i) pthread_join(handler->threads[i], NULL);
  if (handler->stop_event >= 0) close(handler->stop_event);
  free(handler);
}
