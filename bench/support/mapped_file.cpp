// SPDX-License-Identifier: MIT
#include "support/mapped_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <vector>

#include "uffd/page_range.hpp"

namespace uffd::bench {
namespace {

constexpr std::size_t chunk = std::size_t{64} << 10;

class mapped_file final : public paged_file {
 public:
  mapped_file(const numbered_file& file, const paging_plan& plan)
      : file_(file.open(plan.writable, false)),
        size_(file.size()),
        is_there_(file.size() / chunk),
        queue_(plan.budget / chunk) {
    void* const memory = ::mmap(nullptr, size_, plan.writable ? PROT_READ | PROT_WRITE : PROT_READ,
                                MAP_SHARED, file_.get(), 0);
    if (memory == MAP_FAILED)
      throw std::system_error(errno, std::system_category(), "mapping the file");
    memory_ = static_cast<std::byte*>(memory);
  }
  ~mapped_file() override {
    ::munmap(memory_, size_);
    if (::fdatasync(file_.get()) != 0) std::perror("mapped file: fdatasync");
  }

  std::byte* base() const noexcept override { return queue_.empty() ? memory_ : nullptr; }
  std::byte* memory() const noexcept override { return memory_; }
  std::byte* at(std::size_t page) override {
    const auto offset = page * page_size_;
    if (!is_there_[offset / chunk]) make_room_for(offset / chunk);
    return memory_ + offset;
  }
  paging_counters counters() const override { return {}; }
  bool counts_faults() const noexcept override { return false; }

 private:
  void make_room_for(std::size_t number) {
    auto& oldest = queue_[next_ % queue_.size()];
    if (next_++ >= queue_.size()) {
      is_there_[oldest] = false;
      if (::madvise(memory_ + oldest * chunk, chunk, MADV_DONTNEED) != 0)
        throw std::system_error(errno, std::system_category(), "madvise");
    }
    is_there_[number] = true;
    oldest = number;
  }

  unique_fd file_;
  std::size_t size_;
  std::byte* memory_ = nullptr;
  const std::size_t page_size_ = page_size();
  std::vector<bool> is_there_;
  std::vector<std::size_t> queue_;
  std::size_t next_ = 0;  // place in the queue, without its wrapping round
};

}  // namespace

std::unique_ptr<paged_file> map_by_kernel(const numbered_file& file, const paging_plan& plan) {
  return std::make_unique<mapped_file>(file, plan);
}

}  // namespace uffd::bench
