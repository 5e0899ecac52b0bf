/* What mathematics says about SliM-LLM: the budget is met, candidates are what brute force says, and with both of its
 * ideas off it is GPTQ. */
#include "method_model.h"
#include "method_run.h"
#include "methods/shared_moments.h"
#include "methods/shared_solve.h"
#include "methods/slim_llm.h"

enum { OUT = 24, GROUP = 16, SLABS = 8, IN = GROUP * SLABS, ROWS = 200 };
static bl_err e;

static float *normals(int64_t n, uint64_t seed)
{
    float *w = malloc((size_t)n * sizeof *w);
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_slim", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)bl_rng_normal(&r);
    return w;
}
/* Slabs of inputs differ in size. */
static float *inputs(void)
{
    float *x = normals(ROWS * IN, 1);
    for (int i = 0; i < ROWS * IN; i++) x[i] *= 0.05f * (float)(1 + (1 << (i % IN / GROUP * 5 % 8)) / 2);
    return x;
}

static bl_tensor upload(bl_backend *be, bl_dtype type, const void *v, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, type, rows, cols);
    if (v) assert_ok(be->ops->upload(be, &t, v, &e));
    return t;
}

typedef struct fix {
    method_run m;
    float *w, *x;
    bl_tensor tw, tx, h, u, scale, zero;
    double mean;
} fix;

static fix fix_open(void)
{
    fix f = {.w = normals(OUT * IN, 2), .x = inputs()};
    double damped;
    method_open(&f.m, "slim-llm:w3", f.w, OUT, IN);
    bl_backend *be = f.m.be;
    f.tw = upload(be, BL_F32, f.w, OUT, IN);
    f.tx = upload(be, BL_F32, f.x, ROWS, IN);
    f.h = upload(be, BL_F64, NULL, IN, IN);
    f.u = upload(be, BL_F32, NULL, IN, IN);
    f.scale = upload(be, BL_F32, NULL, OUT, SLABS);
    f.zero = upload(be, BL_F32, NULL, OUT, SLABS);
    assert_ok(be->ops->fill(be, &f.h, 0, &e));
    assert_ok(be->ops->hessian(be, &(bl_hessian_args){.x = f.tx, .h = f.h, .alpha = 2.0 / ROWS}, &e));
    for (int i = 0; i < IN; i++) f.mean += ((double *)f.h.buf->data)[i * (IN + 1)] / IN;
    assert_ok(bl_moments_factor(&f.m.run, f.h, (bl_tensor){0}, f.mean, 0.01, f.u, &damped, &e));
    return f;
}
static void fix_close(fix *f)
{
    bl_tensor *all[] = {&f->tw, &f->tx, &f->h, &f->u, &f->scale, &f->zero};
    for (size_t i = 0; i < BL_COUNT(all); i++) f->m.be->ops->buffer_free(all[i]->buf);
    method_close(&f->m);
    free(f->w);
    free(f->x);
}

/* A slab of one row to nearest, range with 0, as the card has it. */
static void to_nearest(const float *w, int bits, double *v)
{
    double lo = 0, hi = 0, q = (1 << bits) - 1, mean = 0, size = 0;
    for (int i = 0; i < GROUP; i++) {
        lo = fmin(lo, w[i]);
        hi = fmax(hi, w[i]);
        mean += w[i] / (double)GROUP;
        size += fabs(w[i]) / (double)GROUP;
    }
    double s = (hi - lo) / q, z = rint(-lo / s);
    for (int i = 0; i < GROUP; i++)
        v[i] = bits == 1 ? mean + (w[i] > mean ? size : -size) : (fmin(fmax(rint(w[i] / s) + z, 0), q) - z) * s;
}

static double softmax(const double *y, double *p)
{
    double top = y[0], sum = 0;
    for (int o = 0; o < OUT; o++) top = fmax(top, y[o]);
    for (int o = 0; o < OUT; o++) sum += p[o] = exp(y[o] - top);
    for (int o = 0; o < OUT; o++) p[o] = fmax(p[o] / sum, 1e-6);
    return sum;
}

