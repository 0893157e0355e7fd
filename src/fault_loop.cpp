// SPDX-License-Identifier: MIT
#include "uffd/fault_loop.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "detail/engine.hpp"
#include "detail/worker.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

struct fault_loop::state {
  state(handle on, const detail::callbacks& client, const fault_handler_options& options)
      : engine(std::make_shared<detail::engine>(std::move(on), client, options, 1)),
        worker(*engine, 0, options, 1, nullptr),
        policy(options.on_stop),
        poll(::epoll_create1(EPOLL_CLOEXEC)),
        timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    if (!poll || !timer) detail::throw_errno(errno, "fault_loop: epoll and timer");
    watch(engine->on().fd());
    watch(timer.get());
    watch(worker.nudge_descriptor());
    if (engine->children_poll() >= 0) watch(engine->children_poll());
  }

  void watch(int descriptor) const {
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, descriptor, &interest) != 0)
      detail::throw_errno(errno, "fault_loop: epoll_ctl");
  }

  void arm_timer() noexcept {
    const auto limit = worker.wait_limit();
    if (limit < 0 && !armed) return;
    itimerspec setting{};
    // A timer of 0 would be switched off instead of due.
    if (limit >= 0) setting.it_value = detail::to_timespec(std::max<std::int64_t>(limit, 1));
    ::timerfd_settime(timer.get(), 0, &setting, nullptr);
    armed = limit >= 0;
  }

  std::shared_ptr<detail::engine> engine;
  detail::worker worker;
  stop_policy policy;
  unique_fd poll;
  unique_fd timer;
  bool armed = false;
  bool dispatching = false;
};

fault_loop::fault_loop(const detail::callbacks& client, const fault_handler_options& options)
    : fault_loop(detail::engine::open(client, options), client, options) {}

fault_loop::fault_loop(handle on, const detail::callbacks& client,
                       const fault_handler_options& options)
    : state_(std::make_unique<state>(std::move(on), client, options)) {}

fault_loop::fault_loop(fault_loop&& other) noexcept = default;

fault_loop& fault_loop::operator=(fault_loop&& other) noexcept {
  if (this != &other) {
    end();
    state_ = std::move(other.state_);
  }
  return *this;
}

fault_loop::~fault_loop() { end(); }

void fault_loop::end() noexcept {
  if (!state_ || state_->engine->in_child()) return;
  if (std::exchange(state_->dispatching, true))
    detail::end_process("a fault_loop ended by one of its callbacks");
  state_->engine->request_stop(state_->policy);
  // Closed before anything is served: no callback shall run for a fault that nobody dispatched.
  state_->engine->close_once();
  state_->worker.run();
  state_->engine->release_clients();
  // No successor can have asked for it, so its end closes it.
  if (state_->engine->hands_over()) static_cast<void>(state_->engine->hand_over());
}

int fault_loop::fd() const noexcept { return state_->poll.get(); }

void fault_loop::dispatch() noexcept {
  // A child has the parent's descriptor still, and must not take its messages.
  if (state_->engine->in_child() || std::exchange(state_->dispatching, true)) return;
  if (state_->armed) detail::drain_counter(state_->timer.get());
  state_->worker.dispatch_once();
  state_->arm_timer();
  state_->dispatching = false;
}

served_region fault_loop::serve(page_range range, const serve_options& options) {
  return state_->engine->serve(range, std::nullopt, state_->engine->default_client(), options);
}

served_region fault_loop::serve(mapping memory, serve_options options) {
  options.page_size = memory.page_size();
  const auto range = memory.range();
  return state_->engine->serve(range, std::move(memory), state_->engine->default_client(), options);
}

void fault_loop::rethrow_error() {
  if (const auto error = state_->engine->take_error()) std::rethrow_exception(error);
}

const handle& fault_loop::on() const noexcept { return state_->engine->on(); }

handler_statistics fault_loop::statistics() const {
  handler_statistics sum;
  if (const auto* counts = state_->worker.statistics()) counts->add_to(sum);
  sum.children = state_->engine->children();
  return sum;
}

}  // namespace uffd
