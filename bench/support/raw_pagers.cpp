// SPDX-License-Identifier: MIT
#include "support/raw_pagers.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>

#include "support/raw_pager.h"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"

namespace uffd::bench {
namespace {

constexpr std::size_t window = std::size_t{2} << 20;

using starter = raw_pager* (*)(const raw_pager_options*);

class raw_file final : public paged_file {
 public:
  raw_file(const numbered_file& file, const paging_plan& plan, write_fill fill, std::size_t unit,
           flags<feature> features, starter start)
      : file_(file.open(plan.writable, plan.direct)),
        memory_(mapping::anonymous(file.size())),
        on_(handle::open(
            {.required = plan.writable ? features | feature::pagefault_flag_wp : features})) {
    ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
    flags<register_mode> modes = register_mode::missing;
    if (plan.writable) modes |= register_mode::write_protect;
    on_.register_range(memory_.range(), modes);
    const raw_pager_options options{.uffd = on_.fd(),
                                    .file = file_.get(),
                                    .base = memory_.range().begin(),
                                    .size = file.size(),
                                    .unit = unit,
                                    .budget = plan.budget,
                                    .writable = plan.writable,
                                    .opens_writes = fill == write_fill::open};
    pager_ = start(&options);
    if (pager_ == nullptr) throw std::system_error(errno, std::system_category(), "raw pager");
  }
  ~raw_file() override {
    raw_pager_stop(pager_);
    if (::fdatasync(file_.get()) != 0) std::perror("raw pager: fdatasync");
  }

  std::byte* base() const noexcept override { return memory_.bytes().data(); }
  paging_counters counters() const override {
    const auto counted = raw_pager_count(pager_);
    return {counted.faults, counted.reads, counted.writes};
  }

 private:
  unique_fd file_;
  mapping memory_;
  handle on_;
  raw_pager* pager_ = nullptr;
};

}  // namespace

std::unique_ptr<paged_file> page_by_raw_thread(const numbered_file& file, const paging_plan& plan,
                                               write_fill fill) {
  const auto unit = plan.sequential ? window : page_size();
  return std::make_unique<raw_file>(file, plan, fill, unit, flags<feature>(),
                                    raw_pager_start_thread);
}

std::unique_ptr<paged_file> page_in_thread_by_raw(const numbered_file& file,
                                                  const paging_plan& plan, write_fill fill) {
  return std::make_unique<raw_file>(file, plan, fill, page_size(), feature::sigbus,
                                    raw_pager_start_signal);
}

}  // namespace uffd::bench
