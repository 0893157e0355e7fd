// SPDX-License-Identifier: MIT
#include "tracking/snapshot_base.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

bool is_same_time(const timespec& one, const timespec& other) noexcept {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

}  // namespace

snapshot_base::snapshot_base(const std::filesystem::path& file)
    : front_(file), name_(file.filename().string()) {
  if (::fstat(front_.file.get(), &status_) != 0)
    throw_errno(errno, "snapshot_base: " + file.string());
}

bool snapshot_base::is_beside(const std::filesystem::path& path) {
  const auto place = std::filesystem::absolute(path).parent_path();
  if (is_in(place, name_)) return true;
  std::error_code error;
  std::filesystem::directory_iterator each(place, error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    auto name = each->path().filename().string();
    if (!is_in(place, name)) continue;
    name_ = std::move(name);
    return true;
  }
  return false;
}

bool snapshot_base::is_in(const std::filesystem::path& place, const std::string& name) const {
  struct stat now {};
  return name.size() <= longest_base_name && ::stat((place / name).c_str(), &now) == 0 &&
         now.st_dev == status_.st_dev && now.st_ino == status_.st_ino &&
         now.st_size == status_.st_size && is_same_time(now.st_mtim, status_.st_mtim);
}

}  // namespace uffd::detail
