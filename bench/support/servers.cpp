// SPDX-License-Identifier: MIT
#include "support/servers.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include "support/cpus.hpp"
#include "support/raw_handler.h"
#include "support/raw_signal.h"
#include "uffd/fault.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd::bench {
namespace {

struct resolver {
  technique how;
  std::size_t block;
  std::span<const std::byte> source;

  resolution operator()(fault& raised) const noexcept {
    const page_range to = raised.block(block);
    switch (how) {
      case technique::copy:
        return raised.copy(to, source.first(to.size()));
      case technique::zeropage:
        return raised.zeropage(to);
      case technique::move:
        return raised.move(source.subspan(raised.offset(), to.size()));
      case technique::continue_:
        return raised.continue_(to);
      case technique::write_unprotect:
        return raised.unprotect(to);
    }
    return std::errc::invalid_argument;
  }
};

fault_handler_options options_for(const placement* where) {
  fault_handler_options options;
  if (where == nullptr) return options;
  options.busy_polling = where->busy_polling;
  if (where->cpus.front() == any_cpu)
    options.threads = static_cast<unsigned>(where->cpus.size());
  else
    options.cpus = where->cpus;
  return options;
}

fault_handler start(const faulting_memory& memory, const placement* where, opened_by who) {
  fault_handler_options options = options_for(where);
  resolver resolve{memory.how(), memory.block(), memory.source()};
  if (who == opened_by::bench)
    return {handle::open({.required = memory.features()}), resolver(resolve), options};
  options.open.required = memory.features();
  return fault_handler(resolver(resolve), options);
}

class library_server final : public server {
 public:
  library_server(const faulting_memory& memory, const placement* where, opened_by who)
      : handler_(start(memory, where, who)),
        region_(handler_.serve(memory.range(),
                               {.modes = memory.modes(), .page_size = memory.page_size()})) {}
  // The next round touches nothing: leaving zeroes is quick.
  ~library_server() override { region_.complete(); }

  const handle& on() const noexcept override { return handler_.on(); }

 private:
  fault_handler handler_;
  served_region region_;
};

raw_technique raw(technique how) {
  switch (how) {
    case technique::copy:
      return raw_copy;
    case technique::zeropage:
      return raw_zeropage;
    case technique::move:
      return raw_move;
    case technique::continue_:
      return raw_continue;
    case technique::write_unprotect:
      return raw_write_unprotect;
  }
  return raw_copy;
}

class raw_server final : public server {
 public:
  raw_server(const faulting_memory& memory, const placement& where, std::size_t messages)
      : on_(handle::open({.required = memory.features()})) {
    on_.register_range(memory.range(), memory.modes());
    const raw_handler_options options{.uffd = on_.fd(),
                                      .base = memory.range().begin(),
                                      .block = memory.block(),
                                      .source = memory.source().data(),
                                      .technique = raw(memory.how()),
                                      .cpus = where.cpus.data(),
                                      .handlers = static_cast<unsigned>(where.cpus.size()),
                                      .messages_per_read = messages,
                                      .busy_polling = where.busy_polling};
    handler_ = raw_handler_start(&options);
    if (handler_ == nullptr) throw std::system_error(errno, std::system_category(), "raw handler");
  }
  ~raw_server() override { raw_handler_stop(handler_); }

  const handle& on() const noexcept override { return on_; }

 private:
  handle on_;
  raw_handler* handler_ = nullptr;
};

class in_thread_server final : public server {
 public:
  explicit in_thread_server(const faulting_memory& memory)
      : handler_(async_signal_safe, resolver{memory.how(), memory.block(), memory.source()},
                 {.open = {.required = memory.features()}}),
        region_(handler_.serve(memory.range(),
                               {.modes = memory.modes(), .page_size = memory.page_size()})) {}
  ~in_thread_server() override { region_.complete(); }

  const handle& on() const noexcept override { return handler_.on(); }

 private:
  sigbus_handler handler_;
  served_region region_;
};

class raw_in_thread_server final : public server {
 public:
  explicit raw_in_thread_server(const faulting_memory& memory)
      : on_(handle::open({.required = memory.features() | feature::sigbus})) {
    on_.register_range(memory.range(), memory.modes());
    const raw_signal_options options{.uffd = on_.fd(),
                                     .base = memory.range().begin(),
                                     .block = memory.block(),
                                     .source = memory.source().data()};
    if (raw_signal_start(&options) != 0)
      throw std::system_error(errno, std::system_category(), "raw signal handler");
  }
  ~raw_in_thread_server() override { raw_signal_stop(); }

  const handle& on() const noexcept override { return on_; }

 private:
  handle on_;
};

}  // namespace

placement one_unpinned() { return {{any_cpu}}; }
placement one_on(int cpu) { return {{cpu}}; }
placement one_per_cpu() { return {allowed_cpus()}; }

std::unique_ptr<server> serve_by_library(const faulting_memory& memory, const placement* where,
                                         opened_by who) {
  return std::make_unique<library_server>(memory, where, who);
}

std::unique_ptr<server> serve_by_raw(const faulting_memory& memory, const placement& where,
                                     std::size_t messages_per_read) {
  return std::make_unique<raw_server>(memory, where, messages_per_read);
}

std::unique_ptr<server> serve_in_thread_by_library(const faulting_memory& memory) {
  return std::make_unique<in_thread_server>(memory);
}

std::unique_ptr<server> serve_in_thread_by_raw(const faulting_memory& memory) {
  return std::make_unique<raw_in_thread_server>(memory);
}

}  // namespace uffd::bench
