// SPDX-License-Identifier: MIT
// All ranges of this process that are served inside signal handlers: by address, for signal
// handlers to look up without a lock.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "address_space.hpp"
#include "grace_period.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/page_range.hpp"
#include "uffd/range_table.hpp"

namespace uffd::detail {

class signal_ranges {
 public:
  // A range that a signal handler found. It stays, and its end waits, until this ends.
  class guest {
   public:
    explicit guest(const range_table::entry& found) noexcept
        : range_(static_cast<served_range*>(found.client)) {
      range_->guests.fetch_add(1, std::memory_order_seq_cst);
    }
    guest(const guest&) = delete;
    guest& operator=(const guest&) = delete;
    ~guest() { range_->guests.fetch_sub(1, std::memory_order_release); }

    served_range& range() const noexcept { return *range_; }

   private:
    served_range* range_;
  };

  // This process's; made when first asked for, in a forked child anew. Throws std::system_error.
  static signal_ranges& here();
  // The same if there is one, else null. Async-signal-safe, as all below that is noexcept.
  static signal_ranges* if_any() noexcept;

  signal_ranges(const signal_ranges&) = delete;
  signal_ranges& operator=(const signal_ranges&) = delete;

  // Throws std::system_error (EEXIST) if part of it is served already. Returns when every signal
  // handler sees it.
  void add(served_range& range);
  // Returns when no signal handler is its guest any more, nor can become one. Ends the process
  // where memory is short. Not async-signal-safe.
  void remove(const served_range& range) noexcept;
  // The same for a range that never was registered.
  void withdraw(const served_range& range) noexcept;
  // Until it has no guest at some moment: in the table, it may have new ones at once.
  static void wait_for_guests(const served_range& range) noexcept;

  // Calls `then(found)` where the address is served, with `found` a range_table::entry that stays
  // meanwhile.
  template <class Then>
  bool find(std::uintptr_t address, Then&& then) noexcept {
    const grace_period::reader reader(grace_);
    const auto* found = table_.load(std::memory_order_seq_cst)->served.find(address);
    if (found == nullptr) return false;
    then(*found);
    return true;
  }
  // Whether a signal of an address may have been raised before a range ended there. True once a
  // thread, address and end: raised by the next access too, it is none of ours.
  bool is_late(std::uintptr_t address) noexcept;

  // Counts handlers. `first()` is called before there is one.
  template <class First>
  void add_handler(First&& first) {
    const std::lock_guard lock(lock_);
    if (handlers_ == 0) first();
    ++handlers_;
  }
  void remove_handler() {
    const std::lock_guard lock(lock_);
    --handlers_;
  }

 private:
  struct ended_range {
    page_range range;
    std::uint64_t number = 0;  // counted from 1
    std::chrono::steady_clock::time_point end;
  };
  struct table {
    range_table served;
    std::vector<ended_range> ended;  // oldest first
  };

  explicit signal_ranges(signal_ranges* predecessor);
  template <class Change>
  void change(Change&& change);
  template <class Change>
  void take_out(const served_range& range, Change&& change) noexcept;
  std::uint64_t end_of(std::uintptr_t address) noexcept;

  grace_period grace_;
  std::atomic<const table*> table_{nullptr};
  const process_mark home_;
  [[maybe_unused]] signal_ranges* const predecessor_;  // a parent's: out of use, never freed
  std::mutex lock_;
  std::size_t handlers_ = 0;
  std::uint64_t ends_ = 0;
  // What threads were told to try again, the last of each: a hash of address and end.
  std::array<std::atomic<std::uint64_t>, 64> tried_again_{};
  std::unique_ptr<const table> current_;
};

}  // namespace uffd::detail
