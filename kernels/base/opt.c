/* opt.c - option rows: defaults, setting from text and from JSON, printing. */
#include "base_impl.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *member(const bl_opt *row, void *opts) { return (char *)opts + row->at; }
static const void *lent(const bl_opt *row, const void *opts) { return (const char *)opts + row->at; }

void bl_opt_defaults(const bl_opt *rows, void *opts)
{
    for (const bl_opt *r = rows; r->type != BL_OPT_END; r++) switch (r->type) {
        case BL_OPT_INT: *(int64_t *)member(r, opts) = r->def.i; break;
        case BL_OPT_REAL: *(double *)member(r, opts) = r->def.r; break;
        case BL_OPT_BOOL: *(bool *)member(r, opts) = r->def.b; break;
        case BL_OPT_CHOICE: *(int *)member(r, opts) = r->def.choice; break;
        case BL_OPT_TEXT: *(const char **)member(r, opts) = r->def.s; break;
        case BL_OPT_END: break;
        }
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b)) return false;
    return *a == *b;
}

const bl_opt *bl_opt_find(const bl_opt *rows, const char *name)
{
    for (const bl_opt *r = rows; r->type != BL_OPT_END; r++)
        if (r->name && same_name(r->name, name)) return r;
    return NULL;
}

/* ---- refusing ----------------------------------------------------------------------------------- */
/* "method rtn: wbits: ", or "--wbits: " when the place already names the option. */
static void add_place(bl_text *t, const char *where, const char *name)
{
    if (where) bl_text_addf(t, "%s: ", where);
    const char *bare = where ? where + strspn(where, "-") : NULL;
    if (!bare || bare == where || !same_name(bare, name)) bl_text_addf(t, "%s: ", name);
}

static bl_status refuse(bl_err *e, const char *where, const char *name, const char *fmt, ...) BL_PRINTF(4, 5);
static bl_status refuse(bl_err *e, const char *where, const char *name, const char *fmt, ...)
{
    if (!e) return BL_E_CONFIG;
    bl_text place = {0};
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    add_place(&place, where, name);
    bl_fail(e, BL_E_CONFIG, "%s%s", place.s ? place.s : "", what);
    bl_text_free(&place);
    return BL_E_CONFIG;
}

bl_status bl_opt_unknown(const bl_opt *rows, const char *name, const char *where, const char *dashes, bl_err *e)
{
    const char *names[256];
    size_t n = 0;
    for (const bl_opt *r = rows; r->type != BL_OPT_END && n + 1 < BL_COUNT(names); r++)
        if (r->name) names[n++] = r->name;
    names[n] = NULL;
    const char *near = bl_nearest(name, names);
    for (size_t i = 0; !near && i < n && strlen(name) >= 4; i++)
        if (strstr(names[i], name)) near = names[i];
    bl_status st = near ? bl_fail(e, BL_E_CONFIG, "unknown option '%s%.200s'; did you mean %s%s?", dashes, name, dashes,
                                  near)
                        : bl_fail(e, BL_E_CONFIG, "unknown option '%s%.200s'", dashes, name);
    if (where) bl_within(e, "%s", where);
    return st;
}

/* "1..8", "at least 1" */
static void range_text(const bl_opt *row, char out[96])
{
    char lo[40], hi[40];
    bl_real_short(lo, row->min);
    bl_real_short(hi, row->max);
    if (isinf(row->max)) snprintf(out, 96, "at least %s", lo);
    else if (isinf(row->min)) snprintf(out, 96, "at most %s", hi);
    else snprintf(out, 96, "in %s..%s", lo, hi);
}

static bool is_bounded(const bl_opt *row) { return row->min != 0 || row->max != 0; }

static bl_status in_range(const bl_opt *row, double v, const char *shown, const char *where, bl_err *e)
{
    char range[96];
    if (!is_bounded(row) || (v >= row->min && v <= row->max)) return BL_OK;
    range_text(row, range);
    return refuse(e, where, row->name, "%.200s is not %s", shown, range);
}

