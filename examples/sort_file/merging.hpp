// SPDX-License-Identifier: MIT
// Sorting within a budget: runs that fit into it, one after the other, then all of them merged.
#pragma once

#include <uffd/pager/paged_memory.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sort_file {

// Sorts each `run_size` integers of `from` into `to`. Counts in `done`.
void sort_runs(const uffd::paged_memory& from, const uffd::paged_memory& to, std::size_t run_size,
               std::atomic<std::uint64_t>& done);

// Merges such runs, which are read ahead by so many bytes in all. Throws std::system_error if they
// can't be read. Counts in `done`.
void merge_runs(const uffd::paged_memory& from, const uffd::paged_memory& to, std::size_t run_size,
                std::size_t bytes_ahead, std::atomic<std::uint64_t>& done);

}  // namespace sort_file
