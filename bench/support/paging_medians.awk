# SPDX-License-Identifier: MIT
# The CSV of pager_workloads to what paging.gnuplot plots: a line for each workload, a column for each
# candidate with the median of its accesses per second.
BEGIN { FS = "," }
NR == 1 || $3 ~ / again$/ { next }

{
  if (!($1 in known_workload)) workloads[++workload_count] = $1
  if (!($3 in known_candidate)) candidates[++candidate_count] = $3
  known_workload[$1]
  known_candidate[$3]
  value[$1, $3, ++runs[$1, $3]] = $4
}

function median(workload, candidate,    count, i, j, sorted, kept) {
  count = runs[workload, candidate]
  for (i = 1; i <= count; ++i) {
    kept = value[workload, candidate, i]
    for (j = i - 1; j >= 1 && sorted[j] > kept; --j) sorted[j + 1] = sorted[j]
    sorted[j + 1] = kept
  }
  return count ? (sorted[int((count + 1) / 2)] + sorted[int(count / 2) + 1]) / 2 : "NaN"
}

END {
  printf "workload"
  for (j = 1; j <= candidate_count; ++j) printf "\t%s", candidates[j]
  for (i = 1; i <= workload_count; ++i) {
    printf "\n%s", workloads[i]
    for (j = 1; j <= candidate_count; ++j) printf "\t%s", median(workloads[i], candidates[j])
  }
  printf "\n"
}
