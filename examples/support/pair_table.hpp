// SPDX-License-Identifier: MIT
// A key-value table whose content tells whether it is that of one moment.
#pragma once

#include <uffd/mapping.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace examples {

// How much is in a table. Entries come in pairs; each writer has an entry of its own besides.
struct pair_table_shape {
  std::uint64_t pairs = 0;
  unsigned writers = 0;

  // Of a table that is half full.
  std::size_t bytes() const noexcept;
  // The most pairs that fit.
  static pair_table_shape of_size(std::uint64_t bytes, unsigned writers) noexcept;
};

// Open addressing, slots of a fixed size. A transfer changes both entries of a pair, which lie
// anywhere, and what its writer's own entry says was transferred: what has one of the three changes
// and not the others is not what the table was at any moment.
class pair_table {
 public:
  // In memory that is zeroes, of shape.bytes() bytes at least.
  pair_table(std::span<std::byte> memory, pair_table_shape shape) noexcept;

  const pair_table_shape& shape() const noexcept { return shape_; }
  void fill() noexcept;
  // From one entry of a pair to the other one. No two threads may do so with the same pair, or as
  // the same writer, at a time.
  void transfer(unsigned writer, std::uint64_t pair, std::int64_t amount) noexcept;

  // Throws std::runtime_error for what was not a table's memory at one moment, outside of
  // transfers.
  static void check(std::span<const std::byte> memory, pair_table_shape shape);

 private:
  struct slot;
  struct reader;
  slot& at(std::uint64_t key) noexcept;

  std::span<slot> slots_;
  pair_table_shape shape_;
};

// Private memory for a table, of pages of the system's size only, or of transparent huge pages
// where the kernel has any. Throws std::system_error.
uffd::mapping memory_for(const pair_table_shape& shape, bool huge_pages);

}  // namespace examples
