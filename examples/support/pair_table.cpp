// SPDX-License-Identifier: MIT
#include "pair_table.hpp"

#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace examples {
namespace {

constexpr std::int64_t start = 1000;

constexpr std::uint64_t mixed(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// A key is never 0.
constexpr std::uint64_t key_of(std::uint64_t pair, unsigned half) noexcept {
  return 2 * pair + half + 1;
}
constexpr std::uint64_t key_of_writer(const pair_table_shape& shape, unsigned writer) noexcept {
  return 2 * shape.pairs + writer + 1;
}

}  // namespace

struct pair_table::slot {
  std::uint64_t key;
  std::int64_t amount;
  std::uint64_t writes;
  std::uint64_t seal;  // of the others

  std::uint64_t right_seal() const noexcept {
    return mixed(key ^ mixed(static_cast<std::uint64_t>(amount) ^ mixed(writes)));
  }
  void set(std::int64_t to) noexcept {
    amount = to;
    ++writes;
    seal = right_seal();
  }
};

// Finds what has a key, or the free place for it; null if there is neither.
template <class Slot>
static Slot* find(std::span<Slot> slots, std::uint64_t key) noexcept {
  auto index = mixed(key) % slots.size();
  for (std::size_t tried = 0; tried < slots.size(); ++tried) {
    auto& found = slots[index];
    if (found.key == key || found.key == 0) return &found;
    if (++index == slots.size()) index = 0;
  }
  return nullptr;
}

std::size_t pair_table_shape::bytes() const noexcept {
  return uffd::align_up((2 * pairs + writers) * 2 * sizeof(std::array<std::uint64_t, 4>),
                        uffd::page_size());
}

pair_table_shape pair_table_shape::of_size(std::uint64_t bytes, unsigned writers) noexcept {
  const auto entries = bytes / (2 * sizeof(std::array<std::uint64_t, 4>));
  return {(entries - writers) / 2, writers};
}

pair_table::pair_table(std::span<std::byte> memory, pair_table_shape shape) noexcept
    : slots_(reinterpret_cast<slot*>(memory.data()), shape.bytes() / sizeof(slot)), shape_(shape) {}

pair_table::slot& pair_table::at(std::uint64_t key) noexcept { return *find(slots_, key); }

void pair_table::fill() noexcept {
  const auto last = key_of_writer(shape_, shape_.writers);
  for (std::uint64_t key = 1; key < last; ++key) {
    auto& added = at(key);
    added.key = key;
    added.set(key < key_of_writer(shape_, 0) ? start : 0);
  }
}

void pair_table::transfer(unsigned writer, std::uint64_t pair, std::int64_t amount) noexcept {
  auto& from = at(key_of(pair, 0));
  auto& to = at(key_of(pair, 1));
  auto& own = at(key_of_writer(shape_, writer));
  from.set(from.amount - amount);
  to.set(to.amount + amount);
  own.set(own.amount + amount);
}

// What a picture of a table says.
struct pair_table::reader {
  std::span<const slot> slots;

  std::int64_t amount(std::uint64_t key) const {
    const auto* const found = find(slots, key);
    if (found == nullptr || found->key != key)
      throw std::runtime_error("entry " + std::to_string(key) + " is missing");
    if (found->seal != found->right_seal())
      throw std::runtime_error("entry " + std::to_string(key) + " is half written");
    return found->amount;
  }
};

void pair_table::check(std::span<const std::byte> memory, pair_table_shape shape) {
  if (memory.size() < shape.bytes()) throw std::runtime_error("it is too short for the table");
  const reader picture{
      {reinterpret_cast<const slot*>(memory.data()), shape.bytes() / sizeof(slot)}};
  std::int64_t transferred = 0;
  for (std::uint64_t pair = 0; pair < shape.pairs; ++pair) {
    const auto second = picture.amount(key_of(pair, 1));
    if (picture.amount(key_of(pair, 0)) + second != 2 * start)
      throw std::runtime_error("pair " + std::to_string(pair) + " is of two moments");
    transferred += second - start;
  }
  for (unsigned writer = 0; writer < shape.writers; ++writer)
    transferred -= picture.amount(key_of_writer(shape, writer));
  if (transferred != 0) throw std::runtime_error("its pages are of several moments");
}

uffd::mapping memory_for(const pair_table_shape& shape, bool huge_pages) {
  auto memory = uffd::mapping::anonymous(shape.bytes());
  const auto all = memory.bytes();
  if (::madvise(all.data(), all.size(), huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0 &&
      huge_pages)
    throw std::system_error(errno, std::system_category(), "MADV_HUGEPAGE");
  return memory;
}

}  // namespace examples
