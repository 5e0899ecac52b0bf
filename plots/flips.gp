# One panel a task, one line a method: items that the base had right and the method wrong to the left, the other way to
# the right.
half = is_text ? 0.01 : 0.34
at(k, v) = column("panel") == k ? v : NaN
do for [k = 1:|PANEL|] {
    unset label; unset arrow; unset grid
    eval PANEL[k]
    set border 1
    plot data using (at(k, -column("lost") / 2.0)):(column("y")):(-column("lost")):(0) \
        :(column("y") - half):(column("y") + half) \
             with boxxyerror fillstyle solid 1 noborder linecolor rgb "#D55E00" notitle, \
         data using (at(k, column("gained") / 2.0)):(column("y")):(0):(column("gained")) \
           :(column("y") - half):(column("y") + half) \
             with boxxyerror fillstyle solid 1 noborder linecolor rgb "#0072B2" notitle
}
unset multiplot
