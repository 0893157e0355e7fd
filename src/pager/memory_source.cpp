// SPDX-License-Identifier: MIT
#include "uffd/pager/memory_source.hpp"

#include <algorithm>
#include <cstring>

namespace uffd {

read_result memory_source::read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
  if (offset >= bytes_.size()) return {0, source_error::incomplete};
  const auto from = bytes_.subspan(static_cast<std::size_t>(offset));
  const auto count = std::min(from.size(), to.size());
  if (count != 0) std::memcpy(to.data(), from.data(), count);
  if (count != to.size()) return {count, source_error::incomplete};
  return {count, {}};
}

std::error_code memory_source::write(std::uint64_t offset,
                                     std::span<const std::byte> from) noexcept {
  if (!is_writable()) return std::make_error_code(std::errc::read_only_file_system);
  if (offset > writable_.size() || from.size() > writable_.size() - offset)
    return std::make_error_code(std::errc::file_too_large);
  if (!from.empty())
    std::memcpy(&writable_[static_cast<std::size_t>(offset)], from.data(), from.size());
  return {};
}

}  // namespace uffd
