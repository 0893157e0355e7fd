// SPDX-License-Identifier: MIT
// The hand-off's message: whatever is accepted holds only regions that a kernel could have
// registered, and is, encoded again, the same bytes; whatever is encoded comes back.
#include "detail/handoff_message.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "require.hpp"

namespace uffd::fuzz {
namespace {

using detail::handoff_header;
using detail::handoff_header_size;
using detail::handoff_region_size;

// Stated anew, not by what it checks.
bool could_be_registered(const region_info& region) {
  const std::uint64_t begin = region.range.begin();
  const std::uint64_t size = region.range.size();
  const std::uint64_t page = region.page_size;
  return page >= page_size() && (page & (page - 1)) == 0 && size != 0 && begin % page == 0 &&
         size % page == 0 && size <= UINT64_MAX - begin && region.modes.bits() != 0 &&
         region.offset <= UINT64_MAX - size;
}
bool are_apart(const std::vector<region_info>& regions) {
  for (std::size_t i = 0; i < regions.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (regions[i].range.begin() < regions[j].range.end() &&
          regions[j].range.begin() < regions[i].range.end())
        return false;
  return true;
}
bool are_valid(const std::vector<region_info>& regions) {
  return std::all_of(regions.begin(), regions.end(), could_be_registered) && are_apart(regions);
}

bool is_accepted(std::span<const std::byte> bytes, handoff_header& header,
                 std::vector<region_info>& regions) {
  if (bytes.size() < handoff_header_size) return false;
  if (detail::decode_handoff_header(bytes.first<handoff_header_size>(), header)) return false;
  // Said of itself; a receiver then reads no more than that.
  if (bytes.size() != detail::handoff_size(header.regions)) return false;
  return !detail::decode_handoff_regions(bytes.subspan(handoff_header_size), regions);
}

void decode_and_encode(std::span<const std::byte> bytes) {
  handoff_header header;
  std::vector<region_info> regions;
  if (!is_accepted(bytes, header, regions)) return;
  require(regions.size() == header.regions && are_valid(regions));
  const auto again = detail::encode_handoff(header, regions);
  require(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
}

void encode_and_decode(std::span<const std::uint8_t> input) {
  handoff_header sent{0, take<std::uint32_t>(input), (take<std::uint8_t>(input) & 1) != 0,
                      flags<feature>::from_bits(take<std::uint64_t>(input))};
  std::vector<region_info> regions;
  while (!input.empty()) {
    region_info region;
    // Small numbers of pages, so that regions often are valid, and near each other.
    region.page_size = page_size() << (take<std::uint8_t>(input) & 3);
    const auto odd = take<std::uint8_t>(input);
    region.range = {take<std::uint16_t>(input) * page_size() + (odd == 1 ? 1 : 0),
                    take<std::uint8_t>(input) * page_size()};
    region.modes = flags<register_mode>::from_bits(take<std::uint8_t>(input));
    region.ioctls = flags<range_ioctl>::from_bits(take<std::uint64_t>(input));
    region.tag = take<std::uint64_t>(input);
    region.removed = (take<std::uint8_t>(input) & 1) != 0;
    region.offset = odd == 2 ? SIZE_MAX : take<std::uint16_t>(input);
    regions.push_back(region);
  }
  const bool valid = are_valid(regions);
  require(valid == !detail::problem_of(regions));
  handoff_header header;
  std::vector<region_info> received;
  const bool accepted = is_accepted(detail::encode_handoff(sent, regions), header, received);
  require(accepted == valid);
  if (!accepted) return;
  require(received == regions && header.regions == regions.size());
  require(header.children == sent.children && header.kernel_faults == sent.kernel_faults &&
          header.features == sent.features);
}

// What a fuzzer would take long to guess: magic, version and sizes.
std::vector<std::byte> with_good_header(std::span<const std::byte> input) {
  const auto count = input.size() / handoff_region_size;
  auto good = detail::encode_handoff({}, std::vector<region_info>(count));
  const auto rest = std::min(input.size(), good.size() - 24);
  std::copy_n(input.begin(), rest, good.begin() + 24);
  return good;
}

}  // namespace
}  // namespace uffd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd::fuzz;
  std::span input(data, size);
  switch (take<std::uint8_t>(input) % 3) {
    case 0:
      decode_and_encode(std::as_bytes(input));
      break;
    case 1:
      decode_and_encode(with_good_header(std::as_bytes(input)));
      break;
    default:
      encode_and_decode(input);
  }
  return 0;
}
