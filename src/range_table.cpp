// SPDX-License-Identifier: MIT
#include "uffd/range_table.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "uffd/error.hpp"

namespace uffd {
namespace {

// The part of `piece` that lies in `range`, with the offset that belongs to it.
range_table::entry cut(const range_table::entry& piece, page_range range) {
  const page_range part = piece.range.intersection(range);
  return {part, piece.offset + (part.begin() - piece.range.begin()), piece.client};
}

bool begins_before(const range_table::entry& a, const range_table::entry& b) {
  return a.range.begin() < b.range.begin();
}

}  // namespace

void range_table::insert(page_range range, void* client, std::size_t offset) {
  if (range.empty() || range.wraps())
    detail::throw_errno(EINVAL, "range_table: no range: " + to_string(range));
  const entry added{range, offset, client};
  const auto place = std::upper_bound(entries_.begin(), entries_.end(), added, begins_before);
  const bool overlaps = (place != entries_.begin() && std::prev(place)->range.overlaps(range)) ||
                        (place != entries_.end() && place->range.overlaps(range));
  if (overlaps) detail::throw_errno(EEXIST, "range_table: " + to_string(range) + " is taken");
  entries_.insert(place, added);
}

void range_table::erase(page_range range) {
  std::vector<entry> kept;
  kept.reserve(entries_.size() + 1);
  for (const entry& piece : entries_) {
    if (!piece.range.overlaps(range)) {
      kept.push_back(piece);
      continue;
    }
    const auto begin = piece.range.begin();
    if (begin < range.begin()) kept.push_back(cut(piece, {begin, range.begin() - begin}));
    const auto end = piece.range.end();
    if (end > range.end()) kept.push_back(cut(piece, {range.end(), end - range.end()}));
  }
  entries_ = std::move(kept);
}

void range_table::erase_client(const void* client) {
  std::erase_if(entries_, [&](const entry& piece) { return piece.client == client; });
}

void range_table::apply(const remap_event& moved, bool unmap_follows) {
  std::vector<entry> pieces;
  for (const entry& piece : entries_)
    if (piece.range.overlaps(moved.from)) pieces.push_back(cut(piece, moved.from));
  if (!unmap_follows) erase(moved.from);
  erase(page_range(moved.to, moved.from.size()));
  for (const entry& piece : pieces) {
    const auto begin = moved.to + (piece.range.begin() - moved.from.begin());
    insert({begin, piece.range.size()}, piece.client, piece.offset);
  }
}

void range_table::apply(const unmap_event& unmapped) { erase(unmapped.range); }

}  // namespace uffd
