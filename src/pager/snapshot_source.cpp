// SPDX-License-Identifier: MIT
#include "uffd/pager/snapshot_source.hpp"

#include <cerrno>
#include <utility>

#include "uffd/error.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

snapshot_source::snapshot_source(snapshot_chain chain, std::size_t area)
    : chain_(std::move(chain)), area_(area) {
  if (area >= chain_.areas().size())
    detail::throw_errno(EINVAL, "snapshot_source: " + chain_.newest().path().string() +
                                    " has no area " + std::to_string(area));
  size_ = chain_.areas()[area].range.size();
}

read_result snapshot_source::read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
  const auto result = chain_.read(area_, static_cast<std::size_t>(offset), to);
  return {result.bytes, result.error};
}

std::string snapshot_source::identity() const {
  return "snapshot:" + to_string(chain_.newest().identity()) + ":" + std::to_string(area_);
}

source_advice snapshot_source::advice() const noexcept {
  const auto page = chain_.areas()[area_].page_size;
  return {page > page_size() ? page : 0};
}

}  // namespace uffd
