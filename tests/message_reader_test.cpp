// SPDX-License-Identifier: MIT
// Batches read from a pipe that stands in for the kernel. The kernel's own:
// message_events_test.cpp.
#include "uffd/message_reader.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "support/descriptors.hpp"
#include "support/messages.hpp"

namespace uffd {
namespace {

static_assert(!std::is_copy_constructible_v<message_reader>);
static_assert(!std::is_copy_constructible_v<message_batch>);
static_assert(std::is_nothrow_move_constructible_v<message_batch>);
static_assert(std::forward_iterator<message_batch::iterator> ||
              std::input_iterator<message_batch::iterator>);

using test::fault_message;

class message_reader_on_a_pipe : public testing::Test {
 protected:
  // A descriptor of this process that a forged fork message can name.
  static int some_descriptor() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

  test::message_pipe pipe_;
  message_reader reader_{pipe_.fd(), {}};
};

TEST_F(message_reader_on_a_pipe, nothing_to_read_is_an_empty_batch_without_error) {
  const auto batch = reader_.read();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.size(), 0u);
  EXPECT_EQ(batch.begin(), batch.end());
  EXPECT_FALSE(batch.error());
}

TEST_F(message_reader_on_a_pipe, messages_come_in_their_order) {
  ASSERT_TRUE(pipe_.send(fault_message(0x1000), fault_message(0x2000), fault_message(0x3000)));
  const auto batch = reader_.read();
  ASSERT_EQ(batch.size(), 3u);
  EXPECT_FALSE(batch.error());
  std::uintptr_t expected = 0x1000;
  for (const event one : batch) {
    EXPECT_EQ(std::get<page_fault>(one).address, expected);
    expected += 0x1000;
  }
}

TEST_F(message_reader_on_a_pipe, events_come_before_faults_each_in_their_order) {
  ASSERT_TRUE(pipe_.send(fault_message(0x1000), test::remove_message(0x1000, 0x2000),
                         fault_message(0x2000), test::unmap_message(0x3000, 0x4000),
                         test::remap_message(0x5000, 0x6000, 0x1000), fault_message(0x3000)));
  const auto batch = reader_.read();
  ASSERT_EQ(batch.size(), 6u);
  EXPECT_TRUE(std::holds_alternative<remove_event>(batch[0]));
  EXPECT_TRUE(std::holds_alternative<unmap_event>(batch[1]));
  EXPECT_TRUE(std::holds_alternative<remap_event>(batch[2]));
  EXPECT_EQ(std::get<page_fault>(batch[3]).address, 0x1000u);
  EXPECT_EQ(std::get<page_fault>(batch[4]).address, 0x2000u);
  EXPECT_EQ(std::get<page_fault>(batch[5]).address, 0x3000u);
}

TEST_F(message_reader_on_a_pipe, unknown_message_counts_as_an_event) {
  auto strange = fault_message(0x9000);
  strange.event = 0x77;
  ASSERT_TRUE(pipe_.send(fault_message(0x1000), strange));
  const auto batch = reader_.read();
  ASSERT_EQ(batch.size(), 2u);
  EXPECT_EQ(std::get<unknown_event>(batch[0]).number, 0x77);
  EXPECT_FALSE(batch.error());
}

TEST_F(message_reader_on_a_pipe, batch_has_at_most_its_capacity) {
  for (std::size_t i = 0; i < message_reader::capacity + 3; ++i)
    ASSERT_TRUE(pipe_.send(fault_message(i * 0x1000)));
  EXPECT_EQ(reader_.read().size(), message_reader::capacity);
  const auto rest = reader_.read();
  ASSERT_EQ(rest.size(), 3u);
  EXPECT_EQ(std::get<page_fault>(rest[0]).address, message_reader::capacity * 0x1000);
}

TEST_F(message_reader_on_a_pipe, features_decide_what_a_fault_tells) {
  message_reader with_threads(pipe_.fd(), feature::thread_id);
  ASSERT_TRUE(pipe_.send(fault_message(0, 0, 77)));
  EXPECT_EQ(std::get<page_fault>(with_threads.read()[0]).thread_id, 77);
}

TEST_F(message_reader_on_a_pipe, torn_message_is_EBADMSG) {
  const std::array<std::byte, 20> part{};
  ASSERT_TRUE(pipe_.write(part));
  const auto batch = reader_.read();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.error(), std::errc::bad_message);
}

