/* number.c - numbers as people read them: no more digits than are known, and a decimal point whatever the locale says.
 */
#include "table_impl.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* printf writes the decimal point of the locale. */
static void dot(char *s)
{
    const char *point = localeconv()->decimal_point;
    char *at = point && strcmp(point, ".") ? strstr(s, point) : NULL;
    if (!at) return;
    *at = '.';
    memmove(at + 1, at + strlen(point), strlen(at + strlen(point)) + 1);
}

static void fixed(char *out, size_t n, double v, int decimals)
{
    snprintf(out, n, "%.*f", decimals < 0 ? 0 : decimals, v);
    if (out[0] == '-' && strspn(out, "-0.,") == strlen(out)) memmove(out, out + 1, strlen(out)); /* no minus zero */
    dot(out);
}

void bl_real_text(double v, char out[40])
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 40, "%.*g", digits, v);
        if (strtod(out, NULL) == v) break;
    }
    dot(out);
}

/* Decimals that an uncertainty supports, by the rule of the Particle Data Group: of its three leading digits, 100..354
 * keep two, 355..949 keep one, 950..999 become 1000 and keep two. */
static int decimals_of(double se)
{
    int power = (int)floor(log10(se));
    double three = round(se / pow(10, power - 2));
    if (three >= 1000) {
        three /= 10;
        power++;
    }
    return three < 355 ? 1 - power : -power;
}

/* Without an uncertainty: four significant digits. */
static void plain(double v, char out[64])
{
    double size = fabs(v);
    if (v == 0) snprintf(out, 64, "0");
    else if (size >= 1e5 || size < 1e-3) {
        snprintf(out, 64, "%.3e", v);
        dot(out);
    } else {
        int power = (int)floor(log10(size));
        if (round(size * pow(10, 3 - power)) >= 1e4) power++; /* 9.9996 is 10.00 */
        fixed(out, 64, v, BL_MAX(3 - power, 0));
    }
}

/* `least`: significant digits that the value has at any rate. */
static void number(double v, double stderr_, bool has_stderr, int least, char out[64])
{
    char value[24], se[24];
    int decimals, own;

    if (!has_stderr || !(stderr_ > 0) || !isfinite(stderr_) || !isfinite(v)) {
        plain(v, out);
        return;
    }
    decimals = decimals_of(stderr_);
    if (decimals > 9) decimals = 9;
    own = decimals;
    if (v != 0) decimals = BL_MAX(decimals, BL_MIN(least - 1 - (int)floor(log10(fabs(v))), 9));
    if (fabs(v) >= 1e5 || stderr_ >= 1e5) { /* one power of ten for both */
        int power = (int)floor(log10(BL_MAX(fabs(v), stderr_)));
        double unit = pow(10, power);
        fixed(value, sizeof value, v / unit, decimals + power);
        fixed(se, sizeof se, stderr_ / unit, own + power);
        snprintf(out, 64, "(%s\xc2\xb1%s)e%d", value, se, power);
        return;
    }
    if (decimals < 0) {
        double step = pow(10, -decimals);
        v = round(v / step) * step;
    }
    if (own < 0) {
        double step = pow(10, -own);
        stderr_ = round(stderr_ / step) * step;
    }
    fixed(value, sizeof value, v, decimals);
    fixed(se, sizeof se, stderr_, own);
    snprintf(out, 64, "%s \xc2\xb1%s", value, se);
}

void bl_number_text(double v, double stderr_, bool has_stderr, char out[64]) { number(v, stderr_, has_stderr, 0, out); }

void bl_metric_text(double v, double stderr_, bool has_stderr, bool percent, char out[64])
{
    if (percent) number(100 * v, 100 * stderr_, has_stderr, 0, out);
    else number(v, stderr_, has_stderr, 4, out);
}
