// SPDX-License-Identifier: MIT
// The file of a snapshot: it is refused, or all that it says of itself holds, and what it gives of
// its pages is what it stores.
#include "uffd/tracking/snapshot_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "require.hpp"
#include "tracking/block_checksum.hpp"
#include "tracking/file_bytes.hpp"
#include "tracking/snapshot_format.hpp"

namespace uffd::fuzz {
namespace {

constexpr std::size_t most_bytes = std::size_t{64} << 10;

// Of memory; one for all inputs.
int scratch() {
  static const int file = ::memfd_create("fuzz", MFD_CLOEXEC);
  return file;
}

// With the content, and zeroes up to `size`; what is not there is a hole.
void fill(std::span<const std::byte> content, std::uint64_t size) {
  require(::ftruncate(scratch(), 0) == 0);
  require(::ftruncate(scratch(), static_cast<off_t>(size)) == 0);
  require(!detail::write_bytes(scratch(), 0, content));
}

bool is_inside(const snapshot_area& area, std::size_t block) {
  const auto size = area.range.size();
  return size != 0 && size % area.page_size == 0 && area.range.begin() % area.page_size == 0 &&
         area.page_size % block == 0 && !area.range.wraps();
}

// All of an area, however large it says it is.
void look_at(const snapshot_file& file, std::size_t area) {
  const auto& [range, page] = file.areas()[area];
  const auto block = file.block_size();
  std::vector<std::byte> got(block);
  std::vector<std::byte> stored(block);
  std::size_t offset = 0;
  for (int i = 0; i < 16 && offset < range.size(); ++i) {
    const auto run = file.run_at(area, offset);
    require(run.offset == offset && run.size != 0 && run.size % block == 0 &&
            run.size <= range.size() - offset);
    require(file.base() || run.content != snapshot_content::inherited);
    const auto done = file.read(area, offset, got);
    require(!detail::read_bytes(file.fd(), file.data_offset(area) + offset, stored));
    if (run.content == snapshot_content::inherited)
      require(done.error == snapshot_error::no_base && done.bytes == 0);
    else if (run.content == snapshot_content::zero)
      require(!done.error && got == std::vector<std::byte>(block));
    else
      require(done.error == snapshot_error::damaged || (!done.error && got == stored));
    // A part of it is given if the whole is; that takes long.
    if (i == 0) {
      const auto part = file.read(area, block / 3, std::span(stored).first(block / 2));
      require(part.error == done.error);
    }
    offset += run.size;
  }
}

void open_and_look(std::uint64_t size) {
  static const auto path = "/proc/self/fd/" + std::to_string(scratch());
  try {
    const auto file = snapshot_file::open(path);
    std::uint64_t bytes = 0;
    for (std::size_t area = 0; area < file.areas().size(); ++area) {
      require(is_inside(file.areas()[area], file.block_size()));
      require(file.data_offset(area) % file.areas()[area].page_size == 0);
      bytes = file.data_offset(area) + file.areas()[area].range.size();
      require(bytes <= size);
      if (area < 4) look_at(file, area);
    }
    require(bytes == size && file.identity() != file.base());
    require(file.base_name().empty() == !file.base() &&
            file.base_name().find('/') == std::string::npos);
  } catch (const std::system_error& error) {
    require(error.code().category() == make_error_code(snapshot_error::damaged).category());
  }
}

template <class Number>
void put(std::vector<std::byte>& to, std::size_t offset, Number number) {
  for (std::size_t i = 0; i < sizeof number && offset + i < to.size(); ++i)
    to[offset + i] = static_cast<std::byte>(number >> (8 * i));
}

// What a fuzzer would take long to guess: checksums and sizes that are right.
void mend(std::vector<std::byte>& content, std::uint64_t& size, bool with_size) {
  std::size_t front = 0;
  if (detail::decode_snapshot_size(content, front) || front > content.size()) return;
  if (with_size) put(content, 24, size);
  std::vector<std::byte> head(content.begin(),
                              content.begin() + static_cast<std::ptrdiff_t>(front));
  put(content, detail::snapshot_checksum_offset, detail::snapshot_header_checksum(head));
  std::uint64_t seed = 0;
  for (std::size_t i = 0; i < sizeof seed; ++i)
    seed |= std::to_integer<std::uint64_t>(content[32 + i]) << (8 * i);
  for (std::size_t at = front, i = 0; at + detail::index_part_size <= content.size();
       at += detail::index_part_size, ++i) {
    const auto part =
        std::span<const std::byte>(content).subspan(at, detail::index_part_blocks * 8);
    put(content, at + part.size(), detail::checksum_of(part, seed ^ i));
  }
}

// What could have been saved, or nearly so.
detail::snapshot_header make_header(std::span<const std::uint8_t>& input) {
  detail::snapshot_header header;
  header.identity.bytes[0] = 1;
  header.block = std::size_t{4096} << (take<std::uint8_t>(input) % 5U);
  if (take<std::uint8_t>(input) % 2 != 0) {
    header.base.emplace().bytes[1] = take<std::uint8_t>(input);
    const auto length = take<std::uint8_t>(input);
    header.base_name = std::string(length, static_cast<char>(take<std::uint8_t>(input)));
  }
  for (auto areas = take<std::uint8_t>(input) % 4 + 1; areas > 0; --areas) {
    const auto page = header.block << (take<std::uint8_t>(input) % 12U);
    const auto begin = take<std::uint16_t>(input) * page;
    header.areas.push_back({{begin, (take<std::uint8_t>(input) + 1U) * page}, page});
  }
  return header;
}

// The number of a block: zeroes, inherited, saved zeroes, something else.
std::uint64_t make_number(std::span<const std::uint8_t>& input, std::size_t block) {
  const auto choice = take<std::uint8_t>(input);
  if (choice % 4 < 2) return choice % 4;
  return choice % 4 == 2 ? detail::checksum_of(std::vector<std::byte>(block)) : choice;
}

void make(std::span<const std::uint8_t> input, std::vector<std::byte>& content,
          std::uint64_t& size) {
  const auto header = make_header(input);
  const auto layout = detail::snapshot_layout::of(header.block, header.areas);
  require(layout && detail::problem_of(header.block, header.areas).empty());
  if (layout->index_size() > most_bytes) return;
  content = detail::encode_snapshot_header(header, *layout);
  content.resize(layout->header_size() + layout->index_size());
  for (auto at = layout->header_size(); at < content.size() && !input.empty(); at += 8)
    put(content, at, make_number(input, header.block));
  size = layout->file_size();
}

}  // namespace
}  // namespace uffd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd::fuzz;
  std::span input(data, size);
  const auto way = take<std::uint8_t>(input) % 4;
  // What follows the content is a hole, of any size that a file may have.
  auto file_size = take<std::uint64_t>(input) >> (take<std::uint8_t>(input) & 63U);
  std::vector<std::byte> content;
  if (way == 3) {
    make(input, content, file_size);
  } else {
    const auto bytes = std::as_bytes(input);
    content.assign(bytes.begin(), bytes.end());
  }
  // What a file in memory may have, and less.
  constexpr std::uint64_t largest = std::uint64_t{1} << 40U;
  file_size = std::max<std::uint64_t>(file_size % largest, content.size());
  if (way != 0) mend(content, file_size, way == 2);
  fill(content, file_size);
  open_and_look(file_size);
  return 0;
}
