// SPDX-License-Identifier: MIT
#include "detail/new_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "support/forked.hpp"
#include "support/refusal.hpp"
#include "support/scratch_folder.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {
namespace {

void write(const new_file& file, const std::string& text) {
  EXPECT_EQ(::write(file.fd(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}
std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(new_file, takes_its_place_in_one_step) {
  const test::scratch_folder folder;
  std::ofstream(folder / "a") << "old";
  new_file file(folder / "a", 0600, "test: ");
  write(file, "new");
  EXPECT_EQ(content_of(folder / "a"), "old");
  EXPECT_EQ(file.take_its_place(replacing::refused), std::errc::file_exists);
  EXPECT_EQ(content_of(folder / "a"), "old");
  EXPECT_FALSE(file.take_its_place(replacing::permitted));
  EXPECT_FALSE(file.keep_its_place());
  EXPECT_EQ(content_of(folder / "a"), "new");
  EXPECT_EQ(folder.files(), 1U);
}

TEST(new_file, replaces_nothing_that_is_not_there) {
  const test::scratch_folder folder;
  new_file file(folder / "a", 0600, "test: ");
  EXPECT_FALSE(file.take_its_place(replacing::refused));
  EXPECT_TRUE(std::filesystem::exists(folder / "a"));
  file.remove();
  EXPECT_EQ(folder.files(), 0U);
}

TEST(new_file, may_have_the_longest_name_there_is) {
  const test::scratch_folder folder;
  const auto length = ::pathconf(folder.path().c_str(), _PC_NAME_MAX);
  ASSERT_GT(length, 0);
  const std::string name(static_cast<std::size_t>(length), 'a');
  new_file file(folder / name, 0600, "test: ");
  EXPECT_FALSE(file.take_its_place(replacing::refused));
  EXPECT_TRUE(std::filesystem::exists(folder / name));
}

TEST(new_file, that_took_no_place_is_gone_at_its_end) {
  const test::scratch_folder folder;
  {
    const new_file file(folder / "a", 0600, "test: ");
    EXPECT_EQ(folder.files(), 1U);
  }
  EXPECT_EQ(folder.files(), 0U);
}

TEST(new_file, is_not_taken_away_by_a_forked_child) {
  const test::scratch_folder folder;
  std::optional<new_file> file;
  file.emplace(folder / "a", 0600U, "test: ");
  EXPECT_EQ(test::in_child([&] { file.reset(); }), test::exits_with(0));
  EXPECT_EQ(folder.files(), 1U);
}

TEST(new_file, keeps_its_folder_when_the_process_goes_elsewhere) {
  const test::scratch_folder folder;
  EXPECT_EQ(test::in_child([&] {
              std::filesystem::current_path(folder.path());
              new_file file("a", 0600, "test: ");
              std::filesystem::current_path("/");
              return file.take_its_place(replacing::refused) ? 1 : 0;
            }),
            test::exits_with(0));
  EXPECT_TRUE(std::filesystem::exists(folder / "a"));
}

// Without it, nobody could say that the file's name outlasts a crash.
TEST(new_file, is_not_made_where_its_folder_can_not_be_opened) {
  const test::scratch_folder folder;
  EXPECT_EQ(test::in_child([&] {
              // One more descriptor may be opened: not both.
              const int next = ::dup(STDERR_FILENO);
              ::close(next);
              const auto most = static_cast<rlim_t>(next) + 1;
              const rlimit limit{most, most};
              ::setrlimit(RLIMIT_NOFILE, &limit);
              return test::thrown([&] { new_file(folder / "a", 0600, "test: "); });
            }),
            test::exits_with(EMFILE));
  EXPECT_EQ(folder.files(), 0U);
}

TEST(new_file, lasts_in_a_folder_that_can_not_be_read) {
  const test::scratch_folder folder;
  const auto place = folder / "place";
  std::filesystem::create_directory(place);
  ASSERT_EQ(::chmod(place.c_str(), 0300), 0);
  const unique_fd opened(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened) GTEST_SKIP() << "this user may read every folder";
  new_file file(place / "a", 0600, "test: ");
  EXPECT_FALSE(file.take_its_place(replacing::refused));
  EXPECT_FALSE(file.keep_its_place());
  ::chmod(place.c_str(), 0700);
}

TEST(new_file, says_where_it_can_not_be) {
  const auto refusal = test::refusal_of([] { new_file("/nowhere/at/all", 0600, "test: "); });
  EXPECT_EQ(refusal.number, ENOENT);
  EXPECT_TRUE(refusal.names("test: /nowhere/at/all")) << refusal.words;
}

}  // namespace
}  // namespace uffd::detail
