// SPDX-License-Identifier: MIT
#include "uffd/pager/page_sharing.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sanitizers.hpp"
#include "support/sharing.hpp"
#include "support/toucher.hpp"
#include "uffd/pager/memory_budget.hpp"
#include "uffd/pager/shared_pages.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

class page_sharing_of : public test::every_pager {
 protected:
  void SetUp() override {
    if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  }
};
UFFDPP_FOR_EVERY_PAGER(page_sharing_of);

TEST_P(page_sharing_of, shows_every_byte_and_zeroes_behind_the_end) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const test::any_pager pager(GetParam());
    const auto memory = pager->map(test::counted_source(20 * page + 100), test::to_be_shared);
    const auto both = test::show_here(memory, type);
    const auto bytes = both.pages.bytes();
    ASSERT_EQ(bytes.size(), 20 * page + 100);
    EXPECT_EQ(test::first_wrong(bytes), std::nullopt);
    EXPECT_EQ(test::look(test::address_of(bytes.back()) + 1), test::shows(0));
    EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  }
}

TEST_P(page_sharing_of, loads_a_page_once_whoever_touches_it) {
  const test::counted_source source(64 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), test::to_be_shared);
  ASSERT_EQ(test::first_wrong(memory.bytes().first(30 * page)), std::nullopt);
  const auto read = source.bytes_read();
  const auto both = test::show_here(memory);
  EXPECT_EQ(test::first_wrong(both.pages.bytes().first(30 * page)), std::nullopt);
  EXPECT_EQ(source.bytes_read(), read) << "who comes second finds what is there";
  EXPECT_EQ(test::first_wrong(both.pages.bytes()), std::nullopt);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(source.bytes_read(), 64 * page);
}

TEST_P(page_sharing_of, gives_several_readers_the_same_pages) {
  const test::counted_source source(64 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), test::to_be_shared);
  std::vector<test::shown> all;
  for (int reader = 0; reader < 3; ++reader) all.push_back(test::show_here(memory));
  std::atomic<bool> is_right{true};
  {
    std::vector<std::jthread> threads;
    for (const auto& each : all)
      threads.emplace_back([&] {
        if (test::first_wrong(each.pages.bytes())) is_right = false;
      });
  }
  EXPECT_TRUE(is_right);
  EXPECT_EQ(source.bytes_read(), 64 * page);
}

TEST_P(page_sharing_of, keeps_all_readers_within_one_budget) {
  const memory_budget budget(std::size_t{1} << 20);
  constexpr std::size_t size = std::size_t{4} << 20;
  const test::any_pager pager(GetParam(), {.budget = budget, .threads = 1});
  const auto memory = pager->map(test::counted_source(size), test::to_be_shared);
  const auto both = test::show_here(memory);
  std::atomic<bool> is_right{true};
  std::atomic<std::size_t> most{0};
  const auto read = [&](std::span<const std::byte> bytes, std::size_t step) {
    for (std::size_t i = 0; i < 3000; ++i) {
      const auto at = i * step % (size / page) * page;
      if (test::first_wrong(bytes.subspan(at, 8), at)) is_right = false;
      if (const auto now = budget.resident(); now > most) most = now;
    }
  };
  {
    const std::jthread here([&] { read(memory.bytes(), 7919); });
    const std::jthread there([&] { read(both.pages.bytes(), 104729); });
    const std::jthread in_order([&] { read(both.pages.bytes(), 1); });
  }
  EXPECT_TRUE(is_right);
  EXPECT_LE(most, budget.limit());
  EXPECT_GT(memory.statistics().pages_evicted, size / page);
}

TEST_P(page_sharing_of, gives_sigbus_where_a_source_fails) {
  test::kept_source source(8 * page);
  std::atomic<bool> fails{true};
  source.reading_fails = [&] {
    return fails ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), test::to_be_shared);
  const auto both = test::show_here(memory);
  const auto first = test::address_of(both.pages.bytes()[0]);
  EXPECT_EQ(test::look(first), test::takes_sigbus);
  fails = false;
  EXPECT_EQ(test::look(first), test::takes_sigbus) << "for ever";
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus) << "for everybody";
  EXPECT_EQ(test::look(first + 5 * page), test::shows_source(5 * page));
}

