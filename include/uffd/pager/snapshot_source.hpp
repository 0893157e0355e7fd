// SPDX-License-Identifier: MIT
/// \file
/// Pages that come from a snapshot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "uffd/detail/export.hpp"
#include "uffd/pager/page_source.hpp"
#include "uffd/tracking/snapshot_chain.hpp"

namespace uffd {

/// One area of a snapshot, as it was at that moment: to restore it lazily, each page when it is
/// first touched. It is never written: with write_policy::keep the memory can be, and the snapshot
/// stays. A page that is damaged is an error, and SIGBUS for whoever touches it. read() does what a
/// signal handler may. Members may be called from several threads.
class UFFDPP_EXPORT snapshot_source {
 public:
  /// Throws std::system_error (EINVAL) where there is no such area.
  explicit snapshot_source(snapshot_chain chain, std::size_t area = 0);

  /// Bytes of the area.
  std::uint64_t size() const noexcept { return size_; }
  /// A snapshot_error, or the errno of pread(2).
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept;
  /// By the snapshot's identity and the area: wherever its files are.
  std::string identity() const;
  /// Whole pages of the area, where they are huge.
  source_advice advice() const noexcept;

 private:
  snapshot_chain chain_;
  std::size_t area_;
  std::uint64_t size_ = 0;
};

}  // namespace uffd
