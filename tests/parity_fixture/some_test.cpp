// SPDX-License-Identifier: MIT
TEST(some_suite, exists) {}
TEST_P(
    some_suite,
    is_found_although_the_name_is_so_long_that_the_line_must_be_broken_before_it_by_the_formatter) {
}
