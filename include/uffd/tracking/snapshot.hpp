// SPDX-License-Identifier: MIT
/// \file
/// Snapshots of memory that is written meanwhile.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>

#include "uffd/detail/export.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/tracking/snapshot_file.hpp"
#include "uffd/tracking/snapshot_options.hpp"

namespace uffd {

class paged_memory;

namespace detail {
class paged_area;
class snapshot_under_way;
}  // namespace detail

/// What a snapshot has.
enum class snapshot_extent {
  /// What changed since the last complete one, which is its base. All if there is none, if
  /// completing another one failed since, or if the base would not be found, unchanged, by whoever
  /// restores: its file must be in the same folder, under whatever name. (Its own base is not
  /// looked for.) A chain of files grows by one each time, and restoring opens them all: begin anew
  /// by everything now and then.
  changes,
  /// All: it has no base.
  everything,
};

/// A snapshot that is being saved, by a thread of its own. One that ends is cancelled before, and
/// waited for; so is one whose snapshotter ends. Move-only; what is const or cancels may be called
/// from any thread.
class [[nodiscard]] UFFDPP_EXPORT running_snapshot {
 public:
  running_snapshot(running_snapshot&& other) noexcept;
  running_snapshot& operator=(running_snapshot&& other) noexcept;
  ~running_snapshot();

  /// Waits until the file is complete, and would outlast a crash. Throws std::system_error, as
  /// often as it is called, if it could not be completed; there is no file then, unless it had
  /// replaced one of its name and only that could not be made to outlast a crash: with the errno of
  /// writing it; ECANCELED; ENODATA or EFAULT if memory was dropped, unmapped, moved or made
  /// unreadable before it was saved; snapshot_error::no_base if its base was lost, or changed,
  /// meanwhile; EOWNERDEAD in a forked child.
  snapshot_report wait() const;
  /// Whether wait() would return at once.
  bool is_over() const noexcept;
  /// How far it is.
  snapshot_progress progress() const noexcept;
  /// Asks it to end without a file. Writers that wait for it go on as soon as the file system has
  /// answered what was asked of it.
  void cancel() noexcept;

 private:
  friend class snapshotter;
  explicit running_snapshot(std::shared_ptr<detail::snapshot_under_way> of) noexcept;
  void end() noexcept;

