// SPDX-License-Identifier: MIT
#include "pager/spare_windows.hpp"

#include <sys/mman.h>

#include <fstream>

namespace uffd::detail {
namespace {

// Of anonymous memory; 0 where the kernel has none.
std::size_t huge_page_size() {
  std::size_t bytes = 0;
  std::ifstream("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") >> bytes;
  return bytes;
}

// So large that `count` aligned windows find their place.
mapping make_memory(std::size_t count, std::size_t bytes) {
  auto memory = mapping::anonymous((count + 1) * bytes);
  // What is shared with a child can't be moved.
  memory.keep_from_children();
  return memory;
}

void* pointer_to(page_range range) noexcept { return reinterpret_cast<void*>(range.begin()); }

page_range windows_in(const mapping& memory, std::size_t count, std::size_t bytes) noexcept {
  return {align_up(memory.range().begin(), bytes), count * bytes};
}

}  // namespace

spare_windows::spare_windows(const handle& on, std::size_t count, std::size_t bytes)
    : bytes_(bytes),
      memory_(make_memory(2 * count, bytes)),
      targets_(count),
      huge_(bytes == huge_page_size() ? count : 0),
      registered_(on, windows_in(memory_, count, bytes)) {
  auto next = registered_.info().range.begin();
  for (auto* kind : {&targets_, &huge_})
    for (auto& each : *kind) each.memory = {std::exchange(next, next + bytes), bytes};
  if (!huge_.empty()) ::madvise(pointer_to(huge_.front().memory), count * bytes, MADV_HUGEPAGE);
  // Nobody waits for these pages.
  registered_.complete();
}

spare_windows::loan spare_windows::borrow(std::vector<place>& places) noexcept {
  for (auto& each : places)
    if (!each.is_taken.load(std::memory_order_relaxed) &&
        !each.is_taken.exchange(true, std::memory_order_acquire))
      return loan(&each);
  return {};
}

spare_windows::loan::~loan() {
  if (of_ == nullptr) return;
  const auto memory = of_->memory;
  // What is empty may have a page table yet, which a huge page can't be moved over.
  ::madvise(reinterpret_cast<void*>(memory.begin()), memory.size(), MADV_DONTNEED);
  of_->is_taken.store(false, std::memory_order_release);
}

}  // namespace uffd::detail
