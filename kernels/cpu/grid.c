/* grid.c - weights on a grid that is learned, and its gradients. Compiled with -O3: loops over weights take vectors. */
#include "cpu.h"
#include "kernels/grid_both.h"

/* Numbers of a group; of kinds that look at its ends, those too. */
static bl_grid_group group_of(const bl_grid *d, const float *s, const float *o, int64_t k, const float *w, int64_t n,
                              bl_grid_ends *ends)
{
    const float scale = s ? s[k] : 0, offset = o ? o[k] : 0;
    *ends = (bl_grid_ends){0};
    if (!bl_grid_sees_ends(d->kind)) return bl_grid_of(d->kind, d->bits, d->half, scale, offset);
    for (int64_t i = 0; i < n; i++) {
        ends->lo = w[i] < ends->lo ? w[i] : ends->lo;
        ends->hi = w[i] > ends->hi ? w[i] : ends->hi;
    }
    return bl_grid_between(d->kind, d->bits, d->half, scale, offset, ends);
}

static inline void round_group(bl_grid_kind kind, const bl_grid_group *g, const float *w, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = bl_grid_value(kind, g, w[i]);
}

bl_status bl_cpu_grid(bl_backend *be, const bl_grid_args *a, bl_err *e)
{
    bl_status st = bl_check_grid(a, e);
    const bl_grid d = a->grid;
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->w)))
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        const float *w = bl_cpu_row(&a->w, r), *s = a->scale.buf ? bl_cpu_row(&a->scale, r) : NULL,
                    *o = a->offset.buf ? bl_cpu_row(&a->offset, r) : NULL;
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0, k = 0; i < a->w.dim[1]; i += d.group, k++) {
            const int64_t n = BL_MIN(d.group, a->w.dim[1] - i);
            bl_grid_ends ends;
            const bl_grid_group g = group_of(&d, s, o, k, w + i, n, &ends);
            switch (d.kind) { /* a loop each, without a choice inside */
            case BL_GRID_STEP: round_group(BL_GRID_STEP, &g, w + i, y + i, n); break;
            case BL_GRID_AFFINE: round_group(BL_GRID_AFFINE, &g, w + i, y + i, n); break;
            case BL_GRID_OFFSET: round_group(BL_GRID_OFFSET, &g, w + i, y + i, n); break;
            case BL_GRID_INSIDE: round_group(BL_GRID_INSIDE, &g, w + i, y + i, n); break;
            case BL_GRID_CLIP: round_group(BL_GRID_CLIP, &g, w + i, y + i, n); break;
            case BL_GRID_LARGEST: round_group(BL_GRID_LARGEST, &g, w + i, y + i, n); break;
            case BL_GRID_PLANES: round_group(BL_GRID_PLANES, &g, w + i, y + i, n); break;
            }
        }
    }
    return BL_OK;
}

typedef struct sums {
    double s, o;
} sums;
enum { CHAINS = 8 }; /* of a sum */

/* dw += by dw or, in place of dy, = by dw. */
static inline sums group_grad(bl_grid_kind kind, const bl_grid_group *g, const float *w, const float *dy, float *dw,
                              float by, int64_t n)
{
    double s[CHAINS] = {0}, o[CHAINS] = {0};
    const bool instead = dw == dy;
    for (int64_t i = 0; i < n; i++) {
        const bl_grid_slopes d = bl_grid_slopes_at(kind, g, w[i]);
        s[i % CHAINS] += (double)dy[i] * (double)d.s;
        o[i % CHAINS] += (double)dy[i] * (double)d.o;
        const float back = by * (d.w * dy[i]);
        dw[i] = instead ? back : dw[i] + back;
    }
    for (int c = 1; c < CHAINS; c++) {
        s[0] += s[c];
        o[0] += o[c];
    }
    return (sums){s[0], o[0]};
}

/* What the gradient of the scale brings to the weights at the ends of the group. */
static void to_ends(const bl_grid_ends *e, const float *w, float *dw, float by, double ds, int64_t n)
{
    int64_t at_lo = 0, at_hi = 0;
    for (int64_t i = 0; i < n; i++) {
        at_lo += w[i] < 0 && w[i] == e->lo;
        at_hi += w[i] > 0 && w[i] == e->hi;
    }
    for (int64_t i = 0; i < n; i++) {
        if (w[i] < 0 && w[i] == e->lo) dw[i] += by * (float)(ds * e->to_lo / (double)at_lo);
        if (w[i] > 0 && w[i] == e->hi) dw[i] += by * (float)(ds * e->to_hi / (double)at_hi);
    }
}

