/* data.c - picks the points of a figure out of a table or a list of kernel timings. */
#include "data.h"
#include "results/metric.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct point {
    char *panel, *series, *label;
    bool is_base, front;
    double bits, value, stderr_;
    bool has_stderr;
    int64_t n;
} point;
typedef struct points {
    point *v;
    size_t n, cap;
} points;

static void free_points(points *p)
{
    for (size_t i = 0; i < p->n; i++) {
        bl_free(p->v[i].panel);
        bl_free(p->v[i].series);
        bl_free(p->v[i].label);
    }
    bl_free(p->v);
}

/* Names are data: quotes and control characters would end a field, and gnuplot cuts a quoted field at a comma. */
static void put_field(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++) bl_text_addn(out, *s == '"' ? "'" : *s == ',' ? ";" : (unsigned char)*s < 0x20 ? " " : s, 1);
    bl_text_add(out, "\"");
}

static void put_real(bl_text *out, double v)
{
    char number[40];
    snprintf(number, sizeof number, "%.10g", v);
    for (char *c = number; *c; c++)
        if (*c == ',') *c = '.'; /* a locale with a decimal comma */
    bl_text_addf(out, ",%s", number);
}

/* ---- cells -------------------------------------------------------------------------------------- */
/* "rtn:w4g64+sym" without its bits: "rtn g64+sym". */
static void put_family(bl_text *out, const bl_row *r)
{
    const char *colon = strchr(r->cell->method, ':'), *rest = colon ? colon + 1 : "";

    bl_text_addn(out, r->cell->method, colon ? (size_t)(colon - r->cell->method) : strlen(r->cell->method));
    if (*rest == 'w' && r->cell->wbits > 0) rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest) bl_text_addf(out, " %s", rest);
}

static bool is_base(const bl_row *r) { return !strcmp(r->cell->method, "base"); }
static bool same_task(const bl_row *a, const bl_row *b)
{
    return !strcmp(a->cell->model, b->cell->model) && !strcmp(a->cell->stored_as, b->cell->stored_as) &&
           !strcmp(a->cell->task, b->cell->task) && !strcmp(a->metric, b->metric) &&
           a->cell->task_version == b->cell->task_version && a->cell->limit == b->cell->limit && a->n == b->n &&
           a->cell->seed == b->cell->seed;
}

/* What is the same for all rows of the figure does not stand in its names. */
typedef struct varying {
    bool model, stored_as, version, seed, metric;
} varying;

/* Model and task, and whatever else makes a number another number. */
static void put_panel(bl_text *out, const bl_row *r, const varying *v)
{
    if (v->model) bl_text_addf(out, "%s ", r->cell->model);
    if (v->stored_as) bl_text_addf(out, "(%s) ", r->cell->stored_as);
    bl_text_add(out, r->cell->task);
    if (v->metric) bl_text_addf(out, " %s", r->metric);
    if (v->version) bl_text_addf(out, " v%lld", (long long)r->cell->task_version);
    if (v->seed) bl_text_addf(out, " seed %lld", (long long)r->cell->seed);
    if (r->cell->limit) bl_text_addf(out, " n=%lld*", (long long)r->n);
}

static bl_status add_point(points *p, const bl_row *r, const bl_row *family, const varying *v, double scale, bl_err *e)
{
    bl_text panel = {0}, series = {0};
    point at = {.is_base = is_base(r),
                .bits = r->cell->bits_per_weight,
                .value = r->value * scale,
                .stderr_ = r->stderr_ * scale,
                .has_stderr = r->has_stderr,
                .n = r->n};
    bl_status st = bl_grow(&p->v, &p->cap, p->n + 1, sizeof *p->v, e);

    put_panel(&panel, r, v);
    put_panel(&series, r, v);
    bl_text_add(&series, " \xc2\xb7 ");
    put_family(&series, family);
    if (st == BL_OK) st = bl_text_check(&panel, e);
    if (st == BL_OK) st = bl_text_check(&series, e);
    if (st == BL_OK && !(at.label = bl_strdup(r->cell->method, e))) st = BL_E_NOMEM;
    if (st != BL_OK) {
        bl_text_free(&panel);
        bl_text_free(&series);
        return st;
    }
    at.panel = panel.s;
    at.series = series.s;
    p->v[p->n++] = at;
    return BL_OK;
}

/* No other point of the panel has at most its bits and a better value, or fewer bits and at least its value. */
static void mark_front(points *p, int direction)
{
    for (size_t i = 0; i < p->n; i++) {
        p->v[i].front = true;
        for (size_t k = 0; k < p->n && p->v[i].front; k++) {
            const point *a = &p->v[i], *b = &p->v[k];
            double gain = direction * (b->value - a->value);
            if (!strcmp(a->panel, b->panel) && b->bits <= a->bits && gain >= 0 && (b->bits < a->bits || gain > 0))
                p->v[i].front = false;
        }
    }
}

