// SPDX-License-Identifier: MIT
#include "buffer_pool.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <new>

#include "uffd/error.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

std::size_t checked_total(std::size_t count, std::size_t bytes) {
  std::size_t total = 0;
  if (count == 0 || bytes == 0 || __builtin_mul_overflow(count, bytes, &total))
    throw_errno(EINVAL, "sigbus handler: no buffers");
  return total;
}

}  // namespace

buffer_pool::buffer_pool(std::size_t count, std::size_t bytes)
    : home_(process_mark::here()),
      bytes_(align_up(bytes, page_size())),
      memory_(mapping::anonymous(checked_total(count, bytes_))),
      entries_(count) {
  memory_.keep_from_children();
  // One buffer in use must not take the memory of many. Refused by kernels without huge pages.
  ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < count; ++i) {
    entries_[i].memory = memory_.bytes().data() + i * bytes_;
    entries_[i].next = i + 1 < count ? &entries_[i + 1] : nullptr;
  }
  first_.store(entries_.data(), std::memory_order_release);
}

buffer_pool::~buffer_pool() {
  if (home_.in_child()) return;
  for (entry* each = first_; each != entries_.data();) {
    entry* const next = each->next;
    ::munmap(each, page_size() + bytes_);
    each = next;
  }
}

// Its entry lies in a page before it. A child that is forked before the advice inherits a buffer
// that nobody there looks at.
buffer_pool::entry* buffer_pool::make_another() noexcept {
  const std::size_t size = page_size() + bytes_;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (::madvise(memory, size, MADV_DONTFORK) != 0) {
    ::munmap(memory, size);
    return nullptr;
  }
  auto* const made = new (memory) entry;
  made->is_taken.store(true, std::memory_order_relaxed);
  made->memory = static_cast<std::byte*>(memory) + page_size();
  made->next = first_.load(std::memory_order_relaxed);
  while (!first_.compare_exchange_weak(made->next, made, std::memory_order_release,
                                       std::memory_order_relaxed)) {
  }
  return made;
}

}  // namespace uffd::detail
