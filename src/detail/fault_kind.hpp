// SPDX-License-Identifier: MIT
// Tells what kind of fault an access raised, where no message says so.
#pragma once

#include <cstdint>
#include <optional>

#include "fault_cause.hpp"
#include "uffd/handle.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"

namespace uffd::detail {

// Whether the page is mapped, or the page cache has it. Small pages only: of huge pages the kernel
// looks at the page table alone. Not of those that are swapped out.
bool is_in_core(std::uintptr_t address) noexcept;

// Whether the memory can be read now: asked of the kernel, so no signal comes of it.
bool is_readable(std::uintptr_t address) noexcept;

// The same for writes. Changes nothing.
bool is_writable(std::uintptr_t address) noexcept;

// Nothing if memory of those modes raises no such fault: then it is somebody else's SIGBUS.
std::optional<fault_kind> kind_of(const handle& on, const region_info& region,
                                  std::uintptr_t address, const fault_cause& cause) noexcept;

// The message that the kernel would have sent.
page_fault message_of(const handle& on, std::uintptr_t address, fault_kind kind,
                      bool is_write) noexcept;

}  // namespace uffd::detail
