// SPDX-License-Identifier: MIT
#include "uffd/sigbus_handler.hpp"

#include <optional>

#include "detail/in_thread_server.hpp"

namespace uffd {

sigbus_handler::sigbus_handler(detail::callbacks client, const sigbus_handler_options& options)
    : sigbus_handler(handle::open(detail::in_thread_server::options_for(options)),
                     std::move(client), options) {}

sigbus_handler::sigbus_handler(handle on, detail::callbacks client,
                               const sigbus_handler_options& options)
    : server_(
          std::make_shared<detail::in_thread_server>(std::move(on), std::move(client), options)) {}

sigbus_handler::sigbus_handler(sigbus_handler&& other) noexcept = default;

sigbus_handler& sigbus_handler::operator=(sigbus_handler&& other) noexcept {
  if (this != &other) {
    end();
    server_ = std::move(other.server_);
  }
  return *this;
}

sigbus_handler::~sigbus_handler() { end(); }

void sigbus_handler::end() noexcept {
  if (server_) server_->close();
}

served_region sigbus_handler::serve(page_range range, const serve_options& options) {
  return server_->serve(range, std::nullopt, options);
}

served_region sigbus_handler::serve(mapping memory, serve_options options) {
  options.page_size = memory.page_size();
  const auto range = memory.range();
  return server_->serve(range, std::move(memory), options);
}

void sigbus_handler::rethrow_error() { server_->rethrow_error(); }

const handle& sigbus_handler::on() const noexcept { return server_->on(); }

}  // namespace uffd
