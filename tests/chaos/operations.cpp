// SPDX-License-Identifier: MIT
// What is done to memory while it is touched, and what the model makes of it.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "life.hpp"
#include "uffd/error.hpp"

namespace uffd::chaos {

using kind = operation::kind;

void life::perform(const operation& what) {
  switch (what.what) {
    case kind::none:
      return;
    case kind::drop:
      return drop(what);
    case kind::drop_lazily:
      return drop_lazily(what);
    case kind::drop_mappings:
      return drop_mappings(what);
    case kind::protect:
      return protect(what);
    case kind::unprotect:
      return unprotect(what);
    case kind::wake:
      return static_cast<void>(server_->on().wake(memory_.range_of(what.where)));
    case kind::interrupt:
      return touchers_->interrupt();
    case kind::fork:
      return fork(what);
    case kind::hand_over:
      if (server_->hand_over())
        for (auto& each : records_) each.can_end = false;
      return;
    case kind::move:
      return move(what);
    case kind::cover:
      if (!memory_.all(what.where, place::use::served)) return;
      memory_.cover(what.where);
      for (auto index = what.where.first; index < what.where.end(); ++index) memory_[index] = {};
      return;
    case kind::unmap:
      if (!memory_.all(what.where, place::use::served)) return;
      memory_.unmap(what.where);
      return leave_gap(what.where);
    case kind::serve:
      return serve(what);
    case kind::end:
      return end(what);
    case kind::stop:
      return stop(what);
  }
}

// The parts of `where` that lie in one range each, and where pages are protected singly, single
// pages: what one refuses, others don't.
template <class Each>
void life::for_each_served(row where, Each&& each) {
  for (auto index = where.first; index < where.end();) {
    const auto part = memory_.like(index, protects_refused_ ? 1 : where.end() - index);
    if (memory_[index].used_for == place::use::served) each(part);
    index = part.end();
  }
}

// False where this kernel can't do that to such memory. EACCES: MADV_REMOVE, of what is protected.
bool life::advise(row where, int advice, const char* what) {
  const auto range = memory_.range_of(where);
  if (::madvise(reinterpret_cast<void*>(range.begin()), range.size(), advice) == 0) return true;
  if (errno == EINVAL || errno == EOPNOTSUPP || (errno == EACCES && protects_refused_))
    return false;
  say("chaos: %s of %zu places from %zu: errno %d\n", what, where.count, where.first, errno);
  end_wrong(lane_);
}

void life::drop(const operation& what) {
  const auto next = pager_.next_generation();
  for_each_served(what.where, [&](row part) {
    if (!advise(part, is_private() ? MADV_DONTNEED : MADV_REMOVE, "dropping")) return;
    for (auto index = part.first; index < part.end(); ++index) {
      auto& at = memory_[index];
      // Without events nothing keeps what was decided before from being installed.
      at.drop(plan_.server.hears_events ? next : at.least);
      if (is_private()) at.may_be_poisoned = false;
      was_dropped_[index] = true;
    }
  });
}

void life::drop_lazily(const operation& what) {
  constexpr int page_out = 21;  // MADV_PAGEOUT
  const auto next = pager_.next_generation();
  for_each_served(what.where, [&](row part) {
    if (!advise(part, MADV_FREE, "dropping lazily")) return;
    for (auto index = part.first; index < part.end(); ++index) {
      auto& at = memory_[index];
      // It may have vanished, and come again, the time before.
      if (at.is_known && !at.may_vanish) at.least = next;
      at.may_vanish = true;
      at.is_protected = false;
    }
    if (what.variant) advise(part, page_out, "reclaiming");
  });
}

void life::drop_mappings(const operation& what) {
  for_each_served(what.where, [&](row part) {
    if (!advise(part, MADV_DONTNEED, "dropping mappings")) return;
    // What maps a page anew takes no mark along, unless it is told to.
    for (auto index = part.first; index < part.end(); ++index)
      memory_[index].is_mapped = memory_[index].is_protected = false;
  });
}

void life::protect(const operation& what) {
  const auto write_protect = [&](row part) {
    outcome done;
    do done = server_->on().write_protect(memory_.range_of(part));
    while (done.error() == condition::retry);
    return done;
  };
  for_each_served(what.where, [&](row part) {
    auto done = write_protect(part);
    // Parts of one range may lie in several mappings: kernels before 6.3 protect no such at once.
    if (done.error() == condition::not_registered)
      for (auto index = part.first; index < part.end(); ++index) {
        done = write_protect({index, 1});
        if (!done) break;
      }
    if (!done) {
      say("chaos: write_protect: errno %d\n", done.number);
      end_wrong(lane_);
    }
    // Whether a page that is missing bears a mark depends on the memory.
    for (auto index = part.first; index < part.end(); ++index)
      memory_[index].is_protected = memory_[index].is_mapped && !memory_[index].may_vanish;
    for (auto index = part.first; index < part.end(); ++index) was_protected_[index] = false;
  });
}

void life::unprotect(const operation& what) {
  for_each_served(what.where, [&](row part) {
    const auto range = memory_.range_of(part);
    while (server_->on().write_unprotect(range).error() == condition::retry) {
    }
    for (auto index = part.first; index < part.end(); ++index) memory_[index].is_protected = false;
  });
}

void life::leave_gap(row where) {
  place left;
  if (!memory_.reserve(where)) left.used_for = place::use::lost;
  for (auto index = where.first; index < where.end(); ++index) memory_[index] = left;
}

void life::move(const operation& what) {
  const row to{what.to, what.where.count};
  if (!memory_.all(what.where, place::use::served) || !memory_.all(to, place::use::nothing)) return;
  auto& can_move = what.variant ? learnt_.can_move_and_keep : learnt_.can_move;
  if (can_move == false) return;
  const auto next = pager_.next_generation();
  const int refused = memory_.move(what.where, what.to, what.variant);
  // Of one range, and yet of several mappings since a part of it was moved: the kernel moves no
  // such.
  const bool is_in_pieces = refused == EFAULT && to.count > 1;
  if (refused != 0 && can_move == true && !is_in_pieces) {
    say("chaos: mremap: errno %d\n", refused);
    end_wrong(lane_);
  }
  if (!is_in_pieces) can_move = refused == 0;
  // What was there may have been unmapped.
  if (refused != 0) return leave_gap(to);
  for (std::size_t i = 0; i < to.count; ++i) {
    auto& from = memory_[what.where.first + i];
    memory_[to.first + i] = from;
    memory_[to.first + i].is_protected = false;
    was_dropped_[to.first + i] = was_dropped_[what.where.first + i];
    from.drop(next);
    was_dropped_[what.where.first + i] = true;
  }
  if (!what.variant) leave_gap(what.where);
}

void life::serve(const operation& what) {
  if (!memory_.all(what.where, place::use::nothing)) return;
  if (!memory_.map(what.where)) return;
  const auto range = memory_.range_of(what.where);
  if (plan_.server.kind == server_kind::in_thread || !plan_.server.follows_forks)
    ::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTFORK);
  choices chosen(what.chosen);
  record added;
  added.tag = ++next_tag_;
  serve_options options;
  options.modes = plan_.modes;
  options.page_size = memory_.page_size();
  options.tag = added.tag;
  const bool past_server = what.variant && plan_.server.kind == server_kind::handler;
  if (past_server) {
    registered_.emplace_back(server_->on(), range, options.modes, options.page_size, options.tag);
    server_->serve_registered(registered_.back().info());
  } else {
    added.leaves_zero = chosen.one_in(4);
    options.on_end = added.leaves_zero ? close_policy::leave_zero : close_policy::inaccessible;
    added.region = server_->serve(range, options);
    added.can_end = true;
  }
  records_.push_back(std::move(added));
  for (std::size_t i = 0; i < what.where.count; ++i) {
    auto& at = memory_[what.where.first + i];
    at = {};
    at.used_for = place::use::served;
    at.whose = {next_tag_, i};
    at.least = pager_.generation();
  }
}

