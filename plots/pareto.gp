# One panel a task: every method as a point, one standard error above and below. The staircase joins those that no other beats in both bits
# and accuracy; they and the base carry their names.
columns = |P| > 4 ? 3 : |P| > 1 ? 2 : 1
rows = (|P| + columns - 1) / columns
set logscale x 2
set xtics (1, 2, 3, 4, 6, 8, 16)
set xrange [0.65:22]
set format y "%.4g"
set offsets graph 0, graph 0, graph 0.32, graph 0.08
set title offset 0, -0.5
unset key
set multiplot layout rows, columns margins screen 0.07, 0.98, 0.1, 0.94 spacing screen 0.07, (is_text ? 0.15 : 0.11)
do for [k=1:|P|] {
    set title P[k].(is_text ? ", accuracy %" : "")
    if (!is_text && (k - 1) % columns == 0) { set ylabel "accuracy in percent" textcolor rgb "#333333" } else { unset ylabel }
    if (k > |P| - columns) { set xlabel "bits per weight" textcolor rgb "#333333" } else { unset xlabel }
    plot data using (column("bits")):(strcol("panel") eq P[k] && column("front") == 1 ? column("value") : NaN) smooth unique with steps linestyle 22 notitle, \
         data using (column("bits")):(strcol("panel") eq P[k] ? column("value") : NaN):(column("stderr")) with yerrorbars linestyle 20 pointsize 0 notitle, \
         data using (column("bits")):(strcol("panel") eq P[k] && column("front") == 0 ? column("value") : NaN) with points linestyle 20 pointtype 6 pointsize 1.2 notitle, \
         data using (column("bits")):(strcol("panel") eq P[k] && column("front") == 1 ? column("value") : NaN) with points linestyle 1 notitle, \
         data using (column("bits")):(!is_text && strcol("panel") eq P[k] && (column("front") == 1 || strcol("kind") eq "base") ? column("value") : NaN):(strcol("label")) \
             with labels right rotate by -40 offset -0.5, 0.6 font ",11" textcolor rgb "#333333" notitle
}
unset multiplot