static bl_status no_choice(const bl_opt *row, const char *value, const char *where, bl_err *e)
{
    bl_text list = {0};
    for (size_t i = 0; row->choices[i]; i++) bl_text_addf(&list, "%s%s", i ? ", " : "", row->choices[i]);
    const char *near = bl_nearest(value, row->choices);
    bl_status st = refuse(e, where, row->name, "'%.200s' is not one of %s%s%s%s", value, list.s ? list.s : "",
                          near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    bl_text_free(&list);
    return st;
}

/* ---- setting ------------------------------------------------------------------------------------ */
static bl_status set_int(const bl_opt *row, int64_t v, const char *shown, void *opts, const char *where, bl_err *e)
{
    bl_status st = in_range(row, (double)v, shown, where, e);
    if (st == BL_OK) *(int64_t *)member(row, opts) = v;
    return st;
}

static bl_status set_real(const bl_opt *row, double v, const char *shown, void *opts, const char *where, bl_err *e)
{
    bl_status st = in_range(row, v, shown, where, e);
    if (st == BL_OK) *(double *)member(row, opts) = v;
    return st;
}

static bl_status set_choice(const bl_opt *row, const char *value, void *opts, const char *where, bl_err *e)
{
    for (int i = 0; row->choices[i]; i++)
        if (same_name(row->choices[i], value)) {
            *(int *)member(row, opts) = i;
            return BL_OK;
        }
    return no_choice(row, value, where, e);
}

/* Digits, sign, point, exponent and nothing else: strtod would also take "inf", "0x1p3" and spaces. */
static bool scan_number(const char *s, bool whole, double *real, int64_t *integer)
{
    char *end;
    if (!*s || s[strspn(s, whole ? "0123456789+-" : "0123456789+-.eE")]) return false;
    errno = 0;
    if (whole) *integer = strtoll(s, &end, 10);
    else *real = bl_real_scan(s, &end);
    return *end == 0 && end != s && (whole ? errno == 0 : isfinite(*real));
}

/* "512MiB", "24GiB" in MiB. */
static bool scan_size(const char *s, int64_t *mib)
{
    const size_t digits = strspn(s, "0123456789");
    const bool gib = strcmp(s + digits, "GiB") == 0;
    if (digits < 1 || digits > 15 || (!gib && strcmp(s + digits, "MiB") != 0)) return false;
    *mib = strtoll(s, NULL, 10) * (gib ? 1024 : 1);
    return true;
}

bl_status bl_opt_set(const bl_opt *rows, void *opts, const char *name, const char *value, const char *where, bl_err *e)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    const bl_opt *row = bl_opt_find(rows, name);
    int64_t i;
    double r;
    if (!row) return bl_opt_unknown(rows, name, where, "", e);
    if (!value && row->type != BL_OPT_BOOL) return refuse(e, where, row->name, "needs a value");
    switch (row->type) {
    case BL_OPT_INT:
        if (!scan_number(value, true, &r, &i) && !(row->mib && scan_size(value, &i)))
            return refuse(e, where, row->name, "'%.200s' is not an integer%s", value,
                          row->mib ? ", nor a size as 512MiB or 24GiB" : "");
        return set_int(row, i, value, opts, where, e);
    case BL_OPT_REAL:
        if (!scan_number(value, false, &r, &i)) return refuse(e, where, row->name, "'%.200s' is not a number", value);
        return set_real(row, r, value, opts, where, e);
    case BL_OPT_BOOL:
        for (size_t k = 0; k < BL_COUNT(yes); k++) {
            if (!value || strcmp(value, yes[k]) == 0) {
                *(bool *)member(row, opts) = true;
                return BL_OK;
            }
            if (strcmp(value, no[k]) == 0) {
                *(bool *)member(row, opts) = false;
                return BL_OK;
            }
        }
        return refuse(e, where, row->name, "'%.200s' is not true or false", value);
    case BL_OPT_CHOICE: return set_choice(row, value, opts, where, e);
    case BL_OPT_TEXT: *(const char **)member(row, opts) = value; return BL_OK;
    case BL_OPT_END: break;
    }
    return bl_fail(e, BL_E_INTERNAL, "option row '%s' has no type", row->name);
}

