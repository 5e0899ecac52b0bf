# Perplexity or accuracy against bits per weight, one panel a task. The checkpoint as stored is a ring, its value a
# broken line.
set datafile missing NaN                                # a line goes on over points that are not its own
of(k, i) = column("panel") == k && column("style") == i
on(k, i) = of(k, i) && strcol("kind") eq "method"
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    plot for [i = 1:n_families] data using (column("x")):(on(k, i) ? column("value") : NaN):(column("stderr")) \
             with yerrorbars linestyle i linewidth 0.8 pointsize 0 dashtype 1 notitle, \
         for [i = 1:n_families] data using (column("x")):(of(k, i) ? column("value") : NaN) \
           with lines linestyle i notitle, \
         for [i = 1:n_families] data using (column("x")):(on(k, i) ? column("value") : NaN) \
           with points linestyle i notitle, \
         for [i = 1:n_families] data using (column("x")):(on(k, i) && strcol("differs") eq "0" \
           ? column("value") : NaN) \
             with points pointtype solid_of(i) pointsize 0.45 * ps linecolor rgb "#ffffff" notitle, \
         data using (column("x")):(column("panel") == k && strcol("kind") eq "base" \
           ? column("value") : NaN):(column("stderr")) \
             with yerrorbars linestyle 120 linewidth 0.8 pointsize 0 notitle, \
         data using (column("x")):(column("panel") == k && strcol("kind") eq "base" ? column("value") : NaN) \
           with points linestyle 120 notitle
}
unset multiplot
