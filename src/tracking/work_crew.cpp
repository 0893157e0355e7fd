// SPDX-License-Identifier: MIT
#include "tracking/work_crew.hpp"

#include <optional>

namespace uffd::detail {

work_crew::work_crew(unsigned threads) {
  try {
    for (unsigned i = 1; i < threads; ++i)
      threads_.push_back(
          std::make_unique<thread>("uffd-protect", std::nullopt, [this] { stand_by(); }));
  } catch (...) {
    run(std::function<void()>());
    for (auto& each : threads_) each->join();
    throw;
  }
}

work_crew::~work_crew() {
  if (home_.in_child()) return;
  run(std::function<void()>());
  for (auto& each : threads_) each->join();
}

void work_crew::run(const std::function<void()>& work) noexcept {
  work_ = work ? &work : nullptr;
  busy_.store(static_cast<std::uint32_t>(threads_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  if (work) work();
  for (auto left = busy_.load(std::memory_order_acquire); left != 0;
       left = busy_.load(std::memory_order_acquire))
    busy_.wait(left, std::memory_order_acquire);
}

void work_crew::stand_by() noexcept {
  for (std::uint32_t seen = 0;;) {
    round_.wait(seen, std::memory_order_acquire);
    seen = round_.load(std::memory_order_acquire);
    const auto* const work = work_;
    if (work != nullptr) (*work)();
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_all();
    if (work == nullptr) return;
  }
}

}  // namespace uffd::detail
