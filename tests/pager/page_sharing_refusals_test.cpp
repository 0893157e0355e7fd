// SPDX-License-Identifier: MIT
// Readers that answer what is no view of the pages, or register other memory than they say.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <future>
#include <utility>
#include <vector>

#include "pager/sharing_message.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sharing.hpp"
#include "support/sockets.hpp"
#include "support/toucher.hpp"
#include "uffd/handoff.hpp"
#include "uffd/mapping.hpp"
#include "uffd/pager/page_sharing.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

// What is registered there is other memory than it says.
template <class Memory>
void expect_harmless(const Memory& memory) {
  const test::counted_source source(8 * page);
  const pager pager;
  const auto right = pager.map(std::ref(source), test::to_be_shared);
  ASSERT_EQ(test::look_at(right, 0), test::shows_source(0));
  test::connected_sockets ends;
  auto serving = std::async(std::launch::async, [&] { return right.share(std::move(ends.one)); });
  const auto on = handle::open({.required = feature::minor_shmem, .optional = feature::poison});
  if (!on.features().has(feature::poison)) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_POISON";
  const auto can_be_minor = memory.file() >= 0;
  const region registered(on, memory,
                          can_be_minor ? register_mode::missing | register_mode::minor
                                       : flags<register_mode>(register_mode::missing));
  auto claimed = registered.info();
  claimed.modes = register_mode::missing | register_mode::minor;
  std::array<std::byte, detail::sharing_message_size> offer{};
  ASSERT_EQ(::recv(ends.other.get(), offer.data(), offer.size(), MSG_WAITALL), offer.size());
  handoff::send(ends.other.get(), on, {&claimed, 1});
  const auto served = serving.get();
  for (std::size_t at = 0; at < 8; ++at)
    EXPECT_EQ(test::toucher(memory.range().begin() + at * page).saw(), test::takes_sigbus);
  EXPECT_EQ(test::first_wrong(right.bytes()), std::nullopt);
  EXPECT_EQ(source.bytes_read(), 8 * page) << "nothing was read twice";
}

TEST(page_sharing, does_no_harm_to_the_pages_where_a_reader_registers_another_file) {
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  expect_harmless(mapping::shared(8 * page));
}

TEST(page_sharing, does_no_harm_to_the_pages_where_a_reader_registers_no_file) {
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  expect_harmless(mapping::anonymous(8 * page));
}

// What shared_pages does, with another range or other modes.
void answer_with(int socket, std::size_t pages, flags<register_mode> modes) {
  const auto memory = mapping::shared(pages * page);
  const auto on = handle::open({.required = feature::minor_shmem});
  const region registered(on, memory, modes);
  handoff::send(socket, on, {&registered.info(), 1});
}

TEST(page_sharing, refuses_answers_that_are_no_view_of_its_pages) {
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  constexpr flags<register_mode> both = register_mode::missing | register_mode::minor;
  const auto refusal_of = [&](const std::function<void(int)>& answer) {
    test::connected_sockets ends;
    auto answered = std::async(std::launch::async, [&] {
      std::array<std::byte, detail::sharing_message_size> offer{};
      EXPECT_EQ(::recv(ends.other.get(), offer.data(), offer.size(), MSG_WAITALL), offer.size());
      answer(ends.other.get());
      ends.other.reset();
    });
    const int number = test::thrown([&] { static_cast<void>(memory.share(std::move(ends.one))); });
    answered.get();
    return number;
  };
  EXPECT_EQ(refusal_of([&](int socket) { answer_with(socket, 7, both); }), EPROTO);
  EXPECT_EQ(refusal_of([&](int socket) { answer_with(socket, 9, both); }), EPROTO);
  EXPECT_EQ(refusal_of([&](int socket) { answer_with(socket, 8, register_mode::minor); }), EPROTO);
  EXPECT_EQ(refusal_of([](int socket) { test::send_bytes(socket, std::vector(40, std::byte{1})); }),
            EBADMSG);
  EXPECT_EQ(refusal_of([](int) {}), ECONNRESET);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

}  // namespace
}  // namespace uffd