TEST_P(page_sharing_of, keeps_what_is_pinned_for_the_kernel_too) {
  const memory_budget budget(std::size_t{512} << 10);
  constexpr std::size_t size = std::size_t{2} << 20;
  const test::any_pager pager(GetParam(), {.budget = budget, .threads = 1});
  const auto memory = pager->map(test::counted_source(size), test::to_be_shared);
  const auto both = test::show_here(memory);
  // There already, but not mapped here.
  ASSERT_EQ(test::first_wrong(both.pages.bytes().first(4 * page)), std::nullopt);
  const auto pinned = memory.pin(memory.bytes().first(4 * page));
  ASSERT_EQ(test::first_wrong(both.pages.bytes()), std::nullopt);
  const auto reads = memory.statistics().source_reads;
  std::vector<std::byte> copied(4 * page);
  const iovec to{copied.data(), copied.size()};
  const iovec from{pinned.bytes().data(), copied.size()};
  ASSERT_EQ(::process_vm_readv(::getpid(), &to, 1, &from, 1, 0),
            static_cast<ssize_t>(copied.size()));
  EXPECT_EQ(test::first_wrong(copied), std::nullopt);
  EXPECT_EQ(memory.statistics().source_reads, reads);
}

TEST_P(page_sharing_of, loads_again_what_somebody_has_dropped_from_the_file) {
  const test::counted_source source(8 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), test::to_be_shared);
  ASSERT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  auto* const begin = const_cast<std::byte*>(memory.bytes().data());
  ASSERT_EQ(::madvise(begin + 2 * page, page, MADV_REMOVE), 0);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(source.bytes_read(), 9 * page);
}

TEST_P(page_sharing_of, is_over_when_the_reader_ends_or_dies) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(8 * page), test::to_be_shared);
  const auto before = test::open_descriptors();
  {
    std::optional both(test::show_here(memory));
    EXPECT_FALSE(both->serving.is_over());
    const page_sharing serving = std::move(both->serving);
    { const shared_pages ended = std::move(both->pages); }
    EXPECT_TRUE(test::eventually([&] { return serving.is_over(); }));
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

// A source that gives nothing until it may.
class held_source {
 public:
  std::uint64_t size() const noexcept { return 8 * page; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    while (!may_go_on_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (auto& each : to) each = test::source_byte(offset++);
    return {to.size(), {}};
  }
  void let_go() { may_go_on_ = true; }

 private:
  std::atomic<bool> may_go_on_{false};
};

TEST_P(page_sharing_of, gives_up_a_source_that_hangs) {
  held_source source;
  const test::any_pager pager(GetParam());
  auto soon = test::to_be_shared;
  soon.deadline = std::chrono::milliseconds(200);
  const auto memory = pager->map(std::ref(source), soon);
  {
    const auto both = test::show_here(memory);
    test::toucher reader(test::address_of(both.pages.bytes()[0]));
    EXPECT_EQ(reader.saw(), test::takes_sigbus);
    source.let_go();
  }
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
  EXPECT_EQ(test::look_at(memory, 4 * page), test::shows_source(4 * page));
}

// Of the file that is the only one of its kind.
unique_fd file_of_shared_pages() {
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed_meanwhile;
    const auto target = std::filesystem::read_symlink(each.path(), closed_meanwhile).string();
    if (target.starts_with("/memfd:uffd"))
      return unique_fd(::dup(std::stoi(each.path().filename().string())));
  }
  return {};
}

blkcnt_t blocks_of(const unique_fd& file) {
  struct stat status {};
  EXPECT_EQ(::fstat(file.get(), &status), 0);
  return status.st_blocks;
}

TEST_P(page_sharing_of, keeps_nothing_whoever_has_the_file) {
  const test::any_pager pager(GetParam());
  std::optional memory(pager->map(test::counted_source(64 * page), test::to_be_shared));
  const auto file = file_of_shared_pages();
  ASSERT_TRUE(file);
  EXPECT_EQ(blocks_of(file), 0);
  ASSERT_EQ(test::first_wrong(memory->bytes()), std::nullopt);
  EXPECT_EQ(blocks_of(file), static_cast<blkcnt_t>(64 * page / 512));
  EXPECT_EQ(::ftruncate(file.get(), 0), -1) << "whoever reads it would take SIGBUS";
  memory.reset();
  EXPECT_EQ(blocks_of(file), 0);
}

TEST_P(page_sharing_of, keeps_the_file_itself_within_the_budget) {
  const memory_budget budget(std::size_t{1} << 20);
  constexpr std::size_t size = std::size_t{4} << 20;
  const test::any_pager pager(GetParam(), {.budget = budget, .threads = 1});
  const auto memory = pager->map(test::counted_source(size), test::to_be_shared);
  const auto file = file_of_shared_pages();
  const auto both = test::show_here(memory);
  blkcnt_t most = 0;
  for (std::size_t at = 0; at < size; at += page) {
    ASSERT_EQ(test::first_wrong(both.pages.bytes().subspan(at, page), at), std::nullopt);
    most = std::max(most, blocks_of(file));
  }
  EXPECT_GT(most, 0);
  EXPECT_LE(static_cast<std::size_t>(most) * 512, budget.limit());
}

TEST_P(page_sharing_of, can_pin_nothing) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(8 * page), test::to_be_shared);
  const auto pinned = memory.pin({});
  EXPECT_TRUE(pinned.bytes().empty());
}

