// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_file.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "detail/never_destroyed.hpp"
#include "tracking/opened_snapshot.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace {

class snapshot_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "snapshot"; }

  std::string message(int value) const override {
    switch (static_cast<snapshot_error>(value)) {
      case snapshot_error::foreign:
        return "it is no snapshot";
      case snapshot_error::unknown_version:
        return "the snapshot has a format that is not known";
      case snapshot_error::other_byte_order:
        return "the snapshot is one of a machine with another byte order";
      case snapshot_error::incomplete:
        return "the snapshot was not saved to its end";
      case snapshot_error::truncated:
        return "the snapshot was cut off";
      case snapshot_error::damaged:
        return "the snapshot is damaged";
      case snapshot_error::no_base:
        return "the base of the snapshot is missing";
      case snapshot_error::other_base:
        return "the snapshot is based on another one";
      case snapshot_error::other_areas:
        return "the snapshot has other areas than its base";
    }
    return "unknown error of a snapshot";
  }
};

// Signal handlers report its errors, too.
constinit const detail::never_destroyed<snapshot_category> category;

}  // namespace

std::error_code make_error_code(snapshot_error value) noexcept {
  return {static_cast<int>(value), category.value};
}

std::string to_string(const snapshot_identity& identity) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const unsigned byte : identity.bytes) {
    text += digits[byte >> 4U];
    text += digits[byte & 15U];
  }
  return text;
}

snapshot_file::snapshot_file(std::shared_ptr<const detail::opened_snapshot> opened) noexcept
    : opened_(std::move(opened)) {}

snapshot_file snapshot_file::open(const std::filesystem::path& path) {
  return snapshot_file(std::make_shared<const detail::opened_snapshot>(path));
}

const std::filesystem::path& snapshot_file::path() const noexcept { return opened_->path(); }
const snapshot_identity& snapshot_file::identity() const noexcept {
  return opened_->header().identity;
}
const std::optional<snapshot_identity>& snapshot_file::base() const noexcept {
  return opened_->header().base;
}
const std::string& snapshot_file::base_name() const noexcept { return opened_->header().base_name; }
std::span<const snapshot_area> snapshot_file::areas() const noexcept {
  return opened_->header().areas;
}
std::uint64_t snapshot_file::saved_bytes() const noexcept { return opened_->saved_bytes(); }
std::size_t snapshot_file::block_size() const noexcept { return opened_->header().block; }
int snapshot_file::fd() const noexcept { return opened_->fd(); }

std::uint64_t snapshot_file::data_offset(std::size_t area) const {
  if (area >= areas().size()) detail::throw_errno(EINVAL, "snapshot_file::data_offset: no area");
  return opened_->layout().of_area(area).data;
}

snapshot_run snapshot_file::run_at(std::size_t area, std::size_t offset) const {
  if (!opened_->is_inside(area, offset, 1))
    detail::throw_errno(EINVAL, "snapshot_file::run_at: in no area");
  return opened_->run_at(area, offset, areas()[area].range.size());
}

snapshot_run snapshot_file::run_within(std::size_t area, std::size_t offset,
                                       std::size_t most) const noexcept {
  return opened_->run_at(area, offset, most);
}

snapshot_read snapshot_file::read(std::size_t area, std::size_t offset,
                                  std::span<std::byte> to) const noexcept {
  if (!opened_->is_inside(area, offset, to.size())) return {0, {EINVAL, std::system_category()}};
  return opened_->read(area, offset, to);
}

void snapshot_file::verify() const {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (std::size_t area = 0; area < areas().size(); ++area)
    each_run(area, [&](const snapshot_run& run) {
      if (run.content != snapshot_content::saved) return;
      for (std::size_t done = 0; done < run.size;) {
        const auto step = std::span(buffer).first(std::min(buffer.size(), run.size - done));
        const auto result = opened_->read(area, run.offset + done, step);
        done += result.bytes;
        if (result.error)
          throw std::system_error(
              result.error,
              "snapshot_file::verify: " + detail::name_of_page(path(), area, run.offset + done));
      }
    });
}

}  // namespace uffd
