// SPDX-License-Identifier: MIT
// The text of a working set: whatever is accepted could have been recorded, and is, written again,
// the same text; whatever is made comes back.
#include "uffd/pager/working_set.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pager/working_set_text.hpp"
#include "require.hpp"

namespace uffd::fuzz {
namespace {

using run = working_set::run;

// Stated anew, not by what it checks.
bool could_be_recorded(const working_set& set) {
  const std::uint64_t page = set.page_size();
  const auto size = set.source_size();
  if (!std::has_single_bit(page)) return false;
  for (std::size_t i = 0; i < set.runs().size(); ++i) {
    const auto& each = set.runs()[i];
    const auto end = each.offset + each.size;
    if (end <= each.offset || end > size) return false;
    if (each.offset % page != 0 || (end % page != 0 && end != size)) return false;
    if (i != 0 && each.offset <= set.runs()[i - 1].offset + set.runs()[i - 1].size) return false;
  }
  return true;
}

void parse_and_write(std::string_view text) {
  detail::working_set_content content;
  if (detail::parse_working_set(text, content)) return;
  const auto set = working_set::parse(text);
  require(could_be_recorded(set) && set.text() == text);
  require(set == working_set(content.source, content.source_size, content.page_size, content.runs));
}

void write_and_parse(std::span<const std::uint8_t> input) {
  const auto page = std::size_t{1} << (take<std::uint8_t>(input) & 63);
  const auto size = take<std::uint64_t>(input) >> (take<std::uint8_t>(input) & 63);
  const auto length = take<std::uint8_t>(input) % (input.size() + 1);
  const std::string source(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(length));
  input = input.subspan(length);
  std::vector<run> parts;
  while (!input.empty() && size != 0) {
    const auto offset = take<std::uint64_t>(input) % size;
    parts.push_back({offset, take<std::uint16_t>(input) % (size - offset)});
  }
  const working_set set(source, size, page, parts);
  require(could_be_recorded(set) && working_set::parse(set.text()) == set);
  working_set half(source, size, page, std::span(parts).first(parts.size() / 2));
  half.merge(working_set(source, size, page, std::span(parts).subspan(parts.size() / 2)));
  require(half == set);
}

}  // namespace
}  // namespace uffd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd;
  std::span input(data, size);
  const auto way = fuzz::take<std::uint8_t>(input) % 3;
  // Of its own, so that AddressSanitizer sees the end.
  std::string text(input.begin(), input.end());
  text.shrink_to_fit();
  if (way == 0)
    fuzz::parse_and_write(text);
  else if (way == 1)
    // What a fuzzer would take long to guess.
    fuzz::parse_and_write(detail::with_checksum("uffd working set 1\nsource " + text));
  else
    fuzz::write_and_parse(input);
  return 0;
}
