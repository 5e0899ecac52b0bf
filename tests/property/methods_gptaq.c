/* What GPTAQ promises beside GPTQ: with nothing to make up for it is GPTQ, else outputs are nearer to the original's.
 */
#include "method_model.h"
#include "method_run.h"
#include "kernels/base/rng.h"
#include "methods/shared_solve.h"
#include <math.h>

enum { OUT = 24, IN = 96, ROWS = 500 };

static void of_nothing_it_is_gptq(void **state)
{
    static const char *const texts[][2] = {
        {"gptq:w3g24", "gptaq:w3g24+alpha=0"},
        {"gptq:w2g24+act-order", "gptaq:w2g24+act-order+alpha=0"},
        {"gptq:w4pc+symmetric", "gptaq:w4pc+symmetric+alpha=0"},
        {"gptq:w1g24", "gptaq:w1g24+alpha=0"},
        {"gptq:w3g24+true-sequential+static-groups", "gptaq:w3g24+true-sequential+static-groups+alpha=0"},
        {"quarot+gptq:w3g24", "quarot+gptaq:w3g24+alpha=0"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++)
        if (model_distance(model_shared, texts[i][0]) != model_distance(model_shared, texts[i][1]))
            fail_msg("%s is not %s", texts[i][1], texts[i][0]);
    assert_true(model_distance(model_shared, "gptq:w3g24") != model_distance(model_shared, "gptaq:w3g24"));
}

/* y f64 [IN, IN] = 2 / ROWS sum of a bt. */
static bl_tensor moment(bl_backend *be, const float *a, const float *b)
{
    bl_err e = {0};
    bl_buffer *y;
    assert_ok(be->ops->buffer_new(be, (uint64_t)IN * IN * 8, &y, &e));
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) {
            double sum = 0;
            for (int r = 0; r < ROWS; r++) sum += (double)a[r * IN + i] * b[r * IN + j];
            ((double *)y->data)[i * IN + j] = 2.0 / ROWS * sum;
        }
    return bl_tensor_2d(y, 0, BL_F64, IN, IN);
}

/* |W X0 - W^ X|^2, W^ as it is stored. */
static double objective(const float *w, const float *x0, const float *x, const float *lost, int bits,
                        bl_solve_order order, double alpha)
{
    bl_err e = {0};
    method_run m;
    char name[8];
    double sum = 0;
    method_open(&m, "rtn:w4pc", w, OUT, IN);
    snprintf(name, sizeof name, "int%d", bits);
    bl_tensor h = moment(m.be, x, x), c = moment(m.be, lost, x);
    bl_solve s = {.format = bl_format_find(name),
                  .shape = {.out = OUT, .in = IN, .group = 32, .zero = BL_ZERO_PACKED, .scale = BL_F16},
                  .rule = BL_RANGE_ZERO,
                  .order = order,
                  .damp = 0.01,
                  .block = 40,
                  .mismatch = c,
                  .alpha = alpha};
    assert_ok(bl_solve_gptq(&m.run, &m.lin, h, &s, &m.stat, &e));
    const float *v = method_dense(&m);
    const int32_t *perm = m.lin.n_transforms ? m.lin.transform[0].data.buf->data : NULL;
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++) {
            double d = 0;
            for (int i = 0; i < IN; i++) {
                int at = perm ? perm[i] : i;
                d += (double)w[o * IN + at] * x0[r * IN + at] - (double)v[o * IN + i] * x[r * IN + at];
            }
            sum += d * d;
        }
    m.be->ops->buffer_free(h.buf);
    m.be->ops->buffer_free(c.buf);
    method_close(&m);
    return sum;
}

static void outputs_are_nearer_to_those_of_the_original(void **state)
{
    static const bl_solve_order orders[] = {BL_SOLVE_NATURAL, BL_SOLVE_ACT, BL_SOLVE_GROUPS};
    static float w[OUT * IN], x0[ROWS * IN], x[ROWS * IN], lost[ROWS * IN];
    bl_rng r = bl_rng_at(1, bl_rng_key("methods_gptaq", 0), 0);
    (void)state;
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)bl_rng_normal(&r);
    for (int i = 0; i < ROWS; i++) {
        float common = (float)bl_rng_normal(&r);
        for (int j = 0; j < IN; j++) {
            x0[i * IN + j] = ((float)bl_rng_normal(&r) + common) * (0.2f + 0.01f * (float)(j * 37 % IN));
            x[i * IN + j] = 0.8f * x0[i * IN + j] + 0.1f * (float)bl_rng_normal(&r); /* smaller, with noise */
            lost[i * IN + j] = x0[i * IN + j] - x[i * IN + j];
        }
    }
    for (int bits = 2; bits <= 4; bits++)
        for (size_t o = 0; o < BL_COUNT(orders); o++) {
            double none = objective(w, x0, x, lost, bits, orders[o], 0),
                   some = objective(w, x0, x, lost, bits, orders[o], 0.25),
                   all = objective(w, x0, x, lost, bits, orders[o], 1);
            if (!(all < some && some < none))
                fail_msg("%d bits, order %d: %g, %g, %g of alpha 0, 0.25, 1", bits, (int)o, none, some, all);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_nothing_it_is_gptq),
        cmocka_unit_test(outputs_are_nearer_to_those_of_the_original),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
