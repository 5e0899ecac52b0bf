/* kernels.c - speed of packed products against bits per weight, over OpenBLAS with fp32 weights or, on a GPU, cuBLAS
 * with bf16 weights: with weights that come from memory, as in a model, and on a CPU with weights in cache, as in no
 * model.
 *
 * The plain reference and transposed weights are left out. A kernel is one point, the median over the layer shapes; its
 * bar is from the slowest shape to the fastest. Where one row is multiplied a line says what the measured bandwidth of
 * memory allows.
 */
#include "figures.h"
#include "results/metric.h"
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct timing {
    const bl_kernel_row *row;
    size_t family;
    double bits;   /* least of the kernel; the ends of rows make them differ a little */
    bool in_cache; /* else from memory */
} timing;
typedef struct families {
    char *name[64];
    size_t n;
} families;

/* The curve of a kernel: formats that differ in their width make one, so that speed can be read against bits. */
static char *family_of(const bl_kernel_row *r, bl_err *e)
{
    static const struct {
        const char *glob, *name;
    } list[] = {
        {"int*", "int"},  {"nf*", "nf"},     {"fp4", "fp4 and fp8"},      {"fp8_*", "fp4 and fp8"},
        {"fp*", "dense"}, {"bf16", "dense"}, {"q[0-9]_*", "GGUF blocks"},
    };
    const char *name = r->format, *act = strstr(r->kernel, "_w"), *device = strcmp(r->backend, "cpu") ? r->backend : "";
    int wbits, abits;

    for (size_t i = 0; i < BL_COUNT(list); i++)
        if (!fnmatch(list[i].glob, r->format, 0)) {
            name = list[i].name;
            break;
        }
    if (act && sscanf(act, "_w%da%d", &wbits, &abits) == 2)
        return bl_format_text(e, "%s%s%s x int%d", device, *device ? " " : "", name, abits);
    return bl_format_text(e, "%s%s%s", device, *device ? " " : "", name);
}

