// SPDX-License-Identifier: MIT
#include "paged_lane.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "uffd/pager/file_source.hpp"
#include "uffd/pager/memory_source.hpp"

namespace uffd::chaos {
namespace {

// What write_policy::keep keeps can't be evicted: not so many pages that no room is left.
constexpr std::size_t most_kept_pages = 16;

std::size_t bytes_for(const paged_lane_options& options) {
  choices chosen(mixed(options.seed, options.number));
  return chosen.between(64, 512) * page_size() + chosen.below(page_size());
}

std::string name_for(const paged_lane_options& options) {
  constexpr std::array<const char*, 3> names{"none", "keep", "write_back"};
  return names[static_cast<std::size_t>(options.writes)] +
         std::string(options.on_disk ? ", on disk" : "");
}

constexpr std::array<const char*, 3> kinds{"own threads", "in thread", "shared handler"};

}  // namespace

paged_lane::paged_lane(const paged_lane_options& options, const memory_budget& budget,
                       paged_tally& tally)
    : options_(options),
      budget_(budget),
      tally_(tally),
      name_(name_for(options)),
      store_(bytes_for(options), options.on_disk, mixed(options.seed, options.number, 1)),
      model_(store_.size()),
      unwritten_(store_.content()) {
  for (auto& each : where_) {
    each.program = "pager_load";
    each.seed = options.seed;
    each.lane = options.number;
    each.memory = name_.c_str();
    each.server.store(kinds[static_cast<std::size_t>(options.kind)]);
  }
  for (std::size_t each = 1; each < where_.size(); ++each) where_[each].is_over.store(true);
}

void paged_lane::run(const test::any_pager& shared, const std::atomic<bool>& is_over) {
  auto& where = where_[0];
  while (!is_over) {
    const auto life = where.life.fetch_add(1);
    live(shared, choices(mixed(options_.seed, options_.number, life, 2)), is_over);
    tally_.lives.fetch_add(1);
  }
  where.is_over.store(true);
}

void paged_lane::live(const test::any_pager& shared, choices chosen,
                      const std::atomic<bool>& is_over) {
  where_[0].doing("maps");
  std::optional<test::any_pager> own;
  if (options_.has_own_pagers && chosen.one_in(4)) {
    pager_options how;
    how.budget = budget_;
    how.threads = 1;
    own.emplace(options_.kind, how);
  }
  std::optional<paged_memory> memory(map(own ? *own : shared, chosen));
  // What serves the mapping may be left to it alone.
  if (options_.kind != test::pager_kind::shared_handler && chosen.one_in(2)) own.reset();
  work(*memory, chosen, is_over);
  end(memory, chosen);
}

paged_memory paged_lane::map(const test::any_pager& by, choices& chosen) {
  map_options options;
  options.writes = options_.writes;
  options.unit = chosen.one_in(2) ? 0 : page_size() << chosen.below(6);
  options.expected = chosen.one_in(3) ? access_pattern::random : access_pattern::automatic;
  options.deadline = options_.deadline;
  if (options_.writes != write_policy::none || chosen.one_in(2))
    return by->map(moody_source(store_), options);
  if (chosen.one_in(2)) return by->map(memory_source(std::span(unwritten_)), options);
  return by->map(file_source(unique_fd(::fcntl(store_.fd(), F_DUPFD_CLOEXEC, 0))), options);
}

void paged_lane::work(const paged_memory& memory, choices& chosen,
                      const std::atomic<bool>& is_over) {
  where_[0].doing("has workers");
  paged_setting setting{&memory, &model_, &store_, options_.writes, model_.pages(), &tally_};
  if (options_.writes == write_policy::keep)
    setting.writable_pages = std::min(model_.pages(), most_kept_pages);
  std::atomic<bool> are_over{false};
  std::vector<std::thread> threads;
  for (std::size_t each = 0; each < paged_workers; ++each) {
    auto& where = where_[1 + each];
    where.life.store(where_[0].life.load());
    where.is_over.store(false);
    threads.emplace_back([&, each, seed = chosen.next()] {
      paged_worker(setting, each, seed, where).run(are_over);
      where.is_over.store(true);
    });
  }
  for (auto left = chosen.between(20, 600); left != 0 && !is_over; --left) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    where_[0].beats.fetch_add(1);
  }
  are_over.store(true);
  where_[0].doing("waits for its workers");
  for (auto& each : threads) each.join();
}

// Writes back by itself what flush() has not.
void paged_lane::end(std::optional<paged_memory>& memory, choices& chosen) {
  const auto done = memory->statistics();
  tally_.faults.fetch_add(done.faults);
  tally_.evictions.fetch_add(done.pages_evicted);
  tally_.pages_written.fetch_add(done.pages_written);
  store_.calm_down(true);
  if (chosen.one_in(2)) {
    where_[0].doing("flushes at the end");
    // It may tell of an error in the background that came before, and then of one that was under
    // way in the evictor's thread.
    if (memory->flush() && memory->flush() && memory->flush()) {
      say("pager_load: a flush() fails though its source doesn't\n");
      end_wrong(where_[0]);
    }
  }
  where_[0].doing("ends its memory");
  memory.reset();
  where_[0].doing("checks its source");
  if (options_.writes != write_policy::write_back) model_.forget_increments();
  check_source();
  store_.calm_down(false);
}

void paged_lane::check_source() {
  auto expected = unwritten_;
  for (std::size_t page = 0; page < model_.pages(); ++page)
    for (std::size_t word = 0; word < std::min(paged_workers, model_.words_in(page)); ++word) {
      const auto count = model_.least(page, word);
      std::memcpy(&expected[paged_model::offset_of(page, word)], &count, sizeof count);
    }
  const auto found = store_.content();
  const auto at = std::mismatch(found.begin(), found.end(), expected.begin()).first;
  if (at == found.end()) return;
  const auto offset = static_cast<std::size_t>(at - found.begin());
  say("pager_load: after the end the source is wrong at page %zu, offset %zu\n",
      offset / page_size(), offset % page_size());
  end_wrong(where_[0]);
}

}  // namespace uffd::chaos
