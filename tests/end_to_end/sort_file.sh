#!/bin/sh
# SPDX-License-Identifier: MIT
# sort_file.sh CASE PROGRAM: the example sort_file, whose result sort(1) gives as well.
set -eu
. "$(dirname "$0")/example.sh"

numbers_of() { od -An -v -t u8 -w8 "$1" | tr -d ' '; }

# sorts COUNT RUNS ARGUMENT...
sorts() {
  count=$1 runs=$2
  shift 2
  numbers_of "$folder/file" | LC_ALL=C sort -n >"$folder/expected"
  run "$folder/file" "$@"
  succeeded "^sort_file: $count integers of .* through .*, $runs runs merged, in order and all there$"
  numbers_of "$folder/file" | cmp - "$folder/expected" || fail 'sort(1) says something else'
  [ "$(ls "$folder")" = "$(printf 'expected\nfile')" ] || fail "left behind: $(ls "$folder")"
}

case $case in
  random_files)
    for count in 1 511 512 513 32768 32769 100001; do
      random_file $((8 * count))
      sorts "$count" $(((count + 32767) / 32768)) --budget 512K
    done
    ;;
  ordered_files)
    # At random, then what is sorted already, the same with its runs the other way round, and equal.
    random_file 1600000
    sorts 200000 7 --budget 512K
    sorts 200000 7 --budget 512K
    for part in 4 3 2 1 0; do
      tail -c +$((part * 320000 + 1)) "$folder/file" | head -c 320000
    done >"$folder/turned"
    mv "$folder/turned" "$folder/file"
    sorts 200000 7 --budget 512K
    head -c 1600000 /dev/zero >"$folder/file"
    sorts 200000 7 --budget 512K
    ;;
  refused_files)
    random_file 8001
    cp "$folder/file" "$folder/copy"
    run "$folder/file"
    failed_with 'its last integer has less than eight bytes'
    run "$folder/file" --make 10
    failed_with 'File exists'
    cmp "$folder/file" "$folder/copy" || fail 'it was changed'
    : >"$folder/file"
    run "$folder/file"
    failed_with 'the source is empty'
    run "$folder"
    failed_with 'Is a directory'
    run "$folder/none"
    failed_with 'No such file or directory'
    mkfifo "$folder/fifo"
    run "$folder/fifo"
    failed_with 'neither a regular file nor a block device'
    ;;
  *)
    fail "no such case: $case"
    ;;
esac
