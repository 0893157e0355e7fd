// SPDX-License-Identifier: MIT
#include "paged_worker.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <system_error>
#include <vector>

#include "pattern.hpp"
#include "support/swap.hpp"

namespace uffd::chaos {

void paged_worker::wrong(const char* what, std::size_t page, std::size_t word, std::uint64_t seen,
                         std::uint64_t expected) {
  say("pager_load: worker %zu: %s: page %zu, word %zu: %llx, not %llx\n", number_, what, page, word,
      static_cast<unsigned long long>(seen), static_cast<unsigned long long>(expected));
  end_wrong(where_);
}

void paged_worker::run(const std::atomic<bool>& is_over) {
  while (!is_over) {
    do_something();
    all_.tally->operations.fetch_add(1, std::memory_order_relaxed);
    where_.step.fetch_add(1);
  }
  where_.doing("is over");
}

void paged_worker::do_something() {
  const auto what = chosen_.below(100);
  if (what < 35) return read_some();
  if (what < 40) return read_in_order();
  if (what < 80) return can_write() ? increment_some() : read_some();
  if (what < 82) return flush();
  if (what < 87) return pin_to_read();
  if (what < 92) return can_write() ? pin_to_write() : pin_to_read();
  if (what < 97) return prefetch();
  if (what < 99) return page_out();
  advise();
}

paged_worker::part paged_worker::some_pages(std::size_t most) {
  const auto count = chosen_.between(1, std::min(most, all_.model->pages()));
  return {chosen_.below(all_.model->pages() - count + 1), count};
}

paged_worker::part paged_worker::some_writable_pages(std::size_t most) {
  const auto count = chosen_.between(1, std::min(most, all_.writable_pages));
  return {chosen_.below(all_.writable_pages - count + 1), count};
}

std::span<const std::byte> paged_worker::bytes_of(part pages) const {
  const auto all = all_.memory->bytes();
  const auto rest = all.subspan(pages.first * page_size());
  return rest.first(std::min(rest.size(), pages.count * page_size()));
}

std::uintptr_t paged_worker::address(std::size_t page, std::size_t word) const {
  return reinterpret_cast<std::uintptr_t>(all_.memory->bytes().data()) +
         paged_model::offset_of(page, word);
}

// Between what its counter was before and what it is afterwards; a worker's own is exact by that.
void paged_worker::check_word(std::size_t page, std::size_t word) {
  if (word >= paged_workers) {
    const auto expected = test::source_word(paged_model::offset_of(page, word));
    if (const auto seen = read_word(address(page, word)); seen != expected)
      wrong("a word that nobody writes", page, word, seen, expected);
    return;
  }
  const auto least = all_.model->least(page, word);
  const auto seen = read_word(address(page, word));
  const auto most = all_.model->most(page, word);
  if (seen < least) wrong("a counter has lost an increment", page, word, seen, least);
  if (seen > most) wrong("a counter is ahead", page, word, seen, most);
}

void paged_worker::check_page(std::size_t page, std::size_t some) {
  const auto there = all_.model->words_in(page);
  if (there == 0) return;
  for (std::size_t word = 0; word < std::min(paged_workers, there); ++word) check_word(page, word);
  for (; some != 0; --some) check_word(page, chosen_.below(there));
}

void paged_worker::read_some() {
  where_.doing("reads");
  for (auto left = chosen_.between(1, 30); left != 0; --left)
    check_page(chosen_.below(all_.model->pages()), 2);
}

void paged_worker::read_in_order() {
  where_.doing("reads in order");
  const auto pages = some_pages(64);
  for (auto page = pages.first; page < pages.first + pages.count; ++page) check_page(page, 1);
}

void paged_worker::increment(std::size_t page) {
  if (number_ >= all_.model->words_in(page)) return;
  check_word(page, number_);
  all_.model->begin_increment(page, number_);
  write_word(address(page, number_), read_word(address(page, number_)) + 1);
  all_.model->end_increment(page, number_);
  all_.tally->increments.fetch_add(1, std::memory_order_relaxed);
}

void paged_worker::increment_some() {
  where_.doing("writes");
  for (auto left = chosen_.between(1, 30); left != 0; --left)
    increment(chosen_.below(all_.writable_pages));
}

// What this worker has counted before is in the source afterwards, on every page.
void paged_worker::flush() {
  where_.doing("flushes");
  if (const auto error = all_.memory->flush()) {
    all_.tally->failed_flushes.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  all_.tally->flushes.fetch_add(1, std::memory_order_relaxed);
  if (all_.writes != write_policy::write_back) return;
  where_.doing("checks what it flushed");
  for (std::size_t page = 0; page < all_.writable_pages; ++page) {
    if (number_ >= all_.model->words_in(page)) continue;
    const auto expected = all_.model->least(page, number_);
    const auto seen = all_.store->word_at(paged_model::offset_of(page, number_));
    if (seen != expected) wrong("not in the source after flush()", page, number_, seen, expected);
  }
}

void paged_worker::check_presence(part pages) {
  if (test::swap_space().empty()) return;
  std::array<unsigned char, 8> there{};
  const auto bytes = bytes_of(pages);
  if (::mincore(const_cast<std::byte*>(bytes.data()), bytes.size(), there.data()) != 0)
    wrong("mincore", pages.first, 0, 0, 0);
  for (std::size_t i = 0; i < pages.count; ++i)
    if ((there[i] & 1) == 0) wrong("a pinned page is not there", pages.first + i, 0, 0, 1);
}

void paged_worker::pin_to_read() {
  const auto pages = some_pages(6);
  where_.doing("pins to read");
  const auto pinned = all_.memory->pin(bytes_of(pages));
  all_.tally->pins.fetch_add(1, std::memory_order_relaxed);
  where_.doing("reads what it pinned");
  check_presence(pages);
  if (chosen_.one_in(2)) read_some();
  // By the kernel, which serves no fault in every kind of pager. All numbers as wide as it reads
  // them: half of an int on the stack is whatever was there, and flags must be 0.
  std::array<std::byte, 64> copied{};
  const iovec here{copied.data(), copied.size()};
  for (auto page = pages.first; page < pages.first + pages.count; ++page) {
    const iovec there{reinterpret_cast<void*>(address(page, 0)),
                      std::min(copied.size(), bytes_of({page, 1}).size())};
    if (::syscall(SYS_process_vm_readv, ::getpid(), &here, 1L, &there, 1L, 0L) !=
        static_cast<long>(there.iov_len))
      wrong("the kernel can't read a pinned page", page, 0, static_cast<unsigned>(errno), 0);
    check_page(page, 2);
  }
  check_presence(pages);
}

// As read(2) writes it. Not by the C library's function, which a sanitizer would take for a plain
// write that races with others' reads.
void paged_worker::increment_by_system_call(std::size_t page) {
  if (number_ >= all_.model->words_in(page)) return;
  check_word(page, number_);
  auto value = read_word(address(page, number_)) + 1;
  const iovec from{&value, sizeof value};
  const iovec to{reinterpret_cast<void*>(address(page, number_)), sizeof value};
  all_.model->begin_increment(page, number_);
  if (::syscall(SYS_process_vm_writev, ::getpid(), &from, 1L, &to, 1L, 0L) != sizeof value)
    wrong("the kernel can't write a pinned page", page, number_, static_cast<unsigned>(errno), 0);
  all_.model->end_increment(page, number_);
  all_.tally->increments.fetch_add(1, std::memory_order_relaxed);
}

void paged_worker::pin_to_write() {
  const auto pages = some_writable_pages(6);
  where_.doing("pins to write");
  const auto pinned = all_.memory->pin(bytes_of(pages), pin_access::write);
  all_.tally->pins.fetch_add(1, std::memory_order_relaxed);
  where_.doing("writes what it pinned");
  check_presence(pages);
  for (auto left = chosen_.between(1, 20); left != 0; --left) {
    const auto page = pages.first + chosen_.below(pages.count);
    if (chosen_.one_in(2))
      increment(page);
    else
      increment_by_system_call(page);
  }
  if (chosen_.one_in(8)) flush();
  check_presence(pages);
}

// Errors of the source pass, and the budget has room in the end.
void paged_worker::prefetch() {
  where_.doing("prefetches");
  const auto pages = some_pages(100);
  if (const auto error = all_.memory->prefetch(bytes_of(pages)))
    wrong(error.message().c_str(), pages.first, pages.count, 0, 0);
  all_.tally->prefetches.fetch_add(1, std::memory_order_relaxed);
}

// Where there is swap space. What is swapped out is no less the memory's.
void paged_worker::page_out() {
  where_.doing("pages out");
  const auto bytes = bytes_of(some_pages(100));
  static_cast<void>(::madvise(const_cast<std::byte*>(bytes.data()), bytes.size(), MADV_PAGEOUT));
}

void paged_worker::advise() {
  constexpr std::array all{access_pattern::automatic, access_pattern::sequential,
                           access_pattern::random};
  all_.memory->advise(all[chosen_.below(all.size())]);
}

}  // namespace uffd::chaos
