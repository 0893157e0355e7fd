// SPDX-License-Identifier: MIT
// Which sanitizer this program is built with: g++ and clang++ say it each in its own way.
#pragma once

#ifdef __has_feature
#define UFFDPP_HAS_FEATURE(name) __has_feature(name)
#else
#define UFFDPP_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || UFFDPP_HAS_FEATURE(address_sanitizer)
#define UFFDPP_ADDRESS_SANITIZER 1
#else
#define UFFDPP_ADDRESS_SANITIZER 0
#endif
#if defined(__SANITIZE_THREAD__) || UFFDPP_HAS_FEATURE(thread_sanitizer)
#define UFFDPP_THREAD_SANITIZER 1
#else
#define UFFDPP_THREAD_SANITIZER 0
#endif

namespace uffd::test {

inline constexpr bool address_sanitizer = UFFDPP_ADDRESS_SANITIZER != 0;
inline constexpr bool thread_sanitizer = UFFDPP_THREAD_SANITIZER != 0;

}  // namespace uffd::test
