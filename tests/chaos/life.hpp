// SPDX-License-Identifier: MIT
// One life of a lane: memory, what serves it, who touches it, and what is done to it step by step.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "area.hpp"
#include "choices.hpp"
#include "operation.hpp"
#include "pager.hpp"
#include "progress.hpp"
#include "server.hpp"
#include "touchers.hpp"
#include "uffd/region.hpp"

namespace uffd::chaos {

// What is decided before a life begins.
struct life_plan {
  test::memory_kind memory = test::memory_kind::anonymous;
  std::size_t places = 0;
  std::size_t steps = 0;
  flags<register_mode> modes = register_mode::missing;
  manners pager;
  server_options server;
  std::size_t touchers = 1;
  bool in_few_pieces = false;
};

// What a lane has learnt of its kernel in former lives.
struct experience {
  std::optional<bool> can_move, can_move_and_keep;
};

class life {
 public:
  // Throws std::system_error where the kernel refuses a set-up.
  life(progress& lane, const life_plan& plan, experience& learnt, std::uint64_t seed);
  life(const life&) = delete;
  life& operator=(const life&) = delete;
  ~life();

  void run(const std::atomic<bool>& is_over);

 private:
  struct record {
    std::uint64_t tag = 0;
    bool leaves_zero = false;
    served_region region;  // of ranges that can be ended
    bool can_end = false;
  };

  void step(bool is_last);
  // life.cpp: what is allowed in this step, and the check at its end.
  void permit(choices& chosen, const std::vector<operation>& operations);
  permission permission_of(choices& chosen, std::size_t index) const;
  void permit_despite(const operation& done);
  void permit_move(const operation& done);
  expectation expected(std::size_t index) const;
  void check(choices& chosen);
  void check_place(std::size_t index);
  void confirm_protection();
  [[noreturn]] void end_wrong_at(std::size_t index, const expectation& page, const finding& found,
                                 const char* who) const;

  // choosing.cpp
  std::vector<operation> choose(choices& chosen, bool is_last) const;
  operation choose_content(choices& chosen) const;
  operation choose_layout(choices& chosen) const;
  std::optional<row> some_run(choices& chosen, place::use used_for, std::size_t most) const;

  // operations.cpp
  void perform(const operation& what);
  template <class Each>
  void for_each_served(row where, Each&& each);
  void drop(const operation& what);
  void drop_lazily(const operation& what);
  void drop_mappings(const operation& what);
  void protect(const operation& what);
  void unprotect(const operation& what);
  void move(const operation& what);
  void leave_gap(row where);
  void serve(const operation& what);
  void end(const operation& what);
  void stop(const operation& what);
  void mark_ended(std::uint64_t tag);
  bool advise(row where, int advice, const char* what);

  // forking.cpp
  void fork(const operation& what);
  int live_as_child(const operation& what);
  bool is_forgotten(std::size_t index) const;
  bool check_in_child(std::size_t index, bool is_dropped);
  expectation expected_in_child(std::size_t index, bool is_dropped, bool forgotten) const;
  void judge_child(int status, bool was_killed);

  record* find(std::uint64_t tag);
  bool leaves_zero(std::uint64_t tag) const;
  bool is_private() const;
  bool can(register_mode mode) const { return plan_.modes.has(mode); }

  progress& lane_;
  const life_plan plan_;
  experience& learnt_;
  const std::uint64_t seed_;
  std::uint64_t step_ = 0;
  std::uint64_t next_tag_;

  area memory_;
  pager pager_;
  std::unique_ptr<server> server_;
  std::vector<record> records_;
  std::vector<region> registered_;  // past the server
  std::optional<touchers> touchers_;
  bool is_stopped_ = false;
  bool can_tell_missing_ = false;
  // What fails is made inaccessible for good, each page a mapping of its own; a late failure takes
  // along what others have installed meanwhile, which POISON would leave.
  bool protects_refused_ = false;

  std::vector<permission> permissions_;
  std::vector<bool> was_dropped_;              // in this step
  std::vector<bool> was_protected_;            // "
  std::vector<std::uint32_t> written_before_;  // by each toucher, before this step
  // What a child found, shared with it.
  struct report {
    std::size_t place;
    finding found;
    expectation page;
    std::uint64_t forgotten;
  };
  report* report_ = nullptr;
};

}  // namespace uffd::chaos
