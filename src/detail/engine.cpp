// SPDX-License-Identifier: MIT
#include "engine.hpp"

#include <sys/epoll.h>
#include <sys/mman.h>

#include <cerrno>
#include <string>

#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// Only while a range is closed there can be as many: then nobody handles them, and whoever drops
// memory in a loop is heard until there is a gap between two events.
constexpr std::size_t event_capacity = std::size_t{1} << 18;
constexpr std::size_t waiting_capacity = 1024;

}  // namespace

engine::engine(handle on, callbacks client, const fault_handler_options& options,
               std::size_t readers)
    : home_(process_mark::here()),
      client_(std::move(client)),
      has_events_(has_events(on)),
      is_gated_(on.features().has_any(event_features - feature::event_fork)),
      follows_forks_(on.features().has(feature::event_fork)),
      tracks_removals_(options.tracks_removals),
      buffer_size_(options.buffer_size),
      own_(std::make_shared<address_space>(std::move(on), 0)),
      epochs_(readers),
      events_(event_capacity),
      waiting_(waiting_capacity),
      policy_(options.on_stop) {
  check_features(options);
  if (!has_events_) return;
  probe_ = mapping::anonymous(page_size());
  const auto probe = probe_->bytes();
  if (::mprotect(probe.data(), probe.size(), PROT_NONE) != 0) throw_errno(errno, "mprotect");
  if (!follows_forks_) return;
  children_poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!children_poll_) throw_errno(errno, "epoll_create1");
}

handle engine::open(const callbacks& client, const fault_handler_options& options) {
  open_options open = options.open;
  open.required |= client.needed;
  if (options.tracks_removals) open.required |= feature::event_remove;
  // Without POISON a child's missing pages could never be closed.
  if (open.required.has(feature::event_fork)) open.required |= feature::poison;
  const bool may_follow =
      options.forks == fork_policy::follow && !open.required.has(feature::event_fork);
  if (may_follow) open.optional |= feature::event_fork | feature::poison;
  handle on = handle::open(open);
  if (!may_follow || on.features().has(feature::poison) || !on.features().has(feature::event_fork))
    return on;
  open.optional = open.optional - feature::event_fork;
  return handle::open(open);
}

callbacks engine::default_client() const {
  // Before the lock: another thread may have had it at the fork.
  if (in_child()) throw_errno(EOWNERDEAD, "serve: in a forked child");
  const std::lock_guard lock(control_);
  return client_;
}

bool engine::has_events(const handle& on) noexcept { return on.features().has_any(event_features); }

void engine::check_features(const fault_handler_options& options) const {
  const auto features = on().features();
  if (on().fd() < 0) throw_errno(EBADF, "fault handler: a moved-from handle");
  if (const auto missing = client_.needed - features; !missing.empty())
    throw_errno(EINVAL, "fault handler: the callbacks need " + to_string(missing) +
                            ", which the handle did not negotiate");
  auto heard = client_.needed;
  if (tracks_removals_) heard |= feature::event_remove;
  if (options.forks == fork_policy::follow) heard |= feature::event_fork;
  if (const auto unheard = (features & event_features) - heard; !unheard.empty())
    throw_errno(EINVAL, "fault handler: no callback hears " + to_string(unheard) +
                            ", which the handle negotiated");
  if (tracks_removals_ && !features.has(feature::event_remove))
    throw_errno(EINVAL, "fault handler: tracks_removals needs " +
                            to_string(flags(feature::event_remove)) +
                            ", which the handle did not negotiate");
  if (features.has(feature::sigbus))
    throw_errno(EINVAL, "fault handler: a handle with the feature sigbus sends no messages");
}

void engine::record_error(std::exception_ptr error) noexcept {
  const std::lock_guard lock(error_lock_);
  if (!first_error_ && !first_failure_) first_error_ = std::move(error);
}

void engine::record_failure(const char* what, std::error_code error, page_range page,
                            std::size_t offset) noexcept {
  const std::lock_guard lock(error_lock_);
  if (!first_error_ && !first_failure_) first_failure_ = failure{what, error, page, offset};
}

std::exception_ptr engine::take_error() noexcept {
  if (in_child()) return nullptr;  // another thread may have had the lock at the fork
  if (const int number = unreadable_.exchange(0); number != 0)
    record_error(std::make_exception_ptr(
        std::system_error(number, std::system_category(), "reading messages of a userfaultfd")));
  const std::lock_guard lock(error_lock_);
  if (const auto failed = std::exchange(first_failure_, std::nullopt))
    return std::make_exception_ptr(std::system_error(
        failed->error, std::string(failed->what) + " at " + to_string(failed->page) + ", offset " +
                           std::to_string(failed->offset)));
  return std::exchange(first_error_, nullptr);
}

bool engine::request_stop(stop_policy policy) noexcept {
  if (in_child() || stop_requested_.exchange(true)) return false;
  policy_.store(policy, std::memory_order_release);
  stopping_.store(true, std::memory_order_release);
  nudge();
  return true;
}

void engine::nudge() const noexcept {
  for (const int eventfd : nudges_) signal_eventfd(eventfd);
}

}  // namespace uffd::detail
