// SPDX-License-Identifier: MIT
// What this kernel and this process may do with userfaultfd, as a table that a bug report can
// carry.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/support.hpp>

#include <exception>
#include <string_view>

namespace {

std::string_view verdict(const uffd::support& found) {
  if (!found.permitted()) return "not permitted";
  if (found.kernel_faults()) return "permitted, with faults from system calls";
  return "permitted, but for faults from system calls";
}

int run() {
  const auto found = uffd::support::query();
  fmt::print("{}", found.table());
  if (const auto advice = found.advice(); !advice.empty()) fmt::print("\n{}\n\n", advice);
  fmt::print("userfaultfd: {}\n", verdict(found));
  return found.permitted() ? 0 : 77;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App arguments(
      "Tells what this kernel and this process may do with userfaultfd, and what to change if that "
      "is too little. Exit code 77: nothing is permitted.");
  CLI11_PARSE(arguments, argc, argv);
  try {
    return run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "kernel_support: {}\n", error.what());
    return 1;
  }
}
