# Methods down, tasks across: what each loses, in colour where it is significant.
eval PANEL[1]
unset border; unset tics; unset grid; unset xlabel; unset ylabel
plot data using (is_text ? NaN : column("x")):(column("y")):(column("x") - 0.49):(column("x") + 0.49) \
       :(column("y") - 0.47):(column("y") + 0.47):(column("color")) \
         with boxxyerror fillstyle solid 1 noborder linecolor rgb variable notitle, \
     data using (column("x")):(column("y")):(strcol("text")):(column("ink")) \
       with labels font small textcolor rgb variable notitle
unset multiplot
