// SPDX-License-Identifier: MIT
// What is no snapshot, or not the one that was saved.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/refusal.hpp"
#include "support/resident.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "tracking/snapshot_format.hpp"
#include "uffd/tracking/snapshot_file.hpp"

namespace uffd {
namespace {

using test::bytes;

// Of what is tried byte by byte; with it, a file takes hundreds of times as long to be checked.
constexpr std::uint64_t stride = test::thread_sanitizer ? 13 : 1;

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

TEST(snapshot_file_refusals, that_is_none_is_refused) {
  const test::scratch_folder folder;
  EXPECT_EQ(test::refused(folder / "nothing"), std::errc::no_such_file_or_directory);
  EXPECT_EQ(test::refused(folder.path()), std::errc::is_a_directory);
  EXPECT_EQ(test::refused("/dev/null"), std::errc::invalid_seek);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(test::refused(folder / "pipe"), std::errc::invalid_seek) << "without waiting";
  for (const auto* const text : {"", "u", "some text", "uffdsnap0"}) {
    write_file(folder / "text", text);
    EXPECT_EQ(test::refused(folder / "text"), std::string_view("uffdsnap0").starts_with(text)
                                                  ? snapshot_error::truncated
                                                  : snapshot_error::foreign)
        << text;
  }
  for (const std::size_t zeroes : std::initializer_list<std::size_t>{1, 511, 512, 100'000}) {
    write_file(folder / "zeroes", std::string(zeroes, '\0'));
    EXPECT_EQ(test::refused(folder / "zeroes"), snapshot_error::incomplete) << zeroes;
  }
}

TEST(snapshot_file_refusals, of_another_format_is_named) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", test::some_memory()));
  const test::victim file(folder / "one");
  file.set(8, std::byte{2});
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::unknown_version);
  const auto words =
      test::complaint([&] { static_cast<void>(snapshot_file::open(folder / "one")); });
  EXPECT_NE(words.find((folder / "one").string()), words.npos) << words;
  file.set(8, std::byte{1});
  EXPECT_FALSE(test::refused(folder / "one"));
  file.set(76, std::byte{1});  // a flag
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::unknown_version);
  file.set(76, std::byte{0});
  file.set(12, file.get(12) ^ std::byte{3});
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::other_byte_order);
}

TEST(snapshot_file_refusals, with_any_changed_byte_before_its_pages_is_refused) {
  const test::scratch_folder folder;
  const auto saved = test::save(folder / "one", test::some_memory());
  const test::victim file(folder / "one");
  for (std::uint64_t i = 0; i < saved.data_offset(0); i += stride) {
    file.flip(i);
    const auto error = test::refused(folder / "one");
    ASSERT_EQ(error.category(), make_error_code(snapshot_error::damaged).category()) << i;
    if (i >= 512) {
      ASSERT_EQ(error, snapshot_error::damaged) << i;
    }
    file.flip(i);
  }
  EXPECT_FALSE(test::refused(folder / "one"));
}

TEST(snapshot_file_refusals, of_any_other_length_is_refused) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", test::random_pages(2, 1)));
  const test::victim file(folder / "one");
  const auto size = file.size();
  file.resize(size + 1);
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::damaged);
  for (auto length = size - 1; length < size; length -= stride) {
    file.resize(length);
    ASSERT_EQ(test::refused(folder / "one"), snapshot_error::truncated) << length;
  }
}

TEST(snapshot_file_refusals, names_a_page_that_was_changed) {
  const test::scratch_folder folder;
  const auto page = page_size();
  const std::vector<bytes> memory{test::some_memory(), test::random_pages(300, 2)};
  const auto file = test::save(folder / "one", memory);
  test::victim(folder / "one").flip(file.data_offset(1) + 200 * page + 5);
  EXPECT_FALSE(test::refused(folder / "one")) << "not looked at yet";
  bytes part(memory[1].size());
  auto done = file.read(1, 0, part);
  EXPECT_EQ(done.error, snapshot_error::damaged);
  EXPECT_EQ(done.bytes, 200 * page);
  done = file.read(1, 200 * page + 100, std::span(part).first(10));
  EXPECT_EQ(done.error, snapshot_error::damaged) << "nor is a part of it given";
  EXPECT_FALSE(file.read(1, 201 * page, std::span(part).first(99 * page)).error);
  const auto refusal = test::refusal_of([&] { file.verify(); });
  EXPECT_TRUE(refusal.names((folder / "one").string())) << refusal.words;
  EXPECT_TRUE(refusal.names("area 1, offset " + detail::hexadecimal(200 * page))) << refusal.words;
  EXPECT_EQ(refusal.number, static_cast<int>(snapshot_error::damaged));
}

