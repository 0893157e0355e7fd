// SPDX-License-Identifier: MIT
// A user of the header-only part, which must link without the library.
#include <system_error>
#include <uffd/resolve.hpp>

int main() {
  try {
    const uffd::handle handle = uffd::handle::open();
    return handle.fd() >= 0 ? 0 : 1;
  } catch (const std::system_error&) {
    return 0;  // not permitted here
  }
}
