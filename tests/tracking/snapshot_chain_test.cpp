// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_chain.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/resident.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "support/zero_page.hpp"
#include "tracking/file_bytes.hpp"
#include "tracking/snapshot_index.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

using test::bytes;

// Three snapshots of ten pages, and what they had each time.
struct three {
  three() {
    test::clear_page(memory, 3);
    const auto base = test::save(folder / "base", memory);
    first = memory;
    test::change_page(memory, 1, 11);
    test::change_page(memory, 3, 12);
    test::clear_page(memory, 4);
    const auto delta = test::save_pages(folder / "delta", base, memory, {1, 3, 4});
    second = memory;
    test::change_page(memory, 1, 13);
    test::change_page(memory, 4, 14);
    test::clear_page(memory, 5);
    static_cast<void>(test::save_pages(folder / "newest", delta, memory, {1, 4, 5}));
  }

  test::scratch_folder folder;
  bytes memory = test::random_pages(10, 1);
  bytes first, second;
};

bytes restored(const snapshot_chain& chain) {
  bytes memory(chain.areas()[0].range.size());
  chain.restore(memory);
  return memory;
}
std::error_code refused(const std::filesystem::path& path) {
  return test::error_of([&] { static_cast<void>(snapshot_chain::open(path)); });
}

TEST(snapshot_chain, is_the_newest_of_each_page) {
  const three saved;
  const auto chain = snapshot_chain::open(saved.folder / "newest");
  EXPECT_EQ(chain.files().size(), 3U);
  EXPECT_EQ(chain.newest().path(), saved.folder / "newest");
  EXPECT_EQ(restored(chain), saved.memory);
  EXPECT_EQ(restored(snapshot_chain::open(saved.folder / "delta")), saved.second);
  EXPECT_EQ(restored(snapshot_chain::open(saved.folder / "base")), saved.first);
  chain.verify();
  bytes part(3 * page_size() + 100);
  const auto done = chain.read(0, 2 * page_size() - 50, part);
  EXPECT_FALSE(done.error) << done.error.message();
  EXPECT_EQ(done.bytes, part.size());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), &saved.memory[2 * page_size() - 50]));
}

TEST(snapshot_chain, tells_what_there_is_and_in_which_file) {
  const three saved;
  const auto page = page_size();
  const auto chain = snapshot_chain::open(saved.folder / "newest");
  constexpr auto zero = snapshot_content::zero;
  const std::vector<snapshot_run> expected{{0, 5 * page, snapshot_content::saved},
                                           {5 * page, page, zero},
                                           {6 * page, 4 * page, snapshot_content::saved}};
  std::vector<snapshot_run> runs;
  chain.each_run(0, [&](const snapshot_run& run) { runs.push_back(run); });
  EXPECT_EQ(runs, expected);
  EXPECT_EQ(chain.holder_of(0, 0).path(), saved.folder / "base");
  EXPECT_EQ(chain.holder_of(0, page).path(), saved.folder / "newest");
  EXPECT_EQ(chain.holder_of(0, 3 * page + 1).path(), saved.folder / "delta");
  EXPECT_EQ(test::thrown([&] { static_cast<void>(chain.holder_of(0, 10 * page)); }), EINVAL);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(chain.run_at(1, 0)); }), EINVAL);
  bytes part(page);
  EXPECT_EQ(chain.read(0, 9 * page + 1, part).error, std::errc::invalid_argument);
}

TEST(snapshot_chain, finds_files_that_are_called_differently) {
  const three saved;
  std::filesystem::rename(saved.folder / "base", saved.folder / "one");
  std::filesystem::rename(saved.folder / "delta", saved.folder / "base");
  EXPECT_EQ(restored(snapshot_chain::open(saved.folder / "newest")), saved.memory);
}

TEST(snapshot_chain, finds_files_beside_a_relative_path) {
  const three saved;
  const test::working_folder here(saved.folder.path());
  std::filesystem::rename("base", "one");
  EXPECT_EQ(restored(snapshot_chain::open("newest")), saved.memory);
}

TEST(snapshot_chain, finds_files_where_a_link_leads_to) {
  const three saved;
  const test::scratch_folder elsewhere;
  std::filesystem::create_symlink(saved.folder / "newest", elsewhere / "latest");
  EXPECT_EQ(restored(snapshot_chain::open(elsewhere / "latest")), saved.memory);
  std::filesystem::rename(saved.folder / "delta", elsewhere / "delta");
  std::filesystem::rename(saved.folder / "base", elsewhere / "base");
  EXPECT_EQ(restored(snapshot_chain::open(elsewhere / "latest")), saved.memory) << "or beside it";
}

