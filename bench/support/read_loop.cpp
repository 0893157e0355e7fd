// SPDX-License-Identifier: MIT
#include "support/read_loop.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "uffd/mapping.hpp"

namespace uffd::bench {
namespace {

constexpr std::size_t window = std::size_t{2} << 20;

class read_loop final : public paged_file {
 public:
  read_loop(const numbered_file& file, const paging_plan& plan)
      : file_(file.open(false, plan.direct)), buffer_(mapping::anonymous(window)) {}

  std::byte* base() const noexcept override { return nullptr; }
  std::byte* at(std::size_t page) override {
    const auto offset = page * page_size();
    if (offset / window != now_) read(offset / window);
    return buffer_.bytes().data() + offset % window;
  }
  paging_counters counters() const override { return {reads_, reads_, 0}; }

 private:
  void read(std::size_t number) {
    const auto to = buffer_.bytes();
    if (::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(number * window)) !=
        ssize_t{window})
      throw std::system_error(errno, std::system_category(), "reading the file");
    now_ = number;
    ++reads_;
  }

  unique_fd file_;
  mapping buffer_;
  std::size_t now_ = SIZE_MAX;  // the window that the buffer has
  std::uint64_t reads_ = 0;
};

}  // namespace

std::unique_ptr<paged_file> read_into_buffer(const numbered_file& file, const paging_plan& plan) {
  return std::make_unique<read_loop>(file, plan);
}

}  // namespace uffd::bench