static int by_series(const void *a, const void *b)
{
    const point *x = a, *y = b;
    int order = strcmp(x->panel, y->panel);
    if (!order) order = strcmp(x->series, y->series);
    if (!order) order = (x->bits > y->bits) - (x->bits < y->bits);
    return order ? order : x->is_base - y->is_base;
}

static bl_status put_points(points *p, int direction, bl_text *csv, bl_err *e)
{
    mark_front(p, direction);
    if (p->n) qsort(p->v, p->n, sizeof *p->v, by_series);
    bl_text_add(csv, "panel,series,kind,label,bits,value,stderr,n,front\n");
    for (size_t i = 0; i < p->n; i++) {
        const point *q = &p->v[i];
        put_field(csv, q->panel);
        bl_text_add(csv, ",");
        put_field(csv, q->series);
        bl_text_addf(csv, ",%s,", q->is_base ? "base" : "method");
        put_field(csv, q->label);
        put_real(csv, q->bits);
        put_real(csv, q->value);
        if (q->has_stderr) put_real(csv, q->stderr_);
        else bl_text_add(csv, ",NA");
        bl_text_addf(csv, ",%lld,%d\n", (long long)q->n, q->front);
    }
    return bl_text_check(csv, e);
}

/* Does this row stand for its cell in such a figure: a headline of that kind over all items? */
static bool fits(const bl_row *r, bool percent, int direction)
{
    return r->has_value && r->headline && r->percent == percent && r->direction == direction && !r->item_group[0] &&
           isfinite(r->value) && r->cell->bits_per_weight > 0 && (percent || r->value > 0);
}

/* The first row of each cell that fits. The base of a task stands at the end of each of its curves. */
static bl_status cells(const bl_plot_input *in, bool percent, int direction, double scale, bl_text *csv,
                       size_t *n_points, bl_err *e)
{
    const bl_table *t = in->table;
    const bl_row **chosen = bl_new(t ? t->n : 0, sizeof *chosen, e);
    points p = {0};
    varying v = {0};
    size_t n = 0;
    bl_status st = chosen ? BL_OK : BL_E_NOMEM;

    if (st != BL_OK) goto out;
    for (size_t i = 0; t && i < t->n; i++) {
        const bl_row *r = &t->row[i];
        if (!fits(r, percent, direction)) continue;
        if (n && chosen[n - 1]->cell == r->cell) continue; /* rows of one cell stand together */
        chosen[n++] = r;
        v.model = v.model || strcmp(r->cell->model, chosen[0]->cell->model);
        v.stored_as = v.stored_as || strcmp(r->cell->stored_as, chosen[0]->cell->stored_as);
        v.version = v.version || (r->cell->task_version != chosen[0]->cell->task_version &&
                                  !strcmp(r->cell->task, chosen[0]->cell->task));
        v.seed = v.seed || r->cell->seed != chosen[0]->cell->seed;
    }
    for (size_t i = 0; i < n; i++) {
        const bl_row *r = chosen[i];
        bool in_a_curve = false;
        if (!is_base(r)) {
            BL_TRY(add_point(&p, r, r, &v, scale, e));
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            bool repeated = false;
            if (is_base(chosen[k]) || !same_task(r, chosen[k]) || chosen[k]->cell->wbits <= 0) continue;
            in_a_curve = true;
            size_t before = p.n;
            BL_TRY(add_point(&p, r, chosen[k], &v, scale, e));
            for (size_t j = 0; j < before; j++)
                if (p.v[j].is_base && !strcmp(p.v[j].series, p.v[before].series) && p.v[j].value == p.v[before].value)
                    repeated = true;
            if (repeated) {
                bl_free(p.v[before].panel);
                bl_free(p.v[before].series);
                bl_free(p.v[before].label);
                p.n = before;
            }
        }
        if (!in_a_curve) BL_TRY(add_point(&p, r, r, &v, scale, e));
    }
    *n_points = p.n;
    st = put_points(&p, direction, csv, e);
out:
    free_points(&p);
    bl_free(chosen);
    return st;
}

bl_status bl_data_perplexity(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e)
{
    return cells(in, false, -1, 1, csv, n_points, e);
}

bl_status bl_data_accuracy(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e)
{
    return cells(in, true, 1, 100, csv, n_points, e);
}

/* ---- kernels ------------------------------------------------------------------------------------ */
typedef struct timing {
    const bl_kernel_row *row;
    char *family;
    double bits;
} timing; /* bits: least of the kernel; the ends of rows make them differ a little */

