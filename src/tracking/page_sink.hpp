// SPDX-License-Identifier: MIT
// Where a snapshot's pages go.
#pragma once
#include <cstddef>
#include <span>
#include <system_error>
namespace uffd::detail {
class page_sink {
 public:
  page_sink() = default;
  page_sink(const page_sink&) = delete;
  page_sink& operator=(const page_sink&) = delete;
  virtual ~page_sink() = default;
  // Whole pages of an area, `offset` bytes from its start. From several threads at once, in any
  // order, each page at most once. May block.
  virtual std::error_code put(std::size_t area, std::size_t offset,
                              std::span<const std::byte> pages) noexcept = 0;
  // Pages that read as zeroes (said only where the base has something else, or there is no base and
  // the caller likes to say so).
  virtual std::error_code put_zero(std::size_t area, std::size_t offset,
                                   std::size_t bytes) noexcept = 0;
  // All pages were put; those that were not are as in the base, or zeroes where there is none. What
  // it returns for (no error) outlasts a crash. Once, last.
  virtual std::error_code commit() noexcept = 0;
};
}  // namespace uffd::detail
