// SPDX-License-Identifier: MIT
#include "uffd/served_region.hpp"

#include <utility>

#include "detail/address_space.hpp"

namespace uffd {

served_region::served_region(std::shared_ptr<detail::range_owner> owner,
                             std::shared_ptr<detail::served_range> range) noexcept
    : owner_(std::move(owner)), range_(std::move(range)) {}

served_region& served_region::operator=(served_region&& other) noexcept {
  if (this != &other) {
    end();
    owner_ = std::move(other.owner_);
    range_ = std::move(other.range_);
  }
  return *this;
}

served_region::~served_region() { end(); }

const region_info& served_region::info() const noexcept { return range_->info; }

std::span<std::byte> served_region::bytes() const noexcept {
  return range_ && range_->memory ? range_->memory->bytes() : std::span<std::byte>();
}

void served_region::complete() noexcept { range_->complete.store(true); }

void served_region::end() noexcept {
  if (!range_) return;
  owner_->end_range(*range_);
  range_.reset();
  owner_.reset();
}

}  // namespace uffd
