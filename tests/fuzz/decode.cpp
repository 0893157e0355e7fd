// SPDX-License-Identifier: MIT
// decode(): an event says what its message said, and owns nothing.
#include <fcntl.h>
#include <sys/eventfd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <variant>

#include "require.hpp"
#include "uffd/message.hpp"

namespace uffd::fuzz {
namespace {

static_assert(std::is_trivially_destructible_v<event>, "it would close what it was told of");

void check(const page_fault& seen, const uapi::message& raw, flags<feature> negotiated) {
  const auto& said = raw.argument.page_fault;
  require(raw.event == uapi::event::page_fault);
  require(seen.address == said.address && seen.cause.bits() == said.flags);
  require(seen.thread_id.has_value() == negotiated.has(feature::thread_id));
  require(!seen.thread_id || static_cast<std::uint32_t>(*seen.thread_id) == said.thread_id);
  require(seen.is_write() == ((said.flags & 1) != 0));
  require((seen.kind() == fault_kind::missing) == ((said.flags & (2 | 4 | 8)) == 0));
}

// Never closed, whatever a message says of it.
void check(const fork_event& seen, const uapi::message& raw, flags<feature> /*negotiated*/) {
  require(raw.event == uapi::event::fork);
  require(static_cast<std::uint32_t>(seen.descriptor) == raw.argument.fork.descriptor);
  static const int open = ::eventfd(0, EFD_CLOEXEC);
  static unsigned count = 0;
  uapi::message ours = raw;
  ours.argument.fork.descriptor = static_cast<std::uint32_t>(open);
  static_cast<void>(decode(ours, {}));
  if (++count % 1024 == 0) require(::fcntl(open, F_GETFD) >= 0);
}

void check(const remap_event& seen, const uapi::message& raw, flags<feature> /*negotiated*/) {
  const auto& said = raw.argument.remap;
  require(raw.event == uapi::event::remap);
  require(seen.from.begin() == said.from && seen.from.size() == said.length && seen.to == said.to);
}

void check_dropped(page_range range, const uapi::message& raw) {
  const auto& said = raw.argument.remove;
  require(!range.wraps() && range.begin() == said.start);
  require(said.start < said.end ? range.end() == said.end : range.empty());
}
void check(const remove_event& seen, const uapi::message& raw, flags<feature> /*negotiated*/) {
  require(raw.event == uapi::event::remove);
  check_dropped(seen.range, raw);
}
void check(const unmap_event& seen, const uapi::message& raw, flags<feature> /*negotiated*/) {
  require(raw.event == uapi::event::unmap);
  check_dropped(seen.range, raw);
}

void check(const unknown_event& seen, const uapi::message& raw, flags<feature> /*negotiated*/) {
  require(raw.event < uapi::event::page_fault || raw.event > uapi::event::unmap);
  require(seen.number == raw.event && std::memcmp(&seen.raw, &raw, sizeof raw) == 0);
}

}  // namespace
}  // namespace uffd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd;
  std::span input(data, size);
  const auto negotiated = flags<feature>::from_bits(fuzz::take<std::uint64_t>(input));
  do {
    const auto raw = fuzz::take<uapi::message>(input);
    std::visit([&](const auto& seen) { fuzz::check(seen, raw, negotiated); },
               decode(raw, negotiated));
  } while (!input.empty());
  return 0;
}
