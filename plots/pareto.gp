# One panel a task: every row as a point, one standard error above and below. The broken line joins those that no other
# beats in both bits and quality; a small grey point is beaten significantly, an open point is neither.
at_panel(k) = column("panel") == k && strcol("kind") ne "off"
do for [k = 1:|PANEL|] {
    unset label; unset arrow
    eval PANEL[k]
    plot data using (column("x")):(at_panel(k) && column("front") > 0 ? column("value") : NaN):(column("stderr")) \
        with yerrorbars linestyle 125 linewidth 0.6 pointsize 0 notitle, \
         data using (column("x")):(at_panel(k) && column("front") == 0 ? column("value") : NaN) \
           with points linestyle 125 notitle, \
         data using (column("x")):(at_panel(k) && column("front") == 1 ? column("value") : NaN) \
           with points pointtype 7 pointsize 0.85 * ps linecolor rgb "#ffffff" notitle, \
         data using (column("x")):(at_panel(k) && column("front") == 1 ? column("value") : NaN) \
           with points linestyle 124 notitle, \
         data using (column("x")):(at_panel(k) && column("front") == 2 ? column("value") : NaN) \
           with points linestyle 1 notitle
}
unset multiplot
