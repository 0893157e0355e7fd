// SPDX-License-Identifier: MIT
#include "support/paging_workloads.hpp"

#include <fmt/core.h>

#include <utility>

#include "uffd/page_range.hpp"

namespace uffd::bench {
namespace {

constexpr double skew = 0.99;

std::size_t pages_of(std::size_t bytes) { return bytes / page_size(); }

paging_workload sequential(const workload_sizes& sizes, std::size_t budget) {
  paging_workload work;
  work.name = budget == 0 ? "W1" : "W1b";
  work.title = budget == 0 ? "all words in order" : "all words in order, budget 1/8";
  work.file_bytes = sizes.file;
  work.plan = {.budget = budget, .sequential = true, .direct = sizes.direct};
  work.accesses = all_in_order(pages_of(sizes.file));
  work.reads_all = true;
  return work;
}

paging_workload random(const workload_sizes& sizes, unsigned threads) {
  paging_workload work;
  work.name = threads == 1 ? "W2" : fmt::format("W2x{}", threads);
  work.title = fmt::format("pages at random, each once, by {}",
                           threads == 1 ? "one thread" : fmt::format("{} threads", threads));
  work.file_bytes = sizes.file;
  work.threads = threads;
  work.plan.direct = sizes.direct;
  work.accesses = distinct_at_random(pages_of(sizes.file), sizes.accesses, 1);
  return work;
}

// The cache is full when the time begins.
paging_workload budgeted(const workload_sizes& sizes, std::string name, std::string title) {
  paging_workload work;
  work.name = std::move(name);
  work.title = std::move(title);
  work.file_bytes = sizes.file;
  work.plan = {.budget = sizes.file / 4, .direct = sizes.direct};
  work.fill = distinct_at_random(pages_of(sizes.file), pages_of(sizes.file / 4), 2);
  work.accesses = uniform(pages_of(sizes.file), sizes.accesses, 3);
  return work;
}

paging_workload writing(const workload_sizes& sizes, bool fill_writes) {
  auto work = fill_writes
                  ? budgeted(sizes, "W4b", "as W4, of a cache that is half written at first")
                  : budgeted(sizes, "W4", "pages at random, half of them written, budget 1/4");
  work.plan.writable = true;
  work.writes_half = true;
  work.fill_writes = fill_writes;
  return work;
}

// Of a smaller file, so that the cache turns over several times.
paging_workload skewed(workload_sizes sizes) {
  sizes.file /= 8;
  auto work = budgeted(sizes, "W5", fmt::format("Zipf {}, budget 1/4", skew));
  work.accesses = zipf(pages_of(sizes.file), 10 * sizes.accesses, skew, 4);
  return work;
}

}  // namespace

std::vector<paging_workload> all_workloads(const workload_sizes& sizes) {
  return {sequential(sizes, 0),  sequential(sizes, sizes.file / 8),
          random(sizes, 1),      random(sizes, 2),
          random(sizes, 4),      budgeted(sizes, "W3", "pages at random, budget 1/4"),
          writing(sizes, false), writing(sizes, true),
          skewed(sizes)};
}

}  // namespace uffd::bench
