// SPDX-License-Identifier: MIT
#include "merging.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace sort_file {
namespace {

using numbers = std::span<const std::uint64_t>;

// A sorted run that is read from its begin. A merge reads many of them at once, more than a pager
// takes for sequential reading: so each asks for what it reads next.
class run_reader {
 public:
  run_reader(const uffd::paged_memory& memory, numbers run, std::size_t ahead)
      : memory_(&memory), left_(run), ahead_(ahead) {
    load();
  }

  bool is_empty() const noexcept { return left_.empty(); }
  std::uint64_t front() const noexcept { return left_.front(); }
  void pop() {
    left_ = left_.subspan(1);
    if (--loaded_ == 0) load();
  }

 private:
  void load() {
    loaded_ = std::min(ahead_, left_.size());
    if (const auto error = memory_->prefetch(std::as_bytes(left_.first(loaded_))))
      throw std::system_error(error, "reading a sorted run");
  }

  const uffd::paged_memory* memory_;
  numbers left_;
  std::size_t ahead_;  // integers
  std::size_t loaded_ = 0;
};

}  // namespace

void sort_runs(const uffd::paged_memory& from, const uffd::paged_memory& to, std::size_t run_size,
               std::atomic<std::uint64_t>& done) {
  auto unsorted = from.as<std::uint64_t>();
  auto sorted = to.writable_as<std::uint64_t>();
  while (!unsorted.empty()) {
    const auto size = std::min(run_size, unsorted.size());
    // All of it is needed again and again: it should not leave meanwhile.
    const auto kept = to.pin(std::as_bytes(sorted.first(size)), uffd::pin_access::write);
    std::copy_n(unsorted.begin(), size, sorted.begin());
    std::sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(size));
    unsorted = unsorted.subspan(size);
    sorted = sorted.subspan(size);
    done += size;
  }
}

void merge_runs(const uffd::paged_memory& from, const uffd::paged_memory& to, std::size_t run_size,
                std::size_t bytes_ahead, std::atomic<std::uint64_t>& done) {
  const auto all = from.as<std::uint64_t>();
  const auto runs = (all.size() + run_size - 1) / run_size;
  const auto page = from.page_size();
  const auto ahead = std::max(bytes_ahead / runs / page * page, page) / sizeof(std::uint64_t);
  std::vector<run_reader> readers;
  std::priority_queue<std::pair<std::uint64_t, std::size_t>,
                      std::vector<std::pair<std::uint64_t, std::size_t>>, std::greater<>>
      fronts;
  for (std::size_t run = 0; run < runs; ++run) {
    const auto begin = run * run_size;
    readers.emplace_back(from, all.subspan(begin, std::min(run_size, all.size() - begin)), ahead);
    fronts.emplace(readers.back().front(), run);
  }
  for (auto& number : to.writable_as<std::uint64_t>()) {
    const auto [smallest, run] = fronts.top();
    fronts.pop();
    number = smallest;
    ++done;
    readers[run].pop();
    if (!readers[run].is_empty()) fronts.emplace(readers[run].front(), run);
  }
}

}  // namespace sort_file
