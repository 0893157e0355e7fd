// SPDX-License-Identifier: MIT
// A feature is no register mode, although both are bits that name the same faults.
#include "uffd/handle.hpp"

void serve(const uffd::handle& on, uffd::page_range range) {
  on.register_range(range, uffd::register_mode::minor);
#ifdef UFFDPP_MUST_NOT_COMPILE
  on.register_range(range, uffd::feature::minor_shmem);
#endif
}
// expect: (cannot convert|could not convert|no viable conversion).*feature
