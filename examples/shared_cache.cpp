// SPDX-License-Identifier: MIT
// Processes that share one set of a file's pages: what the first one touches is loaded, the second
// one finds it.
#include <fmt/core.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <future>
#include <string>
#include <system_error>

#include "shared_cache/cache.hpp"
#include "shared_cache/reading.hpp"
#include "support/access_error.hpp"
#include "support/sizes.hpp"
#include "support/unix_socket.hpp"

namespace {

constexpr std::uint64_t least_budget = std::uint64_t{256} << 10;

struct settings {
  std::string socket;
  std::string file = "/proc/self/exe";
  std::uint64_t budget = std::uint64_t{1} << 30;
  unsigned readers = 2;
};

// Until SIGINT or SIGTERM, which must not interrupt the handlers' threads either.
void run_serve(const settings& chosen) {
  sigset_t ends;
  ::sigemptyset(&ends);
  ::sigaddset(&ends, SIGINT);
  ::sigaddset(&ends, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  const uffd::unique_fd stop(::signalfd(-1, &ends, SFD_CLOEXEC));
  if (!stop) throw std::system_error(errno, std::system_category(), "signalfd");
  shared_cache::cache cache(chosen.file, chosen.budget);
  const auto listener = examples::listen_on(chosen.socket);
  fmt::print("keeping {}; now: shared_cache read {} {}\n", chosen.file, chosen.socket, chosen.file);
  std::fflush(stdout);
  cache.serve(listener.get(), stop.get());
  const auto done = cache.statistics();
  fmt::print("shared_cache: {} faults, {} source reads, {} pages evicted\n", done.faults,
             done.source_reads, done.pages_evicted);
}

void run_read(const settings& chosen) {
  const auto done = shared_cache::read_all(chosen.socket, chosen.file);
  fmt::print("{} touched in {:.1f} ms, all bytes as in the file\n",
             examples::format_size(done.bytes), static_cast<double>(done.time.count()) / 1e6);
}

// Keeps the pages here, for readers of its own that come one after the other.
void run_alone(const settings& chosen) {
  const examples::temporary_folder folder;
  const auto socket = folder.path() + "/socket";
  shared_cache::cache cache(chosen.file, chosen.budget);
  const auto listener = examples::listen_on(socket);
  const uffd::unique_fd stop(::eventfd(0, EFD_CLOEXEC));
  auto serving = std::async(std::launch::async, [&] { cache.serve(listener.get(), stop.get()); });
  std::string reads;
  try {
    for (unsigned reader = 0; reader < chosen.readers; ++reader) {
      const auto before = cache.statistics();
      shared_cache::read_apart(socket, chosen.file);
      const auto after = cache.statistics();
      reads += fmt::format("{}{}", reads.empty() ? "" : ", then ",
                           after.source_reads - before.source_reads);
      fmt::print("reader {}: {} faults, {} source reads\n", reader + 1,
                 after.faults - before.faults, after.source_reads - before.source_reads);
    }
  } catch (...) {
    ::eventfd_write(stop.get(), 1);
    throw;
  }
  ::eventfd_write(stop.get(), 1);
  serving.get();
  fmt::print("shared_cache: {} processes read {}, all bytes as in the file, source reads: {}\n",
             chosen.readers, chosen.file, reads);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Shares one set of a file's pages between processes.");
  arguments.require_subcommand(0, 1);
  arguments.add_option("--file", chosen.file, "what to share; by default this program");
  arguments.add_option("--readers", chosen.readers, "processes that read it, one after the other")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
  auto* const serving = arguments.add_subcommand("serve", "keep the pages of FILE");
  auto* const reading = arguments.add_subcommand("read", "read them, and compare with FILE");
  for (auto* const each : {serving, reading}) {
    each->add_option("SOCKET", chosen.socket, "path of a Unix socket, made by `serve`")->required();
    each->add_option("FILE", chosen.file, "what the pages are of")->required();
  }
  for (auto* const each : {&arguments, serving})
    examples::add_size(*each, "--budget", chosen.budget, least_budget,
                       "bytes that may be resident; by default 1G");
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "shared_cache: {}\n", support.advice());
    return 77;
  }
  examples::end_on_access_error();
  try {
    const auto run = serving->parsed() ? run_serve : reading->parsed() ? run_read : run_alone;
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "shared_cache: {}\n", error.what());
    return 1;
  }
}
