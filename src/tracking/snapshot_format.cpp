// SPDX-License-Identifier: MIT
#include "tracking/snapshot_format.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string_view>
#include <utility>

#include "tracking/block_checksum.hpp"

namespace uffd::detail {
namespace {

constexpr std::string_view magic = "uffdsnap";
constexpr std::uint32_t version = 1;
constexpr std::uint32_t byte_order = std::endian::native == std::endian::little ? 1 : 2;

namespace at {
constexpr std::size_t version = 8;
constexpr std::size_t byte_order = 12;
constexpr std::size_t checksum = snapshot_checksum_offset;
constexpr std::size_t file_size = 24;
constexpr std::size_t identity = 32;
constexpr std::size_t base = 48;
constexpr std::size_t block = 64;
constexpr std::size_t areas = 68;
constexpr std::size_t name_size = 72;
constexpr std::size_t flags = 76;
constexpr std::size_t name = 256;
}  // namespace at
constexpr std::size_t area_size = 40;

template <class Number>
void put(std::span<std::byte> to, std::size_t offset, Number number) noexcept {
  for (std::size_t i = 0; i < sizeof number; ++i)
    to[offset + i] = static_cast<std::byte>(number >> (8 * i));
}

template <class Number>
Number get(std::span<const std::byte> from, std::size_t offset) noexcept {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof number; ++i)
    number |= static_cast<Number>(std::to_integer<Number>(from[offset + i]) << (8 * i));
  return number;
}

template <class Bytes>
void put_bytes(std::span<std::byte> to, std::size_t offset, const Bytes& bytes) noexcept {
  const auto from = std::as_bytes(std::span(bytes));
  std::copy(from.begin(), from.end(), to.begin() + static_cast<std::ptrdiff_t>(offset));
}

snapshot_identity get_identity(std::span<const std::byte> from, std::size_t offset) noexcept {
  snapshot_identity identity;
  for (auto& byte : identity.bytes) byte = std::to_integer<std::uint8_t>(from[offset++]);
  return identity;
}

std::string get_name(std::span<const std::byte> from) {
  const auto size =
      std::min<std::size_t>(get<std::uint32_t>(from, at::name_size), longest_base_name);
  return {reinterpret_cast<const char*>(&from[at::name]), size};
}

// It is looked for beside the file: nowhere else.
bool is_file_name(std::string_view name) noexcept {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

// Whether what the header says belongs together.
bool is_sensible(const snapshot_header& header) {
  if (header.identity == snapshot_identity{} || header.identity == header.base) return false;
  if (header.base ? !is_file_name(header.base_name) : !header.base_name.empty()) return false;
  return problem_of(header.block, header.areas).empty();
}

// Sizes that can't be added up are those of no file.
class sum {
 public:
  explicit sum(std::uint64_t first) noexcept : value_(first) {}
  void add(std::uint64_t more) noexcept {
    fits_ = !__builtin_add_overflow(value_, more, &value_) && fits_;
  }
  void align(std::uint64_t unit) noexcept { add((unit - value_ % unit) % unit); }
  std::uint64_t value() const noexcept { return value_; }
  bool fits() const noexcept {
    return fits_ && value_ <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  }

 private:
  std::uint64_t value_;
  bool fits_ = true;
};

std::uint64_t header_size_of(std::size_t areas) noexcept {
  sum size(snapshot_header_size + areas * area_size);
  size.align(snapshot_alignment);
  return size.value();
}

}  // namespace

std::string problem_of(std::size_t block, std::span<const snapshot_area> areas) {
  if (!std::has_single_bit(block) || block < 4096 || block > 65'536)
    return "blocks of " + std::to_string(block) + " bytes";
  if (areas.empty() || areas.size() > most_snapshot_areas)
    return std::to_string(areas.size()) + " areas";
  for (const auto& area : areas) {
    if (!std::has_single_bit(area.page_size) || area.page_size < block)
      return "pages of " + std::to_string(area.page_size) + " bytes";
    if (area.range.empty() || area.range.wraps() || !area.range.is_aligned(area.page_size))
      return "an area that is not one of whole pages: " + to_string(area.range);
  }
  return {};
}

bool have_same_pages(std::span<const snapshot_area> one, std::span<const snapshot_area> other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const snapshot_area& a, const snapshot_area& b) {
                      return a.range.size() == b.range.size() && a.page_size == b.page_size;
                    });
}

std::optional<snapshot_layout> snapshot_layout::of(std::size_t block,
                                                   std::span<const snapshot_area> areas) {
  snapshot_layout layout;
  layout.places_.resize(areas.size());
  layout.header_size_ = static_cast<std::size_t>(header_size_of(areas.size()));
  sum size(layout.header_size_);
  for (std::size_t i = 0; i < areas.size(); ++i) {
    layout.places_[i].index = size.value();
    const auto blocks = areas[i].range.size() / block;
    size.add((blocks + index_part_blocks - 1) / index_part_blocks * index_part_size);
  }
  layout.index_size_ = size.value() - layout.header_size_;
  for (std::size_t i = 0; i < areas.size(); ++i) {
    size.align(areas[i].page_size);
    layout.places_[i].data = size.value();
    size.add(areas[i].range.size());
  }
  layout.file_size_ = size.value();
  if (!size.fits()) return std::nullopt;
  return layout;
}