TEST(page_sharing, is_refused_where_buffers_would_take_half_of_the_budget) {
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  const memory_budget budget(std::size_t{1} << 20);
  const pager pager({.budget = budget});
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  const auto before = budget.resident();
  test::connected_sockets ends;
  auto refused = std::async(std::launch::async, [&] {
    return test::thrown(
        [&] { static_cast<void>(memory.share(std::move(ends.one), {.threads = 1000})); });
  });
  const shared_pages pages(std::move(ends.other));
  EXPECT_EQ(refused.get(), ENOMEM);
  EXPECT_EQ(budget.resident(), before);
  EXPECT_TRUE(test::eventually([&] { return pages.is_over(); }));
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST(page_sharing, is_over_when_the_reading_process_is_killed) {
  if (test::thread_sanitizer) GTEST_SKIP() << "it takes a child's threads for the parent's";
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  test::connected_sockets ends;
  test::forked reader([&] {
    ends.one.reset();
    const shared_pages pages(std::move(ends.other));
    if (test::first_wrong(pages.bytes())) return 1;
    ::pause();
    return 2;
  });
  ends.other.reset();
  const pager pager({.statistics = true});
  const auto memory = pager.map(test::counted_source(40 * page), test::to_be_shared);
  const auto serving = memory.share(std::move(ends.one));
  ASSERT_TRUE(test::eventually([&] { return memory.statistics().pages_loaded == 40; }));
  EXPECT_FALSE(serving.is_over());
  reader.kill();
  EXPECT_EQ(reader.wait(), test::dies_of(SIGKILL));
  EXPECT_TRUE(test::eventually([&] { return serving.is_over(); }));
}

TEST(page_sharing, is_refused_where_pages_are_not_shared) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page));
  test::connected_sockets ends;
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.share(std::move(ends.one))); }), EINVAL);
}

TEST(page_sharing, is_for_memory_that_is_not_written) {
  if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  test::kept_source source(8 * page);
  const pager pager;
  for (const auto writes : {write_policy::keep, write_policy::write_back})
    EXPECT_EQ(test::thrown([&] {
                static_cast<void>(pager.map(std::ref(source),
                                            {.writes = writes, .backing = page_backing::shared}));
              }),
              EINVAL);
}

}  // namespace
}  // namespace uffd