bl_status bl_opt_set_json(const bl_opt *rows, void *opts, const char *name, const bl_json *value, const char *where,
                          bl_err *e)
{
    static const char *const expected[] = {[BL_OPT_INT] = "an integer",
                                           [BL_OPT_REAL] = "a number",
                                           [BL_OPT_BOOL] = "true or false",
                                           [BL_OPT_CHOICE] = "a string",
                                           [BL_OPT_TEXT] = "a string"};
    const bl_opt *row = bl_opt_find(rows, name);
    char shown[96];
    int64_t i;
    double r;
    bool b;
    const char *s;
    if (!row) return bl_opt_unknown(rows, name, where, "", e);
    if (!value) return refuse(e, where, row->name, "is missing, expected %s", expected[row->type]);
    bl_json_found(value, shown);
    switch (row->type) {
    case BL_OPT_INT:
        if (bl_json_int(value, &i, NULL) == BL_OK) return set_int(row, i, shown, opts, where, e);
        if (bl_json_whole(value)) return refuse(e, where, row->name, "found %s, expected an integer up to 2^53", shown);
        break;
    case BL_OPT_REAL:
        if (bl_json_real(value, &r, NULL) == BL_OK) return set_real(row, r, shown, opts, where, e);
        break;
    case BL_OPT_BOOL:
        if (bl_json_bool(value, &b, NULL) == BL_OK) {
            *(bool *)member(row, opts) = b;
            return BL_OK;
        }
        break;
    case BL_OPT_CHOICE:
        if (bl_json_str(value, &s, NULL) == BL_OK) return set_choice(row, s, opts, where, e);
        break;
    case BL_OPT_TEXT:
        if (bl_json_str(value, &s, NULL) == BL_OK) {
            *(const char **)member(row, opts) = s;
            return BL_OK;
        }
        break;
    case BL_OPT_END: break;
    }
    const char *like = row->type == BL_OPT_TEXT ? row->def.s : NULL;
    return refuse(e, where, row->name, "found %s, expected %s%s%s%s", shown, expected[row->type],
                  like ? ", like \"" : "", like ? like : "", like ? "\"" : "");
}

/* ---- printing ----------------------------------------------------------------------------------- */
bl_status bl_opt_print(const bl_opt *row, const void *opts, bl_text *out)
{
    const void *at = lent(row, opts);
    const char *s;
    char number[40];
    switch (row->type) {
    case BL_OPT_INT: bl_text_addf(out, "%lld", (long long)*(const int64_t *)at); break;
    case BL_OPT_REAL:
        bl_real_short(number, *(const double *)at);
        bl_text_add(out, number);
        break;
    case BL_OPT_BOOL: bl_text_add(out, *(const bool *)at ? "true" : "false"); break;
    case BL_OPT_CHOICE: bl_text_add(out, row->choices[*(const int *)at]); break;
    case BL_OPT_TEXT:
        s = *(const char *const *)at;
        bl_text_add(out, s ? s : "");
        break;
    case BL_OPT_END: break;
    }
    return bl_text_check(out, NULL);
}

bool bl_opt_is_default(const bl_opt *row, const void *opts)
{
    const void *at = lent(row, opts);
    const char *s, *def = row->def.s;
    switch (row->type) {
    case BL_OPT_INT: return *(const int64_t *)at == row->def.i;
    case BL_OPT_REAL: return *(const double *)at == row->def.r;
    case BL_OPT_BOOL: return *(const bool *)at == row->def.b;
    case BL_OPT_CHOICE: return *(const int *)at == row->def.choice;
    case BL_OPT_TEXT: s = *(const char *const *)at; return strcmp(s ? s : "", def ? def : "") == 0;
    case BL_OPT_END: break;
    }
    return true;
}
