// SPDX-License-Identifier: MIT
// What serves the memory of a lane for one life: a handler with threads, a loop, or the threads
// that fault.
#pragma once

#include <cstddef>
#include <memory>
#include <shared_mutex>
#include <system_error>

#include "pager.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/handle.hpp"
#include "uffd/served_region.hpp"

namespace uffd::chaos {

enum class server_kind { handler, loop, in_thread };

struct server_options {
  server_kind kind = server_kind::handler;
  unsigned threads = 1;
  bool hears_events = false;
  bool follows_forks = false;
  bool tracks_removals = false;
  stop_policy on_stop = stop_policy::inaccessible;
  flags<feature> features;  // where they can be had
};

// For one thread, that of the lane.
class server {
 public:
  virtual ~server() = default;

  virtual served_region serve(page_range range, const serve_options& options) = 0;
  virtual void end(served_region region) = 0;
  // False where there is nothing to be registered past it.
  virtual bool serve_registered(const region_info& /*registered*/) { return false; }
  // A successor takes over, if this kind can; false if not.
  virtual bool hand_over() { return false; }
  // Ends it, and tells of the first error of a callback.
  virtual std::error_code stop() = 0;

  virtual const handle& on() const = 0;
  virtual std::size_t children() const { return 0; }
};

// Throws std::system_error.
std::unique_ptr<server> make_server(pager& by, const server_options& options);

const char* name_of(server_kind kind) noexcept;

// While a handler's work is handed over nobody reads: fork() would wait for that with the locks of
// the allocator, which the successor needs. Shared by those who fork.
std::shared_mutex& forks_and_successions();

}  // namespace uffd::chaos