TEST(snapshot_chain, names_a_base_that_is_missing) {
  const three saved;
  const auto base = snapshot_file::open(saved.folder / "base");
  static_cast<void>(test::save(saved.folder / "base", saved.memory));
  const auto refusal =
      test::refusal_of([&] { static_cast<void>(snapshot_chain::open(saved.folder / "newest")); });
  EXPECT_EQ(refused(saved.folder / "newest"), snapshot_error::no_base)
      << "another one, by its name";
  EXPECT_TRUE(refusal.names((saved.folder / "delta").string())) << refusal.words;
  EXPECT_TRUE(refusal.names((saved.folder / "base").string())) << refusal.words;
  EXPECT_TRUE(refusal.names(to_string(base.identity()))) << refusal.words;
  std::filesystem::remove(saved.folder / "base");
  EXPECT_EQ(refused(saved.folder / "newest"), snapshot_error::no_base);
  EXPECT_EQ(refused(saved.folder / "delta"), snapshot_error::no_base);
}

TEST(snapshot_chain, names_a_base_that_is_damaged) {
  const three saved;
  const test::victim base(saved.folder / "base");
  for (const std::uint64_t offset : {std::uint64_t{100}, std::uint64_t{4100}}) {
    base.flip(offset);
    const auto words =
        test::complaint([&] { static_cast<void>(snapshot_chain::open(saved.folder / "newest")); });
    EXPECT_EQ(refused(saved.folder / "newest"), snapshot_error::damaged);
    EXPECT_NE(words.find((saved.folder / "base").string()), words.npos) << words;
    base.flip(offset);
  }
}

TEST(snapshot_chain, finds_a_whole_copy_of_a_base_that_is_damaged) {
  const three saved;
  for (const auto* const copy : {"a copy", "the copy"})  // whatever order they are found in
    std::filesystem::copy_file(saved.folder / "base", saved.folder / copy);
  for (const std::uint64_t offset : {std::uint64_t{100}, std::uint64_t{4100}}) {
    for (const auto* const broken : {"base", "a copy", "the copy"}) {
      SCOPED_TRACE(std::string(broken) + " " + std::to_string(offset));
      const test::victim file(saved.folder / broken);
      file.flip(offset);
      EXPECT_EQ(restored(snapshot_chain::open(saved.folder / "newest")), saved.memory);
      file.flip(offset);
    }
    test::victim(saved.folder / "base").flip(offset);
    test::victim(saved.folder / "a copy").flip(offset);
    EXPECT_EQ(restored(snapshot_chain::open(saved.folder / "newest")), saved.memory);
    test::victim(saved.folder / "the copy").flip(offset);
    EXPECT_EQ(refused(saved.folder / "newest"), snapshot_error::damaged);
    for (const auto* const each : {"base", "a copy", "the copy"})
      test::victim(saved.folder / each).flip(offset);
  }
}

TEST(snapshot_chain, names_a_renamed_base_that_is_damaged) {
  const three saved;
  std::filesystem::rename(saved.folder / "base", saved.folder / "one");
  test::victim(saved.folder / "one").flip(4100);
  const auto words =
      test::complaint([&] { static_cast<void>(snapshot_chain::open(saved.folder / "newest")); });
  EXPECT_EQ(refused(saved.folder / "newest"), snapshot_error::damaged);
  EXPECT_NE(words.find((saved.folder / "one").string()), words.npos) << words;
}

TEST(snapshot_chain, is_made_of_given_files_in_order) {
  const three saved;
  const auto base = snapshot_file::open(saved.folder / "base");
  const auto delta = snapshot_file::open(saved.folder / "delta");
  const auto newest = snapshot_file::open(saved.folder / "newest");
  EXPECT_EQ(restored(snapshot_chain({base, delta, newest})), saved.memory);
  const auto problem = [](std::vector<snapshot_file> files) {
    return test::error_of([&] { static_cast<void>(snapshot_chain(files)); });
  };
  EXPECT_EQ(problem({}), std::errc::invalid_argument);
  EXPECT_EQ(problem({delta, newest}), snapshot_error::no_base);
  EXPECT_EQ(problem({base, newest}), snapshot_error::other_base);
  EXPECT_EQ(problem({base, base}), snapshot_error::other_base);
  EXPECT_EQ(problem({base, delta, newest, delta}), snapshot_error::other_base);
}

