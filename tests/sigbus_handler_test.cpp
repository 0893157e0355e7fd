// SPDX-License-Identifier: MIT
#include "uffd/sigbus_handler.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

resolution zeropage(fault& raised) noexcept { return raised.zeropage(); }
using may_throw = resolution(fault&);
struct hears_forks {
  resolution on_page_fault(fault& raised) noexcept { return raised.zeropage(); }
  void on_fork(const fork_event&) noexcept {}
};

static_assert(!std::is_copy_constructible_v<sigbus_handler>);
static_assert(std::is_nothrow_move_constructible_v<sigbus_handler>);
static_assert(signal_callback<decltype(zeropage)&>);
static_assert(signal_callback<test::fill_by_offset>);
static_assert(!signal_callback<may_throw&>);
static_assert(!signal_callback<test::fill_by_offset&>, "an lvalue would be copied silently");
static_assert(!signal_callback<hears_forks>, "nobody would read its events");

handle open_with(flags<feature> features) { return handle::open({.required = features}); }

TEST(sigbus_handler, serves_a_mapping_that_its_region_owns) {
  sigbus_handler handler(async_signal_safe, test::fill_by_offset());
  const auto memory = handler.serve(mapping::anonymous(3 * page_size()));
  ASSERT_EQ(memory.bytes().size(), 3 * page_size());
  for (const std::size_t page : {2U, 0U, 1U})
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin() + page * page_size()),
              test::shows(test::byte_of(page)));
}

TEST(sigbus_handler, calls_a_function_an_rvalue_and_a_reference) {
  struct counting {
    int faults = 0;
    resolution on_page_fault(fault& raised) noexcept {
      ++faults;
      return raised.zeropage();
    }
  };
  counting counts;
  test::serving_in_thread function(1, zeropage);
  test::serving_in_thread rvalue(1, counting());
  test::serving_in_thread reference(1, std::ref(counts));
  for (const auto* served : {&function, &rvalue, &reference})
    EXPECT_EQ(test::look(served->at(0)), test::shows(0));
  EXPECT_EQ(counts.faults, 1);
}

TEST(sigbus_handler, tells_the_callback_where_and_what) {
  UFFDPP_REQUIRE(test::kernel_has(feature::exact_address));
  const test::memory memory(test::memory_kind::anonymous, 4);
  struct seen {
    page_range page;
    std::size_t offset;
    std::uint64_t tag;
    std::size_t space;
    page_fault event;
    std::size_t buffer;
  };
  std::optional<seen> last;
  sigbus_handler handler(async_signal_safe,
                         [&](fault& raised) noexcept {
                           last = {raised.page(),  raised.offset(), raised.tag(),
                                   raised.space(), raised.event(),  raised.buffer().size()};
                           return raised.zeropage();
                         },
                         {.open = {.required = feature::thread_id | feature::exact_address}});
  const auto region = handler.serve(memory.page(1, 3), {.tag = 7});
  EXPECT_EQ(test::look(memory.at(2) + 5), test::shows(0));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->page, memory.page(2));
  EXPECT_EQ(last->offset, page_size());
  EXPECT_EQ(last->tag, 7U);
  EXPECT_EQ(last->space, 0U);
  EXPECT_EQ(last->event.address, memory.at(2) + 5);
  EXPECT_EQ(last->event.thread_id, ::gettid());
  EXPECT_FALSE(last->event.is_write());
  EXPECT_EQ(last->event.kind(), fault_kind::missing);
  EXPECT_EQ(last->buffer, page_size());
  EXPECT_EQ(test::try_write(memory.at(3), 1), test::shows(1));
  EXPECT_TRUE(last->event.is_write());
}

TEST(sigbus_handler, cuts_the_address_to_its_page_unless_the_exact_one_was_negotiated) {
  std::uintptr_t address = 0;
  test::serving_in_thread served(2, [&](fault& raised) noexcept {
    address = raised.event().address;
    return raised.zeropage();
  });
  EXPECT_EQ(test::look(served.at(1) + 5), test::shows(0));
  EXPECT_EQ(address, served.at(1));
}

TEST(sigbus_handler, refuses_a_handle_without_the_feature_by_name) {
  const auto refused =
      test::refusal_of([] { sigbus_handler(open_with({}), async_signal_safe, zeropage); });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("sigbus")) << refused.words;
}

TEST(sigbus_handler, refuses_a_handle_with_events_by_name) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove | feature::event_unmap));
  const auto refused = test::refusal_of([] {
    sigbus_handler(open_with(feature::sigbus | feature::event_remove | feature::event_unmap),
                   async_signal_safe, zeropage);
  });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("event_remove|event_unmap")) << refused.words;
}

TEST(sigbus_handler, refuses_events_that_it_is_to_open_a_handle_with) {
  const sigbus_handler_options options{.open = {.required = feature::event_remove}};
  EXPECT_EQ(test::thrown([&] { sigbus_handler(async_signal_safe, zeropage, options); }), EINVAL);
}

