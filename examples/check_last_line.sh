#!/bin/sh
# SPDX-License-Identifier: MIT
# check_last_line.sh REGEX PROGRAM [ARGUMENT...]: the program succeeds and its last line matches.
set -eu
expected=$1
shift

code=0
output=$("$@" 2>&1) || code=$?
printf '%s\n' "$output"
[ "$code" -eq 0 ] || exit "$code"
printf '%s\n' "$output" | tail -n 1 | grep -Eq -- "$expected" || {
  echo "the last line does not match: $expected" >&2
  exit 1
}
