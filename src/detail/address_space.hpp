// SPDX-License-Identifier: MIT
// What a handler serves: address spaces (this process's and its children's) and ranges in them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "uffd/callbacks.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/range_table.hpp"
#include "uffd/region_info.hpp"

namespace uffd::detail {

class in_thread_server;

// One descriptor and what its addresses mean. Readers load `table` inside an epoch; `current` owns
// it and, like all changes, belongs to the engine's control lock.
struct address_space : std::enable_shared_from_this<address_space> {
  address_space(handle descriptor, std::size_t index)
      : on(std::move(descriptor)),
        descriptor_number(on.fd()),
        features(on.features()),
        number(index),
        current(std::make_shared<range_table>()) {
    table.store(current.get(), std::memory_order_release);
  }

  const handle on;
  const int descriptor_number;
  const flags<feature> features;
  const std::size_t number;
  bool lent = false;  // set before any worker runs: somebody else decides what becomes of it
  std::shared_ptr<const range_table> current;
  std::atomic<const range_table*> table{nullptr};
  // Under the control lock: where faults were read that nobody will answer. To be woken.
  std::optional<page_range> unanswered;
};

// One serve(): shared by the tables of all address spaces, its served_region and deferred faults.
struct served_range : std::enable_shared_from_this<served_range> {
  // left: handed over, and its served_region has ended.
  enum class state : std::uint8_t { starting, open, closing, handed_over, left };

  region_info info;
  callbacks client;
  close_policy on_end = close_policy::inaccessible;
  std::optional<mapping> memory;
  // Under the control lock. With a value nothing is registered any more; what a fork or a move
  // under way brings back ends by the same policy.
  std::optional<close_policy> closed_by;
  in_thread_server* server = nullptr;  // who serves it in the threads that fault, if so
  std::atomic<state> phase{state::starting};
  std::atomic<bool> complete{false};
  std::atomic<std::uint32_t> guests{0};  // deferred faults being resolved at the moment

  // Whether it is for a successor: what is answered late is only woken.
  bool is_handed_over() const noexcept {
    const auto now = phase.load(std::memory_order_seq_cst);
    return now == state::handed_over || now == state::left;
  }
};

// Who made a served_region, and ends its range with it.
class range_owner {
 public:
  range_owner(const range_owner&) = delete;
  range_owner& operator=(const range_owner&) = delete;
  virtual ~range_owner() = default;
  virtual void end_range(served_range& range) noexcept = 0;

 protected:
  range_owner() = default;
};

}  // namespace uffd::detail
