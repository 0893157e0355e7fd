#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the benchmarks and writes OUTPUT_DIR/report.md with plots beside it.
set -eu

usage() {
  echo 'usage: bench/report.sh [-q] BUILD_DIR [OUTPUT_DIR]'
  echo '  -q  quick: to see that it works, not to measure'
}
min_time=0.2
pairs=9
faults=16384
paging=
tracking=
snapshots=
while getopts qh option; do
  case $option in
    q) min_time=0.01 pairs=2 faults=1024 paging='--runs 2 --file 64M --accesses 5000' \
      tracking='--runs 2 --size 64M' snapshots='--runs 2 --size 64M' ;;
    h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || [ $# -eq 2 ] || { usage >&2 && exit 2; }

build=$1
output=${2:-$build/report}
here=$(dirname "$0")
report=$output/report.md
mkdir -p "$output"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '==> %s\n' "$*"; }
write() { printf '%s\n' "$@" >>"$report"; }

# first_line FILE: or nothing
first_line() { head -n 1 "$1" 2>/dev/null || true; }
cached() { sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt" 2>/dev/null; }
row() { [ -z "$2" ] || write "| $1 | $2 |"; }

describe_machine() {
  cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  compiler=$(cached CMAKE_CXX_COMPILER)
  write '# Benchmark report' '' '| | |' '|--|--|'
  row date "$(date -u '+%Y-%m-%d %H:%M UTC')"
  row kernel "$(uname -srm)"
  row CPU "${cpu:-unknown}"
  row 'CPUs, usable' "$(nproc)"
  row virtualisation "$(systemd-detect-virt --vm 2>/dev/null || true)"
  row governor "$(first_line /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
  row 'clock source' \
    "$(first_line /sys/devices/system/clocksource/clocksource0/current_clocksource)"
  row 'transparent huge pages' "$(first_line /sys/kernel/mm/transparent_hugepage/enabled)"
  row 'huge pages reserved' "$(sed -n 's/^HugePages_Total: *//p' /proc/meminfo)"
  row 'load before the run' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
  row compiler "$([ -z "$compiler" ] || "$compiler" --version | head -n 1)"
  row 'build type' "$(cached CMAKE_BUILD_TYPE)"
  row settings "$pairs pairs of $faults faults; at least $min_time s for each latency"
}

run_overhead() {
  say 'handler_overhead: the library beside raw C'
  write '' '## The library beside the same loop in plain C' ''
  "$build/bench/handler_overhead" --pairs $pairs --faults $faults --csv "$output/overhead.csv" \
    >>"$report"
  write '' 'Each measurement: [overhead.csv](overhead.csv).'
}

run_instructions() {
  write '' '## User-space instructions per fault' ''
  if ! command -v valgrind >/dev/null; then
    say 'no valgrind: instructions are not counted'
    write 'Not counted: valgrind is missing.'
    return
  fi
  say 'instructions: counted by callgrind'
  "$here/instructions.sh" "$build" >>"$report"
}

# With O_DIRECT fewer accesses: the disk is waited for.
run_paging() {
  say 'pager_workloads: the pager beside raw C and the kernel'
  write '' '## The pager beside hand-written ones and the kernel' ''
  # shellcheck disable=SC2086  # several words
  "$build/bench/pager_workloads" $paging --csv "$output/paging.csv" >>"$report"
  plot_paging
  write '' 'Each run: [paging.csv](paging.csv).' '' '## The same with O_DIRECT' ''
  # shellcheck disable=SC2086
  "$build/bench/pager_workloads" --accesses 20000 $paging --direct \
    --csv "$output/paging_direct.csv" >>"$report"
  write '' 'Each run: [paging_direct.csv](paging_direct.csv).'
}

# The median of each candidate, by workload.
plot_paging() {
  command -v gnuplot >/dev/null || return 0
  awk -f "$here/support/paging_medians.awk" "$output/paging.csv" >"$work/paging"
  gnuplot -e "data='$work/paging'; image='$output/paging.svg'" "$here/support/paging.gnuplot"
  write '' '![accesses per second](paging.svg)'
}

run_tracking() {
  say 'tracked_epoch: write_tracker beside the same by hand and by SIGSEGV'
  write '' '## Which pages were written' ''
  # shellcheck disable=SC2086
  "$build/bench/tracked_epoch" $tracking >>"$report"
}

run_snapshots() {
  say 'snapshot_pause: snapshotter beside fork()'
  write '' '## How long writers stand still for a snapshot' ''
  # shellcheck disable=SC2086
  "$build/bench/snapshot_pause" $snapshots >>"$report"
  write ''
  # shellcheck disable=SC2086
  "$build/bench/snapshot_pause" $snapshots --huge >>"$report"
}

run_latency() {
  say 'fault_latency'
  "$build/bench/fault_latency" --benchmark_min_time=$min_time \
    --samples="$output/latency_distribution.csv" \
    --benchmark_out="$output/latency.csv" --benchmark_out_format=csv
}

plot() {
  if ! command -v gnuplot >/dev/null; then
    say 'no gnuplot: no plots'
    write 'No plots: gnuplot is missing.' ''
    return
  fi
  mkdir -p "$work/data"
  awk -F '[,/:]' -v folder="$work/data" 'NR > 1 && $4 == 1 {
    print $9, $10 / 1000 >(folder "/" $2 "." $6 "." $8)
  }' "$output/latency_distribution.csv"
  formats=svg
  if gnuplot -e 'set terminal pngcairo' 2>/dev/null; then formats='svg png'; fi
  for technique in $techniques; do
    [ -s "$work/data/$technique.1.default" ] || continue
    for format in $formats; do
      gnuplot -e "data='$work/data'; technique='$technique'; format='$format'" \
        -e "image='$output/latency_$technique.$format'" "$here/support/latency_cdf.gnuplot"
    done
  done
}

# shellcheck disable=SC2016  # Markdown, not commands
describe_latency() {
  techniques=$(awk -F '[,/:]' 'NR > 1 && !seen[$2]++ { print $2 }' \
    "$output/latency_distribution.csv")
  write '' '## Latency by technique' '' \
    'One access to a fresh page, timed by the thread that faults, served by the library.' \
    'Placements: `default` one handler pinned to each CPU; `one_unpinned` one handler, left to the' \
    'scheduler like the faulting threads; `same_cpu` one handler and all faulting threads on one CPU;' \
    '`other_cpu` the handler on another CPU; `busy_polling` the same, and it never sleeps.' \
    'Cells: p50 / p99 / maximum in us (CPU time of the whole process per fault in us).' ''
  plot
  for technique in $techniques; do
    write "### $technique" ''
    [ ! -s "$output/latency_$technique.svg" ] ||
      write "![latency of $technique](latency_$technique.svg)" ''
    awk -v technique="$technique" -f "$here/support/latency_table.awk" "$output/latency.csv" \
      >>"$report"
    write ''
  done
  awk -F , '$9 == "true" { gsub("\"", ""); print "Not measured: " $1 ": " $10 "." }' \
    "$output/latency.csv" >>"$report"
  write '' 'Everything: [latency.csv](latency.csv), the distributions:' \
    '[latency_distribution.csv](latency_distribution.csv).'
}

for program in fault_latency handler_overhead pager_workloads tracked_epoch snapshot_pause; do
  [ -x "$build/bench/$program" ] || {
    echo "$0: $build/bench/$program is not built" >&2
    exit 1
  }
done
: >"$report"
describe_machine
run_overhead
run_instructions
run_paging
run_tracking
run_snapshots
run_latency
describe_latency
say "written: $report"
