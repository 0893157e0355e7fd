// SPDX-License-Identifier: MIT
// Copies this process's memory without a signal where it was unmapped meanwhile.
#pragma once

#include <cstddef>
#include <span>

#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class memory_reader {
 public:
  memory_reader() noexcept;

  // Copies all of `from`. Answers 0 or an errno: EFAULT where it can't be read. Any thread.
  int read(page_range from, std::span<std::byte> into) const noexcept;

 private:
  unique_fd memory_;  // where process_vm_readv is filtered
  int own_id_;
};

}  // namespace uffd::detail
