// SPDX-License-Identifier: MIT
/// \file
/// A histogram of durations with bounded error and a fixed size.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace uffd {

/// Counts durations in buckets of nanoseconds: eight to each power of two, so a percentile is at
/// most 12.5 % above the truth. A value of fixed size; recording never allocates. For one thread at
/// a time.
class latency_histogram {
 public:
  /// Buckets there are.
  static constexpr std::size_t bucket_count = 8 + (64 - 3) * 8;

  /// The bucket a duration falls into.
  static constexpr std::size_t bucket_of(std::uint64_t nanoseconds) noexcept {
    if (nanoseconds < 8) return static_cast<std::size_t>(nanoseconds);
    const auto octave = static_cast<std::size_t>(std::bit_width(nanoseconds)) - 4;
    return 8 + octave * 8 + ((nanoseconds >> octave) & 7);
  }
  /// The largest duration of a bucket, in nanoseconds.
  static constexpr std::uint64_t upper_bound(std::size_t bucket) noexcept {
    if (bucket < 8) return bucket;
    const std::size_t octave = (bucket - 8) / 8;
    return ((8 + (bucket & 7) + 1) << octave) - 1;
  }

  /// Counts one duration.
  void record(std::chrono::nanoseconds duration) noexcept {
    const auto nanoseconds =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count()));
    ++counts_[bucket_of(nanoseconds)];
    ++total_;
    maximum_ = std::max(maximum_, nanoseconds);
  }
  /// Adds `count` durations of one bucket, up to `maximum` nanoseconds.
  void add(std::size_t bucket, std::uint64_t count, std::uint64_t maximum) noexcept {
    counts_[bucket] += count;
    total_ += count;
    maximum_ = std::max(maximum_, maximum);
  }
  /// Adds all of another histogram.
  void merge(const latency_histogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    maximum_ = std::max(maximum_, other.maximum_);
  }

  /// Durations counted.
  std::uint64_t total() const noexcept { return total_; }
  /// Durations in one bucket.
  std::uint64_t count(std::size_t bucket) const noexcept { return counts_[bucket]; }
  /// The longest, exactly.
  std::chrono::nanoseconds maximum() const noexcept { return to_duration(maximum_); }
  /// The duration that `fraction` (0 to 1) of all don't exceed; 0 if there are none.
  std::chrono::nanoseconds percentile(double fraction) const noexcept {
    const double exact = fraction * static_cast<double>(total_);
    auto rank = static_cast<std::uint64_t>(exact);
    if (static_cast<double>(rank) < exact) ++rank;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < bucket_count; ++i) {
      seen += counts_[i];
      if (seen != 0 && seen >= rank) return to_duration(std::min(upper_bound(i), maximum_));
    }
    return {};
  }

 private:
  static std::chrono::nanoseconds to_duration(std::uint64_t nanoseconds) noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(nanoseconds));
  }

  std::array<std::uint64_t, bucket_count> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t maximum_ = 0;
};

}  // namespace uffd
