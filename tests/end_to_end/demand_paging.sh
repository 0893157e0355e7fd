#!/bin/sh
# SPDX-License-Identifier: MIT
# demand_paging.sh CASE PROGRAM: the example demand_paging with files of all kinds.
set -eu
program=$2
page=$(getconf PAGESIZE)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "demand_paging.sh: $*" >&2
  exit 1
}

# run ARGUMENT...: sets code and output.
run() {
  code=0
  output=$("$program" "$@" 2>&1) || code=$?
  judge_permission
}
judge_permission() {
  printf '%s\n' "$output"
  [ "$code" -ne 77 ] || exit 77
}
succeeded() {
  [ "$code" -eq 0 ] || fail "exit code $code"
  expect_output 'all bytes as in the file'
}
failed_with() {
  [ "$code" -eq 1 ] || fail "exit code $code, not 1"
  expect_output "$1"
  case $output in *'all bytes as in the file'*) fail 'claims success' ;; esac
}
expect_output() {
  case $output in *"$1"*) ;; *) fail "no word of: $1" ;; esac
}
random_file() { head -c "$1" /dev/urandom >"$folder/file"; }

case $1 in
  random_file)
    random_file 5000001
    pages=$(((5000001 + page - 1) / page))
    for order in sequential random; do
      for block in 1 8 2048; do
        run "$folder/file" --order "$order" --threads 4 --block "$block"
        succeeded
        expect_output "$pages of $pages"
        expect_output 'bytes read'
      done
    done
    ;;
  small_files)
    for size in 1 $((page - 1)) "$page" $((page + 1)); do
      random_file "$size"
      run "$folder/file" --order random --threads 2 --block 4
      succeeded
    done
    ;;
  refused_files)
    : >"$folder/empty"
    run "$folder/empty"
    failed_with 'empty'
    run "$folder"
    failed_with 'Is a directory'
    run "$folder/none"
    failed_with 'No such file or directory'
    mkfifo "$folder/fifo"
    run "$folder/fifo"
    failed_with 'not a regular file'
    random_file 1
    chmod 0 "$folder/file"
    if [ ! -r "$folder/file" ]; then
      run "$folder/file"
      failed_with 'Permission denied'
    fi
    ;;
  file_that_ends_early)
    # Such files claim a whole page and hold a few bytes.
    early=/sys/kernel/uevent_seqnum
    [ "$(stat -c %s "$early" 2>/dev/null)" = "$page" ] || exit 77
    run "$early"
    failed_with 'the file ended early'
    ;;
  shrinking_file)
    truncate -s 1G "$folder/file"
    mkfifo "$folder/output"
    "$program" "$folder/file" --order random --threads 2 >"$folder/output" 2>&1 &
    exec 3<"$folder/output"
    # Its first line comes before the first touch; a gigabyte of touches is still to come.
    read -r output <&3 || true
    truncate -s $((2 * page)) "$folder/file"
    output="$output
$(cat <&3)"
    code=0
    wait $! || code=$?
    judge_permission
    failed_with 'the file ended early'
    ;;
  *)
    fail "no such case: $1"
    ;;
esac
