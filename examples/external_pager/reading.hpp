// SPDX-License-Identifier: MIT
// The program whose memory others serve.
#pragma once

#include <uffd/uffd.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>

#include "content.hpp"

namespace external_pager {

// Memory that holds a file, page by page, as soon as a pager fills it in.
class memory_of_file {
 public:
  // Pagers are awaited on `socket`, each for so long; after that, touching what is missing ends the
  // program with a message. Throws what goes wrong.
  memory_of_file(const std::string& file, const std::string& socket,
                 std::chrono::milliseconds limit);

  std::size_t pages() const noexcept { return memory_.bytes().size() / uffd::page_size(); }
  std::size_t pagers() const noexcept { return keeper_.pagers(); }
  // How many pages were read so far, by whatever thread.
  std::size_t pages_read() const noexcept { return pages_read_.load(); }

  // Touches every page and compares it with the file. Throws std::runtime_error that names the
  // first one that differs.
  void compare_all();
  // Forgets every page: the next touch waits for a pager again.
  void drop_all();

 private:
  content source_;
  uffd::mapping memory_;
  uffd::handle_keeper keeper_;
  std::atomic<std::size_t> pages_read_{0};
};

}  // namespace external_pager
