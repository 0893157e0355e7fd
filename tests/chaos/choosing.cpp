// SPDX-License-Identifier: MIT
// Which operations a step has: from the lane's choices and its model alone, never from the timing.
#include <algorithm>
#include <array>

#include "life.hpp"

namespace uffd::chaos {

using kind = operation::kind;

// Some places in a row that are all used so, for all but `nothing` of one range.
std::optional<row> life::some_run(choices& chosen, place::use used_for, std::size_t most) const {
  const auto start = chosen.below(memory_.size());
  const auto count = chosen.between(1, most);
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    const auto index = (start + i) % memory_.size();
    if (memory_[index].used_for == used_for) return memory_.like(index, count);
  }
  return std::nullopt;
}

operation life::choose_content(choices& chosen) const {
  static constexpr std::array all{kind::drop,        kind::drop,          kind::drop,
                                  kind::drop_lazily, kind::drop_mappings, kind::protect,
                                  kind::protect,     kind::unprotect,     kind::wake,
                                  kind::interrupt,   kind::fork,          kind::hand_over};
  operation result;
  result.what = all[chosen.below(all.size())];
  result.variant = chosen.one_in(2);
  result.chosen = chosen.next();
  // Of several ranges, perhaps with gaps.
  result.where.first = chosen.below(memory_.size());
  result.where.count =
      std::min(chosen.between(1, memory_.size() / 2), memory_.size() - result.where.first);
  const bool is_shared = test::is_shared(plan_.memory);
  const bool hears = plan_.server.hears_events;
  const bool has_wp = can(register_mode::write_protect);
  switch (result.what) {
    case kind::drop_lazily:
      if (plan_.memory != test::memory_kind::anonymous || !hears) result.what = kind::drop;
      break;
    case kind::drop_mappings:
      if (!is_shared) result.what = kind::drop;
      break;
    case kind::protect:
    case kind::unprotect:
      if (!has_wp) result.what = kind::wake;
      break;
    case kind::hand_over:
    case kind::fork:
      // They last: less often.
      if (!chosen.one_in(3)) result.what = kind::interrupt;
      break;
    default:
      break;
  }
  return result;
}

operation life::choose_layout(choices& chosen) const {
  static constexpr std::array all{kind::move,  kind::move,  kind::cover, kind::unmap,
                                  kind::serve, kind::serve, kind::serve, kind::end};
  const auto most = std::max<std::size_t>(1, memory_.size() / 4);
  operation result;
  result.what = all[chosen.below(all.size())];
  result.variant = chosen.one_in(3);
  result.chosen = chosen.next();
  const bool hears = plan_.server.hears_events;
  // Moving a part of private huge pages, Linux 6.18 loses the reservations of the rest for ever.
  if (result.what == kind::move && plan_.memory == test::memory_kind::huge)
    result.what = kind::cover;
  const bool takes_away =
      result.what == kind::move || result.what == kind::cover || result.what == kind::unmap;
  // What nobody tells of would be served on where it is no more.
  if (takes_away && !hears) result.what = kind::end;
  if (result.what == kind::end) {
    std::vector<std::uint64_t> tags;
    for (const auto& each : records_)
      if (each.can_end) tags.push_back(each.tag);
    if (tags.empty()) return {};
    result.tag = tags[chosen.below(tags.size())];
    return result;
  }
  const auto where =
      some_run(chosen, result.what == kind::serve ? place::use::nothing : place::use::served, most);
  if (!where) return {};
  result.where = *where;
  if (result.what != kind::move) return result;
  result.variant = result.variant && is_private() && !test::is_huge(plan_.memory);
  const auto room = some_run(chosen, place::use::nothing, where->count);
  if (!room) return {};
  result.where.count = room->count;
  result.to = room->first;
  return result;
}

std::vector<operation> life::choose(choices& chosen, bool is_last) const {
  std::vector<operation> result;
  for (auto left = chosen.below(3); left != 0; --left) result.push_back(choose_content(chosen));
  if (is_last) {
    operation last;
    last.what = kind::stop;
    last.variant = chosen.one_in(2);
    result.push_back(last);
  } else if (chosen.one_in(2)) {
    const auto at = static_cast<std::ptrdiff_t>(chosen.below(result.size() + 1));
    result.insert(result.begin() + at, choose_layout(chosen));
  }
  return result;
}

}  // namespace uffd::chaos
