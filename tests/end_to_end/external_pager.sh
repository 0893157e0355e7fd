#!/bin/sh
# SPDX-License-Identifier: MIT
# external_pager.sh CASE PROGRAM: the example external_pager as two programs.
set -eu
program=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
socket=$folder/socket

fail() {
  cat "$folder"/*.log
  echo "external_pager.sh: $*" >&2
  exit 1
}
# ended NAME PID CODE TEXT: it exits so, and prints that.
ended() {
  code=0
  wait "$2" || code=$?
  [ "$code" -ne 77 ] || exit 77
  [ "$code" -eq "$3" ] || fail "$1: exit code $code, not $3"
  grep -q -- "$4" "$folder/$1.log" || fail "$1: no word of: $4"
}

head -c 1000001 /dev/urandom >"$folder/file"
case $1 in
  two_programs)
    "$program" serve "$socket" "$folder/file" >"$folder/serve.log" 2>&1 &
    serve=$!
    "$program" read "$socket" "$folder/file" >"$folder/read.log" 2>&1 &
    ended read $! 0 'pages served by 1 pager(s), all bytes as in the file$'
    ended serve "$serve" 0 '^external_pager: [0-9]* pages served for process [0-9]*$'
    ;;
  other_file)
    head -c 1000001 /dev/urandom >"$folder/other"
    "$program" serve "$socket" "$folder/other" >"$folder/serve.log" 2>&1 &
    "$program" read "$socket" "$folder/file" >"$folder/read.log" 2>&1 &
    ended read $! 1 'page 0 is not as in the file'
    ;;
  no_pager)
    "$program" read "$socket" "$folder/file" --limit 1 >"$folder/read.log" 2>&1 &
    ended read $! 1 'no pager came in time'
    ;;
  *)
    fail "no such case: $1"
    ;;
esac