TEST(sigbus_handler, refuses_to_serve_system_calls) {
  const sigbus_handler_options options{.open = {.kernel_faults = kernel_fault_policy::required}};
  EXPECT_EQ(test::thrown([&] { sigbus_handler(async_signal_safe, zeropage, options); }), EINVAL);
  const sigbus_handler handler(async_signal_safe, zeropage);
  EXPECT_FALSE(handler.on().serves_kernel_faults());
}

TEST(sigbus_handler, refuses_a_moved_from_handle_and_another_processs) {
  handle on = open_with(feature::sigbus);
  const handle taken = std::move(on);
  // NOLINTNEXTLINE(bugprone-use-after-move): that it was moved is the point
  EXPECT_EQ(test::thrown([&] { sigbus_handler(std::move(on), async_signal_safe, zeropage); }),
            EBADF);
  handle given = open_with(feature::sigbus);
  handle foreign = handle::adopt(given.release(), feature::sigbus, memory_owner::another_process);
  EXPECT_EQ(test::thrown([&] { sigbus_handler(std::move(foreign), async_signal_safe, zeropage); }),
            EINVAL);
}

TEST(sigbus_handler, refuses_a_range_that_is_served_already) {
  test::serving_in_thread served(4, zeropage);
  sigbus_handler other(async_signal_safe, zeropage);
  for (auto* handler : {&served.handler(), &other})
    EXPECT_EQ(test::thrown([&] { auto again = handler->serve(served.memory().page(3)); }), EEXIST);
}

TEST(sigbus_handler, refuses_what_cant_be_registered_and_serves_on) {
  sigbus_handler handler(async_signal_safe, test::fill_by_offset());
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto begin = memory.begin();
  const auto serve = [&](page_range range, const serve_options& options = {}) {
    return test::thrown([&] { auto region = handler.serve(range, options); });
  };
  EXPECT_EQ(serve({begin + 1, page_size()}), EINVAL);
  EXPECT_EQ(serve({begin, 0}), EINVAL);
  EXPECT_EQ(serve(test::unmapped_page()), EINVAL);
  EXPECT_EQ(serve(memory.range(), {.modes = register_mode::minor}), EINVAL);
  EXPECT_EQ(serve(memory.range(), {.modes = register_mode::read_write_protect}), EINVAL);
  const auto region = handler.serve(memory.range());
  EXPECT_EQ(test::look(memory.at(1)), test::shows(2));
}

TEST(sigbus_handler, refuses_pages_larger_than_its_buffers) {
  sigbus_handler handler(async_signal_safe, zeropage, {.buffer_size = page_size()});
  const test::memory memory(test::memory_kind::anonymous, 4);
  const auto refused = test::refusal_of([&] {
    auto region =
        handler.serve(page_range(align_up(memory.begin(), 2 * page_size()), 2 * page_size()),
                      {.page_size = 2 * page_size()});
  });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("buffer_size")) << refused.words;
  EXPECT_EQ(test::thrown([] { sigbus_handler(async_signal_safe, zeropage, {.buffers = 0}); }),
            EINVAL);
}

TEST(sigbus_handler, may_be_moved_while_it_serves) {
  sigbus_handler first(async_signal_safe, test::fill_by_offset());
  const auto memory = first.serve(mapping::anonymous(2 * page_size()));
  sigbus_handler second(std::move(first));
  EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(1));
  first = std::move(second);
  EXPECT_EQ(test::look(page_range(memory.bytes()).begin() + page_size()), test::shows(2));
}

class ended_in_thread_on : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(ended_in_thread_on);

TEST_P(ended_in_thread_on, region_leaves_what_is_missing_inaccessible_and_what_is_there) {
  UFFDPP_REQUIRE(test::pagemap_scan());
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  test::serving_in_thread served(GetParam(), 2, test::fill_by_offset());
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  served.end_region();
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  EXPECT_NE(test::look(served.at(1)).signal, 0);
}

TEST_P(ended_in_thread_on, region_that_was_complete_leaves_zeroes) {
  test::serving_in_thread served(GetParam(), 1, test::fill_by_offset());
  served.region().complete();
  served.end_region();
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
}

TEST(ended_in_thread, handler_ends_what_it_serves) {
  std::optional<sigbus_handler> handler(std::in_place, async_signal_safe, test::fill_by_offset());
  auto memory = handler->serve(mapping::anonymous(2 * page_size()));
  const test::memory lent(test::memory_kind::anonymous, 1);
  const auto region = handler->serve(lent.range());
  handler.reset();
  EXPECT_NE(test::look(page_range(memory.bytes()).begin()).signal, 0);
  EXPECT_NE(test::look(lent.at(0)).signal, 0);
  memory = {};
  sigbus_handler next(async_signal_safe, test::fill_by_offset());
  EXPECT_EQ(test::thrown([&] { auto again = next.serve(lent.range()); }), 0);
}

TEST(ended_in_thread, handler_object_is_destroyed_with_its_handler) {
  const auto object = std::make_shared<int>(1);
  std::optional<sigbus_handler> handler(
      std::in_place, async_signal_safe,
      [object](fault& raised) noexcept { return raised.zeropage(); });
  const auto memory = handler->serve(mapping::anonymous(page_size()));
  EXPECT_EQ(object.use_count(), 2);
  handler.reset();
  EXPECT_EQ(object.use_count(), 1);
}

}  // namespace
}  // namespace uffd
