# SPDX-License-Identifier: MIT
# Accesses per second by workload and candidate. Takes `data` (the output of paging_medians.awk), `image`.
set terminal svg size 1000,450 background "white" font "sans,12"
set output image
set datafile separator "\t"
set datafile missing "NaN"

# Told apart by the colour-blind too.
set linetype 1 linecolor "#0072b2"
set linetype 2 linecolor "#56b4e9"
set linetype 3 linecolor "#d55e00"
set linetype 4 linecolor "#e69f00"
set linetype 5 linecolor "#cc79a7"
set linetype 6 linecolor "#999999"
set linetype 7 linecolor "#000000"
set linetype 8 linecolor "#009e73"

set style data histogram
set style histogram clustered gap 2
set style fill solid
set logscale y
set ylabel "accesses per second"
set grid ytics linecolor "#dddddd" linetype 1
set key outside top center horizontal Left reverse noenhanced
columns = int(system(sprintf("awk -F '\\t' 'NR == 1 { print NF }' '%s'", data)))
plot for [i = 2 : columns] data using i:xtic(1) title columnheader(i) linetype i - 1
