# Common to all figures: colours that stay apart for colour-blind readers (Okabe and Ito 2008), points apart in shape as well,
# border on the left and below, a light grid at the back.
set encoding utf8
set datafile separator comma
set datafile missing "NA"
set datafile columnheaders
set datafile commentschars "\001"
set style line 1 linecolor rgb "#0072B2" linewidth 2 pointtype 7  pointsize 1.1
set style line 2 linecolor rgb "#D55E00" linewidth 2 pointtype 9  pointsize 1.2
set style line 3 linecolor rgb "#009E73" linewidth 2 pointtype 5  pointsize 1.0
set style line 4 linecolor rgb "#CC79A7" linewidth 2 pointtype 13 pointsize 1.3
set style line 5 linecolor rgb "#E69F00" linewidth 2 pointtype 11 pointsize 1.2
set style line 6 linecolor rgb "#56B4E9" linewidth 2 pointtype 15 pointsize 1.2
set style line 7 linecolor rgb "#444444" linewidth 2 pointtype 6  pointsize 1.1
set style line 8 linecolor rgb "#A0522D" linewidth 2 pointtype 8  pointsize 1.2
style_of(i) = (i - 1) % 8 + 1
set style line 20 linecolor rgb "#888888" linewidth 1
set style line 21 linecolor rgb "#e4e4e4" linewidth 1
set style line 22 linecolor rgb "#555555" linewidth 1 dashtype 2
set border 3 back linestyle 20
set tics nomirror out scale 0.5 textcolor rgb "#333333"
set grid back linestyle 21
set xlabel textcolor rgb "#333333"
set ylabel textcolor rgb "#333333"
set key textcolor rgb "#333333" samplen 2.5 spacing 1.15
set title textcolor rgb "#333333"
if (is_text) unset grid
