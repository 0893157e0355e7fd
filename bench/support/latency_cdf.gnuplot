# SPDX-License-Identifier: MIT
# One technique's latency distributions by placement, for one and two faulting threads. Takes `data` (a
# folder of files TECHNIQUE.THREADS.PLACEMENT: fraction, microseconds), `technique`, `image`, `format`.
if (format eq "svg") set terminal svg size 1000,400 background "white" font "sans,12"
if (format eq "png") set terminal pngcairo size 1000,400 background "white" font "sans,10"
set output image

placements = "default one_unpinned same_cpu other_cpu busy_polling"
file(threads, placement) = sprintf("%s/%s.%d.%s", data, technique, threads, placement)
is_there(name) = int(system(sprintf("test -s '%s' && echo 1 || echo 0", name)))
panels = is_there(file(2, "default")) ? 2 : 1

# Told apart by the colour-blind too.
set linetype 1 linecolor "#000000"
set linetype 2 linecolor "#0072b2"
set linetype 3 linecolor "#56b4e9"
set linetype 4 linecolor "#d55e00"
set linetype 5 linecolor "#cc79a7"

set logscale x
set xlabel "microseconds"
set ylabel "fraction of faults"
set yrange [0:1]
set grid xtics ytics mxtics linecolor "#dddddd" linetype 1
set key bottom right reverse Left samplen 2 noenhanced
set multiplot layout 1, panels title sprintf("%s, one page each", technique) noenhanced
do for [threads = 1 : panels] {
  set title sprintf("faulting threads: %d", threads)
  plot for [i = 1 : words(placements)] \
    name = file(threads, word(placements, i)) \
    (is_there(name) ? name : "/dev/null") using 2:1 with lines linewidth 2 linetype i \
    title word(placements, i)
}
unset multiplot