static bl_status family_index(families *f, const bl_kernel_row *r, size_t *out, bl_err *e)
{
    char *name = family_of(r, e);
    if (!name) return BL_E_NOMEM;
    for (*out = 0; *out < f->n; ++*out)
        if (!strcmp(f->name[*out], name)) break;
    if (*out < f->n || f->n == BL_COUNT(f->name)) {
        bl_free(name);
        *out = BL_MIN(*out, BL_COUNT(f->name) - 1);
    } else f->name[f->n++] = name;
    return BL_OK;
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

/* The plain reference is there to be right, the transposed weight for gradients. */
static bool is_apart(const bl_kernel_row *r)
{
    size_t n = strlen(r->kernel);
    return (n > 4 && !strcmp(r->kernel + n - 4, "_ref")) || strstr(r->kernel, "_transposed_");
}

/* What kernels are compared with. */
typedef struct yardstick {
    const char *kernel, *name, *question;
    double bits; /* of its weights */
} yardstick;
static const yardstick yardsticks[] = {
    {"openblas", "OpenBLAS fp32", "Are packed products faster than fp32?", 32},
    {"linear_bf16_cuda", "cuBLAS bf16", "Are packed products faster than bf16?", 16},
};
static bool is_of(const yardstick *y, const bl_kernel_row *r)
{
    return !strncmp(r->kernel, y->kernel, strlen(y->kernel));
}
static const yardstick *yardstick_of(const bl_plot_input *in)
{
    for (size_t i = 0; i < in->n_kernels; i++)
        if (is_of(&yardsticks[1], &in->kernel[i])) return &yardsticks[1];
    return &yardsticks[0];
}
static double ratio_of(const timing *t) { return t->in_cache ? t->row->ratio : t->row->cold_ratio; }

static int by_curve(const void *a, const void *b)
{
    const timing *x = a, *y = b;
    if (x->row->m != y->row->m) return x->row->m < y->row->m ? -1 : 1;
    if (x->in_cache != y->in_cache) return x->in_cache ? 1 : -1;
    if (x->family != y->family) return x->family < y->family ? -1 : 1;
    if (x->bits != y->bits) return x->bits < y->bits ? -1 : 1;
    int order = strcmp(x->row->kernel, y->row->kernel);
    if (order) return order;
    double p = ratio_of(x), q = ratio_of(y);
    return (p > q) - (p < q);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void put_reals(bl_text *csv, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bl_text_add(csv, ",");
        if (isfinite(v[i])) bl_put_number(csv, v[i]);
        else bl_text_add(csv, "NA");
    }
}

/* Share of the measured bandwidth that a call from memory reaches; NAN: not known. */
static double share_of(const bl_plot_input *in, const timing *t)
{
    if (t->in_cache || !in->facts || !(in->facts->read_bytes_per_second > 0) || !(t->row->cold > 0)) return NAN;
    return t->row->bytes / t->row->cold / in->facts->read_bytes_per_second;
}

static void put_line(bl_text *csv, size_t panel, const families *f, const timing *t, const char *kind,
                     const char *label, double x, const double v[4])
{
    const bl_kernel_row *r = t->row;
    bl_text_addf(csv, "%zu,%lld,%s,%zu,", panel + 1, (long long)r->m, t->in_cache ? "cache" : "memory", t->family + 1);
    bl_put_field(csv, f->name[t->family]);
    bl_text_addf(csv, ",%s,", kind);
    bl_put_field(csv, label);
    bool point = !strcmp(kind, "shape");
    put_reals(csv,
              (double[]){t->bits, x, v[0], v[1], v[2], v[3], point ? r->seconds : NAN, point ? r->cold : NAN,
                         point ? r->gflops : NAN, point ? r->gbs : NAN, point ? r->nmse : NAN},
              11);
    bl_text_add(csv, "\n");
}

/* What memory allows when one row is multiplied, times b at b bits: the time of OpenBLAS over that of reading the bytes
 * is 32 / b over its own share of the bandwidth, that of cuBLAS 16 / b; the median over the shapes. 0: not known. */
static double limit_at_1(const bl_plot_input *in, const yardstick *by, int64_t m, bl_arena *a, bl_err *e)
{
    double *v = bl_alloc(a, in->n_kernels, sizeof *v, e);
    size_t n = 0;
    if (!v) return -1;
    for (size_t i = 0; i < in->n_kernels; i++) {
        const timing t = {.row = &in->kernel[i]};
        double share = share_of(in, &t);
        if (t.row->m == m && is_of(by, t.row) && share > 0) v[n++] = by->bits / share;
    }
    if (!n) return 0;
    qsort(v, n, sizeof *v, by_value);
    return bl_percentile(v, (int64_t)n, 0.5);
}

static double median_of(const timing *t, size_t from, size_t to)
{
    return (ratio_of(&t[(from + to - 1) / 2]) + ratio_of(&t[(from + to) / 2])) / 2;
}

/* Is the kernel at from..to the fastest of its family at its width? The curve goes through those. */
static bool is_fastest(const timing *t, size_t n, size_t from, size_t to)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && !strcmp(t[end].row->kernel, t[i].row->kernel); end++) continue;
        if (i != from && t[i].family == t[from].family && t[i].bits == t[from].bits &&
            (median_of(t, i, end) > median_of(t, from, to) ||
             (median_of(t, i, end) == median_of(t, from, to) && i < from)))
            return false;
    }
    return true;
}

