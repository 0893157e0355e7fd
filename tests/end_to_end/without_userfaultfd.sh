#!/bin/sh
# SPDX-License-Identifier: MIT
# without_userfaultfd.sh CASE LAUNCHER PROGRAM [ARGUMENT...]: what a program says where userfaultfd is
# not permitted at all.
set -eu
case=$1
shift

fail() {
  echo "without_userfaultfd.sh: $*" >&2
  exit 1
}

code=0
output=$("$@" 2>&1) || code=$?
printf '%s\n' "$output"

says() {
  case $output in *"$1"*) ;; *) return 1 ;; esac
}
says_what_to_change() {
  says 'This process may not use userfaultfd at all' || fail 'no word of what is lacking'
  says 'seccomp profile' || fail 'no word of the seccomp profile'
  says 'vm.unprivileged_userfaultfd=1' || fail 'no word of the sysctl'
}

case $case in
  tests_are_skipped)
    [ "$code" -eq 0 ] || fail "exit code $code, not 0"
    # All that GoogleTest prints where the environment skips the whole program.
    says ': Skipped' || fail 'not skipped'
    says_what_to_change
    if says '[       OK ]'; then fail 'a test passed that could not'; fi
    ;;
  tests_pass_or_are_skipped)
    [ "$code" -eq 0 ] || fail "exit code $code, not 0"
    ;;
  example_exits_with_77)
    [ "$code" -eq 77 ] || fail "exit code $code, not 77"
    says_what_to_change
    ;;
  *)
    fail "no such case: $case"
    ;;
esac
