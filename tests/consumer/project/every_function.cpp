// SPDX-License-Identifier: MIT
// Names every function of the compiled library, so that one that a shared library hides does not
// link. Nothing here runs but main().
#include <uffd/uffd.hpp>

#include <cstddef>
#include <mutex>
#include <span>
#include <system_error>
#include <utility>

namespace {
template <class... Values>
void use(Values&&... /*unused*/) {}
}  // namespace

// Not static: a compiler would leave out what nobody calls.
uffd::resolution use_fault(uffd::fault& raised, std::span<const std::byte> bytes) {
  const auto page = raised.page();
  use(raised.space(), raised.on(), raised.block(1), raised.copy(page, bytes),
      raised.copy_buffer(page, 1), raised.zeropage(page), raised.continue_(page), raised.move(page),
      raised.unprotect(page), raised.poison());
  auto later = raised.defer();
  auto other = std::move(later);
  later = std::move(other);
  use(later.space(), later.copy(bytes), later.zeropage(), later.continue_(), later.move(page),
      later.unprotect(), later.poison(), later.fail(std::error_code()));
  return uffd::resolution::deferred();
}

uffd::resolution zeropage(uffd::fault& raised) { return raised.zeropage(); }

void use_region(uffd::served_region region) {
  auto other = std::move(region);
  region = std::move(other);
  use(region.info(), region.bytes());
  region.complete();
}

void use_table(uffd::range_table& table, uffd::page_range range) {
  table.insert(range, nullptr);
  table.erase(range);
  table.erase_client(nullptr);
  table.apply(uffd::remap_event{});
  table.apply(uffd::unmap_event{});
}

void use_handler(uffd::handle on, uffd::handed_over served, uffd::page_range range) {
  uffd::fault_handler handler(zeropage);
  uffd::fault_handler with_handle(std::move(on), zeropage);
  uffd::fault_handler successor(std::move(served), zeropage);
  uffd::fault_handler moved(std::move(handler));
  handler = std::move(moved);
  use_region(handler.serve(range));
  use_region(handler.serve(uffd::mapping::anonymous(range.size())));
  use_region(handler.serve(range, zeropage));
  handler.serve_registered({});
  use(handler.on(), handler.statistics(), handler.hand_over());
  handler.request_stop();
  handler.rethrow_error();
  handler.join();
}

void use_loop(uffd::handle on, uffd::page_range range) {
  uffd::fault_loop loop(zeropage);
  uffd::fault_loop with_handle(std::move(on), zeropage);
  uffd::fault_loop moved(std::move(loop));
  loop = std::move(moved);
  use_region(loop.serve(range));
  use_region(loop.serve(uffd::mapping::anonymous(range.size())));
  use(loop.fd(), loop.on(), loop.statistics());
  loop.dispatch();
  loop.rethrow_error();
}

void use_handoff(int socket, const uffd::handle& on) {
  uffd::handoff::send(socket, on, {});
  uffd::handoff::send(socket, uffd::handoff::receive(socket));
  use(uffd::handoff::peer_of(socket).pidfd);
}

void use_keeper(uffd::handed_over served, uffd::unique_fd listener) {
  uffd::handle_keeper keeper(std::move(served), std::move(listener));
  uffd::handle_keeper moved(std::move(keeper));
  keeper = std::move(moved);
  use(keeper.pagers(), keeper.gave_up());
}

uffd::resolution zeropage_in_thread(uffd::fault& raised) noexcept { return raised.zeropage(); }

void use_sigbus(uffd::handle on, uffd::page_range range) {
  uffd::sigbus_handler handler(uffd::async_signal_safe, zeropage_in_thread);
  uffd::sigbus_handler with_handle(std::move(on), uffd::async_signal_safe, zeropage_in_thread);
  uffd::sigbus_handler moved(std::move(handler));
  handler = std::move(moved);
  use_region(handler.serve(range));
  use_region(handler.serve(uffd::mapping::anonymous(range.size())));
  use(handler.on());
  handler.rethrow_error();
}

void use_tracker(uffd::fault_handler& handler, uffd::page_range range) {
  const uffd::write_tracker tracker;
  const uffd::write_tracker with_callback([](uffd::page_range /*page*/) {});
  const uffd::write_tracker client(handler);
  const auto tracked = tracker.track(range);
  tracked.collect([](uffd::page_range /*written*/) {});
  use(tracker.engine());
}

void use_working_set(uffd::working_set set) {
  const uffd::working_set made("", 1, 1, {});
  set.merge(uffd::working_set::parse(set.text()));
  set.save("set");
  use(set.bytes(), set.is_of("", 1), uffd::working_set::load("set"),
      make_error_code(uffd::working_set_error::damaged));
}

void use_recording(const uffd::paged_memory& memory) {
  auto recording = memory.record();
  auto other = std::move(recording);
  recording = std::move(other);
  use(recording.wanted(), memory.replay(recording.finish()));
}

void use_snapshot(std::span<std::byte> memory) {
  const auto file = uffd::snapshot_file::open("snapshot");
  use(file.path(), to_string(file.identity()), file.base(), file.base_name(), file.areas(),
      file.saved_bytes(), file.block_size(), file.run_at(0, 0), file.read(0, 0, memory), file.fd(),
      file.data_offset(0), make_error_code(uffd::snapshot_error::damaged));
  file.verify();
  const uffd::snapshot_chain given({file});
  const auto chain = uffd::snapshot_chain::open("snapshot");
  use(chain.run_at(0, 0), chain.holder_of(0, 0), chain.read(0, 0, memory));
  chain.restore(memory);
  chain.restore(std::span(&memory, 1));
  chain.verify();
  const uffd::snapshot_source source(chain);
  use(source.read(0, memory), source.identity(), source.advice());
}

void use_snapshotter(uffd::fault_handler& handler, std::span<const uffd::snapshot_area> areas) {
  uffd::snapshotter by(areas);
  uffd::snapshotter client(handler, areas);
  uffd::snapshotter moved(std::move(by));
  by = std::move(moved);
  std::mutex writers;
  auto running = by.take("snapshot", writers);
  auto other = std::move(running);
  running = std::move(other);
  use(running.wait(), running.is_over(), running.progress());
  running.cancel();
}

int main() {}
