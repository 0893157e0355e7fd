// SPDX-License-Identifier: MIT
// How a call refuses: by what errno, in what words.
#pragma once

#include <string>
#include <system_error>

namespace uffd::test {

// Number 0 if it doesn't refuse.
struct refusal {
  int number = 0;
  std::string words;
  bool names(const std::string& part) const { return words.find(part) != std::string::npos; }
};

// The std::system_error that `call` throws.
template <class Call>
refusal refusal_of(Call&& call) {
  try {
    call();
    return {};
  } catch (const std::system_error& error) {
    return {error.code().value(), error.what()};
  }
}

template <class Call>
int thrown(Call&& call) {
  return refusal_of(call).number;
}
template <class Call>
std::string complaint(Call&& call) {
  return refusal_of(call).words;
}

}  // namespace uffd::test
