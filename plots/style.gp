# Common to all figures: colours that stay apart for colour-blind readers (Okabe and Ito 2008), points apart in shape as
# well, axes on the left and below, a light grid at the back. FRAME has heading, legend and notes, PANEL[k] the axes and
# words of a panel.
set encoding utf8
set datafile separator comma
set datafile missing "NA"
set datafile columnheaders
set datafile commentschars "\001"
array COLOR[8] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#A0522D"]
array SOLID[6] = [7, 9, 5, 13, 11, 15]
array OPEN[6] = [6, 8, 4, 12, 10, 14]
color_of(i) = COLOR[(i - 1) % 8 + 1]
solid_of(i) = SOLID[(i - 1) % 6 + 1]
open_of(i) = OPEN[(i - 1) % 6 + 1]
dash_of(i) = i > 8 ? 2 : 1
do for [i = 1:99] { set style line i linecolor rgb color_of(i) linewidth 1.3 dashtype dash_of(i) \
    pointtype solid_of(i) pointsize 0.75 * ps }
set style line 120 linecolor rgb "#222222" linewidth 1 pointtype 6 pointsize 1.1 * ps
set style line 121 linecolor rgb "#ebebeb" linewidth 0.6
set style line 122 linecolor rgb "#555555" linewidth 0.9 dashtype (6, 4)
set style line 123 linecolor rgb "#888888" linewidth 0.9 dashtype (2, 4)
set style line 124 linecolor rgb "#0072B2" linewidth 1 pointtype 6 pointsize 0.85 * ps
set style line 125 linecolor rgb "#9a9a9a" linewidth 0.8 pointtype (is_text ? 24 : 7) pointsize 0.5 * ps
set style line 126 linecolor rgb "#555555" linewidth 0.8
set style line 127 linecolor rgb "#D55E00" linewidth 1 pointtype 5 pointsize 1.3 * ps
set style line 128 linecolor rgb "#0072B2" linewidth 1 pointtype 5 pointsize 1.3 * ps
set linetype 1 linecolor rgb "#333333"
set key off
set multiplot
unset border; unset tics; set lmargin at screen 0; set rmargin at screen 1; set bmargin at screen 0
set tmargin at screen 1
eval FRAME
plot [0:1] [0:1] -1 notitle
unset label
set border 3 back linestyle 126
set tics nomirror out scale 0.5, 0.25 textcolor rgb "#333333" offset 0, 0
if (!is_text) {
    set tics font small
    set xtics offset 0, 0.4
    set ytics offset 0.6, 0
    set xlabel textcolor rgb "#333333" font small offset 0, 0.9
    set grid xtics ytics back linestyle 121
}
