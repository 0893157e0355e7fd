// SPDX-License-Identifier: MIT
// The kernel's userfaultfd and PAGEMAP_SCAN interface up to Linux 7.3, whatever headers are
// installed. src/detail/uapi.cpp checks it against the system's headers as far as they go.
#pragma once

#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace uffd::uapi {

inline constexpr std::uint64_t api_version = 0xAA;
inline constexpr int user_mode_only = 1;  // flag of the system call and of the device's ioctl

struct range {
  std::uint64_t start;
  std::uint64_t length;
};

struct api {
  std::uint64_t version;
  std::uint64_t features;
  std::uint64_t ioctls;
};

struct register_ {
  uapi::range range;
  std::uint64_t mode;
  std::uint64_t ioctls;
};

struct copy {
  std::uint64_t destination;
  std::uint64_t source;
  std::uint64_t length;
  std::uint64_t mode;
  std::int64_t result;
};

struct zeropage {
  uapi::range range;
  std::uint64_t mode;
  std::int64_t result;
};

struct move {
  std::uint64_t destination;
  std::uint64_t source;
  std::uint64_t length;
  std::uint64_t mode;
  std::int64_t result;
};

struct write_protect {
  uapi::range range;
  std::uint64_t mode;
};

struct continue_ {
  uapi::range range;
  std::uint64_t mode;
  std::int64_t result;
};

struct poison {
  uapi::range range;
  std::uint64_t mode;
  std::int64_t result;
};

struct read_write_protect {
  uapi::range range;
  std::uint64_t mode;
};

struct set_mode {
  std::uint64_t enable;
  std::uint64_t disable;
};

// One message of read(). The kernel packs it; every field is naturally aligned all the same.
struct message {
  std::uint8_t event;
  std::uint8_t reserved1;
  std::uint16_t reserved2;
  std::uint32_t reserved3;
  union {
    struct {
      std::uint64_t flags;
      std::uint64_t address;
      std::uint32_t thread_id;
      std::uint32_t padding;
    } page_fault;
    struct {
      std::uint32_t descriptor;
    } fork;
    struct {
      std::uint64_t from;
      std::uint64_t to;
      std::uint64_t length;
    } remap;
    struct {
      std::uint64_t start;
      std::uint64_t end;
    } remove;  // UNMAP as well
  } argument;
};
static_assert(sizeof(message) == 32 && alignof(message) == 8);

namespace event {
inline constexpr std::uint8_t page_fault = 0x12;
inline constexpr std::uint8_t fork = 0x13;
inline constexpr std::uint8_t remap = 0x14;
inline constexpr std::uint8_t remove = 0x15;
inline constexpr std::uint8_t unmap = 0x16;
}  // namespace event

// Mode bits, named after the ioctl they belong to.
namespace mode {
inline constexpr std::uint64_t register_missing = 1;
inline constexpr std::uint64_t register_write_protect = 2;
inline constexpr std::uint64_t register_minor = 4;
inline constexpr std::uint64_t register_read_write_protect = 8;
inline constexpr std::uint64_t copy_dont_wake = 1;
inline constexpr std::uint64_t copy_write_protect = 2;
inline constexpr std::uint64_t zeropage_dont_wake = 1;
inline constexpr std::uint64_t move_dont_wake = 1;
inline constexpr std::uint64_t move_allow_source_holes = 2;
inline constexpr std::uint64_t write_protect_protect = 1;
inline constexpr std::uint64_t write_protect_dont_wake = 2;
inline constexpr std::uint64_t continue_dont_wake = 1;
inline constexpr std::uint64_t continue_write_protect = 2;
inline constexpr std::uint64_t poison_dont_wake = 1;
inline constexpr std::uint64_t read_write_protect_protect = 1;
inline constexpr std::uint64_t read_write_protect_dont_wake = 2;
}  // namespace mode

// Request numbers within the ioctl type 0xAA; the bit positions of the `ioctls` answers.
namespace number {
inline constexpr unsigned register_ = 0x00;
inline constexpr unsigned unregister = 0x01;
inline constexpr unsigned wake = 0x02;
inline constexpr unsigned copy = 0x03;
inline constexpr unsigned zeropage = 0x04;
inline constexpr unsigned move = 0x05;
inline constexpr unsigned write_protect = 0x06;
inline constexpr unsigned continue_ = 0x07;
inline constexpr unsigned poison = 0x08;
inline constexpr unsigned read_write_protect = 0x09;
inline constexpr unsigned set_mode = 0x0A;
inline constexpr unsigned api = 0x3F;
}  // namespace number

// Whole request values. The direction bits of unregister and wake are the kernel's historical slip.
namespace request {
inline constexpr unsigned type = 0xAA;
inline constexpr unsigned long api = _IOWR(type, number::api, uapi::api);
inline constexpr unsigned long register_ = _IOWR(type, number::register_, uapi::register_);
inline constexpr unsigned long unregister = _IOR(type, number::unregister, uapi::range);
inline constexpr unsigned long wake = _IOR(type, number::wake, uapi::range);
inline constexpr unsigned long copy = _IOWR(type, number::copy, uapi::copy);
inline constexpr unsigned long zeropage = _IOWR(type, number::zeropage, uapi::zeropage);
inline constexpr unsigned long move = _IOWR(type, number::move, uapi::move);
inline constexpr unsigned long write_protect =
    _IOWR(type, number::write_protect, uapi::write_protect);
inline constexpr unsigned long continue_ = _IOWR(type, number::continue_, uapi::continue_);
inline constexpr unsigned long poison = _IOWR(type, number::poison, uapi::poison);
inline constexpr unsigned long read_write_protect =
    _IOWR(type, number::read_write_protect, uapi::read_write_protect);
inline constexpr unsigned long set_mode = _IOW(type, number::set_mode, uapi::set_mode);
inline constexpr unsigned long device_new = _IO(type, 0x00);  // on /dev/userfaultfd
}  // namespace request

// PAGEMAP_SCAN on /proc/PID/pagemap, Linux 6.7.
struct page_region {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct pagemap_scan {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t vector;
  std::uint64_t vector_length;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
static_assert(sizeof(page_region) == 24 && sizeof(pagemap_scan) == 96);

namespace pagemap {
inline constexpr unsigned long scan = _IOWR('f', 16, pagemap_scan);
inline constexpr std::uint64_t flag_wp_matching = 1;
inline constexpr std::uint64_t flag_check_wp_async = 2;
inline constexpr std::uint64_t wp_allowed = 1;
inline constexpr std::uint64_t written = 2;
inline constexpr std::uint64_t file = 4;
inline constexpr std::uint64_t present = 8;
inline constexpr std::uint64_t swapped = 0x10;
inline constexpr std::uint64_t pfn_zero = 0x20;
inline constexpr std::uint64_t huge = 0x40;
inline constexpr std::uint64_t soft_dirty = 0x80;
inline constexpr std::uint64_t guard = 0x100;
inline constexpr std::uint64_t accessed = 0x200;
}  // namespace pagemap

}  // namespace uffd::uapi
