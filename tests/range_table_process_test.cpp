// SPDX-License-Identifier: MIT
// A table that follows the events of another process, beside what the kernel says of that process
// and beside a model of each page.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/range_table.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

enum class operation : int { unmap, map_over, move, move_and_keep_place, drop, free, end };

// What the child shall do to its own memory.
struct command {
  operation what = operation::end;
  std::uintptr_t at = 0;
  std::size_t size = 0;
  std::uintptr_t to = 0;
};

// Answers 0 or errno.
int carry_out(const command& order) {
  void* const at = reinterpret_cast<void*>(order.at);
  void* const to = reinterpret_cast<void*>(order.to);
  const int access = PROT_READ | PROT_WRITE;
  const int move = MREMAP_MAYMOVE | MREMAP_FIXED;
  const auto mapped = [](void* memory) { return memory == MAP_FAILED ? errno : 0; };
  const auto done = [](int result) { return result != 0 ? errno : 0; };
  switch (order.what) {
    case operation::unmap:
      return done(::munmap(at, order.size));
    case operation::map_over:
      return mapped(::mmap(at, order.size, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    case operation::move:
      return mapped(::mremap(at, order.size, order.size, move, to));
    case operation::move_and_keep_place:
      return mapped(::mremap(at, order.size, order.size, move | MREMAP_DONTUNMAP, to));
    case operation::drop:
      return done(::madvise(at, order.size, MADV_DONTNEED));
    case operation::free:
      return done(::madvise(at, order.size, MADV_FREE));
    case operation::end:
      break;
  }
  return 0;
}

class pipe_of {
 public:
  pipe_of() {
    if (::pipe(ends_.data()) != 0) detail::throw_errno(errno, "pipe");
  }
  pipe_of(const pipe_of&) = delete;
  pipe_of& operator=(const pipe_of&) = delete;
  ~pipe_of() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  template <class Value>
  bool send(const Value& value) const {
    return ::write(ends_[1], &value, sizeof value) == sizeof value;
  }
  template <class Value>
  bool receive(Value& value) const {
    return ::read(ends_[0], &value, sizeof value) == sizeof value;
  }
  int readable_end() const { return ends_[0]; }

 private:
  std::array<int, 2> ends_{};
};

enum class what_is_there { nothing, unregistered, registered };

// What a process has in each page of `arena`, by /proc/PID/smaps.
std::vector<what_is_there> look_at(pid_t process, page_range arena) {
  std::vector<what_is_there> result(arena.size() / page_size());
  std::ifstream maps("/proc/" + std::to_string(process) + "/smaps");
  page_range mapping;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first == "VmFlags:") {
      auto seen = what_is_there::unregistered;
      for (std::string flag; words >> flag;)
        if (flag == "um") seen = what_is_there::registered;
      const auto part = mapping.intersection(arena);
      for (auto at = part.begin(); at < part.end(); at += page_size())
        result[(at - arena.begin()) / page_size()] = seen;
    } else if (const auto dash = first.find('-'); dash != std::string::npos) {
      mapping = detail::range_between(std::stoull(first, nullptr, 16),
                                      std::stoull(first.substr(dash + 1), nullptr, 16));
    }
  }
  return result;
}

struct page_state {
  std::size_t offset = 0;
  bool removed = false;
  friend bool operator==(const page_state&, const page_state&) = default;
};
using model = std::map<std::uintptr_t, page_state>;  // by address; not there: not registered

// One page of a move. Since Linux 6.17 holes may be moved: what is at their target stays.
void move_page(model& pages, std::uintptr_t from, std::uintptr_t to, bool keeps_place) {
  pages.erase(to);
  const auto moved = pages.find(from);
  if (moved == pages.end()) return;
  pages[to] = moved->second;
  moved->second.removed = true;
  if (!keeps_place) pages.erase(moved);
}

template <class IsMapped>
void follow(model& pages, const command& order, IsMapped&& is_mapped) {
  const auto moves = [&] {
    return order.what == operation::move || order.what == operation::move_and_keep_place;
  };
  for (std::size_t offset = 0; offset < order.size; offset += page_size()) {
    const auto at = order.at + offset;
    if (order.what == operation::unmap || order.what == operation::map_over)
      pages.erase(at);
    else if (moves() && is_mapped(at))
      move_page(pages, at, order.to + offset, order.what == operation::move_and_keep_place);
    else if (const auto dropped = pages.find(at); !moves() && dropped != pages.end())
      dropped->second.removed = true;
  }
}

// A child whose memory is registered as its parent's was, and the table that follows it.
class followed_table {
 public:
  static constexpr std::size_t pages = 64;

  followed_table()
      : child_(parent_, [this] {
          command order;
          while (orders_.receive(order) && order.what != operation::end)
            answers_.send(carry_out(order));
        }) {
    table_.insert(registered(), this);
    for (std::size_t i = 0; i < pages / 2; ++i) model_[arena_.at(i)] = {i * page_size(), false};
    reader_.emplace([this] {
      while (!over_) read();
    });
  }
  followed_table(const followed_table&) = delete;
  followed_table& operator=(const followed_table&) = delete;
  ~followed_table() {
    over_ = true;
    reader_.reset();
  }

