// SPDX-License-Identifier: MIT
#include "tracking/opened_snapshot.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tracking/block_checksum.hpp"
#include "tracking/file_bytes.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"

namespace uffd::detail {
namespace {

[[noreturn]] void fail(std::error_code error, const std::filesystem::path& path) {
  throw std::system_error(error, "snapshot_file: " + path.string());
}
void check(std::error_code error, const std::filesystem::path& path) {
  if (error) fail(error, path);
}

unique_fd open_regular_file(const std::filesystem::path& path, std::uint64_t& size) {
  // A pipe without a writer would be waited for.
  unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) fail({errno, std::system_category()}, path);
  if (!S_ISREG(status.st_mode))
    fail({S_ISDIR(status.st_mode) ? EISDIR : ESPIPE, std::system_category()}, path);
  size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

// The header was found to be sensible.
snapshot_layout layout_of(const snapshot_header& header) {
  return *snapshot_layout::of(header.block, header.areas);
}

// Bytes that are only to be checked. Signal handlers read, too: their stacks may be small.
std::error_code add_bytes(running_checksum& sum, int file, std::uint64_t offset,
                          std::size_t size) noexcept {
  std::array<std::byte, 512> buffer{};
  while (size > 0) {
    const auto step = std::span(buffer).first(std::min(buffer.size(), size));
    if (const auto error = read_bytes(file, offset, step)) return error;
    sum.add(step);
    offset += step.size();
    size -= step.size();
  }
  return {};
}

}  // namespace

snapshot_front::snapshot_front(const std::filesystem::path& path) {
  std::uint64_t file_size = 0;
  file = open_regular_file(path, file_size);
  std::vector<std::byte> bytes(std::min<std::uint64_t>(file_size, snapshot_header_size));
  check(read_bytes(file.get(), 0, bytes), path);
  std::size_t size = 0;
  check(decode_snapshot_size(bytes, size), path);
  if (size > file_size) fail(snapshot_error::truncated, path);
  bytes.resize(size);
  check(read_bytes(file.get(), 0, bytes), path);
  check(decode_snapshot_header(bytes, file_size, header), path);
}

opened_snapshot::opened_snapshot(const std::filesystem::path& path)
    : path_(path), front_(path), layout_(layout_of(front_.header)), index_(layout_) {
  check(index_.read(fd(), header().identity), path_);
}

bool opened_snapshot::is_inside(std::size_t area, std::size_t offset,
                                std::size_t size) const noexcept {
  return area < header().areas.size() && offset <= size_of(area) && size <= size_of(area) - offset;
}

snapshot_content opened_snapshot::content_of(std::size_t area, std::size_t block) const noexcept {
  const auto number = index_.get(area, block);
  if (number == snapshot_index::inherited && header().base) return snapshot_content::inherited;
  return number <= snapshot_index::zero ? snapshot_content::zero : snapshot_content::saved;
}

snapshot_run opened_snapshot::run_at(std::size_t area, std::size_t offset,
                                     std::size_t most) const noexcept {
  const auto end = offset + std::min(most, size_of(area) - offset);
  const auto content = content_of(area, offset / header().block);
  auto next = align_down(offset, header().block) + header().block;
  while (next < end && content_of(area, next / header().block) == content) next += header().block;
  return {offset, std::min<std::size_t>(next, end) - offset, content};
}

snapshot_read opened_snapshot::read(std::size_t area, std::size_t offset,
                                    std::span<std::byte> to) const noexcept {
  // What was read is compared while the processor's caches still have it.
  constexpr std::size_t at_once = std::size_t{256} << 10;
  snapshot_read result;
  while (result.bytes < to.size()) {
    const auto rest = to.subspan(result.bytes);
    const auto run = run_at(area, offset + result.bytes, std::min(rest.size(), at_once));
    const auto done = read_run(area, run, rest.first(run.size));
    result.bytes += done.bytes;
    result.error = done.error;
    if (result.error) break;
  }
  return result;
}

snapshot_read opened_snapshot::read_run(std::size_t area, const snapshot_run& run,
                                        std::span<std::byte> to) const noexcept {
  if (run.content == snapshot_content::inherited) return {0, snapshot_error::no_base};
  if (run.content == snapshot_content::zero) {
    std::memset(to.data(), 0, to.size());
    return {to.size(), {}};
  }
  const auto block = header().block;
  const auto begun = run.offset % block;
  if (begun == 0 && run.size >= block)
    return read_blocks(area, run.offset, to.first(to.size() - to.size() % block));
  const auto part = to.first(std::min(to.size(), block - begun));
  const auto error = read_part(area, run.offset, part);
  return {error ? 0 : part.size(), error};
}

snapshot_read opened_snapshot::read_blocks(std::size_t area, std::size_t offset,
                                           std::span<std::byte> to) const noexcept {
  if (const auto error = read_bytes(fd(), layout_.of_area(area).data + offset, to))
    return {0, error};
  const auto block = header().block;
  for (std::size_t done = 0; done < to.size(); done += block)
    if (snapshot_index::saved(checksum_of(to.subspan(done, block))) !=
        index_.get(area, (offset + done) / block))
      return {done, snapshot_error::damaged};
  return {to.size(), {}};
}

// Of one block, of which no more than the part is kept.
std::error_code opened_snapshot::read_part(std::size_t area, std::size_t offset,
                                           std::span<std::byte> to) const noexcept {
  const auto begin = align_down(offset, header().block);
  const auto end = begin + header().block;
  const auto data = layout_.of_area(area).data;
  running_checksum sum;
  if (const auto error = add_bytes(sum, fd(), data + begin, offset - begin)) return error;
  if (const auto error = read_bytes(fd(), data + offset, to)) return error;
  sum.add(to);
  const auto behind = offset + to.size();
  if (const auto error = add_bytes(sum, fd(), data + behind, end - behind)) return error;
  if (snapshot_index::saved(sum.value()) == index_.get(area, begin / header().block)) return {};
  return snapshot_error::damaged;
}

std::string name_of_page(const std::filesystem::path& path, std::size_t area, std::size_t offset) {
  return path.string() + ": area " + std::to_string(area) + ", offset " + hexadecimal(offset);
}

}  // namespace uffd::detail
