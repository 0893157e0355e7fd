// SPDX-License-Identifier: MIT
#include "uffd/pager/shared_pages.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>

#include "detail/connection.hpp"
#include "detail/deadline.hpp"
#include "detail/descriptor_passing.hpp"
#include "detail/thread.hpp"
#include "pager/sharing_message.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/handoff.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

constexpr const char* here = "shared_pages";

struct offered {
  detail::sharing_message what;
  unique_fd file;
};

offered receive_offer(int socket, const sharing_options& options) {
  const detail::connection from(socket, here, options.time_limit);
  std::array<std::byte, detail::sharing_message_size> bytes{};
  detail::received_descriptors with;
  if (from.is_stream()) {
    detail::receive_all(from, bytes, with);
  } else if (const auto got = detail::receive_some(from, bytes, with);
             got.is_cut_off || got.count != bytes.size()) {
    from.fail(EBADMSG, "the packet has another size");
  }
  offered all;
  if (!decode(bytes, all.what)) from.fail(EBADMSG, "what came shows no pages of this system");
  all.file = with.the_only_one(from);
  struct stat file {};
  if (::fstat(all.file.get(), &file) != 0 || file.st_size < 0 ||
      static_cast<std::uint64_t>(file.st_size) < all.what.size)
    from.fail(EBADMSG, "the pages' file is too small");
  return all;
}

// A view of the pages, which is private so that a file that is open to be read will do. It can't be
// read before it is served: nor does mlockall(2) fill it.
class view {
 public:
  view(int file, std::size_t bytes)
      : memory_(::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, file, 0)),
        size_(bytes) {
    if (memory_ == MAP_FAILED) detail::throw_errno(errno, "shared_pages: mmap");
    ::madvise(memory_, bytes, MADV_DONTFORK);
    ::munlock(memory_, bytes);
  }
  view(const view&) = delete;
  view& operator=(const view&) = delete;
  ~view() {
    if (!home_.in_child()) ::munmap(memory_, size_);
  }

  page_range range() const noexcept { return {reinterpret_cast<std::uintptr_t>(memory_), size_}; }
  const std::byte* data() const noexcept { return static_cast<const std::byte*>(memory_); }
  void allow() const {
    if (::mprotect(memory_, size_, PROT_READ) != 0)
      detail::throw_errno(errno, "shared_pages: mprotect");
  }
  void forbid() const noexcept {
    if (::mprotect(memory_, size_, PROT_NONE) != 0)
      detail::end_process("pages that are not served any more can't be protected");
  }

 private:
  detail::process_mark home_ = detail::process_mark::here();
  void* memory_;
  std::size_t size_;
};

open_options opened() {
  open_options options;
  options.required = feature::minor_shmem;
  options.optional = feature::missing_shmem | feature::poison;
  return options;
}

}  // namespace

struct shared_pages::state {
  state(unique_fd connected, const sharing_options& options)
      : socket(std::move(connected)), stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!stop) detail::throw_errno(errno, "shared_pages: eventfd");
    const auto offer = receive_offer(socket.get(), options);
    size = static_cast<std::size_t>(offer.what.size);
    seen.emplace(offer.file.get(), align_up(size, page_size()));
    registered.emplace(on, seen->range(), register_mode::missing | register_mode::minor);
    seen->allow();
    handoff::send(socket.get(), on, {&registered->info(), 1}, {.time_limit = options.time_limit});
    thread.emplace("uffd-shared", std::nullopt, [this] { run(); });
  }
  state(const state&) = delete;
  state& operator=(const state&) = delete;
  ~state() {
    if (!thread || home.in_child()) return;
    detail::signal_eventfd(stop.get());
    thread->join();
    if (!is_over) close();
    // A child may have it, too.
    ::shutdown(socket.get(), SHUT_RDWR);
  }

  void run() noexcept {
    std::array<pollfd, 2> either{{{stop.get(), POLLIN, 0}, {socket.get(), POLLRDHUP, 0}}};
    detail::deadline::never().wait(either);
    if (either[0].revents != 0) return;
    close();
    is_over.store(true, std::memory_order_release);
  }

  // All of it, before those who wait go on: what is there may be dropped from the file at any time.
  void close() noexcept {
    seen->forbid();
    registered->complete();
    registered.reset();
  }

  detail::process_mark home = detail::process_mark::here();
  unique_fd socket;
  const unique_fd stop;
  std::size_t size = 0;
  handle on = handle::open(opened());
  std::optional<view> seen;
  std::optional<region> registered;
  std::atomic<bool> is_over{false};
  std::optional<detail::thread> thread;
};

shared_pages::shared_pages(unique_fd socket, const sharing_options& options)
    : state_(std::make_unique<state>(std::move(socket), options)),
      bytes_(state_->seen->data(), state_->size) {}

shared_pages::shared_pages(shared_pages&& other) noexcept
    : state_(std::move(other.state_)), bytes_(std::exchange(other.bytes_, {})) {}

shared_pages& shared_pages::operator=(shared_pages&& other) noexcept {
  state_ = std::move(other.state_);
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

shared_pages::~shared_pages() = default;

bool shared_pages::is_over() const noexcept {
  return state_->is_over.load(std::memory_order_acquire);
}

}  // namespace uffd
