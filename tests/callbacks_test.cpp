// SPDX-License-Identifier: MIT
#include "uffd/callbacks.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <utility>

namespace uffd {
namespace {

struct named {
  resolution on_page_fault(fault&) { return resolution::resolved(); }
};
struct named_all : named {
  void on_fork(const fork_event&) { ++calls; }
  void on_remap(const remap_event&, std::size_t space) { last_space = space; }
  void on_remove(const remove_event&) { ++calls; }
  void on_unmap(const unmap_event&, std::size_t space) { last_space = space; }
  int calls = 0;
  std::size_t last_space = 99;
};
struct only_events {
  void on_remove(const remove_event&) {}
};
struct answers_nothing {
  void on_page_fault(fault&) {}
};
struct answers_an_error {
  std::errc on_page_fault(fault&) { return std::errc::io_error; }
};

[[maybe_unused]] const auto lambda = [](fault&) { return resolution::resolved(); };
[[maybe_unused]] const auto hears_remove = [](const remove_event&) {};
[[maybe_unused]] const auto hears_remove_and_space = [](const remove_event&, std::size_t) {};
using two = overloaded<decltype(lambda), decltype(hears_remove)>;

// Rvalues and references to objects are taken, lvalues are not: a copy would lose what it counts.
static_assert(fault_callbacks<named> && fault_callbacks<named_all>);
static_assert(fault_callbacks<std::reference_wrapper<named>>);
static_assert(fault_callbacks<std::remove_const_t<decltype(lambda)>>);
static_assert(fault_callbacks<two>);
static_assert(fault_callbacks<answers_an_error>);
static_assert(!fault_callbacks<named&> && !fault_callbacks<const named&>);
static_assert(!fault_callbacks<std::reference_wrapper<named>&>);
static_assert(!fault_callbacks<only_events> && !fault_callbacks<answers_nothing>);
static_assert(!fault_callbacks<int>);

static_assert(features_for<named>.empty());
static_assert(features_for<std::reference_wrapper<named_all>> == features_for<named_all>);
static_assert(features_for<named_all> == (feature::event_fork | feature::event_remap |
                                          feature::event_remove | feature::event_unmap));
static_assert(features_for<two> == feature::event_remove);
static_assert(features_for<overloaded<decltype(lambda), decltype(hears_remove_and_space)>> ==
              feature::event_remove);

TEST(erased_callbacks, are_null_where_the_object_has_none) {
  const auto erased = detail::erase_callbacks(overloaded{lambda, hears_remove});
  EXPECT_NE(erased.on_page_fault, nullptr);
  EXPECT_NE(erased.on_remove, nullptr);
  EXPECT_EQ(erased.on_fork, nullptr);
  EXPECT_EQ(erased.on_remap, nullptr);
  EXPECT_EQ(erased.on_unmap, nullptr);
  EXPECT_EQ(erased.needed, feature::event_remove);
}

TEST(erased_callbacks, of_a_reference_call_the_object_itself) {
  named_all object;
  const auto erased = detail::erase_callbacks(std::ref(object));
  EXPECT_EQ(erased.object, &object);
  EXPECT_EQ(erased.owned, nullptr);
  erased.on_fork(erased.object, fork_event{}, 1);
  erased.on_remove(erased.object, remove_event{}, 1);
  EXPECT_EQ(object.calls, 2);
}

TEST(erased_callbacks, of_an_rvalue_own_what_it_was_moved_to) {
  auto alive = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = alive;
  {
    const auto erased = detail::erase_callbacks(
        [kept = std::move(alive)](fault&) { return resolution::resolved(); });
    const auto copy = erased;
    EXPECT_EQ(copy.object, erased.object);
    EXPECT_FALSE(seen.expired());
  }
  EXPECT_TRUE(seen.expired());
}

TEST(erased_callbacks, take_objects_that_can_only_be_moved) {
  const auto erased = detail::erase_callbacks(
      [kept = std::make_unique<int>(1)](fault&) { return resolution::resolved(); });
  EXPECT_NE(erased.object, nullptr);
}

TEST(erased_callbacks, give_the_address_space_to_those_that_take_it) {
  named_all object;
  const auto erased = detail::erase_callbacks(std::ref(object));
  erased.on_remap(erased.object, remap_event{}, 3);
  EXPECT_EQ(object.last_space, 3U);
  erased.on_unmap(erased.object, unmap_event{}, 4);
  EXPECT_EQ(object.last_space, 4U);
  std::size_t told = 99;
  const auto lambdas = detail::erase_callbacks(
      overloaded{lambda, [&](const fork_event&, std::size_t space) { told = space; }});
  lambdas.on_fork(lambdas.object, fork_event{}, 5);
  EXPECT_EQ(told, 5U);
}

TEST(erased_callbacks, hand_the_event_on) {
  page_range seen;
  const auto erased = detail::erase_callbacks(
      overloaded{lambda, [&](const unmap_event& event) { seen = event.range; }});
  erased.on_unmap(erased.object, unmap_event{{4096, 8192}}, 0);
  EXPECT_EQ(seen, page_range(4096, 8192));
}

}  // namespace
}  // namespace uffd
