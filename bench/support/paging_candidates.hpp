// SPDX-License-Identifier: MIT
// Who pages a file: the library, hand-written loops, and the kernel.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/library_pagers.hpp"
#include "support/paged_file.hpp"
#include "support/paging_run.hpp"

namespace uffd::bench {

namespace names {
inline constexpr std::string_view in_thread = "pager in-thread";
inline constexpr std::string_view threaded = "pager threaded";
inline constexpr std::string_view checked = "pager in-thread, file watched";
inline constexpr std::string_view huge = "pager threaded, huge pages";
inline constexpr std::string_view raw_in_thread = "raw in-thread";
inline constexpr std::string_view raw_threaded = "raw threaded";
inline constexpr std::string_view raw_protects = "raw in-thread (fills protected)";
inline constexpr std::string_view segv = "SIGSEGV + mprotect";
inline constexpr std::string_view kernel = "kernel mmap";
inline constexpr std::string_view read_loop = "read() loop";
inline constexpr std::string_view again = " again";  // behind the baseline's, to show the noise
}  // namespace names

struct named_pager {
  std::string name;
  paged_file_maker make;
};

// With which the others are compared.
std::string_view baseline_of(const paging_workload& work);
// All that can do it.
std::vector<named_pager> pagers_for(const paging_workload& work, told about);

}  // namespace uffd::bench
