// SPDX-License-Identifier: MIT
#include "support/segv_file.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "support/segv_pager.h"

namespace uffd::bench {
namespace {

class segv_file final : public paged_file {
 public:
  segv_file(const numbered_file& file, const paging_plan& plan)
      : file_(file.open(plan.writable, plan.direct)) {
    const segv_pager_options options{
        .file = file_.get(), .size = file.size(), .budget = plan.budget, .writable = plan.writable};
    pager_ = segv_pager_start(&options);
    if (pager_ == nullptr) throw std::system_error(errno, std::system_category(), "segv pager");
  }
  ~segv_file() override {
    segv_pager_stop(pager_);
    if (::fdatasync(file_.get()) != 0) std::perror("segv pager: fdatasync");
  }

  std::byte* base() const noexcept override {
    return static_cast<std::byte*>(segv_pager_memory(pager_));
  }
  paging_counters counters() const override {
    const auto counted = segv_pager_count(pager_);
    return {counted.faults, counted.reads, counted.writes};
  }

 private:
  unique_fd file_;
  segv_pager* pager_ = nullptr;
};

}  // namespace

std::unique_ptr<paged_file> page_by_segv(const numbered_file& file, const paging_plan& plan) {
  return std::make_unique<segv_file>(file, plan);
}

}  // namespace uffd::bench