/* One panel: rows from..to of t have one m and one place of the weight. */
static bl_status panel(const bl_plot_input *in, const yardstick *by, const families *f, const timing *t, size_t n,
                       size_t at, const bl_ruler *x, double lo, double hi, bl_arena *a, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    char text[128];
    const bl_box *b = &page->box[at];
    double *share = bl_alloc(a, n, sizeof *share, e);
    bool one = t->row->m == 1;
    size_t family = SIZE_MAX; /* of the last point on a line, which is at … */
    double last_x = 0, last_y = 0;

    if (!share) return BL_E_NOMEM;
    snprintf(text, sizeof text, "%lld row%s, weights %s", (long long)t->row->m, one ? "" : "s",
             !t->in_cache ? one ? "from memory: decoding" : "from memory" : "in cache: as in no model");
    char over[64];
    snprintf(over, sizeof over, "speed over %s", by->name);
    bl_page_panel(page, at, text, "bits per weight", over);
    double limit = t->in_cache || t->row->m > 1 ? 0 : limit_at_1(in, by, t->row->m, a, e);
    if (limit < 0) return BL_E_NOMEM;
    if (limit > 0) hi = fmax(hi, fmin(limit / x->lo, hi * 1.6));
    bl_ruler y = bl_ruler_log(fmin(lo, 0.9), fmax(hi, 1.1));
    bl_page_axis(page, at, "x", x);
    bl_page_axis(page, at, "y", &y);
    bl_text_add(bl_page_script(page, at), "limit = ");
    bl_put_number(bl_page_script(page, at), limit);
    bl_text_add(bl_page_script(page, at), "; ");
    page->n_taken = 0;
#define X(v) (b->left + bl_ruler_at(x, v) * (b->right - b->left))
#define Y(v) (b->bottom + bl_ruler_at(&y, v) * (b->top - b->bottom))
    if (limit > 0) {
        double from = log(x->lo), to = log(x->hi);
        for (int i = 0; i <= 40; i++) {
            double bits = exp(from + (to - from) * i / 40), v = limit / bits;
            if (v < y.hi) BL_TRY(bl_page_take(page, (bl_box){X(bits) - 3, X(bits) + 3, Y(v) - 2, Y(v) + 2}, e));
        }
        double bits = fmax(x->lo * 1.05, limit / y.hi * 1.25);
        snprintf(text, sizeof text, "memory, %.1f GB/s", in->facts->read_bytes_per_second / 1e9);
        bl_page_label(page, at, text, X(bits) + 5, fmin(Y(fmin(limit / bits, y.hi)) + 3, b->top - 4),
                      (bl_mark_at){.color = "#555555"});
        BL_TRY(bl_page_take(
            page,
            (bl_box){X(bits) + 5, X(bits) + 5 + bl_page_width(page, text, 7), Y(limit / bits) - 1, Y(limit / bits) + 7},
            e));
    }
    for (size_t i = 0, end; i < n; i = end) { /* one kernel: its shapes, then their median */
        size_t n_share = 0;
        double aside = ((double)t[i].family - (double)(f->n - 1) / 2) * 2.2 / (b->right - b->left),
               at_x = t[i].bits * exp(aside * log(x->hi / x->lo));
        for (end = i; end < n && t[end].family == t[i].family && !strcmp(t[end].row->kernel, t[i].row->kernel); end++) {
            snprintf(text, sizeof text, "%s %lldx%lld", t[end].row->kernel, (long long)t[end].row->out,
                     (long long)t[end].row->in);
            double one_share = share_of(in, &t[end]);
            put_line(&page->csv, at, f, &t[end], "shape", text, at_x,
                     (double[]){ratio_of(&t[end]), NAN, NAN, one_share});
            if (isfinite(one_share)) share[n_share++] = one_share;
        }
        double middle = median_of(t, i, end), middle_share = NAN;
        if (n_share) {
            qsort(share, n_share, sizeof *share, by_value);
            middle_share = bl_percentile(share, (int64_t)n_share, 0.5);
        }
        put_line(&page->csv, at, f, &t[i], is_fastest(t, n, i, end) ? "kernel" : "slower", t[i].row->kernel, at_x,
                 (double[]){middle, ratio_of(&t[i]), ratio_of(&t[end - 1]), middle_share});
        BL_TRY(bl_page_take(page, (bl_box){X(at_x) - 3, X(at_x) + 3, Y(middle) - 3, Y(middle) + 3}, e));
        if (is_fastest(t, n, i, end)) { /* the line from the last point of the family */
            for (int k = 1; k < 30 && family == t[i].family; k++) {
                double ax = last_x + (X(at_x) - last_x) * k / 30, ay = last_y + (Y(middle) - last_y) * k / 30;
                BL_TRY(bl_page_take(page, (bl_box){ax - 2, ax + 2, ay - 1, ay + 1}, e));
            }
            family = t[i].family;
            last_x = X(at_x);
            last_y = Y(middle);
        }
        BL_TRY(bl_page_take(page, (bl_box){X(at_x) - 1, X(at_x) + 1, Y(ratio_of(&t[i])), Y(ratio_of(&t[end - 1]))}, e));
    }
    BL_TRY(bl_page_level(page, at, Y(1), by->name, "back linestyle 122", "#555555", e));
    if (limit > 0) /* what share of the bandwidth a kernel of 4 bits reaches, beside it */
        for (size_t i = 0; i < n; i++) {
            if ((i && !strcmp(t[i].row->kernel, t[i - 1].row->kernel)) || t[i].bits < 4 || t[i].bits >= 5) continue;
            bl_err none = {0};
            double aside = ((double)t[i].family - (double)(f->n - 1) / 2) * 2.2 / (b->right - b->left);
            size_t end = i;
            while (end < n && !strcmp(t[end].row->kernel, t[i].row->kernel)) end++;
            double middle = median_of(t, i, end);
            snprintf(text, sizeof text, "%.0f %%", 100 * share_of(in, &t[(i + end - 1) / 2]));
            bl_page_place(page, at, text, X(t[i].bits * exp(aside * log(x->hi / x->lo))), Y(middle), "#333333", &none);
            if (none.text[0]) {
                st = bl_fail(e, BL_E_NOMEM, "%s", none.text);
                goto out;
            }
        }
#undef X
#undef Y
out:
    return st;
}

