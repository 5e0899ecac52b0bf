/* l4q before its first step: what the steps and offsets that it begins with make of the weights. */
#include "method_run.h"
#include "harness/train/effective.h"
#include "kernels/base/rng.h"
#include <math.h>

enum { OUT = 6, IN = 64, GROUP = 32 };

/* The weight as it is kept when nothing was trained. */
static void untrained(const char *text, const float *w, float *out)
{
    bl_err e = {0};
    method_run m;
    bl_trainable *t;
    method_open(&m, text, w, OUT, IN);
    m.lin.weight.shape = (bl_shape){.out = OUT, .in = IN};
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(m.run.method->learns(&m.run, t, &e));
    assert_ok(bl_trainable_store(t, &e));
    memcpy(out, method_dense(&m), OUT * IN * sizeof *out);
    bl_trainable_free(t);
    method_close(&m);
}

static void ends(const float *w, float *lo, float *hi)
{
    *lo = *hi = 0;
    for (int i = 0; i < GROUP; i++) {
        *lo = fminf(*lo, w[i]);
        *hi = fmaxf(*hi, w[i]);
    }
}

/* 2^b codes from the least to the largest of a group, 0 among them: no weight is further than half a step from a code.
 * Steps that cover it about 0, -2 -1 0 1 of 2 bits, have the largest positive weight as their step. */
static void codes_span_the_group(void **state)
{
    float w[OUT * IN], got[OUT * IN];
    bl_rng r = bl_rng_at(11, 1, 0);
    (void)state;
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)bl_rng_normal(&r) + (i / GROUP == 3 ? 4 : 0);
    for (int bits = 2; bits <= 4; bits++) {
        char text[64];
        snprintf(text, sizeof text, "l4q:w%dg%d+rank=2+scale=fp32", bits, GROUP);
        untrained(text, w, got);
        for (int g = 0; g < OUT * IN / GROUP; g++) {
            float lo, hi;
            ends(w + g * GROUP, &lo, &hi);
            const float step = (hi - lo) / (float)((1 << bits) - 1);
            for (int i = g * GROUP; i < (g + 1) * GROUP; i++)
                if (fabsf(got[i] - w[i]) > 0.5001f * step)
                    fail_msg("%s: %g becomes %g, a step is %g", text, (double)w[i], (double)got[i], (double)step);
        }
    }
    untrained("l4q:w2g32+rank=2+scale=fp32+init=cover", w, got);
    for (int g = 0; g < OUT * IN / GROUP; g++) {
        float lo, hi;
        ends(w + g * GROUP, &lo, &hi);
        const float s = fmaxf(-lo / 2, hi);
        for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
            const float want = fminf(fmaxf(rintf(w[i] / s), -2), 1) * s;
            assert_float_equal(got[i], want, 1e-5);
        }
    }
}

/* init=least: no more is lost than by codes that span the group, and less of some. */
static void the_part_of_the_span_that_loses_least_loses_less(void **state)
{
    float w[OUT * IN], got[2][OUT * IN];
    bl_rng r = bl_rng_at(12, 1, 0);
    int fewer = 0;
    (void)state;
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)bl_rng_normal(&r);
    untrained("l4q:w2g32+rank=2+scale=fp32", w, got[0]);
    untrained("l4q:w2g32+rank=2+scale=fp32+init=least", w, got[1]);
    for (int g = 0; g < OUT * IN / GROUP; g++) {
        double lost[2] = {0, 0};
        for (int k = 0; k < 2; k++)
            for (int i = g * GROUP; i < (g + 1) * GROUP; i++) lost[k] += pow((double)got[k][i] - w[i], 2);
        if (!(lost[1] <= 1.0001 * lost[0])) fail_msg("group %d: %g lost, %g where it is spanned", g, lost[1], lost[0]);
        fewer += lost[1] < 0.95 * lost[0];
    }
    assert_true(fewer > OUT * IN / GROUP / 2);
}

/* A group of one value is kept, whatever its sign. */
static void a_group_of_one_value_stays(void **state)
{
    float w[OUT * IN], got[OUT * IN];
    (void)state;
    for (int i = 0; i < OUT * IN; i++) w[i] = 0.3f * (float)(i / GROUP % 3 - 1);
    for (int k = 0; k < 2; k++) {
        untrained(k ? "l4q:w2g32+rank=2+scale=fp32+init=least" : "l4q:w2g32+rank=2+scale=fp32", w, got);
        for (int i = 0; i < OUT * IN; i++) assert_float_equal(got[i], w[i], 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_span_the_group),
        cmocka_unit_test(the_part_of_the_span_that_loses_least_loses_less),
        cmocka_unit_test(a_group_of_one_value_stays),
    };
    return cmocka_run_group_tests_name("methods_l4q", tests, NULL, NULL);
}
