// SPDX-License-Identifier: MIT
// Sources whose every byte is known, and what can go wrong with them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "uffd/page_range.hpp"
#include "uffd/pager/page_source.hpp"

namespace uffd::test {

// The word that a source has at a multiple of eight: never 0.
constexpr std::uint64_t source_word(std::uint64_t offset) noexcept {
  return (offset + 1) * 0x9e3779b97f4a7c15U | 1U;
}

// The byte that it has anywhere.
constexpr std::byte source_byte(std::uint64_t offset) noexcept {
  return static_cast<std::byte>(source_word(offset & ~std::uint64_t{7}) >> (offset & 7U) * 8U);
}

// Has as many bytes as wanted, without any memory; counts what is read, copies together.
class counted_source {
 public:
  explicit counted_source(std::uint64_t bytes)
      : size_(bytes), counts_(std::make_shared<counts>()) {}

  std::uint64_t size() const noexcept { return size_; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    counts_->reads.fetch_add(1);
    counts_->bytes.fetch_add(to.size());
    for (auto& each : to) each = source_byte(offset++);
    return {to.size(), {}};
  }
  std::size_t reads() const { return counts_->reads; }
  std::size_t bytes_read() const { return counts_->bytes; }

 private:
  struct counts {
    std::atomic<std::size_t> reads{0};
    std::atomic<std::size_t> bytes{0};
  };

  std::uint64_t size_;
  std::shared_ptr<counts> counts_;
};

// What something fails with, each time it is asked. May be set while others ask: a fault orders
// nothing in the eyes of ThreadSanitizer.
class settable_failure {
 public:
  template <class Answer>
  settable_failure& operator=(Answer answer) {
    const auto next = std::make_shared<const std::function<std::error_code()>>(std::move(answer));
    const std::lock_guard lock(mutex_);
    answer_ = next;
    return *this;
  }
  std::error_code operator()() const {
    const auto answer = now();
    return answer ? (*answer)() : std::error_code();
  }

 private:
  std::shared_ptr<const std::function<std::error_code()>> now() const {
    const std::lock_guard lock(mutex_);
    return answer_;
  }

  mutable std::mutex mutex_;
  std::shared_ptr<const std::function<std::error_code()>> answer_;
};

// Remembers what is written; both may be made to fail.
class kept_source {
 public:
  explicit kept_source(std::size_t bytes) : bytes_(bytes) {
    for (std::size_t i = 0; i < bytes; ++i) bytes_[i] = source_byte(i);
  }

  std::uint64_t size() const noexcept { return bytes_.size(); }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    if (const std::error_code error = reading_fails()) return {0, error};
    const std::lock_guard lock(mutex_);
    std::memcpy(to.data(), &bytes_[offset], to.size());
    return {to.size(), {}};
  }
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept {
    if (const std::error_code error = writing_fails()) return error;
    const std::lock_guard lock(mutex_);
    std::memcpy(&bytes_[offset], from.data(), from.size());
    writes_.fetch_add(1);
    return {};
  }
  std::error_code flush() noexcept {
    flushes_.fetch_add(1);
    return {};
  }

  std::byte at(std::size_t offset) const {
    const std::lock_guard lock(mutex_);
    return bytes_[offset];
  }
  std::uint64_t word_at(std::size_t offset) const {
    const std::lock_guard lock(mutex_);
    std::uint64_t word = 0;
    std::memcpy(&word, &bytes_[offset], sizeof word);
    return word;
  }
  std::size_t writes() const { return writes_; }
  std::size_t flushes() const { return flushes_; }

  // An error each time they return one.
  settable_failure reading_fails;
  settable_failure writing_fails;

 private:
  mutable std::mutex mutex_;
  std::vector<std::byte> bytes_;
  std::atomic<std::size_t> writes_{0};
  std::atomic<std::size_t> flushes_{0};
};

}  // namespace uffd::test
