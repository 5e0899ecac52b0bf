# One panel a task and kind of probe, one curve a method, over the share of the chain that is kept.
set datafile missing NaN
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    plot for [i = 1:n_methods] data using (column("kept")):(column("panel") == k && column("style") == i \
             ? column("same") : NaN) \
             with linespoints linestyle i linewidth 1 pointsize 0.45 * ps notitle
}
unset multiplot
