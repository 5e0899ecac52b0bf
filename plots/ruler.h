/* ruler.h - axes: a range, and the ticks by which a value can be read off.
 *
 *     bl_ruler y = bl_ruler_log(14.2, 49.0);          // 13 .. 53; labelled 15, 20, 30, 50
 *     bl_ruler_put(&y, "y", &out);                    // set yrange […]; set ytics (…)
 *
 * At least three ticks are labelled, whatever the range; between them are ticks without a label.
 */
#ifndef BL_PLOTS_RULER_H
#define BL_PLOTS_RULER_H
#include "kernels/base/bl.h"

enum { BL_RULER_TICKS = 128 };
typedef struct bl_tick {
    double at;
    char label[24]; /* "": a minor tick */
} bl_tick;
typedef struct bl_ruler {
    double lo, hi;
    bool log;
    int n;
    bl_tick tick[BL_RULER_TICKS];
} bl_ruler;

/* Values from lo to hi, a margin around them, never below `least` or above `most` (INFINITY: no bound). lo may equal
 * hi. */
bl_ruler bl_ruler_linear(double lo, double hi, double least, double most);
bl_ruler bl_ruler_log(double lo, double hi); /* both above 0 */
/* Bits per weight on a logarithmic axis of `length`: the widths that have a name, as many as stand `apart`. */
bl_ruler bl_ruler_bits(double lo, double hi, double length, double apart);
/* Numbers 0 .. n-1, labelled in steps. */
bl_ruler bl_ruler_count(double n);
double bl_ruler_at(const bl_ruler *s, double v); /* 0 at lo, 1 at hi */
void bl_ruler_put(const bl_ruler *s, const char *axis, bl_text *out);
/* A number as figures show it: "21.6", "6800", "9.2×10⁵". `digits` that count. */
void bl_figure_number(double v, int digits, char out[32]);
/* A number as gnuplot reads it, whatever the locale. */
void bl_put_number(bl_text *out, double v);
#endif
