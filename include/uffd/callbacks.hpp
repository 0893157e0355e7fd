// SPDX-License-Identifier: MIT
/// \file
/// How a handler object's callbacks are found, and which features they need.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "uffd/fault.hpp"
#include "uffd/flags.hpp"
#include "uffd/message.hpp"
#include "uffd/resolve.hpp"

namespace uffd {

/// Lambdas for several event types in one object:
/// `overloaded{[](fault&) {...}, [](const remove_event&) {...}}`.
template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
/// Deduces the lambdas' types.
template <class... F>
overloaded(F...) -> overloaded<F...>;

namespace detail {

// A callback is a member named after its event, or a call operator for the event's type. Those of
// events may take the number of the address space too.
template <class H>
concept has_on_page_fault = requires(H& handler, fault& raised) {
  { handler.on_page_fault(raised) } -> std::convertible_to<resolution>;
};
template <class H>
concept is_called_with_fault = requires(H& handler, fault& raised) {
  { handler(raised) } -> std::convertible_to<resolution>;
};
template <class H>
concept serves_faults = has_on_page_fault<H> || is_called_with_fault<H>;

// A lambda taking `auto&` would be called for every event: whoever probes this type into it has
// one.
struct write_the_parameter_type_of_this_callback {};
template <class H>
concept takes_anything = requires(H& handler, write_the_parameter_type_of_this_callback& any) {
  handler(any);
};

#define UFFDPP_DETAIL_EVENT_CALLBACK(callback, event_type)                          \
  template <class H>                                                                \
  concept has_##callback = requires(H & handler, const event_type& seen) {          \
    handler.callback(seen);                                                         \
  }                                                                                 \
  || requires(H & handler, const event_type& seen) { handler.callback(seen, 0UL); } \
  || requires(H & handler, const event_type& seen) { handler(seen); }               \
  || requires(H & handler, const event_type& seen) { handler(seen, 0UL); };         \
  template <class H>                                                                \
  void call_##callback(void* object, const event_type& seen, std::size_t space) {   \
    H& handler = *static_cast<H*>(object);                                          \
    if constexpr (requires { handler.callback(seen, space); })                      \
      handler.callback(seen, space);                                                \
    else if constexpr (requires { handler.callback(seen); })                        \
      handler.callback(seen);                                                       \
    else if constexpr (requires { handler(seen, space); })                          \
      handler(seen, space);                                                         \
    else                                                                            \
      handler(seen);                                                                \
  }
UFFDPP_DETAIL_EVENT_CALLBACK(on_fork, fork_event)
UFFDPP_DETAIL_EVENT_CALLBACK(on_remap, remap_event)
UFFDPP_DETAIL_EVENT_CALLBACK(on_remove, remove_event)
UFFDPP_DETAIL_EVENT_CALLBACK(on_unmap, unmap_event)
#undef UFFDPP_DETAIL_EVENT_CALLBACK

template <class H>
resolution call_on_page_fault(void* object, fault& raised) {
  H& handler = *static_cast<H*>(object);
  if constexpr (has_on_page_fault<H>)
    return handler.on_page_fault(raised);
  else
    return handler(raised);
}

template <class H>
constexpr flags<feature> features_of() noexcept {
  flags<feature> needed;
  if constexpr (has_on_fork<H>) needed |= feature::event_fork;
  if constexpr (has_on_remap<H>) needed |= feature::event_remap;
  if constexpr (has_on_remove<H>) needed |= feature::event_remove;
  if constexpr (has_on_unmap<H>) needed |= feature::event_unmap;
  return needed;
}

template <class H>
struct unwrap_reference {
  using type = H;
};
template <class H>
struct unwrap_reference<std::reference_wrapper<H>> {
  using type = H;
};
template <class H>
using unwrapped = typename unwrap_reference<std::decay_t<H>>::type;

// A handler object with its type erased: null for callbacks it doesn't have.
struct callbacks {
  std::shared_ptr<void> owned;
  void* object = nullptr;
  resolution (*on_page_fault)(void*, fault&) = nullptr;
  void (*on_fork)(void*, const fork_event&, std::size_t) = nullptr;
  void (*on_remap)(void*, const remap_event&, std::size_t) = nullptr;
  void (*on_remove)(void*, const remove_event&, std::size_t) = nullptr;
  void (*on_unmap)(void*, const unmap_event&, std::size_t) = nullptr;
  flags<feature> needed;
};

template <class H>
callbacks erase_callbacks(H&& handler) {
  using object = unwrapped<H>;
  callbacks result;
  if constexpr (std::is_same_v<object, std::decay_t<H>>) {
    result.owned = std::make_shared<object>(std::forward<H>(handler));
    result.object = result.owned.get();
  } else {
    // A const object has const callbacks: call_on_page_fault<const T> gives it its type back.
    result.object = const_cast<void*>(  // NOLINT(*-const-cast)
        static_cast<const void*>(&handler.get()));
  }
  result.on_page_fault = &call_on_page_fault<object>;
  if constexpr (has_on_fork<object>) result.on_fork = &call_on_fork<object>;
  if constexpr (has_on_remap<object>) result.on_remap = &call_on_remap<object>;
  if constexpr (has_on_remove<object>) result.on_remove = &call_on_remove<object>;
  if constexpr (has_on_unmap<object>) result.on_unmap = &call_on_unmap<object>;
  result.needed = features_of<object>();
  return result;
}

}  // namespace detail

/// Something that can serve faults: a function, or an rvalue (it is moved in) or std::ref of an
/// object that has `resolution on_page_fault(fault&)` or can be called with a `fault&`. It may have
/// `on_fork`, `on_remap`, `on_remove`, `on_unmap`, or call operators for their event types; each
/// takes the event and, if it likes, the std::size_t number of its address space.
template <class H>
concept fault_callbacks = (!std::is_lvalue_reference_v<H> ||
                           std::is_function_v<std::remove_reference_t<H>>)&&  //
                          !detail::takes_anything<detail::unwrapped<H>> &&
                          detail::serves_faults<detail::unwrapped<H>>;

/// The features that a handler's callbacks need: subscribed is what has a callback.
template <class H>
inline constexpr flags<feature> features_for = detail::features_of<detail::unwrapped<H>>();

}  // namespace uffd
