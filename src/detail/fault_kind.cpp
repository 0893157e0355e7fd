// SPDX-License-Identifier: MIT
#include "fault_kind.hpp"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "stuck_pages.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

bool is_in_core(std::uintptr_t address) noexcept {
  unsigned char in_core = 0;
  void* const page = reinterpret_cast<void*>(align_down(address, page_size()));
  return ::mincore(page, 1, &in_core) == 0 && (in_core & 1) != 0;
}

bool is_readable(std::uintptr_t address) noexcept {
  // Reads the set before it finds that there is no such way to change a mask.
  constexpr int no_way = -1;
  constexpr std::size_t kernel_set_size = _NSIG / 8;
  const auto at = align_down(address, kernel_set_size);
  return ::syscall(SYS_rt_sigprocmask, no_way, at, nullptr, kernel_set_size) == 0 ||
         errno != EFAULT;
}

bool is_writable(std::uintptr_t address) noexcept {
  // Adds nothing, atomically, and wakes nobody unless it finds less than the least it can compare
  // with; who waits for a futex there sleeps on, or sees a spurious wake.
  constexpr auto add_nothing = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_LT, -2048);
  std::uint32_t nobody_waits = 0;
  const auto at = align_down(address, sizeof nobody_waits);
  return ::syscall(SYS_futex, &nobody_waits, FUTEX_WAKE_OP_PRIVATE, 0, 0L, at, add_nothing) >= 0 ||
         errno != EFAULT;
}

namespace {

// A huge page that isn't protected, and that the kernel has none left to copy to for a writer.
// Others may let it go, protect it again or drop it meanwhile: only what is seen each time counts,
// and not at their pace.
bool is_without_copy(const handle& on, std::uintptr_t address) noexcept {
  for (std::int64_t looks = 1; looks <= 16; ++looks) {
    const auto page = state_of_page(on, address);
    if (!page || !page->present || page->write_protected || is_writable(address)) return false;
    call_sleep(looks * 1'000);
  }
  return true;
}

}  // namespace

std::optional<fault_kind> kind_of(const handle& on, const region_info& region,
                                  std::uintptr_t address, const fault_cause& cause) noexcept {
  const auto modes = region.modes;
  const bool is_huge = region.page_size != page_size();
  if (cause.is_protection) {
    if (!modes.has(register_mode::write_protect)) return std::nullopt;
    // Most writers only met protection, however often.
    const auto page = align_down(address, region.page_size);
    if (is_huge && writes_without_progress.unchanged(&region, page) && is_without_copy(on, address))
      return std::nullopt;
    return fault_kind::write_protect;
  }
  if (!cause.is_known && modes.has(register_mode::write_protect)) {
    const auto page = state_of_page(on, address);
    if (page && page->present && page->write_protected) return fault_kind::write_protect;
  }
  if (modes.has(register_mode::missing) && modes.has(register_mode::minor))
    return is_huge || is_in_core(address) ? fault_kind::minor : fault_kind::missing;
  if (modes.has(register_mode::minor)) return fault_kind::minor;
  if (modes.has(register_mode::missing)) return fault_kind::missing;
  // No page was there for the processor, and one that is protected for the kernel: it was swapped
  // out, or came meanwhile. Whoever cut a file off leaves none to read.
  const bool may_write = cause.is_write || !cause.is_known;
  if (modes.has(register_mode::write_protect) && may_write && is_readable(address))
    return fault_kind::write_protect;
  return std::nullopt;
}

page_fault message_of(const handle& on, std::uintptr_t address, fault_kind kind,
                      bool is_write) noexcept {
  const auto features = on.features();
  page_fault message;
  message.address =
      features.has(feature::exact_address) ? address : align_down(address, page_size());
  if (is_write || kind == fault_kind::write_protect) message.cause |= fault_flag::write;
  if (kind == fault_kind::write_protect) message.cause |= fault_flag::write_protect;
  if (kind == fault_kind::minor) message.cause |= fault_flag::minor;
  if (features.has(feature::thread_id))
    message.thread_id = static_cast<pid_t>(::syscall(SYS_gettid));
  return message;
}

}  // namespace uffd::detail
