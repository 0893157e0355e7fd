// SPDX-License-Identifier: MIT
// The signal doesn't say what kind of fault it was: it is found out, and told from a SIGBUS that is
// none.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/background.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

using test::memory_kind;
using kinds = std::vector<fault_kind>;

// Fills what is missing by its offset, and lets everything else through; notes the kinds.
struct noting {
  kinds* seen;
  resolution operator()(fault& raised) const noexcept {
    seen->push_back(raised.kind());  // room was reserved
    if (raised.kind() == fault_kind::minor) return raised.continue_();
    if (raised.kind() == fault_kind::write_protect) return raised.unprotect();
    return test::fill_by_offset()(raised);
  }
};

class kind_in_thread_on : public testing::TestWithParam<memory_kind> {
 protected:
  static constexpr std::size_t pages = 4;

  void SetUp() override {
    UFFDPP_REQUIRE(test::available(GetParam(), pages));
    seen_.reserve(100);
  }
  std::string can(flags<register_mode> modes) const {
    return test::available(GetParam(), pages, modes);
  }
  bool is_huge() const { return test::is_huge(GetParam()); }
  noting note() { return {&seen_}; }
  kinds take() {
    kinds taken;
    taken.reserve(100);
    return std::exchange(seen_, std::move(taken));
  }

 private:
  kinds seen_;
};
UFFDPP_ON_EVERY_KIND(kind_in_thread_on);

TEST_P(kind_in_thread_on, write_to_a_protected_page_is_told_from_a_missing_one) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  test::serving_in_thread served(GetParam(), pages, note(), modes);
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  EXPECT_EQ(test::try_write(served.at(1), 7), test::shows(7));
  EXPECT_EQ(take(), (kinds{fault_kind::missing, fault_kind::missing}));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::look(served.at(0)), test::shows(1)) << "reading needs no permission";
  EXPECT_EQ(take(), kinds{});
  EXPECT_EQ(test::try_write(served.at(0), 5), test::shows(5));
  EXPECT_EQ(test::try_write(served.at(1), 6), test::shows(6));
  EXPECT_EQ(take(), (kinds{fault_kind::write_protect, fault_kind::write_protect}));
  EXPECT_EQ(test::look(served.at(2)), test::shows(3)) << "missing behind a marker, perhaps";
  EXPECT_EQ(take(), kinds{fault_kind::missing});
}

TEST_P(kind_in_thread_on, write_is_told_where_only_writes_are_asked_for) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  test::serving_in_thread served(GetParam(), pages, note(), register_mode::write_protect);
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(test::try_write(served.at(page), 3), test::shows(3));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(take(), kinds{});
  EXPECT_EQ(test::try_write(served.at(1), 4), test::shows(4));
  EXPECT_EQ(test::try_write(served.at(1) + 1, 4), test::shows(4));
  EXPECT_EQ(test::look(served.at(2)), test::shows(3));
  EXPECT_EQ(take(), kinds{fault_kind::write_protect});
}

TEST_P(kind_in_thread_on, write_whose_fault_fails_goes_through_and_is_reported) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  test::serving_in_thread served(
      GetParam(), pages,
      [](fault& raised) noexcept -> resolution {
        if (raised.kind() == fault_kind::missing) return raised.zeropage();
        return std::errc::no_space_on_device;
      },
      modes);
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::try_write(served.at(1), 4), test::shows(4));
  EXPECT_EQ(test::kept_error(served.handler()), std::errc::no_space_on_device);
}

TEST_P(kind_in_thread_on, poison_is_a_sigbus_for_a_write_to_a_protected_page_too) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  test::serving_in_thread served(
      GetParam(), pages,
      [](fault& raised) noexcept {
        return raised.kind() == fault_kind::missing ? raised.zeropage() : raised.poison();
      },
      modes);
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::try_write(served.at(1), 4), test::takes_sigbus);
}

