// SPDX-License-Identifier: MIT
#include "lane.hpp"

#include <algorithm>
#include <exception>

#include "support/continue_protects.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"

namespace uffd::chaos {
namespace {

constexpr auto useful_features = feature::pagefault_flag_wp | feature::missing_hugetlbfs |
                                 feature::missing_shmem | feature::minor_hugetlbfs |
                                 feature::minor_shmem | feature::wp_hugetlbfs_shmem |
                                 feature::wp_unpopulated | feature::poison | feature::move;

// Where sanitizers make everything slow, lives are smaller.
constexpr bool is_slow = test::address_sanitizer || test::thread_sanitizer;
constexpr std::size_t most_places = is_slow ? 32 : 64;
constexpr std::size_t most_steps = is_slow ? 60 : 120;
static_assert(most_places <= pager::most_places);

flags<register_mode> choose_modes(choices& chosen, test::memory_kind memory) {
  flags<register_mode> modes = register_mode::missing;
  const auto add = [&](register_mode mode) {
    const bool wanted = chosen.one_in(2);
    if (wanted && test::kernel_has(test::features_of(memory, mode)).empty()) modes |= mode;
  };
  add(register_mode::write_protect);
  if (test::is_shared(memory)) add(register_mode::minor);
  return modes;
}

server_options choose_server(choices& chosen) {
  server_options result;
  const auto which = chosen.below(6);
  result.kind = which < 4    ? server_kind::handler
                : which == 4 ? server_kind::loop
                             : server_kind::in_thread;
  const bool in_thread = result.kind == server_kind::in_thread;
  result.threads = static_cast<unsigned>(chosen.between(1, 3));
  result.hears_events = !chosen.one_in(4) && !in_thread;
  // A loop has nobody who reads on while it waits for the allocator, whose locks a fork may hold.
  result.follows_forks = !chosen.one_in(4) && result.kind == server_kind::handler &&
                         test::this_machine().fork_events() &&
                         test::kernel_has(feature::poison).empty();
  result.tracks_removals = result.hears_events && chosen.one_in(4);
  result.on_stop =
      chosen.one_in(4) && !in_thread ? stop_policy::leave_zero : stop_policy::inaccessible;
  result.features = useful_features;
  return result;
}

life_plan choose_life(std::uint64_t seed, test::memory_kind memory) {
  choices chosen(seed);
  const bool is_huge = test::is_huge(memory);
  life_plan plan;
  plan.memory = memory;
  plan.places = is_huge ? 4 : 2 * chosen.between(8, most_places / 2);
  plan.steps = chosen.between(10, is_huge ? most_steps / 2 : most_steps);
  plan.modes = choose_modes(chosen, memory);
  plan.server = choose_server(chosen);
  plan.touchers = chosen.between(1, most_touchers - 1);
  plan.in_few_pieces = chosen.one_in(2);
  plan.pager.some_are_refused = chosen.one_in(5);
  plan.pager.protects = chosen.one_in(2);
  plan.pager.protects_minor = test::continue_protects().empty();
  plan.pager.moves = memory == test::memory_kind::anonymous && chosen.one_in(2);
  plan.pager.in_thread = plan.server.kind == server_kind::in_thread;
  return plan;
}

}  // namespace

std::uint64_t run_lane(const lane_options& options, std::uint64_t first, progress& where,
                       experience& learnt, const std::atomic<bool>& is_over) {
  auto lived = first;
  try {
    for (; !is_over; ++lived) {
      const auto seed = mixed(options.seed, options.number, lived);
      const auto plan = choose_life(seed, options.memory);
      where.life.store(lived);
      where.server.store(name_of(plan.server.kind));
      where.doing("begins");
      {
        life each(where, plan, learnt, seed);
        each.run(is_over);
        where.doing("ends");
      }
    }
  } catch (const std::exception& error) {
    say("chaos: %s\n", error.what());
    end_wrong(where);
  }
  where.is_over.store(true);
  return lived;
}

}  // namespace uffd::chaos
