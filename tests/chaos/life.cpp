// SPDX-License-Identifier: MIT
#include "life.hpp"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/swap.hpp"
#include "uffd/error.hpp"

namespace uffd::chaos {

using kind = operation::kind;

life::life(progress& lane, const life_plan& plan, experience& learnt, std::uint64_t seed)
    : lane_(lane),
      plan_(plan),
      learnt_(learnt),
      seed_(seed),
      next_tag_(mixed(seed) << 16),
      memory_(plan.memory, plan.places),
      pager_([&] {
        auto how = plan.pager;
        how.salt = seed;
        how.arena = memory_.arena();
        how.page_size = memory_.page_size();
        return how;
      }()),
      server_(make_server(pager_, plan.server)),
      permissions_(plan.places),
      was_dropped_(plan.places),
      was_protected_(plan.places),
      written_before_(plan.touchers) {
  const bool can_poison = server_->on().features().has(feature::poison);
  can_tell_missing_ =
      can_poison && test::this_machine().pagemap_scan() && !test::swap_space().empty();
  protects_refused_ = plan.pager.some_are_refused && !can_poison;
  void* const shared =
      ::mmap(nullptr, sizeof(report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) uffd::detail::throw_errno(errno, "mmap of a report");
  report_ = static_cast<report*>(shared);
  touchers_.emplace(lane_, memory_, pager_,
                    touchers::options{plan.touchers, seed,
                                      server_->on().serves_kernel_faults() &&
                                          plan.server.kind != server_kind::in_thread});
  // Half of the places, in one piece or several.
  const auto half = plan.places / 2;
  const auto piece = plan.in_few_pieces ? half : std::max<std::size_t>(1, half / 3);
  for (std::size_t first = 0; first < half; first += piece)
    serve({kind::serve, {first, std::min(piece, half - first)}, 0, false, 0, 1});
}

life::~life() {
  touchers_.reset();
  ::munmap(report_, sizeof(report));
}

void life::run(const std::atomic<bool>& is_over) {
  for (step_ = 0; step_ < plan_.steps && !is_over; ++step_) step(false);
  step(true);
}

void life::step(bool is_last) {
  lane_.step.store(step_);
  choices chosen(mixed(seed_, step_, is_last ? 1 : 0));
  const auto operations = choose(chosen, is_last);
  permit(chosen, operations);
  touchers_->begin(step_, permissions_);
  for (const auto& operation : operations) {
    lane_.doing(name_of(operation.what));
    lane_.did({step_, name_of(operation.what), operation.where.first, operation.where.count,
               operation.to, operation.variant});
    perform(operation);
    lane_.operations.fetch_add(1);
  }
  lane_.doing("waits for touchers");
  touchers_->finish();
  lane_.doing("checks");
  check(chosen);
  lane_.faults.store(pager_.faults());
}

bool life::is_private() const { return !test::is_shared(plan_.memory); }

life::record* life::find(std::uint64_t tag) {
  const auto found = std::find_if(records_.begin(), records_.end(),
                                  [&](const record& each) { return each.tag == tag; });
  return found != records_.end() ? &*found : nullptr;
}

bool life::leaves_zero(std::uint64_t tag) const {
  return std::any_of(records_.begin(), records_.end(),
                     [&](const record& each) { return each.tag == tag && each.leaves_zero; });
}

// What touchers may do where nothing happens.
permission life::permission_of(choices& chosen, std::size_t index) const {
  const auto& at = memory_[index];
  permission result;
  result.page.whose = at.whose;
  switch (at.used_for) {
    case place::use::nothing:
      result.may_read = chosen.one_in(8);
      result.page.may_signal = true;
      break;
    case place::use::served:
      result.may_read = result.may_write = true;
      result.page.may_be_kept = at.is_known;
      result.page.kept = at.generation;
      result.page.may_be_new = !at.is_known || at.may_vanish;
      result.page.least = at.least;
      result.page.some_are_refused = plan_.pager.some_are_refused;
      result.page.may_signal = at.may_be_poisoned || plan_.pager.some_are_refused;
      break;
    default:
      break;
  }
  return result;
}

void life::permit(choices& chosen, const std::vector<operation>& operations) {
  std::fill(was_dropped_.begin(), was_dropped_.end(), false);
  for (std::size_t index = 0; index < memory_.size(); ++index) {
    permissions_[index] = permission_of(chosen, index);
    was_protected_[index] = memory_[index].is_protected;
  }
  for (std::size_t each = 0; each < plan_.touchers; ++each)
    written_before_[each] = touchers_->most_written(each);
  for (const auto& operation : operations) permit_despite(operation);
}

// What else may be seen where that is done.
void life::permit_despite(const operation& done) {
  const auto for_each = [&](row where, auto change) {
    for (auto index = where.first; index < where.end(); ++index) change(permissions_[index]);
  };
  switch (done.what) {
    case kind::drop:
    case kind::drop_lazily:
      return for_each(done.where, [](permission& each) { each.page.may_be_new = true; });
    case kind::move:
      return permit_move(done);
    case kind::cover:
      return for_each(done.where, [](permission& each) { each.page.may_signal = true; });
    case kind::unmap:
    case kind::serve:
      return for_each(done.where, [](permission& each) { each = {}; });
    case kind::end:
    case kind::stop:
      for (std::size_t index = 0; index < memory_.size(); ++index) {
        const auto& at = memory_[index];
        if (at.used_for != place::use::served) continue;
        if (done.what == kind::end && at.whose.tag != done.tag) continue;
        auto& page = permissions_[index].page;
        const bool left = leaves_zero(at.whose.tag) || (done.what == kind::end && done.variant);
        page.may_signal = page.may_signal || done.what == kind::stop || !left;
        page.may_be_zero =
            left || (done.what == kind::stop && plan_.server.on_stop == stop_policy::leave_zero);
      }
      return;
    default:
      return;
  }
}

// Where it was is a gap for a moment, which others may map: nobody may touch it. So may be where it
// goes to, if the kernel refuses, as it may do with more than one place.
void life::permit_move(const operation& done) {
  const bool keeps = done.variant;
  const bool is_safe = done.where.count == 1 &&
                       (keeps ? learnt_.can_move_and_keep : learnt_.can_move).value_or(false);
  for (std::size_t i = 0; i < done.where.count; ++i) {
    auto& from = permissions_[done.where.first + i];
    auto& to = permissions_[done.to + i];
    to = from;
    to.page.may_signal = true;
    to.may_read = to.may_write = is_safe;
    from.may_write = false;
    from.may_read = keeps && is_safe;
    from.page.may_be_new = true;
  }
}

// What a place must show now, with all touchers at rest.
expectation life::expected(std::size_t index) const {
  const auto& at = memory_[index];
  expectation page;
  page.whose = at.whose;
  page.may_be_kept = at.is_known;
  page.kept = at.generation;
  page.may_be_new = !at.is_known || at.may_vanish;
  page.least = at.least;
  page.most = pager_.generation();
  page.some_are_refused = plan_.pager.some_are_refused;
  page.may_signal =
      at.may_be_poisoned || protects_refused_ || (plan_.pager.some_are_refused && page.may_be_new);
  const bool may_lose = was_dropped_[index] || at.may_vanish;
  for (std::size_t each = 0; each < plan_.touchers; ++each) {
    auto& writing = page.writings[each];
    const auto wrote = touchers_->wrote(each, index);
    writing.kept_least = writing.kept_most = wrote != 0 ? wrote : at.written[each];
    writing.new_most = wrote;
    writing.new_least = may_lose ? written_before_[each] + 1 : wrote;
    writing.may_be_lost = may_lose;
  }
  if (at.used_for != place::use::ended) return page;
  const bool is_there = at.is_known && at.is_mapped && !at.may_vanish;
  page.may_signal = page.may_signal || !is_there || !can_tell_missing_;
  const bool leaves =
      leaves_zero(at.whose.tag) || (is_stopped_ && plan_.server.on_stop == stop_policy::leave_zero);
  // What was dropped lazily may vanish when nobody serves it any more.
  page.may_be_zero = (!at.is_known && leaves) || at.may_vanish;
  return page;
}

void life::end_wrong_at(std::size_t index, const expectation& page, const finding& found,
                        const char* who) const {
  say("chaos: %s: place %zu (%#zx; page %zu of tag %#llx, %s), word %zu: %#llx, signal %d; "
      "expected "
      "%#llx; kept %d %u, new %d %u to %u, may signal %d, may be zero %d\n",
      who, index, static_cast<std::size_t>(memory_.at(index)), page.whose.page,
      static_cast<unsigned long long>(page.whose.tag),
      memory_[index].used_for == place::use::ended ? "ended" : "served", found.word,
      static_cast<unsigned long long>(found.seen), found.signal,
      static_cast<unsigned long long>(served_word(page.whose, found.word, page.kept)),
      page.may_be_kept, page.kept, page.may_be_new, page.least, page.most, page.may_signal,
      page.may_be_zero);
  if (found.word < plan_.touchers) {
    const auto& writing = page.writings[found.word];
    say("chaos: written: kept %u to %u, new %u to %u, may be lost %d\n", writing.kept_least,
        writing.kept_most, writing.new_least, writing.new_most, writing.may_be_lost);
  }
  end_wrong(lane_);
}

void life::check_place(std::size_t index) {
  auto& at = memory_[index];
  const auto page = expected(index);
  const auto found = check_page(memory_.at(index), memory_.page_size(), page);
  if (!found.is_right()) end_wrong_at(index, page, found, "check");
  if (found.what != finding::kind::right) {
    at.is_known = at.is_mapped = false;
    at.may_be_poisoned = at.may_be_poisoned || found.what == finding::kind::signal;
    return;
  }
  if (!page.is_kept(found.generation)) at.may_vanish = at.may_be_poisoned = false;
  at.is_known = at.is_mapped = true;
  at.generation = found.generation;
  at.written = found.written;
}

void life::check(choices& chosen) {
  confirm_protection();
  for (std::size_t index = 0; index < memory_.size(); ++index) {
    auto& at = memory_[index];
    bool was_touched = at.is_known;
    for (std::size_t each = 0; each < plan_.touchers; ++each)
      was_touched = was_touched || touchers_->wrote(each, index) != 0;
    // Others remain missing, if nobody has read them.
    const bool is_due = was_touched || chosen.one_in(4);
    if (at.used_for == place::use::ended) {
      check_place(index);
      at = {};
      memory_.cover({index, 1});
    } else if (at.used_for == place::use::served && is_due) {
      check_place(index);
    }
  }
}

// No write to a protected page without its fault. A page counts as protected only once every
// callback is over that may have let an earlier write through.
void life::confirm_protection() {
  if (!can(register_mode::write_protect)) return;
  const auto let_through = [&] {
    while (pager_.writes_under_way() != 0) ::sched_yield();
  };
  for (std::size_t index = 0; index < memory_.size(); ++index) {
    auto& at = memory_[index];
    if (!at.is_protected || at.used_for != place::use::served) continue;
    bool is_written = false;
    for (std::size_t each = 0; each < plan_.touchers; ++each)
      is_written = is_written || touchers_->wrote(each, index) != 0;
    if (is_written && was_protected_[index] && !pager_.was_told_of_write(index)) {
      say("chaos: place %zu was protected and written, and no fault told of it\n", index);
      end_wrong(lane_);
    }
    let_through();
    pager_.forget_write(index);
    let_through();
    at.is_protected = test::is_marked(memory_.at(index));
  }
}

}  // namespace uffd::chaos
