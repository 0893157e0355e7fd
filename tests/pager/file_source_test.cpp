// SPDX-License-Identifier: MIT
#include "uffd/pager/file_source.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "support/refusal.hpp"
#include "support/scratch_file.hpp"

namespace uffd {
namespace {

static_assert(writable_source<file_source>);

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(file_source, reads_from_there_on) {
  const test::scratch_file file("abcdef");
  const file_source source(file.path());
  std::array<std::byte, 3> to{};
  const auto result = source.read(2, to);
  EXPECT_EQ(result.bytes, 3U);
  EXPECT_FALSE(result.error) << result.error.message();
  EXPECT_EQ(text(to), "cde");
  EXPECT_EQ(source.size(), 6U);
}

TEST(file_source, that_was_truncated_is_incomplete) {
  const test::scratch_file file("abcdef");
  const file_source source(file.path());
  std::filesystem::resize_file(file.path(), 4);
  std::array<std::byte, 4> to{};
  EXPECT_EQ(source.read(2, to).error, source_error::incomplete);
  EXPECT_EQ(source.size(), 6U);
}

TEST(file_source, that_somebody_wrote_has_changed) {
  const test::scratch_file file("abcdef");
  const file_source source(file.path());
  // Times may be as coarse as a tick.
  std::filesystem::last_write_time(
      file.path(), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  std::array<std::byte, 4> to{};
  const auto result = source.read(2, to);
  EXPECT_EQ(result.bytes, 0U);
  EXPECT_EQ(result.error, source_error::changed);
}

TEST(file_source, that_is_immutable_is_not_asked_whether_it_has_changed) {
  const test::scratch_file file("abcdef");
  file_source source(file.path(), file_access::read_immutable);
  std::filesystem::last_write_time(
      file.path(), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  std::array<std::byte, 4> to{};
  EXPECT_FALSE(source.read(2, to).error);
  EXPECT_EQ(text(to), "cdef");
  EXPECT_FALSE(source.is_writable());
  EXPECT_EQ(source.write(0, to), std::errc::read_only_file_system);
}

TEST(file_source, that_was_removed_is_read_on) {
  std::optional<test::scratch_file> file("abcdef");
  const int descriptor = ::open(file->path().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_NE(descriptor, -1);
  file.reset();
  const file_source source{unique_fd(descriptor)};
  std::array<std::byte, 6> to{};
  EXPECT_FALSE(source.read(0, to).error);
  EXPECT_EQ(text(to), "abcdef");
}

TEST(file_source, is_written_in_place_and_reads_what_it_wrote) {
  const test::scratch_file file("abcdef");
  file_source source(file.path(), file_access::read_write);
  EXPECT_TRUE(source.is_writable());
  EXPECT_FALSE(source.write(4, bytes("XY")));
  EXPECT_FALSE(source.flush());
  EXPECT_EQ(file.content(), "abcdXY");
  std::array<std::byte, 6> to{};
  EXPECT_FALSE(source.read(0, to).error);
  EXPECT_EQ(text(to), "abcdXY");
}

TEST(file_source, does_not_grow) {
  const test::scratch_file file("abcdef");
  file_source source(file.path(), file_access::read_write);
  for (const std::uint64_t beyond : {std::uint64_t{5}, ~std::uint64_t{0}})
    EXPECT_EQ(source.write(beyond, bytes("XY")), std::errc::file_too_large);
  EXPECT_EQ(file.content(), "abcdef");
}

TEST(file_source, that_is_to_be_read_only_is_not_written) {
  const test::scratch_file file("abcdef");
  file_source source(file.path());
  EXPECT_FALSE(source.is_writable());
  EXPECT_EQ(source.write(0, bytes("X")), std::errc::read_only_file_system);
  EXPECT_EQ(file.content(), "abcdef");
}

TEST(file_source, says_why_it_can_not_be_opened) {
  EXPECT_EQ(test::thrown([] { file_source("/nowhere/at/all"); }), ENOENT);
  EXPECT_EQ(test::thrown([] { file_source("/"); }), EISDIR);
  EXPECT_EQ(test::thrown([] { file_source("/dev/null"); }), ESPIPE);
  const test::scratch_file pipe("");
  ASSERT_EQ(::unlink(pipe.path().c_str()), 0);
  ASSERT_EQ(::mkfifo(pipe.path().c_str(), 0600), 0);
  EXPECT_EQ(test::thrown([&] { file_source(pipe.path()); }), ESPIPE) << "without waiting";
  EXPECT_EQ(test::thrown([] { file_source{unique_fd()}; }), EBADF);
  const test::scratch_file file("abcdef");
  EXPECT_EQ(test::thrown([&] {
              file_source(unique_fd(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC)),
                          file_access::read_write);
            }),
            EBADF);
}

TEST(file_source, is_told_by_its_identity) {
  const test::scratch_file file("abcdef");
  const test::scratch_file other("abcdef");
  EXPECT_EQ(file_source(file.path()).identity(), file_source(file.path()).identity());
  EXPECT_NE(file_source(file.path()).identity(), file_source(other.path()).identity());
  const auto before = file_source(file.path()).identity();
  file.write("abcdefg");
  EXPECT_NE(file_source(file.path()).identity(), before);
}

}  // namespace
}  // namespace uffd
