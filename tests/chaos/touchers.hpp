// SPDX-License-Identifier: MIT
// The threads that touch a lane's memory while its other thread does things to it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "area.hpp"
#include "expectation.hpp"
#include "pager.hpp"
#include "progress.hpp"

namespace uffd::chaos {

// What touchers may do to a place during a step, whatever happens to it meanwhile.
struct permission {
  bool may_read = false;
  bool may_write = false;
  expectation page;  // but for `most` and the writings
};

class touchers {
 public:
  struct options {
    std::size_t count = 2;
    std::uint64_t salt = 0;
    bool system_calls = false;  // are served, too
  };
  touchers(progress& of_lane, const area& memory, const pager& by, const options& how);
  touchers(const touchers&) = delete;
  touchers& operator=(const touchers&) = delete;
  ~touchers();

  // They begin; `permissions`, one for each place, stay until they have finished.
  void begin(std::uint64_t step, std::span<const permission> permissions);
  void finish();

  std::size_t count() const { return threads_.size(); }
  // The count last written to a place in this step; 0: none. Once they have finished.
  std::uint32_t wrote(std::size_t number, std::size_t index) const {
    return all_[number].wrote[index];
  }
  // No thread has written more than this.
  std::uint32_t most_written(std::size_t number) const { return all_[number].count.load(); }
  // Sends each a signal that does nothing.
  void interrupt() const;

 private:
  struct toucher {
    std::atomic<std::uint32_t> count{0};
    std::atomic<pid_t> thread_id{0};
    std::vector<std::uint32_t> wrote;
    int pipe[2] = {-1, -1};
  };

  void run(std::size_t number);
  void touch(std::size_t number, choices& chosen);
  void read(choices& chosen, std::size_t index);
  void write(std::size_t number, std::size_t index, bool by_system_call);
  bool read_by_system_call(const toucher& by, std::uintptr_t address, std::uint64_t& value) const;
  bool write_by_system_call(const toucher& by, std::uintptr_t address, std::uint64_t value) const;
  void check_word(std::size_t index, std::size_t word, std::uint64_t seen) const;
  [[noreturn]] void end_wrong_at(std::size_t index, const char* what, std::uint64_t seen) const;

  progress& lane_;
  const area& memory_;
  const pager& by_;
  const options how_;
  std::span<const permission> permissions_;
  std::uint64_t step_ = 0;
  bool are_over_ = false;
  std::vector<toucher> all_;
  std::barrier<> start_;
  std::barrier<> end_;
  std::vector<std::thread> threads_;
};

}  // namespace uffd::chaos