TEST(snapshot_file_refusals, with_any_changed_byte_of_its_pages_is_not_verified) {
  const test::scratch_folder folder;
  const auto saved = test::save(folder / "one", test::some_memory());
  const test::victim file(folder / "one");
  for (std::uint64_t i = 0; i < page_size(); i += 7 * stride) {
    file.flip(saved.data_offset(0) + i);
    ASSERT_EQ(test::error_of([&] { saved.verify(); }), snapshot_error::damaged) << i;
    file.flip(saved.data_offset(0) + i);
  }
  saved.verify();
}

TEST(snapshot_file_refusals, that_is_cut_off_while_it_is_open_says_so) {
  const test::scratch_folder folder;
  const auto file = test::save(folder / "one", test::random_pages(2, 1));
  test::victim(folder / "one").resize(file.data_offset(0) + page_size() + 1);
  bytes part(2 * page_size());
  EXPECT_EQ(file.read(0, 0, part).error, snapshot_error::truncated);
  EXPECT_FALSE(file.read(0, 0, std::span(part).first(page_size())).error);
}

// An index that would take gigabytes, and of which the file has nothing.
TEST(snapshot_file_refusals, that_promises_much_takes_no_memory) {
  const test::scratch_folder folder;
  detail::snapshot_header header;
  header.identity.bytes[0] = 1;
  header.block = 4096;
  header.areas = {{{std::uintptr_t{1} << 40, std::size_t{1} << 40}, 4096}};
  const auto layout = detail::snapshot_layout::of(header.block, header.areas);
  ASSERT_TRUE(layout.has_value());
  const auto front = detail::encode_snapshot_header(header, *layout);
  write_file(folder / "one", {reinterpret_cast<const char*>(front.data()), front.size()});
  test::victim(folder / "one").resize(layout->file_size());
  const auto before = test::resident_bytes();
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::damaged);
  EXPECT_LT(test::resident_bytes(), before + (std::size_t{8} << 20));
}

TEST(snapshot_file_refusals, whose_areas_are_none_is_refused) {
  const test::scratch_folder folder;
  const auto page = std::size_t{4096};
  const auto with = [&](page_range range, std::size_t page_size) {
    detail::snapshot_header header;
    header.identity.bytes[0] = 1;
    header.block = page;
    header.areas = {{range, page_size}};
    // Nothing else is wrong with it, but where nobody could say where all lies.
    const snapshot_area small{{page, page}, page};
    auto layout = *detail::snapshot_layout::of(page, std::span(&small, 1));
    if (page_size != 0)
      layout = detail::snapshot_layout::of(page, header.areas).value_or(std::move(layout));
    const auto front = detail::encode_snapshot_header(header, layout);
    write_file(folder / "one", {reinterpret_cast<const char*>(front.data()), front.size()});
    test::victim(folder / "one").resize(layout.file_size());
    return test::refused(folder / "one");
  };
  EXPECT_EQ(with({0, 0}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, page}, 0), snapshot_error::damaged);
  EXPECT_EQ(with({0, page}, page / 2), snapshot_error::damaged);
  EXPECT_EQ(with({0, page + 1}, page), snapshot_error::damaged);
  EXPECT_EQ(with({1, page}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, ~std::size_t{0} - page + 1}, page), snapshot_error::damaged);
  EXPECT_EQ(with({~std::size_t{0} - page + 1, 2 * page}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, std::size_t{1} << 63U}, std::size_t{1} << 63U), snapshot_error::damaged);
}

}  // namespace
}  // namespace uffd
