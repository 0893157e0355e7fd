// SPDX-License-Identifier: MIT
#include "uffd/pager/paged_memory.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "pager/evictor.hpp"
#include "pager/mapped_source.hpp"
#include "pager/page_backing.hpp"
#include "pager/page_sharing_state.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace detail {
namespace {

// What has no whole window needs none, and what is written can't be moved in: writes between that
// and its protection would not be noticed.
spare_windows* spare_for(pager_threads& by, std::uint64_t bytes,
                         const map_options& options) noexcept {
  const bool moves = by.spare && options.writes == write_policy::none &&
                     options.backing == page_backing::anonymous &&
                     bytes >= by.spare->window_bytes();
  return moves ? &*by.spare : nullptr;
}

serve_options options_for(const map_options& how, std::size_t page, bool is_moved) {
  serve_options options;
  options.page_size = page;
  if (how.writes != write_policy::none || is_moved) options.modes |= register_mode::write_protect;
  if (how.backing == page_backing::shared) options.modes |= register_mode::minor;
  return options;
}

void* pointer_to(page_range range) noexcept { return reinterpret_cast<void*>(range.begin()); }

}  // namespace

mapped_source::mapped_source(std::shared_ptr<pager_threads> threads, any_source source,
                             const map_options& options)
    : by(std::move(threads)),
      spare(spare_for(*by, source.size(), options)),
      memory(make_backing(source.size(), options, spare)),
      pages(pages_in(memory, source.size(), spare)),
      region(std::move(source), pages, options,
             {&by->on(), memory.page_size(), by->evicting.get(), spare, memory.file(),
              by->buffer_size, by->counts, by->threads_that_may_go_on()}),
      served(by->serve(pages, region, options_for(options, memory.page_size(), spare != nullptr))) {
  by->evicting->add(region);
  by->watch.add(region);
}

// Nobody uses it any more; who does nevertheless finds memory that can't be accessed, for what is
// missing would be zeroes a moment later.
mapped_source::~mapped_source() {
  if (home.in_child()) return;
  static_cast<void>(region.flush());
  by->watch.remove(region);
  by->evicting->remove(region);
  if (::mprotect(pointer_to(pages), pages.size(), PROT_NONE) == 0) served.complete();
  served = {};
  if (region.is_shared())
    region.drop({0, region.pages()});
  else
    ::madvise(pointer_to(pages), pages.size(), MADV_DONTNEED);
  region.release_all();
}

}  // namespace detail

namespace {

// The pages that have a byte of `part`.
std::optional<detail::page_run> pages_of(const detail::paged_region& region,
                                         std::span<const std::byte> part) {
  if (part.empty()) return detail::page_run{};
  const page_range range(part);
  if (!page_range(region.memory().begin(), static_cast<std::size_t>(region.size())).contains(range))
    return std::nullopt;
  const auto begin = range.begin() - region.memory().begin();
  const auto first = begin / region.page_size();
  const auto end = (begin + range.size() + region.page_size() - 1) / region.page_size();
  return detail::page_run{first, end - first};
}

}  // namespace

paged_memory::paged_memory(std::unique_ptr<detail::mapped_source> mapped) noexcept
    : mapped_(std::move(mapped)),
      bytes_(reinterpret_cast<std::byte*>(mapped_->pages.begin()),
             static_cast<std::size_t>(mapped_->region.size())) {}

paged_memory::paged_memory(paged_memory&& other) noexcept
    : mapped_(std::move(other.mapped_)), bytes_(std::exchange(other.bytes_, {})) {}

paged_memory& paged_memory::operator=(paged_memory&& other) noexcept {
  mapped_ = std::move(other.mapped_);
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

paged_memory::~paged_memory() = default;

std::span<std::byte> paged_memory::writable_bytes() const {
  if (mapped_->region.writes() == write_policy::none)
    detail::throw_errno(EROFS, "paged_memory::writable_bytes: mapped with write_policy::none");
  return bytes_;
}

std::size_t paged_memory::page_size() const noexcept { return mapped_->region.page_size(); }

page_sharing paged_memory::share(unique_fd socket, const sharing_options& options) const {
  if (!mapped_->region.is_shared())
    detail::throw_errno(EINVAL, "paged_memory::share: mapped without page_backing::shared");
  return page_sharing(std::make_unique<page_sharing::state>(std::move(socket), *mapped_, options));
}

std::error_code paged_memory::prefetch(std::span<const std::byte> part) const noexcept {
  const auto pages = pages_of(mapped_->region, part);
  if (!pages) return std::make_error_code(std::errc::invalid_argument);
  return mapped_->region.prefetch(*pages);
}

pinned_pages paged_memory::pin(std::span<const std::byte> part, pin_access access) const {
  auto& region = mapped_->region;
  const auto what = [&] { return "paged_memory::pin " + to_string(page_range(part)); };
  if (access == pin_access::write && region.writes() == write_policy::none)
    detail::throw_errno(EROFS, what() + ": mapped with write_policy::none");
  const auto pages = pages_of(region, part);
  if (!pages) detail::throw_errno(EINVAL, what() + ": not all of it is this memory");
  if (const auto error = region.pin(*pages, access)) throw std::system_error(error, what());
  const auto offset = page_range(part).begin() - region.memory().begin();
  return {region, bytes_.subspan(part.empty() ? 0 : offset, part.size())};
}

void paged_memory::advise(access_pattern expected) const noexcept {
  mapped_->region.advise(expected);
}

std::error_code paged_memory::flush() const noexcept { return mapped_->region.flush(); }

paged_memory_statistics paged_memory::statistics() const noexcept {
  return mapped_->region.statistics();
}

pinned_pages::pinned_pages(pinned_pages&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}

pinned_pages& pinned_pages::operator=(pinned_pages&& other) noexcept {
  pinned_pages taken(std::move(other));
  std::swap(owner_, taken.owner_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

pinned_pages::~pinned_pages() {
  if (owner_ == nullptr) return;
  if (const auto pages = pages_of(*owner_, bytes_)) owner_->unpin(*pages);
}

}  // namespace uffd