TEST_F(message_reader_on_a_pipe, torn_message_after_whole_ones_is_EBADMSG_beside_them) {
  const std::array whole{fault_message(0x1000), fault_message(0x2000)};
  ASSERT_TRUE(pipe_.write(std::as_bytes(std::span(whole)).first(sizeof(uapi::message) + 1)));
  const auto batch = reader_.read();
  ASSERT_EQ(batch.size(), 1u);
  EXPECT_EQ(std::get<page_fault>(batch[0]).address, 0x1000u);
  EXPECT_EQ(batch.error(), std::errc::bad_message);
}

TEST_F(message_reader_on_a_pipe, end_of_file_is_ENODATA) {
  pipe_.close_write_end();
  const auto batch = reader_.read();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.error(), std::errc::no_message_available);
}

TEST(message_reader, of_a_closed_descriptor_is_EBADF) {
  message_reader reader(-1, {});
  EXPECT_EQ(reader.read().error(), std::errc::bad_file_descriptor);
}

TEST_F(message_reader_on_a_pipe, batch_closes_the_children_that_nobody_took) {
  const int first = some_descriptor();
  const int second = some_descriptor();
  ASSERT_TRUE(
      pipe_.send(fault_message(0x1000), test::fork_message(first), test::fork_message(second)));
  {
    const auto batch = reader_.read();
    ASSERT_EQ(batch.size(), 3u);
    EXPECT_TRUE(test::is_open(first));
  }
  EXPECT_FALSE(test::is_open(first));
  EXPECT_FALSE(test::is_open(second));
}

TEST_F(message_reader_on_a_pipe, taken_child_is_the_takers) {
  const int taken = some_descriptor();
  const int left = some_descriptor();
  ASSERT_TRUE(pipe_.send(test::fork_message(taken), test::fork_message(left)));
  {
    const auto child = [&] {
      auto batch = reader_.read();
      return batch.take(std::get<fork_event>(batch[0]));
    }();
    EXPECT_EQ(child.fd(), taken);
    EXPECT_TRUE(child.foreign());
    EXPECT_TRUE(test::is_open(taken));
    EXPECT_FALSE(test::is_open(left));
  }
  EXPECT_FALSE(test::is_open(taken));
}

TEST_F(message_reader_on_a_pipe, child_is_taken_once) {
  ASSERT_TRUE(pipe_.send(test::fork_message(some_descriptor())));
  auto batch = reader_.read();
  const auto forked = std::get<fork_event>(batch[0]);
  const auto first = batch.take(forked);
  const auto second = batch.take(forked);
  EXPECT_EQ(first.fd(), forked.descriptor);
  EXPECT_EQ(second.fd(), -1);
}

TEST_F(message_reader_on_a_pipe, only_the_batchs_own_children_can_be_taken) {
  const int own = some_descriptor();
  ASSERT_TRUE(pipe_.send(test::fork_message(own)));
  auto batch = reader_.read();
  EXPECT_EQ(batch.take(fork_event{0}).fd(), -1);
  EXPECT_EQ(batch.take(fork_event{-1}).fd(), -1);
  EXPECT_TRUE(test::is_open(own));
}

TEST_F(message_reader_on_a_pipe, moved_batch_closes_the_children_once) {
  const int child = some_descriptor();
  ASSERT_TRUE(pipe_.send(test::fork_message(child)));
  {
    auto batch = reader_.read();
    const auto moved = std::move(batch);
    EXPECT_TRUE(batch.empty());  // NOLINT(bugprone-use-after-move): what a moved-from one holds
    EXPECT_EQ(moved.size(), 1u);
    EXPECT_TRUE(test::is_open(child));
  }
  EXPECT_FALSE(test::is_open(child));
}

TEST_F(message_reader_on_a_pipe, iterator_walks_all_in_either_notation) {
  ASSERT_TRUE(pipe_.send(fault_message(0x1000), fault_message(0x2000)));
  const auto batch = reader_.read();
  auto position = batch.begin();
  EXPECT_EQ(std::get<page_fault>(*position++).address, 0x1000u);
  EXPECT_EQ(std::get<page_fault>(*position).address, 0x2000u);
  EXPECT_EQ(++position, batch.end());
  EXPECT_EQ(std::vector<event>(batch.begin(), batch.end()).size(), 2u);
}

}  // namespace
}  // namespace uffd
