// SPDX-License-Identifier: MIT
// A page removed while its fault is being served: whoever reads it after madvise() returned must
// see what was current then, never what a callback had decided to install before.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "support/patience.hpp"
#include "support/requires.hpp"
#include "uffd/uffd.hpp"

namespace {

using namespace std::chrono_literals;
namespace test = uffd::test;

constexpr int most_rounds = 10'000;

// Fills each page with the version that is current when the callback begins, and installs it only
// after a removal was heard meanwhile (or none came for a while), a little later each time: that is
// when an install without guard lands behind the madvise() that dropped the page.
class dawdling_source {
 public:
  uffd::resolution on_page_fault(uffd::fault& fault) {
    const auto version = version_.load();
    const auto page = fault.buffer();
    std::memcpy(page.data(), &version, sizeof version);
    const auto now = [] { return std::chrono::steady_clock::now(); };
    const auto removals = removals_.load();
    const auto limit = now() + 60us;
    while (removals_.load() == removals && now() < limit) std::this_thread::yield();
    const auto later = now() + std::chrono::microseconds(version % 16);
    while (now() < later) std::this_thread::yield();
    return fault.copy(page);
  }
  void on_remove(const uffd::remove_event&) { ++removals_; }

  void set(int version) { version_.store(version); }
  int removals() const { return removals_.load(); }

 private:
  std::atomic<int> version_{0};
  std::atomic<int> removals_{0};
};

int read_version(std::span<std::byte> page) {
  return *reinterpret_cast<const volatile int*>(page.data());
}

class remove_race : public testing::TestWithParam<unsigned> {};

TEST_P(remove_race, never_shows_old_bytes_after_madvise) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::event_remove));
  dawdling_source source;
  uffd::fault_handler handler(std::ref(source), {.threads = GetParam()});
  const auto memory = handler.serve(uffd::mapping::anonymous(uffd::page_size()));
  const auto page = memory.bytes();

  std::atomic<bool> over{false};
  std::thread toucher([&] {
    while (!over.load()) {
      read_version(page);
      std::this_thread::yield();
    }
  });
  int old = 0;
  int rounds = 0;
  // An emulated processor does not come to so many.
  const auto deadline = std::chrono::steady_clock::now() + test::patience;
  while (rounds < most_rounds && std::chrono::steady_clock::now() < deadline) {
    const int version = ++rounds;
    source.set(version);
    ASSERT_EQ(::madvise(page.data(), page.size(), MADV_DONTNEED), 0);
    if (read_version(page) < version) ++old;
  }
  over = true;
  toucher.join();
  EXPECT_EQ(old, 0) << "of " << rounds << " removals";
  EXPECT_GE(source.removals(), rounds);
}

INSTANTIATE_TEST_SUITE_P(threads, remove_race, testing::Values(1U, 2U, 4U));

}  // namespace
