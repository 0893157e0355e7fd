# SPDX-License-Identifier: MIT
# Google Benchmark's CSV of fault_latency to a Markdown table of one technique: a row for each size and
# number of threads, a column for each placement. Takes `technique`.
BEGIN { FS = "," }

# The lines before the header tell of the machine.
!header && $1 == "name" {
  header = 1
  for (i = 1; i <= NF; ++i) {
    gsub("\"", "", $i)
    column[$i] = i
  }
  next
}
!header || $(column["error_occurred"]) == "true" { next }

{
  gsub("\"", "", $1)
  split($1, part, /[\/:]/)
  if (part[2] != technique) next
  row = "| " part[4] " | " part[6] " |"
  placement = part[8]
  if (!(row in known_row)) rows[++row_count] = row
  if (!(placement in known_placement)) placements[++placement_count] = placement
  known_row[row]
  known_placement[placement]
  cell[row, placement] = sprintf("%s / %s / %s (%s)", short($(column["p50_us"])),
                                 short($(column["p99_us"])), short($(column["max_us"])),
                                 short($(column["cpu_us_per_fault"])))
}

function short(value) { return sprintf(value < 100 ? "%.1f" : "%.0f", value) }

END {
  printf "| pages | threads |"
  for (i = 1; i <= placement_count; ++i) printf " %s |", placements[i]
  printf "\n|--:|--:|"
  for (i = 1; i <= placement_count; ++i) printf "--:|"
  printf "\n"
  for (r = 1; r <= row_count; ++r) {
    printf "%s", rows[r]
    for (i = 1; i <= placement_count; ++i) printf " %s |", cell[rows[r], placements[i]]
    printf "\n"
  }
}