/* The curve of a kernel: formats that differ in their width make one, so that speed can be read against bits. */
static char *family_of(const bl_kernel_row *r, bl_err *e)
{
    static const struct {
        const char *glob, *name;
    } families[] = {
        {"int*", "int"},  {"nf*", "nf"},     {"fp4", "fp4 and fp8"},      {"fp8_*", "fp4 and fp8"},
        {"fp*", "dense"}, {"bf16", "dense"}, {"q[0-9]_*", "GGUF blocks"},
    };
    const char *name = r->format, *act = strstr(r->kernel, "_w"), *device = strcmp(r->backend, "cpu") ? r->backend : "";
    size_t n = strlen(r->kernel);
    int wbits, abits;

    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!fnmatch(families[i].glob, r->format, 0)) {
            name = families[i].name;
            break;
        }
    if (n > 4 && !strcmp(r->kernel + n - 4, "_ref")) return bl_strdup("plain C", e);
    if (act && sscanf(act, "_w%da%d", &wbits, &abits) == 2)
        return bl_format_text(e, "%s%s%s with int x", device, *device ? " " : "", name);
    return bl_format_text(e, "%s%s%s", device, *device ? " " : "", name);
}

/* Is there a newer form of the same kernel, which the program takes instead? "gemm_int4_avx512" for "gemm_int4_avx2".
 */
static bool has_newer(const bl_plot_input *in, const bl_kernel_row *r)
{
    size_t n = strlen(r->kernel), stem = n - strlen("avx2");

    if (n < 5 || strcmp(r->kernel + stem, "avx2")) return false;
    for (size_t i = 0; i < in->n_kernels; i++)
        if (!strncmp(in->kernel[i].kernel, r->kernel, stem) && !strcmp(in->kernel[i].kernel + stem, "avx512"))
            return true;
    return false;
}

static int by_curve(const void *a, const void *b)
{
    const timing *x = a, *y = b;
    int order = (x->row->m > y->row->m) - (x->row->m < y->row->m);
    if (!order) order = strcmp(x->family, y->family);
    if (!order) order = (x->bits > y->bits) - (x->bits < y->bits);
    if (!order) order = strcmp(x->row->kernel, y->row->kernel);
    if (!order)
        order = (x->row->out * x->row->in > y->row->out * y->row->in) -
                (x->row->out * x->row->in < y->row->out * y->row->in);
    return order;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void put_timing(bl_text *csv, const timing *t, const char *kind, double value)
{
    const bl_kernel_row *r = t->row;
    char text[128];

    snprintf(text, sizeof text, "%lld %s", (long long)r->m, r->m == 1 ? "row (decoding)" : "rows");
    put_field(csv, text);
    bl_text_add(csv, ",");
    put_field(csv, t->family);
    bl_text_addf(csv, ",%s,", kind);
    snprintf(text, sizeof text, "%s %lldx%lld", r->format, (long long)r->out, (long long)r->in);
    put_field(csv, text);
    put_real(csv, r->bits);
    put_real(csv, value);
    put_real(csv, r->gflops);
    put_real(csv, r->gbs);
    put_real(csv, r->seconds);
    put_real(csv, r->nmse);
    bl_text_add(csv, "\n");
}

bl_status bl_data_kernels(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e)
{
    bl_status st = BL_OK;
    timing *t = bl_new(in->n_kernels, sizeof *t, e);
    double *ratio = bl_new(in->n_kernels, sizeof *ratio, e);
    size_t n = 0;

    if (!t || !ratio) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < in->n_kernels; i++) {
        const bl_kernel_row *r = &in->kernel[i];
        if (!(r->ratio > 0) || !(r->bits > 0) || !strncmp(r->kernel, "openblas", 8) || has_newer(in, r))
            continue; /* OpenBLAS itself is the line at 1 */
        t[n].row = r;
        t[n].bits = r->bits;
        for (size_t k = 0; k < in->n_kernels; k++)
            if (!strcmp(in->kernel[k].kernel, r->kernel)) t[n].bits = fmin(t[n].bits, in->kernel[k].bits);
        if (!(t[n].family = family_of(r, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        n++;
    }
    if (n) qsort(t, n, sizeof *t, by_curve);
    bl_text_add(csv, "panel,series,kind,label,bits,value,gflops,gbs,seconds,nmse\n");
    for (size_t from = 0, to; from < n; from = to) { /* one curve: its points, then its medians */
        for (to = from; to < n && t[to].row->m == t[from].row->m && !strcmp(t[to].family, t[from].family); to++)
            put_timing(csv, &t[to], "point", t[to].row->ratio);
        for (size_t i = from, end; i < to; i = end) {
            for (end = i; end < to && !strcmp(t[end].row->kernel, t[i].row->kernel); end++)
                ratio[end - i] = t[end].row->ratio;
            qsort(ratio, end - i, sizeof *ratio, by_value);
            put_timing(csv, &t[i], "median", bl_percentile(ratio, (int64_t)(end - i), 0.5));
        }
    }
    *n_points = n;
    st = bl_text_check(csv, e);
out:
    for (size_t i = 0; t && i < in->n_kernels; i++) bl_free(t[i].family);
    bl_free(t);
    bl_free(ratio);
    return st;
}
