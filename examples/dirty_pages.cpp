// SPDX-License-Identifier: MIT
// Shows which pages of its memory each phase of a program wrote. The kernel notes them, or a
// handler's threads; the program itself is as it was.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "dirty_pages/heat_map.hpp"
#include "dirty_pages/phases.hpp"
#include "support/sizes.hpp"

using examples::format_size;

namespace {

constexpr int not_permitted = 77;

struct settings {
  std::uint64_t size = std::uint64_t{64} << 20;
  std::uint64_t columns = 64;
  std::string svg;
  uffd::tracker_engine engine = uffd::tracker_engine::automatic;
};

const std::map<std::string, uffd::tracker_engine> engines{
    {"automatic", uffd::tracker_engine::automatic},
    {"asynchronous", uffd::tracker_engine::asynchronous},
    {"synchronous", uffd::tracker_engine::synchronous}};

std::vector<bool> written_pages_of(const uffd::tracked_memory& tracked) {
  const auto page = tracked.page_size();
  std::vector<bool> written(tracked.range().size() / page);
  tracked.collect([&](uffd::page_range run) {
    const auto first = (run.begin() - tracked.range().begin()) / page;
    for (std::size_t i = 0; i < run.size() / page; ++i) written[first + i] = true;
  });
  return written;
}

// The pages that have other content than before: each of them must have been told.
std::size_t count_changed(std::span<const std::uint64_t> now, std::vector<std::uint64_t>& before,
                          const std::vector<bool>& written) {
  const auto words = now.size() / written.size();
  std::size_t changed = 0;
  for (std::size_t page = 0; page < written.size(); ++page) {
    const auto part = now.subspan(page * words, words);
    const auto old = before.begin() + static_cast<std::ptrdiff_t>(page * words);
    if (std::equal(part.begin(), part.end(), old)) continue;
    if (!written[page]) throw std::runtime_error(fmt::format("page {} changed untold", page));
    std::copy(part.begin(), part.end(), old);
    ++changed;
  }
  return changed;
}

void write_svg(const dirty_pages::heat_map& map, const std::string& path) {
  std::ofstream file(path);
  if (!(file << map.svg()).flush()) throw std::runtime_error("can't write " + path);
}

void run(const settings& chosen) {
  const auto memory = uffd::mapping::anonymous(chosen.size);
  const std::span words(reinterpret_cast<std::uint64_t*>(memory.bytes().data()),
                        memory.bytes().size() / sizeof(std::uint64_t));
  std::vector<std::uint64_t> before(words.size());
  const uffd::write_tracker tracker(chosen.engine);
  const auto tracked = tracker.track(memory);
  dirty_pages::heat_map map(chosen.columns);
  std::size_t told = 0;
  std::size_t changed = 0;
  const auto phases = dirty_pages::phases();
  for (const auto& phase : phases) {
    phase.run(words);
    const auto written = written_pages_of(tracked);
    const auto count = static_cast<std::size_t>(std::count(written.begin(), written.end(), true));
    map.add(phase.name, written);
    fmt::print("{} {}\n", map.last_row(), format_size(count * tracked.page_size()));
    told += count;
    changed += count_changed(words, before, written);
  }
  if (!chosen.svg.empty()) write_svg(map, chosen.svg);
  fmt::print("dirty_pages: {} phases wrote {} pages of {}, {} changed, every one of them told\n",
             phases.size(), told, format_size(memory.bytes().size()), changed);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Which pages of its memory each phase of a program wrote.");
  examples::add_size(arguments, "--size", chosen.size, 1 << 20, "bytes of the memory (K, M, G)");
  arguments.add_option("--columns", chosen.columns, "of the map")->check(CLI::Range(1, 1000));
  arguments.add_option("--svg", chosen.svg, "a file for the map as a picture");
  arguments.add_option("--engine", chosen.engine, "automatic, asynchronous or synchronous")
      ->transform(CLI::CheckedTransformer(engines));
  CLI11_PARSE(arguments, argc, argv);
  try {
    run(chosen);
  } catch (const std::system_error& error) {
    fmt::print(stderr, "dirty_pages: {}\n", error.what());
    const bool lacking = error.code() == std::errc::not_supported ||
                         error.code() == std::errc::operation_not_permitted ||
                         error.code() == std::errc::permission_denied;
    return lacking ? not_permitted : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "dirty_pages: {}\n", error.what());
    return 1;
  }
}
