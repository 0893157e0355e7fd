// SPDX-License-Identifier: MIT
// The callbacks of a lane: they serve what the model expects, each time in another way.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "expectation.hpp"
#include "uffd/callbacks.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/fault.hpp"
#include "uffd/mapping.hpp"

namespace uffd::chaos {

// How the pager of a life behaves.
struct manners {
  std::uint64_t salt = 0;
  page_range arena;  // where its memory lies
  std::size_t page_size = 0;
  bool some_are_refused = false;  // fails on some pages, for ever
  bool protects = false;          // installs some pages write-protected
  bool protects_minor = false;    // those of the page cache, too
  bool moves = false;             // where the kernel can
  bool in_thread = false;         // runs in signal handlers
};

class pager {
 public:
  static constexpr std::size_t most_places = 128;

  explicit pager(const manners& how);
  pager(const pager&) = delete;
  pager& operator=(const pager&) = delete;
  ~pager();

  // Any thread at any time; what it does is all that a signal handler may, if in_thread.
  resolution serve(fault& raised) noexcept;
  // What callbacks for events do: nothing, sometimes slowly.
  void hear() noexcept;

  // What is served from here on bears the next number.
  std::uint32_t next_generation() noexcept { return generation_.fetch_add(1) + 1; }
  std::uint32_t generation() const noexcept { return generation_.load(); }

  // Writes to protected pages that are being let through now.
  std::size_t writes_under_way() const noexcept { return writes_under_way_.load(); }
  // Whether a write to a protected page was told of; places are those of the arena.
  bool was_told_of_write(std::size_t place) const noexcept { return told_.at(place).load(); }
  void forget_write(std::size_t place) noexcept { told_.at(place).store(false); }

  std::uint64_t faults() const noexcept { return faults_.load(); }

 private:
  // A fault that another thread answers.
  struct parked {
    deferred_fault fault;
    std::uint32_t generation;
  };

  identity whose(const fault& raised) const noexcept;
  flags<fill_mode> some_mode(choices& mood, const fault& raised) const noexcept;
  resolution serve_once(fault& raised) noexcept;
  resolution serve_minor(choices& mood, fault& raised);
  resolution serve_missing(choices& mood, fault& raised);
  resolution serve_block(choices& mood, fault& raised, std::uint32_t generation);
  resolution serve_by_move(fault& raised, std::uint32_t generation);
  resolution park(fault& raised, std::uint32_t generation);
  resolution let_write(choices& mood, fault& raised) noexcept;
  void dawdle(choices& mood) const noexcept;
  void answer_parked(const std::stop_token& stop);

  const manners how_;
  std::atomic<std::uint32_t> generation_{1};
  std::atomic<std::uint64_t> faults_{0};
  std::atomic<std::size_t> writes_under_way_{0};
  std::array<std::atomic<bool>, most_places> told_{};

  std::mutex parking_;
  std::condition_variable_any parked_some_;
  std::vector<parked> parked_;
  std::mutex moving_;
  std::optional<mapping> to_be_moved_;
  std::optional<std::jthread> answering_;
};

// The pager as handlers take it: with callbacks for events, without them, in the thread.
struct hearing_pager {
  pager* by;
  resolution on_page_fault(fault& raised) { return by->serve(raised); }
  void on_remap(const remap_event& /*seen*/) { by->hear(); }
  void on_remove(const remove_event& /*seen*/) { by->hear(); }
  void on_unmap(const unmap_event& /*seen*/) { by->hear(); }
};
struct deaf_pager {
  pager* by;
  resolution on_page_fault(fault& raised) noexcept { return by->serve(raised); }
};

}  // namespace uffd::chaos
