// SPDX-License-Identifier: MIT
// Compares our own definitions with the system's headers, as far as those go: nothing to run, all
// of it static_assert. Each part is there if the header has that name. No other file asks the
// headers what exists.
#include "uffd/detail/uapi.hpp"

#include <linux/fs.h>
#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "uffd/flags.hpp"

namespace uffd {
namespace {

// Our member is where the kernel's is, and has its type's size and sign.
#define UFFDPP_SAME_MEMBER(ours, our_member, theirs, their_member)                    \
  static_assert(offsetof(uapi::ours, our_member) == offsetof(theirs, their_member) && \
                sizeof(uapi::ours::our_member) == sizeof(theirs::their_member) &&     \
                same_sign<decltype(uapi::ours::our_member), decltype(theirs::their_member)>)

template <class Ours, class Theirs>
constexpr bool same_sign = std::is_signed_v<Ours> == std::is_signed_v<Theirs>;

constexpr std::uint64_t bits(auto flag) { return static_cast<std::uint64_t>(flag); }

// --- what every header has that has userfaultfd at all (Linux 4.11) ---

static_assert(uapi::api_version == UFFD_API);
static_assert(uapi::request::type == UFFDIO);

static_assert(sizeof(uapi::range) == sizeof(uffdio_range));
UFFDPP_SAME_MEMBER(range, start, uffdio_range, start);
UFFDPP_SAME_MEMBER(range, length, uffdio_range, len);

static_assert(uapi::request::api == UFFDIO_API && uapi::number::api == _UFFDIO_API);
static_assert(sizeof(uapi::api) == sizeof(uffdio_api));
UFFDPP_SAME_MEMBER(api, version, uffdio_api, api);
UFFDPP_SAME_MEMBER(api, features, uffdio_api, features);
UFFDPP_SAME_MEMBER(api, ioctls, uffdio_api, ioctls);

static_assert(uapi::request::register_ == UFFDIO_REGISTER &&
              uapi::number::register_ == _UFFDIO_REGISTER);
static_assert(sizeof(uapi::register_) == sizeof(uffdio_register));
UFFDPP_SAME_MEMBER(register_, range, uffdio_register, range);
UFFDPP_SAME_MEMBER(register_, mode, uffdio_register, mode);
UFFDPP_SAME_MEMBER(register_, ioctls, uffdio_register, ioctls);
static_assert(uapi::mode::register_missing == UFFDIO_REGISTER_MODE_MISSING);
static_assert(uapi::mode::register_write_protect == UFFDIO_REGISTER_MODE_WP);
#ifdef UFFDIO_REGISTER_MODE_MINOR
static_assert(uapi::mode::register_minor == UFFDIO_REGISTER_MODE_MINOR);
#endif
#ifdef UFFDIO_REGISTER_MODE_RWP
static_assert(uapi::mode::register_read_write_protect == UFFDIO_REGISTER_MODE_RWP);
#endif

static_assert(uapi::request::unregister == UFFDIO_UNREGISTER &&
              uapi::number::unregister == _UFFDIO_UNREGISTER);

static_assert(uapi::request::wake == UFFDIO_WAKE && uapi::number::wake == _UFFDIO_WAKE);

static_assert(uapi::request::copy == UFFDIO_COPY && uapi::number::copy == _UFFDIO_COPY);
static_assert(sizeof(uapi::copy) == sizeof(uffdio_copy));
UFFDPP_SAME_MEMBER(copy, destination, uffdio_copy, dst);
UFFDPP_SAME_MEMBER(copy, source, uffdio_copy, src);
UFFDPP_SAME_MEMBER(copy, length, uffdio_copy, len);
UFFDPP_SAME_MEMBER(copy, mode, uffdio_copy, mode);
UFFDPP_SAME_MEMBER(copy, result, uffdio_copy, copy);
static_assert(uapi::mode::copy_dont_wake == UFFDIO_COPY_MODE_DONTWAKE);
#ifdef UFFDIO_COPY_MODE_WP
static_assert(uapi::mode::copy_write_protect == UFFDIO_COPY_MODE_WP);
#endif

static_assert(uapi::request::zeropage == UFFDIO_ZEROPAGE &&
              uapi::number::zeropage == _UFFDIO_ZEROPAGE);
static_assert(sizeof(uapi::zeropage) == sizeof(uffdio_zeropage));
UFFDPP_SAME_MEMBER(zeropage, range, uffdio_zeropage, range);
UFFDPP_SAME_MEMBER(zeropage, mode, uffdio_zeropage, mode);
UFFDPP_SAME_MEMBER(zeropage, result, uffdio_zeropage, zeropage);
static_assert(uapi::mode::zeropage_dont_wake == UFFDIO_ZEROPAGE_MODE_DONTWAKE);

// --- requests that came later ---

#ifdef UFFDIO_WRITEPROTECT
static_assert(uapi::request::write_protect == UFFDIO_WRITEPROTECT &&
              uapi::number::write_protect == _UFFDIO_WRITEPROTECT);
static_assert(sizeof(uapi::write_protect) == sizeof(uffdio_writeprotect));
UFFDPP_SAME_MEMBER(write_protect, range, uffdio_writeprotect, range);
UFFDPP_SAME_MEMBER(write_protect, mode, uffdio_writeprotect, mode);
static_assert(uapi::mode::write_protect_protect == UFFDIO_WRITEPROTECT_MODE_WP);
static_assert(uapi::mode::write_protect_dont_wake == UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
#endif

#ifdef UFFDIO_CONTINUE
static_assert(uapi::request::continue_ == UFFDIO_CONTINUE &&
              uapi::number::continue_ == _UFFDIO_CONTINUE);
static_assert(sizeof(uapi::continue_) == sizeof(uffdio_continue));
UFFDPP_SAME_MEMBER(continue_, range, uffdio_continue, range);
UFFDPP_SAME_MEMBER(continue_, mode, uffdio_continue, mode);
UFFDPP_SAME_MEMBER(continue_, result, uffdio_continue, mapped);
static_assert(uapi::mode::continue_dont_wake == UFFDIO_CONTINUE_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_CONTINUE_MODE_WP
static_assert(uapi::mode::continue_write_protect == UFFDIO_CONTINUE_MODE_WP);
#endif

#ifdef UFFDIO_POISON
static_assert(uapi::request::poison == UFFDIO_POISON && uapi::number::poison == _UFFDIO_POISON);
static_assert(sizeof(uapi::poison) == sizeof(uffdio_poison));
UFFDPP_SAME_MEMBER(poison, range, uffdio_poison, range);
UFFDPP_SAME_MEMBER(poison, mode, uffdio_poison, mode);
UFFDPP_SAME_MEMBER(poison, result, uffdio_poison, updated);
static_assert(uapi::mode::poison_dont_wake == UFFDIO_POISON_MODE_DONTWAKE);
#endif

#ifdef UFFDIO_MOVE
static_assert(uapi::request::move == UFFDIO_MOVE && uapi::number::move == _UFFDIO_MOVE);
static_assert(sizeof(uapi::move) == sizeof(uffdio_move));
UFFDPP_SAME_MEMBER(move, destination, uffdio_move, dst);
UFFDPP_SAME_MEMBER(move, source, uffdio_move, src);
UFFDPP_SAME_MEMBER(move, length, uffdio_move, len);
UFFDPP_SAME_MEMBER(move, mode, uffdio_move, mode);
UFFDPP_SAME_MEMBER(move, result, uffdio_move, move);
static_assert(uapi::mode::move_dont_wake == UFFDIO_MOVE_MODE_DONTWAKE);
static_assert(uapi::mode::move_allow_source_holes == UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES);
#endif

#ifdef UFFDIO_RWPROTECT
static_assert(uapi::request::read_write_protect == UFFDIO_RWPROTECT &&
              uapi::number::read_write_protect == _UFFDIO_RWPROTECT);
static_assert(sizeof(uapi::read_write_protect) == sizeof(uffdio_rwprotect));
UFFDPP_SAME_MEMBER(read_write_protect, range, uffdio_rwprotect, range);
UFFDPP_SAME_MEMBER(read_write_protect, mode, uffdio_rwprotect, mode);
static_assert(uapi::mode::read_write_protect_protect == UFFDIO_RWPROTECT_MODE_RWP);
static_assert(uapi::mode::read_write_protect_dont_wake == UFFDIO_RWPROTECT_MODE_DONTWAKE);
#endif

#ifdef UFFDIO_SET_MODE
static_assert(uapi::request::set_mode == UFFDIO_SET_MODE &&
              uapi::number::set_mode == _UFFDIO_SET_MODE);
static_assert(sizeof(uapi::set_mode) == sizeof(uffdio_set_mode));
UFFDPP_SAME_MEMBER(set_mode, enable, uffdio_set_mode, enable);
UFFDPP_SAME_MEMBER(set_mode, disable, uffdio_set_mode, disable);
#endif

#ifdef USERFAULTFD_IOC_NEW
static_assert(uapi::request::device_new == USERFAULTFD_IOC_NEW);
#endif
#ifdef UFFD_USER_MODE_ONLY
static_assert(uapi::user_mode_only == UFFD_USER_MODE_ONLY);
#endif

// --- messages ---

static_assert(sizeof(uapi::message) == sizeof(uffd_msg));
static_assert(offsetof(uapi::message, event) == offsetof(uffd_msg, event));
static_assert(offsetof(uapi::message, argument.page_fault.flags) ==
              offsetof(uffd_msg, arg.pagefault.flags));
static_assert(offsetof(uapi::message, argument.page_fault.address) ==
              offsetof(uffd_msg, arg.pagefault.address));
static_assert(offsetof(uapi::message, argument.page_fault.thread_id) ==
              offsetof(uffd_msg, arg.pagefault.feat.ptid));
static_assert(offsetof(uapi::message, argument.fork.descriptor) ==
              offsetof(uffd_msg, arg.fork.ufd));
static_assert(offsetof(uapi::message, argument.remap.from) == offsetof(uffd_msg, arg.remap.from));
static_assert(offsetof(uapi::message, argument.remap.to) == offsetof(uffd_msg, arg.remap.to));
static_assert(offsetof(uapi::message, argument.remap.length) == offsetof(uffd_msg, arg.remap.len));
static_assert(offsetof(uapi::message, argument.remove.start) ==
              offsetof(uffd_msg, arg.remove.start));
static_assert(offsetof(uapi::message, argument.remove.end) == offsetof(uffd_msg, arg.remove.end));

static_assert(uapi::event::page_fault == UFFD_EVENT_PAGEFAULT);
static_assert(uapi::event::fork == UFFD_EVENT_FORK);
static_assert(uapi::event::remap == UFFD_EVENT_REMAP);
static_assert(uapi::event::remove == UFFD_EVENT_REMOVE);
static_assert(uapi::event::unmap == UFFD_EVENT_UNMAP);

static_assert(bits(fault_flag::write) == UFFD_PAGEFAULT_FLAG_WRITE);
static_assert(bits(fault_flag::write_protect) == UFFD_PAGEFAULT_FLAG_WP);
#ifdef UFFD_PAGEFAULT_FLAG_MINOR
static_assert(bits(fault_flag::minor) == UFFD_PAGEFAULT_FLAG_MINOR);
#endif
#ifdef UFFD_PAGEFAULT_FLAG_RWP
static_assert(bits(fault_flag::read_write_protect) == UFFD_PAGEFAULT_FLAG_RWP);
#endif

// --- features ---

static_assert(bits(feature::pagefault_flag_wp) == UFFD_FEATURE_PAGEFAULT_FLAG_WP);
static_assert(bits(feature::event_fork) == UFFD_FEATURE_EVENT_FORK);
static_assert(bits(feature::event_remap) == UFFD_FEATURE_EVENT_REMAP);
static_assert(bits(feature::event_remove) == UFFD_FEATURE_EVENT_REMOVE);
static_assert(bits(feature::missing_hugetlbfs) == UFFD_FEATURE_MISSING_HUGETLBFS);
static_assert(bits(feature::missing_shmem) == UFFD_FEATURE_MISSING_SHMEM);
static_assert(bits(feature::event_unmap) == UFFD_FEATURE_EVENT_UNMAP);
#ifdef UFFD_FEATURE_SIGBUS
static_assert(bits(feature::sigbus) == UFFD_FEATURE_SIGBUS);
#endif
#ifdef UFFD_FEATURE_THREAD_ID
static_assert(bits(feature::thread_id) == UFFD_FEATURE_THREAD_ID);
#endif
#ifdef UFFD_FEATURE_MINOR_HUGETLBFS
static_assert(bits(feature::minor_hugetlbfs) == UFFD_FEATURE_MINOR_HUGETLBFS);
#endif
#ifdef UFFD_FEATURE_MINOR_SHMEM
static_assert(bits(feature::minor_shmem) == UFFD_FEATURE_MINOR_SHMEM);
#endif
#ifdef UFFD_FEATURE_EXACT_ADDRESS
static_assert(bits(feature::exact_address) == UFFD_FEATURE_EXACT_ADDRESS);
#endif
#ifdef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
static_assert(bits(feature::wp_hugetlbfs_shmem) == UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
#endif
#ifdef UFFD_FEATURE_WP_UNPOPULATED
static_assert(bits(feature::wp_unpopulated) == UFFD_FEATURE_WP_UNPOPULATED);
#endif
#ifdef UFFD_FEATURE_POISON
static_assert(bits(feature::poison) == UFFD_FEATURE_POISON);
#endif
#ifdef UFFD_FEATURE_WP_ASYNC
static_assert(bits(feature::wp_async) == UFFD_FEATURE_WP_ASYNC);
#endif
#ifdef UFFD_FEATURE_MOVE
static_assert(bits(feature::move) == UFFD_FEATURE_MOVE);
#endif
#ifdef UFFD_FEATURE_RWP
static_assert(bits(feature::rwp) == UFFD_FEATURE_RWP);
#endif
#ifdef UFFD_FEATURE_RWP_ASYNC
static_assert(bits(feature::rwp_async) == UFFD_FEATURE_RWP_ASYNC);
#endif

// --- PAGEMAP_SCAN ---

#ifdef PAGEMAP_SCAN
static_assert(uapi::pagemap::scan == PAGEMAP_SCAN);
static_assert(sizeof(uapi::page_region) == sizeof(page_region));
UFFDPP_SAME_MEMBER(page_region, start, ::page_region, start);
UFFDPP_SAME_MEMBER(page_region, end, ::page_region, end);
UFFDPP_SAME_MEMBER(page_region, categories, ::page_region, categories);
static_assert(sizeof(uapi::pagemap_scan) == sizeof(pm_scan_arg));
UFFDPP_SAME_MEMBER(pagemap_scan, size, pm_scan_arg, size);
UFFDPP_SAME_MEMBER(pagemap_scan, flags, pm_scan_arg, flags);
UFFDPP_SAME_MEMBER(pagemap_scan, start, pm_scan_arg, start);
UFFDPP_SAME_MEMBER(pagemap_scan, end, pm_scan_arg, end);
UFFDPP_SAME_MEMBER(pagemap_scan, walk_end, pm_scan_arg, walk_end);
UFFDPP_SAME_MEMBER(pagemap_scan, vector, pm_scan_arg, vec);
UFFDPP_SAME_MEMBER(pagemap_scan, vector_length, pm_scan_arg, vec_len);
UFFDPP_SAME_MEMBER(pagemap_scan, max_pages, pm_scan_arg, max_pages);
UFFDPP_SAME_MEMBER(pagemap_scan, category_inverted, pm_scan_arg, category_inverted);
UFFDPP_SAME_MEMBER(pagemap_scan, category_mask, pm_scan_arg, category_mask);
UFFDPP_SAME_MEMBER(pagemap_scan, category_anyof_mask, pm_scan_arg, category_anyof_mask);
UFFDPP_SAME_MEMBER(pagemap_scan, return_mask, pm_scan_arg, return_mask);
static_assert(uapi::pagemap::flag_wp_matching == PM_SCAN_WP_MATCHING);
static_assert(uapi::pagemap::flag_check_wp_async == PM_SCAN_CHECK_WPASYNC);
static_assert(uapi::pagemap::wp_allowed == PAGE_IS_WPALLOWED);
static_assert(uapi::pagemap::written == PAGE_IS_WRITTEN);
static_assert(uapi::pagemap::file == PAGE_IS_FILE);
static_assert(uapi::pagemap::present == PAGE_IS_PRESENT);
static_assert(uapi::pagemap::swapped == PAGE_IS_SWAPPED);
static_assert(uapi::pagemap::pfn_zero == PAGE_IS_PFNZERO);
static_assert(uapi::pagemap::huge == PAGE_IS_HUGE);
#endif
#ifdef PAGE_IS_SOFT_DIRTY
static_assert(uapi::pagemap::soft_dirty == PAGE_IS_SOFT_DIRTY);
#endif
#ifdef PAGE_IS_GUARD
static_assert(uapi::pagemap::guard == PAGE_IS_GUARD);
#endif
#ifdef PAGE_IS_ACCESSED
static_assert(uapi::pagemap::accessed == PAGE_IS_ACCESSED);
#endif

}  // namespace
}  // namespace uffd
