// SPDX-License-Identifier: MIT
// Faults that callbacks defer, for the test to answer.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/fault.hpp"

namespace uffd::test {

//   parking parked;  callback: return parked.put(raised.defer());  test: parked.take().copy(...)
class parking {
 public:
  resolution put(deferred_fault fault) {
    const std::lock_guard lock(mutex_);
    faults_.push_back(std::move(fault));
    return resolution::deferred();
  }
  // The next one; waits for it.
  deferred_fault take() {
    EXPECT_TRUE(eventually([this] { return size() != 0; }));
    const std::lock_guard lock(mutex_);
    deferred_fault first = std::move(faults_.at(0));
    faults_.erase(faults_.begin());
    return first;
  }
  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return faults_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<deferred_fault> faults_;
};

}  // namespace uffd::test
