// SPDX-License-Identifier: MIT
// A handle with one region, and a pair of sockets to hand them over by.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "support/memory.hpp"
#include "support/sockets.hpp"
#include "uffd/handoff.hpp"
#include "uffd/region.hpp"

namespace uffd::test {

// Its parameter is the type of the sockets.
class handing_over : public testing::TestWithParam<int> {
 protected:
  static constexpr std::size_t pages = 4;

  const test::memory memory_{memory_kind::anonymous, pages};
  handle on_ = handle::open();
  region region_{on_, memory_.range(), register_mode::missing, page_size(), 0x7461};
  socket_pair sockets_{GetParam()};

  std::vector<region_info> regions() const { return {region_.info()}; }
  void send() const { handoff::send(sockets_.one(), on_, regions()); }
  handed_over receive() const { return handoff::receive(sockets_.other()); }
};

}  // namespace uffd::test
