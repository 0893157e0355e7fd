// SPDX-License-Identifier: MIT
// Memory whose pages are computed on first touch by the very thread that touches them.
#include <uffd/uffd.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>

namespace {

constexpr std::size_t pages = 4096;
constexpr std::size_t threads = 4;

std::uint64_t cube(std::uint64_t number) { return number * number * number; }

}  // namespace

int main() {
  if (const auto support = uffd::support::query(); !support.permitted()) {
    std::puts(support.advice().c_str());
    return 77;
  }

  // Runs inside a signal handler: computing, copying and counting are allowed there.
  std::atomic<std::size_t> faults{0};
  uffd::sigbus_handler handler(uffd::async_signal_safe, [&](uffd::fault& fault) noexcept {
    const auto page = fault.buffer();
    auto* const cubes = reinterpret_cast<std::uint64_t*>(page.data());
    const std::uint64_t first = fault.offset() / sizeof *cubes;
    for (std::size_t i = 0; i < page.size() / sizeof *cubes; ++i) cubes[i] = cube(first + i);
    faults.fetch_add(1);
    return fault.copy(page);
  });
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
  const auto* const cubes = reinterpret_cast<const std::uint64_t*>(memory.bytes().data());
  const std::size_t count = memory.bytes().size() / sizeof *cubes;

  std::array<std::size_t, threads> right{};
  {
    std::array<std::jthread, threads> readers;
    for (std::size_t reader = 0; reader < threads; ++reader)
      readers[reader] = std::jthread([&, reader] {
        for (std::size_t i = reader; i < count; i += threads)
          if (cubes[i] == cube(i)) ++right[reader];
      });
  }
  const auto all_right = std::accumulate(right.begin(), right.end(), std::size_t{0});
  std::printf(
      "in_thread: %zu faults or more served by the %zu threads that raised them, "
      "%zu of %zu cubes right\n",
      pages, threads, all_right, count);
  return all_right == count && faults >= pages ? EXIT_SUCCESS : EXIT_FAILURE;
}
