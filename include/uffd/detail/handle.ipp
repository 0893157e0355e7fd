// SPDX-License-Identifier: MIT
// Bodies of handle.hpp, which includes this.
#pragma once

namespace uffd {
namespace detail {

// What only the library's own parts may do to a handle.
struct handle_access {
  // Another face of the same descriptor.
  static handle share(const handle& other) noexcept { return handle(other.state_); }
  // As if moved from.
  static handle none() noexcept { return handle(shared_descriptor()); }
  static const shared_descriptor& state(const handle& of) noexcept { return of.state_; }
  // Owns the descriptor that a fork event brought; a child inherits its parent's features.
  static handle child(unique_fd descriptor, flags<feature> features) {
    shared_descriptor state(new descriptor_state);
    state->owner = process_mark::here();
    state->descriptor = std::move(descriptor);
    state->features = features;
    state->foreign = true;
    return handle(std::move(state));
  }
};

// The three encodings of an ioctl's result: done; partly done (positive field, EAGAIN); failed, the
// field then being a negative errno or untouched. The field starts as 0 and is never cast
// unchecked.
inline outcome decode_result(int result, std::int64_t field, std::size_t length) noexcept {
  if (result >= 0) [[likely]]
    return {length, 0};
  return {field > 0 ? static_cast<std::size_t>(field) : 0, -result};
}

inline std::uint64_t length_of(const uapi::copy& argument) noexcept { return argument.length; }
inline std::uint64_t length_of(const uapi::move& argument) noexcept { return argument.length; }
template <class Argument>
std::uint64_t length_of(const Argument& argument) noexcept {
  return argument.range.length;
}
inline std::uint64_t length_of(const uapi::range& argument) noexcept { return argument.length; }
inline std::uint64_t length_of(const uapi::set_mode&) noexcept { return 0; }

inline uapi::range to_kernel(page_range range) noexcept { return {range.begin(), range.size()}; }

// Why UFFDIO_REGISTER refused, in words that name what to change.
inline std::string registration_problem(int number, page_range range) {
  if (number == EBUSY) return "another userfaultfd has the range, or a mode would be dropped";
  if (number == EPERM) return "the memory is shared and may not be written";
  if (number == ENOMEM) return "the process is gone, or memory is short";
  if (number != EINVAL) return "refused";
  if (range.empty()) return "the range is empty";
  if (range.wraps()) return "the range ends past the last address";
  if (!range.is_aligned(page_size()))
    return "not aligned to pages of " + std::to_string(page_size()) + " bytes";
  return "nothing is mapped there, or the memory can't have these modes (huge pages: aligned to "
         "their own size; minor: shared memory only)";
}

}  // namespace detail

// Inlined by force: on the fault path every one of these is the only thing its caller does.
template <class Argument>
[[gnu::always_inline]] inline outcome handle::call(unsigned long request,
                                                   Argument&& argument) const noexcept {
  if (!state_) [[unlikely]]
    return {0, EBADF};
  if (state_->owner.in_child()) [[unlikely]]
    return {0, EOWNERDEAD};
  const int result = detail::call_ioctl(state_->descriptor.get(), request, &argument);
  const auto length = static_cast<std::size_t>(detail::length_of(argument));
  if constexpr (requires { argument.result; })
    return detail::decode_result(result, argument.result, length);
  else
    return detail::decode_result(result, 0, length);
}

inline outcome handle::wake(page_range range) const noexcept {
  return call(uapi::request::wake, detail::to_kernel(range));
}

inline outcome handle::unregister(page_range range) const noexcept {
  const outcome result = call(uapi::request::unregister, detail::to_kernel(range));
  if (result.number != EBADF && result.number != EOWNERDEAD) static_cast<void>(wake(range));
  return result;
}

inline outcome handle::copy(std::uintptr_t to, std::span<const std::byte> from,
                            flags<fill_mode> mode) const noexcept {
  return call(uapi::request::copy,
              uapi::copy{to, page_range(from).begin(), from.size(), mode.bits(), 0});
}

inline outcome handle::zeropage(page_range range, flags<wake_mode> mode) const noexcept {
  return call(uapi::request::zeropage, uapi::zeropage{detail::to_kernel(range), mode.bits(), 0});
}

inline outcome handle::move(std::uintptr_t to, page_range from,
                            flags<move_mode> mode) const noexcept {
  return call(uapi::request::move, uapi::move{to, from.begin(), from.size(), mode.bits(), 0});
}

inline outcome handle::continue_(page_range range, flags<fill_mode> mode) const noexcept {
  return call(uapi::request::continue_, uapi::continue_{detail::to_kernel(range), mode.bits(), 0});
}

inline outcome handle::poison(page_range range, flags<wake_mode> mode) const noexcept {
  return call(uapi::request::poison, uapi::poison{detail::to_kernel(range), mode.bits(), 0});
}

inline outcome handle::protect(unsigned long request, page_range range,
                               std::uint64_t mode) const noexcept {
  return call(request, uapi::write_protect{detail::to_kernel(range), mode});
}

inline outcome handle::write_protect(page_range range) const noexcept {
  return protect(uapi::request::write_protect, range, uapi::mode::write_protect_protect);
}

inline outcome handle::write_unprotect(page_range range, flags<wake_mode> mode) const noexcept {
  return protect(uapi::request::write_protect, range,
                 mode.has(wake_mode::dont_wake) ? uapi::mode::write_protect_dont_wake : 0);
}

inline outcome handle::read_write_protect(page_range range) const noexcept {
  return protect(uapi::request::read_write_protect, range, uapi::mode::read_write_protect_protect);
}

inline outcome handle::read_write_unprotect(page_range range,
                                            flags<wake_mode> mode) const noexcept {
  return protect(uapi::request::read_write_protect, range,
                 mode.has(wake_mode::dont_wake) ? uapi::mode::read_write_protect_dont_wake : 0);
}

inline outcome handle::set_mode(flags<feature> enable, flags<feature> disable) const noexcept {
  return call(uapi::request::set_mode, uapi::set_mode{enable.bits(), disable.bits()});
}

inline handle handle::open(const open_options& options) {
  auto opened = detail::open_descriptor(options.kernel_faults, options.via);
  const auto negotiated = detail::negotiate(opened.descriptor.get(), options);
  detail::shared_descriptor state(new detail::descriptor_state);
  state->owner = detail::process_mark::here();
  state->descriptor = std::move(opened.descriptor);
  state->features = negotiated;
  // A system call can't be sent a signal instead of its fault: it fails with EFAULT.
  state->kernel_faults = opened.kernel_faults && !state->features.has(feature::sigbus);
  return handle(std::move(state));
}

inline handle handle::adopt(unique_fd descriptor, flags<feature> stated, memory_owner owner) {
  detail::verify_adopted(descriptor.get(), stated);
  detail::shared_descriptor state(new detail::descriptor_state);
  state->owner = detail::process_mark::here();
  state->descriptor = std::move(descriptor);
  state->features = stated;
  state->foreign = owner == memory_owner::another_process;
  return handle(std::move(state));
}

inline unique_fd handle::release() {
  if (!state_) detail::throw_errno(EBADF, "handle::release on a moved-from handle");
  if (state_->refusal() != 0) detail::throw_errno(EOWNERDEAD, "handle::release in a forked child");
  if (state_->references.load(std::memory_order_acquire) != 1)
    detail::throw_errno(EBUSY, "handle::release while regions or handlers use the descriptor");
  unique_fd descriptor = std::move(state_->descriptor);
  state_ = {};
  return descriptor;
}

inline flags<range_ioctl> handle::register_range(page_range range,
                                                 flags<register_mode> modes) const {
  const auto what = [&] {
    return "UFFDIO_REGISTER " + to_string(range) + " for " + to_string(modes);
  };
  if (!state_) detail::throw_errno(EBADF, what() + " on a moved-from handle");
  if (state_->refusal() != 0) detail::throw_errno(EOWNERDEAD, what() + " in a forked child");
  uapi::register_ argument{detail::to_kernel(range), modes.bits(), 0};
  const int result =
      detail::call_ioctl(state_->descriptor.get(), uapi::request::register_, &argument);
  if (result < 0)
    detail::throw_errno(-result, what() + ": " + detail::registration_problem(-result, range));
  return flags<range_ioctl>::from_bits(argument.ioctls);
}

}  // namespace uffd
