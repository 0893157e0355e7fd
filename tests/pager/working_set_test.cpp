// SPDX-License-Identifier: MIT
#include "uffd/pager/working_set.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "pager/working_set_text.hpp"
#include "support/background.hpp"
#include "support/refusal.hpp"
#include "support/scratch_file.hpp"

namespace uffd {
namespace {

using runs = std::vector<working_set::run>;

runs runs_of(const working_set& set) { return {set.runs().begin(), set.runs().end()}; }

working_set small_set() { return {"a source", 20'000, 4096, runs{{4096, 8192}, {16'384, 100}}}; }

std::error_code error_of(const std::function<void()>& call) {
  try {
    call();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}
std::error_code error_of_text(std::string_view text) {
  return error_of([&] { static_cast<void>(working_set::parse(text)); });
}
// With a checksum that is right.
std::error_code error_of_body(const std::string& body) {
  return error_of_text(detail::with_checksum(body));
}
std::string body(const std::string& after_source) {
  return "uffd working set 1\nsource x\n" + after_source;
}

TEST(working_set, is_made_of_whole_pages) {
  const working_set set("", 3 * 4096 + 10, 4096, runs{{100, 1}, {3 * 4096 + 9, 1}});
  EXPECT_EQ(runs_of(set), (runs{{0, 4096}, {3 * 4096, 10}}));
  EXPECT_EQ(set.bytes(), 4106U);
}

TEST(working_set, joins_what_overlaps_or_touches) {
  const working_set set(
      "", 1 << 20, 4096,
      runs{{40'960, 1}, {8192, 4096}, {0, 1}, {4096, 5000}, {45'056, 4096}, {9, 0}});
  EXPECT_EQ(runs_of(set), (runs{{0, 12'288}, {40'960, 8192}}));
}

TEST(working_set, ends_with_its_source) {
  EXPECT_EQ(test::thrown([] { working_set("", 100, 4096, runs{{0, 101}}); }), EINVAL);
  EXPECT_EQ(test::thrown([] { working_set("", 100, 4096, runs{{101, 0}}); }), EINVAL);
  EXPECT_EQ(test::thrown([] { working_set("", 100, 4096, runs{{1, UINT64_MAX}}); }), EINVAL);
  const working_set all("", UINT64_MAX, 4096, runs{{UINT64_MAX - 1, 1}, {1, UINT64_MAX - 1}});
  EXPECT_EQ(runs_of(all), (runs{{0, UINT64_MAX}}));
}

TEST(working_set, has_pages_of_a_power_of_two) {
  for (const std::size_t size : {0U, 3U, 4095U})
    EXPECT_EQ(test::thrown([&] { working_set("", 1, size, {}); }), EINVAL) << size;
}

TEST(working_set, is_one_of_its_source) {
  const auto set = small_set();
  EXPECT_TRUE(set.is_of("a source", 20'000));
  EXPECT_TRUE(set.is_of("", 20'000)) << "a source that can't say what it is";
  EXPECT_FALSE(set.is_of("another", 20'000));
  EXPECT_FALSE(set.is_of("a source", 20'001));
  EXPECT_TRUE(working_set("", 20'000, 4096, {}).is_of("another", 20'000));
}

TEST(working_set, takes_up_another_of_the_same_source) {
  auto set = small_set();
  set.merge(working_set("a source", 20'000, 1024, runs{{12'288, 1024}, {0, 1}}));
  EXPECT_EQ(runs_of(set), (runs{{0, 1024}, {4096, 9216}, {16'384, 3616}}));
  EXPECT_EQ(set.page_size(), 1024U);
  EXPECT_EQ(working_set::parse(set.text()), set);
  EXPECT_EQ(error_of([&] { set.merge(working_set("another", 20'000, 4096, {})); }),
            working_set_error::other_source);
}

TEST(working_set, is_written_as_the_header_says) {
  const auto text = small_set().text();
  const std::string above =
      "uffd working set 1\nsource a%20source\nsize 20000\npage 4096\nruns 2\n4096 8192\n"
      "16384 3616\n";
  EXPECT_EQ(text.substr(0, above.size()), above);
  EXPECT_EQ(text.substr(above.size(), 9), "checksum ");
  EXPECT_EQ(text.size(), above.size() + 26);
}

// The published values.
TEST(working_set, has_the_checksum_that_others_compute) {
  EXPECT_EQ(detail::checksum_of(""), 0xcbf29ce484222325U);
  EXPECT_EQ(detail::checksum_of("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(detail::checksum_of("foobar"), 0x85944171f73967e8U);
}

TEST(working_set, comes_back_from_its_text) {
  std::string every_byte;
  for (int value = 0; value < 256; ++value) every_byte += static_cast<char>(value);
  for (const auto& set :
       {small_set(), working_set(), working_set(every_byte, 1, 1, runs{{0, 1}}),
        working_set("", UINT64_MAX, std::size_t{1} << 63U, runs{{0, 1}, {UINT64_MAX - 1, 1}})})
    EXPECT_EQ(working_set::parse(set.text()), set) << set.text();
}

TEST(working_set, knows_what_is_something_else) {
  for (const std::string_view text : {"", "uffd",
                                      "\x7f"
                                      "ELF",
                                      "UFFD working set 1\n"})
    EXPECT_EQ(error_of_text(text), working_set_error::foreign) << text;
  EXPECT_EQ(error_of_body("uffd working set 2\nwhatever\n"), working_set_error::unknown_version);
}

TEST(working_set, is_refused_wherever_it_was_cut_off) {
  const auto text = small_set().text();
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_EQ(error_of_text(std::string_view(text).substr(0, size)),
              size < 17 ? working_set_error::foreign : working_set_error::damaged)
        << size;
  EXPECT_EQ(error_of_text(text + "\n"), working_set_error::damaged);
}

TEST(working_set, is_refused_whichever_bit_was_changed) {
  const auto text = small_set().text();
  for (std::size_t i = 0; i < 8 * text.size(); ++i) {
    auto changed = text;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ 1 << i % 8);
    EXPECT_TRUE(error_of_text(changed)) << changed;
  }
}

// By those who compute checksums.
TEST(working_set, is_refused_where_it_contradicts_itself) {
  ASSERT_FALSE(error_of_body(body("size 8192\npage 4096\nruns 1\n0 4096\n")));
  for (const auto* const rest : {
           "size 8192\npage 4096\nruns 2\n0 4096\n",                     // fewer
           "size 8192\npage 4096\nruns 0\n0 4096\n",                     // more
           "size 8192\npage 4096\nruns 18446744073709551615\n0 4096\n",  // than it can have
           "size 8192\npage 4096\nruns 18446744073709551616\n",
           "size 8192\npage 4096\nruns 2\n0 4096\n4096 4096\n",  // they touch
           "size 9000\npage 4096\nruns 2\n8192 808\n0 4096\n",   // they descend
           "size 8192\npage 4096\nruns 1\n0 0\n",                // nothing
           "size 8192\npage 4096\nruns 1\n1 4096\n",             // no whole page
           "size 8192\npage 4096\nruns 1\n0 4095\n",             // no whole page
           "size 8192\npage 4096\nruns 1\n4096 8192\n",          // beyond the end
           "size 8192\npage 4096\nruns 1\n12288 4096\n",         // beyond the end
           "size 8192\npage 4096\nruns 1\n4096 18446744073709551615\n",
           "size 8192\npage 4095\nruns 0\n",
           "size 8192\npage 0\nruns 0\n",
           "size 08192\npage 4096\nruns 0\n",
           "size +8192\npage 4096\nruns 0\n",
           "size 8192 \npage 4096\nruns 0\n",
           "size \npage 4096\nruns 0\n",
           "size 8192\r\npage 4096\r\nruns 0\r\n",
           "size 8192\npage 4096\n",
           "",
       })
    EXPECT_EQ(error_of_body(body(rest)), working_set_error::damaged) << rest;
  for (const auto* const source : {"a b", "%2", "%", "%zz", "%0a", "%41", "\x80"})
    EXPECT_EQ(error_of_body("uffd working set 1\nsource " + std::string(source) +
                            "\nsize 1\npage 1\nruns 0\n"),
              working_set_error::damaged)
        << source;
}

TEST(working_set, is_refused_where_it_is_too_large) {
  std::string text = "uffd working set 1\nsource ";
  text.resize(detail::most_working_set_text + 1, 'x');
  EXPECT_EQ(error_of_text(text), working_set_error::too_large);
  const working_set set(text, 1, 1, {});
  EXPECT_EQ(error_of([&] { static_cast<void>(set.text()); }), working_set_error::too_large);
}

TEST(working_set_file, comes_back_as_it_was_saved) {
  const test::scratch_file file("something else");
  small_set().save(file.path());
  EXPECT_EQ(working_set::load(file.path()), small_set());
  EXPECT_EQ(file.content(), small_set().text());
  working_set().save(file.path());
  EXPECT_EQ(working_set::load(file.path()), working_set());
}

// A folder of its own, so that what is left behind shows.
class working_set_folder : public testing::Test {
 protected:
  working_set_folder() : path_(file_.path() + ".folder") {
    std::filesystem::create_directory(path_);
  }
  ~working_set_folder() override { std::filesystem::remove_all(path_); }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

  test::scratch_file file_{""};
  std::filesystem::path path_;
};

TEST_F(working_set_folder, has_nothing_but_the_file) {
  const auto file = path_ / "set";
  small_set().save(file);
  EXPECT_EQ(working_set::load(file), small_set());
  EXPECT_EQ(files(), 1U);
  std::filesystem::create_directory(path_ / "folder");
  EXPECT_EQ(test::thrown([&] { small_set().save(path_ / "folder"); }), EISDIR);
  EXPECT_EQ(files(), 2U) << "nor after a failure";
  EXPECT_EQ(test::thrown([&] { small_set().save(path_ / "none" / "set"); }), ENOENT);
}

TEST_F(working_set_folder, shows_the_old_or_the_new_at_any_time) {
  const auto file = path_ / "set";
  const working_set other("another", 1 << 20, 4096, runs{{0, 1 << 20}});
  small_set().save(file);
  test::background saving([&] {
    for (int i = 0; i < 20; ++i) (i % 2 == 0 ? other : small_set()).save(file);
  });
  do {
    const auto seen = working_set::load(file);
    EXPECT_TRUE(seen == other || seen == small_set());
  } while (!saving.finishes(std::chrono::milliseconds(0)));
}

TEST_F(working_set_folder, gives_what_can_not_be_loaded_its_errno) {
  EXPECT_EQ(test::thrown([&] { static_cast<void>(working_set::load(path_ / "none")); }), ENOENT);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(working_set::load(path_)); }), EISDIR);
  const auto pipe = path_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(working_set::load(pipe)); }), ESPIPE);
}

TEST_F(working_set_folder, names_the_file_that_is_damaged) {
  file_.write("uffd working set 1\n");
  const auto refused =
      test::refusal_of([&] { static_cast<void>(working_set::load(file_.path())); });
  EXPECT_TRUE(refused.names(file_.path())) << refused.words;
  EXPECT_TRUE(refused.names("damaged")) << refused.words;
}

// Of which nothing is read but the begin.
TEST_F(working_set_folder, refuses_a_file_that_is_larger_than_any) {
  file_.write("uffd working set 1\n");
  std::filesystem::resize_file(file_.path(), std::uint64_t{1} << 40U);
  EXPECT_EQ(error_of([&] { static_cast<void>(working_set::load(file_.path())); }),
            working_set_error::too_large);
}

TEST(working_set_error_code, says_what_it_means) {
  for (const auto error :
       {working_set_error::foreign, working_set_error::unknown_version, working_set_error::damaged,
        working_set_error::too_large, working_set_error::other_source}) {
    const std::error_code code = error;
    EXPECT_STREQ(code.category().name(), "working set");
    EXPECT_NE(code.message().find("working set"), std::string::npos) << code.message();
  }
}

}  // namespace
}  // namespace uffd
