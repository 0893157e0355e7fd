// SPDX-License-Identifier: MIT
// Messages made up, and a pipe to stand in for the kernel.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

inline uapi::message fault_message(std::uint64_t address, std::uint64_t flags = 0,
                                   std::uint32_t thread_id = 0) {
  uapi::message raw{};
  raw.event = uapi::event::page_fault;
  raw.argument.page_fault = {flags, address, thread_id, 0};
  return raw;
}
inline uapi::message fork_message(int descriptor) {
  uapi::message raw{};
  raw.event = uapi::event::fork;
  raw.argument.fork.descriptor = static_cast<std::uint32_t>(descriptor);
  return raw;
}
inline uapi::message remap_message(std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  uapi::message raw{};
  raw.event = uapi::event::remap;
  raw.argument.remap = {from, to, length};
  return raw;
}
inline uapi::message remove_message(std::uint64_t start, std::uint64_t end) {
  uapi::message raw{};
  raw.event = uapi::event::remove;
  raw.argument.remove = {start, end};
  return raw;
}
inline uapi::message unmap_message(std::uint64_t start, std::uint64_t end) {
  uapi::message raw = remove_message(start, end);
  raw.event = uapi::event::unmap;
  return raw;
}

// A pipe whose reading end never blocks.
class message_pipe {
 public:
  message_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
      uffd::detail::throw_errno(errno, "pipe2");
    read_end_.reset(ends[0]);
    write_end_.reset(ends[1]);
  }

  int fd() const { return read_end_.get(); }
  // True if all was written.
  bool write(std::span<const std::byte> bytes) const {
    return ::write(write_end_.get(), bytes.data(), bytes.size()) ==
           static_cast<ssize_t>(bytes.size());
  }
  template <class... Messages>
  bool send(const Messages&... messages) const {
    const std::array all{messages...};
    return write(std::as_bytes(std::span(all)));
  }
  void close_write_end() { write_end_.reset(); }

 private:
  unique_fd read_end_;
  unique_fd write_end_;
};

}  // namespace uffd::test
