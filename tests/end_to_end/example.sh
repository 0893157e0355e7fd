# SPDX-License-Identifier: MIT
# To be sourced: what scripts that run an example have in common. They are called CASE PROGRAM.
case=$1
program=$2
page=$(getconf PAGESIZE)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "$(basename "$0") $case: $*" >&2
  exit 1
}

# run ARGUMENT...: sets code and output, and leaves where userfaultfd is not permitted.
run() {
  code=0
  output=$("$program" "$@" 2>&1) || code=$?
  printf '%s\n' "$output"
  [ "$code" -ne 77 ] || exit 77
}
# succeeded REGEX: and the last line matches.
succeeded() {
  [ "$code" -eq 0 ] || fail "exit code $code"
  printf '%s\n' "$output" | tail -n 1 | grep -Eq -- "$1" || fail "the last line does not match: $1"
}
# failed_with TEXT: and says it.
failed_with() {
  [ "$code" -eq 1 ] || fail "exit code $code, not 1"
  case $output in *"$1"*) ;; *) fail "no word of: $1" ;; esac
}
random_file() { head -c "$1" /dev/urandom >"$folder/file"; }
