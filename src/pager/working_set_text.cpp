// SPDX-License-Identifier: MIT
#include "pager/working_set_text.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <optional>
#include <utility>

namespace uffd::detail {
namespace {

constexpr std::string_view begin_of_title = "uffd working set ";
constexpr std::string_view title = "uffd working set 1\n";
constexpr std::string_view begin_of_checksum = "checksum ";
constexpr std::size_t checksum_digits = 16;
constexpr std::string_view digits = "0123456789ABCDEF";

constexpr bool is_plain(char letter) noexcept {
  return letter >= '!' && letter <= '~' && letter != '%';
}

std::string escaped(std::string_view raw) {
  std::string text;
  for (const char letter : raw) {
    if (is_plain(letter)) {
      text += letter;
      continue;
    }
    const auto value = static_cast<unsigned char>(letter);
    text += '%';
    text += digits[value >> 4U];
    text += digits[value & 15U];
  }
  return text;
}

// Only what escaped() writes.
std::optional<std::string> unescaped(std::string_view text) {
  std::string raw;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_plain(text[i])) {
      raw += text[i];
      continue;
    }
    if (text[i] != '%' || text.size() - i < 3) return std::nullopt;
    const auto high = digits.find(text[i + 1]);
    const auto low = digits.find(text[i + 2]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    const auto letter = static_cast<char>(static_cast<unsigned char>(high << 4U | low));
    if (is_plain(letter)) return std::nullopt;
    raw += letter;
    i += 2;
  }
  return raw;
}

// Takes parts off the front of a text.
class reader {
 public:
  explicit reader(std::string_view text) noexcept : rest_(text) {}

  std::size_t rest() const noexcept { return rest_.size(); }
  bool skip(std::string_view expected) noexcept {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  // One way to write each number.
  bool number(std::uint64_t& value) noexcept {
    const auto* const end = rest_.data() + rest_.size();
    const auto [stop, error] = std::from_chars(rest_.data(), end, value);
    if (error != std::errc()) return false;
    const auto length = static_cast<std::size_t>(stop - rest_.data());
    if (length > 1 && rest_.front() == '0') return false;
    rest_.remove_prefix(length);
    return true;
  }
  std::optional<std::string_view> line() noexcept {
    const auto length = rest_.find('\n');
    if (length == std::string_view::npos) return std::nullopt;
    const auto found = rest_.substr(0, length);
    rest_.remove_prefix(length + 1);
    return found;
  }

 private:
  std::string_view rest_;
};

void append(std::string& text, std::uint64_t value) {
  std::array<char, 20> written{};
  const auto done = std::to_chars(written.data(), written.data() + written.size(), value);
  text.append(written.data(), done.ptr);
}

std::string checksum_line(std::string_view text) {
  std::string line(begin_of_checksum);
  auto sum = checksum_of(text);
  for (std::size_t i = 0; i < checksum_digits; ++i, sum <<= 4U)
    line += "0123456789abcdef"[sum >> 60U];
  line += '\n';
  return line;
}

bool parse_runs(reader& from, std::uint64_t count, std::vector<working_set::run>& runs) {
  if (count > from.rest() / shortest_run_text) return false;
  runs.reserve(static_cast<std::size_t>(count));
  for (; count != 0; --count) {
    working_set::run run;
    if (!from.number(run.offset) || !from.skip(" ") || !from.number(run.size) || !from.skip("\n"))
      return false;
    runs.push_back(run);
  }
  return from.rest() == 0;
}

bool parse_content(reader from, working_set_content& content) {
  if (!from.skip(title) || !from.skip("source ")) return false;
  const auto line = from.line();
  auto source = line ? unescaped(*line) : std::nullopt;
  if (!source) return false;
  content.source = std::move(*source);
  std::uint64_t count = 0;
  return from.skip("size ") && from.number(content.source_size) && from.skip("\npage ") &&
         from.number(content.page_size) && from.skip("\nruns ") && from.number(count) &&
         from.skip("\n") && parse_runs(from, count, content.runs) && is_well_formed(content);
}

}  // namespace

bool is_well_formed(const working_set_content& content) noexcept {
  const auto page = content.page_size;
  if (!std::has_single_bit(page) || page > SIZE_MAX) return false;
  std::uint64_t past = 0;
  bool is_first = true;
  for (const auto& run : content.runs) {
    if (run.size == 0 || run.offset > content.source_size ||
        run.size > content.source_size - run.offset)
      return false;
    const auto end = run.offset + run.size;
    if (run.offset % page != 0 || (end % page != 0 && end != content.source_size)) return false;
    if (!is_first && run.offset <= past) return false;
    is_first = false;
    past = end;
  }
  return true;
}

std::uint64_t checksum_of(std::string_view text) noexcept {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const char letter : text) sum = (sum ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return sum;
}

std::string with_checksum(std::string text) {
  text += checksum_line(text);
  return text;
}

std::error_code parse_working_set(std::string_view text, working_set_content& content) {
  if (!text.starts_with(begin_of_title)) return working_set_error::foreign;
  if (text.size() > most_working_set_text) return working_set_error::too_large;
  // A title that was cut off might be of any version.
  const auto line = text.substr(0, text.find('\n') + 1);
  if (!line.empty() && line != title) return working_set_error::unknown_version;
  const auto tail = begin_of_checksum.size() + checksum_digits + 1;
  if (text.size() < title.size() + tail) return working_set_error::damaged;
  const auto body = text.substr(0, text.size() - tail);
  if (text.substr(body.size()) != checksum_line(body)) return working_set_error::damaged;
  if (!parse_content(reader(body), content)) return working_set_error::damaged;
  return {};
}

std::string write_working_set(const working_set& set) {
  std::string text(title);
  text += "source " + escaped(set.source());
  const auto field = [&](std::string_view name, std::uint64_t value) {
    text += name;
    append(text, value);
  };
  field("\nsize ", set.source_size());
  field("\npage ", set.page_size());
  field("\nruns ", set.runs().size());
  text += '\n';
  for (const auto& run : set.runs()) {
    append(text, run.offset);
    field(" ", run.size);
    text += '\n';
  }
  return with_checksum(std::move(text));
}

}  // namespace uffd::detail
