/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/raw_signal.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static struct raw_signal_options served;
static struct sigaction former;

static void serve(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  const int kept = errno;
  const uintptr_t address = (uintptr_t)info->si_addr;
  const uintptr_t page = served.base + ((address - served.base) & ~(served.block - 1));
  struct uffdio_copy copy = {.dst = page, .src = (uintptr_t)served.source, .len = served.block};
  /* Somebody else was faster, or the kernel wants to be asked again: the access tells. */
  if (ioctl(served.uffd, UFFDIO_COPY, &copy) != 0 && errno != EEXIST && errno != EAGAIN) abort();
  errno = kept;
}

int raw_signal_start(const struct raw_signal_options* options) {
  served = *options;
  struct sigaction action = {.sa_sigaction = serve, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, &former);
}

void raw_signal_stop(void) { sigaction(SIGBUS, &former, NULL); }
