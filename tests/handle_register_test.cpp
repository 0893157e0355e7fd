// SPDX-License-Identifier: MIT
// Every way in which registering and unregistering fails, by its errno.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

#include "support/followed_child.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::memory;
using test::memory_kind;

test::refusal refused(const handle& on, page_range range,
                      flags<register_mode> modes = register_mode::missing) {
  return test::refusal_of([&] { on.register_range(range, modes); });
}

TEST(handle_register, unaligned_range_is_EINVAL_by_name) {
  const auto on = handle::open();
  const memory two(memory_kind::anonymous, 2);
  const page_range unaligned(two.begin() + 1, page_size());
  const auto error = refused(on, unaligned);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names(to_string(unaligned))) << error.words;
  EXPECT_TRUE(error.names("not aligned to pages of " + std::to_string(page_size())));
  EXPECT_TRUE(refused(on, {two.begin(), page_size() + 1}).names("not aligned"));
}

TEST(handle_register, empty_range_is_EINVAL_by_name) {
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  const auto error = refused(on, {one.begin(), 0});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("the range is empty")) << error.words;
}

TEST(handle_register, range_past_the_last_address_is_EINVAL_by_name) {
  const auto on = handle::open();
  const auto error = refused(on, {~std::uintptr_t{0} - page_size() + 1, 2 * page_size()});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("past the last address")) << error.words;
}

TEST(handle_register, unmapped_range_is_EINVAL_by_name) {
  const auto on = handle::open();
  const auto range = test::unmapped_page();
  const auto error = refused(on, range);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("nothing is mapped there")) << error.words;
}

TEST(handle_register, no_mode_and_unknown_mode_are_EINVAL_and_named) {
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  const auto none = refused(on, one.range(), {});
  EXPECT_EQ(none.number, EINVAL);
  EXPECT_TRUE(none.names("for none")) << none.words;
  const auto unknown = refused(on, one.range(), flags<register_mode>::from_bits(0x100));
  EXPECT_EQ(unknown.number, EINVAL);
  EXPECT_TRUE(unknown.names("for 0x100")) << unknown.words;
}

TEST(handle_register, minor_on_anonymous_memory_is_EINVAL_by_name) {
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  const auto error = refused(on, one.range(), register_mode::minor);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("minor: shared memory only")) << error.words;
}

// A page of a file that is on a disk: this program itself.
class page_of_a_file {
 public:
  page_of_a_file() {
    const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    mapped_ = ::mmap(nullptr, page_size(), PROT_READ, MAP_PRIVATE, file.get(), 0);
  }
  page_of_a_file(const page_of_a_file&) = delete;
  page_of_a_file& operator=(const page_of_a_file&) = delete;
  ~page_of_a_file() { ::munmap(mapped_, page_size()); }

  page_range range() const { return {reinterpret_cast<std::uintptr_t>(mapped_), page_size()}; }
  // Why its kind says nothing here; nothing if it does.
  static std::string lacking() {
    struct statfs where {};
    ::statfs("/proc/self/exe", &where);
    return where.f_type == TMPFS_MAGIC ? "this program is in a tmpfs, not on a disk" : "";
  }

 private:
  void* mapped_;
};

TEST(handle_register, file_on_disk_is_EINVAL) {
  UFFDPP_REQUIRE(page_of_a_file::lacking());
  const auto on = handle::open();
  const page_of_a_file file;
  EXPECT_EQ(refused(on, file.range()).number, EINVAL);
  EXPECT_EQ(refused(on, file.range(), register_mode::minor).number, EINVAL);
  EXPECT_EQ(on.unregister(file.range()).number, EINVAL);
}

TEST(handle_register, file_on_disk_is_accepted_for_asynchronous_write_protection_alone) {
  UFFDPP_REQUIRE(page_of_a_file::lacking());
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_async));
  const auto on = handle::open({.required = feature::wp_async});
  const page_of_a_file file;
  EXPECT_EQ(refused(on, file.range(), register_mode::write_protect).number, 0);
  const auto both = register_mode::write_protect | register_mode::missing;
  EXPECT_EQ(refused(on, file.range(), both).number, EINVAL);
}

TEST(handle_register, part_of_a_huge_page_is_EINVAL_by_name) {
  UFFDPP_REQUIRE(test::huge_pages(1));
  const auto on = handle::open();
  const memory one(memory_kind::huge, 1);
  const auto error = refused(on, {one.begin(), page_size()});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("huge pages: aligned to their own size")) << error.words;
}

TEST(handle_register, read_write_protect_is_EINVAL_before_linux_7_3) {
  UFFDPP_REQUIRE(test::kernel_lacks(feature::rwp));
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  const auto error = refused(on, one.range(), register_mode::read_write_protect);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("for read_write_protect")) << error.words;
}

