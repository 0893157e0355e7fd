// SPDX-License-Identifier: MIT
// The thread that gives up what sources don't give in time.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "detail/thread.hpp"
#include "pager/paged_region.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class load_watch {
 public:
  // Throws std::system_error.
  load_watch();
  load_watch(const load_watch&) = delete;
  load_watch& operator=(const load_watch&) = delete;
  ~load_watch();

  void add(paged_region& region);
  // Nobody looks at it any more after that.
  void remove(paged_region& region) noexcept;

 private:
  void run() noexcept;
  void wake_up() const noexcept;
  std::chrono::milliseconds pause() noexcept;

  const process_mark home_ = process_mark::here();
  std::mutex mutex_;
  std::vector<paged_region*> regions_;
  std::atomic<bool> is_over_{false};
  // No condition variable: one that is waited for can't be destroyed in a forked child.
  const unique_fd changes_;
  thread thread_;  // last: it uses all of the above
};

}  // namespace uffd::detail
