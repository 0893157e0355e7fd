#!/bin/sh
# SPDX-License-Identifier: MIT
# larger_than_memory.sh CASE PROGRAM: the example larger_than_memory with files of all kinds.
set -eu
. "$(dirname "$0")/example.sh"

right() {
  succeeded "^larger_than_memory: $1 through $2, checksums equal, [0-9]+ source reads, at most [0-9]+ bytes resident$"
}

case $case in
  sixteen_times_the_budget)
    random_file 16777216
    for engine in '' --in-thread; do
      # shellcheck disable=SC2086  # none or one word
      run "$folder/file" --budget 1M $engine
      right '16.0 MiB' '1.00 MiB'
    done
    ;;
  odd_sizes)
    for size in 1 7 $((page - 1)) "$page" $((page + 1)) 5000001; do
      random_file "$size"
      run "$folder/file" --budget 256K --random 1000
      right '.*' '256.0 KiB'
    done
    ;;
  refused_files)
    : >"$folder/file"
    run "$folder/file"
    failed_with 'the source is empty'
    run "$folder"
    failed_with 'Is a directory'
    run "$folder/none"
    failed_with 'No such file or directory'
    ;;
  file_that_ends_early)
    # Such files claim a whole page and hold a few bytes.
    early=/sys/kernel/uevent_seqnum
    [ "$(stat -c %s "$early" 2>/dev/null)" = "$page" ] || exit 77
    for engine in '' --in-thread; do
      # shellcheck disable=SC2086  # none or one word
      run "$early" $engine
      failed_with 'a page that was touched could not be read'
    done
    ;;
  *)
    fail "no such case: $case"
    ;;
esac
