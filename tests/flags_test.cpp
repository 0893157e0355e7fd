// SPDX-License-Identifier: MIT
#include "uffd/flags.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <type_traits>

namespace uffd {
namespace {

enum class colour : std::uint64_t { red = 1, green = 2 };  // not a flag type

template <class A, class B>
concept combines = requires(A a, B b) {
  a | b;
};

static_assert(std::is_trivially_copyable_v<flags<feature>>);
static_assert(std::is_convertible_v<feature, flags<feature>>);
static_assert(!std::is_convertible_v<feature, flags<register_mode>>);
static_assert(!std::is_convertible_v<flags<feature>, flags<register_mode>>);
static_assert(!std::is_convertible_v<flags<feature>, bool>);
static_assert(!std::is_convertible_v<flags<feature>, std::uint64_t>);
static_assert(!std::is_convertible_v<std::uint64_t, flags<feature>>);
static_assert(!std::is_convertible_v<int, flags<feature>>);
static_assert(combines<feature, feature>);
static_assert(combines<flags<feature>, feature> && combines<feature, flags<feature>>);
static_assert(!combines<feature, register_mode>);
static_assert(!combines<flags<fill_mode>, move_mode>);
static_assert(!combines<colour, colour>);

// All operations are usable in constant expressions.
constexpr auto two = register_mode::missing | register_mode::minor;
static_assert(two.bits() == 5 && !two.empty() && two.has(register_mode::minor));
static_assert((two - register_mode::minor) == register_mode::missing);
static_assert((two & register_mode::minor) == register_mode::minor);

TEST(flags, has_asks_for_all_and_has_any_for_one) {
  EXPECT_TRUE(two.has(two));
  EXPECT_FALSE(two.has(register_mode::missing | register_mode::write_protect));
  EXPECT_TRUE(two.has_any(register_mode::missing | register_mode::write_protect));
  EXPECT_FALSE(two.has_any(register_mode::write_protect));
}

TEST(flags, empty_set_is_in_every_set_and_touches_none) {
  EXPECT_TRUE(two.has({}));
  EXPECT_FALSE(two.has_any({}));
  EXPECT_TRUE(flags<feature>().empty());
}

TEST(flags, compound_assignment_adds_and_takes_away) {
  flags<feature> set = feature::poison;
  set |= feature::move | feature::sigbus;
  set -= feature::poison;
  EXPECT_EQ(set, feature::move | feature::sigbus);
  set -= feature::poison;
  EXPECT_EQ(set, feature::move | feature::sigbus);
}

TEST(flags, unknown_bits_are_kept) {
  const auto set = flags<feature>::from_bits(1ULL << 63 | 1) | feature::move;
  EXPECT_EQ(set.bits(), 1ULL << 63 | 1ULL << 16 | 1);
  EXPECT_EQ((set - feature::move).bits(), 1ULL << 63 | 1);
}

TEST(to_string, of_the_empty_set_is_none) { EXPECT_EQ(to_string(flags<feature>()), "none"); }

TEST(to_string, names_flags_in_the_order_of_their_bits) {
  EXPECT_EQ(to_string(flags(feature::move)), "move");
  EXPECT_EQ(to_string(register_mode::write_protect | register_mode::missing),
            "missing|write_protect");
  EXPECT_EQ(to_string(range_ioctl::continue_ | range_ioctl::wake), "wake|continue");
}

TEST(to_string, prints_unknown_bits_as_one_number) {
  EXPECT_EQ(to_string(flags<wake_mode>::from_bits(0xF00D0)), "0xf00d0");
  EXPECT_EQ(to_string(flags<fault_flag>::from_bits(0x41)), "write|0x40");
  EXPECT_EQ(to_string(flags<feature>::from_bits(~0ULL - ((1ULL << 19) - 1))), "0xfffffffffff80000");
}

template <class E>
class named_flags : public testing::Test {};
using flag_types = testing::Types<feature, register_mode, range_ioctl, fill_mode, move_mode,
                                  wake_mode, fault_flag>;
TYPED_TEST_SUITE(named_flags, flag_types);

TYPED_TEST(named_flags, have_one_bit_and_one_name_each) {
  flags<TypeParam> all;
  std::string names = "|";
  for (const auto& known : detail::flag_names<TypeParam>) {
    const flags<TypeParam> one = known.flag;
    EXPECT_EQ(one.bits() & (one.bits() - 1), 0u) << known.name;
    EXPECT_FALSE(all.has_any(one)) << known.name;
    EXPECT_EQ(names.find("|" + std::string(known.name) + "|"), std::string::npos) << known.name;
    EXPECT_EQ(to_string(one), known.name);
    all |= one;
    names += std::string(known.name) + "|";
  }
  EXPECT_EQ("|" + to_string(all) + "|", names);
}

TEST(feature, bits_are_the_kernels) {
  EXPECT_EQ(detail::flag_names<feature>.size(), 19u);
  EXPECT_EQ(flags(feature::pagefault_flag_wp).bits(), 1u);
  EXPECT_EQ(flags(feature::exact_address).bits(), 1u << 11);
  EXPECT_EQ(flags(feature::rwp_async).bits(), 1u << 18);
}

// What kernel 6.18 was measured to answer.
TEST(range_ioctl, bits_are_the_numbers_of_the_ioctls) {
  EXPECT_EQ(to_string(flags<range_ioctl>::from_bits(0x13c)), "wake|copy|zeropage|move|poison");
  EXPECT_EQ(to_string(flags<range_ioctl>::from_bits(0x1cc)),
            "wake|copy|write_protect|continue|poison");
}

}  // namespace
}  // namespace uffd
