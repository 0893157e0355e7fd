// SPDX-License-Identifier: MIT
#include "touchers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "support/sight.hpp"
#include "uffd/error.hpp"

namespace uffd::chaos {
namespace {

// Interrupts nothing but the wait for a page, which is raised anew.
void ignore_interruptions() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR2, &action, nullptr);
}

}  // namespace

touchers::touchers(progress& of_lane, const area& memory, const pager& by, const options& how)
    : lane_(of_lane),
      memory_(memory),
      by_(by),
      how_(how),
      all_(how.count),
      start_(static_cast<std::ptrdiff_t>(how.count) + 1),
      end_(static_cast<std::ptrdiff_t>(how.count) + 1) {
  ignore_interruptions();
  for (std::size_t number = 0; number < how.count; ++number) {
    all_[number].wrote.resize(memory.size());
    if (::pipe2(all_[number].pipe, O_CLOEXEC) != 0) uffd::detail::throw_errno(errno, "pipe2");
  }
  for (std::size_t number = 0; number < how.count; ++number)
    threads_.emplace_back([this, number] { run(number); });
  finish();
}

touchers::~touchers() {
  are_over_ = true;
  start_.arrive_and_wait();
  for (auto& thread : threads_) thread.join();
  for (const auto& each : all_)
    for (const int end : each.pipe) ::close(end);
}

void touchers::begin(std::uint64_t step, std::span<const permission> permissions) {
  step_ = step;
  permissions_ = permissions;
  start_.arrive_and_wait();
}

void touchers::finish() { end_.arrive_and_wait(); }

void touchers::interrupt() const {
  for (const auto& each : all_) ::tgkill(::getpid(), each.thread_id.load(), SIGUSR2);
}

void touchers::run(std::size_t number) {
  all_[number].thread_id = ::gettid();
  end_.arrive_and_wait();
  while (true) {
    start_.arrive_and_wait();
    if (are_over_) return;
    choices chosen(mixed(how_.salt, step_, number));
    std::fill(all_[number].wrote.begin(), all_[number].wrote.end(), 0);
    for (auto left = chosen.between(4, 4 + 2 * memory_.size()); left != 0; --left)
      touch(number, chosen);
    end_.arrive_and_wait();
  }
}

void touchers::touch(std::size_t number, choices& chosen) {
  const auto index = chosen.below(memory_.size());
  const bool writes = chosen.one_in(2);
  const bool by_system_call = chosen.one_in(8) && how_.system_calls;
  const auto& allowed = permissions_[index];
  if (writes && allowed.may_write) return write(number, index, by_system_call);
  if (!allowed.may_read) return;
  if (!by_system_call) return read(chosen, index);
  const auto word = chosen.between(most_touchers, words - 1);
  std::uint64_t seen = 0;
  if (read_by_system_call(all_[number], memory_.at(index) + word * (memory_.page_size() / words),
                          seen))
    check_word(index, word, seen);
  else if (!allowed.page.may_signal)
    end_wrong_at(index, "a system call could not read it", 0);
}

void touchers::read(choices& chosen, std::size_t index) {
  const auto word = chosen.between(most_touchers, words - 1);
  std::uint64_t seen = 0;
  const auto access = test::detail::attempt([&] {
    seen = read_word(memory_.at(index) + word * (memory_.page_size() / words));
    return 0;
  });
  if (access.signal == 0)
    check_word(index, word, seen);
  else if (!permissions_[index].page.may_signal)
    end_wrong_at(index, access.signal == SIGBUS ? "SIGBUS" : "SIGSEGV", 0);
}

void touchers::write(std::size_t number, std::size_t index, bool by_system_call) {
  auto& by = all_[number];
  const auto address = memory_.at(index) + number * (memory_.page_size() / words);
  const auto count = by.count.fetch_add(1) + 1;
  const auto value = written_word(permissions_[index].page.whose, number, count);
  bool is_written = true;
  if (by_system_call) {
    is_written = write_by_system_call(by, address, value);
  } else {
    is_written = test::detail::attempt([&] {
                   write_word(address, value);
                   return 0;
                 }).signal == 0;
  }
  if (is_written)
    by.wrote[index] = count;
  else if (!permissions_[index].page.may_signal)
    end_wrong_at(index, "a write was refused", value);
}

// The kernel reads it, from the memory into a pipe.
bool touchers::read_by_system_call(const toucher& by, std::uintptr_t address,
                                   std::uint64_t& value) const {
  if (::write(by.pipe[1], reinterpret_cast<const void*>(address), sizeof value) !=
      static_cast<ssize_t>(sizeof value))
    return false;
  return ::read(by.pipe[0], &value, sizeof value) == static_cast<ssize_t>(sizeof value);
}

bool touchers::write_by_system_call(const toucher& by, std::uintptr_t address,
                                    std::uint64_t value) const {
  if (::write(by.pipe[1], &value, sizeof value) != static_cast<ssize_t>(sizeof value)) return false;
  if (::read(by.pipe[0], reinterpret_cast<void*>(address), sizeof value) ==
      static_cast<ssize_t>(sizeof value))
    return true;
  // What could not be delivered is in the pipe still.
  std::uint64_t left = 0;
  if (::read(by.pipe[0], &left, sizeof left) != static_cast<ssize_t>(sizeof left)) end_wrong(lane_);
  return false;
}

void touchers::check_word(std::size_t index, std::size_t word, std::uint64_t seen) const {
  auto page = permissions_[index].page;
  page.most = by_.generation();
  if (seen == 0 && page.may_be_zero) return;
  const auto generation = count_of(seen);
  if (seen != served_word(page.whose, word, generation) || !page.may_be_of(generation))
    end_wrong_at(index, "a wrong word", seen);
}

void touchers::end_wrong_at(std::size_t index, const char* what, std::uint64_t seen) const {
  const auto& page = permissions_[index].page;
  say("chaos: place %zu (%#zx; page %zu of tag %#llx), touched: %s, %#llx; kept %d %u, new %d %u "
      "to "
      "%u\n",
      index, static_cast<std::size_t>(memory_.at(index)), page.whose.page,
      static_cast<unsigned long long>(page.whose.tag), what, static_cast<unsigned long long>(seen),
      page.may_be_kept, page.kept, page.may_be_new, page.least, by_.generation());
  end_wrong(lane_);
}

}  // namespace uffd::chaos
