# SPDX-License-Identifier: MIT
# Reads the console logs of kernels (.../NAME/log) that ran init.sh, and writes the tables of results.md.
# With -v summary=1 it writes one line for each log, and the exit code is 1 if anything failed.

# A test that failed, or a program that ended in one.
function failed(name, how) {
  count[kernel, "failed"]++
  failures[++failure_count] = "| " kernel " | `" name "` | " how " |"
}

# At the end of a program: what it did not come to.
function close_program(code) {
  if (program == "") return
  if (code != 0 && running != "") {
    failed(program ": " running, "the program ended with " code)
    done++
  } else if (code != 0 && !failed_here) {
    failed(program, "the program ended with " code)
  }
  if (planned > done) count[kernel, "not run"] += planned - done
  program = ""
  running = ""
}

# What the table of programs shows.
function close_counts(    each, row) {
  for (row = 1; row <= programs["number"]; row++)
    for (each = 1; each <= kernels; each++) {
      name = kernel_names[each] SUBSEP programs[row]
      if (name in passed || name in skipped)
        count[name] = passed[name] + 0 (name in skipped ? " + " skipped[name] : "")
    }
}

function cell(kernel, what) { return ((kernel, what) in count) ? count[kernel, what] : "-" }

# A table with a column for each kernel and a row for each of names[1..number].
function matrix(title, names, number,    row, column) {
  printf "| %s |", title
  for (column = 1; column <= kernels; column++) printf " %s |", kernel_names[column]
  printf "\n|--|"
  for (column = 1; column <= kernels; column++) printf "--:|"
  for (row = 1; row <= number; row++) {
    printf "\n| %s |", names[row]
    for (column = 1; column <= kernels; column++) printf " %s |", cell(kernel_names[column], names[row])
  }
  print "\n"
}

# Remembers `name` in the list `names`, in order of appearance.
function remember(names, name) {
  if ((names["is"], name) in known) return
  known[names["is"], name]
  names[++names["number"]] = name
}

BEGIN {
  reasons["is"] = "reason"
  features["is"] = "feature"
  programs["is"] = "program"
}

FNR == 1 {
  close_program("the machine's end")
  split(FILENAME, parts, "/")
  kernel = parts[length(parts) - 1]
  kernel_names[++kernels] = kernel
  ended[kernel] = 0
}

/^==> kernel says / { warnings[++warning_count] = "| " kernel " | " substr($0, 17) " |"; next }
/^==> kernel / { release[kernel] = $3 }
/^==> support page size/ { page_size[kernel] = $5 }
/^==> support .* (yes|no)(:.*)?$/ {
  name = $0
  sub(/^==> support +/, "", name)
  sub(/ +(yes|no)(:.*)?$/, "", name)
  remember(features, name)
  count[kernel, name] = / yes$/ ? "yes" : "no"
}
/^==> program / {
  program = $3
  remember(programs, program)
  planned = done = failed_here = 0
}
/^\[=+\] Running [0-9]+ test/ { planned = $3 }
/^\[ RUN      \] / { running = $4 }
/: Skipped$/ {
  getline reason
  gsub(/\|/, "\\|", reason)
}
/\[       OK \] .* ms\)$/ {
  count[kernel, "passed"]++
  passed[kernel, program]++
  done++
  running = ""
}
/\[  SKIPPED \] .* ms\)$/ {
  count[kernel, "skipped"]++
  skipped[kernel, program]++
  done++
  running = ""
  remember(reasons, reason)
  count[kernel, reason]++
}
/\[  FAILED  \] .* ms\)$/ {
  name = $0
  sub(/^.*\[  FAILED  \] /, "", name)
  sub(/(, where .*)? \([0-9]+ ms\)$/, "", name)
  failed(name, "failed")
  failed_here = 1
  done++
  running = ""
}
/^==> ended / { close_program($3) }
/^==> chaos / {
  chaos[kernel] = substr($0, length($3) + 12)
  if ($3 != 0) failed("chaos", "it ended with " $3)
}
/^==> off$/ { ended[kernel] = 1 }

END {
  close_program("the machine's end")
  for (i = 1; i <= kernels; i++)
    if (!ended[kernel_names[i]]) {
      kernel = kernel_names[i]
      failed("the kernel", "it did not come to its end")
    }
  if (summary) {
    for (i = 1; i <= kernels; i++) {
      kernel = kernel_names[i]
      printf "    %s passed, %s skipped, %s failed, %s not run on %s\n", cell(kernel, "passed"),
             cell(kernel, "skipped"), cell(kernel, "failed"), cell(kernel, "not run"), release[kernel]
    }
    for (i = 1; i <= failure_count; i++) print "    " failures[i]
    exit failure_count > 0
  }

  print "# What ran on which kernel\n"
  print "Written by `tests/kernels/run.sh`; `kernels.txt` says where the kernels come from. Each ran all test"
  print "programs, linked statically, with 2 CPUs under QEMU's software emulation, as root.\n"
  print "| Kernel | Release | Page size | Passed | Skipped | Failed | Not run | Chaos |"
  print "|--|--|--:|--:|--:|--:|--:|--|"
  for (i = 1; i <= kernels; i++) {
    kernel = kernel_names[i]
    printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", kernel, release[kernel], page_size[kernel],
           cell(kernel, "passed"), cell(kernel, "skipped"), cell(kernel, "failed"),
           cell(kernel, "not run"), kernel in chaos ? chaos[kernel] : "-"
  }
  print "\n## What failed\n"
  if (failure_count == 0) print "Nothing."
  else print "| Kernel | Test | |\n|--|--|--|"
  for (i = 1; i <= failure_count; i++) print failures[i]
  if (warning_count > 0) print "\n## What kernels said\n\n| Kernel | |\n|--|--|"
  for (i = 1; i <= warning_count; i++) print warnings[i]

  print "\n## What the kernels answer\n"
  matrix("", features, features["number"])
  print "## Why tests were skipped\n"
  matrix("Reason", reasons, reasons["number"])
  print "## Tests that passed + were skipped in each program\n"
  close_counts()
  matrix("Program", programs, programs["number"])
}