// What no writer makes: a delta of other areas than its base.
TEST(snapshot_chain, of_different_areas_is_refused) {
  const test::scratch_folder folder;
  const auto base = test::save(folder / "base", test::random_pages(2, 1));
  detail::snapshot_header header;
  header.identity.bytes[0] = 1;
  header.base = base.identity();
  header.base_name = "base";
  header.block = page_size();
  header.areas = {{{page_size(), page_size()}, page_size()}};
  const auto layout = detail::snapshot_layout::of(header.block, header.areas);
  const auto front = detail::encode_snapshot_header(header, *layout);
  {
    const unique_fd file(::open((folder / "delta").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    test::check(detail::write_bytes(file.get(), 0, front));
    test::check(detail::snapshot_index(*layout).write(file.get(), header.identity));
  }
  test::victim(folder / "delta").resize(layout->file_size());
  EXPECT_FALSE(test::refused(folder / "delta"));
  EXPECT_EQ(refused(folder / "delta"), snapshot_error::other_areas);
}

TEST(snapshot_chain, restores_to_memory_of_other_content_if_told_so) {
  const three saved;
  const auto chain = snapshot_chain::open(saved.folder / "newest");
  auto memory = test::random_pages(10, 99);
  chain.restore(memory, restore_target::anything);
  EXPECT_EQ(memory, saved.memory);
}

TEST(snapshot_chain, restores_without_touching_zeroes) {
  UFFDPP_REQUIRE(test::zero_page());
  const test::scratch_folder folder;
  bytes memory(1000 * page_size());
  test::change_page(memory, 700, 1);
  static_cast<void>(test::save(folder / "one", memory));
  const auto chain = snapshot_chain::open(folder / "one");
  for (const auto target : {restore_target::zeroes, restore_target::anything}) {
    const auto fresh = mapping::anonymous(memory.size());
    ASSERT_EQ(::madvise(fresh.bytes().data(), memory.size(), MADV_NOHUGEPAGE), 0);
    chain.restore(fresh.bytes(), target);
    EXPECT_LE(test::resident_bytes(fresh.range()), 2 * page_size());
    EXPECT_TRUE(std::equal(memory.begin(), memory.end(), fresh.bytes().begin()));
  }
}

TEST(snapshot_chain, restores_several_areas_of_their_sizes_only) {
  const test::scratch_folder folder;
  const std::vector<bytes> memory{test::random_pages(3, 1), test::random_pages(5, 2)};
  static_cast<void>(test::save(folder / "one", memory));
  const auto chain = snapshot_chain::open(folder / "one");
  std::vector<bytes> to{bytes(3 * page_size()), bytes(5 * page_size())};
  std::vector<std::span<std::byte>> spans(to.begin(), to.end());
  EXPECT_EQ(test::thrown([&] { chain.restore(spans[0]); }), EINVAL);
  std::swap(spans[0], spans[1]);
  EXPECT_EQ(test::thrown([&] { chain.restore(spans); }), EINVAL);
  EXPECT_EQ(to[0], bytes(3 * page_size())) << "nothing was written";
  std::swap(spans[0], spans[1]);
  chain.restore(spans);
  EXPECT_EQ(to, memory);
}

TEST(snapshot_chain, names_a_damaged_page_and_its_file) {
  const three saved;
  const auto chain = snapshot_chain::open(saved.folder / "newest");
  const auto page = page_size();
  test::victim(saved.folder / "delta").flip(chain.files()[1].data_offset(0) + 3 * page);
  bytes memory(10 * page);
  const auto refusal = test::refusal_of([&] { chain.restore(memory); });
  EXPECT_TRUE(refusal.names((saved.folder / "delta").string())) << refusal.words;
  EXPECT_TRUE(refusal.names("area 0, offset " + uffd::detail::hexadecimal(3 * page)))
      << refusal.words;
  EXPECT_EQ(test::error_of([&] { chain.verify(); }), snapshot_error::damaged);
  const auto done = chain.read(0, 0, memory);
  EXPECT_EQ(done.bytes, 3 * page);
  EXPECT_EQ(done.error, snapshot_error::damaged);
}

TEST(snapshot_chain, of_huge_pages_is_laid_over_in_small_ones) {
  const test::scratch_folder folder;
  constexpr std::size_t huge = std::size_t{2} << 20;
  std::vector<bytes> memory{bytes(2 * huge)};
  test::change_page(memory[0], 5, 1);
  const auto base = test::save(folder / "base", memory, huge);
  test::clear_page(memory[0], 5);
  test::change_page(memory[0], 9, 2);
  const detail::snapshot_base on(base.path());
  detail::snapshot_writer writer(folder / "delta", base.areas(), &on);
  test::check(writer.put(0, 0, std::span(memory[0]).first(huge)));
  test::check(writer.commit());
  EXPECT_EQ(restored(snapshot_chain::open(folder / "delta")), memory[0]);
}

}  // namespace
}  // namespace uffd
