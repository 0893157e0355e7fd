// SPDX-License-Identifier: MIT
// Starts a program twice that wants a scattered twentieth of its data: the first time it is read
// page by page, as it is touched, and what was wanted is recorded; the second time that is read
// at once, before it is touched.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "replay/scratch_folder.hpp"
#include "replay/slow_file.hpp"
#include "replay/start_up.hpp"
#include "support/access_error.hpp"
#include "support/sizes.hpp"

using examples::format_size;

namespace {

struct settings {
  std::string path;
  std::string set;
  std::uint64_t size = std::uint64_t{64} << 20;
  std::uint64_t latency = 0;
  bool in_thread = false;
  uffd::replay_options how;
};

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

// The data, mapped anew.
class program {
 public:
  explicit program(const settings& chosen)
      : pager_(chosen.in_thread ? uffd::pager(uffd::async_signal_safe, {.statistics = true})
                                : uffd::pager({.statistics = true})),
        memory_(
            pager_.map(replay::slow_file(chosen.path, std::chrono::microseconds(chosen.latency)))) {
  }

  const uffd::paged_memory& memory() const noexcept { return memory_; }
  // Throws std::runtime_error where something else is found than is expected.
  void start(std::span<const replay::object> objects, std::span<const std::uint64_t> expected) {
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const auto bytes =
          memory_.bytes().subspan(static_cast<std::size_t>(objects[i].offset), objects[i].size);
      if (replay::hash_of(bytes) != expected[i])
        throw std::runtime_error(
            fmt::format("other bytes than the file's at {}", objects[i].offset));
    }
  }

 private:
  uffd::pager pager_;
  uffd::paged_memory memory_;
};

struct times {
  double all = 0;        // milliseconds
  double replaying = 0;  // of them
  uffd::paged_memory_statistics counts;
};

void run(const settings& chosen) {
  const auto objects = replay::objects_of(uffd::file_source(chosen.path).size());
  const auto expected = replay::hashes_in_file(chosen.path, objects);
  if (chosen.latency != 0)
    fmt::print("simulated: each read of the file takes {} us longer, as over a network\n",
               chosen.latency);

  times first;
  {
    program started(chosen);
    const auto begin = std::chrono::steady_clock::now();
    auto recording = started.memory().record();
    started.start(objects, expected);
    recording.finish().save(chosen.set);
    first = {milliseconds_since(begin), 0, started.memory().statistics()};
  }
  fmt::print("first run:  started in {:.2f} ms: {} faults, {} source reads\n", first.all,
             first.counts.faults, first.counts.source_reads);

  times second;
  const auto set = [&] {
    program started(chosen);
    const auto begin = std::chrono::steady_clock::now();
    auto wanted = uffd::working_set::load(chosen.set);
    if (const auto error = started.memory().replay(wanted, chosen.how))
      throw std::system_error(error, "replaying");
    const auto replaying = milliseconds_since(begin);
    started.start(objects, expected);
    second = {milliseconds_since(begin), replaying, started.memory().statistics()};
    return wanted;
  }();
  fmt::print(
      "second run: started in {:.2f} ms, {:.2f} of them to replay {} in {} runs: {} faults, {} "
      "source reads\n",
      second.all, second.replaying, format_size(set.bytes()), set.runs().size(),
      second.counts.faults, second.counts.source_reads);
  if (second.counts.faults != 0)
    throw std::runtime_error("what was recorded was not all there in the second run");
  fmt::print(
      "replay: {} faults became none, {} source reads {}, start-up in {:.2f} ms became {:.2f} ms, "
      "all bytes touched as in the file\n",
      first.counts.faults, first.counts.source_reads, second.counts.source_reads, first.all,
      second.all);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Records what a start-up reads of its data, and replays it in the next one.");
  arguments.add_option("FILE", chosen.path, "the data; by default a temporary file");
  arguments.add_option("--record", chosen.set,
                       "where the working set is kept; by default in a temporary file");
  examples::add_size(arguments, "--size", chosen.size, 1, "bytes of the temporary file");
  arguments
      .add_option("--latency", chosen.latency,
                  "microseconds that each read of the file takes longer, to simulate a slow one")
      ->check(CLI::Range(1'000'000));
  arguments.add_option("--readers", chosen.how.readers, "threads that replay")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  arguments.add_flag("--in-thread", chosen.in_thread,
                     "serve faults in the thread that raises them");
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "replay: {}\n", support.advice());
    return 77;
  }
  examples::end_on_access_error();
  try {
    const replay::scratch_folder scratch;
    if (chosen.set.empty()) chosen.set = scratch.file("working_set");
    if (chosen.path.empty()) replay::make_data(chosen.path = scratch.file("data"), chosen.size);
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "replay: {}: {}\n", chosen.path, error.what());
    return 1;
  }
}
