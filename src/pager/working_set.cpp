// SPDX-License-Identifier: MIT
#include "uffd/pager/working_set.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "pager/replaced_file.hpp"
#include "pager/working_set_text.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace {

class working_set_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "working set"; }

  std::string message(int value) const override {
    switch (static_cast<working_set_error>(value)) {
      case working_set_error::foreign:
        return "it is no working set";
      case working_set_error::unknown_version:
        return "the working set has a format that is not known";
      case working_set_error::damaged:
        return "the working set is damaged";
      case working_set_error::too_large:
        return "the working set is too large";
      case working_set_error::other_source:
        return "the working set is one of another source";
    }
    return "unknown error of a working set";
  }
};

using run = working_set::run;

// In whole pages; the page that the source ends in is never longer than the source.
run widened(const run& part, std::uint64_t source_size, std::uint64_t page) noexcept {
  const auto begin = part.offset & ~(page - 1);
  const auto end = part.offset + part.size;
  const auto short_of = (page - end % page) % page;
  return {begin, std::min(short_of, source_size - end) + end - begin};
}

// Those that overlap or touch become one.
std::vector<run> joined(std::vector<run> runs) {
  std::sort(runs.begin(), runs.end(),
            [](const run& one, const run& other) { return one.offset < other.offset; });
  std::size_t count = 0;
  for (const auto& each : runs) {
    if (count != 0 && each.offset <= runs[count - 1].offset + runs[count - 1].size) {
      auto& last = runs[count - 1];
      last.size = std::max(last.size, each.offset + each.size - last.offset);
    } else {
      runs[count++] = each;
    }
  }
  runs.resize(count);
  return runs;
}

}  // namespace

std::error_code make_error_code(working_set_error value) noexcept {
  static const working_set_category category;
  return {static_cast<int>(value), category};
}

working_set::working_set(std::string source, std::uint64_t source_size, std::size_t page_size,
                         std::span<const run> parts)
    : source_(std::move(source)), source_size_(source_size), page_size_(page_size) {
  if (!std::has_single_bit(page_size))
    detail::throw_errno(EINVAL, "working_set: a page size that is no power of two");
  std::vector<run> runs;
  for (const auto& part : parts) {
    if (part.offset > source_size || part.size > source_size - part.offset)
      detail::throw_errno(EINVAL, "working_set: a part that the source has not");
    if (part.size != 0) runs.push_back(widened(part, source_size, page_size));
  }
  runs_ = joined(std::move(runs));
}

working_set::working_set(detail::working_set_content&& content) noexcept
    : source_(std::move(content.source)),
      source_size_(content.source_size),
      page_size_(static_cast<std::size_t>(content.page_size)),
      runs_(std::move(content.runs)) {}

std::uint64_t working_set::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& each : runs_) sum += each.size;
  return sum;
}

bool working_set::is_of(std::string_view source, std::uint64_t source_size) const noexcept {
  return source_size == source_size_ && (source.empty() || source_.empty() || source == source_);
}

void working_set::merge(const working_set& other) {
  if (!is_of(other.source_, other.source_size_))
    throw std::system_error(working_set_error::other_source, "working_set::merge");
  auto runs = runs_;
  runs.insert(runs.end(), other.runs_.begin(), other.runs_.end());
  runs_ = joined(std::move(runs));
  if (source_.empty()) source_ = other.source_;
  page_size_ = std::min(page_size_, other.page_size_);
}

std::string working_set::text() const {
  // Not only after it was written.
  if (source_.size() <= detail::most_working_set_text &&
      runs_.size() <= detail::most_working_set_text / detail::shortest_run_text)
    if (auto text = detail::write_working_set(*this); text.size() <= detail::most_working_set_text)
      return text;
  throw std::system_error(working_set_error::too_large, "working_set");
}

working_set working_set::parse(std::string_view text) {
  detail::working_set_content content;
  if (const auto error = detail::parse_working_set(text, content))
    throw std::system_error(error, "working_set::parse");
  return working_set(std::move(content));
}

void working_set::save(const std::filesystem::path& file) const {
  detail::replace_file(file, text());
}

working_set working_set::load(const std::filesystem::path& file) {
  detail::working_set_content content;
  const auto text = detail::read_small_file(file, detail::most_working_set_text);
  const auto error = text ? detail::parse_working_set(*text, content)
                          : make_error_code(working_set_error::too_large);
  if (error) throw std::system_error(error, "working_set::load: " + file.string());
  return working_set(std::move(content));
}

}  // namespace uffd
