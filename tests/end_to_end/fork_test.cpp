// SPDX-License-Identifier: MIT
// Forks of a process whose callbacks allocate. glibc's fork() holds the allocator's locks until the
// FORK event is read, so that every callback in malloc waits for a reader that is not in one.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/patience.hpp"
#include "support/requires.hpp"
#include "uffd/uffd.hpp"

namespace {

using namespace std::chrono_literals;
namespace test = uffd::test;

constexpr std::size_t pages = 64;
constexpr int forks = 300;

// The first byte of the page at `offset`.
int content(std::size_t offset) { return static_cast<int>(1 + offset / uffd::page_size() % 251); }

uffd::resolution allocate_and_copy(uffd::fault& fault) {
  std::vector<std::string> garbage;
  for (std::size_t i = 0; i < 20; ++i) garbage.emplace_back(200 + 300 * i, 'x');
  std::memset(fault.buffer().data(), content(fault.offset()), fault.buffer().size());
  return fault.copy(fault.buffer());
}

bool page_is_right(std::span<std::byte> memory, std::size_t index) {
  const auto offset = index * uffd::page_size();
  return *reinterpret_cast<const volatile unsigned char*>(&memory[offset]) == content(offset);
}

// Touches pages and drops them again, until it is over.
class faulting_thread {
 public:
  explicit faulting_thread(std::span<std::byte> memory)
      : memory_(memory), thread_([this] { run(); }) {}
  ~faulting_thread() {
    over_ = true;
    thread_.join();
  }
  bool saw_wrong_bytes() const { return wrong_.load(); }

 private:
  void run() {
    while (!over_.load()) {
      for (std::size_t i = 0; i < pages; ++i)
        if (!page_is_right(memory_, i)) wrong_ = true;
      ::madvise(memory_.data(), memory_.size(), MADV_DONTNEED);
    }
  }

  std::span<std::byte> memory_;
  std::atomic<bool> over_{false};
  std::atomic<bool> wrong_{false};
  std::thread thread_;
};

class fork_following : public testing::TestWithParam<unsigned> {};

TEST_P(fork_following, serves_every_child_and_forgets_it_while_callbacks_allocate) {
  UFFDPP_REQUIRE(test::followed_forks());
  const auto before = test::open_descriptors();
  {
    uffd::fault_handler handler(allocate_and_copy, {.threads = GetParam()});
    const auto shared = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
    const auto own = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
    const auto descriptors = test::open_descriptors();
    faulting_thread faulting(own.bytes());
    for (int i = 0; i < forks; ++i) {
      const auto first = static_cast<std::size_t>(i) % pages;
      const auto ending = test::in_child([&] {
        for (std::size_t j = 0; j < 8; ++j)
          if (!page_is_right(shared.bytes(), (first + j) % pages)) return 1;
        return 0;
      });
      ASSERT_EQ(ending, test::exits_with(0)) << "fork " << i;
    }
    EXPECT_FALSE(faulting.saw_wrong_bytes());
    const auto deadline = std::chrono::steady_clock::now() + test::patience;
    while (handler.statistics().children != 0 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(10ms);
    EXPECT_EQ(handler.statistics().children, 0U);
    while (test::open_descriptors() != descriptors && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(10ms);
    EXPECT_EQ(test::open_descriptors(), descriptors);
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(threads, fork_following, testing::Values(1U, 4U));

}  // namespace
