// SPDX-License-Identifier: MIT
// without_userfaultfd PROGRAM [ARGUMENT...]: runs it where nobody may use userfaultfd, whatever
// this machine permits.
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "support/confine.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: without_userfaultfd PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  if (!uffd::test::refuse_every_way(EPERM)) {
    std::perror("without_userfaultfd: seccomp");
    return 2;
  }
  ::execv(argv[1], argv + 1);
  std::perror(argv[1]);
  return 2;
}
