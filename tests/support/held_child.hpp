// SPDX-License-Identifier: MIT
// A forked child that does something only when it is told to.
#pragma once

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "support/forked.hpp"
#include "uffd/error.hpp"

namespace uffd::test {

//   held_child child([&] { return read_byte(served.at(0)) == std::byte{1} ? 0 : 1; });
//   ...  child.let_go();  EXPECT_EQ(child.process().wait(), exits_with(0));
class held_child {
 public:
  template <class Body>
  explicit held_child(Body body)
      : process_([this, body = std::move(body)]() mutable {
          ::close(pipe_[1]);
          char told = 0;
          while (::read(pipe_[0], &told, 1) < 0 && errno == EINTR) {
          }
          return body();
        }) {}
  held_child(const held_child&) = delete;
  held_child& operator=(const held_child&) = delete;
  ~held_child() {
    for (const int end : pipe_) ::close(end);
  }

  void let_go() const {
    if (::write(pipe_[1], "!", 1) != 1) uffd::detail::throw_errno(errno, "telling a child");
  }
  forked& process() { return process_; }

 private:
  static std::array<int, 2> open_pipe() {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) uffd::detail::throw_errno(errno, "pipe");
    return ends;
  }

  std::array<int, 2> pipe_ = open_pipe();
  forked process_;
};

}  // namespace uffd::test
