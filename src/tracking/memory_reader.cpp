// SPDX-License-Identifier: MIT
#include "tracking/memory_reader.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace uffd::detail {

memory_reader::memory_reader() noexcept
    : memory_(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)), own_id_(::getpid()) {}

int memory_reader::read(page_range from, std::span<std::byte> into) const noexcept {
  std::size_t done = 0;
  while (done < from.size()) {
    const std::size_t left = from.size() - done;
    iovec to{into.data() + done, left};
    iovec source{reinterpret_cast<void*>(from.begin() + done), left};
    // Not by the C library's function, whose cover a sanitizer takes for a read by this thread.
    long result = ::syscall(SYS_process_vm_readv, long{own_id_}, &to, 1L, &source, 1L, 0L);
    if (result < 0 && (errno == EPERM || errno == ENOSYS) && memory_)
      result = ::pread(memory_.get(), to.iov_base, left, static_cast<off_t>(from.begin() + done));
    if (result <= 0) return result < 0 && errno != EIO ? errno : EFAULT;
    done += static_cast<std::size_t>(result);
  }
  return 0;
}

}  // namespace uffd::detail
