// SPDX-License-Identifier: MIT
// Who serves the faults: the library, or the hand-written loop.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "support/faulting_memory.hpp"
#include "uffd/handle.hpp"

namespace uffd::bench {

// Where the handlers run: one for each entry, any_cpu leaves it to the scheduler.
struct placement {
  std::vector<int> cpus;
  bool busy_polling = false;

  // What one of several handlers takes, the others can't serve meanwhile.
  std::size_t best_messages_per_read() const noexcept { return cpus.size() > 1 ? 1 : 16; }
};
placement one_unpinned();
placement one_on(int cpu);
placement one_per_cpu();

// Serves from its making to its end. Nobody may wait for a page when it ends.
class server {
 public:
  server() = default;
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  virtual ~server() = default;

  virtual const handle& on() const noexcept = 0;
};

// What the library negotiates.
enum class opened_by {
  bench,    // no events, as the hand-written loop
  library,  // what it asks for by itself: it follows forks where that is permitted
};

// No placement: the library's own. These throw std::system_error.
std::unique_ptr<server> serve_by_library(const faulting_memory& memory, const placement* where,
                                         opened_by who = opened_by::bench);
std::unique_ptr<server> serve_by_raw(const faulting_memory& memory, const placement& where,
                                     std::size_t messages_per_read);
// By copying, in the threads that fault. One hand-written one at a time.
std::unique_ptr<server> serve_in_thread_by_library(const faulting_memory& memory);
std::unique_ptr<server> serve_in_thread_by_raw(const faulting_memory& memory);

}  // namespace uffd::bench
