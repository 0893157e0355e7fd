// SPDX-License-Identifier: MIT
// Puts what is pending into a sink, in the background.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tracking/page_sink.hpp"
#include "tracking/snapshot_memory.hpp"
#include "uffd/mapping.hpp"

namespace uffd::detail {

class page_saver {
 public:
  // Bytes copied at once, before they are put.
  static constexpr std::size_t batch_bytes = std::size_t{1} << 20;

  // Throws std::system_error.
  page_saver(snapshot_memory& memory, page_sink& sink, bool has_base);

  // After the moment: returns once everything was put, or the snapshot has failed. Memory that is
  // pending waits for this, writers whose buffers are used up, too.
  void run() noexcept;

  // Bytes by now; each for itself.
  struct counts {
    std::atomic<std::size_t> done{0};  // of what was pending
    std::atomic<std::size_t> put{0};   // with content
    std::atomic<std::size_t> zero{0};
  };
  const counts& so_far() const noexcept { return counts_; }
  std::size_t batch_size() const noexcept { return buffer_.bytes().size(); }

 private:
  void walk(saved_area& area) noexcept;
  std::size_t most_at_once(const saved_area& area, std::size_t first) const noexcept;
  std::size_t claim_run(saved_area& area, std::size_t first) const noexcept;
  void save_run(saved_area& area, std::size_t first, std::size_t count) noexcept;
  bool copy_run(saved_area& area, std::size_t first, std::size_t count) noexcept;
  bool find_holes(const saved_area& area, std::size_t first, std::size_t count) noexcept;
  bool probe(const saved_area& area, std::size_t page, std::size_t place) noexcept;
  void put_absent(saved_area& area, std::size_t first) noexcept;
  void save_written(saved_area& area) noexcept;
  std::size_t claim_written(saved_area& area, std::size_t first) const noexcept;
  void save_paged(saved_area& area, std::size_t first) noexcept;
  static bool take_unwritten(saved_area& area, std::size_t page) noexcept;
  bool read_source(const saved_area& area, std::size_t first, std::size_t count,
                   std::span<const std::byte>& bytes) noexcept;

  void serve() noexcept;
  void serve_waiting() noexcept;
  void save_published() noexcept;
  bool has_images_in_use() const noexcept;

  void put(saved_area& area, std::size_t first, std::span<const std::byte> pages) noexcept;
  void put_bytes(saved_area& area, std::size_t first, std::span<const std::byte> pages) noexcept;
  void put_zeroes(saved_area& area, std::size_t first, std::size_t count) noexcept;
  void note(std::error_code error, const saved_area& area, std::size_t first,
            std::size_t count) noexcept;

  snapshot_memory& memory_;
  page_sink& sink_;
  const bool has_base_;
  mapping buffer_;
  std::vector<bool> is_hole_;  // of the pages in the buffer
  counts counts_;
};

}  // namespace uffd::detail
