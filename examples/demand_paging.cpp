// SPDX-License-Identifier: MIT
// Pages a file into memory on first touch: what mmap does, by a page fault handler of our own.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string>

#include "demand_paging/report.hpp"
#include "demand_paging/source_file.hpp"
#include "demand_paging/touching.hpp"

using demand_paging::touch_order;

namespace {

const std::map<std::string, touch_order> orders{{"sequential", touch_order::sequential},
                                                {"random", touch_order::random}};

struct settings {
  std::string path = "/proc/self/exe";
  std::string order = "sequential";
  unsigned threads = 1;
  std::size_t pages = SIZE_MAX;
  std::size_t block = 1;
};

demand_paging::touch_result touch(const uffd::served_region& memory,
                                  std::span<const std::size_t> pages, unsigned threads) {
  std::atomic<std::size_t> done{0};
  const demand_paging::progress shown(done, pages.size());
  return demand_paging::touch_pages(memory.bytes(), pages, threads, done);
}

void run(const settings& chosen) {
  const demand_paging::source_file file(chosen.path);
  const auto block_size = chosen.block * uffd::page_size();
  std::atomic<std::uint64_t> bytes_read{0};

  // Runs on the handler's threads. An error makes the page inaccessible and comes out of join().
  const auto serve_block = [&](uffd::fault& fault) -> uffd::resolution {
    const auto block = fault.block(block_size);
    const auto offset = fault.offset_of(block);
    const auto used = std::min(block.size(), file.size() - offset);
    if (const auto error = file.read(offset, fault.buffer(used))) return error;
    bytes_read.fetch_add(used, std::memory_order_relaxed);
    return fault.copy_buffer(block, used);
  };
  uffd::fault_handler handler(
      std::ref(serve_block),
      {.buffer_size = std::max(block_size, std::size_t{2} << 20), .statistics = true});
  const auto memory = handler.serve(uffd::mapping::anonymous(file.size()));

  const auto all = memory.bytes().size() / uffd::page_size();
  const auto pages = demand_paging::choose_pages(all, chosen.pages, orders.at(chosen.order));
  fmt::print("paging {}: {} bytes, {} order, {} thread(s), blocks of {} page(s)\n", chosen.path,
             file.size(), chosen.order, chosen.threads, chosen.block);
  std::fflush(stdout);

  const auto touched = touch(memory, pages, chosen.threads);
  if (touched.failed_page) {
    handler.request_stop();
    handler.join();  // throws what the callback answered
    throw std::runtime_error(fmt::format("page {} could not be read", *touched.failed_page));
  }
  demand_paging::compare_pages(memory.bytes(), pages, chosen.threads, chosen.path, file.size());
  handler.request_stop();
  handler.join();
  // Only now: the last fault is counted after the thread that waited for it went on.
  const auto faults = handler.statistics().missing;

  demand_paging::print_table({pages.size(), all, faults, bytes_read}, touched);
  fmt::print("demand_paging: {} pages touched, {} faults served, all bytes as in the file\n",
             pages.size(), faults);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Pages a file into memory on first touch and compares it with the file.");
  arguments.add_option("FILE", chosen.path, "what to page; by default this program itself");
  arguments.add_option("--order", chosen.order, "in which the pages are touched")
      ->check(CLI::IsMember(&orders))
      ->capture_default_str();
  arguments.add_option("--threads", chosen.threads, "that touch pages")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  arguments.add_option("--pages", chosen.pages, "how many to touch; by default all")
      ->check(CLI::Range(std::size_t{1}, SIZE_MAX));
  arguments.add_option("--block", chosen.block, "pages read for each fault, a power of two")
      ->check(CLI::Range(1, 16384))
      ->check([](const std::string& text) {
        return std::has_single_bit(std::stoul(text)) ? "" : text + " is not a power of two";
      })
      ->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "demand_paging: {}\n", support.advice());
    return 77;
  }
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "demand_paging: {}: {}\n", chosen.path, error.what());
    return 1;
  }
}
