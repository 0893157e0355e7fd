// SPDX-License-Identifier: MIT
// Memory of any kind, served by callbacks.
#pragma once

#include <cstddef>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd::test {

// A callback's answer: the page filled with `value`.
inline resolution fill(fault& raised, int value) noexcept {
  const auto buffer = raised.buffer();
  std::memset(buffer.data(), value, buffer.size());
  return raised.copy(buffer);
}

// What fill_by_offset shows in a page, counted from 0: never 0.
inline int byte_of(std::size_t page) { return static_cast<int>(page % 251) + 1; }

// A handler object: each page filled with byte_of() its number in the served range.
struct fill_by_offset {
  resolution operator()(fault& raised) const noexcept {
    return fill(raised, byte_of(raised.offset() / raised.page().size()));
  }
};

inline fault_handler_options one_thread() {
  fault_handler_options options;
  options.threads = 1;
  return options;
}

// Pages of a kind, all served by one handler of its own, whatever its type.
template <class Handler>
class served_by {
 public:
  const test::memory& memory() const { return memory_; }
  std::uintptr_t at(std::size_t page) const { return memory_.at(page); }
  Handler& handler() { return handler_; }
  served_region& region() { return region_; }
  void end_region() { region_ = {}; }

 protected:
  template <class... Arguments>
  served_by(memory_kind kind, std::size_t pages, flags<register_mode> modes,
            Arguments&&... of_handler)
      : memory_(kind, pages),
        handler_(std::forward<Arguments>(of_handler)...),
        region_(handler_.serve(memory_.range(), described(memory_, modes))) {}

 private:
  static serve_options described(const test::memory& memory, flags<register_mode> modes) {
    serve_options options;
    options.modes = modes;
    options.page_size = memory.page_size();
    return options;
  }

  test::memory memory_;
  Handler handler_;
  served_region region_;
};

// Pages of a kind, all served by one handler object.
class serving : public served_by<fault_handler> {
 public:
  template <class H>
  serving(memory_kind kind, std::size_t pages, H&& callbacks,
          flags<register_mode> modes = register_mode::missing,
          fault_handler_options options = one_thread())
      : served_by(kind, pages, modes, std::forward<H>(callbacks),
                  adapted(std::move(options), kind, modes)) {}
  // One thread, anonymous memory.
  template <class H>
  explicit serving(std::size_t pages, H&& callbacks)
      : serving(memory_kind::anonymous, pages, std::forward<H>(callbacks)) {}

 private:
  static fault_handler_options adapted(fault_handler_options options, memory_kind kind,
                                       flags<register_mode> modes) {
    options.open.required |= features_of(kind, modes);
    return options;
  }
};

// The error that a handler's join() rethrows after a stop; none if it rethrows nothing.
inline std::error_code error_after_stop(fault_handler& handler) {
  handler.request_stop();
  try {
    handler.join();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}

}  // namespace uffd::test
