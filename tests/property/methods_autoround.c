/* AutoRound: without a step it is rounding to the nearest, with some the model is nearer to the original; gradients are
 * those of the grid with every rounding frozen. */
#include "method_model.h"
#include "kernels/base/rng.h"
#include "methods/autoround.h"

static void without_a_step_it_rounds_to_the_nearest(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "autoround:w3g24+iters=0") == model_distance(model_shared, "rtn:w3g24"));
    assert_true(model_distance(model_shared, "autoround:w4pc+iters=0") == model_distance(model_shared, "rtn:w4pc"));
}

static void steps_bring_the_model_nearer(void **state)
{
    (void)state;
    static const char *const texts[] = {"autoround:w2g24", "autoround:w3g24+symmetric",
                                        "quarot+r1=false+heads=false+autoround:w3g24"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s+iters=0", texts[i]);
        double before = model_distance(model_shared, text);
        snprintf(text, sizeof text, "%s+iters=16+batch=2", texts[i]);
        double after = model_distance(model_shared, text);
        if (!(after < 0.95 * before)) fail_msg("%s: %g without a step, %g after", texts[i], before, after);
    }
}

/* The random draw of windows, the sums and the steps are one sequence: resumed and repeated runs are the same model. */
static void twice_the_same(void **state)
{
    (void)state;
    double once = model_distance(model_own, "autoround:w3g24+iters=2+batch=2+lr=0.02"),
           again = model_distance(model_own, "autoround:w3g24+iters=2+batch=2+lr=0.02");
    assert_true(once == again && once != model_distance(model_own, "autoround:w3g24+iters=3+batch=2+lr=0.02"));
}

enum { IN = 44, GROUP = 16, GROUPS = 3 };
typedef struct row {
    float w[IN], v[IN], a[GROUPS], c[GROUPS], dy[IN];
} row;

static row some_row(int seed)
{
    row r;
    bl_rng g = bl_rng_at(7, bl_rng_key("methods_autoround", (uint64_t)seed), 0);
    for (int j = 0; j < IN; j++) {
        r.w[j] = (float)bl_rng_normal(&g);
        r.v[j] = (float)(bl_rng_uniform(&g) - 0.5) * 0.8f;
        r.dy[j] = (float)bl_rng_normal(&g);
    }
    for (int i = 0; i < GROUPS; i++) {
        r.a[i] = 0.6f + 0.3f * (float)bl_rng_uniform(&g); /* so narrow that some are cut off */
        r.c[i] = 0.6f + 0.3f * (float)bl_rng_uniform(&g);
    }
    return r;
}

static void ends(const row *r, int group, double *lo, double *hi)
{
    *lo = *hi = 0;
    for (int j = group * GROUP; j < BL_MIN((group + 1) * GROUP, IN); j++) {
        *lo = fmin(*lo, r->w[j]);
        *hi = fmax(*hi, r->w[j]);
    }
}

/* sum of dy w^ over weight j's, roundings being what they add at `at`. */
static double surrogate(const row *at, const row *r, int bits, bool symmetric)
{
    double sum = 0, q = (1 << bits) - 1, half = 1 << (bits - 1);
    for (int j = 0; j < IN; j++) {
        int i = j / GROUP;
        double lo, hi, s[2], z[2];
        ends(r, i, &lo, &hi);
        for (int k = 0; k < 2; k++) { /* at `at`, and here */
            const row *p = k ? r : at;
            double top = p->a[i] * hi, bottom = p->c[i] * lo;
            bool up = at->a[i] * hi > -at->c[i] * lo;
            s[k] = symmetric ? (up ? -top : -bottom) / half : (top - bottom) / q;
            z[k] = symmetric ? half : -bottom / s[k];
        }
        double frozen_z = rint(z[0]) - z[0], u = at->w[j] / s[0] + at->v[j], frozen = rint(u) - u;
        double zero = z[1] + frozen_z, code = r->w[j] / s[1] + r->v[j] + frozen + zero;
        double at_code = rint(u) + rint(z[0]);
        code = at_code < 0 ? 0 : at_code > q ? q : code;
        sum += r->dy[j] * (code - zero) * s[1];
    }
    return sum;
}

static void gradients_are_those_of_frozen_roundings(void **state)
{
    (void)state;
    for (int seed = 0; seed < 12; seed++) {
        bl_autoround k = {.in = IN, .group = GROUP, .bits = 2 + seed % 3, .symmetric = seed % 2, .scale = BL_F32};
        row r = some_row(seed);
        float dv[IN], da[GROUPS], dc[GROUPS], y[IN];
        double sum = 0;
        bl_autoround_row(&k, r.w, r.v, r.a, r.c, y, NULL, NULL);
        for (int j = 0; j < IN; j++) sum += (double)r.dy[j] * y[j];
        assert_true(fabs(sum - surrogate(&r, &r, k.bits, k.symmetric)) < 1e-4);
        bl_autoround_row_grad(&k, r.w, r.v, r.a, r.c, r.dy, dv, da, dc);
        for (int j = 0; j < IN + 2 * GROUPS; j++) {
            row up = r, down = r;
            size_t at = j < IN            ? offsetof(row, v) + (size_t)j * 4
                        : j < IN + GROUPS ? offsetof(row, a) + (size_t)(j - IN) * 4
                                          : offsetof(row, c) + (size_t)(j - IN - GROUPS) * 4;
            float *p = (float *)((char *)&up + at), *m = (float *)((char *)&down + at), was = *p;
            *p = was + 0x1p-8f;
            *m = was - 0x1p-8f;
            double want = (surrogate(&r, &up, k.bits, k.symmetric) - surrogate(&r, &down, k.bits, k.symmetric)) /
                          ((double)*p - *m);
            double got = j < IN ? dv[j] : j < IN + GROUPS ? da[j - IN] : dc[j - IN - GROUPS];
            if (!(fabs(got - want) < 2e-3 * (1 + fabs(want))))
                fail_msg("seed %d, number %d: %g, wanted %g", seed, j, got, want);
        }
    }
}

static void the_largest_of_a_symmetric_group_is_exact(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        bl_autoround k = {.in = IN, .group = GROUP, .bits = bits, .symmetric = true, .scale = BL_F32};
        row r = some_row(bits);
        float y[IN], scale[GROUPS];
        memset(r.v, 0, sizeof r.v);
        for (int i = 0; i < GROUPS; i++) r.a[i] = r.c[i] = 1;
        bl_autoround_row(&k, r.w, r.v, r.a, r.c, y, scale, NULL);
        for (int i = 0; i < GROUPS; i++) {
            int most = i * GROUP;
            for (int j = most; j < BL_MIN((i + 1) * GROUP, IN); j++)
                if (fabsf(r.w[j]) > fabsf(r.w[most])) most = j;
            assert_true(y[most] == r.w[most] && (scale[i] < 0) == (r.w[most] > 0));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_step_it_rounds_to_the_nearest),
        cmocka_unit_test(steps_bring_the_model_nearer),
        cmocka_unit_test(twice_the_same),
        cmocka_unit_test(gradients_are_those_of_frozen_roundings),
        cmocka_unit_test(the_largest_of_a_symmetric_group_is_exact),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
