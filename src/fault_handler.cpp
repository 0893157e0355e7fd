// SPDX-License-Identifier: MIT
#include "uffd/fault_handler.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <stop_token>

#include "detail/engine.hpp"
#include "detail/standby.hpp"
#include "detail/thread.hpp"
#include "detail/worker.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace {

// Waking a thread on every CPU for each fault pays on few CPUs and is a herd on many.
constexpr std::size_t most_default_threads = 8;

std::vector<std::optional<int>> allowed_cpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<std::optional<int>> cpus;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < most_default_threads; ++cpu)
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) cpus.emplace_back(cpu);
  if (cpus.empty()) cpus.emplace_back(std::nullopt);
  return cpus;
}

// Where each thread runs; no value: wherever the scheduler likes.
std::vector<std::optional<int>> placement(const fault_handler_options& options) {
  if (!options.cpus.empty()) {
    if (options.threads != 0 && options.threads != options.cpus.size())
      detail::throw_errno(EINVAL, "fault_handler: as many threads as cpus, or 0");
    return {options.cpus.begin(), options.cpus.end()};
  }
  if (options.threads != 0) return std::vector<std::optional<int>>(options.threads);
  return allowed_cpus();
}

}  // namespace

struct fault_handler::threads {
  threads(const handed_over& served, const detail::callbacks& client,
          const fault_handler_options& options)
      : policy(options.on_stop) {
    const auto places = placement(options);
    const bool needs_standby = detail::engine::has_events(served.on);
    engine = std::make_shared<detail::engine>(detail::handle_access::share(served.on), client,
                                              options, places.size() + (needs_standby ? 1 : 0));
    if (needs_standby) standby.emplace(*engine, places.size());
    for (std::size_t i = 0; i < places.size(); ++i)
      workers.push_back(std::make_unique<detail::worker>(*engine, i, options, places.size(),
                                                         standby ? &*standby : nullptr));
    engine->take_over(served);
    try {
      start(places);
    } catch (...) {
      // It may have taken something over.
      engine->request_stop(served.lent ? stop_policy::hand_over : stop_policy::inaccessible);
      join_all();
      abandon();
      throw;
    }
    stop.emplace(options.stop, stop_request{engine.get(), policy});
  }
  threads(const threads&) = delete;
  threads& operator=(const threads&) = delete;

  void start(const std::vector<std::optional<int>>& places) {
    running.reserve(places.size());
    // First: until workers run it reads alone.
    if (standby)
      standby_thread = std::make_unique<detail::thread>("uffd-standby", std::nullopt,
                                                        [this] { standby->run(); });
    auto worker = workers.begin();
    for (const auto& place : places)
      running.push_back(std::make_unique<detail::thread>(
          "uffd-handler", place, [each = (worker++)->get()] { each->run(); }));
  }

  // The standby last: what a worker does at its end may wait for an event.
  void join_all() {
    const std::lock_guard lock(joining);
    for (const auto& each : running) each->join();
    // Without a thread that could see the request, the ranges are closed here.
    engine->close_once();
    for (const auto& each : workers) each->finish();
    if (standby) standby->end();
    if (standby_thread) standby_thread->join();
    // What the standby read at last, no worker saw.
    for (const auto& each : workers) each->finish();
    engine->release_clients();
  }

  // What nobody asked for is closed by the end of it.
  void abandon() noexcept {
    if (engine->hands_over() && !has_successor.exchange(true))
      static_cast<void>(engine->hand_over());
  }

  bool called_from_callback() const {
    return std::any_of(workers.begin(), workers.end(),
                       [](const auto& each) { return each->is_current(); });
  }

  struct stop_request {
    detail::engine* engine;
    stop_policy policy;
    void operator()() const noexcept { engine->request_stop(policy); }
  };

