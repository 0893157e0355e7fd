// SPDX-License-Identifier: MIT
// A gigabyte of squares: each page of them is computed when it is first touched.
#include <uffd/uffd.hpp>

#include <cstdint>
#include <cstdio>

int main() {
  if (const auto support = uffd::support::query(); !support.permitted()) {
    std::puts(support.advice().c_str());
    return 77;
  }

  // Called on a thread of the handler, while the thread that touched the page waits for it.
  uffd::fault_handler handler([](uffd::fault& fault) {
    const auto page = fault.buffer();
    auto* const squares = reinterpret_cast<std::uint64_t*>(page.data());
    const std::uint64_t first = fault.offset() / sizeof *squares;
    for (std::size_t i = 0; i < page.size() / sizeof *squares; ++i)
      squares[i] = (first + i) * (first + i);
    return fault.copy(page);
  });
  const auto memory = handler.serve(uffd::mapping::anonymous(std::size_t{1} << 30));

  const auto* const squares = reinterpret_cast<const std::uint64_t*>(memory.bytes().data());
  std::printf("the square of 123456789 is %ju\n", std::uintmax_t{squares[123456789]});
}
