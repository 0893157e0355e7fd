// SPDX-License-Identifier: MIT
// Where pages are kept as they were before a write, until they are saved.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "uffd/mapping.hpp"

namespace uffd::detail {

// A number of buffers of one page each. Any thread takes, gives back and publishes, without a lock;
// one at a time gets what was published. Only what was used takes memory.
class pre_image_buffers {
 public:
  // Throws std::system_error.
  pre_image_buffers(std::size_t page_size, std::size_t count)
      : page_size_(page_size), memory_(mapping::anonymous(page_size * count)), images_(count) {
    memory_.keep_from_children();
    // One page that is used must not bring its neighbours along.
    ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < count; ++i)
      images_[i].next.store(static_cast<std::uint32_t>(i + 1 < count ? i + 1 : none),
                            std::memory_order_relaxed);
  }

  std::size_t page_size() const noexcept { return page_size_; }

  // Nothing if all are in use.
  std::optional<std::uint32_t> take() noexcept {
    auto top = free_.load(std::memory_order_acquire);
    while (index_of(top) != none) {
      const auto next = images_[index_of(top)].next.load(std::memory_order_relaxed);
      if (!free_.compare_exchange_weak(top, next_tag(top) | next, std::memory_order_acq_rel))
        continue;
      note_use(in_use_.fetch_add(1, std::memory_order_acq_rel) + 1);
      return index_of(top);
    }
    return std::nullopt;
  }
  void give_back(std::uint32_t image) noexcept {
    auto top = free_.load(std::memory_order_relaxed);
    do images_[image].next.store(index_of(top), std::memory_order_relaxed);
    while (!free_.compare_exchange_weak(top, next_tag(top) | image, std::memory_order_acq_rel));
    in_use_.fetch_sub(1, std::memory_order_acq_rel);
  }

  std::span<std::byte> bytes(std::uint32_t image) const noexcept {
    return memory_.bytes().subspan(image * page_size_, page_size_);
  }

  // Its bytes are those of a page of an area: to be saved.
  void publish(std::uint32_t image, std::size_t area, std::size_t page) noexcept {
    images_[image].area = area;
    images_[image].page = page;
    auto top = published_.load(std::memory_order_relaxed);
    do images_[image].next.store(top, std::memory_order_relaxed);
    while (!published_.compare_exchange_weak(top, image, std::memory_order_acq_rel));
  }
  // Calls each(image, area, page) for all that were published by now.
  template <class Each>
  void for_each_published(Each&& each) {
    auto image = published_.exchange(none, std::memory_order_acq_rel);
    while (image != none) {
      const auto next = images_[image].next.load(std::memory_order_relaxed);
      each(image, images_[image].area, images_[image].page);
      image = next;
    }
  }
  bool has_published() const noexcept { return published_.load(std::memory_order_acquire) != none; }

  std::size_t in_use() const noexcept { return in_use_.load(std::memory_order_acquire); }
  // The most that were, in bytes, since begin().
  std::size_t most_bytes() const noexcept {
    return most_.load(std::memory_order_relaxed) * page_size_;
  }
  void begin() noexcept { most_.store(0, std::memory_order_relaxed); }
  // With none in use: gives their memory back to the system.
  void rest() noexcept { ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_DONTNEED); }

 private:
  struct entry {
    std::atomic<std::uint32_t> next{none};
    std::size_t area = 0;
    std::size_t page = 0;
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  // The top of the free ones bears a count, so that one that was taken and given back meanwhile is
  // not mistaken for what it was.
  static std::uint32_t index_of(std::uint64_t top) noexcept {
    return static_cast<std::uint32_t>(top);
  }
  static std::uint64_t next_tag(std::uint64_t top) noexcept {
    return (top & ~std::uint64_t{none}) + (std::uint64_t{1} << 32);
  }
  void note_use(std::size_t now) noexcept {
    auto most = most_.load(std::memory_order_relaxed);
    while (now > most && !most_.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
    }
  }

  std::size_t page_size_;
  mapping memory_;
  std::vector<entry> images_;
  std::atomic<std::uint64_t> free_{0};
  std::atomic<std::uint32_t> published_{none};
  std::atomic<std::size_t> in_use_{0};
  std::atomic<std::size_t> most_{0};
};

}  // namespace uffd::detail
