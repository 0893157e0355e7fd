// SPDX-License-Identifier: MIT
// One program's memory, served by another one, which may be killed and started again meanwhile.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "external_pager/reading.hpp"
#include "external_pager/restarts.hpp"
#include "external_pager/serving.hpp"
#include "support/unix_socket.hpp"

namespace {

struct settings {
  std::string socket;
  std::string file = "/proc/self/exe";
  unsigned kills = 10;
  unsigned limit = 10;  // seconds
};

// The other program's memory, until it ends.
void run_serve(const settings& chosen) {
  const auto served = external_pager::serve(chosen.socket, chosen.file);
  fmt::print("external_pager: {} pages served for process {}\n", served.pages, served.client);
}

// This program's memory, by whatever pagers connect.
void run_read(const settings& chosen) {
  external_pager::memory_of_file memory(chosen.file, chosen.socket,
                                        std::chrono::seconds(chosen.limit));
  fmt::print("reading {}, {} pages; now: external_pager serve {} {}\n", chosen.file, memory.pages(),
             chosen.socket, chosen.file);
  std::fflush(stdout);
  memory.compare_all();
  fmt::print("external_pager: {} pages served by {} pager(s), all bytes as in the file\n",
             memory.pages(), memory.pagers());
}

// This program's memory, by pagers of its own that are killed while it reads.
void run_alone(const settings& chosen) {
  const examples::temporary_folder folder;
  const auto socket = folder.path() + "/socket";
  external_pager::memory_of_file memory(chosen.file, socket, std::chrono::seconds(chosen.limit));
  const auto pauses = external_pager::read_and_kill(memory, socket, chosen.file, chosen.kills);
  if (chosen.kills != 0)
    fmt::print("from a kill to the next page: median {} us, longest {} us\n",
               pauses.percentile(0.5).count() / 1000, pauses.maximum().count() / 1000);
  fmt::print(
      "external_pager: {} pages served by {} pager(s), {} killed, all bytes as in the file\n",
      memory.pages(), memory.pagers(), chosen.kills);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments(
      "Serves a program's memory from another program, which may be killed meanwhile.");
  arguments.require_subcommand(0, 1);
  arguments.add_option("--file", chosen.file, "what the memory holds; by default this program");
  arguments.add_option("--kill", chosen.kills, "how often to kill the pager")
      ->check(CLI::Range(0U, 1000000U))
      ->capture_default_str();
  auto* const serving = arguments.add_subcommand("serve", "serve the memory of `read SOCKET FILE`");
  auto* const reading = arguments.add_subcommand("read", "read memory that `serve` serves");
  for (auto* const each : {serving, reading}) {
    each->add_option("SOCKET", chosen.socket, "path of a Unix socket, made by `read`")->required();
    each->add_option("FILE", chosen.file, "what the memory holds")->required();
  }
  reading->add_option("--limit", chosen.limit, "seconds to wait for a pager")
      ->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "external_pager: {}\n", support.advice());
    return 77;
  }
  try {
    const auto run = serving->parsed() ? run_serve : reading->parsed() ? run_read : run_alone;
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "external_pager: {}\n", error.what());
    return 1;
  }
}
