// SPDX-License-Identifier: MIT
#include "uffd/pager/memory_budget.hpp"

#include "pager/evictor.hpp"

namespace uffd {

memory_budget::memory_budget(std::size_t bytes)
    : evictor_(std::make_shared<detail::evictor>(bytes)) {}

std::size_t memory_budget::limit() const noexcept { return evictor_->limit(); }
void memory_budget::set_limit(std::size_t bytes) { evictor_->set_limit(bytes); }
std::size_t memory_budget::resident() const noexcept { return evictor_->resident(); }

}  // namespace uffd
