#!/bin/sh
# SPDX-License-Identifier: MIT
# compressed_pages.sh CASE PROGRAM: the example compressed_pages with files of all kinds.
set -eu
. "$(dirname "$0")/example.sh"

right() {
  succeeded "^compressed_pages: $1 of $2 blocks unpacked for .* all bytes as in the file$"
}

case $case in
  odd_sizes)
    for size in 1 $((page - 1)) "$page" $((page + 1)) 65535 65536; do
      random_file "$size"
      run "$folder/file"
      right 1 1
    done
    random_file 5000001
    run "$folder/file" --touch 0
    right 0 77
    run "$folder/file" --touch 3
    right '[1-3]' 77
    ;;
  packed_well)
    truncate -s 64M "$folder/file"
    run "$folder/file" --touch 100
    right '[0-9]+' 1024
    printf '%s\n' "$output" | grep -q 'packed into .* KiB' || fail 'not packed'
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
  *)
    fail "no such case: $case"
    ;;
esac
