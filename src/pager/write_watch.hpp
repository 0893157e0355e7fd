// SPDX-License-Identifier: MIT
// Who is asked before a page of a mapping becomes writable.
#pragma once

#include <atomic>
#include <mutex>

#include "detail/grace_period.hpp"
#include "tracking/paged_area.hpp"

namespace uffd::detail {

class write_watch {
 public:
  // Whoever makes a page writable looks who is to be asked, and stays inside until it is done. In
  // signal handlers, too.
  class visit {
   public:
    explicit visit(write_watch& of) noexcept
        : reader_(of.grace_), by_(of.by_.load(std::memory_order_seq_cst)) {}
    // Null: nobody.
    write_watcher* by() const noexcept { return by_; }

   private:
    grace_period::reader reader_;
    write_watcher* by_;
  };

  bool is_on() const noexcept { return by_.load(std::memory_order_relaxed) != nullptr; }
  // Also before: what was written may be protected since.
  bool was_on() const noexcept { return was_on_.load(std::memory_order_relaxed); }

  // False if there is one. Returns once nobody is inside who has not seen it.
  bool begin(write_watcher& by) noexcept {
    const std::lock_guard lock(changing_);
    if (is_on()) return false;
    was_on_.store(true, std::memory_order_relaxed);
    by_.store(&by, std::memory_order_seq_cst);
    grace_.wait();
    return true;
  }
  // Returns once nobody asks it any more.
  void end() noexcept {
    const std::lock_guard lock(changing_);
    by_.store(nullptr, std::memory_order_seq_cst);
    grace_.wait();
  }

 private:
  grace_period grace_;
  std::atomic<write_watcher*> by_{nullptr};
  std::atomic<bool> was_on_{false};
  std::mutex changing_;
};

}  // namespace uffd::detail
