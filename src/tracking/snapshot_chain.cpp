// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_chain.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "tracking/opened_snapshot.hpp"
#include "tracking/zeroes.hpp"
#include "uffd/error.hpp"
#include "uffd/page_range.hpp"

namespace uffd {
namespace {

using std::filesystem::path;

[[noreturn]] void fail(snapshot_error error, const snapshot_file& file, const std::string& what) {
  throw std::system_error(error, "snapshot_chain: " + file.path().string() + what);
}

struct search {
  snapshot_identity wanted;
  std::optional<std::system_error> unreadable;  // why nobody knows which snapshot a file is
  std::optional<std::system_error> broken;      // why a file that is the wanted one can't be used
};

// The snapshot that is wanted, if it is in that file.
std::optional<snapshot_file> open_if(const path& candidate, search& of) {
  bool is_wanted = false;
  try {
    if (detail::snapshot_front(candidate).header.identity != of.wanted) return std::nullopt;
    is_wanted = true;
    auto file = snapshot_file::open(candidate);
    if (file.identity() == of.wanted) return file;
  } catch (const std::system_error& error) {
    (is_wanted ? of.broken : of.unreadable) = error;
  }
  return std::nullopt;
}

// Where it is, and where it is really, which a symbolic link may lead to.
std::vector<path> folders_of(const path& file) {
  std::vector<path> folders{file.parent_path()};
  std::error_code unknown;
  if (std::filesystem::is_symlink(file, unknown))
    if (const auto real = std::filesystem::canonical(file, unknown); !unknown)
      folders.push_back(real.parent_path());
  return folders;
}

// Under its name first.
std::optional<snapshot_file> find_in(const path& folder, const std::string& name, search& of) {
  of.unreadable.reset();
  if (auto found = open_if(folder / name, of)) return found;
  const auto trouble = of.unreadable;
  for (const auto& each : std::filesystem::directory_iterator(folder.empty() ? "." : folder))
    if (std::error_code unknown; each.is_regular_file(unknown))
      if (auto found = open_if(each.path(), of)) return found;
  of.unreadable = trouble;
  return std::nullopt;
}

snapshot_file find_base_of(const snapshot_file& file) {
  search of{*file.base(), {}, {}};
  for (const auto& folder : folders_of(file.path()))
    if (auto found = find_in(folder, file.base_name(), of)) return *found;
  if (of.broken) throw std::system_error(*of.broken);
  // Most likely it is the one, but damaged.
  if (of.unreadable && of.unreadable->code() != std::errc::no_such_file_or_directory)
    throw std::system_error(*of.unreadable);
  fail(snapshot_error::no_base, file,
       " needs the snapshot " + to_string(*file.base()) + ", which was called " +
           (file.path().parent_path() / file.base_name()).string());
}

// What is zeroes already is not written, for it may take no memory yet.
void clear(std::span<std::byte> memory) noexcept {
  for (std::size_t done = 0; done < memory.size(); done += page_size()) {
    const auto part = memory.subspan(done, std::min(page_size(), memory.size() - done));
    if (!detail::is_zero(part)) std::memset(part.data(), 0, part.size());
  }
}

}  // namespace

snapshot_chain snapshot_chain::open(const path& newest) {
  std::vector<snapshot_file> files{snapshot_file::open(newest)};
  while (files.back().base()) {
    auto base = find_base_of(files.back());
    for (const auto& each : files)
      if (each.identity() == base.identity())
        fail(snapshot_error::damaged, each, " is based on itself");
    files.push_back(std::move(base));
  }
  std::reverse(files.begin(), files.end());
  return snapshot_chain(std::move(files));
}

snapshot_chain::snapshot_chain(std::vector<snapshot_file> files) : files_(std::move(files)) {
  if (files_.empty()) detail::throw_errno(EINVAL, "snapshot_chain: no files");
  if (files_.front().base())
    fail(snapshot_error::no_base, files_.front(),
         " needs the snapshot " + to_string(*files_.front().base()));
  for (std::size_t i = 1; i < files_.size(); ++i) {
    if (files_[i].base() != files_[i - 1].identity())
      fail(snapshot_error::other_base, files_[i],
           " is not based on " + files_[i - 1].path().string());
    if (files_[i].block_size() != files_[i - 1].block_size() ||
        !detail::have_same_pages(files_[i].areas(), files_[i - 1].areas()))
      fail(snapshot_error::other_areas, files_[i], " is based on " + files_[i - 1].path().string());
  }
}

// What one file has of `offset`; the oldest has all that no other has.
snapshot_chain::piece snapshot_chain::piece_at(std::size_t area, std::size_t offset,
                                               std::size_t most) const noexcept {
  // Else each call would look again at all that the newer ones lack.
  constexpr std::size_t most_at_once = std::size_t{256} << 10;
  most = std::min(most, most_at_once);
  for (auto file = files_.rbegin();; ++file) {
    const auto run = file->run_within(area, offset, most);
    most = run.size;
    if (run.content != snapshot_content::inherited) return {&*file, run};
  }
}

void snapshot_chain::check_inside(std::size_t area, std::size_t offset) const {
  if (!newest().opened_->is_inside(area, offset, 1))
    detail::throw_errno(EINVAL, "snapshot_chain: in no area");
}

const snapshot_file& snapshot_chain::holder_of(std::size_t area, std::size_t offset) const {
  check_inside(area, offset);
  return *piece_at(area, offset, 1).holder;
}

snapshot_run snapshot_chain::run_at(std::size_t area, std::size_t offset) const {
  check_inside(area, offset);
  const auto end = areas()[area].range.size();
  auto all = piece_at(area, offset, end - offset).run;
  for (auto next = offset + all.size; next < end; next = offset + all.size) {
    const auto run = piece_at(area, next, end - next).run;
    if (run.content != all.content) break;
    all.size += run.size;
  }
  return all;
}

snapshot_read snapshot_chain::read(std::size_t area, std::size_t offset,
                                   std::span<std::byte> to) const noexcept {
  if (!newest().opened_->is_inside(area, offset, to.size()))
    return {0, {EINVAL, std::system_category()}};
  snapshot_read result;
  while (!result.error && result.bytes < to.size()) {
    const auto rest = to.subspan(result.bytes);
    const auto [holder, run] = piece_at(area, offset + result.bytes, rest.size());
    const auto done = holder->read(area, run.offset, rest.first(run.size));
    result.bytes += done.bytes;
    result.error = done.error;
  }
  return result;
}

void snapshot_chain::restore(std::span<const std::span<std::byte>> memory,
                             restore_target target) const {
  const auto all = areas();
  if (!std::equal(all.begin(), all.end(), memory.begin(), memory.end(),
                  [](const snapshot_area& area, std::span<std::byte> its) {
                    return area.range.size() == its.size();
                  }))
    detail::throw_errno(EINVAL, "snapshot_chain::restore: memory of other sizes than " +
                                    newest().path().string() + " has");
  for (std::size_t area = 0; area < all.size(); ++area) restore(area, memory[area], target);
}

void snapshot_chain::restore(std::size_t area, std::span<std::byte> memory,
                             restore_target target) const {
  for (std::size_t offset = 0; offset < memory.size();) {
    const auto [holder, run] = piece_at(area, offset, memory.size() - offset);
    const auto to = memory.subspan(offset, run.size);
    offset += run.size;
    if (run.content == snapshot_content::zero) {
      if (target == restore_target::anything) clear(to);
      continue;
    }
    const auto done = holder->read(area, run.offset, to);
    if (done.error)
      throw std::system_error(
          done.error, "snapshot_chain::restore: " +
                          detail::name_of_page(holder->path(), area, run.offset + done.bytes));
  }
}

void snapshot_chain::verify() const {
  for (const auto& file : files_) file.verify();
}

}  // namespace uffd
