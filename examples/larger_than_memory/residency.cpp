// SPDX-License-Identifier: MIT
#include "residency.hpp"

#include <sys/mman.h>

#include <uffd/page_range.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace larger_than_memory {

void residency::sample() {
  constexpr std::size_t pages_at_once = 65536;
  const auto page = uffd::page_size();
  std::vector<unsigned char> there(pages_at_once);
  std::uint64_t pages = 0;
  for (std::size_t offset = 0; offset < memory_.size(); offset += pages_at_once * page) {
    const auto size = std::min(memory_.size() - offset, pages_at_once * page);
    // mincore() does not write to it: NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
    auto* const begin = const_cast<std::byte*>(memory_.data() + offset);
    if (::mincore(begin, size, there.data()) != 0)
      throw std::system_error(errno, std::system_category(), "mincore");
    pages += static_cast<std::uint64_t>(std::count_if(
        there.begin(), there.begin() + static_cast<std::ptrdiff_t>((size + page - 1) / page),
        [](unsigned char each) { return (each & 1U) != 0; }));
  }
  most_ = std::max(most_, pages * page);
}

}  // namespace larger_than_memory
