/* ruler.c - ranges and ticks of axes. */
#include "ruler.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void point_for_comma(char *s)
{
    for (; *s; s++)
        if (*s == ',') *s = '.'; /* a locale with a decimal comma */
}

void bl_put_number(bl_text *out, double v)
{
    char text[40];
    snprintf(text, sizeof text, "%.10g", v);
    point_for_comma(text);
    bl_text_add(out, text);
}

/* ---- numbers ------------------------------------------------------------------------------------ */
static void put_power(char *out, size_t size, int exponent)
{
    static const char *const digit[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char plain[16];
    snprintf(plain, sizeof plain, "%d", exponent);
    size_t n = (size_t)snprintf(out, size, "10");
    for (const char *c = plain; *c; c++)
        n += (size_t)snprintf(out + n, size - n, "%s", *c == '-' ? "⁻" : digit[*c - '0']);
}

void bl_figure_number(double v, int digits, char out[32])
{
    double size = fabs(v);
    char mantissa[40];

    if (v == 0 || (size >= 1e-3 && size < 99999.5)) {
        int whole = v == 0 ? 1 : (int)floor(log10(size)) + 1;
        snprintf(mantissa, sizeof mantissa, "%.*f", BL_MAX(0, digits - whole), v);
        point_for_comma(mantissa);
        snprintf(out, 32, "%.31s", mantissa);
        return;
    }
    snprintf(mantissa, sizeof mantissa, "%.*e", BL_MAX(0, digits - 1), v);
    point_for_comma(mantissa);
    char *e = strchr(mantissa, 'e');
    int exponent = 0;
    if (e) {
        sscanf(e + 1, "%d", &exponent);
        *e = 0;
    }
    char power[24];
    put_power(power, sizeof power, exponent);
    if (!strcmp(mantissa, "1")) snprintf(out, 32, "%s", power);
    else snprintf(out, 32, "%.8s×%.20s", mantissa, power);
}

/* ---- ticks -------------------------------------------------------------------------------------- */
static bool inside(const bl_ruler *s, double v)
{
    double room = (s->hi - s->lo) * 1e-9;
    return v >= s->lo - room && v <= s->hi + room;
}

static void add(bl_ruler *s, double at, const char *label)
{
    if (s->n == BL_RULER_TICKS || !inside(s, at)) return;
    for (int i = 0; i < s->n; i++) /* a label wins over the minor tick that is there */
        if (fabs(s->tick[i].at - at) <= 1e-9 * fabs(at)) {
            if (*label) snprintf(s->tick[i].label, sizeof s->tick[i].label, "%s", label);
            return;
        }
    s->tick[s->n].at = at;
    snprintf(s->tick[s->n++].label, sizeof s->tick[0].label, "%s", label);
}

/* The largest of 1, 2 and 5 times a power of ten of which at least `least` multiples are in the range. */
static double step_for(const bl_ruler *s, int least)
{
    double power = pow(10, floor(log10((s->hi - s->lo) / least)) + 1);
    for (int i = 0; i < 12; i++) {
        static const double part[] = {1, 0.5, 0.2};
        double step = power * part[i % 3] * pow(10, -(i / 3));
        if (floor(s->hi / step * (1 + 1e-12)) - ceil(s->lo / step * (1 - 1e-12)) + 1 >= least) return step;
    }
    return (s->hi - s->lo) / least;
}

/* Digits after which v is itself: 7e5 is a word shorter than 7.00e5, and stays clear of the axis' title. */
static int digits_of(double v)
{
    char text[40];
    for (int n = 1; n < 10; n++) {
        snprintf(text, sizeof text, "%.*e", n - 1, v);
        if (fabs(strtod(text, NULL) - v) <= 1e-9 * fabs(v)) return n;
    }
    return 10;
}

static void steps(bl_ruler *s, int least, bool whole)
{
    double step = step_for(s, least);
    if (whole) step = fmax(1, step);
    double fine = whole ? 1 : step / 5, most = BL_MAX(fabs(s->lo), fabs(s->hi));
    int decimals = (int)fmax(0, ceil(-log10(step) - 1e-9));
    for (double k = ceil(s->lo / step - 1e-9); k * step <= s->hi * (1 + 1e-12) + step * 1e-9; k++) {
        char label[64];
        double v = k * step;
        if (fabs(v) < step * 1e-9) v = 0;
        if (most >= 1e5 || most < 1e-3) bl_figure_number(v, digits_of(v), label);
        else snprintf(label, sizeof label, "%.*f", decimals, v);
        point_for_comma(label);
        label[sizeof s->tick[0].label - 1] = 0;
        add(s, v, label);
    }
    if ((s->hi - s->lo) / fine > 60) return;
    for (double k = ceil(s->lo / fine - 1e-9); k * fine <= s->hi; k++) add(s, k * fine, "");
}

bl_ruler bl_ruler_linear(double lo, double hi, double least, double most)
{
    bl_ruler s = {.lo = lo, .hi = hi};
    double pad = (hi - lo) * 0.07;
    if (!(pad > 1e-9 * fmax(fabs(lo), fabs(hi)))) pad = fmax(fabs(lo), fabs(hi)) * 0.05;
    if (pad == 0) pad = 0.5;
    s.lo = fmax(least, lo - pad);
    s.hi = fmin(most, hi + pad);
    if (!(s.hi > s.lo)) s.hi = s.lo + 2 * pad;
    steps(&s, 4, false);
    return s;
}

bl_ruler bl_ruler_count(double n)
{
    bl_ruler s = {.lo = -0.5, .hi = fmax(n, 1) - 0.5};
    steps(&s, 4, true);
    return s;
}

bl_ruler bl_ruler_log(double lo, double hi)
{
    static const double part[][10] = {
        {1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 5, 7}, {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8}};
    bl_ruler s = {.log = true};
    double ratio = log(hi / lo);

    if (ratio < 0.02) ratio = 1; /* one value: a third of a factor on both sides */
    double pad = exp(ratio * 0.08 + 0.02);
    s.lo = fmax(lo / pad, 1e-300);
    s.hi = fmin(hi * pad, 1e300);
    double first = floor(log10(s.lo)), last = ceil(log10(s.hi)), decades = last - first, every = ceil(decades / 7);
    for (size_t i = 0; i < BL_COUNT(part); i++) {
        bl_ruler t = s;
        for (double d = first; d <= last; d++)
            for (int k = 0; k < (int)BL_COUNT(part[i]) && part[i][k] > 0; k++) {
                char label[32];
                if (fmod(d, every) != 0) continue;
                double v = part[i][k] * pow(10, d);
                bl_figure_number(v, part[i][k] == floor(part[i][k]) ? 1 : 2, label);
                label[sizeof s.tick[0].label - 1] = 0;
                add(&t, v, label);
            }
        if (t.n < 3) continue;
        if (decades <= 9)
            for (double d = first; d <= last; d++)
                for (int k = 1; k < 10; k++) add(&t, k * pow(10, d), "");
        else if (decades <= 60)
            for (double d = first; d <= last; d++) add(&t, pow(10, d), "");
        return t;
    }
    steps(&s, 4, false);
    return s;
}

bl_ruler bl_ruler_bits(double lo, double hi, double length, double apart)
{
    static const double named[] = {4, 2, 8, 16, 1, 3, 32, 6, 5, 12, 24, 7, 10, 1.5, 2.5, 3.5, 4.5, 5.5, 0.5, 0.25};
    bl_ruler s = {.log = true}, fallback;
    double pad = fmax(1.06, pow(hi / lo, 0.07));

    s.lo = lo / pad;
    s.hi = hi * pad;
    if (lo > 1 && lo < 1.4) s.lo = fmin(s.lo, 0.98); /* a tick on the left of 2 */
    for (size_t i = 0; i < BL_COUNT(named); i++) {
        char label[24];
        bool room = inside(&s, named[i]) && (named[i] == floor(named[i]) || s.n < 4);
        for (int k = 0; k < s.n && room; k++)
            room = fabs(bl_ruler_at(&s, named[i]) - bl_ruler_at(&s, s.tick[k].at)) * length >= apart;
        if (!room) continue;
        snprintf(label, sizeof label, "%g", named[i]);
        point_for_comma(label);
        add(&s, named[i], label);
    }
    if (s.n < 3) {
        fallback = s;
        fallback.n = 0;
        steps(&fallback, 3, false);
        return fallback;
    }
    for (int b = 1; b <= 8; b++) add(&s, b, "");
    return s;
}

double bl_ruler_at(const bl_ruler *s, double v)
{
    return s->log ? log(v / s->lo) / log(s->hi / s->lo) : (v - s->lo) / (s->hi - s->lo);
}

void bl_ruler_put(const bl_ruler *s, const char *axis, bl_text *out)
{
    bl_text_addf(out, "%sset logscale %s; set %srange [", s->log ? "" : "un", axis, axis);
    bl_put_number(out, s->lo);
    bl_text_add(out, ":");
    bl_put_number(out, s->hi);
    bl_text_addf(out, "]; set %stics nomirror (", axis);
    for (int i = 0; i < s->n; i++) {
        bl_text_addf(out, "%s'%s' ", i ? ", " : "", s->tick[i].label);
        bl_put_number(out, s->tick[i].at);
        if (!s->tick[i].label[0]) bl_text_add(out, " 1");
    }
    bl_text_add(out, "); ");
}
