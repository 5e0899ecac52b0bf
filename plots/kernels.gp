# One panel a number of rows: time of OpenBLAS fp32 over time of the kernel, so above 1 is faster. Small points are single layer shapes,
# the curve joins their medians.
stats data using (column("bits")) nooutput
columns = |P| > 1 ? 2 : 1
rows = (|P| + columns - 1) / columns
set logscale x 2
set logscale y 2
set xtics (1, 2, 3, 4, 6, 8, 16, 32)
set ytics ("1/256" 2.0**-8, "1/64" 2.0**-6, "1/16" 2.0**-4, "1/4" 0.25, "1/2" 0.5, "1" 1, "2" 2, "4" 4, "8" 8, "16" 16, "32" 32, "64" 64)
set xrange [STATS_min / 1.25 : STATS_max * 1.25]
set title offset 0, -0.5
set multiplot layout rows, columns margins screen 0.07, 0.98, (is_text ? 0.25 : 0.18), 0.95 spacing screen 0.07, (is_text ? 0.15 : 0.1)
do for [k=1:|P|] {
    set title P[k].(is_text ? ", speed over OpenBLAS fp32" : "")
    if (!is_text && (k - 1) % columns == 0) { set ylabel "speed over OpenBLAS fp32" textcolor rgb "#333333" } else { unset ylabel }
    if (k > |P| - columns) { set xlabel "bits per weight" textcolor rgb "#333333" } else { unset xlabel }
    if (k == |P|) { set key at screen 0.5, 0.015 center bottom vertical reverse Left maxrows (|S| + 4) / 4 } else { unset key }
    plot 1 with lines linestyle 22 title "OpenBLAS fp32", \
         for [i=1:|S|] data using (column("bits")):(strcol("panel") eq P[k] && strcol("series") eq S[i] && strcol("kind") eq "point" ? column("value") : NaN) \
             with points linestyle style_of(i) pointsize 0.4 notitle, \
         for [i=1:|S|] data using (column("bits")):(strcol("panel") eq P[k] && strcol("series") eq S[i] && strcol("kind") eq "median" ? column("value") : NaN) \
             with linespoints linestyle style_of(i) title S[i]
}
unset multiplot
