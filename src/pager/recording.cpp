// SPDX-License-Identifier: MIT
#include "uffd/pager/recording.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "pager/paged_region.hpp"
#include "uffd/error.hpp"

namespace uffd {

recording::recording(recording&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}

recording& recording::operator=(recording&& other) noexcept {
  if (this == &other) return *this;
  end();
  of_ = std::exchange(other.of_, nullptr);
  return *this;
}

recording::~recording() { end(); }

void recording::end() noexcept {
  if (auto* const of = std::exchange(of_, nullptr)) of->recorder().end();
}

working_set recording::wanted() const {
  if (of_ == nullptr) detail::throw_errno(EINVAL, "recording: it has ended");
  std::vector<working_set::run> parts;
  for (const auto pages : of_->recorder().noted()) {
    const std::uint64_t offset = pages.first * of_->page_size();
    parts.push_back(
        {offset, std::min<std::uint64_t>(pages.count * of_->page_size(), of_->size() - offset)});
  }
  return {of_->source().identity(), of_->size(), of_->page_size(), parts};
}

working_set recording::finish() {
  auto all = wanted();
  end();
  return all;
}

}  // namespace uffd
