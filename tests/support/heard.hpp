// SPDX-License-Identifier: MIT
// What callbacks were told, for the test to read.
#pragma once

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "support/awaited.hpp"

namespace uffd::test {

// A list that callbacks write and the test reads.
template <class Value>
class heard {
 public:
  void add(Value value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(value);
  }
  std::vector<Value> all() {
    const std::lock_guard lock(mutex_);
    return values_;
  }
  // The only one; waits for it.
  std::optional<Value> only() {
    if (!eventually([this] { return !all().empty(); })) return std::nullopt;
    const auto values = all();
    return values.size() == 1 ? std::optional(values.front()) : std::nullopt;
  }

 private:
  std::mutex mutex_;
  std::vector<Value> values_;
};

}  // namespace uffd::test