// Whoever looks at the page finds it let go, and protected again a moment later.
TEST_P(kind_in_thread_on, write_is_served_however_often_its_page_is_protected_meanwhile) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(test::available(GetParam(), 1, modes));
  test::serving_in_thread served(
      GetParam(), 1,
      [](fault& raised) noexcept {
        if (raised.kind() == fault_kind::write_protect) return raised.unprotect();
        return test::fill(raised, 1);
      },
      modes);
  ASSERT_EQ(test::look(served.at(0)), test::shows(1));
  std::atomic<bool> over{false};
  test::background protector([&] {
    for (int i = 0; i < 20'000; ++i) {
      EXPECT_TRUE(served.handler().on().write_protect(served.memory().range()));
      EXPECT_TRUE(served.handler().on().write_unprotect(served.memory().range()));
    }
    over = true;
  });
  int refused = 0;
  while (!over)
    if (test::try_write(served.at(0), 2) != test::shows(2)) ++refused;
  EXPECT_EQ(refused, 0);
}

class kind_in_thread_on_shared : public kind_in_thread_on {};
UFFDPP_ON_KINDS(kind_in_thread_on_shared, test::shared_kinds);

TEST_P(kind_in_thread_on_shared, minor_is_a_page_that_the_page_cache_has) {
  UFFDPP_REQUIRE(can(register_mode::minor));
  test::serving_in_thread served(GetParam(), pages, note(), register_mode::minor);
  const auto alias = served.memory().mapping().alias();
  for (std::size_t page = 0; page < pages; ++page)
    test::write_byte(alias.range().begin() + page * served.memory().page_size(), 6);
  EXPECT_EQ(test::look(served.at(1)), test::shows(6));
  EXPECT_EQ(test::try_write(served.at(3), 2), test::shows(2));
  EXPECT_EQ(take(), (kinds{fault_kind::minor, fault_kind::minor}));
}

TEST_P(kind_in_thread_on_shared, minor_is_told_from_missing) {
  const auto modes = register_mode::missing | register_mode::minor;
  UFFDPP_REQUIRE(can(modes));
  test::serving_in_thread served(GetParam(), pages, note(), modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 6);
  EXPECT_EQ(test::look(served.at(0)), test::shows(6));
  EXPECT_EQ(take(), kinds{fault_kind::minor});
  EXPECT_EQ(test::look(served.at(1)), test::shows(2));
  EXPECT_EQ(take(), is_huge() ? (kinds{fault_kind::minor, fault_kind::missing})
                              : kinds{fault_kind::missing});
  EXPECT_EQ(test::try_write(served.at(2), 9), test::shows(9));
  static_cast<void>(take());
  ASSERT_EQ(::madvise(served.memory().bytes().data(), served.memory().size(), MADV_DONTNEED), 0);
  EXPECT_EQ(test::look(served.at(2)), test::shows(9))
      << "no longer mapped, still in the page cache";
  EXPECT_EQ(take(), kinds{fault_kind::minor});
  EXPECT_FALSE(test::kept_error(served.handler()));
}

// The page is gone again when it is looked for: then it is neither swapped out nor failed.
TEST_P(kind_in_thread_on_shared, missing_is_asked_for_again_if_its_page_was_dropped_meanwhile) {
  UFFDPP_REQUIRE(can(register_mode::missing | register_mode::minor));
  const test::memory* memory = nullptr;
  bool drops = true;
  test::serving_in_thread served(
      GetParam(), pages,
      [&](fault& raised) noexcept {
        if (raised.kind() == fault_kind::minor) return raised.continue_();
        const auto answer = test::fill_by_offset()(raised);
        if (std::exchange(drops, false))
          ::madvise(memory->bytes().data(), memory->bytes().size(), MADV_REMOVE);
        return answer;
      },
      register_mode::missing | register_mode::minor);
  memory = &served.memory();
  EXPECT_EQ(test::look(served.at(1)), test::shows(test::byte_of(1)));
  EXPECT_FALSE(test::kept_error(served.handler()));
}