TEST(handle_register, range_with_a_hole_is_registered_around_it) {
  const auto on = handle::open();
  const auto& three = test::memory_for_good(memory_kind::anonymous, 3);
  ASSERT_EQ(::munmap(three.bytes().data() + page_size(), page_size()), 0);
  EXPECT_EQ(refused(on, three.range()).number, 0);
  EXPECT_TRUE(on.copy(three.at(0), test::filled(page_size(), 1)));
  EXPECT_TRUE(on.copy(three.at(2), test::filled(page_size(), 3)));
  EXPECT_EQ(on.copy(three.at(1), test::filled(page_size(), 2)).number, ENOENT);
}

TEST(handle_register, range_of_another_handle_is_EBUSY_and_stays_with_it) {
  const memory one(memory_kind::anonymous, 1);
  const auto owner = handle::open();
  const auto other = handle::open();
  owner.register_range(one.range(), register_mode::missing);
  const auto error = refused(other, one.range());
  EXPECT_EQ(error.number, EBUSY);
  EXPECT_TRUE(error.names("another userfaultfd has the range")) << error.words;
  EXPECT_TRUE(owner.copy(one.begin(), test::filled(page_size(), 7)));
}

TEST(handle_register, again_with_fewer_modes_keeps_them_or_is_EBUSY) {
  const auto both = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
  const auto on = handle::open({.required = feature::pagefault_flag_wp});
  const memory one(memory_kind::anonymous, 1);
  on.register_range(one.range(), both);
  const auto error = refused(on, one.range());
  if (error.number == 0) {
    EXPECT_TRUE(on.write_protect(one.range()));
  } else {  // Linux 7.3
    EXPECT_EQ(error.number, EBUSY);
    EXPECT_TRUE(error.names("or a mode would be dropped")) << error.words;
  }
}

TEST(handle_register, sealed_memory_mapped_read_only_is_EPERM_by_name) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_shmem));
  const auto on = handle::open();
  const unique_fd file(::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(page_size())), 0);
  ASSERT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  void* const mapped = ::mmap(nullptr, page_size(), PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) GTEST_SKIP() << "this kernel maps no sealed memory as shared";
  const auto error = refused(on, std::span(static_cast<std::byte*>(mapped), page_size()));
  EXPECT_EQ(error.number, EPERM);
  EXPECT_TRUE(error.names("shared and may not be written")) << error.words;
  ::munmap(mapped, page_size());
}

TEST(handle_register, memory_of_a_process_that_is_gone_is_ENOMEM_by_name) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open({.required = feature::event_fork});
  const memory one(memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  test::followed_child child(on);
  child.end();
  const auto error = refused(child.on(), one.range());
  EXPECT_EQ(error.number, ENOMEM);
  EXPECT_TRUE(error.names("the process is gone")) << error.words;
  EXPECT_EQ(child.on().unregister(one.range()).number, ENOMEM);
}

TEST(handle_unregister, what_was_never_registered_succeeds) {
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  EXPECT_TRUE(on.unregister(one.range()));
}

TEST(handle_unregister, unmapped_range_is_EINVAL) {
  const auto on = handle::open();
  const auto range = test::unmapped_page();
  EXPECT_EQ(on.unregister(range).number, EINVAL);
}

TEST(handle_unregister, unaligned_and_empty_ranges_are_EINVAL) {
  const auto on = handle::open();
  const memory two(memory_kind::anonymous, 2);
  on.register_range(two.range(), register_mode::missing);
  EXPECT_EQ(on.unregister({two.begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on.unregister({two.begin(), 0}).number, EINVAL);
  EXPECT_TRUE(on.copy(two.begin(), test::filled(page_size(), 7)));
}

// Kernels before about 6.18 take it away from its owner: nothing that a library could see.
TEST(handle_unregister, range_of_another_handle_is_EINVAL_or_taken_away) {
  const memory one(memory_kind::anonymous, 1);
  const auto owner = handle::open();
  const auto other = handle::open();
  owner.register_range(one.range(), register_mode::missing);
  const auto result = other.unregister(one.range());
  const auto after = owner.copy(one.begin(), test::filled(page_size(), 7));
  EXPECT_EQ(result.number, after ? EINVAL : 0);
}

TEST(handle_wake, succeeds_wherever_it_is_asked) {
  const auto on = handle::open();
  std::optional<memory> one(std::in_place, memory_kind::anonymous, 1);
  const auto range = one->range();
  EXPECT_TRUE(on.wake(range));
  one.reset();
  EXPECT_TRUE(on.wake(range));
}

TEST(handle_wake, unaligned_and_empty_ranges_are_EINVAL) {
  const auto on = handle::open();
  const memory one(memory_kind::anonymous, 1);
  EXPECT_EQ(on.wake({one.begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on.wake({one.begin(), 0}).number, EINVAL);
}

}  // namespace
}  // namespace uffd
