// SPDX-License-Identifier: MIT
// fuzz_seeds FOLDER: for each fuzz target a folder of inputs to begin with.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "detail/handoff_message.hpp"
#include "support/messages.hpp"
#include "tracking/snapshot_format.hpp"
#include "uffd/pager/working_set.hpp"

namespace {

using bytes = std::vector<std::byte>;

void append(bytes& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

class seeds {
 public:
  seeds(const std::filesystem::path& folder, const char* target) : folder_(folder / target) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void add(std::span<const std::byte> content) {
    std::ofstream file(folder_ / std::to_string(count_++), std::ios::binary);
    file.exceptions(std::ios::badbit | std::ios::failbit);
    file.write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
  }

 private:
  std::filesystem::path folder_;
  int count_ = 0;
};

std::vector<uffd::uapi::message> every_message() {
  using namespace uffd::test;
  uffd::uapi::message unknown{};
  unknown.event = 0x42;
  return {fault_message(0x7f0000001000, 3, 77),  fork_message(5),
          remap_message(0x1000, 0x9000, 0x2000), remove_message(0x1000, 0x3000),
          unmap_message(0x3000, 0x1000),         unknown};
}

bytes every_region() {
  const auto page = uffd::page_size();
  uffd::region_info first;
  first.range = {16 * page, 4 * page};
  first.page_size = page;
  first.modes = uffd::register_mode::missing;
  uffd::region_info second = first;
  second.page_size = 2 * page;
  second.range = {32 * page, 4 * page};
  second.modes = uffd::register_mode::missing | uffd::register_mode::minor;
  second.offset = 2 * page;
  return uffd::detail::encode_handoff({0, 1, true, uffd::feature::poison},
                                      std::vector{first, second});
}

// Whole, with its checksum left to the target, and in numbers.
void write_working_sets(const std::filesystem::path& folder) {
  seeds to(folder, "working_set");
  const std::vector<uffd::working_set::run> parts{{0, 4096}, {16'384, 5000}, {40'000, 1}};
  const auto text = uffd::working_set("file:1 2", 40'001, 4096, parts).text();
  const std::string_view all(text);
  const auto begin = all.find("file");
  for (const auto part : {all, all.substr(begin, all.find("checksum") - begin)}) {
    bytes one{static_cast<std::byte>(part.size() == all.size() ? 0 : 1)};
    append(one, std::as_bytes(std::span(part)));
    to.add(one);
  }
  bytes numbers(64, std::byte{0x0c});
  numbers[0] = std::byte{2};
  to.add(numbers);
}

// As it is, with checksums that the target mends, with a size of its own, and in numbers.
void write_snapshots(const std::filesystem::path& folder) {
  seeds to(folder, "snapshot_file");
  uffd::detail::snapshot_header header;
  header.identity.bytes[0] = 1;
  header.block = 4096;
  header.areas = {{{0x10000, 0x2000}, 0x1000}, {{0x20000, 0x4000}, 0x2000}};
  for (const bool has_base : {false, true}) {
    if (has_base) {
      header.base.emplace().bytes[0] = 2;
      header.base_name = "base";
    }
    const auto layout = uffd::detail::snapshot_layout::of(header.block, header.areas);
    auto front = uffd::detail::encode_snapshot_header(header, *layout);
    front.resize(front.size() + layout->index_size());
    for (std::uint8_t way = 0; way < 3; ++way) {
      bytes one(10);
      one[0] = static_cast<std::byte>(way);
      for (std::size_t i = 0; i < 8; ++i)
        one[1 + i] = static_cast<std::byte>(layout->file_size() >> (8 * i));
      append(one, front);
      to.add(one);
    }
  }
  bytes numbers(64, std::byte{0x0d});
  numbers[0] = std::byte{3};
  to.add(numbers);
}

void write_all(const std::filesystem::path& folder) {
  write_snapshots(folder);
  write_working_sets(folder);
  seeds decode(folder, "decode");
  seeds batch(folder, "message_batch");
  bytes all;
  for (const auto& message : every_message()) {
    bytes one(8, std::byte{0xff});  // features
    append(one, std::as_bytes(std::span(&message, 1)));
    decode.add(one);
    append(all, std::as_bytes(std::span(&message, 1)));
  }
  batch.add(all);
  all.resize(all.size() - 1);
  batch.add(all);

  seeds handoff(folder, "handoff_message");
  const auto message = every_region();
  for (std::uint8_t way = 0; way < 3; ++way) {
    bytes one{static_cast<std::byte>(way)};
    append(one, way == 0 ? std::span(message) : std::span(message).subspan(24));
    handoff.add(one);
  }

  seeds fdinfo(folder, "fdinfo");
  for (const std::string_view text : {"pos:\t0\nflags:\t02004002\npending:\t0\ntotal:\t0\n",
                                      "API:\taa:8001ffff:8000000000000003\n"}) {
    bytes one(8, std::byte{0x12});
    append(one, std::as_bytes(std::span(text)));
    fdinfo.add(one);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_seeds FOLDER\n", stderr);
    return 2;
  }
  try {
    write_all(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz_seeds: %s\n", error.what());
    return 1;
  }
}
