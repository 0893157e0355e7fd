// SPDX-License-Identifier: MIT
// What read() may give: whole messages are counted, and events come before faults, in their order.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "require.hpp"
#include "uffd/message_reader.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace uffd;
  using fuzz::require;
  const auto batch = detail::batch_of(static_cast<ssize_t>(size));
  require(batch.count == size / sizeof(uapi::message));
  require((batch.number == 0) == (size != 0 && size % sizeof(uapi::message) == 0));

  std::vector<uapi::message> sorted(batch.count);
  if (batch.count != 0) std::memcpy(sorted.data(), data, batch.count * sizeof(uapi::message));
  auto expected = sorted;
  std::stable_partition(expected.begin(), expected.end(), [](const uapi::message& raw) {
    return raw.event != uapi::event::page_fault;
  });
  detail::events_first(sorted);
  require(batch.count == 0 ||
          std::memcmp(sorted.data(), expected.data(), batch.count * sizeof(uapi::message)) == 0);

  // As an error instead.
  const int number = static_cast<int>(size) + 1;
  const auto failed = detail::batch_of(-number);
  require(failed.count == 0 && failed.number == (number == EAGAIN ? 0 : number));
  return 0;
}