void life::mark_ended(std::uint64_t tag) {
  for (std::size_t index = 0; index < memory_.size(); ++index)
    if (memory_[index].used_for == place::use::served && memory_[index].whose.tag == tag)
      memory_[index].used_for = place::use::ended;
}

void life::end(const operation& what) {
  auto* const ending = find(what.tag);
  if (ending == nullptr || !ending->can_end) return;
  ending->can_end = false;
  if (what.variant) {
    ending->region.complete();
    ending->leaves_zero = true;
  }
  server_->end(std::move(ending->region));
  mark_ended(what.tag);
}

void life::stop(const operation& what) {
  if (what.variant)
    for (auto& each : records_)
      if (each.can_end) server_->end(std::move(each.region));
  const auto error = server_->stop();
  is_stopped_ = true;
  registered_.clear();
  for (const auto& each : records_) mark_ended(each.tag);
  records_.erase(std::remove_if(records_.begin(), records_.end(),
                                [](const record& each) { return !each.leaves_zero; }),
                 records_.end());
  const bool is_expected =
      (plan_.pager.some_are_refused && error == std::errc::io_error) ||
      (plan_.memory == test::memory_kind::huge && error == std::errc::not_enough_memory);
  if (!error || is_expected) return;
  say("chaos: the server reports an error: %s\n", error.message().c_str());
  end_wrong(lane_);
}

}  // namespace uffd::chaos
