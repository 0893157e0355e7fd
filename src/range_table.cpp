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
  return {part, piece.offset + (part.begin() - piece.range.begin()), piece.client, piece.removed};
}

// Whether `next` only continues `piece`.
bool continues(const range_table::entry& piece, const range_table::entry& next) {
  return piece.range.end() == next.range.begin() && piece.client == next.client &&
         piece.removed == next.removed && piece.offset + piece.range.size() == next.offset;
}

bool begins_before(const range_table::entry& a, const range_table::entry& b) {
  return a.range.begin() < b.range.begin();
}

}  // namespace

void range_table::insert(page_range range, void* client, std::size_t offset, bool removed) {
  if (range.empty() || range.wraps())
    detail::throw_errno(EINVAL, "range_table: no range: " + to_string(range));
  const entry added{range, offset, client, removed};
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
  if (unmap_follows)
    mark_removed(moved.from);
  else
    erase(moved.from);
  erase(page_range(moved.to, moved.from.size()));
  for (const entry& piece : pieces) {
    const auto begin = moved.to + (piece.range.begin() - moved.from.begin());
    insert({begin, piece.range.size()}, piece.client, piece.offset, piece.removed);
  }
}

void range_table::apply(const unmap_event& unmapped) { erase(unmapped.range); }

void range_table::apply(const remove_event& removed) { mark_removed(removed.range); }

void range_table::mark_removed(page_range range) {
  std::vector<entry> marked;
  marked.reserve(entries_.size() + 2);
  const auto add = [&](const entry& piece) {
    if (piece.range.empty()) return;
    if (!marked.empty() && continues(marked.back(), piece))
      marked.back().range = {marked.back().range.begin(),
                             marked.back().range.size() + piece.range.size()};
    else
      marked.push_back(piece);
  };
  for (const entry& piece : entries_) {
    if (!piece.range.overlaps(range)) {
      add(piece);
      continue;
    }
    const auto begin = piece.range.begin();
    const auto end = piece.range.end();
    entry inside = cut(piece, range);
    inside.removed = true;
    if (begin < range.begin()) add(cut(piece, {begin, range.begin() - begin}));
    add(inside);
    if (end > range.end()) add(cut(piece, {range.end(), end - range.end()}));
  }
  entries_ = std::move(marked);
}

}  // namespace uffd
