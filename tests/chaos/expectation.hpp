// SPDX-License-Identifier: MIT
// What a page may show, and whether it does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pattern.hpp"
#include "support/sight.hpp"

namespace uffd::chaos {

// Whether the pager refuses to serve a page, in lives where it does that. A property of page and
// generation, so that the model knows.
constexpr bool refuses(bool some, identity whose, std::uint32_t generation) noexcept {
  return some && mixed(whose.tag, whose.page, generation) % 8 == 0;
}

// Which counts a thread's word may show. 0: what the pager served.
struct writing {
  std::uint32_t kept_least = 0;  // in a page that was there all the time
  std::uint32_t kept_most = 0;
  std::uint32_t new_least = 0;  // in one that was filled meanwhile
  std::uint32_t new_most = 0;
  bool may_be_lost = true;  // with a page that was dropped after it was written
};

// All that one page may show.
struct expectation {
  identity whose;
  bool may_be_kept = false;  // there all the time, filled in generation `kept`
  std::uint32_t kept = 0;
  bool may_be_new = false;  // filled meanwhile, in one of these generations
  std::uint32_t least = 0;
  std::uint32_t most = 0;
  std::array<writing, most_touchers> writings{};

  bool may_signal = false;
  bool may_be_zero = false;
  bool some_are_refused = false;

  bool may_be_of(std::uint32_t generation) const noexcept {
    if (refuses(some_are_refused, whose, generation)) return false;
    return is_kept(generation) || (may_be_new && generation >= least && generation <= most);
  }
  bool is_kept(std::uint32_t generation) const noexcept {
    return may_be_kept && generation == kept;
  }
};

// What was found.
struct finding {
  enum class kind : std::uint8_t { right, signal, zeroes, wrong };
  kind what = kind::right;
  int signal = 0;
  std::uint32_t generation = 0;
  std::array<std::uint32_t, most_touchers> written{};  // counts in the words of the threads
  std::size_t word = 0;                                // the first wrong one
  std::uint64_t seen = 0;

  bool is_right() const noexcept { return what != kind::wrong; }
};

namespace detail {

inline bool may_show(const writing& by, std::uint32_t count, bool is_kept) noexcept {
  if (is_kept) return count >= by.kept_least && count <= by.kept_most;
  return (count >= by.new_least && count <= by.new_most) || (count == 0 && by.may_be_lost);
}

inline finding wrong(std::size_t word, std::uint64_t seen, int signal = 0) noexcept {
  finding found;
  found.what = finding::kind::wrong;
  found.word = word;
  found.seen = seen;
  found.signal = signal;
  return found;
}

// Reads all words.
inline finding read_page(std::uintptr_t begin, std::size_t page_size, const expectation& page) {
  finding found;
  const auto step = page_size / words;
  const auto last = read_word(begin + (words - 1) * step);
  if (last == 0 && page.may_be_zero) {
    found.what = finding::kind::zeroes;
    return found;
  }
  found.generation = count_of(last);
  if (!page.may_be_of(found.generation)) return wrong(words - 1, last);
  for (std::size_t word = 0; word < words; ++word) {
    const auto seen = read_word(begin + word * step);
    const bool is_served = seen == served_word(page.whose, word, found.generation);
    if (word >= most_touchers) {
      if (!is_served) return wrong(word, seen);
      continue;
    }
    const auto count = is_served ? 0 : count_of(seen);
    const bool is_written = count != 0 && seen == written_word(page.whose, word, count);
    if ((!is_served && !is_written) ||
        !may_show(page.writings[word], count, page.is_kept(found.generation)))
      return wrong(word, seen);
    found.written[word] = count;
  }
  return found;
}

}  // namespace detail

// Reads a page and compares. In a forked child too: nothing here allocates.
inline finding check_page(std::uintptr_t begin, std::size_t page_size, const expectation& page) {
  finding found;
  const auto access = test::detail::attempt([&] {
    found = detail::read_page(begin, page_size, page);
    return 0;
  });
  if (access.signal == 0) return found;
  found = detail::wrong(0, 0, access.signal);
  if (page.may_signal) found.what = finding::kind::signal;
  return found;
}

}  // namespace uffd::chaos
