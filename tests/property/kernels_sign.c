/* Rounding that is learned by signs: gradients are those of the grid with every rounding frozen, the largest of a
 * symmetric group is exact, a step is one of its size. */
#include "ops_fixture.h"
#include <math.h>

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

/* A row on a backend. */
typedef struct there {
    bl_tensor w, v, a, c, dy, y, da, dc;
} there;
static there row_there(const row *r)
{
    return (there){.w = with(1, IN, r->w),
                   .v = with(1, IN, r->v),
                   .a = with(1, GROUPS, r->a),
                   .c = with(1, GROUPS, r->c),
                   .dy = with(1, IN, r->dy),
                   .y = make(BL_F32, 1, IN),
                   .da = make(BL_F32, 1, GROUPS),
                   .dc = make(BL_F32, 1, GROUPS)};
}
static void row_drop(there *t)
{
    bl_tensor all[] = {t->w, t->v, t->a, t->c, t->dy, t->y, t->da, t->dc};
    for (size_t i = 0; i < BL_COUNT(all); i++) drop(all[i]);
}

static void gradients_are_those_of_frozen_roundings(void **state)
{
    (void)state;
    EACH(be)
    for (int seed = 0; seed < 12; seed++) {
        const bl_sign_grid k = {.group = GROUP, .bits = 2 + seed % 3, .symmetric = seed % 2, .scale = BL_F32};
        row r = some_row(seed);
        there t = row_there(&r);
        double sum = 0;
        assert_ok(be->ops->sign_round(
            be, &(bl_sign_round_args){.w = t.w, .v = t.v, .a = t.a, .c = t.c, .y = t.y, .grid = k}, &e));
        for (int j = 0; j < IN; j++) sum += (double)r.dy[j] * f32(t.y)[j];
        assert_true(fabs(sum - surrogate(&r, &r, k.bits, k.symmetric)) < 1e-4);
        assert_ok(be->ops->sign_round_grad(
            be,
            &(bl_sign_round_grad_args){
                .w = t.w, .v = t.v, .a = t.a, .c = t.c, .dy = t.dy, .da = t.da, .dc = t.dc, .grid = k},
            &e));
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
            double got = j < IN ? f32(t.dy)[j] : j < IN + GROUPS ? f32(t.da)[j - IN] : f32(t.dc)[j - IN - GROUPS];
            if (!(fabs(got - want) < 2e-3 * (1 + fabs(want))))
                fail_msg("seed %d, number %d: %g, wanted %g", seed, j, got, want);
        }
        row_drop(&t);
    }
}

static void the_largest_of_a_symmetric_group_is_exact(void **state)
{
    (void)state;
    EACH(be)
    for (int bits = 2; bits <= 8; bits++) {
        row r = some_row(bits);
        memset(r.v, 0, sizeof r.v);
        for (int i = 0; i < GROUPS; i++) r.a[i] = r.c[i] = 1;
        there t = row_there(&r);
        assert_ok(be->ops->sign_round(
            be,
            &(bl_sign_round_args){.w = t.w,
                                  .v = t.v,
                                  .a = t.a,
                                  .c = t.c,
                                  .y = t.y,
                                  .scale = t.da,
                                  .zero = t.dc,
                                  .grid = {.group = GROUP, .bits = bits, .symmetric = true, .scale = BL_F32}},
            &e));
        for (int i = 0; i < GROUPS; i++) {
            int most = i * GROUP;
            for (int j = most; j < BL_MIN((i + 1) * GROUP, IN); j++)
                if (fabsf(r.w[j]) > fabsf(r.w[most])) most = j;
            assert_true(f32(t.y)[most] == r.w[most] && (f32(t.da)[i] < 0) == (r.w[most] > 0));
            assert_true(f32(t.dc)[i] == (float)(1 << (bits - 1)));
        }
        row_drop(&t);
    }
}

static void a_step_is_one_of_its_size(void **state)
{
    (void)state;
    EACH(be)
    {
        bl_tensor p = with(1, 5, (float[]){0.5f, 0.5f, 0.5f, 0.1f, 0.9f}),
                  d = with(1, 5, (float[]){3, -1e-30f, 0, 2, -2});
        assert_ok(be->ops->sign_step(be, &(bl_sign_step_args){p, d, 0.25, 0, 1}, &e));
        assert_memory_equal(f32(p), ((float[]){0.25f, 0.75f, 0.5f, 0, 1}), 20);
        assert_ok(be->ops->sign_step(be, &(bl_sign_step_args){p, d, 0.25, -INFINITY, INFINITY}, &e));
        assert_memory_equal(f32(p), ((float[]){0, 1, 0.5f, -0.25f, 1.25f}), 20);
        assert_refused(be->ops->sign_step(be, &(bl_sign_step_args){p, d, 0.25, 1, 0}, &e), BL_E_INTERNAL, "ends");
        drop(p);
        drop(d);
    }
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    row r = some_row(1);
    there t = row_there(&r);
    bl_sign_round_args a = {
        .w = t.w, .v = t.v, .a = t.a, .c = t.c, .y = t.y, .grid = {.group = GROUP, .bits = 4, .scale = BL_F16}};
    EACH(be)
    {
        a.grid.group = IN;
        assert_refused(be->ops->sign_round(be, &a, &e), BL_E_INTERNAL, "shapes of one weight");
        a.grid.group = GROUP;
        a.grid.bits = 9;
        assert_refused(be->ops->sign_round(be, &a, &e), BL_E_INTERNAL, "bits");
        a.grid.bits = 4;
        a.scale = t.w;
        assert_refused(be->ops->sign_round(be, &a, &e), BL_E_INTERNAL, "another shape");
        a.scale = t.da;
        assert_ok(be->ops->sign_round(be, &a, &e));
    }
    row_drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_frozen_roundings),
        cmocka_unit_test(the_largest_of_a_symmetric_group_is_exact),
        cmocka_unit_test(a_step_is_one_of_its_size),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, ops_open, ops_close);
}
