# Three panels for what was trained on the same: loss, learning rate, norm of the gradient. Thin and light: a step;
# thick: the mean around it.
set datafile missing NaN
at(k, i, name) = column("panel") == k && column("style") == i ? column(name) : NaN
pale_of(i) = sprintf("#a0%s", color_of(i)[2:7])
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    plot for [i = 1:n_runs] data using (column("step")):(is_text ? NaN : at(k, i, "value")) \
        with lines linewidth 0.6 linecolor rgb pale_of(i) notitle, \
         for [i = 1:n_runs] data using (column("step")):(at(k, i, "mean")) \
             with lines linestyle i linewidth 1.4 notitle, \
         for [i = 1:n_runs] data using (column("step")):(at(k, i, "valid")) \
             with linespoints linestyle i linewidth 0.8 dashtype 2 pointsize 0.6 * ps notitle
}
unset multiplot
