// SPDX-License-Identifier: MIT
// Memory served by other processes, each of which is killed while it serves.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <new>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/registered.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/sockets.hpp"
#include "uffd/handle_keeper.hpp"

namespace uffd {
namespace {

constexpr std::size_t pages = 512;

// Each word of the memory tells its place, so that no other page can be taken for it.
std::uint64_t word_at(std::size_t offset) { return (offset + 1) * 0x9e3779b97f4a7c15; }

resolution fill_with_words(fault& raised) {
  const auto buffer = raised.buffer();
  for (std::size_t at = 0; at < buffer.size(); at += sizeof(std::uint64_t)) {
    const auto word = word_at(raised.offset() + at);
    std::memcpy(buffer.data() + at, &word, sizeof word);
  }
  return raised.copy(buffer);
}

// Shared with the pagers.
using shared_counter = std::atomic<unsigned>;
static_assert(shared_counter::is_always_lock_free);

// Serves until it is killed: all faults, or a few and then none of those it reads.
int serve(const test::listening_name& name, unsigned threads, shared_counter* unanswered) {
  std::atomic<unsigned> answered{0};
  const auto answer = [&](fault& raised) {
    while (unanswered != nullptr && answered.load() >= 5) {
      unanswered->fetch_add(1);
      ::pause();
    }
    answered.fetch_add(1);
    return fill_with_words(raised);
  };
  const auto connection = name.connect();
  fault_handler_options options;
  options.threads = threads;
  options.on_stop = stop_policy::hand_over;
  const fault_handler handler(handoff::receive(connection.get(), {.time_limit = test::patience}),
                              std::ref(answer), options);
  for (;;) ::pause();
}

// Reads all of the memory over and over, and counts what is not as it should be.
class readers {
 public:
  explicit readers(const test::memory& memory) : memory_(memory) {
    for (std::size_t i = 0; i < threads_count; ++i) threads_.emplace_back([this, i] { run(i); });
  }
  readers(const readers&) = delete;
  readers& operator=(const readers&) = delete;
  ~readers() { stop(); }

  std::size_t pages_read() const { return read_.load(); }
  void stop() { stopping_ = true; }
  bool finish() {
    stop();
    for (auto& thread : threads_)
      if (!thread.finishes()) return false;
    return true;
  }
  std::size_t wrong() const { return wrong_.load(); }

 private:
  void run(std::size_t first) {
    // Each thread drops a page before it reads it: there is always a fault.
    for (std::size_t page = first; !stopping_; page = (page + threads_count) % pages) {
      const auto range = memory_.page(page);
      ::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTNEED);
      for (std::size_t at = 0; at < range.size(); at += sizeof(std::uint64_t)) {
        const auto word = *reinterpret_cast<const volatile std::uint64_t*>(range.begin() + at);
        if (word != word_at(page * range.size() + at)) wrong_.fetch_add(1);
      }
      read_.fetch_add(1);
    }
  }

  static constexpr std::size_t threads_count = 3;
  const test::memory& memory_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> read_{0};
  std::atomic<std::size_t> wrong_{0};
  std::deque<test::background> threads_;
};

TEST(external_pager, killed_fifty_times_shows_no_wrong_byte_and_no_hang) {
  constexpr unsigned kills = 50;
  const test::memory shared(test::memory_kind::shared, 1);
  auto* const unanswered = new (shared.bytes().data()) shared_counter(0);
  test::listening_name name;
  // Forked before there are threads; each serves when it is its turn, and every other one reads
  // faults that it doesn't answer.
  std::deque<test::held_child> pagers;
  for (unsigned i = 0; i <= kills; ++i)
    pagers.emplace_back(
        [&, i] { return serve(name, 1 + i % 3, i % 2 == 1 ? unanswered : nullptr); });

  const test::memory memory(test::memory_kind::anonymous, pages);
  const handle_keeper keeper(test::registered(memory), name.take(),
                             {.pager_within = test::patience});
  readers reading(memory);
  for (unsigned i = 0; i <= kills; ++i) {
    const auto goal = reading.pages_read() + (i == kills ? pages : 1 + i * 7 % 40);
    unanswered->store(0);
    pagers[i].let_go();
    ASSERT_TRUE(test::eventually([&] { return keeper.pagers() == i + 1; })) << "pager " << i;
    ASSERT_TRUE(test::eventually([&] {
      return i % 2 == 1 ? unanswered->load() != 0 : reading.pages_read() >= goal;
    })) << "pager "
        << i;
    if (i != kills) pagers[i].process().kill();
  }
  EXPECT_TRUE(reading.finish());
  EXPECT_EQ(reading.wrong(), 0U);
  EXPECT_FALSE(keeper.gave_up());
}

}  // namespace
}  // namespace uffd
