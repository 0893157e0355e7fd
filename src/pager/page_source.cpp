// SPDX-License-Identifier: MIT
#include "uffd/pager/page_source.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "detail/never_destroyed.hpp"

namespace uffd {
namespace {

class source_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "page source"; }

  std::string message(int value) const override {
    switch (static_cast<source_error>(value)) {
      case source_error::transient:
        return "the source can't be read or written at the moment";
      case source_error::changed:
        return "the source was changed after it was opened";
      case source_error::gone:
        return "the source is gone";
      case source_error::incomplete:
        return "the source gave fewer bytes than it has";
    }
    return "unknown error of a page source";
  }
};

// Signal handlers report its errors, too.
constinit const detail::never_destroyed<source_category> category;

constexpr std::array passing{EAGAIN,    EINTR,        EBUSY,       ENOMEM,       ENOBUFS,
                             ETIMEDOUT, ECONNREFUSED, ECONNRESET,  ECONNABORTED, EPIPE,
                             ENETDOWN,  ENETRESET,    ENETUNREACH, EHOSTDOWN,    EHOSTUNREACH};

}  // namespace

std::error_code make_error_code(source_error value) noexcept {
  return {static_cast<int>(value), category.value};
}

bool is_transient(std::error_code error) noexcept {
  if (error.category() == std::system_category() || error.category() == std::generic_category())
    return std::find(passing.begin(), passing.end(), error.value()) != passing.end();
  return error == source_error::transient;
}

}  // namespace uffd
