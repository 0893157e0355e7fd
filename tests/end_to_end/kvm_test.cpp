// SPDX-License-Identifier: MIT
// A virtual machine whose memory is served: what its processor touches faults in the kernel.
#include <gtest/gtest.h>

#if defined(__x86_64__)

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "uffd/uffd.hpp"

namespace {

namespace test = uffd::test;

constexpr std::size_t pages = 16;

// For each page but the first: writes the page's first byte to port 0x10. Then halts.
constexpr std::array<unsigned char, 21> program{
    0xB9, pages - 1, 0x00,        // mov cx, pages - 1
    0xBA, 0x00,      0x01,        // mov dx, 0x100: the segment of the second page
    0x8E, 0xC2,                   // again: mov es, dx
    0x26, 0xA0,      0x00, 0x00,  // mov al, es:[0]
    0xE6, 0x10,                   // out 0x10, al
    0x81, 0xC2,      0x00, 0x01,  // add dx, 0x100
    0xE2, 0xF2,                   // loop again
    0xF4};                        // hlt

// One processor in real mode, its memory at address 0.
class machine {
 public:
  explicit machine(uffd::page_range memory) {
    const char* const failed = set_up(memory);
    if (failed != nullptr) lacking_ = std::string(failed) + ": " + ::strerror(errno);
  }
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() {
    if (run_ != nullptr) ::munmap(run_, size_);
  }

  // Why there is none; nothing if there is.
  const std::string& why_not() const { return lacking_; }

  // What the program wrote to the port, until it halts or something else happens.
  std::vector<int> output() {
    std::vector<int> bytes;
    while (::ioctl(processor_.get(), KVM_RUN, 0) == 0 && run_->exit_reason == KVM_EXIT_IO)
      bytes.push_back(*(reinterpret_cast<const unsigned char*>(run_) + run_->io.data_offset));
    return bytes;
  }
  bool has_halted() const { return run_->exit_reason == KVM_EXIT_HLT; }

 private:
  // What failed, with errno.
  const char* set_up(uffd::page_range memory) {
    system_.reset(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!system_) return "/dev/kvm";
    machine_.reset(::ioctl(system_.get(), KVM_CREATE_VM, 0));
    if (!machine_) return "KVM_CREATE_VM";
    ::ioctl(machine_.get(), KVM_SET_TSS_ADDR, 0xFFFBD000);  // where real mode is emulated
    kvm_userspace_memory_region slot{};
    slot.memory_size = memory.size();
    slot.userspace_addr = memory.begin();
    if (::ioctl(machine_.get(), KVM_SET_USER_MEMORY_REGION, &slot) != 0)
      return "KVM_SET_USER_MEMORY_REGION";
    processor_.reset(::ioctl(machine_.get(), KVM_CREATE_VCPU, 0));
    if (!processor_) return "KVM_CREATE_VCPU";
    const int size = ::ioctl(system_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < 0) return "KVM_GET_VCPU_MMAP_SIZE";
    size_ = static_cast<std::size_t>(size);
    void* const state =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, processor_.get(), 0);
    if (state == MAP_FAILED) return "mmap of the processor";
    run_ = static_cast<kvm_run*>(state);
    return begin_at_zero() ? nullptr : "KVM_SET_REGS";
  }

  bool begin_at_zero() const {
    kvm_sregs segments{};
    if (::ioctl(processor_.get(), KVM_GET_SREGS, &segments) != 0) return false;
    segments.cs.base = 0;
    segments.cs.selector = 0;
    kvm_regs registers{};
    registers.rflags = 2;
    return ::ioctl(processor_.get(), KVM_SET_SREGS, &segments) == 0 &&
           ::ioctl(processor_.get(), KVM_SET_REGS, &registers) == 0;
  }

  std::string lacking_;
  uffd::unique_fd system_, machine_, processor_;
  kvm_run* run_ = nullptr;
  std::size_t size_ = 0;
};

// The program in the first page, its number in each other one.
void fill_page(std::span<std::byte> page, std::size_t index) {
  std::memset(page.data(), test::byte_of(index), page.size());
  if (index == 0) std::memcpy(page.data(), program.data(), program.size());
}

std::vector<int> expected_output() {
  std::vector<int> bytes;
  for (std::size_t i = 1; i < pages; ++i) bytes.push_back(test::byte_of(i));
  return bytes;
}

class virtual_machine : public testing::TestWithParam<test::memory_kind> {
 protected:
  static uffd::fault_handler_options options() {
    auto wanted = test::one_thread();
    wanted.statistics = true;
    wanted.open.kernel_faults = uffd::kernel_fault_policy::required;
    return wanted;
  }
  void SetUp() override { UFFDPP_REQUIRE(test::kernel_faults()); }
};
UFFDPP_ON_KINDS(virtual_machine, test::small_kinds);

TEST_P(virtual_machine, runs_in_memory_that_is_missing_at_first) {
  UFFDPP_REQUIRE(test::available(GetParam(), pages));
  test::serving served(
      GetParam(), pages,
      [](uffd::fault& raised) {
        fill_page(raised.buffer(), raised.offset() / raised.page().size());
        return raised.copy(raised.buffer());
      },
      uffd::register_mode::missing, options());
  machine guest(served.memory().range());
  UFFDPP_REQUIRE(guest.why_not());
  EXPECT_EQ(guest.output(), expected_output());
  EXPECT_TRUE(guest.has_halted());
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().missing >= pages; }));
}

class virtual_machine_in_shared_memory : public virtual_machine {};
UFFDPP_ON_KINDS(virtual_machine_in_shared_memory, (std::array{test::memory_kind::shared}));

TEST_P(virtual_machine_in_shared_memory, runs_in_pages_that_are_continued) {
  constexpr auto modes = uffd::register_mode::missing | uffd::register_mode::minor;
  UFFDPP_REQUIRE(test::available(GetParam(), pages, modes));
  test::serving served(
      GetParam(), pages, [](uffd::fault& raised) { return raised.continue_(); }, modes, options());
  const auto alias = served.memory().mapping().alias();
  for (std::size_t i = 0; i < pages; ++i)
    fill_page(alias.bytes().subspan(i * uffd::page_size(), uffd::page_size()), i);
  machine guest(served.memory().range());
  UFFDPP_REQUIRE(guest.why_not());
  EXPECT_EQ(guest.output(), expected_output());
  EXPECT_TRUE(guest.has_halted());
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().minor >= pages; }));
  EXPECT_EQ(served.handler().statistics().missing, 0u);
}

}  // namespace

#endif
