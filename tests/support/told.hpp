// SPDX-License-Identifier: MIT
// Which pages callbacks were told of. Not how often: a thread that is woken while it waits, as a
// late wake of a lock it has long got may do, faults anew.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <vector>

namespace uffd::test {

//   told_pages told;    callback: told.add(raised.offset());    test: EXPECT_EQ(told.count(), 4u);
class told_pages {
 public:
  void add(std::size_t offset) {
    const std::lock_guard lock(mutex_);
    if (std::find(offsets_.begin(), offsets_.end(), offset) == offsets_.end())
      offsets_.push_back(offset);
  }
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return offsets_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<std::size_t> offsets_;
};

}  // namespace uffd::test
