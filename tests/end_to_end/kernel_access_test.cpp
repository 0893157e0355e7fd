// SPDX-License-Identifier: MIT
// The kernel itself touches served memory on behalf of a system call, in every way that programs
// use.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/pin.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/uffd.hpp"

namespace {

namespace test = uffd::test;

constexpr std::size_t pages = 4;

struct pipe_ends {
  pipe_ends() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) uffd::detail::throw_errno(errno, "pipe2");
    reading.reset(ends[0]);
    writing.reset(ends[1]);
  }
  uffd::unique_fd reading, writing;
};

int errno_of(ssize_t result) { return result < 0 ? errno : 0; }

// Each makes the kernel touch all of the memory, which it may fill with 9, and answers an errno.

int read_into(std::span<std::byte> memory) {
  const pipe_ends through;
  const auto nines = test::filled(memory.size(), 9);
  if (::write(through.writing.get(), nines.data(), nines.size()) < 0) return errno;
  return errno_of(::read(through.reading.get(), memory.data(), memory.size()));
}

int write_from(std::span<std::byte> memory) {
  const pipe_ends through;
  return errno_of(::write(through.writing.get(), memory.data(), memory.size()));
}

int splice_from(std::span<std::byte> memory) {
  const pipe_ends through;
  const iovec all{memory.data(), memory.size()};
  return errno_of(::vmsplice(through.writing.get(), &all, 1, 0));
}

int read_from_another_process(std::span<std::byte> memory) {
  std::vector<std::byte> copied(memory.size());
  const iovec here{copied.data(), copied.size()};
  const iovec there{memory.data(), memory.size()};
  return errno_of(::process_vm_readv(::getpid(), &here, 1, &there, 1, 0));
}

int populate(std::span<std::byte> memory) {
  constexpr int populate_read = 22;  // MADV_POPULATE_READ, Linux 5.14
  return errno_of(::madvise(memory.data(), memory.size(), populate_read));
}

// Not by the C library's functions, which sanitizers replace by nothing.
int lock(std::span<std::byte> memory) {
  const int number = errno_of(::syscall(SYS_mlock, memory.data(), memory.size()));
  ::syscall(SYS_munlock, memory.data(), memory.size());
  return number;
}

int pin(std::span<std::byte> memory) { return test::pin(memory).number(); }

struct way {
  const char* name;
  int (*touch)(std::span<std::byte>);
  int refusal;  // without kernel faults
  friend std::ostream& operator<<(std::ostream& out, const way& one) { return out << one.name; }
};

class kernel_access : public testing::TestWithParam<way> {
 protected:
  // Whether it works here at all, on memory that nobody serves.
  static std::string not_permitted() {
    const auto ordinary = uffd::mapping::anonymous(pages * uffd::page_size());
    const int number = GetParam().touch(ordinary.bytes());
    return number == 0 ? "" : std::string(GetParam().name) + " needs what isn't permitted here";
  }
};
INSTANTIATE_TEST_SUITE_P(by, kernel_access,
                         testing::Values(way{"read", read_into, EFAULT},
                                         way{"write", write_from, EFAULT},
                                         way{"vmsplice", splice_from, EFAULT},
                                         way{"process_vm_readv", read_from_another_process, EFAULT},
                                         way{"populate", populate, EFAULT},
                                         way{"mlock", lock, ENOMEM}, way{"io_uring", pin, EFAULT}),
                         [](const auto& made) { return std::string(made.param.name); });

TEST_P(kernel_access, is_served_where_kernel_faults_are) {
  UFFDPP_REQUIRE(test::kernel_faults());
  UFFDPP_REQUIRE(not_permitted());
  for (const auto kind : test::small_kinds) {
    UFFDPP_REQUIRE(test::available(kind, pages));
    auto options = test::one_thread();
    options.statistics = true;
    options.open.kernel_faults = uffd::kernel_fault_policy::required;
    test::serving served(kind, pages, test::fill_by_offset(), uffd::register_mode::missing,
                         options);
    const int number = GetParam().touch(served.memory().bytes());
    // As on Linux 6.1, where it can't wait while it pins pages.
    if (GetParam().touch == pin && number == EFAULT)
      GTEST_SKIP() << "io_uring waits for no fault on this kernel";
    EXPECT_EQ(number, 0) << kind;
    // Counted once the page is there; a thread that is woken for nothing faults anew.
    EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().missing >= pages; }))
        << kind << ": " << served.handler().statistics().missing;
    const bool writes = GetParam().touch == read_into;
    for (std::size_t i = 0; i < pages; ++i)
      EXPECT_EQ(test::look(served.at(i)), test::shows(writes ? 9 : test::byte_of(i))) << kind;
  }
}

TEST_P(kernel_access, fails_where_kernel_faults_are_not_served) {
  UFFDPP_REQUIRE(test::user_mode_faults_only());
  UFFDPP_REQUIRE(not_permitted());
  auto options = test::one_thread();
  options.open.kernel_faults = uffd::kernel_fault_policy::never;
  test::serving served(test::memory_kind::anonymous, pages, test::fill_by_offset(),
                       uffd::register_mode::missing, options);
  EXPECT_EQ(GetParam().touch(served.memory().bytes()), GetParam().refusal);
  EXPECT_EQ(test::look(served.at(1)), test::shows(test::byte_of(1)));
}

// The kernel answers EIO without asking anybody.
TEST(proc_mem, of_served_memory_never_shows_zeroes) {
  test::serving served(2, test::fill_by_offset());
  EXPECT_EQ(test::look(served.at(0)), test::shows(test::byte_of(0)));
  const uffd::unique_fd memory(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  if (!memory) GTEST_SKIP() << "/proc/self/mem can't be opened";
  for (std::size_t i = 0; i < 2; ++i) {
    unsigned char byte = 0;
    if (::pread(memory.get(), &byte, 1, static_cast<off_t>(served.at(i))) == 1)
      EXPECT_EQ(byte, test::byte_of(i));
    else
      EXPECT_EQ(errno, EIO);
  }
}

}  // namespace