TEST_P(kind_in_thread_on_shared, all_three_are_told_apart) {
  const auto modes = register_mode::missing | register_mode::minor | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  test::serving_in_thread served(GetParam(), pages, note(), modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 6);
  EXPECT_EQ(test::look(served.at(0)), test::shows(6));
  EXPECT_EQ(test::look(served.at(1)), test::shows(2));
  static_cast<void>(take());
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().page(0, 2)));
  EXPECT_EQ(test::try_write(served.at(1), 8), test::shows(8));
  EXPECT_EQ(test::try_write(served.at(0), 8), test::shows(8));
  EXPECT_EQ(take(), (kinds{fault_kind::write_protect, fault_kind::write_protect}));
}

TEST_P(kind_in_thread_on_shared, a_file_that_was_cut_is_a_sigbus_of_its_owner) {
  for (const auto modes :
       {flags(register_mode::missing), register_mode::missing | register_mode::minor}) {
    UFFDPP_REQUIRE(can(modes));
    test::serving_in_thread served(GetParam(), pages, note(), modes);
    EXPECT_EQ(test::look(served.at(1)), test::shows(2));
    ASSERT_EQ(::ftruncate(served.memory().mapping().file(),
                          static_cast<off_t>(2 * served.memory().page_size())),
              0);
    EXPECT_EQ(test::look(served.at(2)), test::takes_sigbus);
    EXPECT_EQ(test::try_write(served.at(3), 1), test::takes_sigbus);
    EXPECT_EQ(test::look(served.at(1)), test::shows(2));
    EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  }
}

TEST(kind_in_thread, write_protection_alone_is_no_reason_to_serve_a_cut_file) {
  UFFDPP_REQUIRE(test::available(memory_kind::shared, 2, register_mode::write_protect));
  kinds seen;
  seen.reserve(10);
  test::serving_in_thread served(memory_kind::shared, 2, noting{&seen},
                                 register_mode::write_protect);
  ASSERT_EQ(::ftruncate(served.memory().mapping().file(), 0), 0);
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::try_write(served.at(1), 1), test::takes_sigbus);
  EXPECT_EQ(seen, kinds{});
}

TEST(kind_in_thread, another_file_that_was_cut_is_a_sigbus_of_its_owner) {
  int faults = 0;
  test::serving_in_thread served(1, [&](fault& raised) noexcept {
    ++faults;
    return raised.zeropage();
  });
  const auto cut = mapping::shared(2 * page_size());
  ASSERT_EQ(::ftruncate(cut.file(), 0), 0);
  EXPECT_EQ(test::look(cut.range().begin()), test::takes_sigbus);
  EXPECT_EQ(faults, 0);
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
}

// Nothing says that the range was taken away, but it must not be asked for for ever.
TEST(kind_in_thread, a_cut_file_mapped_over_a_served_range_is_a_sigbus_of_its_owner) {
  const auto cut = mapping::shared(page_size());
  ASSERT_EQ(::ftruncate(cut.file(), 0), 0);
  test::serving_in_thread served(1, test::fill_by_offset());
  ASSERT_NE(::mmap(served.memory().bytes().data(), page_size(), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, cut.file(), 0),
            MAP_FAILED);
  EXPECT_EQ(test::look(served.at(0)), test::takes_sigbus);
}

TEST(kind_in_thread, private_pages_of_a_file_are_minor_faults_too) {
  const auto modes = register_mode::missing | register_mode::minor;
  UFFDPP_REQUIRE(test::available(memory_kind::private_file, 2, modes));
  kinds seen;
  seen.reserve(10);
  test::serving_in_thread served(memory_kind::private_file, 2, noting{&seen}, modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 6);
  EXPECT_EQ(test::look(served.at(0)), test::shows(6));
  EXPECT_EQ(test::look(served.at(1)), test::shows(2));
  EXPECT_EQ(seen, (kinds{fault_kind::minor, fault_kind::missing}));
}

}  // namespace
}  // namespace uffd
