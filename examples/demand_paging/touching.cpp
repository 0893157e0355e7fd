// SPDX-License-Identifier: MIT
#include "touching.hpp"

#include <fmt/core.h>

#include <uffd/page_range.hpp>

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "source_file.hpp"
#include "try_touch.hpp"

namespace demand_paging {
namespace {

using clock = std::chrono::steady_clock;

// Hands out the pages one by one, to any thread that asks.
class shared_pages {
 public:
  explicit shared_pages(std::span<const std::size_t> pages) : pages_(pages) {}

  std::optional<std::size_t> next() noexcept {
    const auto index = next_.fetch_add(1, std::memory_order_relaxed);
    return index < pages_.size() ? std::optional(pages_[index]) : std::nullopt;
  }
  void stop() noexcept { next_.store(pages_.size(), std::memory_order_relaxed); }

 private:
  std::span<const std::size_t> pages_;
  std::atomic<std::size_t> next_{0};
};

template <class Body>
void on_threads(unsigned count, const Body& body) {
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < count; ++i) threads.emplace_back(body);
}

}  // namespace

std::vector<std::size_t> choose_pages(std::size_t pages, std::size_t count, touch_order order) {
  std::vector<std::size_t> all(pages);
  std::iota(all.begin(), all.end(), std::size_t{0});
  // The same order in every run, so that runs can be compared: NOLINTNEXTLINE(cert-msc*)
  if (order == touch_order::random) std::shuffle(all.begin(), all.end(), std::mt19937_64());
  all.resize(std::min(count, pages));
  return all;
}

touch_result touch_pages(std::span<const std::byte> memory, std::span<const std::size_t> pages,
                         unsigned threads, std::atomic<std::size_t>& done) {
  const caught_access_errors caught;
  touch_result result;
  std::mutex result_lock;
  shared_pages left(pages);
  const auto start = clock::now();
  on_threads(threads, [&] {
    uffd::latency_histogram latency;
    std::optional<std::size_t> failed;
    while (const auto page = left.next()) {
      const auto before = clock::now();
      if (!try_touch(memory.data() + *page * uffd::page_size())) {
        failed = page;
        left.stop();
        break;
      }
      latency.record(clock::now() - before);
      done.fetch_add(1, std::memory_order_relaxed);
    }
    const std::lock_guard lock(result_lock);
    result.latency.merge(latency);
    if (failed) result.failed_page = failed;
  });
  result.elapsed = clock::now() - start;
  return result;
}

void compare_pages(std::span<const std::byte> memory, std::span<const std::size_t> pages,
                   unsigned threads, const std::string& path, std::size_t file_size) {
  const source_file file(path);
  std::exception_ptr problem;
  std::mutex problem_lock;
  shared_pages left(pages);
  const auto compare = [&] {
    std::vector<std::byte> expected(uffd::page_size());
    while (const auto page = left.next()) {
      const auto offset = *page * expected.size();
      const auto used = std::min(expected.size(), file_size - offset);
      std::fill(expected.begin(), expected.end(), std::byte{0});  // what pads the last page
      if (const auto error = file.read(offset, std::span(expected).first(used)))
        throw std::system_error(error, fmt::format("comparing page {}", *page));
      if (!std::equal(expected.begin(), expected.end(), memory.data() + offset))
        throw std::runtime_error(fmt::format("page {} differs from the file", *page));
    }
  };
  on_threads(threads, [&] {
    try {
      compare();
    } catch (...) {
      left.stop();
      const std::lock_guard lock(problem_lock);
      if (!problem) problem = std::current_exception();
    }
  });
  if (problem) std::rethrow_exception(problem);
}

}  // namespace demand_paging
