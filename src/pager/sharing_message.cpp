// SPDX-License-Identifier: MIT
#include "pager/sharing_message.hpp"

#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

constexpr std::uint64_t magic = 0x7261687364666675;  // "uffdshar"
constexpr std::uint64_t version = 1;

void put(std::span<std::byte> at, std::uint64_t number) noexcept {
  for (auto& each : at.first(8)) {
    each = static_cast<std::byte>(number);
    number >>= 8U;
  }
}

std::uint64_t get(std::span<const std::byte> at) noexcept {
  std::uint64_t number = 0;
  for (std::size_t i = 8; i-- != 0;) number = number << 8U | std::to_integer<std::uint64_t>(at[i]);
  return number;
}

}  // namespace

std::array<std::byte, sharing_message_size> encode(const sharing_message& message) noexcept {
  std::array<std::byte, sharing_message_size> bytes{};
  const std::span all(bytes);
  put(all, magic);
  put(all.subspan(8), version);
  put(all.subspan(16), message.size);
  put(all.subspan(24), message.page_size);
  return bytes;
}

bool decode(std::span<const std::byte, sharing_message_size> bytes,
            sharing_message& message) noexcept {
  if (get(bytes) != magic || get(bytes.subspan(8)) != version) return false;
  message = {get(bytes.subspan(16)), get(bytes.subspan(24))};
  return message.size != 0 && message.size <= SIZE_MAX / 2 && message.page_size == page_size();
}

}  // namespace uffd::detail
