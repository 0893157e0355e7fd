// SPDX-License-Identifier: MIT
#include "loading.hpp"

#include <uffd/mapping.hpp>
#include <uffd/pager/pager.hpp>
#include <uffd/pager/snapshot_source.hpp>
#include <uffd/tracking/snapshot_chain.hpp>

#include <stdexcept>
#include <utility>

namespace live_snapshot {
namespace {

void check(uffd::snapshot_chain chain, const examples::pair_table_shape& shape, bool lazily) {
  if (lazily) {
    const uffd::pager pager;
    const auto memory = pager.map(uffd::snapshot_source(std::move(chain)));
    examples::pair_table::check(memory.bytes(), shape);
  } else {
    const auto memory = uffd::mapping::anonymous(chain.areas()[0].range.size());
    chain.restore(memory.bytes());
    examples::pair_table::check(memory.bytes(), shape);
  }
}

}  // namespace

void check_file(const std::filesystem::path& path, const examples::pair_table_shape& shape,
                bool lazily) {
  auto chain = uffd::snapshot_chain::open(path);
  try {
    check(std::move(chain), shape, lazily);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

}  // namespace live_snapshot
