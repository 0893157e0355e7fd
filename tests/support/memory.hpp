// SPDX-License-Identifier: MIT
// The kinds of memory that userfaultfd serves, for tests that must hold for each.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/requires.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"

namespace uffd::test {

enum class memory_kind { anonymous, shared, private_file, huge, shared_huge };

inline constexpr std::array every_kind{memory_kind::anonymous, memory_kind::shared,
                                       memory_kind::private_file, memory_kind::huge,
                                       memory_kind::shared_huge};

inline constexpr std::array shared_kinds{memory_kind::shared, memory_kind::shared_huge};
inline constexpr std::array small_kinds{memory_kind::anonymous, memory_kind::shared,
                                        memory_kind::private_file};

inline std::string_view name_of(memory_kind kind) {
  constexpr std::array<std::string_view, 5> names{"anonymous", "shared", "private_file", "huge",
                                                  "shared_huge"};
  return names[static_cast<std::size_t>(kind)];
}
inline std::ostream& operator<<(std::ostream& out, memory_kind kind) {
  return out << name_of(kind);
}

inline bool is_huge(memory_kind kind) {
  return kind == memory_kind::huge || kind == memory_kind::shared_huge;
}
inline bool is_shared(memory_kind kind) {
  return kind == memory_kind::shared || kind == memory_kind::shared_huge;
}
inline std::size_t page_size_of(memory_kind kind) {
  return is_huge(kind) ? huge_page_size : uffd::page_size();
}

// What the kernel must have to register memory of this kind for these modes.
inline flags<feature> features_of(memory_kind kind, flags<register_mode> modes) {
  const bool anonymous = kind == memory_kind::anonymous;
  flags<feature> needed;
  if (modes.has(register_mode::missing) && !anonymous)
    needed |= is_huge(kind) ? feature::missing_hugetlbfs : feature::missing_shmem;
  if (modes.has(register_mode::minor))
    needed |= is_huge(kind) ? feature::minor_hugetlbfs : feature::minor_shmem;
  if (modes.has(register_mode::write_protect))
    needed |= anonymous ? feature::pagefault_flag_wp : feature::wp_hugetlbfs_shmem;
  return needed;
}

// What is lacking for `pages` pages of this kind, registered for these modes.
//   UFFDPP_REQUIRE(test::available(GetParam(), 4));
inline std::string available(memory_kind kind, std::size_t pages,
                             flags<register_mode> modes = register_mode::missing) {
  auto lacking = kernel_has(features_of(kind, modes));
  if (lacking.empty() && is_huge(kind)) lacking = huge_pages(pages);
  return lacking;
}

// `pages` pages of that kind.
class memory {
 public:
  memory(memory_kind kind, std::size_t pages) : mapping_(make(kind, pages * page_size_of(kind))) {
    // A private view of the file, placed over the shared one: its own pages, once it has any.
    if (kind == memory_kind::private_file &&
        ::mmap(bytes().data(), bytes().size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
               mapping_.file(), 0) == MAP_FAILED)
      uffd::detail::throw_errno(errno, "a private mapping of a memfd");
  }

  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  page_range range() const { return mapping_.range(); }
  std::size_t page_size() const { return mapping_.page_size(); }
  std::size_t size() const { return bytes().size(); }
  std::uintptr_t begin() const { return range().begin(); }
  // Pages counted from 0.
  page_range page(std::size_t index, std::size_t count = 1) const {
    return {begin() + index * page_size(), count * page_size()};
  }
  std::uintptr_t at(std::size_t page_index) const { return page(page_index).begin(); }
  const uffd::mapping& mapping() const { return mapping_; }

 private:
  static uffd::mapping make(memory_kind kind, std::size_t bytes) {
    switch (kind) {
      case memory_kind::anonymous:
        return mapping::anonymous(bytes);
      case memory_kind::huge:
        return mapping::huge(bytes, huge_page_size);
      case memory_kind::shared_huge:
        return mapping::shared_huge(bytes, huge_page_size);
      default:
        return mapping::shared(bytes);
    }
  }

  uffd::mapping mapping_;
};

// For tests that leave a hole in it. It is never unmapped: what others have mapped into the hole by
// the end of the test (a sanitizer, a thread that starts) would be unmapped with it.
inline const memory& memory_for_good(memory_kind kind, std::size_t pages) {
  static auto& all = *new std::deque<memory>;
  return all.emplace_back(kind, pages);
}

// Keeps the addresses next to a range mapped. Once the range is unmapped, nothing that is larger
// takes its place, as a sanitizer's memory or a buffer of the test else might at once.
class fence {
 public:
  explicit fence(page_range around) {
    const auto page = uffd::page_size();
    for (const auto at : {around.begin() - page, around.end()})
      if (::mmap(reinterpret_cast<void*>(at), page, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED)
        pages_.push_back(at);
  }
  fence(const fence&) = delete;
  fence& operator=(const fence&) = delete;
  ~fence() {
    for (const auto at : pages_) ::munmap(reinterpret_cast<void*>(at), uffd::page_size());
  }

 private:
  std::vector<std::uintptr_t> pages_;
};

// A page where nothing is mapped, and nothing ever will be: too low for what is placed by the
// kernel.
inline page_range unmapped_page() { return {16 * uffd::page_size(), uffd::page_size()}; }

// Runs the tests of a suite derived from testing::TestWithParam<test::memory_kind> on these kinds:
//   UFFDPP_ON_KINDS(my_suite, test::shared_kinds);
#define UFFDPP_ON_KINDS(suite, kinds)                               \
  INSTANTIATE_TEST_SUITE_P(memory, suite, testing::ValuesIn(kinds), \
                           [](const auto& kind) { return std::string(name_of(kind.param)); })

#define UFFDPP_ON_EVERY_KIND(suite) UFFDPP_ON_KINDS(suite, uffd::test::every_kind)

// `count` bytes of `value`, to copy from.
inline std::vector<std::byte> filled(std::size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

}  // namespace uffd::test
