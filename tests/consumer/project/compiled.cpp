// SPDX-License-Identifier: MIT
// A user of the compiled library: serves one page with zeroes, where that is permitted.
#include <uffd/uffd.hpp>

int main() {
  if (!uffd::support::query().permitted()) return 0;
  uffd::fault_handler handler([](uffd::fault& fault) { return fault.zeropage(); });
  const auto memory = handler.serve(uffd::mapping::anonymous(uffd::page_size()));
}
