// SPDX-License-Identifier: MIT
// What is being read from a source, and since when: so that somebody else can give it up.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pager/readahead.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/handle.hpp"

namespace uffd::detail {

// Any thread may begin and end a load, in signal handlers too. Of more loads at once than there are
// places, some are not watched.
class loads_under_way {
 public:
  struct load {
    page_run run;
    std::size_t wanted = 0;        // the page that a thread waits for, or none of the run
    const handle* view = nullptr;  // where it waits, if that is not the pager's own memory
    std::uintptr_t page = 0;       // there
  };

  class place {
   private:
    friend class loads_under_way;
    // Number and state in one word: a place that was given up and taken anew is another one.
    std::atomic<std::uint32_t> word_{0};
    std::atomic<std::int64_t> since_{0};
    load what_;
  };
  struct ticket {
    place* at = nullptr;
    std::uint32_t word = 0;
  };

  ticket begin(const load& what, std::int64_t now) noexcept {
    for (auto& each : places_) {
      auto word = each.word_.load(std::memory_order_relaxed);
      if ((word & 3U) != free ||
          !each.word_.compare_exchange_strong(word, word | changing, std::memory_order_acquire))
        continue;
      each.what_ = what;
      each.since_.store(now, std::memory_order_relaxed);
      const auto mine = word + 4 + under_way;
      each.word_.store(mine, std::memory_order_release);
      return {&each, mine};
    }
    return {};
  }

  // False if it was given up: then nothing of it may be touched. Whoever does that is done with it.
  static bool end(ticket mine) noexcept {
    if (mine.at == nullptr) return true;
    auto word = mine.word;
    if (mine.at->word_.compare_exchange_strong(word, word - under_way, std::memory_order_acq_rel))
      return true;
    while (mine.at->word_.load(std::memory_order_acquire) == mine.word - under_way + changing)
      call_sleep(20'000);
    return false;
  }

  // Calls `give_up(load)` for each that began before `then`, and is ended by that.
  template <class GiveUp>
  void end_overdue(std::int64_t then, GiveUp&& give_up) noexcept {
    for (auto& each : places_) {
      auto word = each.word_.load(std::memory_order_acquire);
      if ((word & 3U) != under_way || each.since_.load(std::memory_order_relaxed) >= then) continue;
      const auto changed = word - under_way + changing;
      if (!each.word_.compare_exchange_strong(word, changed, std::memory_order_acq_rel)) continue;
      give_up(each.what_);
      each.word_.store(word - under_way, std::memory_order_release);
    }
  }

 private:
  static constexpr std::uint32_t free = 0;
  static constexpr std::uint32_t changing = 1;
  static constexpr std::uint32_t under_way = 2;

  std::array<place, 32> places_;
};

}  // namespace uffd::detail
