// SPDX-License-Identifier: MIT
// The thread that gives up what sources don't give in time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "detail/thread.hpp"
#include "pager/paged_region.hpp"
#include "uffd/detail/process.hpp"

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
  std::chrono::milliseconds pause() const noexcept;

  const process_mark home_ = process_mark::here();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<paged_region*> regions_;
  bool is_over_ = false;
  thread thread_;  // last: it uses all of the above
};

}  // namespace uffd::detail
