// SPDX-License-Identifier: MIT
#include "serving.hpp"

#include <unistd.h>

#include <uffd/uffd.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>

#include "content.hpp"
#include "support/unix_socket.hpp"

namespace external_pager {
namespace {

void wait_until_closed(int socket) {
  std::byte ignored{};
  ssize_t got = 0;
  do {
    got = ::read(socket, &ignored, 1);
  } while (got > 0 || (got < 0 && errno == EINTR));
}

}  // namespace

service serve(const std::string& socket, const std::string& file) {
  const content source(file);
  const auto connection = examples::connect_to(socket, std::chrono::seconds(10));
  const auto serve_page = [&](uffd::fault& fault) -> uffd::resolution {
    const auto page = fault.buffer();
    if (const auto error = source.read(fault.offset(), page)) return error;
    return fault.copy(page);
  };
  // While another pager serves, this one waits here. When it stops, its successor goes on.
  uffd::fault_handler handler(
      uffd::handoff::receive(connection.get(), {.time_limit = std::chrono::milliseconds::max()}),
      std::ref(serve_page), {.on_stop = uffd::stop_policy::hand_over, .statistics = true});
  wait_until_closed(connection.get());
  handler.request_stop();
  handler.join();
  return {handler.statistics().missing, uffd::handoff::peer_of(connection.get()).process};
}

}  // namespace external_pager
