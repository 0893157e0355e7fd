// SPDX-License-Identifier: MIT
#include "uffd/pager/page_sharing.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "detail/connection.hpp"
#include "detail/descriptor_passing.hpp"
#include "pager/evictor.hpp"
#include "pager/mapped_source.hpp"
#include "pager/sharing_message.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/error.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handoff.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd {
namespace {

constexpr const char* here = "paged_memory::share";

// Who has it can't write to the pages.
unique_fd opened_to_read(int file) {
  unique_fd opened(::open(("/proc/self/fd/" + std::to_string(file)).c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened) detail::throw_errno(errno, std::string(here) + ": the pages' file in /proc");
  return opened;
}

handed_over offer(int socket, const detail::mapped_source& what, const sharing_options& options) {
  const auto file = opened_to_read(what.memory.file());
  const detail::connection to(socket, here, options.time_limit);
  const auto message = encode(detail::sharing_message{what.region.size(), what.region.page_size()});
  detail::send_with_descriptor(to, message, file.get());
  auto answer = handoff::receive(
      socket, {.time_limit = options.time_limit, .most_regions = 1, .most_children = 0});
  constexpr flags<register_mode> both = register_mode::missing | register_mode::minor;
  const bool is_all = answer.regions.size() == 1 &&
                      answer.regions[0].range.size() == what.pages.size() &&
                      answer.regions[0].page_size == what.region.page_size() &&
                      answer.regions[0].modes == both && answer.regions[0].offset == 0;
  if (!is_all) to.fail(EPROTO, "what came is no view of these pages");
  return answer;
}

// Pages that the other process has already stay as they are; who waits for others waits on until
// that process hears that this is over.
fault_handler_options options_for(std::size_t buffer_size, unsigned threads) {
  fault_handler_options options;
  options.threads = threads;
  options.on_stop = stop_policy::hand_over;
  options.forks = fork_policy::not_inherited;
  options.buffer_size = buffer_size;
  return options;
}

}  // namespace

struct page_sharing::state {
  state(unique_fd connected, detail::mapped_source& what, const sharing_options& options)
      : by(what.by), socket(std::move(connected)) {
    auto& region = what.region;
    const auto threads = std::max(options.threads, 1U);
    auto view = offer(socket.get(), what, options);
    reserve(threads * region.buffer_size());
    auto serve = [&region, this](fault& raised) { return answer(region, raised); };
    try {
      handler.emplace(std::move(view), std::move(serve),
                      options_for(region.buffer_size(), threads));
    } catch (...) {
      by->evicting->release_buffers(buffers);
      throw;
    }
  }
  state(const state&) = delete;
  state& operator=(const state&) = delete;
  // The other process hears of it when nothing is served any more. A child may have the socket,
  // too.
  ~state() {
    handler.reset();
    if (home.in_child()) return;
    ::shutdown(socket.get(), SHUT_RDWR);
    by->evicting->release_buffers(buffers);
  }

  void reserve(std::size_t bytes) {
    if (!by->evicting->reserve_buffers(bytes))
      detail::throw_errno(ENOMEM, std::string(here) + ": the budget has no room for buffers of " +
                                      std::to_string(bytes) + " bytes");
    buffers = bytes;
  }

  // Nothing that the other process has registered may end this one: where its page can't be
  // poisoned it loses them all.
  resolution answer(detail::paged_region& region, fault& raised) const noexcept {
    const auto given = region.serve(raised);
    if (given.kind() != resolution::state::failed) return given;
    const auto poisoned = raised.poison();
    if (poisoned.kind() != resolution::state::failed) return poisoned;
    ::shutdown(socket.get(), SHUT_RDWR);
    return resolution::retry();
  }

  detail::process_mark home = detail::process_mark::here();
  std::shared_ptr<detail::pager_threads> by;
  std::size_t buffers = 0;  // bytes
  unique_fd socket;
  std::optional<fault_handler> handler;
};

page_sharing paged_memory::share(unique_fd socket, const sharing_options& options) const {
  if (!mapped_->region.is_shared())
    detail::throw_errno(EINVAL, std::string(here) + ": mapped without page_backing::shared");
  return page_sharing(std::make_unique<page_sharing::state>(std::move(socket), *mapped_, options));
}

page_sharing::page_sharing(std::unique_ptr<state> started) noexcept : state_(std::move(started)) {}
page_sharing::page_sharing(page_sharing&& other) noexcept = default;
page_sharing& page_sharing::operator=(page_sharing&& other) noexcept = default;
page_sharing::~page_sharing() = default;

int page_sharing::fd() const noexcept { return state_->socket.get(); }

bool page_sharing::is_over() const noexcept {
  pollfd end{fd(), POLLRDHUP, 0};
  return ::poll(&end, 1, 0) > 0;
}

}  // namespace uffd
