// SPDX-License-Identifier: MIT
/// \file
/// A page source of any type.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "uffd/pager/page_source.hpp"

namespace uffd {

/// Owns a source, or refers to one (std::ref). Answers for what the source lacks: it is not
/// writable, has no identity and no advice, and its bytes are not in memory. Move-only; a
/// moved-from one may only be destroyed and assigned to. Its members are as safe to call from
/// several threads as the source's; none throws but identity().
class any_source {
 public:
  /// Takes over an rvalue, or refers to what std::ref() names and must outlive this.
  template <class S>
  requires(!std::same_as<std::remove_cvref_t<S>, any_source> && !std::is_lvalue_reference_v<S> &&
           page_source<std::unwrap_reference_t<S>>) any_source(S&& source)
      : source_(std::make_unique<model<S>>(std::forward<S>(source))) {}

  /// Bytes.
  std::uint64_t size() const noexcept { return source_->size(); }
  /// As page_source says; an answer that is neither all nor an error is source_error::incomplete.
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    return source_->read(offset, to);
  }
  /// EROFS where the source is not writable.
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) const noexcept {
    return source_->write(offset, from);
  }
  /// No error where the source has no flush().
  std::error_code flush() const noexcept { return source_->flush(); }
  /// Whether write() can be used.
  bool is_writable() const noexcept { return source_->is_writable(); }
  /// Empty where the source has none.
  std::string identity() const { return source_->identity(); }
  /// Nothing preferred where the source has none.
  source_advice advice() const noexcept { return source_->advice(); }
  /// Empty where it is not in memory.
  std::span<const std::byte> bytes() const noexcept { return source_->bytes(); }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual std::uint64_t size() const noexcept = 0;
    virtual read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept = 0;
    virtual std::error_code write(std::uint64_t offset,
                                  std::span<const std::byte> from) noexcept = 0;
    virtual std::error_code flush() noexcept = 0;
    virtual bool is_writable() const noexcept = 0;
    virtual std::string identity() const = 0;
    virtual source_advice advice() const noexcept = 0;
    virtual std::span<const std::byte> bytes() const noexcept = 0;
  };

  // The errors that a source throws, as it should have returned them.
  template <class Call>
  static std::error_code caught(Call&& call) noexcept {
    try {
      return call();
    } catch (const std::system_error& error) {
      return error.code() ? error.code() : std::make_error_code(std::errc::io_error);
    } catch (const std::bad_alloc&) {
      return std::make_error_code(std::errc::not_enough_memory);
    } catch (...) {
      return std::make_error_code(std::errc::io_error);
    }
  }

  template <class S>
  struct model final : interface {
    using source_type = std::unwrap_reference_t<S>;

    explicit model(S&& taken) : held(std::forward<S>(taken)) {}

    source_type& source() noexcept { return held; }
    const source_type& source() const noexcept { return held; }

    std::uint64_t size() const noexcept override { return source().size(); }
    read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept override {
      read_result result;
      result.error = caught([&] {
        result = source().read(offset, to);
        return result.error;
      });
      if (!result.error && result.bytes != to.size()) result.error = source_error::incomplete;
      if (result.bytes > to.size()) result.bytes = 0;
      return result;
    }
    std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept override {
      if constexpr (writable_source<source_type>)
        if (is_writable()) return caught([&] { return source().write(offset, from); });
      return std::make_error_code(std::errc::read_only_file_system);
    }
    std::error_code flush() noexcept override {
      if constexpr (requires {
                      { source().flush() } -> std::same_as<std::error_code>;
                    })
        return caught([&] { return source().flush(); });
      else
        return {};
    }
    bool is_writable() const noexcept override {
      if constexpr (!writable_source<source_type>)
        return false;
      else if constexpr (requires {
                           { source().is_writable() } -> std::same_as<bool>;
                         })
        return source().is_writable();
      else
        return true;
    }
    std::string identity() const override {
      if constexpr (requires {
                      { source().identity() } -> std::convertible_to<std::string>;
                    })
        return source().identity();
      else
        return {};
    }
    source_advice advice() const noexcept override {
      if constexpr (requires {
                      { source().advice() } -> std::same_as<source_advice>;
                    })
        return source().advice();
      else
        return {};
    }
    std::span<const std::byte> bytes() const noexcept override {
      if constexpr (requires {
                      { source().bytes() } -> std::convertible_to<std::span<const std::byte>>;
                    })
        return source().bytes();
      else
        return {};
    }

    S held;
  };

  std::unique_ptr<interface> source_;
};

}  // namespace uffd
