// SPDX-License-Identifier: MIT
// Children that check what they inherited, and what they are served.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "life.hpp"
#include "support/page_flags.hpp"

namespace uffd::chaos {
namespace {

constexpr unsigned time_limit = UFFDPP_TEST_TIMEOUT / 3;  // seconds
// A word that no toucher of the parent writes to.
constexpr std::size_t word_of_child = most_touchers - 1;

// What its child may lack, in pages of so many bytes.
struct served_places {
  const std::uintptr_t* begin = nullptr;
  std::size_t count = 0;
  std::size_t bytes = 0;
};
thread_local served_places of_parent;

// Where a child has not inherited memory there would be room for others', a sanitizer's that starts
// a thread before fork() has returned: it would look like ours that reads as zeroes. The sanitizer
// holds its own locks here, so nothing may be instrumented.
[[gnu::no_sanitize_thread]] void reserve_what_is_absent() {
  constexpr long how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  for (std::size_t i = 0; i < of_parent.count; ++i)
    ::syscall(SYS_mmap, of_parent.begin[i], of_parent.bytes, long{PROT_NONE}, how, -1L, 0L);
}

std::vector<std::uintptr_t> served_places_of(const area& memory) {
  std::vector<std::uintptr_t> served;
  for (std::size_t index = 0; index < memory.size(); ++index)
    if (memory[index].used_for == place::use::served) served.push_back(memory.at(index));
  return served;
}

// Frees nothing: in a child somebody may have the allocator's lock for ever.
pid_t fork_with(const std::vector<std::uintptr_t>& served, std::size_t page_size) {
  static const int registered = ::pthread_atfork(nullptr, nullptr, reserve_what_is_absent);
  if (registered != 0) return -1;
  of_parent = {served.data(), served.size(), page_size};
  const pid_t child = ::fork();
  of_parent = {};
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

void life::fork(const operation& what) {
  choices chosen(what.chosen);
  const bool kills = chosen.one_in(4);
  const auto served = served_places_of(memory_);
  pid_t child = -1;
  {
    const std::shared_lock lock(forks_and_successions());
    child = fork_with(served, memory_.page_size());
    if (child == 0) ::_exit(live_as_child(what));
  }
  if (child < 0) return;  // EAGAIN: too many processes
  lane_.doing("waits for child");
  if (kills) {
    ::usleep(static_cast<useconds_t>(chosen.below(3000)));
    ::kill(child, SIGKILL);
  }
  judge_child(wait_for(child), kills);
  lane_.forgotten.fetch_add(std::exchange(report_->forgotten, 0));
}

void life::judge_child(int status, bool was_killed) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (was_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
  if (WIFEXITED(status)) end_wrong_at(report_->place, report_->page, report_->found, "child");
  say("chaos: a child was ended by signal %d%s\n", WTERMSIG(status),
      WTERMSIG(status) == SIGALRM ? ": it hung" : "");
  end_wrong(lane_);
}

// A page that was there, and is not in the child: see test::inherited(). Or the parent has taken
// the last free page to write, and the child's away.
bool life::is_forgotten(std::size_t index) const {
  const auto& at = memory_[index];
  return plan_.memory == test::memory_kind::huge && plan_.server.follows_forks && at.is_known &&
         at.is_mapped && !test::is_there(memory_.at(index));
}

// What it inherits may be in the middle of being written by touchers, which it lacks.
expectation life::expected_in_child(std::size_t index, bool is_dropped, bool forgotten) const {
  const auto& at = memory_[index];
  expectation page;
  page.whose = at.whose;
  page.may_be_kept = at.is_known && !is_dropped && !forgotten;
  page.kept = at.generation;
  page.may_be_new = !page.may_be_kept || at.may_vanish;
  page.least = is_dropped && plan_.server.hears_events ? pager_.generation() : at.least;
  // Its parent counts on, and writes on where memory is shared.
  constexpr auto for_ever = ~std::uint32_t{0};
  page.most = for_ever;
  page.some_are_refused = plan_.pager.some_are_refused;
  // Nobody has reserved huge pages for its copies.
  page.may_signal = at.may_be_poisoned || (page.some_are_refused && page.may_be_new) ||
                    plan_.memory == test::memory_kind::huge;
  for (std::size_t each = 0; each < plan_.touchers; ++each) {
    auto& writing = page.writings[each];
    writing.kept_least = at.written[each];
    writing.kept_most = writing.new_most = is_private() ? touchers_->most_written(each) : for_ever;
    writing.new_least = 1;
  }
  if (plan_.server.follows_forks) return page;
  // Not inherited.
  page.may_be_kept = page.may_be_new = false;
  page.may_signal = true;
  return page;
}

bool life::check_in_child(std::size_t index, bool is_dropped) {
  const bool forgotten = !is_dropped && is_forgotten(index);
  if (forgotten) ++report_->forgotten;
  const auto page = expected_in_child(index, is_dropped, forgotten);
  const auto found = check_page(memory_.at(index), memory_.page_size(), page);
  if (!found.is_right()) *report_ = {index, found, page, report_->forgotten};
  return found.is_right();
}

// Async-signal-safe functions only: another thread may have held any lock.
int life::live_as_child(const operation& what) {
  ::alarm(time_limit);
  choices chosen(what.chosen);
  for (std::size_t index = 0; index < memory_.size(); ++index) {
    if (memory_[index].used_for != place::use::served) continue;
    if (!chosen.one_in(4) && !check_in_child(index, false)) return EXIT_FAILURE;
  }
  if (!plan_.server.follows_forks || !is_private()) return EXIT_SUCCESS;
  for (std::size_t index = 0; index < memory_.size(); ++index) {
    if (memory_[index].used_for != place::use::served || !chosen.one_in(4)) continue;
    static_cast<void>(test::detail::attempt([&] {
      write_word(memory_.at(index) + word_of_child * (memory_.page_size() / words), 1);
      return 0;
    }));
    if (::madvise(reinterpret_cast<void*>(memory_.at(index)), memory_.page_size(), MADV_DONTNEED) ==
            0 &&
        !check_in_child(index, true))
      return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace uffd::chaos
