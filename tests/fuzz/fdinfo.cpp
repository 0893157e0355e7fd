// SPDX-License-Identifier: MIT
// The features in a userfaultfd's fdinfo: found wherever their line is, and never read past the
// end.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "require.hpp"
#include "uffd/detail/adopt.hpp"
#include "uffd/flags.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd;
  using fuzz::require;
  std::span input(data, size);
  const auto features = fuzz::take<std::uint64_t>(input);
  // Of its own, so that AddressSanitizer sees the end.
  const std::vector<char> copy(input.begin(), input.end());
  const std::string_view text(copy.data(), copy.size());
  constexpr std::string_view key = "API:\taa:";

  const auto found = detail::features_in_fdinfo(text);
  require(found.has_value() == (text.find(key) != std::string_view::npos));
  if (found) return 0;
  // Where the line was not, it is added.
  std::string line(text);
  line += '\n';
  line += key;
  line += detail::hexadecimal(features).substr(2);
  require(detail::features_in_fdinfo(line) == features);
  line += ':';
  line += text;
  require(detail::features_in_fdinfo(line) == features);
  return 0;
}
