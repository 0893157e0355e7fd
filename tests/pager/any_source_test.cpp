// SPDX-License-Identifier: MIT
#include "uffd/pager/any_source.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace uffd {
namespace {

constexpr std::size_t asked = 8;

// Answers what it is told to.
struct puppet {
  std::function<read_result(std::uint64_t, std::span<std::byte>)> on_read;
  std::uint64_t size() const { return 100; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const {
    return on_read(offset, to);
  }
};

struct complete_source {
  bool writes = true;
  int flushed = 0;
  std::uint64_t written_at = 0;
  std::array<std::byte, 3> content{};

  std::uint64_t size() const { return content.size(); }
  read_result read(std::uint64_t, std::span<std::byte> to) const { return {to.size(), {}}; }
  std::error_code write(std::uint64_t offset, std::span<const std::byte>) {
    written_at = offset;
    return {};
  }
  std::error_code flush() {
    ++flushed;
    return std::make_error_code(std::errc::no_space_on_device);
  }
  bool is_writable() const { return writes; }
  std::string identity() const { return "it"; }
  source_advice advice() const { return {4096}; }
  std::span<const std::byte> bytes() const { return content; }
};

static_assert(std::is_constructible_v<any_source, puppet>);
static_assert(std::is_constructible_v<any_source, std::reference_wrapper<puppet>>);
static_assert(!std::is_constructible_v<any_source, puppet&>, "a copy would be made silently");
static_assert(!std::is_constructible_v<any_source, int>);
static_assert(std::is_nothrow_move_constructible_v<any_source>);
static_assert(!std::is_copy_constructible_v<any_source>);

read_result read_of(puppet source) {
  std::array<std::byte, asked> to{};
  return any_source(std::move(source)).read(0, to);
}

TEST(any_source, asks_its_source) {
  std::uint64_t asked_at = 0;
  const any_source source(puppet{[&](std::uint64_t offset, std::span<std::byte> to) {
    asked_at = offset;
    to.front() = std::byte{7};
    return read_result{to.size(), {}};
  }});
  std::array<std::byte, asked> to{};
  const auto result = source.read(40, to);
  EXPECT_EQ(result.bytes, asked);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(asked_at, 40U);
  EXPECT_EQ(to.front(), std::byte{7});
  EXPECT_EQ(source.size(), 100U);
}

TEST(any_source, hands_errors_on) {
  const auto result = read_of({[](std::uint64_t, std::span<std::byte>) {
    return read_result{3, source_error::gone};
  }});
  EXPECT_EQ(result.bytes, 3U);
  EXPECT_EQ(result.error, source_error::gone);
}

TEST(any_source, takes_too_few_bytes_for_an_error) {
  const auto result = read_of({[](std::uint64_t, std::span<std::byte>) {
    return read_result{3, {}};
  }});
  EXPECT_EQ(result.bytes, 3U);
  EXPECT_EQ(result.error, source_error::incomplete);
}

TEST(any_source, believes_no_more_bytes_than_there_is_room_for) {
  const auto result = read_of({[](std::uint64_t, std::span<std::byte>) {
    return read_result{asked + 1, {}};
  }});
  EXPECT_EQ(result.bytes, 0U);
  EXPECT_EQ(result.error, source_error::incomplete);
}

TEST(any_source, takes_exceptions_for_errors) {
  const auto thrown = [](auto exception) {
    return read_of({[=](std::uint64_t, std::span<std::byte>) -> read_result { throw exception; }})
        .error;
  };
  EXPECT_EQ(thrown(std::system_error(ETIMEDOUT, std::system_category())), std::errc::timed_out);
  EXPECT_EQ(thrown(std::bad_alloc()), std::errc::not_enough_memory);
  EXPECT_EQ(thrown(std::runtime_error("")), std::errc::io_error);
  EXPECT_EQ(thrown(0), std::errc::io_error);
  EXPECT_EQ(thrown(std::system_error(std::error_code())), std::errc::io_error);
}

TEST(any_source, answers_for_what_its_source_lacks) {
  any_source source(puppet{});
  EXPECT_FALSE(source.is_writable());
  EXPECT_EQ(source.write(0, {}), std::errc::read_only_file_system);
  EXPECT_FALSE(source.flush());
  EXPECT_EQ(source.identity(), "");
  EXPECT_EQ(source.advice().unit, 0U);
  EXPECT_TRUE(source.bytes().empty());
}

TEST(any_source, asks_for_all_that_its_source_has) {
  complete_source held;
  any_source source(std::ref(held));
  EXPECT_TRUE(source.is_writable());
  EXPECT_FALSE(source.write(2, {}));
  EXPECT_EQ(held.written_at, 2U);
  EXPECT_EQ(source.flush(), std::errc::no_space_on_device);
  EXPECT_EQ(held.flushed, 1);
  EXPECT_EQ(source.identity(), "it");
  EXPECT_EQ(source.advice().unit, 4096U);
  EXPECT_EQ(source.bytes().data(), held.content.data());
}

TEST(any_source, writes_only_where_its_source_can) {
  complete_source held;
  held.writes = false;
  any_source source(std::ref(held));
  EXPECT_FALSE(source.is_writable());
  EXPECT_EQ(source.write(2, {}), std::errc::read_only_file_system);
  EXPECT_EQ(held.written_at, 0U);
}

TEST(any_source, owns_what_it_took) {
  struct tracked : puppet {
    std::shared_ptr<int> life;
  };
  const auto life = std::make_shared<int>();
  tracked given;
  given.life = life;
  {
    any_source first(std::move(given));
    const any_source second(std::move(first));
    EXPECT_EQ(life.use_count(), 2);
  }
  EXPECT_EQ(life.use_count(), 1);
}

}  // namespace
}  // namespace uffd
