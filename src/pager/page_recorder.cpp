// SPDX-License-Identifier: MIT
#include "pager/page_recorder.hpp"

#include <sys/mman.h>

#include <algorithm>

namespace uffd::detail {

bool page_recorder::begin() {
  if (bits_.load(std::memory_order_relaxed) != nullptr) return false;
  const auto words = stretches_at_ + pages_ / pages_per_stretch / bits_per_word + 1;
  if (!memory_) memory_.emplace(words * sizeof(word));
  // What was noted too late for the last time.
  ::madvise(memory_->begin(), memory_->size(), MADV_DONTNEED);
  bits_.store(reinterpret_cast<word*>(memory_->begin()), std::memory_order_release);
  return true;
}

void page_recorder::end() noexcept {
  bits_.store(nullptr, std::memory_order_release);
  if (memory_) ::madvise(memory_->begin(), memory_->size(), MADV_DONTNEED);
}

std::vector<page_run> page_recorder::noted() const {
  std::vector<page_run> runs;
  const auto* const bits = bits_.load(std::memory_order_relaxed);
  if (bits == nullptr) return runs;
  const auto add = [&](std::size_t page) {
    if (!runs.empty() && runs.back().end() == page)
      ++runs.back().count;
    else
      runs.push_back({page, 1});
  };
  for (std::size_t first = 0; first < pages_; first += pages_per_stretch) {
    if (!is_set(bits + stretches_at_, first / pages_per_stretch)) continue;
    const auto end = std::min(pages_, first + pages_per_stretch);
    for (auto page = first; page < end; ++page)
      if (is_set(bits, page)) add(page);
  }
  return runs;
}

}  // namespace uffd::detail
