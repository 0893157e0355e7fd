// SPDX-License-Identifier: MIT
#include "tracking/snapshot_writer.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "tracking/block_checksum.hpp"
#include "tracking/file_bytes.hpp"
#include "tracking/zeroes.hpp"
#include "uffd/error.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

constexpr const char* what = "snapshot_writer: ";

std::error_code code_of(int number) noexcept { return {number, std::system_category()}; }

snapshot_identity new_identity() {
  snapshot_identity identity;
  // Zeroes stand for none.
  while (identity == snapshot_identity{}) {
    const auto count = ::getrandom(identity.bytes.data(), identity.bytes.size(), 0);
    if (count < 0 && errno != EINTR) throw_errno(errno, std::string(what) + "getrandom");
  }
  return identity;
}

// What must not be replaced.
bool is_in_the_way(const std::filesystem::path& path, bool has_base) {
  std::error_code error;
  const auto there = std::filesystem::symlink_status(path, error);
  if (has_base || !std::filesystem::exists(there)) return std::filesystem::exists(there);
  return !std::filesystem::is_regular_file(there) && !std::filesystem::is_symlink(there);
}

// What is larger would end the process (SIGXFSZ).
bool may_be_as_large(std::uint64_t bytes) noexcept {
  rlimit most{};
  return ::getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur == RLIM_INFINITY ||
         bytes <= most.rlim_cur;
}

snapshot_header header_of(const std::filesystem::path& path, std::span<const snapshot_area> areas,
                          const snapshot_base* base) {
  snapshot_header header;
  header.identity = new_identity();
  header.block = page_size();
  header.areas.assign(areas.begin(), areas.end());
  if (const auto problem = problem_of(header.block, areas); !problem.empty())
    throw_errno(EINVAL, what + path.string() + ": " + problem);
  if (is_in_the_way(path, base != nullptr)) throw_errno(EEXIST, what + path.string());
  if (base == nullptr) return header;
  if (base->header().block != header.block || !have_same_pages(areas, base->header().areas))
    throw std::system_error(snapshot_error::other_areas, what + path.string());
  if (base->name().size() > longest_base_name) throw_errno(ENAMETOOLONG, what + base->name());
  header.base = base->header().identity;
  header.base_name = base->name();
  return header;
}

snapshot_layout layout_of(const std::filesystem::path& path, const snapshot_header& header) {
  auto layout = snapshot_layout::of(header.block, header.areas);
  if (!layout || !may_be_as_large(layout->file_size())) throw_errno(EFBIG, what + path.string());
  return *layout;
}

}  // namespace

snapshot_writer::snapshot_writer(const std::filesystem::path& path,
                                 std::span<const snapshot_area> areas, const snapshot_base* base)
    : header_(header_of(path, areas, base)),
      layout_(layout_of(path, header_)),
      encoded_(encode_snapshot_header(header_, layout_)),
      index_(layout_),
      // What memory holds is for nobody else to read.
      file_(path, 0600, what) {
  if (::ftruncate(file_.fd(), static_cast<off_t>(layout_.file_size())) != 0)
    throw_errno(errno, what + path.string());
}

bool snapshot_writer::has_pages(std::size_t area, std::size_t offset,
                                std::size_t bytes) const noexcept {
  if (area >= header_.areas.size()) return false;
  const auto& [range, page] = header_.areas[area];
  return (offset | bytes) % page == 0 && offset <= range.size() && bytes <= range.size() - offset;
}

std::error_code snapshot_writer::put(std::size_t area, std::size_t offset,
                                     std::span<const std::byte> pages) noexcept {
  if (!has_pages(area, offset, pages.size())) return code_of(EINVAL);
  const auto block = header_.block;
  while (!pages.empty()) {
    // As many as are alike are written at once.
    const bool zero = is_zero(pages.first(block));
    std::size_t size = block;
    while (size < pages.size() && is_zero(pages.subspan(size, block)) == zero) size += block;
    if (zero)
      set(area, offset, size, snapshot_index::zero);
    else if (const auto error = put_blocks(area, offset, pages.first(size)))
      return failed(error);
    pages = pages.subspan(size);
    offset += size;
  }
  return {};
}

std::error_code snapshot_writer::put_blocks(std::size_t area, std::size_t offset,
                                            std::span<const std::byte> blocks) noexcept {
  for (std::size_t done = 0; done < blocks.size(); done += header_.block)
    set(area, offset + done, header_.block,
        snapshot_index::saved(checksum_of(blocks.subspan(done, header_.block))));
  return write_bytes(file_.fd(), layout_.of_area(area).data + offset, blocks);
}

std::error_code snapshot_writer::put_zero(std::size_t area, std::size_t offset,
                                          std::size_t bytes) noexcept {
  if (!has_pages(area, offset, bytes)) return code_of(EINVAL);
  set(area, offset, bytes, snapshot_index::zero);
  return {};
}

void snapshot_writer::set(std::size_t area, std::size_t offset, std::size_t bytes,
                          std::uint64_t number) noexcept {
  const auto end = (offset + bytes) / header_.block;
  for (auto block = offset / header_.block; block < end; ++block) index_.set(area, block, number);
}

std::error_code snapshot_writer::failed(std::error_code error) noexcept {
  int none = 0;
  failed_.compare_exchange_strong(none, error.value(), std::memory_order_relaxed);
  return error;
}

std::error_code snapshot_writer::commit() noexcept {
  // A page that is missing would be taken for that of the base.
  if (const int number = failed_.load(std::memory_order_relaxed)) return code_of(number);
  if (const auto error = index_.write(file_.fd(), header_.identity)) return error;
  if (const auto error = sync()) return error;
  // Until here it has no header: whatever happens, it is no snapshot.
  if (const auto error = write_bytes(file_.fd(), 0, encoded_)) return error;
  if (const auto error = sync()) return error;
  return appear();
}

std::error_code snapshot_writer::sync() noexcept {
  return ::fsync(file_.fd()) == 0 ? std::error_code() : code_of(errno);
}

std::error_code snapshot_writer::appear() noexcept {
  auto error = file_.take_its_place(replacing::refused);
  const bool replaces = error == std::errc::file_exists && !header_.base;
  if (replaces) error = file_.take_its_place(replacing::permitted);
  if (error) return error;
  error = file_.keep_its_place();
  if (error && !replaces) file_.remove();
  return error;
}

}  // namespace uffd::detail
