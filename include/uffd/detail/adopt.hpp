// SPDX-License-Identifier: MIT
// What /proc says of a descriptor that handle::adopt() is given.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

inline std::string descriptor_target(int descriptor) {
  std::array<char, 64> text{};
  const auto path = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(path.c_str(), text.data(), text.size());
  return {text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
}

// The `API:` line of a userfaultfd's fdinfo, `aa:FEATURES:IOCTLS` in hexadecimal. The kernel keeps
// its own mark, bit 31, among the features once they are negotiated. 0 if the line holds no number.
inline std::optional<std::uint64_t> features_in_fdinfo(std::string_view content) noexcept {
  constexpr std::string_view key = "API:\taa:";
  const auto position = content.find(key);
  if (position == std::string_view::npos) return std::nullopt;
  const auto number = content.substr(position + key.size());
  std::uint64_t features = 0;
  std::from_chars(number.data(), number.data() + number.size(), features, 16);
  return features;
}

inline std::optional<std::uint64_t> fdinfo_features(int descriptor) {
  const auto path = "/proc/self/fdinfo/" + std::to_string(descriptor);
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::array<char, 512> text{};
  const ssize_t length = call_read(file.get(), text.data(), text.size());
  if (length <= 0) return std::nullopt;
  return features_in_fdinfo({text.data(), static_cast<std::size_t>(length)});
}

inline void verify_adopted(int descriptor, flags<feature> stated) {
  if (::fcntl(descriptor, F_GETFD) < 0) throw_errno(errno, "handle::adopt");
  const auto target = descriptor_target(descriptor);
  if (target != "anon_inode:[userfaultfd]")
    throw_errno(EINVAL, "handle::adopt: not a userfaultfd but '" + target + "'");
  constexpr std::uint64_t negotiated = 1ULL << 31;
  // WP_ASYNC switches this on by itself, so it may be there without having been asked for.
  constexpr flags<feature> implied = feature::wp_unpopulated;
  if (const auto bits = fdinfo_features(descriptor)) {
    if ((*bits & negotiated) == 0)
      throw_errno(EINVAL, "handle::adopt: its features were not negotiated (UFFDIO_API)");
    const auto actual = flags<feature>::from_bits(*bits & ~negotiated);
    if (actual - implied != stated - implied)
      throw_errno(EINVAL, "handle::adopt: stated features " + to_string(stated) +
                              ", but the descriptor has " + to_string(actual));
  }
  const int status = ::fcntl(descriptor, F_GETFL);
  if (status < 0 || ::fcntl(descriptor, F_SETFL, status | O_NONBLOCK) < 0 ||
      ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0)
    throw_errno(errno, "handle::adopt: O_NONBLOCK and FD_CLOEXEC");
}

}  // namespace uffd::detail
