# Perplexity against bits per weight, both logarithmic: equal steps are equal ratios. The checkpoint as stored is a ring beside the curves.
stats data using (column("value")) nooutput
set datafile missing NaN                                # a line goes on over points that are not its own
set logscale x 2
set logscale y 10
set xtics (1, 2, 3, 4, 5, 6, 8, 16)
set xrange [0.9:20]
set yrange [STATS_min / 1.3 : STATS_max * 1.5]
set ytics ("" 1)
steps = STATS_max / STATS_min > 300 ? "1" : "1 2 5"
do for [d = -1:12] { do for [m in steps] { set ytics add (sprintf("%g", m * 10.0**d) m * 10.0**d) } }
label = "perplexity (lower is better)"
if (is_text) { set title label } else { set ylabel label }
set xlabel "bits per weight, scales and zeros included"
set key above left vertical reverse Left maxrows (|S| + 3) / 3
plot for [i=1:|S|] data using (column("bits")):(strcol("series") eq S[i] ? column("value") : NaN):(column("stderr")) \
         with yerrorbars linestyle style_of(i) linewidth 1 pointsize 0 notitle, \
     for [i=1:|S|] data using (column("bits")):(strcol("series") eq S[i] && strcol("kind") ne "base" ? column("value") : NaN) with linespoints linestyle style_of(i) title S[i], \
     data using (column("bits")):(strcol("kind") eq "base" ? column("value") : NaN) with points pointtype 6 pointsize 2.2 linewidth 1.5 linecolor rgb "#333333" title "base"
