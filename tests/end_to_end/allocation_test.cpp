// SPDX-License-Identifier: MIT
// The way from a message to its answer allocates nothing once the handler runs.
#include "support/allocations.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <semaphore>
#include <span>

#include "support/asleep.hpp"
#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/uffd.hpp"

namespace uffd {
namespace {

constexpr std::size_t pages = 256;
constexpr int rounds = 20;

class allocation : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::counted_allocations()); }
};

using allocation_count = allocation;

// A thread's begin allocates under AddressSanitizer: not before all have begun.
template <class Body>
long allocations_in(Body&& body) {
  EXPECT_TRUE(test::eventually(test::others_sleep));
  const long before = test::allocations();
  body();
  return test::allocations() - before;
}

void drop(std::span<std::byte> memory) {
  ASSERT_EQ(::madvise(memory.data(), memory.size(), MADV_DONTNEED), 0);
}

void fault_all_again(std::span<std::byte> memory) {
  drop(memory);
  touch(memory);
}

// Once the first faults had all that is made but once.
long allocations_of(std::span<std::byte> memory) {
  fault_all_again(memory);
  return allocations_in([&] {
    for (int i = 0; i < rounds; ++i) fault_all_again(memory);
  });
}

TEST_F(allocation_count, sees_every_way_to_allocate) {
  const auto counts = [](auto allocate) {
    return allocations_in([&] {
      void* volatile memory = allocate();  // volatile: what isn't used isn't allocated
      std::free(memory);
    });
  };
  EXPECT_EQ(counts([] { return std::malloc(64); }), 1);
  EXPECT_EQ(counts([] { return std::calloc(8, 8); }), 1);
  EXPECT_EQ(counts([] { return std::realloc(nullptr, 64); }), 1);
  EXPECT_EQ(allocations_in([] { ::operator delete(::operator new(64)); }), 1);
  constexpr std::align_val_t wide{128};
  EXPECT_EQ(allocations_in([] { ::operator delete(::operator new(64, wide), wide); }), 1);
  if (!test::aligned_allocations_are_counted) return;
  EXPECT_EQ(counts([] { return std::aligned_alloc(64, 64); }), 1);
  EXPECT_EQ(counts([] {
              void* memory = nullptr;
              return ::posix_memalign(&memory, 64, 64) == 0 ? memory : nullptr;
            }),
            1);
}

TEST_F(allocation_count, sees_those_of_a_callback) {
  fault_handler handler([](fault& fault) {
    ::operator delete(::operator new(64));
    return fault.zeropage();
  });
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_GE(allocations_of(memory.bytes()), static_cast<long>(rounds * pages));
}

TEST_F(allocation, is_not_needed_to_serve_faults) {
  fault_handler handler([](fault& fault) { return fault.copy_buffer(fault.buffer().size()); },
                        {.threads = 2, .statistics = true});
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
  EXPECT_GE(handler.statistics().resolved, rounds * pages);
}

TEST_F(allocation, is_not_needed_to_defer_and_to_answer_in_the_callback) {
  fault_handler handler([](fault& fault) {
    auto later = fault.defer();
    static_cast<void>(later.zeropage());
    return resolution::deferred();
  });
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
}

TEST_F(allocation, is_not_needed_to_answer_later_on_another_thread) {
  std::optional<deferred_fault> kept;
  std::binary_semaphore is_kept{0};
  std::binary_semaphore is_free{1};
  std::atomic<bool> over{false};
  test::background answering([&] {
    for (is_kept.acquire(); !over; is_kept.acquire()) {
      EXPECT_TRUE(kept->zeropage().is_resolved());
      kept.reset();
      is_free.release();
    }
  });
  fault_handler handler([&](fault& fault) {
    is_free.acquire();
    kept.emplace(fault.defer());
    is_kept.release();
    return resolution::deferred();
  });
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
  over = true;
  is_kept.release();
}

