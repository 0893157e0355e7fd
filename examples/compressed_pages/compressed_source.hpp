// SPDX-License-Identifier: MIT
// A page source of one's own.
#pragma once

#include <uffd/pager/page_source.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>
#include <vector>

#include "container.hpp"

namespace compressed_pages {

// The bytes of a container, unpacked. It asks to be read block by block, but gives any pages: those
// of a block that did not fit into the budget at once are asked for singly.
class compressed_source {
 public:
  explicit compressed_source(const container& from) : from_(from) {}

  std::uint64_t size() const noexcept { return from_.size(); }
  uffd::source_advice advice() const noexcept { return {.unit = container::block_size}; }

  uffd::read_result read(std::uint64_t offset, std::span<std::byte> to) const {
    uffd::read_result done;
    thread_local std::vector<std::byte> buffer(container::block_size);
    while (!done.error && done.bytes < to.size()) {
      const auto block = static_cast<std::size_t>((offset + done.bytes) / container::block_size);
      const auto skipped = static_cast<std::size_t>((offset + done.bytes) % container::block_size);
      const auto all = from_.size_of(block);
      const auto wanted = to.subspan(done.bytes, std::min(to.size() - done.bytes, all - skipped));
      const bool is_whole = wanted.size() == all;
      done.error = from_.unpack(block, is_whole ? wanted : std::span(buffer).first(all));
      if (!done.error && !is_whole)
        std::memcpy(wanted.data(), buffer.data() + skipped, wanted.size());
      if (!done.error) done.bytes += wanted.size();
      ++unpacked_;
    }
    return done;
  }

  // Blocks, each time that one was.
  std::uint64_t unpacked() const noexcept { return unpacked_; }

 private:
  const container& from_;
  mutable std::atomic<std::uint64_t> unpacked_{0};
};

}  // namespace compressed_pages
