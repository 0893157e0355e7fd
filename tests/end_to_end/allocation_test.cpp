// SPDX-License-Identifier: MIT
// The way from a message to its answer allocates nothing once the handler runs: counted by
// replacing the global operators and watching the allocator's own count.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "support/requires.hpp"
#include "support/watchdog.hpp"
#include "uffd/uffd.hpp"

namespace {
std::atomic<long> allocations{0};
}  // namespace

// Not inlined: GCC would see malloc() and free() apart and warn of a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

namespace test = uffd::test;

constexpr std::size_t pages = 256;

void fault_all_again(std::span<std::byte> memory) {
  ASSERT_EQ(::madvise(memory.data(), memory.size(), MADV_DONTNEED), 0);
  uffd::touch(memory);
}

long allocations_of(std::span<std::byte> memory) {
  fault_all_again(memory);
  const long before = allocations.load();
  for (int i = 0; i < 20; ++i) fault_all_again(memory);
  return allocations.load() - before;
}

TEST(allocation, is_not_needed_to_serve_faults) {
  uffd::fault_handler handler(
      [](uffd::fault& fault) { return fault.copy_buffer(fault.buffer().size()); },
      {.threads = 2, .statistics = true});
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
  EXPECT_GE(handler.statistics().resolved, 20 * pages);
}

TEST(allocation, is_not_needed_to_defer_and_to_answer_later) {
  uffd::fault_handler handler([](uffd::fault& fault) {
    auto later = fault.defer();
    static_cast<void>(later.zeropage());
    return uffd::resolution::deferred();
  });
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
  EXPECT_EQ(allocations_of(memory.bytes()), 0);
}

TEST(allocation, is_not_needed_to_free_the_tables_that_a_new_range_replaced) {
  uffd::fault_handler handler([](uffd::fault& fault) { return fault.zeropage(); }, {.threads = 1});
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
  const long before = allocations.load();
  uffd::touch(memory.bytes());
  EXPECT_EQ(allocations.load() - before, 0);
}

TEST(allocation, is_counted_if_a_callback_allocates) {
  uffd::fault_handler handler([](uffd::fault& fault) {
    ::operator delete(::operator new(64));
    return fault.zeropage();
  });
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));
  EXPECT_GE(allocations_of(memory.bytes()), static_cast<long>(20 * pages));
}

}  // namespace