// Each fault waits twice in the queue of those to be tried again.
TEST_F(allocation, is_not_needed_to_try_again) {
  std::atomic<int> calls{0};
  fault_handler handler(
      [&](fault& fault) { return ++calls % 3 != 0 ? resolution::retry() : fault.zeropage(); },
      {.threads = 2, .statistics = true});
  const auto memory = handler.serve(mapping::anonymous(16 * page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
  EXPECT_GE(handler.statistics().retried, 2U * rounds * 16U);
}

TEST_F(allocation, is_not_needed_to_serve_faults_in_their_threads) {
  sigbus_handler handler(async_signal_safe, [](fault& fault) noexcept {
    return fault.copy_buffer(fault.buffer().size());
  });
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
}

// The events themselves may: their effect on tables, and what callbacks hear.
TEST_F(allocation, is_not_needed_to_serve_faults_between_events) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  std::atomic<int> removals{0};
  fault_handler handler(overloaded{[](fault& fault) { return fault.zeropage(); },
                                   [&](const remove_event&) { ++removals; }},
                        {.threads = 2});
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  const auto bytes = memory.bytes();
  fault_all_again(bytes);
  long count = 0;
  for (int i = 0; i < rounds; ++i) {
    drop(bytes);
    // Whatever the event makes happen is over when the first fault behind it is served.
    touch(bytes.first(page_size()));
    count += allocations_in([&] { touch(bytes); });
  }
  EXPECT_EQ(count, 0);
  EXPECT_EQ(removals, rounds + 1);
}

TEST_F(allocation, is_not_needed_to_let_writes_to_protected_pages_through) {
  UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
  std::atomic<std::size_t> writes{0};
  test::serving served(
      test::memory_kind::anonymous, pages,
      [&](fault& fault) {
        if (fault.kind() == fault_kind::missing) return fault.zeropage();
        ++writes;
        return fault.unprotect();
      },
      register_mode::missing | register_mode::write_protect);
  const auto write_all = [&] {
    ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
    for (std::size_t page = 0; page < pages; ++page) test::write_byte(served.at(page), 1);
  };
  touch(served.memory().bytes());
  write_all();
  EXPECT_EQ(allocations_in([&] {
              for (int i = 0; i < rounds; ++i) write_all();
            }),
            0);
  EXPECT_GE(writes, (rounds + 1) * pages);
}

TEST_F(allocation, is_not_needed_to_map_what_the_page_cache_has) {
  const auto modes = register_mode::missing | register_mode::minor;
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared, pages, modes));
  std::atomic<std::size_t> minor{0};
  test::serving served(
      test::memory_kind::shared, pages,
      [&](fault& fault) {
        if (fault.kind() == fault_kind::missing) return fault.zeropage();
        ++minor;
        return fault.continue_();
      },
      modes);
  EXPECT_EQ(allocations_of(served.memory().bytes()), 0);
  EXPECT_GE(minor, rounds * pages);
}

// With a child that lives, and for its faults as well as for the parent's.
TEST_F(allocation, is_not_needed_to_serve_a_forked_child) {
  UFFDPP_REQUIRE(test::followed_forks());
  enum step { none, childs_turn, childs_end };
  const auto shared = mapping::shared(page_size());
  auto& turn = *new (shared.bytes().data()) std::atomic<int>(none);
  std::atomic<std::size_t> childs_faults{0};
  fault_handler handler(
      [&](fault& fault) {
        if (fault.space() != 0) ++childs_faults;
        return fault.zeropage();
      },
      {.threads = 2});
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  const auto childs_turn_is_over = [&] { return turn == none; };
  test::forked child([&] {
    for (; turn != childs_end; ::usleep(200)) {
      if (turn != childs_turn) continue;
      for (int i = 0; i < rounds; ++i) fault_all_again(memory.bytes());
      turn = none;
    }
  });
  const auto child_faults = [&] {
    turn = childs_turn;
    EXPECT_TRUE(test::eventually(childs_turn_is_over));
  };
  child_faults();
  EXPECT_EQ(allocations_in(child_faults), 0);
  EXPECT_GE(childs_faults, 2 * rounds * pages);
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
  turn = childs_end;
  EXPECT_EQ(child.wait(), test::exits_with(0));
}

TEST_F(allocation, is_not_needed_to_free_the_tables_that_a_new_range_replaced) {
  fault_handler handler([](fault& fault) { return fault.zeropage(); }, {.threads = 1});
  const auto memory = handler.serve(mapping::anonymous(pages * page_size()));
  EXPECT_EQ(allocations_in([&] { touch(memory.bytes()); }), 0);
}

}  // namespace
}  // namespace uffd