static void say_how(const bl_plot_input *in, const yardstick *by, const timing *t, size_t n, bl_arena *a, bl_page *page,
                    bl_err *e)
{
    const bl_kernel_facts *f = in->facts;
    char text[400];
    double *spread = bl_alloc(a, n, sizeof *spread, e);
    size_t k = 0;

    for (size_t i = 0; i < n && spread; i++)
        if (t[i].row->seconds_max > 0) spread[k++] = t[i].row->seconds_max / t[i].row->seconds_min - 1;
    if (f) {
        snprintf(text, sizeof text, "%s%s%s, %lld %s%s%s%.10s · commit %s · layers of %s", f->device,
                 *f->simd ? ", " : "", f->simd, (long long)f->threads, by == yardsticks ? "thread" : "multiprocessor",
                 f->threads == 1 ? "" : "s", f->created && *f->created ? " · " : "", f->created ? f->created : "",
                 f->commit, f->shape);
        bl_page_about(page, text);
        if (k) {
            qsort(spread, k, sizeof *spread, by_value);
            snprintf(text, sizeof text,
                     "%lld repetitions, all kernels in turn; between them the times of a kernel differ by %.0f %% "
                     "(median), at most %.0f %%.",
                     (long long)f->repetitions, 100 * bl_percentile(spread, (int64_t)k, 0.5), 100 * spread[k - 1]);
            bl_page_note(page, text);
        }
        if (f->drift > 1.15) {
            snprintf(text, sizeof text,
                     "Not a quiet machine: %s itself was %.2f times slower in one repetition than in another "
                     "(neighbours, or a processor that slows down; load %.1f before).",
                     by->name, f->drift, f->load);
            bl_page_note(page, text);
        }
    }
    bl_page_note(page, "Points: median over layer shapes; bars: slowest to fastest shape.");
}

bl_status bl_figure_kernels(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    families f = {.n = 0};
    const yardstick *by = yardstick_of(in);
    size_t n = 0, n_panels = 0, at = 0;
    double lo = INFINITY, hi = 0, least = INFINITY, most = 0;

    BL_TRY(bl_arena_new(&a, e));
    timing *t = bl_alloc(a, 2 * in->n_kernels, sizeof *t, e);
    if (!t) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < 2 * in->n_kernels; i++) {
        timing one = {.row = &in->kernel[i / 2], .bits = in->kernel[i / 2].bits, .in_cache = i % 2};
        if (!(ratio_of(&one) > 0) || !isfinite(ratio_of(&one)) || !(one.bits > 0) || is_of(by, one.row) ||
            is_apart(one.row) || has_newer(in, one.row) || (one.in_cache && by != yardsticks))
            continue; /* the yardstick itself is the line at 1 */
        for (size_t k = 0; k < in->n_kernels; k++)
            if (!strcmp(in->kernel[k].kernel, one.row->kernel)) one.bits = fmin(one.bits, in->kernel[k].bits);
        BL_TRY(family_index(&f, one.row, &one.family, e));
        lo = fmin(lo, ratio_of(&one));
        hi = fmax(hi, ratio_of(&one));
        least = fmin(least, one.bits);
        most = fmax(most, one.bits);
        t[n++] = one;
    }
    if (!(page->n_points = n)) goto out;
    qsort(t, n, sizeof *t, by_curve);
    for (size_t i = 0; i < n; i++)
        n_panels += !i || t[i].row->m != t[i - 1].row->m || t[i].in_cache != t[i - 1].in_cache;
    bl_page_heading(page, by->question);
    for (size_t k = 0; k < f.n; k++) BL_TRY(bl_page_legend(page, (int)k + 1, f.name[k], e));
    say_how(in, by, t, n, a, page, e);
    if (in->facts && in->facts->read_bytes_per_second > 0)
        bl_page_note(page, "Percent: share of the measured bandwidth of memory.");
    page->columns = n_panels > 1 ? 2 : 1;
    BL_TRY(bl_page_grid(page, n_panels, page->text ? 180 : 130, e));
    bl_ruler x = bl_ruler_bits(least, most, page->box[0].right - page->box[0].left, 2.6 * bl_page_letter(page));
    bl_text_add(&page->csv, "panel,rows,weights,style,family,kind,label,bits,x,value,low,high,share,seconds,cold,"
                            "gflops,gbs,nmse\n");
    for (size_t from = 0, to; from < n; from = to, at++) {
        for (to = from; to < n && t[to].row->m == t[from].row->m && t[to].in_cache == t[from].in_cache; to++) continue;
        BL_TRY(panel(in, by, &f, t + from, to - from, at, &x, lo, hi, a, page, e));
    }
    BL_TRY(bl_page_finish(page, e));
    bl_text_addf(&page->script, "n_families = %zu\n", f.n);
out:
    for (size_t i = 0; i < f.n; i++) bl_free(f.name[i]);
    bl_arena_free(a);
    return st;
}
