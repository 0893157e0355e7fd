#!/bin/sh
# SPDX-License-Identifier: MIT
# User-space instructions and system calls that one fault costs in the process that serves it, library
# beside the hand-written loop. Counted by callgrind over two runs of different length: what they have
# in common, starting and ending, cancels.
set -eu

usage() {
  echo 'usage: bench/instructions.sh [-v] BUILD_DIR'
  echo '  -v  also list the functions that the instructions were spent in'
}
verbose=
while getopts vh option; do
  case $option in
    v) verbose=yes ;;
    h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || { usage >&2 && exit 2; }

program=$1/bench/handler_instructions
[ -x "$program" ] || { echo "$0: $program is not built" >&2 && exit 1; }
command -v valgrind >/dev/null || { echo "$0: needs valgrind" >&2 && exit 1; }

few=1000
many=11000
patience=60
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# profile HANDLER EVENTS FAULTS: to $work/HANDLER.EVENTS.FAULTS
profile() {
  timeout $patience "$program" touch "$3" "$2" \
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/$1.$2.$3" \
    "$program" serve "$1" >"$work/log" 2>&1 && return
  echo "$0: $1 ($2):" && cat "$work/log"
  return 1
} >&2

# instructions HANDLER EVENTS: for one fault
instructions() {
  profile "$1" "$2" $few
  profile "$1" "$2" $many
  awk -v faults=$((many - few)) '
    /^totals: / { total[++runs] = $2 }
    END { printf "%.1f", (total[2] - total[1]) / faults }' "$work/$1.$2.$few" "$work/$1.$2.$many"
}

# functions HANDLER EVENTS FAULTS: lines "instructions file:function"
functions() {
  callgrind_annotate --threshold=100 --auto=no "$work/$1.$2.$3" |
    awk '/^ *[0-9,]+ \(.*:/ {
      gsub(",", "", $1)
      count = $1
      sub(/^.*%\) +/, "")
      sub(/ \[.*/, "")
      sub(/^[^:]*\//, "")
      print count, $0
    }'
}

# per_fault_by PART: of the profiles in $work/few and $work/many, by file or by function; what was
# inlined counts for the file it is written in and for the function it ended up in.
per_fault_by() {
  printf '\n  by %s:\n' "$1"
  awk -v part="$1" -v faults=$((many - few)) '
    {
      count = $1
      sub(/^[0-9]+ /, "")
      file = $0
      sub(/:.*/, "", file)
      name = part == "file" ? file : substr($0, length(file) + 2)
    }
    NR == FNR { sum[name] -= count; next }
    { sum[name] += count }
    END {
      for (name in sum)
        if (sum[name] >= faults / 20) printf "  %8.1f  %.85s\n", sum[name] / faults, name
    }' "$work/few" "$work/many" | sort -rn
}

list_functions() {
  printf '\n%s (%s), instructions per fault\n' "$1" "$2"
  functions "$1" "$2" $few >"$work/few"
  functions "$1" "$2" $many >"$work/many"
  per_fault_by function
  per_fault_by file
}


# calls HANDLER EVENTS FAULTS: lines "calls name" of what strace saw
calls() {
  timeout $patience "$program" touch "$3" "$2" \
    strace -f -c -o "$work/calls" "$program" serve "$1" >/dev/null
  awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { print $4, $NF }' "$work/calls"
}

calls_per_fault() {
  command -v strace >/dev/null || { echo 'strace is missing' && return; }
  calls "$1" "$2" $few >"$work/few"
  calls "$1" "$2" $many >"$work/many"
  awk -v faults=$((many - few)) '
    NR == FNR { before[$2] = $1; next }
    {
      each = ($1 - before[$2]) / faults
      if (each >= 0.005) printf "%s%s %.2f", (found++ ? ", " : ""), $2, each
    }' "$work/few" "$work/many"
}

# row NAME HANDLER EVENTS
row() {
  count=$(instructions "$2" "$3")
  [ -n "${raw-}" ] || raw=$count
  more=$(awk -v a="$count" -v b="$raw" 'BEGIN { printf "%.1f", a - b }')
  echo "| $1 | $count | $more | $(calls_per_fault "$2" "$3") |"
}

echo '| handler | instructions per fault | more than raw C (asked: <= 150) | system calls per fault |'
echo '|--|--:|--:|--|'
row 'raw C' raw plain
row library library plain
# Fork events are a privilege.
forks=
if profile library forks 1 2>/dev/null; then forks=yes; fi
[ -z "$forks" ] || row 'library, following forks' library forks

[ -n "$verbose" ] || exit 0
list_functions raw plain
list_functions library plain
[ -z "$forks" ] || list_functions library forks
