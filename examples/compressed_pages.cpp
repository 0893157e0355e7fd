// SPDX-License-Identifier: MIT
// Pages a file that is kept compressed with zstd, in blocks: whoever touches a page waits until its
// block is unpacked, and blocks that nobody touches stay as they are.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "compressed_pages/compressed_source.hpp"
#include "compressed_pages/container.hpp"
#include "support/access_error.hpp"
#include "support/sizes.hpp"

using compressed_pages::container;
using examples::format_size;

namespace {

struct settings {
  std::string path = "/proc/self/exe";
  std::size_t pages = 20;
};

// Touches pages at random, others each time. Returns how many blocks they are in.
std::size_t touch(std::span<const std::byte> memory, std::size_t count) {
  std::mt19937_64 random(std::random_device{}());
  std::uniform_int_distribution<std::size_t> place(0, memory.size() - 1);
  std::set<std::size_t> blocks;
  for (; count != 0; --count) {
    const auto at = place(random);
    static_cast<void>(*static_cast<const volatile std::byte*>(memory.data() + at));
    blocks.insert(at / container::block_size);
  }
  return blocks.size();
}

// Throws std::runtime_error where a byte is another one than the file's.
void compare(std::span<const std::byte> memory, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> block(container::block_size);
  while (file.read(block.data(), container::block_size), file.gcount() > 0) {
    const auto expected =
        std::as_bytes(std::span(block).first(static_cast<std::size_t>(file.gcount())));
    if (memory.size() < expected.size() ||
        !std::equal(expected.begin(), expected.end(), memory.begin()))
      throw std::runtime_error("memory differs from the file");
    memory = memory.subspan(expected.size());
  }
  if (!memory.empty()) throw std::runtime_error("there is more memory than file");
}

void run(const settings& chosen) {
  const container packed(chosen.path);
  const compressed_pages::compressed_source source(packed);
  const uffd::pager pager;
  const auto memory = pager.map(std::ref(source), {.expected = uffd::access_pattern::random});
  fmt::print("{}: {} in {} blocks, packed into {}\n", chosen.path, format_size(packed.size()),
             packed.blocks(), format_size(packed.packed_size()));

  const auto touched = touch(memory.bytes(), chosen.pages);
  const auto unpacked = source.unpacked();
  if (unpacked != touched)
    throw std::runtime_error(
        fmt::format("{} blocks were touched, but {} unpacked", touched, unpacked));

  memory.advise(uffd::access_pattern::sequential);
  compare(memory.bytes(), chosen.path);
  if (source.unpacked() != packed.blocks())
    throw std::runtime_error(
        fmt::format("{} blocks were unpacked {} times", packed.blocks(), source.unpacked()));
  fmt::print(
      "compressed_pages: {} of {} blocks unpacked for {} touches, the others when all was "
      "compared: all bytes as in the file\n",
      unpacked, packed.blocks(), chosen.pages);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Pages a file that is kept compressed, and unpacks what is touched only.");
  arguments.add_option("FILE", chosen.path, "what to page; by default this program itself");
  arguments.add_option("--touch", chosen.pages, "how often to touch it, at random")
      ->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "compressed_pages: {}\n", support.advice());
    return 77;
  }
  examples::end_on_access_error();
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "compressed_pages: {}: {}\n", chosen.path, error.what());
    return 1;
  }
}
