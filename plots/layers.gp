# One panel a method, one curve a role, over the blocks; the same axes in all panels.
set datafile missing NaN
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    plot for [i = 1:n_roles] data using (column("block")):(column("panel") == k && column("style") == i \
        ? column("nmse") : NaN) \
             with linespoints linestyle i linewidth 1 pointsize 0.45 * ps notitle
}
unset multiplot
