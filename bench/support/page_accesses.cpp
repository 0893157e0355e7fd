// SPDX-License-Identifier: MIT
#include "support/page_accesses.hpp"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <thread>

#include "uffd/page_range.hpp"

namespace uffd::bench {
namespace {

nanoseconds now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return nanoseconds{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

class toucher {
 public:
  toucher(paged_file& file, std::span<const std::uint32_t> pages, access_kind kind)
      : file_(file), base_(file.base()), pages_(pages), kind_(kind) {
    result_.latencies.assign(pages.size(), 0);  // its own pages must not fault meanwhile
  }

  void run() {
    result_.begin = now();
    nanoseconds before = result_.begin;
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      access(pages_[i], kind_.writes_half && i % 2 == 1);
      const nanoseconds after = now();
      result_.latencies[i] = after - before;
      before = after;
    }
    result_.end = before;
  }

  const access_result& result() const noexcept { return result_; }

 private:
  void access(std::size_t page, bool writes) {
    auto* const bytes = base_ != nullptr ? base_ + page * page_size_ : file_.at(page);
    auto* const words = reinterpret_cast<std::uint64_t*>(bytes);
    if (writes) {  // by one instruction: a page that is missed is missed by a write
      std::atomic_ref(words[numbered_file::counter_word]).fetch_add(1, std::memory_order_relaxed);
      ++result_.writes;
    }
    const auto first = static_cast<const volatile std::uint64_t*>(words)[0];
    if (first != first_word_of(page)) ++result_.wrong;
    if (kind_.reads_all) result_.words += sum({words, page_size_ / sizeof(std::uint64_t)});
  }
  static std::uint64_t sum(std::span<const std::uint64_t> words) noexcept {
    std::uint64_t result = 0;
    for (const std::uint64_t word : words) result += word;
    return result;
  }

  paged_file& file_;
  std::byte* const base_;
  const std::size_t page_size_ = page_size();
  const std::span<const std::uint32_t> pages_;
  const access_kind kind_;
  access_result result_;
};

void add(access_result& all, const access_result& one) {
  all.latencies.insert(all.latencies.end(), one.latencies.begin(), one.latencies.end());
  all.begin = std::min(all.begin, one.begin);
  all.end = std::max(all.end, one.end);
  all.words += one.words;
  all.wrong += one.wrong;
  all.writes += one.writes;
}

}  // namespace

access_result access_pages(paged_file& file, const page_sequence& pages, access_kind kind,
                           unsigned threads) {
  std::vector<toucher> touchers;
  touchers.reserve(threads);
  const auto from = [&](std::size_t number) { return pages.size() * number / threads; };
  for (std::size_t i = 0; i < threads; ++i)
    touchers.emplace_back(file, std::span(pages).subspan(from(i), from(i + 1) - from(i)), kind);
  std::barrier<> gate(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> running;
  for (auto& each : touchers)
    running.emplace_back([&] {
      gate.arrive_and_wait();
      each.run();
    });
  for (auto& each : running) each.join();
  access_result all = touchers.front().result();
  for (std::size_t i = 1; i < threads; ++i) add(all, touchers[i].result());
  return all;
}

}  // namespace uffd::bench