bl_status bl_cpu_grid_grad(bl_backend *be, const bl_grid_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_grid_grad(a, e);
    const bl_grid d = a->grid;
    const bool damped = d.kind == BL_GRID_STEP || d.kind == BL_GRID_OFFSET;
    const float by = (float)a->alpha;
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 8 * (double)bl_tensor_count(&a->w)))
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        const float *w = bl_cpu_row(&a->w, r), *s = a->scale.buf ? bl_cpu_row(&a->scale, r) : NULL,
                    *dy = bl_cpu_row(&a->dy, r), *o = a->offset.buf ? bl_cpu_row(&a->offset, r) : NULL;
        float *dw = bl_cpu_row(&a->dw, r), *ds = a->dscale.buf ? bl_cpu_row(&a->dscale, r) : NULL,
              *d_o = a->doffset.buf ? bl_cpu_row(&a->doffset, r) : NULL;
        for (int64_t i = 0, k = 0; i < a->w.dim[1]; i += d.group, k++) {
            const int64_t n = BL_MIN(d.group, a->w.dim[1] - i);
            bl_grid_ends ends;
            const bl_grid_group g = group_of(&d, s, o, k, w + i, n, &ends);
            sums sum = {0};
            switch (d.kind) {
            case BL_GRID_STEP: sum = group_grad(BL_GRID_STEP, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_AFFINE: sum = group_grad(BL_GRID_AFFINE, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_OFFSET: sum = group_grad(BL_GRID_OFFSET, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_INSIDE: sum = group_grad(BL_GRID_INSIDE, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_CLIP: sum = group_grad(BL_GRID_CLIP, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_LARGEST: sum = group_grad(BL_GRID_LARGEST, &g, w + i, dy + i, dw + i, by, n); break;
            case BL_GRID_PLANES: sum = group_grad(BL_GRID_PLANES, &g, w + i, dy + i, dw + i, by, n); break;
            }
            if (d.kind == BL_GRID_CLIP) {
                to_ends(&ends, w + i, dw + i, by, sum.s, n);
                sum = (sums){sum.s * ends.to_scale, sum.s * ends.to_offset};
            }
            const double damp = damped ? sqrt((double)n * ((1 << (d.bits - 1)) - 1)) : 1;
            if (ds) ds[k] += (float)(sum.s / damp);
            if (d_o) d_o[k] += (float)(sum.o / damp);
        }
    }
    return BL_OK;
}

/* ---- of a weight and two factors ---- */
bl_status bl_cpu_merged_grid(bl_backend *be, const bl_merged_grid_args *a, bl_err *e)
{
    bl_status st = bl_check_merged_grid(be, a, e);
    const int64_t out = a->w->shape.out, in = a->w->shape.in, rank = a->a.dim[0];
    const float by = (float)a->by;
    bl_buffer room = {0};
    float *x;
    if (st != BL_OK) return st;
    if (!(x = room.data = bl_new((size_t)(out * in), sizeof *x, e))) return BL_E_NOMEM;
    const bl_tensor sum = bl_tensor_2d(&room, 0, BL_F32, out, in);
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = a->w, .rows = out, .y = sum}, e));
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)(out * in * rank)))
    for (int64_t r = 0; r < out; r++)
        for (int64_t k = 0; k < rank; k++) {
            const float b = by * ((const float *)bl_cpu_row(&a->b, r))[k], *from = bl_cpu_row(&a->a, k);
            for (int64_t i = 0; i < in; i++) x[r * in + i] += b * from[i];
        }
    if (!a->dy.buf)
        BL_TRY(bl_cpu_grid(
            be, &(bl_grid_args){.w = sum, .scale = a->scale, .offset = a->offset, .y = a->y, .grid = a->grid}, e));
    else {
        for (int64_t r = 0; r < out; r++)
            memmove(bl_cpu_row(&a->y, r), bl_cpu_row(&a->dy, r), (size_t)in * sizeof(float));
        BL_TRY(bl_cpu_grid_grad(be,
                                &(bl_grid_grad_args){.w = sum,
                                                     .scale = a->scale,
                                                     .offset = a->offset,
                                                     .dy = a->y,
                                                     .dw = a->y,
                                                     .dscale = a->dscale,
                                                     .doffset = a->doffset,
                                                     .alpha = a->alpha,
                                                     .grid = a->grid},
                                e));
    }
out:
    bl_free(x);
    return st;
}

/* ---- where scales begin ---- */
enum { TRIES = 100, TOGETHER = 20 };

/* Scales `first` .. first + TOGETHER of a group, each sum in the order of its weights. Quotients are far below 2^22,
 * and integers are kept within the codes without a branch, so that scales take vectors. */
static void try_scales(const float *w, int64_t n, float most, float high, int first, float sum[TOGETHER])
{
    const float magic = 12582912.0f; /* of bl_grid_round */
    const int32_t top = (int32_t)high, low = -top - 1;
    float s[TOGETHER];
    for (int k = 0; k < TOGETHER; k++) {
        s[k] = most * ((float)(first + k + 1) / TRIES) / high;
        sum[k] = 0;
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < TOGETHER; k++) {
            int32_t c = (int32_t)((w[i] / s[k] + magic) - magic);
            c = c < low ? low : c;
            c = c > top ? top : c;
            const float d = (float)c * s[k] - w[i], dd = d * d;
            sum[k] += dd * dd;
        }
}

static float of_least_fourth_power(const float *w, int64_t n, float high)
{
    float most = 0, best = 1, least = INFINITY, sum[TOGETHER];
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    for (int first = 0; first < TRIES && most > 0; first += TOGETHER) {
        try_scales(w, n, most, high, first, sum);
        for (int k = 0; k < TOGETHER; k++)
            if (sum[k] < least) {
                least = sum[k];
                best = most * ((float)(first + k + 1) / TRIES) / high;
            }
    }
    return best;
}

bl_status bl_cpu_step_search(bl_backend *be, const bl_step_search_args *a, bl_err *e)
{
    bl_status st = bl_check_step_search(a, e);
    const int64_t in = a->w.dim[1];
    const float high = (float)((1 << (a->bits - 1)) - 1);
    const bl_grid_group codes = {1, 0, -high - 1, high};
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 100 * (double)bl_tensor_count(&a->w)))
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        float *w = bl_cpu_row(&a->w, r), *scale = bl_cpu_row(&a->scale, r);
        for (int64_t at = 0; at < in; at += a->group) {
            const int64_t n = BL_MIN(a->group, in - at);
            const float s = scale[at / a->group] = of_least_fourth_power(w + at, n, high);
            for (int64_t i = at; i < at + n; i++) {
                const float v = w[i] / s;
                w[i] = a->within ? bl_grid_within(v, &codes) : v;
            }
        }
    }
    return BL_OK;
}
