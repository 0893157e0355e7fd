// SPDX-License-Identifier: MIT
#include "reading.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "support/unix_socket.hpp"

namespace external_pager {
namespace {

// Without a pager the memory is closed: whoever touches what is missing is sent here.
void end_on_sigbus() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    constexpr std::string_view text = "external_pager: no pager came in time\n";
    const bool told = ::write(STDERR_FILENO, text.data(), text.size()) > 0;
    // Not by _exit(), at which a sanitizer misses the keeper's thread.
    ::syscall(SYS_exit_group, told ? 1 : 2);
  };
  ::sigaction(SIGBUS, &action, nullptr);
}

uffd::mapping make_memory(std::size_t size) {
  auto memory = uffd::mapping::anonymous(size);
  memory.keep_from_children();  // forks are not followed: a child would find zeroes
  return memory;
}

uffd::handed_over registered(const uffd::mapping& memory) {
  auto on = uffd::handle::open();
  uffd::region_info info;
  info.range = memory.range();
  info.page_size = memory.page_size();
  info.modes = uffd::register_mode::missing;
  info.ioctls = on.register_range(info.range, info.modes);
  return uffd::handed_over(std::move(on), {info});
}

}  // namespace

memory_of_file::memory_of_file(const std::string& file, const std::string& socket,
                               std::chrono::milliseconds limit)
    : source_(file),
      memory_(make_memory(source_.size())),
      keeper_(registered(memory_), examples::listen_on(socket), {.pager_within = limit}) {
  end_on_sigbus();
}

void memory_of_file::compare_all() {
  const auto size = uffd::page_size();
  std::vector<std::byte> expected(size);
  for (std::size_t offset = 0; offset < memory_.bytes().size(); offset += size) {
    if (const auto error = source_.read(offset, expected)) throw std::system_error(error);
    const auto page = memory_.bytes().subspan(offset, size);
    if (std::memcmp(page.data(), expected.data(), size) != 0)
      throw std::runtime_error("page " + std::to_string(offset / size) + " is not as in the file");
    pages_read_.fetch_add(1);
  }
}

void memory_of_file::drop_all() {
  if (::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_DONTNEED) != 0)
    throw std::system_error(errno, std::system_category(), "MADV_DONTNEED");
}

}  // namespace external_pager
