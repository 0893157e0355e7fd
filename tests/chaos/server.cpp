// SPDX-License-Identifier: MIT
#include "server.hpp"

#include <poll.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "uffd/fault_handler.hpp"
#include "uffd/fault_loop.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd::chaos {
namespace {

// The first error of callbacks, from a function that rethrows it.
template <class Rethrow>
std::error_code error_of(Rethrow rethrow) {
  try {
    rethrow();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}

fault_handler_options options_of(const server_options& options) {
  fault_handler_options result;
  result.threads = options.threads;
  result.on_stop = options.on_stop;
  result.forks = options.follows_forks ? fork_policy::follow : fork_policy::not_inherited;
  result.tracks_removals = options.tracks_removals;
  result.open.optional = options.features;
  return result;
}

// By the callbacks that these options ask for.
template <class Server, class... Served>
Server start(pager& by, const server_options& options, Served&&... served) {
  if (options.hears_events)
    return Server(std::forward<Served>(served)..., hearing_pager{&by}, options_of(options));
  return Server(std::forward<Served>(served)..., deaf_pager{&by}, options_of(options));
}

class handler_server final : public server {
 public:
  handler_server(pager& by, const server_options& options)
      : by_(by), options_(options), handler_(start<fault_handler>(by, options)) {}

  served_region serve(page_range range, const serve_options& options) override {
    return handler_.serve(range, options);
  }
  void end(served_region region) override { region = {}; }
  bool serve_registered(const region_info& registered) override {
    handler_.serve_registered(registered);
    return true;
  }
  bool hand_over() override {
    const std::unique_lock lock(forks_and_successions());
    handler_ = start<fault_handler>(by_, options_, handler_.hand_over());
    return true;
  }
  std::error_code stop() override {
    handler_.request_stop();
    return error_of([this] { handler_.join(); });
  }
  const handle& on() const override { return handler_.on(); }
  std::size_t children() const override { return handler_.statistics().children; }

 private:
  pager& by_;
  const server_options options_;
  fault_handler handler_;
};

// A loop is for one thread at a time: its own, or the one that holds the lock.
class loop_server final : public server {
 public:
  loop_server(pager& by, const server_options& options)
      : loop_(start<fault_loop>(by, options)),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  served_region serve(page_range range, const serve_options& options) override {
    const std::lock_guard lock(mutex_);
    return loop_->serve(range, options);
  }
  void end(served_region region) override {
    const std::lock_guard lock(mutex_);
    region = {};
  }
  std::error_code stop() override {
    thread_.request_stop();
    thread_.join();
    const auto error = error_of([this] { loop_->rethrow_error(); });
    loop_.reset();
    return error;
  }
  const handle& on() const override { return loop_->on(); }
  std::size_t children() const override { return loop_->statistics().children; }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd ready{loop_->fd(), POLLIN, 0};
      ::poll(&ready, 1, 20);
      const std::lock_guard lock(mutex_);
      loop_->dispatch();
    }
  }

  std::mutex mutex_;
  std::optional<fault_loop> loop_;
  std::jthread thread_;
};

class in_thread_server final : public server {
 public:
  in_thread_server(pager& by, const server_options& options)
      : handler_(std::in_place, async_signal_safe, deaf_pager{&by}, options_for(options)) {}

  served_region serve(page_range range, const serve_options& options) override {
    return handler_->serve(range, options);
  }
  void end(served_region region) override { region = {}; }
  std::error_code stop() override {
    const auto error = error_of([this] { handler_->rethrow_error(); });
    handler_.reset();
    return error;
  }
  const handle& on() const override { return handler_->on(); }

 private:
  static sigbus_handler_options options_for(const server_options& options) {
    sigbus_handler_options result;
    result.open.optional = options.features;
    return result;
  }

  std::optional<sigbus_handler> handler_;
};

}  // namespace

std::unique_ptr<server> make_server(pager& by, const server_options& options) {
  switch (options.kind) {
    case server_kind::loop:
      return std::make_unique<loop_server>(by, options);
    case server_kind::in_thread:
      return std::make_unique<in_thread_server>(by, options);
    default:
      return std::make_unique<handler_server>(by, options);
  }
}

const char* name_of(server_kind kind) noexcept {
  switch (kind) {
    case server_kind::loop:
      return "fault_loop";
    case server_kind::in_thread:
      return "sigbus_handler";
    default:
      return "fault_handler";
  }
}

std::shared_mutex& forks_and_successions() {
  static std::shared_mutex mutex;
  return mutex;
}

}  // namespace uffd::chaos
