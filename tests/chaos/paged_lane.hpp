// SPDX-License-Identifier: MIT
// A mapping of a pager, made and ended again and again over the same source while workers use it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "paged_model.hpp"
#include "paged_store.hpp"
#include "paged_worker.hpp"
#include "progress.hpp"
#include "support/paging.hpp"
#include "uffd/pager/memory_budget.hpp"

namespace uffd::chaos {

struct paged_lane_options {
  std::uint64_t seed = 0;
  std::size_t number = 0;
  test::pager_kind kind = test::pager_kind::own_threads;
  write_policy writes = write_policy::none;
  bool on_disk = false;
  bool has_own_pagers = false;  // sometimes
  std::chrono::milliseconds deadline{};
};

class paged_lane {
 public:
  paged_lane(const paged_lane_options& options, const memory_budget& budget, paged_tally& tally);

  // Lives until it is over, its mappings made by `shared` mostly.
  void run(const test::any_pager& shared, const std::atomic<bool>& is_over);

  // Its own, and its workers'.
  std::array<progress, 1 + paged_workers>& where() { return where_; }

 private:
  void live(const test::any_pager& shared, choices chosen, const std::atomic<bool>& is_over);
  paged_memory map(const test::any_pager& by, choices& chosen);
  void work(const paged_memory& memory, choices& chosen, const std::atomic<bool>& is_over);
  void end(std::optional<paged_memory>& memory, choices& chosen);
  void check_source();

  const paged_lane_options options_;
  const memory_budget budget_;
  paged_tally& tally_;
  const std::string name_;
  paged_store store_;
  paged_model model_;
  const std::vector<std::byte> unwritten_;  // the source, where it is only read
  std::array<progress, 1 + paged_workers> where_;
};

}  // namespace uffd::chaos
