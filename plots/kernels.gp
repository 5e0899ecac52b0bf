# A panel a number of rows and place of the weights, memory or cache. Time of the yardstick over time of the kernel, so
# above 1 is faster; the dotted line is what the measured bandwidth of memory allows.
set datafile missing NaN
on(k, i, kind) = column("panel") == k && column("style") == i && strcol("kind") eq kind
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    set samples 200
    plot limit > 0 ? limit / x : NaN with lines linestyle 123 notitle, \
         for [i = 1:n_families] data using (column("x")):(on(k, i, "kernel") ? column("value") : NaN) \
           :(column("low")):(column("high")) \
             with yerrorbars linestyle i linewidth 0.7 pointsize 0 dashtype 1 notitle, \
         for [i = 1:n_families] data using (column("x")):(on(k, i, "kernel") ? column("value") : NaN) \
           with linespoints linestyle i linewidth 1 notitle, \
         for [i = 1:n_families] data using (column("x")):(on(k, i, "slower") ? column("value") : NaN) \
           with points linestyle i notitle
}
unset multiplot
