// SPDX-License-Identifier: MIT
#include "uffd/pager/page_sharing.hpp"

#include <poll.h>

#include <utility>

#include "pager/page_sharing_state.hpp"

namespace uffd {

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
