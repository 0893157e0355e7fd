// SPDX-License-Identifier: MIT
// What is done to a lane's memory, in one step of a life.
#pragma once

#include <cstddef>
#include <cstdint>

#include "area.hpp"

namespace uffd::chaos {

struct operation {
  enum class kind {
    none,
    // to what pages hold
    drop,           // MADV_DONTNEED, of shared memory MADV_REMOVE
    drop_lazily,    // MADV_FREE, and reclaiming at once
    drop_mappings,  // of shared memory: MADV_DONTNEED, which leaves the content
    protect,
    unprotect,
    // to who waits
    wake,
    interrupt,
    // to the process and to what serves
    fork,
    hand_over,
    // to what lies where: one in a step
    move,
    cover,  // mapping nothing over it
    unmap,
    serve,
    end,
    stop,
  };
  kind what = kind::none;
  row where;
  std::size_t to = 0;     // move
  bool variant = false;   // move: keeps the place; drop_lazily: reclaims; end: complete; ...
  std::uint64_t tag = 0;  // end
  std::uint64_t chosen = 0;
};

constexpr const char* name_of(operation::kind what) noexcept {
  using kind = operation::kind;
  switch (what) {
    case kind::none:
      return "nothing";
    case kind::drop:
      return "drop";
    case kind::drop_lazily:
      return "drop lazily";
    case kind::drop_mappings:
      return "drop mappings";
    case kind::protect:
      return "protect";
    case kind::unprotect:
      return "unprotect";
    case kind::wake:
      return "wake";
    case kind::interrupt:
      return "interrupt";
    case kind::fork:
      return "fork";
    case kind::hand_over:
      return "hand over";
    case kind::move:
      return "move";
    case kind::cover:
      return "cover";
    case kind::unmap:
      return "unmap";
    case kind::serve:
      return "serve";
    case kind::end:
      return "end";
    case kind::stop:
      return "stop";
  }
  return "?";
}

}  // namespace uffd::chaos