  std::shared_ptr<detail::snapshot_under_way> of_;
};

/// Saves memory of this process as it was at one moment while any number of threads go on writing
/// to it. Pages are write-protected first, while writers go on, which costs their writes to
/// those a fault; they stand still only while those pages are being found and protected
/// once more. Whoever then writes to a page that is not saved yet goes on once it is copied aside.
/// Later snapshots protect and save what was written since.
///
///     uffd::snapshotter snapshots(areas);
///     auto running = snapshots.take("table.1", writers_lock);
///     ...
///     const auto report = running.wait();
///
/// - The moment is the caller's: at it no thread may be in the middle of what belongs together,
///   system calls that write to the memory included. What a device writes by itself, direct input
///   for instance, is not noticed: keep such memory out.
/// - An area is whole pages of one kind of memory, all mapped; private anonymous memory, with
///   transparent huge pages or not; shared memory, huge pages and private mappings of shared memory
///   (memfd) from Linux 5.19 on. No part of it may be registered with another userfaultfd.
/// - Nor may an area hold what this library or the C library writes to in order to serve a fault:
///   stacks of its threads, or the heap.
/// - Zeroes cost nothing. Pages that were never touched cost no memory, and of private anonymous
///   memory no time; of other memory they are marked, and before Linux 6.4 read, which fills them.
///   Private mappings of files are read.
/// - Private anonymous memory may be dropped (MADV_DONTNEED) between snapshots, and while one is
///   under way where it was saved already; else that one fails (ENODATA), for the kernel lets
///   nobody look at the memory first. Of other memory any drop while one is under way that touches
///   what it saves makes it fail.
/// - Memory that the kernel may drop at any time (MADV_FREE) is dropped memory when it does.
/// - Pages that the kernel merges (KSM) lose their protection (seen with Linux 6.18): an area is
///   kept from it (MADV_UNMERGEABLE), and must not be made mergeable again meanwhile.
/// - What changes shared memory otherwise is not noticed: another mapping or process, write(2) or
///   fallocate(2) on its file.
/// - Memory that is unmapped, moved or made unreadable makes the snapshot fail that should have it,
///   and every later one. The application is never harmed.
/// - A forked child has its memory to itself, and can't take snapshots. Its copy is not protected;
///   but on some kernels (Linux 6.1) it hangs when it writes to private huge pages.
/// - After a snapshot that failed the next one has what that should have had.
///
/// Paged memory that is written and never written back (write_policy::keep) is saved whole, too:
/// what was written from memory, and the rest from its source, which loads nothing and evicts
/// nothing. Its pager's threads serve the faults of both. Who writes to a page first waits for no
/// copy, for the source has it; a page that is missing costs its first writer two faults instead of
/// one. A source whose error does not pass until map_options::deadline makes the snapshot fail with
/// that error; the memory is not touched by it. One that hangs keeps no writer waiting, but the
/// snapshot, and whoever cancels it. Pins for writing let a page be written without a fault until
/// the next snapshot protects it. Paged memory must not be dropped: a snapshot fails (ENODATA) that
/// should have what was written, or one after that has what is there only once it was touched.
///
/// Faults of system calls must be served, which takes permission (see uffd::support::advice()):
/// else the application's own read(2) into protected memory would fail. Member functions may be
/// called from any thread; a second take() while a snapshot is under way throws EBUSY. Its end
/// cancels what is under way, and takes all protection away; paged memory's when it is written.
/// Move-only.
class UFFDPP_EXPORT snapshotter {
 public:
  /// With threads of its own. Throws std::system_error as handle::open() and
  /// handle::register_range() do, with words that say what to change; EINVAL for an area that isn't
  /// mapped, not aligned to its pages, or of different kinds of memory, and for too little
  /// snapshot_options::extra_memory.
  explicit snapshotter(std::span<const snapshot_area> areas, const snapshot_options& options = {});
  /// With the threads and the userfaultfd of a handler, which must outlive it and not stop before.
  /// Throws as above; EINVAL, naming it, for what the handler's handle lacks: kernel faults,
  /// feature::pagefault_flag_wp; for other than private anonymous memory
  /// feature::wp_hugetlbfs_shmem and feature::event_remove, before Linux 5.14 the latter for all.
  snapshotter(fault_handler& by, std::span<const snapshot_area> areas,
              const snapshot_options& options = {});
  /// Of paged memory, which must outlive it, and may be moved. Throws std::system_error: EINVAL,
  /// naming it, for another policy than write_policy::keep, a pager that serves faults in the
  /// threads that raise them, and what the pager's handle lacks: kernel faults (pager_options::open
  /// may require them), feature::pagefault_flag_wp; for too little snapshot_options::extra_memory;
  /// EBUSY where another snapshotter saves it.
  explicit snapshotter(const paged_memory& memory, const snapshot_options& options = {});
  explicit snapshotter(paged_memory&& memory, const snapshot_options& options = {}) = delete;
  /// The same of several, each an area of its own; EINVAL also where they are not of one pager, or
  /// of pagers with one handler.
  explicit snapshotter(std::span<const paged_memory* const> memory,
                       const snapshot_options& options = {});
  snapshotter(snapshotter&& other) noexcept;
  snapshotter& operator=(snapshotter&& other) noexcept;
  ~snapshotter();

  /// Takes a snapshot of the moment at which `writers` is locked: it is locked while pages that
  /// were written to just before are being protected, and the file written after that, in the
  /// background.
  ///
  /// The file is called `path` once it is complete. Until then its name, cut to 100 bytes, is
  /// followed by .PID-TIME.new; a process that is killed leaves that behind. One that has no base
  /// replaces a file of that name, which may be others' base; one that has a base replaces none.
  /// Beside snapshot_options::extra_memory, memory is taken for 9 bytes of each page of the
  /// system's size that is saved.
  ///
  /// Throws std::system_error: EBUSY while another one is under way; what making the file throws;
  /// EEXIST if it has a base and the name is taken, or what has the name is no file; EFBIG where
  /// this process may write no file as large as the memory (RLIMIT_FSIZE); ENOENT where memory was
  /// unmapped or moved. Nothing is under way then.
  template <class Lockable>
  requires requires(Lockable& lock) {
    lock.lock();
    lock.unlock();
  }
  running_snapshot take(const std::filesystem::path& path, Lockable& writers,
                        snapshot_extent extent = snapshot_extent::changes) {
    return begin(
        path, extent, [&] { writers.lock(); }, [&] { writers.unlock(); });
  }
  /// The same where stop() makes writers stand still and go() lets them go on. What either throws
  /// is passed on, and there is no snapshot; go() is called whenever stop() has returned.
  template <class Stop, class Go>
  requires std::is_invocable_v<Stop&> && std::is_invocable_v<Go&> running_snapshot
  take(const std::filesystem::path& path, Stop&& stop, Go&& go,
       snapshot_extent extent = snapshot_extent::changes) {
    return begin(path, extent, std::ref(stop), std::ref(go));
  }

 private:
  snapshotter(std::span<detail::paged_area* const> areas, const snapshot_options& options);
  running_snapshot begin(const std::filesystem::path& path, snapshot_extent extent,
                         const std::function<void()>& stop, const std::function<void()>& go);

  struct parts;
  std::unique_ptr<parts> parts_;
};

}  // namespace uffd
