// SPDX-License-Identifier: MIT
#include "support/library_pagers.hpp"

#include "uffd/pager/file_source.hpp"
#include "uffd/pager/pager.hpp"

namespace uffd::bench {
namespace {

pager_options options_for(const paging_plan& plan) {
  pager_options options{.statistics = true};
  if (plan.budget != 0) options.budget = memory_budget(plan.budget);
  return options;
}

map_options mapped_for(const paging_plan& plan, told about, page_backing backing) {
  map_options options;
  options.backing = backing;
  if (plan.writable) options.writes = write_policy::write_back;
  if (about == told::pattern)
    options.expected = plan.sequential ? access_pattern::sequential : access_pattern::random;
  return options;
}

class library_file final : public paged_file {
 public:
  library_file(const pager& by, const numbered_file& file, const paging_plan& plan, told about,
               file_access access = file_access::read_immutable,
               page_backing backing = page_backing::anonymous)
      : memory_(by.map(file_source(file.open(plan.writable, plan.direct),
                                   plan.writable ? file_access::read_write : access),
                       mapped_for(plan, about, backing))),
        base_(const_cast<std::byte*>(memory_.bytes().data())) {}

  std::byte* base() const noexcept override { return base_; }
  paging_counters counters() const override {
    const auto counted = memory_.statistics();
    return {counted.faults, counted.source_reads, counted.source_writes};
  }

 private:
  paged_memory memory_;
  std::byte* base_;
};

}  // namespace

std::unique_ptr<paged_file> page_by_threads(const numbered_file& file, const paging_plan& plan,
                                            told about) {
  return std::make_unique<library_file>(pager(options_for(plan)), file, plan, about);
}

std::unique_ptr<paged_file> page_by_threads_to_huge_pages(const numbered_file& file,
                                                          const paging_plan& plan, told about) {
  return std::make_unique<library_file>(pager(options_for(plan)), file, plan, about,
                                        file_access::read_immutable, page_backing::huge);
}

std::unique_ptr<paged_file> page_in_thread(const numbered_file& file, const paging_plan& plan,
                                           told about) {
  return std::make_unique<library_file>(pager(async_signal_safe, options_for(plan)), file, plan,
                                        about);
}

std::unique_ptr<paged_file> page_in_thread_checked(const numbered_file& file,
                                                   const paging_plan& plan, told about) {
  return std::make_unique<library_file>(pager(async_signal_safe, options_for(plan)), file, plan,
                                        about, file_access::read);
}

}  // namespace uffd::bench