  stop_policy policy;
  std::shared_ptr<detail::engine> engine;
  std::optional<detail::standby> standby;
  std::vector<std::unique_ptr<detail::worker>> workers;
  std::vector<std::unique_ptr<detail::thread>> running;  // the workers
  std::unique_ptr<detail::thread> standby_thread;
  std::mutex joining;
  std::atomic<bool> has_successor{false};
  std::optional<std::stop_callback<stop_request>> stop;
};

fault_handler::fault_handler(const detail::callbacks& client, const fault_handler_options& options)
    : fault_handler(detail::engine::open(client, options), client, options) {}

fault_handler::fault_handler(handle on, const detail::callbacks& client,
                             const fault_handler_options& options)
    : fault_handler(handed_over(std::move(on)), client, options) {}

// If it fails, the end of `served` closes what is registered.
fault_handler::fault_handler(handed_over served, const detail::callbacks& client,
                             const fault_handler_options& options)
    : threads_(std::make_unique<threads>(served, client, options)) {
  served.release();
}

fault_handler::fault_handler(fault_handler&& other) noexcept = default;

fault_handler& fault_handler::operator=(fault_handler&& other) noexcept {
  if (this != &other) {
    end();
    threads_ = std::move(other.threads_);
  }
  return *this;
}

fault_handler::~fault_handler() { end(); }

void fault_handler::end() noexcept {
  if (!threads_ || threads_->engine->in_child()) return;
  if (threads_->called_from_callback())
    detail::end_process("a fault_handler ended by one of its callbacks");
  threads_->engine->request_stop(threads_->policy);
  threads_->join_all();
  threads_->abandon();
}

served_region fault_handler::serve(page_range range, const serve_options& options) {
  auto& engine = *threads_->engine;
  return engine.serve(range, std::nullopt, engine.default_client(), options);
}

served_region fault_handler::serve(mapping memory, serve_options options) {
  auto& engine = *threads_->engine;
  options.page_size = memory.page_size();
  const auto range = memory.range();
  return engine.serve(range, std::move(memory), engine.default_client(), options);
}

served_region fault_handler::serve_by(page_range range, detail::callbacks client,
                                      const serve_options& options) {
  return threads_->engine->serve(range, std::nullopt, std::move(client), options);
}

void fault_handler::serve_registered(const region_info& registered) {
  threads_->engine->serve_registered(registered);
}

void fault_handler::request_stop() noexcept { threads_->engine->request_stop(threads_->policy); }

void fault_handler::join() {
  if (threads_->called_from_callback())
    detail::throw_errno(EDEADLK, "fault_handler::join from one of its callbacks");
  if (threads_->engine->in_child())
    detail::throw_errno(EOWNERDEAD, "fault_handler::join in a forked child");
  threads_->join_all();
  rethrow_error();
}

void fault_handler::rethrow_error() {
  if (const auto error = threads_->engine->take_error()) std::rethrow_exception(error);
}

handed_over fault_handler::hand_over() {
  if (threads_->called_from_callback())
    detail::throw_errno(EDEADLK, "fault_handler::hand_over from one of its callbacks");
  if (threads_->engine->in_child())
    detail::throw_errno(EOWNERDEAD, "fault_handler::hand_over in a forked child");
  if (!threads_->engine->request_stop(stop_policy::hand_over) && !threads_->engine->hands_over())
    detail::throw_errno(ECANCELED, "fault_handler::hand_over: it was stopped before");
  threads_->join_all();
  if (threads_->has_successor.exchange(true))
    detail::throw_errno(ECANCELED, "fault_handler::hand_over: it was handed over before");
  try {
    return threads_->engine->hand_over();
  } catch (...) {
    threads_->has_successor = false;  // then the end of this closes what is registered
    throw;
  }
}

const handle& fault_handler::on() const noexcept { return threads_->engine->on(); }

handler_statistics fault_handler::statistics() const {
  handler_statistics sum;
  for (const auto& worker : threads_->workers)
    if (const auto* counts = worker->statistics()) counts->add_to(sum);
  sum.children = threads_->engine->children();
  return sum;
}

}  // namespace uffd
