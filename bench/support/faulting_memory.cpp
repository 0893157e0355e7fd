// SPDX-License-Identifier: MIT
#include "support/faulting_memory.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace uffd::bench {
namespace {

mapping make_memory(const workload& work) {
  const bool huge = work.page_size != uffd::page_size();
  if (work.how == technique::continue_)
    return huge ? mapping::shared_huge(work.bytes, work.page_size) : mapping::shared(work.bytes);
  return huge ? mapping::huge(work.bytes, work.page_size) : mapping::anonymous(work.bytes);
}

void write_each_page(const mapping& memory) {
  volatile std::byte* bytes = memory.bytes().data();
  for (std::size_t at = 0; at < memory.bytes().size(); at += memory.page_size())
    bytes[at] = std::byte{1};
}

void advise(const mapping& memory, int advice) {
  if (::madvise(memory.bytes().data(), memory.bytes().size(), advice) != 0)
    throw std::system_error(errno, std::system_category(), "madvise");
}

// Whatever the machine's setting, a fault is about one small page.
void refuse_transparent_huge_pages(const mapping& memory) {
  if (memory.page_size() == uffd::page_size())
    ::madvise(memory.bytes().data(), memory.bytes().size(), MADV_NOHUGEPAGE);
}

}  // namespace

std::string_view name_of(technique how) {
  switch (how) {
    case technique::copy:
      return "copy";
    case technique::zeropage:
      return "zeropage";
    case technique::move:
      return "move";
    case technique::continue_:
      return "continue";
    case technique::write_unprotect:
      return "write_unprotect";
  }
  return "";
}

faulting_memory::faulting_memory(const workload& work) : work_(work), memory_(make_memory(work)) {
  refuse_transparent_huge_pages(memory_);
  switch (work_.how) {
    case technique::copy:
      source_ = mapping::anonymous(block());
      break;
    case technique::move:
      source_ = mapping::anonymous(work_.bytes);
      break;
    case technique::continue_:
      write_each_page(memory_.alias());
      break;
    case technique::write_unprotect:
      write_each_page(memory_);
      break;
    case technique::zeropage:
      break;
  }
  if (!source_) return;
  refuse_transparent_huge_pages(*source_);
  write_each_page(*source_);
}

flags<feature> faulting_memory::features() const noexcept {
  const bool huge = work_.page_size != uffd::page_size();
  switch (work_.how) {
    case technique::move:
      return feature::move;
    case technique::continue_:
      return huge ? feature::minor_hugetlbfs : feature::minor_shmem;
    case technique::write_unprotect:
      return huge ? feature::pagefault_flag_wp | feature::wp_hugetlbfs_shmem
                  : flags<feature>(feature::pagefault_flag_wp);
    default:
      return {};
  }
}

flags<register_mode> faulting_memory::modes() const noexcept {
  if (work_.how == technique::continue_) return register_mode::minor;
  if (work_.how == technique::write_unprotect) return register_mode::write_protect;
  return register_mode::missing;
}

std::span<std::byte> faulting_memory::source() const noexcept {
  return source_ ? source_->bytes() : std::span<std::byte>();
}

void faulting_memory::prepare(const handle& on) const {
  if (work_.how == technique::write_unprotect) {
    const outcome done = on.write_protect(range());
    if (!done) throw std::system_error(done.error(), "write protection");
    return;
  }
  advise(memory_, MADV_DONTNEED);
  if (work_.how == technique::move) write_each_page(*source_);
}

void faulting_memory::touch_block(std::size_t number) const noexcept {
  volatile std::byte* byte = memory_.bytes().data() + number * block();
  if (work_.how == technique::write_unprotect)
    *byte = std::byte{2};
  else
    static_cast<void>(*byte);
}

}  // namespace uffd::bench
