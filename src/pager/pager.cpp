// SPDX-License-Identifier: MIT
#include "uffd/pager/pager.hpp"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "pager/evictor.hpp"
#include "pager/mapped_source.hpp"
#include "pager/page_backing.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace detail {
namespace {

constexpr std::size_t most_buffer_bytes = std::size_t{2} << 20;
constexpr std::size_t most_threads = 8;
constexpr std::size_t least_pages = 16;  // beside the buffers
constexpr std::size_t least_pages_to_move = 16;

std::size_t allowed_cpus() noexcept {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::clamp<std::size_t>(static_cast<std::size_t>(CPU_COUNT(&allowed)), 1, most_threads);
}

std::size_t threads_of(const pager_options& options) noexcept {
  return options.threads != 0 ? options.threads : allowed_cpus();
}

// Buffers are a part of the budget: all of them a thirty-second at most, where that is a page each.
std::size_t buffer_size_for(const memory_budget& budget, std::size_t buffers) noexcept {
  const auto share =
      std::min(budget.limit() / 32 / std::max<std::size_t>(buffers, 1), most_buffer_bytes);
  return std::max(std::bit_floor(share), page_size());
}

open_options opened_by(const pager_options& options) {
  auto open = options.open;
  open.optional |= feature::poison | feature::move | feature::pagefault_flag_wp |
                   feature::missing_shmem | feature::minor_shmem | feature::missing_hugetlbfs |
                   feature::wp_hugetlbfs_shmem;
  return open;
}

// Nothing is served by the handler itself: each mapping brings its own callback.
resolution serve_nothing(fault& /*raised*/) { return std::errc::invalid_argument; }

// The same for a sigbus_handler, which has one callback for all: the tag names the mapping.
struct serve_by_tag {
  resolution operator()(fault& raised) const noexcept {
    return reinterpret_cast<paged_region*>(static_cast<std::uintptr_t>(raised.tag()))
        ->serve(raised);
  }
};

}  // namespace

pager_threads::pager_threads(const pager_options& options, std::size_t buffer_count)
    : budget(options.budget),
      evicting(budget_access::evictor_of(budget)),
      counts(options.statistics),
      buffers(buffer_count),
      buffer_size(buffer_size_for(budget, buffers)) {
  if (budget.limit() < buffers * buffer_size + least_pages * page_size())
    throw_errno(EINVAL, "pager: a budget of " + std::to_string(budget.limit()) +
                            " bytes is too small for " + std::to_string(buffers) + " threads");
  evicting->charge(buffers * buffer_size);
}

pager_threads::~pager_threads() { evicting->release(buffers * buffer_size); }

const handle& pager_threads::on() const noexcept {
  return in_thread ? in_thread->on() : (own ? *own : *shared).on();
}

// What another's buffers can't hold its handler refuses by itself.
std::size_t pager_threads::largest_page() const noexcept {
  return shared != nullptr ? budget.limit() : buffer_size;
}

std::size_t pager_threads::threads_that_may_go_on() const noexcept {
  if (in_thread) return 0;
  return own ? buffers : 1;
}

// Smaller windows are not worth it. Events would have to be heard between the parts of a move.
void pager_threads::prepare_to_move() {
  constexpr flags<feature> events =
      feature::event_fork | feature::event_remap | feature::event_remove | feature::event_unmap;
  const auto has = on().features();
  const bool can =
      has.has(feature::move) && has.has(feature::pagefault_flag_wp) && (has & events).bits() == 0;
  if (can && buffer_size >= least_pages_to_move * page_size())
    spare.emplace(on(), buffers, buffer_size);
}

served_region pager_threads::serve(page_range range, paged_region& by, serve_options options) {
  options.tag = reinterpret_cast<std::uintptr_t>(&by);
  if (in_thread) return in_thread->serve(range, options);
  return (own ? *own : *shared)
      .serve(
          range, [&by](fault& raised) { return by.serve(raised); }, options);
}

}  // namespace detail

pager::pager(const pager_options& options)
    : threads_(std::make_shared<detail::pager_threads>(options, detail::threads_of(options))) {
  fault_handler_options how;
  how.threads = options.threads;
  how.forks = fork_policy::not_inherited;
  how.buffer_size = threads_->buffer_size;
  how.open = detail::opened_by(options);
  threads_->own.emplace(&detail::serve_nothing, how);
  threads_->prepare_to_move();
}

pager::pager(async_signal_safe_t declared, const pager_options& options)
    : threads_(std::make_shared<detail::pager_threads>(options, detail::threads_of(options))) {
  sigbus_handler_options how;
  how.buffer_size = threads_->buffer_size;
  how.buffers = threads_->buffers;
  how.open = detail::opened_by(options);
  threads_->in_thread.emplace(declared, detail::serve_by_tag(), how);
  threads_->prepare_to_move();
}

pager::pager(fault_handler& by, const pager_options& options)
    : threads_(std::make_shared<detail::pager_threads>(options, 0)) {
  threads_->shared = &by;
}

paged_memory pager::map_any(any_source source, const map_options& options) const {
  if (source.size() == 0) detail::throw_errno(EINVAL, "pager::map: the source is empty");
  if (source.size() > SIZE_MAX / 2) detail::throw_errno(ENOMEM, "pager::map: the source");
  if (options.writes == write_policy::write_back && !source.is_writable())
    detail::throw_errno(EROFS, "pager::map: write_policy::write_back of a read-only source");
  detail::check_backing(options, threads_->on().features(), threads_->largest_page());
  return paged_memory(
      std::make_unique<detail::mapped_source>(threads_, std::move(source), options));
}

}  // namespace uffd
