// SPDX-License-Identifier: MIT
#include "handoff_message.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <string_view>

namespace uffd::detail {
namespace {

constexpr std::string_view magic = "uffdhand";
constexpr std::uint32_t version = 1;
constexpr std::uint32_t kernel_faults_flag = 1;
constexpr std::uint64_t removed_flag = 1;

class writer {
 public:
  explicit writer(std::size_t size) { bytes_.reserve(size); }
  template <class Number>
  void put(Number number) {
    for (unsigned bit = 0; bit < std::numeric_limits<Number>::digits; bit += 8)
      bytes_.push_back(static_cast<std::byte>(number >> bit));
  }
  void put_text(std::string_view text) {
    for (const char letter : text) bytes_.push_back(static_cast<std::byte>(letter));
  }
  std::vector<std::byte> take() noexcept { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// What it reads is there: callers know the size.
class reader {
 public:
  explicit reader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  template <class Number>
  Number get() noexcept {
    Number number = 0;
    for (std::size_t i = 0; i < sizeof number; ++i)
      number |= static_cast<Number>(std::to_integer<Number>(bytes_[i]) << (8 * i));
    bytes_ = bytes_.subspan(sizeof number);
    return number;
  }
  bool skip_text(std::string_view text) noexcept {
    const auto found = bytes_.first(text.size());
    bytes_ = bytes_.subspan(text.size());
    return std::equal(text.begin(), text.end(), found.begin(), [](char letter, std::byte byte) {
      return static_cast<std::byte>(letter) == byte;
    });
  }
  bool empty() const noexcept { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
};

bool overlap(std::span<const region_info> regions) {
  std::vector<page_range> ranges;
  ranges.reserve(regions.size());
  for (const auto& region : regions) ranges.push_back(region.range);
  std::sort(ranges.begin(), ranges.end(),
            [](page_range a, page_range b) { return a.begin() < b.begin(); });
  return std::adjacent_find(ranges.begin(), ranges.end(), [](page_range a, page_range b) {
           return a.overlaps(b);
         }) != ranges.end();
}

}  // namespace

handoff_problem problem_of(const region_info& region) noexcept {
  const auto range = region.range;
  if (!std::has_single_bit(region.page_size) || region.page_size < page_size())
    return {EINVAL, "a region's page size is none"};
  if (range.empty()) return {EINVAL, "a region is empty"};
  if (range.wraps()) return {EINVAL, "a region ends past the last address"};
  if (!range.is_aligned(region.page_size)) return {EINVAL, "a region is not aligned to its pages"};
  if (region.modes.empty()) return {EINVAL, "a region raises no faults"};
  if (region.offset > std::numeric_limits<std::size_t>::max() - range.size())
    return {EINVAL, "a region's offset is too large"};
  return {};
}

handoff_problem problem_of(std::span<const region_info> regions) {
  for (const auto& region : regions)
    if (const auto problem = problem_of(region)) return problem;
  if (overlap(regions)) return {EINVAL, "two regions overlap"};
  return {};
}

std::vector<std::byte> encode_handoff(handoff_header header, std::span<const region_info> regions) {
  const auto size = handoff_size(regions.size());
  writer message(size);
  message.put_text(magic);
  message.put(version);
  message.put(static_cast<std::uint32_t>(size));
  message.put(static_cast<std::uint32_t>(handoff_region_size));
  message.put(static_cast<std::uint32_t>(regions.size()));
  message.put(header.children);
  message.put(header.kernel_faults ? kernel_faults_flag : 0U);
  message.put(header.features.bits());
  for (const auto& region : regions)
    for (const std::uint64_t number :
         {std::uint64_t{region.range.begin()}, std::uint64_t{region.range.size()},
          std::uint64_t{region.page_size}, region.modes.bits(), region.ioctls.bits(), region.tag,
          std::uint64_t{region.offset}, region.removed ? removed_flag : 0})
      message.put(number);
  return message.take();
}

handoff_problem decode_handoff_header(std::span<const std::byte, handoff_header_size> bytes,
                                      handoff_header& header) noexcept {
  reader from(bytes);
  if (!from.skip_text(magic)) return {EBADMSG, "it is no such message"};
  if (from.get<std::uint32_t>() != version) return {EPROTONOSUPPORT, "another version"};
  const auto size = from.get<std::uint32_t>();
  const auto region_size = from.get<std::uint32_t>();
  const auto regions = from.get<std::uint32_t>();
  if (region_size != handoff_region_size) return {EBADMSG, "regions of another size"};
  // 64 bits hold the product.
  if (size != handoff_header_size + std::uint64_t{regions} * handoff_region_size)
    return {EBADMSG, "its size is not that of its regions"};
  const auto children = from.get<std::uint32_t>();
  const auto flags = from.get<std::uint32_t>();
  if ((flags & ~kernel_faults_flag) != 0) return {EBADMSG, "it has unknown flags"};
  header = {regions, children, (flags & kernel_faults_flag) != 0,
            uffd::flags<feature>::from_bits(from.get<std::uint64_t>())};
  return {};
}

handoff_problem decode_handoff_regions(std::span<const std::byte> bytes,
                                       std::vector<region_info>& regions) {
  if (bytes.size() % handoff_region_size != 0) return {EBADMSG, "a region is cut off"};
  const auto before = regions.size();
  regions.reserve(before + bytes.size() / handoff_region_size);
  // Numbers that an address or a size here can't hold.
  bool is_too_large = false;
  bool has_unknown_flags = false;
  const auto narrow = [&](std::uint64_t number) {
    is_too_large = is_too_large || number > std::numeric_limits<std::size_t>::max();
    return static_cast<std::size_t>(number);
  };
  for (reader from(bytes); !from.empty();) {
    region_info region;
    const auto begin = narrow(from.get<std::uint64_t>());
    region.range = {begin, narrow(from.get<std::uint64_t>())};
    region.page_size = narrow(from.get<std::uint64_t>());
    region.modes = flags<register_mode>::from_bits(from.get<std::uint64_t>());
    region.ioctls = flags<range_ioctl>::from_bits(from.get<std::uint64_t>());
    region.tag = from.get<std::uint64_t>();
    region.offset = narrow(from.get<std::uint64_t>());
    const auto flags = from.get<std::uint64_t>();
    region.removed = (flags & removed_flag) != 0;
    has_unknown_flags = has_unknown_flags || (flags & ~removed_flag) != 0;
    regions.push_back(region);
  }
  if (has_unknown_flags) return {EBADMSG, "a region has unknown flags"};
  if (is_too_large) return {EBADMSG, "a region is too large for this process"};
  if (auto problem = problem_of(std::span(regions).subspan(before))) return {EBADMSG, problem.what};
  return {};
}

}  // namespace uffd::detail
