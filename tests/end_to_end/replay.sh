#!/bin/sh
# SPDX-License-Identifier: MIT
# replay.sh CASE PROGRAM: the example replay with files of all kinds.
set -eu
. "$(dirname "$0")/example.sh"

right() {
  succeeded "^replay: [0-9]+ faults became none, .* all bytes touched as in the file$"
}

case $case in
  odd_sizes)
    for size in 1 7 $((page - 1)) "$page" $((page + 1)) 5000001; do
      random_file "$size"
      for engine in '' --in-thread; do
        # shellcheck disable=SC2086  # none or one word
        run "$folder/file" $engine
        right
      done
    done
    ;;
  kept_set)
    # What is there is replaced; what is wanted is the same each time.
    random_file 5000001
    echo 'something else' >"$folder/set"
    run "$folder/file" --record "$folder/set"
    right
    grep -q '^size 5000001$' "$folder/set" || fail 'not the size of the file'
    [ "$(awk '/^[0-9]/ { sum += $2 } END { print (sum >= 5000001 / 40) }' "$folder/set")" = 1 ] ||
      fail 'less than is read, though twice perhaps'
    cp "$folder/set" "$folder/before"
    run "$folder/file" --record "$folder/set" --readers 1
    right
    cmp "$folder/set" "$folder/before" || fail 'another set'
    [ "$(ls "$folder")" = "$(printf 'before\nfile\nset')" ] || fail "left behind: $(ls "$folder")"
    ;;
  refused_files)
    : >"$folder/file"
    run "$folder/file"
    failed_with 'the source is empty'
    run "$folder"
    failed_with 'Is a directory'
    run "$folder/none"
    failed_with 'No such file or directory'
    random_file 100
    run "$folder/file" --record "$folder/none/set"
    failed_with 'No such file or directory'
    ;;
  *)
    fail "no such case: $case"
    ;;
esac
