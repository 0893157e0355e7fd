// SPDX-License-Identifier: MIT
// What is behind a sigbus_handler: its ranges, and the way of a fault from the signal to its
// answer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "address_space.hpp"
#include "buffer_pool.hpp"
#include "fault_cause.hpp"
#include "signal_ranges.hpp"
#include "uffd/callbacks.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/fault.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd::detail {

// The first error of many, kept by signal handlers.
class kept_failure {
 public:
  struct failure {
    std::error_code error;
    page_range page;
    std::size_t offset = 0;
  };

  // Async-signal-safe.
  void record(const failure& seen) noexcept {
    auto empty = state::empty;
    if (!state_.compare_exchange_strong(empty, state::busy, std::memory_order_acquire)) return;
    failure_ = seen;
    state_.store(state::full, std::memory_order_release);
  }
  std::optional<failure> take() noexcept {
    auto full = state::full;
    if (!state_.compare_exchange_strong(full, state::busy, std::memory_order_acquire))
      return std::nullopt;
    const failure taken = failure_;
    state_.store(state::empty, std::memory_order_release);
    return taken;
  }

 private:
  enum class state : std::uint8_t { empty, busy, full };
  failure failure_;
  std::atomic<state> state_{state::empty};
};

class in_thread_server final : public range_owner,
                               public std::enable_shared_from_this<in_thread_server> {
 public:
  // The first installs the process's action for SIGBUS. Throws std::system_error.
  in_thread_server(handle on, callbacks client, const sigbus_handler_options& options);
  // What to open a handle with, if none is given.
  static open_options options_for(const sigbus_handler_options& options);

  const handle& on() const noexcept { return space_->on; }
  bool in_child() const noexcept { return home_.in_child(); }

  served_region serve(page_range where, std::optional<mapping> memory,
                      const serve_options& options);
  void end_range(served_range& range) noexcept override;
  // Ends all ranges, and its part in the action for SIGBUS. The ranges' memory stays until their
  // served_regions end. Once.
  void close() noexcept;
  void rethrow_error();

 private:
  // A fault, and what is known of it.
  struct raised_fault {
    const signal_ranges::guest& at;
    std::uintptr_t address = 0;
    fault_cause cause;
  };

  // What became of a call of the callback.
  struct called {
    called(resolution given, bool with_poison = false) noexcept
        : answer(given), poisoned(with_poison) {}
    resolution answer;
    bool poisoned;
  };

  void check_handle() const;
  void check_serve(const region_info& info) const;
  void open_range(served_range& range) const;
  void close_range(served_range& range) noexcept;
  std::shared_ptr<served_range> last_range() noexcept;

  // The signal handler. True if the access may be tried again.
  static bool serve_signal(const siginfo_t& info, const ucontext_t& context) noexcept;
  bool dispatch(const raised_fault& raised) noexcept;
  called call(const raised_fault& raised, fault_kind kind, std::span<std::byte> buffer) noexcept;
  called call_by_trial(const raised_fault& raised, fault_kind kind,
                       std::span<std::byte> buffer) noexcept;
  bool settle(const raised_fault& raised, fault_kind kind, const called& by) noexcept;

  const process_mark home_;
  callbacks client_;
  const std::shared_ptr<address_space> space_;
  buffer_pool buffers_;
  kept_failure failure_;
  std::mutex control_;  // guards the list and what is registered
  std::vector<std::shared_ptr<served_range>> ranges_;
};

}  // namespace uffd::detail
