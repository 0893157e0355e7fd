// SPDX-License-Identifier: MIT
// What serves one other process's view of shared pages.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "pager/mapped_source.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/pager/page_sharing.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

struct page_sharing::state {
  // Offers the pages, and serves who takes them. Throws std::system_error.
  state(unique_fd connected, detail::mapped_source& what, const sharing_options& options);
  state(const state&) = delete;
  state& operator=(const state&) = delete;
  ~state();

  void reserve(std::size_t bytes);
  resolution answer(detail::paged_region& region, fault& raised) const noexcept;

  detail::process_mark home = detail::process_mark::here();
  std::shared_ptr<detail::pager_threads> by;
  std::size_t buffers = 0;  // bytes
  unique_fd socket;
  std::optional<fault_handler> handler;
};

}  // namespace uffd
