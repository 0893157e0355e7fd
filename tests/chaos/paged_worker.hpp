// SPDX-License-Identifier: MIT
// A thread that does everything that may be done to one mapping of a pager while others do.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "choices.hpp"
#include "paged_model.hpp"
#include "paged_store.hpp"
#include "progress.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd::chaos {

// What was done, by all workers.
struct paged_tally {
  std::atomic<std::uint64_t> operations{0}, increments{0}, flushes{0}, failed_flushes{0}, pins{0},
      prefetches{0}, lives{0}, faults{0}, evictions{0}, pages_written{0};
};

// What the workers of one mapping share.
struct paged_setting {
  const paged_memory* memory = nullptr;
  paged_model* model = nullptr;
  paged_store* store = nullptr;
  write_policy writes = write_policy::none;
  std::size_t writable_pages = 0;  // the first so many
  paged_tally* tally = nullptr;
};

class paged_worker {
 public:
  paged_worker(const paged_setting& setting, std::size_t number, std::uint64_t seed,
               progress& where)
      : all_(setting), number_(number), chosen_(seed), where_(where) {}

  // Until it is over; ends the program where anything is wrong.
  void run(const std::atomic<bool>& is_over);

 private:
  struct part {
    std::size_t first = 0;
    std::size_t count = 0;
  };

  void do_something();
  void read_some();
  void read_in_order();
  void increment_some();
  void flush();
  void pin_to_read();
  void pin_to_write();
  void prefetch();
  void page_out();
  void advise();

  bool can_write() const { return all_.writes != write_policy::none; }
  part some_pages(std::size_t most);
  part some_writable_pages(std::size_t most);
  std::span<const std::byte> bytes_of(part pages) const;
  std::uintptr_t address(std::size_t page, std::size_t word) const;

  void check_page(std::size_t page, std::size_t some);
  void check_word(std::size_t page, std::size_t word);
  void check_presence(part pages);
  void increment(std::size_t page);
  void increment_by_system_call(std::size_t page);
  [[noreturn]] void wrong(const char* what, std::size_t page, std::size_t word, std::uint64_t seen,
                          std::uint64_t expected);

  const paged_setting all_;
  const std::size_t number_;
  choices chosen_;
  progress& where_;
};

}  // namespace uffd::chaos
