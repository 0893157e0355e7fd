// SPDX-License-Identifier: MIT
#include "uffd/latency_histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace uffd {
namespace {

using std::chrono::nanoseconds;

static_assert(latency_histogram::bucket_of(0) == 0);
static_assert(latency_histogram::bucket_of(7) == 7);
static_assert(latency_histogram::bucket_of(8) == 8);
static_assert(latency_histogram::bucket_of(~std::uint64_t{0}) ==
              latency_histogram::bucket_count - 1);

TEST(latency_histogram, buckets_are_contiguous_and_hold_their_upper_bound) {
  for (std::size_t bucket = 0; bucket + 1 < latency_histogram::bucket_count; ++bucket) {
    const auto last = latency_histogram::upper_bound(bucket);
    EXPECT_EQ(latency_histogram::bucket_of(last), bucket);
    EXPECT_EQ(latency_histogram::bucket_of(last + 1), bucket + 1);
  }
  EXPECT_EQ(latency_histogram::upper_bound(latency_histogram::bucket_count - 1), ~std::uint64_t{0});
}

TEST(latency_histogram, of_nothing_answers_zero) {
  const latency_histogram none;
  EXPECT_EQ(none.total(), 0U);
  EXPECT_EQ(none.maximum(), nanoseconds(0));
  EXPECT_EQ(none.percentile(0.5), nanoseconds(0));
  EXPECT_EQ(none.percentile(1), nanoseconds(0));
}

TEST(latency_histogram, of_one_value_answers_it_for_every_fraction) {
  latency_histogram one;
  one.record(nanoseconds(12345));
  for (const double fraction : {0.0, 0.01, 0.5, 0.99, 1.0})
    EXPECT_EQ(one.percentile(fraction), nanoseconds(12345)) << fraction;
  EXPECT_EQ(one.maximum(), nanoseconds(12345));
}

TEST(latency_histogram, counts_negative_durations_as_zero) {
  latency_histogram one;
  one.record(nanoseconds(-5));
  EXPECT_EQ(one.count(0), 1U);
  EXPECT_EQ(one.maximum(), nanoseconds(0));
}

TEST(latency_histogram, takes_the_longest_duration_there_is) {
  latency_histogram one;
  one.record(nanoseconds::max());
  EXPECT_EQ(one.percentile(1), nanoseconds::max());
}

// "The duration that `fraction` of all don't exceed", at most 12.5 % above the truth.
TEST(latency_histogram, percentiles_are_never_below_the_truth_and_little_above_it) {
  std::mt19937_64 random(3);
  for (const std::size_t count : {1U, 2U, 3U, 10U, 101U, 5000U}) {
    latency_histogram histogram;
    std::vector<std::int64_t> values;
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(static_cast<std::int64_t>(random() >> (random() % 40 + 20)));
      histogram.record(nanoseconds(values.back()));
    }
    std::sort(values.begin(), values.end());
    for (const double fraction : {0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      // The smallest value that at least this fraction of all don't exceed.
      std::size_t rank = 0;
      while (static_cast<double>(rank + 1) < fraction * static_cast<double>(count)) ++rank;
      const auto truth = static_cast<double>(values[rank]);
      const auto answer = static_cast<double>(histogram.percentile(fraction).count());
      EXPECT_GE(answer, truth) << fraction << " of " << count;
      EXPECT_LE(answer, truth * 1.125 + 1) << fraction << " of " << count;
    }
  }
}

TEST(latency_histogram, merges_and_adds_as_if_recorded_together) {
  latency_histogram first;
  latency_histogram second;
  latency_histogram both;
  for (int i = 1; i < 1000; ++i) {
    (i % 3 == 0 ? first : second).record(nanoseconds(i * i));
    both.record(nanoseconds(i * i));
  }
  latency_histogram added;
  for (std::size_t bucket = 0; bucket < latency_histogram::bucket_count; ++bucket)
    added.add(bucket, both.count(bucket), 0);
  added.add(0, 0, static_cast<std::uint64_t>(both.maximum().count()));
  first.merge(second);
  for (const auto* sum : {&first, &added}) {
    EXPECT_EQ(sum->total(), both.total());
    EXPECT_EQ(sum->maximum(), both.maximum());
    for (std::size_t bucket = 0; bucket < latency_histogram::bucket_count; ++bucket)
      ASSERT_EQ(sum->count(bucket), both.count(bucket)) << bucket;
  }
}

}  // namespace
}  // namespace uffd
