// SPDX-License-Identifier: MIT
#include "tracking/written_page_collector.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// One ioctl for so many at most: faults of pages that are held wait meanwhile.
constexpr std::size_t most_in_batch = 512;

[[noreturn]] void refuse(int number, page_range part) {
  throw_errno(number, "tracked_memory " + to_string(part) +
                          (number == EPERM ? ": something else was mapped there" : ""));
}

// What /proc/self/pagemap has for each page from `address` on. 0 or an errno.
int read_pagemap(int pagemap, std::uintptr_t address, std::span<std::uint64_t> entries) noexcept {
  const auto at = address / page_size() * sizeof(std::uint64_t);
  const auto got = ::pread(pagemap, entries.data(), entries.size_bytes(), static_cast<off_t>(at));
  if (got == static_cast<ssize_t>(entries.size_bytes())) return 0;
  return got < 0 ? errno : EIO;
}
// In memory or swapped out.
bool is_there(std::uint64_t entry) noexcept { return entry >> 62 != 0; }

// Protects `range`, and where a part of it is refused each page for itself: refused(page, errno).
// Kernels before 6.3 refuse a range of several mappings.
template <class Refused>
void protect(const trapped_writes& of, page_range range, Refused&& refused) {
  const int number =
      in_spite_of_events(of.on(), [&] { return of.on().write_protect(range); }).number;
  if (number == 0) return;
  const auto pages = range.size() / of.page_size();
  if (number != ENOENT || pages == 1) return refused(range, number);
  const auto half = pages / 2 * of.page_size();
  protect(of, {range.begin(), half}, refused);
  protect(of, {range.begin() + half, range.size() - half}, refused);
}

}  // namespace

// Some pages on their way from written to clean. None is held but between claim() and release().
class written_page_collector::batch {
 public:
  batch(const written_page_collector& owner, std::size_t first, std::size_t count,
        bool may_have_holes) noexcept
      : of_(*owner.of_),
        pagemap_(owner.pagemap_.get()),
        first_(first),
        count_(count),
        may_have_holes_(may_have_holes) {}

  // Tells what was written and begins anew with it; `next` becomes the first page that is not told
  // and may have to be. 0 or an errno.
  int collect(found_pages& found, std::size_t& next);
  // Tells the same and leaves it as it is.
  int peek(found_pages& found, std::size_t& next) noexcept;

 private:
  enum class step : std::uint8_t { nothing, claimed, refused, told };

  void claim(std::size_t most_runs) noexcept;
  void protect();
  int release() noexcept;
  int settle(std::size_t i) noexcept;
  std::size_t tell(found_pages& found) noexcept;
  int read_presence() noexcept;
  bool was_dropped(std::size_t i) const noexcept {
    return pagemap_ >= 0 && were_there_[i] && !is_there(entries_[i]) &&
           of_.states()[first_ + i] == write_state{write_phase::clean, true};
  }

  trapped_writes& of_;
  int pagemap_;
  std::size_t first_;
  std::size_t count_;
  bool may_have_holes_;
  std::array<step, most_in_batch> steps_{};
  std::array<int, most_in_batch> errors_{};
  std::array<bool, most_in_batch> were_there_{};  // as it was known before they were looked for
  std::array<std::uint64_t, most_in_batch> entries_{};
};

// Holds what is written, no more runs of it than that: then the batch ends before the next.
void written_page_collector::batch::claim(std::size_t most_runs) noexcept {
  std::size_t runs = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    const auto phase = of_.states()[first_ + i].phase;
    if (phase == write_phase::opening) steps_[i] = step::told;
    if (phase != write_phase::written) continue;
    const bool begins = i == 0 || steps_[i - 1] != step::claimed;
    if (begins && runs++ == most_runs) {
      count_ = i;
      return;
    }
    // A handler that opens it again meanwhile marks it again, too.
    steps_[i] = of_.states().try_claim(first_ + i) ? step::claimed : step::told;
  }
}

void written_page_collector::batch::protect() {
  for (std::size_t begin = 0; begin < count_;) {
    auto end = begin;
    while (end < count_ && steps_[end] == step::claimed) ++end;
    if (end != begin)
      detail::protect(of_, of_.page(first_ + begin, end - begin), [&](page_range page, int number) {
        for (auto i = begin; i < end; ++i)
          if (page.contains(of_.page(first_ + i))) errors_[i] = number;
      });
    begin = end + 1;
  }
}

// A page that is touched for the first time meanwhile was not there, but is not dropped either.
int written_page_collector::batch::read_presence() noexcept {
  if (pagemap_ < 0) return 0;
  for (std::size_t i = 0; i < count_; ++i) were_there_[i] = of_.states()[first_ + i].there;
  return read_pagemap(pagemap_, of_.page(first_).begin(), std::span(entries_).first(count_));
}

// What was claimed: protected, it is clean; unmapped, nobody's any more; else it stays written.
int written_page_collector::batch::settle(std::size_t i) noexcept {
  const auto page = first_ + i;
  // The kernel protects across what is not mapped.
  if (errors_[i] == 0 && may_have_holes_ && !is_mapped(of_.page(page).begin())) errors_[i] = ENOENT;
  if (errors_[i] == 0) {
    of_.states().set(page, {write_phase::clean, pagemap_ < 0 || is_there(entries_[i])});
    steps_[i] = step::told;
    return 0;
  }
  const bool is_gone = errors_[i] == ENOENT && !is_mapped(of_.page(page).begin());
  steps_[i] = is_gone ? step::nothing : step::refused;
  of_.states().set(page, is_gone ? write_state{} : write_state{write_phase::written, true});
  if (is_gone) return 0;
  return errors_[i] == ENOENT ? EPERM : errors_[i];
}

