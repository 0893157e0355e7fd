// SPDX-License-Identifier: MIT
// How busy the machine was with something else: who faults beside a busy CPU is placed differently.
#pragma once

#include <string>

namespace uffd::bench {

class other_load {
 public:
  // From here on.
  other_load();

  // Until now, in percent of the time of all CPUs.
  std::string in_words() const;

 private:
  struct times {
    double busy = 0;  // seconds, as all
    double stolen = 0;
    double total = 0;
    double own = 0;
  };
  static times now();

  times begin_;
};

}  // namespace uffd::bench
