// SPDX-License-Identifier: MIT
#include "pager/page_sharing_state.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "detail/connection.hpp"
#include "detail/descriptor_passing.hpp"
#include "pager/evictor.hpp"
#include "pager/sharing_message.hpp"
#include "uffd/error.hpp"
#include "uffd/handoff.hpp"

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
  auto message = encode(detail::sharing_message{what.region.size(), what.region.page_size()});
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

page_sharing::state::state(unique_fd connected, detail::mapped_source& what,
                           const sharing_options& options)
    : by(what.by), socket(std::move(connected)) {
  auto& region = what.region;
  const auto threads = std::max(options.threads, 1U);
  auto view = offer(socket.get(), what, options);
  reserve(threads * region.buffer_size());
  auto serve = [&region, this](fault& raised) { return answer(region, raised); };
  try {
    handler.emplace(std::move(view), std::move(serve), options_for(region.buffer_size(), threads));
  } catch (...) {
    by->evicting->release_buffers(buffers);
    throw;
  }
}

// The other process hears of it when nothing is served any more. A child may have the socket, too.
page_sharing::state::~state() {
  handler.reset();
  if (home.in_child()) return;
  ::shutdown(socket.get(), SHUT_RDWR);
  by->evicting->release_buffers(buffers);
}

void page_sharing::state::reserve(std::size_t bytes) {
  if (!by->evicting->reserve_buffers(bytes))
    detail::throw_errno(ENOMEM, std::string(here) + ": the budget has no room for buffers of " +
                                    std::to_string(bytes) + " bytes");
  buffers = bytes;
}

// Nothing that the other process has registered may end this one: where its page can't be poisoned
// it loses them all.
resolution page_sharing::state::answer(detail::paged_region& region, fault& raised) const noexcept {
  const auto given = region.serve(raised);
  if (given.kind() != resolution::state::failed) return given;
  const auto poisoned = raised.poison();
  if (poisoned.kind() != resolution::state::failed) return poisoned;
  ::shutdown(socket.get(), SHUT_RDWR);
  return resolution::retry();
}

}  // namespace uffd
