// SPDX-License-Identifier: MIT
#include "tracking/pre_image_buffers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

TEST(pre_image_buffers, are_as_many_as_they_are) {
  pre_image_buffers buffers(page_size(), 3);
  std::set<std::uint32_t> taken;
  for (int i = 0; i < 3; ++i) {
    const auto image = buffers.take();
    ASSERT_TRUE(image);
    EXPECT_EQ(buffers.bytes(*image).size(), page_size());
    taken.insert(*image);
  }
  EXPECT_EQ(taken.size(), 3U);
  EXPECT_FALSE(buffers.take());
  EXPECT_EQ(buffers.in_use(), 3U);
  buffers.give_back(*taken.begin());
  EXPECT_EQ(buffers.take(), *taken.begin());
  EXPECT_EQ(buffers.most_bytes(), 3 * page_size());
}

TEST(pre_image_buffers, come_to_whoever_saves_them) {
  pre_image_buffers buffers(page_size(), 2);
  const auto image = buffers.take();
  ASSERT_TRUE(image);
  buffers.bytes(*image).front() = std::byte{7};
  EXPECT_FALSE(buffers.has_published());
  buffers.publish(*image, 3, 9);
  EXPECT_TRUE(buffers.has_published());
  std::size_t seen = 0;
  buffers.for_each_published([&](std::uint32_t which, std::size_t area, std::size_t page) {
    ++seen;
    EXPECT_EQ(which, *image);
    EXPECT_EQ(area, 3U);
    EXPECT_EQ(page, 9U);
    EXPECT_EQ(buffers.bytes(which).front(), std::byte{7});
    buffers.give_back(which);
  });
  EXPECT_EQ(seen, 1U);
  EXPECT_EQ(buffers.in_use(), 0U);
  EXPECT_FALSE(buffers.has_published());
}

TEST(pre_image_buffers, are_of_one_thread_each_whoever_takes_them) {
  pre_image_buffers buffers(page_size(), 5);
  constexpr std::size_t each = 5000;
  std::atomic<std::size_t> published{0};
  std::size_t saved = 0;
  std::vector<std::jthread> threads;
  for (std::size_t thread = 1; thread <= 3; ++thread)
    threads.emplace_back([&, thread] {
      for (std::size_t i = 0; i < each;) {
        const auto image = buffers.take();
        if (!image) {
          std::this_thread::yield();
          continue;
        }
        buffers.bytes(*image).front() = static_cast<std::byte>(thread);
        buffers.publish(*image, thread, i++);
        ++published;
      }
    });
  std::size_t wrong = 0;
  while (saved < 3 * each)
    buffers.for_each_published([&](std::uint32_t image, std::size_t area, std::size_t) {
      if (buffers.bytes(image).front() != static_cast<std::byte>(area)) ++wrong;
      ++saved;
      buffers.give_back(image);
    });
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(saved, published);
  EXPECT_EQ(buffers.in_use(), 0U);
}

}  // namespace
}  // namespace uffd::detail