std::vector<std::byte> encode_snapshot_header(const snapshot_header& header,
                                              const snapshot_layout& layout) {
  std::vector<std::byte> bytes(layout.header_size());
  put_bytes(bytes, 0, magic);
  put(bytes, at::version, version);
  put(bytes, at::byte_order, byte_order);
  put(bytes, at::file_size, layout.file_size());
  put_bytes(bytes, at::identity, header.identity.bytes);
  put_bytes(bytes, at::base, header.base.value_or(snapshot_identity{}).bytes);
  put(bytes, at::block, static_cast<std::uint32_t>(header.block));
  put(bytes, at::areas, static_cast<std::uint32_t>(header.areas.size()));
  put(bytes, at::name_size, static_cast<std::uint32_t>(header.base_name.size()));
  put_bytes(bytes, at::name, header.base_name);
  for (std::size_t i = 0; i < header.areas.size(); ++i) {
    const auto& area = header.areas[i];
    const auto& place = layout.of_area(i);
    std::size_t offset = snapshot_header_size + i * area_size;
    for (const std::uint64_t number :
         {std::uint64_t{area.range.begin()}, std::uint64_t{area.range.size()},
          std::uint64_t{area.page_size}, place.data, place.index}) {
      put(bytes, offset, number);
      offset += sizeof number;
    }
  }
  put(bytes, at::checksum, snapshot_header_checksum(bytes));
  return bytes;
}

std::uint64_t snapshot_header_checksum(std::vector<std::byte> bytes) {
  put(bytes, at::checksum, std::uint64_t{0});
  return checksum_of(bytes);
}

std::error_code decode_snapshot_size(std::span<const std::byte> bytes, std::size_t& header_size) {
  const auto known = std::as_bytes(std::span(magic)).first(std::min(bytes.size(), magic.size()));
  if (!std::equal(known.begin(), known.end(), bytes.begin())) {
    // The header comes last.
    const auto is_hole = std::all_of(bytes.begin(), bytes.end(),
                                     [](std::byte byte) { return byte == std::byte{0}; });
    return is_hole ? snapshot_error::incomplete : snapshot_error::foreign;
  }
  if (bytes.size() < snapshot_header_size) return snapshot_error::truncated;
  if (get<std::uint32_t>(bytes, at::version) != version) return snapshot_error::unknown_version;
  // Who knows of no other flags would misread what they mean.
  if (get<std::uint32_t>(bytes, at::flags) != 0) return snapshot_error::unknown_version;
  const auto order = get<std::uint32_t>(bytes, at::byte_order);
  if (order != byte_order)
    return order == 3 - byte_order ? snapshot_error::other_byte_order : snapshot_error::damaged;
  const auto areas = get<std::uint32_t>(bytes, at::areas);
  if (areas == 0 || areas > most_snapshot_areas) return snapshot_error::damaged;
  header_size = static_cast<std::size_t>(header_size_of(areas));
  return {};
}

std::error_code decode_snapshot_header(std::span<const std::byte> bytes, std::uint64_t file_size,
                                       snapshot_header& header) {
  // The size was read before, of a file that may have changed since.
  if (bytes.size() < snapshot_header_size) return snapshot_error::damaged;
  const auto areas = get<std::uint32_t>(bytes, at::areas);
  if (areas == 0 || areas > most_snapshot_areas || header_size_of(areas) != bytes.size())
    return snapshot_error::damaged;
  const std::vector<std::byte> all(bytes.begin(), bytes.end());
  if (get<std::uint64_t>(bytes, at::checksum) != snapshot_header_checksum(all))
    return snapshot_error::damaged;
  if (get<std::uint64_t>(bytes, at::file_size) > file_size) return snapshot_error::truncated;
  header.identity = get_identity(bytes, at::identity);
  if (const auto base = get_identity(bytes, at::base); base != snapshot_identity{})
    header.base = base;
  header.base_name = get_name(bytes);
  header.block = get<std::uint32_t>(bytes, at::block);
  for (std::size_t i = 0; i < areas; ++i) {
    const auto record = bytes.subspan(snapshot_header_size + i * area_size, area_size);
    const page_range range(get<std::uint64_t>(record, 0), get<std::uint64_t>(record, 8));
    header.areas.push_back({range, get<std::uint64_t>(record, 16)});
  }
  if (!is_sensible(header)) return snapshot_error::damaged;
  // Whatever else there is must be what it would be in a file of this header.
  const auto layout = snapshot_layout::of(header.block, header.areas);
  if (!layout || layout->file_size() != file_size || encode_snapshot_header(header, *layout) != all)
    return snapshot_error::damaged;
  return {};
}

}  // namespace uffd::detail