/* Sum of KL(softmax of the rounded, softmax of the weight) from scratch. */
static double divergence(const fix *f, const uint8_t *widths)
{
    static double v[OUT * IN];
    double sum = 0, a[OUT], b[OUT], p[OUT], q[OUT];
    for (int o = 0; o < OUT; o++)
        for (int t = 0; t < SLABS; t++) to_nearest(f->w + o * IN + t * GROUP, widths[t], v + o * IN + t * GROUP);
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < OUT; o++) {
            a[o] = b[o] = 0;
            for (int j = 0; j < IN; j++) {
                a[o] += v[o * IN + j] * f->x[r * IN + j];
                b[o] += (double)f->w[o * IN + j] * f->x[r * IN + j];
            }
        }
        softmax(a, p);
        softmax(b, q);
        for (int o = 0; o < OUT; o++) sum += p[o] * log(p[o] / q[o]);
    }
    return sum;
}

static void widths_are_those_of_brute_force_and_keep_the_budget(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        fix f = fix_open();
        uint8_t widths[SLABS], tried[SLABS];
        double kl[SLABS] = {0}, salience[SLABS];
        bl_slim how = {.bits = bits,
                       .group = GROUP,
                       .mixed = true,
                       .search = true,
                       .lambda = 1,
                       .scale = BL_F32,
                       .kl = kl,
                       .salience = salience};
        int order[SLABS], sum = 0, chosen = 0, best = 0;
        assert_ok(bl_slim_widths(&f.m.run, f.tw, f.u, f.tx, &how, widths, &e));
        for (int i = 0; i < SLABS; i++) {
            int at = 0;
            for (int j = 0; j < SLABS; j++) at += salience[j] < salience[i] || (salience[j] == salience[i] && j < i);
            order[at] = i;
            sum += widths[i];
            chosen += widths[i] == bits + 1;
        }
        assert_int_equal(sum, bits * SLABS); /* to the bit */
        for (int p = 1; p < SLABS / 2; p++) {
            memset(tried, bits, sizeof tried);
            for (int i = 0; i < p; i++) {
                tried[order[i]]--;
                tried[order[SLABS - 1 - i]]++;
            }
            double want = divergence(&f, tried);
            if (fabs(kl[p - 1] / want - 1) > 1e-3) fail_msg("%d bits, %d: %g, wanted %g", bits, p, kl[p - 1], want);
            if (!best || kl[p - 1] < kl[best - 1]) best = p;
        }
        assert_int_equal(chosen, best);
        for (int i = 1; i < SLABS; i++) assert_true(widths[order[i]] >= widths[order[i - 1]]);
        fix_close(&f);
    }
}

static void without_both_it_is_gptq(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 5; bits++) {
        fix f = fix_open();
        method_run n;
        uint8_t widths[SLABS];
        char name[8];
        double loss;
        bl_slim how = {.bits = bits, .group = GROUP, .lambda = 1, .scale = BL_F16};
        assert_ok(bl_slim_widths(&f.m.run, f.tw, f.u, f.tx, &how, widths, &e));
        for (int t = 0; t < SLABS; t++) assert_int_equal(widths[t], bits);
        assert_ok(bl_slim_round(&f.m.run, f.tw, f.u, widths, &how, f.scale, f.zero, &loss, &e));
        method_open(&n, "rtn:w4pc", f.w, OUT, IN);
        snprintf(name, sizeof name, "int%d", bits);
        bl_solve s = {.format = bl_format_find(name),
                      .shape = {.out = OUT, .in = IN, .group = GROUP, .zero = BL_ZERO_PACKED, .scale = BL_F16},
                      .rule = BL_RANGE_ZERO,
                      .damp = 0.01,
                      .block = GROUP};
        assert_ok(bl_solve_gptq(&n.run, &n.lin, f.h, &s, &n.stat, &e));
        const float *want = method_dense(&n), *got = f.tw.buf->data;
        for (int i = 0; i < OUT * IN; i++)
            if (fabsf(got[i] - want[i]) > 1e-6f * fabsf(want[i]))
                fail_msg("%d bits: %d: %g, %g", bits, i, got[i], want[i]);
        method_close(&n);
        fix_close(&f);
    }
}

