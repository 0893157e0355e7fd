// SPDX-License-Identifier: MIT
// What the processor says about an access that raised a signal. The one file that knows processors.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace uffd::detail {

struct fault_cause {
  bool is_known = false;
  bool is_write = false;
  // The page is there, and its protection refused the access.
  bool is_protection = false;
};

#if defined(__x86_64__) || defined(__i386__)

// The page-fault error code: bit 0 protection, bit 1 write.
inline fault_cause cause_of(const ucontext_t& context) noexcept {
  const auto code = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_ERR]);
  return {true, (code & 2) != 0, (code & 1) != 0};
}

#elif defined(__aarch64__)

// The exception syndrome (ESR_EL1), one of the records behind the registers: bit 6 write (WnR);
// bits 5-0 the fault's status, 0b0011xx for permission.
inline fault_cause cause_of(const ucontext_t& context) noexcept {
  constexpr std::uint32_t esr_magic = 0x45535201;
  struct record_head {
    std::uint32_t magic;
    std::uint32_t size;
  };
  const std::span records(context.uc_mcontext.__reserved);
  for (std::size_t at = 0; at + sizeof(record_head) + sizeof(std::uint64_t) <= records.size();) {
    record_head head{};
    std::memcpy(&head, &records[at], sizeof head);
    if (head.magic == esr_magic) {
      std::uint64_t esr = 0;
      std::memcpy(&esr, &records[at + sizeof head], sizeof esr);
      return {true, (esr & 0x40) != 0, (esr & 0x3C) == 0x0C};
    }
    if (head.magic == 0 || head.size < sizeof head) break;
    at += head.size;
  }
  return {};
}

#else

inline fault_cause cause_of(const ucontext_t& /*unknown processor*/) noexcept { return {}; }

#endif

}  // namespace uffd::detail
