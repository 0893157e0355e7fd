// SPDX-License-Identifier: MIT
// Tells a forked child from the process that made an object, in one load and however it was forked.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <system_error>

namespace uffd::detail {

// The process an object was made in. Rests on a page that the kernel wipes in every child
// (MADV_WIPEONFORK, Linux 4.14), so that raw clone() and _Fork(), which run no pthread_atfork
// handler, are seen too: the page holds the process's generation, a child finds zero there until it
// makes an object of its own, under the next generation.
class process_mark {
 public:
  process_mark() noexcept = default;

  // Throws std::system_error if no such page can be had.
  static process_mark here() {
    // No lock, and no initialisation that has one: a fork could leave it locked in the child.
    static constinit std::atomic<counter*> shared{nullptr};
    static constinit counter last_generation{0};
    counter* page = shared.load(std::memory_order_acquire);
    if (page == nullptr) page = publish(make_page(), shared);
    std::uint64_t generation = page->load(std::memory_order_relaxed);
    if (generation == 0) {
      const auto next = last_generation.fetch_add(1, std::memory_order_relaxed) + 1;
      if (page->compare_exchange_strong(generation, next, std::memory_order_relaxed))
        generation = next;
    }
    return {page, generation};
  }

  bool in_child() const noexcept { return page_->load(std::memory_order_relaxed) != generation_; }

 private:
  using counter = std::atomic<std::uint64_t>;
  static_assert(counter::is_always_lock_free);

  process_mark(const counter* page, std::uint64_t generation) noexcept
      : page_(page), generation_(generation) {}

  static std::size_t size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

  static counter* make_page() {
    void* const memory =
        ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED && ::madvise(memory, size(), MADV_WIPEONFORK) == 0)
      return new (memory) counter(0);
    const int number = errno;
    if (memory != MAP_FAILED) ::munmap(memory, size());
    throw std::system_error(number, std::system_category(),
                            "a page wiped in forked children (MADV_WIPEONFORK)");
  }

  // Another thread may have been faster.
  static counter* publish(counter* made, std::atomic<counter*>& shared) {
    counter* first = nullptr;
    if (shared.compare_exchange_strong(first, made, std::memory_order_acq_rel)) return made;
    ::munmap(made, size());
    return first;
  }

  const counter* page_ = nullptr;
  std::uint64_t generation_ = 0;
};

}  // namespace uffd::detail
