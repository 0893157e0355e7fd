// SPDX-License-Identifier: MIT
// What happens between the reading of an event, its callbacks, and a range that comes or ends.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <system_error>
#include <thread>

#include "support/awaited.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/uffd.hpp"

namespace uffd {
namespace {

// Its first callback for a removal lasts until it is let go; later events queue up behind it.
class held_up {
 public:
  resolution on_page_fault(fault& raised) {
    return test::fill(raised, static_cast<int>(raised.tag()));
  }
  void on_remove(const remove_event&) {
    began_.set();
    EXPECT_TRUE(let_go_.comes());
  }
  void on_unmap(const unmap_event&) {}

  test::signal began_;
  test::signal let_go_;
};

TEST(fault_handler_races, serving_an_address_anew_while_its_unmap_is_queued_serves_the_new) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove | feature::event_unmap));
  held_up callbacks;
  fault_handler handler(std::ref(callbacks), {.threads = 2});
  const test::memory other(test::memory_kind::anonymous, 1);
  const auto served_other = handler.serve(other.range(), {.tag = 1});
  const test::memory memory(test::memory_kind::anonymous, 2);
  const test::fence fenced(memory.range());
  std::optional<served_region> before(handler.serve(memory.range(), {.tag = 2}));

  ASSERT_EQ(::madvise(other.bytes().data(), other.size(), MADV_DONTNEED), 0);
  ASSERT_TRUE(callbacks.began_.comes());
  ASSERT_EQ(::munmap(memory.bytes().data(), memory.size()), 0);
  before.reset();
  ASSERT_NE(::mmap(memory.bytes().data(), memory.size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
            MAP_FAILED)
      << "the place was taken meanwhile";
  const auto after = handler.serve(memory.range(), {.tag = 3});
  callbacks.let_go_.set();
  EXPECT_EQ(test::toucher(memory.at(1)).saw(), test::shows(3));
}

TEST(fault_handler_races, serving_against_a_stop_leaves_what_is_there_accessible) {
  const test::memory memory(test::memory_kind::anonymous, 16);
  for (std::size_t page = 0; page < 16; ++page) test::write_byte(memory.at(page), 7);
  for (std::size_t round = 0; round < 300; ++round) {
    fault_handler handler(test::fill_by_offset(), {.threads = 1});
    std::thread stopper([&] { handler.request_stop(); });
    try {
      handler.serve(memory.range()).complete();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::operation_canceled);
    }
    stopper.join();
    ASSERT_EQ(test::look(memory.at(round % 16)), test::shows(7)) << "round " << round;
  }
}

TEST(fault_handler_races, forking_against_a_stop_hangs_nobody) {
  UFFDPP_REQUIRE(test::followed_forks());
  std::atomic<bool> over{false};
  std::thread forker([&] {
    while (!over) EXPECT_EQ(test::in_child([] {}), test::exits_with(0));
  });
  const test::memory memory(test::memory_kind::anonymous, 1);
  for (int round = 0; round < 100; ++round) {
    fault_handler handler(test::fill_by_offset(), {.threads = 1});
    auto region = handler.serve(memory.range());
    region.complete();
    handler.request_stop();
    handler.join();
  }
  over = true;
  forker.join();
}

}  // namespace
}  // namespace uffd