  // Lets the child do it and follows it; the child's errno.
  int operator()(const command& order) {
    int answer = EIO;
    const auto before = look();
    if (!orders_.send(order) || !test::readable(answers_.readable_end())) return ETIMEDOUT;
    static_cast<void>(answers_.receive(answer));
    // A drop answers ENOMEM where a part is not mapped, and drops the rest.
    const bool drops = order.what == operation::drop || order.what == operation::free;
    if (answer == 0 || (drops && answer == ENOMEM))
      follow(model_, order, [&](std::uintptr_t at) {
        return before[(at - arena_.begin()) / page_size()] != what_is_there::nothing;
      });
    else
      forget_what_is_gone();
    return answer;
  }

  page_range page(std::size_t index, std::size_t count = 1) const {
    return arena_.page(index, count);
  }

  // Where the table says something else than the kernel or the model; nothing if nowhere.
  std::string differences() {
    const std::lock_guard lock(mutex_);
    const auto real = look();
    std::string found;
    for (std::size_t i = 0; i < pages; ++i) {
      const auto at = arena_.at(i);
      const auto* piece = table_.find(at);
      const auto expected = model_.find(at);
      if ((piece != nullptr) != (real[i] == what_is_there::registered))
        found += "page " + std::to_string(i) + ": the kernel differs; ";
      if ((piece != nullptr) != (expected != model_.end()))
        found += "page " + std::to_string(i) + ": the model differs in where it is; ";
      else if (piece != nullptr && page_state{piece->offset + (at - piece->range.begin()),
                                              piece->removed} != expected->second)
        found += "page " + std::to_string(i) + ": the model differs in what it is; ";
    }
    return found;
  }

 private:
  // The first half of the arena; the other one is for moves.
  page_range registered() const { return arena_.page(0, pages / 2); }

  std::vector<what_is_there> look() { return look_at(child_.process().pid(), arena_.range()); }

  // A move that fails may have unmapped its target, or moved a part.
  void forget_what_is_gone() {
    const std::lock_guard lock(mutex_);
    const auto real = look();
    std::erase_if(model_, [&](const auto& page) {
      return real[(page.first - arena_.begin()) / page_size()] != what_is_there::registered;
    });
  }

  void read() {
    if (!test::readable(child_.on().fd(), std::chrono::milliseconds(20))) return;
    const std::lock_guard lock(mutex_);
    message_reader reader(child_.on());
    for (const auto& seen : reader.read()) {
      if (const auto* moved = std::get_if<remap_event>(&seen)) table_.apply(*moved, true);
      if (const auto* unmapped = std::get_if<unmap_event>(&seen)) table_.apply(*unmapped);
      if (const auto* removed = std::get_if<remove_event>(&seen)) table_.apply(*removed);
    }
  }

  const test::memory arena_{test::memory_kind::anonymous, pages};
  const handle parent_ = handle::open({.required = feature::event_fork | feature::event_remap |
                                                   feature::event_remove | feature::event_unmap});
  const region region_{parent_, registered()};
  pipe_of orders_;
  pipe_of answers_;
  test::followed_child child_;
  std::mutex mutex_;
  range_table table_;
  model model_;
  std::atomic<bool> over_{false};
  std::optional<test::background> reader_;
};

TEST(range_table_of_a_process, agrees_with_the_kernel_and_with_each_page_after_every_step) {
  UFFDPP_REQUIRE(test::fork_events());
  constexpr int steps = 40;  // reading smaps takes long, of a sanitized process above all
  for (unsigned seed = 0; seed < 4; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t limit) {
      return static_cast<std::size_t>(random()) % limit;
    };
    followed_table followed;
    int carried_out = 0;
    for (int step = 0; step < steps; ++step) {
      const auto size = 1 + below(8);
      const auto from = followed.page(below(followed_table::pages - size + 1), size);
      const auto to = followed.page(below(followed_table::pages - size + 1), size);
      // What is unmapped stays so unless something comes there: rarely, then.
      const auto what = below(12) == 0 ? below(2) : 2 + below(4);
      const command order{static_cast<operation>(what), from.begin(), from.size(), to.begin()};
      const auto answer = followed(order);
      ASSERT_NE(answer, ETIMEDOUT) << "seed " << seed << ", step " << step;
      carried_out += answer == 0;
      ASSERT_EQ(followed.differences(), "")
          << "seed " << seed << ", step " << step << ", operation " << what << " of "
          << to_string(from) << " to " << to_string(to) << " in "
          << to_string(followed.page(0, followed_table::pages)) << ", errno " << answer;
    }
    EXPECT_GT(carried_out, steps / 4) << "too little happened, seed " << seed;
  }
}

}  // namespace
}  // namespace uffd
