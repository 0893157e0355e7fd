// SPDX-License-Identifier: MIT
#include "pager/spare_windows.hpp"

#include <sys/mman.h>

namespace uffd::detail {
namespace {

// So large that `count` aligned windows find their place.
mapping make_memory(std::size_t count, std::size_t bytes) {
  auto memory = mapping::anonymous((count + 1) * bytes);
  // What is shared with a child can't be moved.
  memory.keep_from_children();
  return memory;
}

page_range windows_in(const mapping& memory, std::size_t count, std::size_t bytes) noexcept {
  return {align_up(memory.range().begin(), bytes), count * bytes};
}

}  // namespace

spare_windows::spare_windows(const handle& on, std::size_t count, std::size_t bytes)
    : bytes_(bytes),
      memory_(make_memory(count, bytes)),
      places_(count),
      registered_(on, windows_in(memory_, count, bytes)) {
  for (std::size_t i = 0; i < count; ++i)
    places_[i].memory = {registered_.info().range.begin() + i * bytes, bytes};
  // Nobody waits for these pages.
  registered_.complete();
}

spare_windows::loan spare_windows::borrow() noexcept {
  for (auto& each : places_)
    if (!each.is_taken.load(std::memory_order_relaxed) &&
        !each.is_taken.exchange(true, std::memory_order_acquire))
      return loan(&each);
  return loan(nullptr);
}

spare_windows::loan::~loan() {
  if (of_ == nullptr) return;
  const auto memory = of_->memory;
  if (!is_empty_) ::madvise(reinterpret_cast<void*>(memory.begin()), memory.size(), MADV_DONTNEED);
  of_->is_taken.store(false, std::memory_order_release);
}

}  // namespace uffd::detail
