// SPDX-License-Identifier: MIT
// Counts what the process allocates, by whatever function and in whatever thread: including this
// header takes the allocator's place. For programs of one source file.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "support/sanitizers.hpp"

#if UFFDPP_ADDRESS_SANITIZER || UFFDPP_THREAD_SANITIZER
// GCC installs no header for it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                           std::size_t),
                                                         void (*on_free)(const volatile void*));
#endif

namespace uffd::test {
namespace detail {

inline constinit std::atomic<long> allocations{0};

}  // namespace detail

// ThreadSanitizer tells nothing of aligned_alloc and posix_memalign.
inline constexpr bool aligned_allocations_are_counted = !thread_sanitizer;

// So far. Zero forever where they can't be counted.
inline long allocations() { return detail::allocations.load(); }

#if UFFDPP_ADDRESS_SANITIZER || UFFDPP_THREAD_SANITIZER

// A sanitizer is the allocator, and tells.
inline const int allocations_are_told = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++detail::allocations; }, [](const volatile void*) {});

inline std::string counted_allocations() {
  return allocations_are_told > 0 ? "" : "this sanitizer tells of no allocation";
}

}  // namespace uffd::test

#elif defined(__GLIBC__)

inline std::string counted_allocations() { return ""; }

}  // namespace uffd::test

// What glibc's own functions are called when a program has others under their names. Those that
// free need not be replaced, and operator new comes here too.
extern "C" {

void* __libc_malloc(std::size_t size) noexcept;
void* __libc_calloc(std::size_t count, std::size_t size) noexcept;
void* __libc_realloc(void* memory, std::size_t size) noexcept;
void* __libc_memalign(std::size_t alignment, std::size_t size) noexcept;

void* malloc(std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  ++uffd::test::detail::allocations;
  void* const memory = __libc_memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *result = memory;
  return 0;
}

}  // extern "C"

#else

inline std::string counted_allocations() { return "this C library's allocator can't be watched"; }

}  // namespace uffd::test

#endif
