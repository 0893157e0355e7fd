// SPDX-License-Identifier: MIT
/// \file
/// Batches of events from a descriptor, in the order in which they must be handled.
#pragma once

#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <span>
#include <system_error>
#include <utility>

#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/message.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

class message_reader;

/// The events of one read(): first fork, remap, remove and unmap in their order, then page faults;
/// the kernel hands out faults first although they must be handled last. It owns the descriptors of
/// forked children until they are taken and closes the rest at its end (a child whose descriptor is
/// closed reads missing pages as zeroes). Valid until its reader reads again or ends. Move-only.
class message_batch {
 public:
  message_batch(message_batch&& other) noexcept
      : messages_(std::exchange(other.messages_, {})),
        features_(other.features_),
        number_(other.number_) {}
  message_batch& operator=(message_batch&&) = delete;
  ~message_batch() {
    for (const auto& raw : messages_)
      if (is_fork(raw)) unique_fd(static_cast<int>(raw.argument.fork.descriptor)).reset();
  }

  /// True if nothing was there to read.
  bool empty() const noexcept { return messages_.empty(); }
  /// How many events.
  std::size_t size() const noexcept { return messages_.size(); }
  /// The event at `index`.
  event operator[](std::size_t index) const noexcept { return decode(messages_[index], features_); }

  /// Why reading failed; no error if it gave events or would have had to wait. EBADMSG: a torn
  /// message, behind the whole ones if there are any; ENODATA: end of file (not a userfaultfd,
  /// which has none).
  std::error_code error() const noexcept { return {number_, std::system_category()}; }

  /// Makes the child's descriptor of a fork event of this batch a handle: foreign, with the same
  /// features. A moved-from handle if it was taken before. Allocates the handle's state.
  handle take(const fork_event& forked);

  /// Goes through the events, decoding each.
  class iterator {
   public:
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    iterator() noexcept = default;
    iterator(const message_batch* batch, std::size_t index) noexcept
        : batch_(batch), index_(index) {}
    event operator*() const noexcept { return (*batch_)[index_]; }
    iterator& operator++() noexcept {
      ++index_;
      return *this;
    }
    iterator operator++(int) noexcept { return {batch_, index_++}; }
    friend bool operator==(const iterator&, const iterator&) noexcept = default;

   private:
    const message_batch* batch_ = nullptr;
    std::size_t index_ = 0;
  };
  iterator begin() const noexcept { return {this, 0}; }
  iterator end() const noexcept { return {this, size()}; }

 private:
  friend class message_reader;
  message_batch(std::span<uapi::message> messages, flags<feature> features, int number) noexcept
      : messages_(messages), features_(features), number_(number) {}

  static bool is_fork(const uapi::message& raw) noexcept {
    return raw.event == uapi::event::fork && raw.argument.fork.descriptor != taken;
  }
  static constexpr std::uint32_t taken = ~std::uint32_t{0};

  std::span<uapi::message> messages_;
  flags<feature> features_;
  int number_ = 0;
};

namespace detail {

// What one read() gave: whole messages, or a positive errno.
struct raw_batch {
  std::size_t count = 0;
  int number = 0;
};

// `result` is what read() answered, or a negative errno.
inline raw_batch batch_of(ssize_t result) noexcept {
  if (result > 0) [[likely]] {
    const auto bytes = static_cast<std::size_t>(result);
    return {bytes / sizeof(uapi::message), bytes % sizeof(uapi::message) == 0 ? 0 : EBADMSG};
  }
  if (result == 0) return {0, ENODATA};
  return {0, result == -EAGAIN ? 0 : static_cast<int>(-result)};
}

inline raw_batch read_messages(int descriptor, std::span<uapi::message> into) noexcept {
  return batch_of(call_read(descriptor, into.data(), into.size_bytes()));
}

// Brings events before faults and keeps the order within both. In place: a batch is small.
inline void events_first(std::span<uapi::message> messages) noexcept {
  std::size_t events = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].event == uapi::event::page_fault) continue;
    const auto event = messages[i];
    for (std::size_t j = i; j > events; --j) messages[j] = messages[j - 1];
    messages[events++] = event;
  }
}

}  // namespace detail

/// Reads batches into a buffer of its own: no allocation. For one thread at a time; several readers
/// may share a descriptor, each event then goes to one of them. Borrows the descriptor, which may
/// be anything that can be read, so that a pipe can stand in for the kernel.
class message_reader {
 public:
  /// Most messages in one batch.
  static constexpr std::size_t capacity = 16;

  /// Reads the handle's messages.
  explicit message_reader(const handle& from) noexcept
      : message_reader(from.fd(), from.features()) {}
  /// Reads any descriptor as if `negotiated` had been negotiated on it.
  message_reader(int descriptor, flags<feature> negotiated) noexcept
      : descriptor_(descriptor), features_(negotiated) {}
  message_reader(const message_reader&) = delete;
  message_reader& operator=(const message_reader&) = delete;

  /// One read(): what is there now, empty if it would have to wait. End the last batch before.
  [[nodiscard]] message_batch read() noexcept {
    const auto result = detail::read_messages(descriptor_, buffer_);
    const auto messages = std::span(buffer_).first(result.count);
    detail::events_first(messages);
    return {messages, features_, result.number};
  }

 private:
  int descriptor_;
  flags<feature> features_;
  std::array<uapi::message, capacity> buffer_{};
};

inline handle message_batch::take(const fork_event& forked) {
  for (auto& raw : messages_) {
    if (!is_fork(raw) || static_cast<int>(raw.argument.fork.descriptor) != forked.descriptor)
      continue;
    // Marked first: if that throws, the descriptor is closed by the way and not again at our end.
    raw.argument.fork.descriptor = taken;
    return detail::handle_access::child(unique_fd(forked.descriptor), features_);
  }
  return detail::handle_access::none();
}

}  // namespace uffd
