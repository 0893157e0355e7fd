// SPDX-License-Identifier: MIT
// A file as it would be on a disk that is far away.
#pragma once

#include <time.h>

#include <uffd/pager/file_source.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace replay {

// Each read takes `latency` longer than the file's own.
class slow_file {
 public:
  slow_file(const std::string& path, std::chrono::microseconds latency)
      : file_(path), latency_(latency) {}

  std::uint64_t size() const noexcept { return file_.size(); }
  uffd::read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    if (latency_.count() != 0) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(latency_);
      const timespec moment{
          seconds.count(),
          std::chrono::duration_cast<std::chrono::nanoseconds>(latency_ - seconds).count()};
      ::nanosleep(&moment, nullptr);
    }
    return file_.read(offset, to);
  }
  std::string identity() const { return file_.identity(); }

 private:
  uffd::file_source file_;
  std::chrono::microseconds latency_;
};

}  // namespace replay
