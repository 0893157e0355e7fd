// SPDX-License-Identifier: MIT
#include "uffd/fault.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "detail/address_space.hpp"
#include "detail/copy_page.hpp"
#include "detail/engine.hpp"

namespace uffd {

std::size_t fault::space() const noexcept { return pending_.space->number; }

const handle& fault::on() const noexcept { return pending_.space->on; }

page_range fault::block(std::size_t bytes) const noexcept {
  const auto size = std::max(std::bit_floor(bytes), page_.size());
  const auto before = offset_ & (size - 1);
  const auto reach = page_.begin() - piece_.begin();
  const auto begin = page_.begin() - std::min(before, reach);
  const auto end = std::min(page_.begin() - before + size, piece_.end());
  return {begin, end - begin};
}

// Counts as an answer only if it resolved the page that is waited for, and woke.
template <class Operation>
resolution fault::guarded(page_range range, bool wakes, Operation&& operation) noexcept {
  if (range.empty() || !piece_.contains(range)) [[unlikely]]
    return std::errc::invalid_argument;
  const resolution result =
      owner_ != nullptr ? owner_->install(pending_, page_, range, operation) : operation();
  if (result.is_resolved() && wakes && range.contains(page_.begin())) answered_ = true;
  return result;
}

// Most faults end here, so what is rarely needed stands apart.
resolution fault::copy(page_range to, std::span<const std::byte> from,
                       flags<fill_mode> mode) noexcept {
  const bool fits = to.size() == from.size() && !from.empty() && piece_.contains(to);
  if (!fits || (owner_ != nullptr && owner_->is_gated())) [[unlikely]]
    return copy_guarded(to, from, mode);
  const resolution result = detail::copy_page(on(), page_, to.begin(), from, mode);
  const bool wakes = !mode.has(fill_mode::dont_wake);
  if (result.is_resolved() && wakes && to.contains(page_.begin())) answered_ = true;
  return result;
}

[[gnu::cold, gnu::noinline]] resolution fault::copy_guarded(page_range to,
                                                            std::span<const std::byte> from,
                                                            flags<fill_mode> mode) noexcept {
  if (to.size() != from.size()) return std::errc::invalid_argument;
  return guarded(to, !mode.has(fill_mode::dont_wake),
                 [&] { return detail::copy_page(on(), page_, to.begin(), from, mode); });
}

resolution fault::copy_buffer(page_range to, std::size_t used, flags<fill_mode> mode) noexcept {
  if (to.size() > buffer_.size() || used > to.size()) return std::errc::invalid_argument;
  const auto whole = buffer_.first(to.size());
  std::memset(whole.data() + used, 0, whole.size() - used);
  return copy(to, whole, mode);
}

resolution fault::zeropage(page_range range) noexcept {
  if (!range.is_aligned(page_.size())) return std::errc::invalid_argument;
  if (region_->ioctls.has(range_ioctl::zeropage))
    return guarded(range, true, [&] { return resolve::zeropage(on(), range, page_.size()); });
  // Huge pages have no zero page: copies of zeroes, one page at a time.
  resolution result = std::errc::invalid_argument;
  for (auto begin = range.begin(); begin < range.end(); begin += page_.size()) {
    result = copy_buffer({begin, page_.size()}, 0);
    if (!result.is_resolved()) break;
  }
  return result;
}

resolution fault::continue_(page_range range, flags<fill_mode> mode) noexcept {
  const auto result = guarded(range, !mode.has(fill_mode::dont_wake),
                              [&] { return resolve::continue_(on(), range, mode, page_.size()); });
  if (result.is_resolved() && detail::pages_without_progress.are_any()) [[unlikely]]
    detail::note_progress(on(), page_, range);
  return result;
}

resolution fault::move(page_range from, flags<move_mode> mode) noexcept {
  const page_range to(page_.begin(), from.size());
  return guarded(to, !mode.has(move_mode::dont_wake),
                 [&] { return resolve::move(on(), to.begin(), from, mode, page_.size()); });
}

resolution fault::unprotect(page_range range) noexcept {
  return guarded(range, true, [&] {
    return kind() == fault_kind::read_write_protect ? resolve::read_write_unprotect(on(), range)
                                                    : resolve::unprotect(on(), range);
  });
}

resolution fault::poison() noexcept {
  const resolution result =
      guarded(page_, true, [&] { return resolve::poison(on(), page_, page_.size()); });
  poisoned_ = poisoned_ || result.is_resolved();
  return result;
}

}  // namespace uffd