/* tr(D (H + shift) Dt) = 2 loss, with three widths in one weight. */
static void the_loss_is_that_of_the_outputs(void **state)
{
    (void)state;
    fix f = fix_open();
    uint8_t widths[SLABS] = {1, 2, 3, 2, 3, 2, 1, 2};
    bl_slim how = {.bits = 2, .group = GROUP, .search = true, .lambda = 1, .scale = BL_F16};
    double loss, sum = 0;
    assert_ok(bl_slim_round(&f.m.run, f.tw, f.u, widths, &how, f.scale, f.zero, &loss, &e));
    const float *v = f.tw.buf->data;
    const double *h = f.h.buf->data;
    for (int r = 0; r < OUT; r++)
        for (int i = 0; i < IN; i++)
            for (int j = 0; j < IN; j++)
                sum += (h[i * IN + j] + (i == j ? 0.01 * f.mean : 0)) * ((double)f.w[r * IN + i] - v[r * IN + i]) *
                       ((double)f.w[r * IN + j] - v[r * IN + j]);
    assert_true(fabs(sum / (2 * loss) - 1) < 1e-3);
    /* and what is stored is what was swept */
    bl_weight packed;
    float back[IN];
    const void *part[BL_MAX_PARTS];
    assert_ok(bl_weight_new(f.m.be, bl_format_find("int2_mixed"),
                            &(bl_shape){.out = OUT, .in = IN, .group = GROUP, .scale = BL_F16}, &packed, &e));
    assert_ok(f.m.be->ops->upload(f.m.be, &packed.part[3], widths, &e));
    assert_ok(f.m.be->ops->pack(
        f.m.be, &(bl_pack_args){.x = f.tw, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = f.scale, .zero = f.zero},
        &e));
    for (int i = 0; i < packed.n_parts; i++) part[i] = (char *)packed.part[i].buf->data + packed.part[i].offset;
    for (int r = 0; r < OUT; r++) {
        packed.format->unpack(packed.format, &packed.shape, part, r, 0, IN, back);
        for (int j = 0; j < IN; j++) assert_true(fabsf(back[j] - v[r * IN + j]) <= 1e-5f);
    }
    /* codes, a scale a group, a byte for its zero, a byte for its width */
    assert_int_equal(bl_weight_bytes(&packed), OUT * (IN * 2 / 8 + 2 * SLABS + SLABS) + SLABS);
    widths[0] = 2; /* one bit too many */
    assert_ok(f.m.be->ops->upload(f.m.be, &packed.part[3], widths, &e));
    assert_refused(
        f.m.be->ops->pack(
            f.m.be, &(bl_pack_args){.x = f.tw, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = f.scale, .zero = f.zero},
            &e),
        BL_E_NUMERIC, "sum to 17, expected 16");
    bl_weight_free(&packed);
    fix_close(&f);
}

/* Weights of this model matter alike, so that unequal widths, of which one pair is always taken, do not pay. */
static void outputs_are_nearer_than_by_rounding_to_nearest(void **state)
{
    static const char *const texts[][2] = {{"slim-llm:w3g24+mixed=false", "rtn:w3g24"},
                                           {"slim-llm:w4g24+mixed=false", "rtn:w4g24"},
                                           {"slim-llm:w3g24+mixed=false+lambda=3", "rtn:w3g24"},
                                           {"quarot+slim-llm:w3g24+mixed=false", "quarot+rtn:w3g24"},
                                           {"slim-llm:w3g8", "slim-llm:w2g8"},
                                           {"slim-llm:w4g8", "slim-llm:w3g8"}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i][0]), rtn = model_distance(model_shared, texts[i][1]);
        if (!(got < rtn)) fail_msg("%s: %g; %s: %g", texts[i][0], got, texts[i][1], rtn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths_are_those_of_brute_force_and_keep_the_budget),
        cmocka_unit_test(without_both_it_is_gptq),
        cmocka_unit_test(the_loss_is_that_of_the_outputs),
        cmocka_unit_test(outputs_are_nearer_than_by_rounding_to_nearest),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
