// SPDX-License-Identifier: MIT
// Memory that is registered and served by nobody yet, as it is given to a keeper.
#pragma once

#include <utility>

#include "support/memory.hpp"
#include "uffd/handed_over.hpp"

namespace uffd::test {

inline handed_over registered(const memory& what, flags<feature> features = {}) {
  auto on = handle::open({.required = features});
  region_info info;
  info.range = what.range();
  info.page_size = what.page_size();
  info.modes = register_mode::missing;
  info.ioctls = on.register_range(info.range, info.modes);
  return handed_over(std::move(on), {info});
}

}  // namespace uffd::test
