// SPDX-License-Identifier: MIT
// The pager: a program that serves another one's memory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace external_pager {

struct service {
  std::uint64_t pages;
  pid_t client;
};

// Serves the memory of whoever listens on the socket, from a file, until that program closes the
// connection. Throws what goes wrong.
service serve(const std::string& socket, const std::string& file);

}  // namespace external_pager