// Lets go of what was claimed, and finds what was dropped.
int written_page_collector::batch::release() noexcept {
  const int unread = read_presence();
  if (unread != 0) errors_.fill(unread);
  int error = unread;
  for (std::size_t i = 0; i < count_; ++i) {
    if (steps_[i] == step::claimed) {
      const int number = settle(i);
      if (error == 0) error = number;
    } else if (unread == 0 && was_dropped(i) && of_.states().forget(first_ + i) &&
               is_mapped(of_.page(first_ + i).begin())) {
      steps_[i] = step::told;
    }
  }
  return error;
}

// The first page that has to be told and is not: there was no room for it, or it was not protected.
std::size_t written_page_collector::batch::tell(found_pages& found) noexcept {
  std::size_t i = 0;
  while (i < count_ && steps_[i] != step::refused &&
         (steps_[i] != step::told || found.add(of_.page(first_ + i))))
    ++i;
  return first_ + i;
}

int written_page_collector::batch::collect(found_pages& found, std::size_t& next) {
  claim(found.room());
  protect();
  const int error = release();
  next = tell(found);
  for (auto i = next - first_; i < count_; ++i)
    if (steps_[i] == step::told) of_.states().put_back(first_ + i);
  return error;
}

int written_page_collector::batch::peek(found_pages& found, std::size_t& next) noexcept {
  const int error = read_presence();
  if (error != 0) return error;
  for (std::size_t i = 0; i < count_; ++i) {
    const auto phase = of_.states()[first_ + i].phase;
    if (phase == write_phase::opening || phase == write_phase::written ||
        (was_dropped(i) && is_mapped(of_.page(first_ + i).begin())))
      steps_[i] = step::told;
  }
  next = tell(found);
  return 0;
}

written_page_collector::written_page_collector(std::shared_ptr<trapped_writes> of,
                                               bool finds_dropped)
    : of_(std::move(of)) {
  if (!finds_dropped) return;
  pagemap_ = unique_fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap_) throw_errno(errno, "write_tracker: /proc/self/pagemap");
}

void written_page_collector::begin() {
  if (of_->on().write_protect(of_->page(0)).number == EINVAL)
    throw_errno(ENOTSUP, "write_tracker::track " + to_string(of_->memory()) +
                             ": its pages are larger than " + std::to_string(of_->page_size()) +
                             " bytes");
  protect(*of_, of_->memory(), [](page_range page, int number) { refuse(number, page); });
  if (!pagemap_) return;
  std::array<std::uint64_t, most_in_batch> entries{};
  const auto pages = of_->memory().size() / of_->page_size();
  for (std::size_t page = 0; page < pages; page += most_in_batch) {
    const auto some = std::span(entries).first(std::min(most_in_batch, pages - page));
    if (const int number = read_pagemap(pagemap_.get(), of_->page(page).begin(), some); number != 0)
      refuse(number, of_->memory());
    for (std::size_t i = 0; i < some.size(); ++i)
      if (is_there(some[i])) of_->states().mark_there(page + i);
  }
}

// ENOENT where a part is not registered; of small pages, also where it is several mappings. Huge
// pages can run short, so that none may be taken for a try; there are few to protect.
int written_page_collector::ask(page_range part) const noexcept {
  const bool are_small = of_->page_size() == uffd::page_size();
  return in_spite_of_events(of_->on(),
                            [&] {
                              return are_small ? probe_.ask(of_->on(), part)
                                               : of_->on().write_protect(part);
                            })
      .number;
}

// Where something else was mapped over the memory: it is not registered, and nobody is told of its
// writes. What is not mapped at all has none.
std::optional<std::uintptr_t> written_page_collector::first_replaced(page_range part) const {
  if (ask(part) != ENOENT) return std::nullopt;
  const auto pages = part.size() / of_->page_size();
  if (pages == 1) return is_mapped(part.begin()) ? std::optional(part.begin()) : std::nullopt;
  const auto half = pages / 2 * of_->page_size();
  const auto first = first_replaced({part.begin(), half});
  return first ? first : first_replaced({part.begin() + half, part.size() - half});
}

written_pages written_page_collector::find(page_range part, std::span<page_range> into,
                                           bool begins_anew) {
  if (home_.in_child()) throw_errno(EOWNERDEAD, "tracked_memory: in a forked child");
  of_->rethrow_error();
  const std::lock_guard lock(one_at_a_time_);
  const bool may_have_holes = of_->page_size() != uffd::page_size() || ask(part) == ENOENT;
  const auto replaced = may_have_holes ? first_replaced(part) : std::nullopt;
  const auto last = index_of(replaced.value_or(part.end()));
  int error = replaced ? EPERM : 0;
  found_pages found(into);
  auto next = index_of(part.begin());
  while (next < last && found.room() != 0) {
    batch some(*this, next, std::min(most_in_batch, last - next), may_have_holes);
    const int number = begins_anew ? some.collect(found, next) : some.peek(found, next);
    if (number == 0) continue;
    error = number;
    break;
  }
  const auto rest = range_between(of_->page(next).begin(), part.end());
  if (error != 0 && found.empty()) refuse(error, rest);
  return {found.all(), rest};
}

}  // namespace uffd::detail
