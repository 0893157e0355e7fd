// SPDX-License-Identifier: MIT
#include "uffd/handed_over.hpp"

#include <array>
#include <exception>
#include <span>
#include <utility>

#include "uffd/detail/close_range.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/range_table.hpp"

namespace uffd {
namespace {

// An address space that nobody serves any more. Its events are read on the way: one that is unread
// keeps missing pages from being closed, and memory that was moved must be closed where it is now.
class unserved_space {
 public:
  // The clients in `pieces` are the registrations.
  unserved_space(const handle& on, range_table pieces) : on_(on), pieces_(std::move(pieces)) {}

  void close() {
    read();
    while (!pieces_.entries().empty()) {
      const auto piece = pieces_.entries().front();
      region_info info = *static_cast<const region_info*>(piece.client);
      info.range = piece.range;
      detail::close_range(on_, info, close_policy::inaccessible, [&] { return read(); });
      pieces_.erase(piece.range);
      read();
    }
  }

 private:
  // The end of its registration wakes who waits for a fault read here.
  bool read() {
    bool some = false;
    for (;;) {
      const auto batch = detail::read_messages(on_.fd(), messages_);
      if (batch.count == 0) return some;
      some = true;
      try {
        for (const uapi::message& raw : std::span(messages_).first(batch.count))
          follow(decode(raw, on_.features()));
      } catch (...) {
        detail::end_process("out of memory while memory that nobody serves is closed");
      }
    }
  }

  void follow(const event& seen) {
    if (const auto* forked = std::get_if<fork_event>(&seen)) {
      const handle child =
          detail::handle_access::child(unique_fd(forked->descriptor), on_.features());
      unserved_space(child, pieces_).close();
    } else if (const auto* moved = std::get_if<remap_event>(&seen)) {
      pieces_.apply(*moved, on_.features().has(feature::event_unmap));
    } else if (const auto* unmapped = std::get_if<unmap_event>(&seen)) {
      pieces_.apply(*unmapped);
    }
  }

  const handle& on_;
  range_table pieces_;
  std::array<uapi::message, message_reader::capacity> messages_{};
};

}  // namespace

handed_over::handed_over(handle from, std::vector<region_info> registered)
    : on(std::move(from)), regions(std::move(registered)) {}

handed_over& handed_over::operator=(handed_over&& other) noexcept {
  if (this == &other) return *this;
  close();
  on = std::move(other.on);
  regions = std::move(other.regions);
  children = std::move(other.children);
  lent = other.lent;
  return *this;
}

handed_over::~handed_over() { close(); }

void handed_over::release() noexcept {
  regions.clear();
  for (handed_over& child : children) child.release();
}

void handed_over::close() noexcept {
  const auto& state = detail::handle_access::state(on);
  if (lent || !state || state->refusal() != 0 || regions.empty()) return;
  try {
    range_table pieces;
    for (region_info& region : regions) pieces.insert(region.range, &region, region.offset);
    unserved_space(on, std::move(pieces)).close();
  } catch (const std::exception&) {
    // Regions that overlap, or no memory for a table: nothing moved can be followed then.
    for (const region_info& region : regions)
      detail::close_range(on, region, close_policy::inaccessible);
  }
}

}  // namespace uffd
