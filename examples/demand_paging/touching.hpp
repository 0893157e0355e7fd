// SPDX-License-Identifier: MIT
// Threads that touch pages, and compare them with the file.
#pragma once

#include <uffd/latency_histogram.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace demand_paging {

enum class touch_order { sequential, random };

// The numbers of the pages to touch: `count` of `pages`.
std::vector<std::size_t> choose_pages(std::size_t pages, std::size_t count, touch_order order);

struct touch_result {
  std::chrono::nanoseconds elapsed{};
  uffd::latency_histogram latency;         // of each touch, whether it faulted or not
  std::optional<std::size_t> failed_page;  // nobody went on after it
};

// Touches each of `pages`, shared out among `threads`; counts in `done`.
touch_result touch_pages(std::span<const std::byte> memory, std::span<const std::size_t> pages,
                         unsigned threads, std::atomic<std::size_t>& done);

// Compares each of `pages` with the file, which is opened anew. Throws std::runtime_error that
// names the first page that differs, or std::system_error if the file can't be read.
void compare_pages(std::span<const std::byte> memory, std::span<const std::size_t> pages,
                   unsigned threads, const std::string& path, std::size_t file_size);

}  // namespace demand_paging
