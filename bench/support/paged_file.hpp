// SPDX-License-Identifier: MIT
// A file in memory, whoever brings its pages there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "support/numbered_file.hpp"

namespace uffd::bench {

// What is wanted of it.
struct paging_plan {
  std::size_t budget = 0;  // bytes that may be resident; 0: no limit
  bool writable = false;
  bool sequential = false;  // else at random
  bool direct = false;      // without the page cache
};

struct paging_counters {
  std::uint64_t faults = 0;
  std::uint64_t source_reads = 0;
  std::uint64_t source_writes = 0;
};

// Its end stops what serves it, writes back what was written and unmaps. Nobody may touch it then.
class paged_file {
 public:
  paged_file() = default;
  paged_file(const paged_file&) = delete;
  paged_file& operator=(const paged_file&) = delete;
  virtual ~paged_file() = default;

  // Where the file lies in memory, all of it; null where at() must be asked.
  virtual std::byte* base() const noexcept = 0;
  // Where a page may be accessed now. Only where there is no base().
  virtual std::byte* at(std::size_t page) {
    static_cast<void>(page);
    return nullptr;
  }
  virtual paging_counters counters() const = 0;
  // Else the kernel does.
  virtual bool counts_faults() const noexcept { return true; }
  // The memory whose resident pages count.
  virtual std::byte* memory() const noexcept { return base(); }
};

using paged_file_maker =
    std::function<std::unique_ptr<paged_file>(const numbered_file&, const paging_plan&)>;

}  // namespace uffd::bench
