// SPDX-License-Identifier: MIT
#include "support/paging_candidates.hpp"

#include <algorithm>

#include "support/cpus.hpp"
#include "support/huge_pages.hpp"
#include "support/mapped_file.hpp"
#include "support/raw_pagers.hpp"
#include "support/read_loop.hpp"
#include "support/segv_file.hpp"

namespace uffd::bench {
namespace {

using file = numbered_file;
using plan = paging_plan;

std::vector<named_pager> by_library(told about) {
  return {{std::string(names::in_thread),
           [about](const file& of, const plan& how) { return page_in_thread(of, how, about); }},
          {std::string(names::threaded),
           [about](const file& of, const plan& how) { return page_by_threads(of, how, about); }}};
}

std::vector<named_pager> by_hand() {
  return {
      {std::string(names::raw_in_thread),
       [](const file& of, const plan& how) { return page_in_thread_by_raw(of, how); }},
      {std::string(names::raw_threaded),
       [](const file& of, const plan& how) { return page_by_raw_thread(of, how); }},
      {std::string(names::segv), page_by_segv},
  };
}

bool has_huge_pages_for(const paging_workload& work) {
  const auto pool = reserved_huge_pages();
  const auto bytes = work.plan.budget != 0 ? work.plan.budget : work.file_bytes;
  // A buffer of each thread must hold a page, and is a part of the budget.
  if (work.plan.budget != 0 && work.plan.budget / 32 / allowed_cpus().size() < pool.page_size)
    return false;
  return pool.page_size != 0 && pool.free >= (bytes + pool.page_size - 1) / pool.page_size;
}

}  // namespace

std::string_view baseline_of(const paging_workload& work) {
  return work.plan.sequential || work.threads > 1 ? names::raw_threaded : names::raw_in_thread;
}

std::vector<named_pager> pagers_for(const paging_workload& work, told about) {
  auto all = by_library(about);
  for (auto& each : by_hand()) all.push_back(std::move(each));
  if (!work.plan.sequential && work.plan.budget == 0 && work.threads == 1)
    all.push_back({std::string(names::checked), [about](const file& of, const plan& how) {
                     return page_in_thread_checked(of, how, about);
                   }});
  if (work.plan.sequential && has_huge_pages_for(work))
    all.push_back({std::string(names::huge), [about](const file& of, const plan& how) {
                     return page_by_threads_to_huge_pages(of, how, about);
                   }});
  const auto baseline = std::find_if(all.begin(), all.end(), [&](const named_pager& each) {
    return each.name == baseline_of(work);
  });
  all.push_back({baseline->name + std::string(names::again), baseline->make});
  if (work.plan.writable)
    all.push_back({std::string(names::raw_protects), [](const file& of, const plan& how) {
                     return page_in_thread_by_raw(of, how, write_fill::protected_);
                   }});
  if (!work.plan.direct) all.push_back({std::string(names::kernel), map_by_kernel});
  if (work.plan.sequential) all.push_back({std::string(names::read_loop), read_into_buffer});
  return all;
}

}  // namespace uffd::bench
