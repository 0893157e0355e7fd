// SPDX-License-Identifier: MIT
// The process that keeps a file's pages for all who read them.
#pragma once

#include <uffd/uffd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace shared_cache {

class cache {
 public:
  // Keeps at most so many bytes. Throws std::system_error.
  cache(const std::string& file, std::uint64_t budget);

  // Shows the pages to whoever connects to `listener`, until `stop` is readable; both are
  // descriptors. Throws std::system_error.
  void serve(int listener, int stop);

  // Any thread may ask.
  uffd::paged_memory_statistics statistics() const { return memory_.statistics(); }

 private:
  void welcome(int listener);

  uffd::pager pager_;
  uffd::paged_memory memory_;
  std::vector<uffd::page_sharing> readers_;
};

}  // namespace shared_cache
