/* What mathematics says about one linear after GPTQ, and what its options mean. */
#include "method_run.h"
#include "kernels/base/rng.h"
#include "methods/shared_solve.h"
#include <math.h>

enum { OUT = 24, IN = 160, ROWS = 400 };

static float *normals(int64_t n, uint64_t seed)
{
    float *w = malloc((size_t)n * sizeof *w);
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_gptq", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)bl_rng_normal(&r);
    return w;
}
/* Inputs with a common part and channels of different size; channels 7 and 90 never come. */
static float *inputs(bool dead)
{
    float *x = normals(ROWS * IN, 1);
    bl_rng r = bl_rng_at(1, bl_rng_key("methods_gptq", 1), 0);
    for (int i = 0; i < ROWS; i++) {
        float common = (float)bl_rng_normal(&r);
        for (int j = 0; j < IN; j++) {
            x[i * IN + j] = (x[i * IN + j] + common) * (0.2f + 0.01f * (float)(j * 37 % IN));
            if (dead && (j == 7 || j == 90)) x[i * IN + j] = 0;
        }
    }
    return x;
}
static bl_tensor moment(bl_backend *be, const float *x, const int *perm, double times)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)IN * IN * 8, &b, &e));
    double *h = b->data;
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) {
            double sum = 0;
            for (int r = 0; r < ROWS; r++)
                sum += (double)x[r * IN + (perm ? perm[i] : i)] * x[r * IN + (perm ? perm[j] : j)];
            h[i * IN + j] = times * 2 / ROWS * sum;
        }
    return bl_tensor_2d(b, 0, BL_F64, IN, IN);
}

static bl_solve solve_with(int bits, int64_t group)
{
    char name[8];
    snprintf(name, sizeof name, "int%d", bits);
    return (bl_solve){.format = bl_format_find(name),
                      .shape = {.out = OUT,
                                .in = IN,
                                .group = group,
                                .zero = bits == 1 ? BL_ZERO_NONE : BL_ZERO_PACKED,
                                .scale = BL_F16},
                      .rule = bits == 1 ? BL_RANGE_SIGN : BL_RANGE_ZERO,
                      .damp = 0.01,
                      .block = 128};
}

static void solve(method_run *m, const float *w, const float *x, const int *perm, double times, const bl_solve *s)
{
    bl_err e = {0};
    method_open(m, "rtn:w4pc", w, OUT, IN);
    bl_tensor h = moment(m->be, x, perm, times);
    assert_ok(bl_solve_gptq(&m->run, &m->lin, h, s, &m->stat, &e));
    m->be->ops->buffer_free(h.buf);
}

/* sum over the rows of x of |W x - y|^2, y what the linear gives. */
static double output_error(method_run *m, const float *w, const float *x, double *power)
{
    bl_err e = {0};
    bl_buffer *bx, *by;
    double sum = 0;
    *power = 0;
    assert_ok(m->be->ops->buffer_new(m->be, (uint64_t)ROWS * IN * 4, &bx, &e));
    assert_ok(m->be->ops->buffer_new(m->be, (uint64_t)ROWS * OUT * 4, &by, &e));
    bl_tensor tx = bl_tensor_2d(bx, 0, BL_F32, ROWS, IN), ty = bl_tensor_2d(by, 0, BL_F32, ROWS, OUT);
    assert_ok(m->be->ops->upload(m->be, &tx, x, &e));
    assert_ok(bl_linear_apply(m->be, &m->lin, tx, ty, false, &e));
    const float *y = by->data;
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++) {
            double want = 0;
            for (int i = 0; i < IN; i++) want += (double)w[o * IN + i] * x[r * IN + i];
            sum += (want - y[r * OUT + o]) * (want - y[r * OUT + o]);
            *power += want * want;
        }
    m->be->ops->buffer_free(bx);
    m->be->ops->buffer_free(by);
    return sum;
}

static void let_go(method_run *m)
{
    bl_linear_clear_transforms(&m->lin);
    method_close(m);
}

/* Through the stored form, its permutation included; and the row says so. */
static void outputs_are_closer_than_by_rounding_to_nearest(void **state)
{
    (void)state;
    static const bl_solve_order orders[] = {BL_SOLVE_NATURAL, BL_SOLVE_ACT, BL_SOLVE_GROUPS};
    float *w = normals(OUT * IN, 2), *x = inputs(true);
    for (int bits = 1; bits <= 8; bits++)
        for (size_t o = 0; o < BL_COUNT(orders); o++)
            for (int fixed = 0; fixed < 2; fixed++) {
                method_run m, n;
                char text[32];
                double power, got, rtn;
                bl_solve s = solve_with(bits, 32);
                s.order = orders[o];
                s.static_groups = fixed;
                solve(&m, w, x, NULL, 1, &s);
                got = output_error(&m, w, x, &power);
                if (fabs(got / power / m.stat.out_nmse - 1) > 0.01)
                    fail_msg("%d bits, order %zu: out_nmse %g, measured %g", bits, o, m.stat.out_nmse, got / power);
                snprintf(text, sizeof text, "rtn:w%dg32", bits);
                method_open(&n, text, w, OUT, IN);
                method_apply(&n);
                rtn = output_error(&n, w, x, &power);
                if (!(got < 0.8 * rtn)) fail_msg("%d bits, order %zu: %g, to nearest %g", bits, o, got, rtn);
                assert_true(m.stat.nmse > n.stat.nmse); /* the weight itself is farther away */
                method_close(&n);
                let_go(&m);
            }
    free(w);
    free(x);
}

/* Damping is relative: inputs twice as large give the same codes. */
static void the_size_of_the_inputs_does_not_matter(void **state)
{
    (void)state;
    float *w = normals(OUT * IN, 3), *x = inputs(false);
    method_run a, b;
    bl_solve s = solve_with(3, 40);
    s.order = BL_SOLVE_ACT;
    solve(&a, w, x, NULL, 1, &s);
    solve(&b, w, x, NULL, 4, &s);
    assert_memory_equal(method_dense(&a), method_dense(&b), OUT * IN * 4);
    assert_true(fabs(a.stat.out_nmse / b.stat.out_nmse - 1) < 1e-12);
    let_go(&a);
    let_go(&b);
    free(w);
    free(x);
}

/* In order of the diagonal it does not matter in which order the inputs come. */
static void inputs_may_come_in_any_order(void **state)
{
    (void)state;
    float *w = normals(OUT * IN, 4), *x = inputs(false), *shuffled = malloc(OUT * IN * 4);
    int perm[IN];
    method_run a, b;
    bl_solve s = solve_with(3, 32);
    s.order = BL_SOLVE_ACT;
    for (int i = 0; i < IN; i++) perm[i] = i * 61 % IN;
    for (int o = 0; o < OUT; o++)
        for (int i = 0; i < IN; i++) shuffled[o * IN + i] = w[o * IN + perm[i]];
    solve(&a, w, x, NULL, 1, &s);
    solve(&b, shuffled, x, perm, 1, &s);
    assert_memory_equal(method_dense(&a), method_dense(&b), OUT * IN * 4);
    const int32_t *pa = a.lin.transform[0].data.buf->data, *pb = b.lin.transform[0].data.buf->data;
    for (int i = 0; i < IN; i++) assert_int_equal(pa[i], perm[pb[i]]);
    let_go(&a);
    let_go(&b);
    free(w);
    free(x);
    free(shuffled);
}

static void inputs_that_never_come_get_no_weight(void **state)
{
    (void)state;
    float *w = normals(OUT * IN, 5), *x = inputs(true), *v;
    for (int o = 0; o < OUT; o++) w[o * IN + 7] = 1000; /* would spoil the range of its group */
    method_run m;
    bl_solve s = solve_with(4, 32);
    solve(&m, w, x, NULL, 1, &s);
    v = method_dense(&m);
    for (int o = 0; o < OUT; o++) {
        assert_true(v[o * IN + 7] == 0 && v[o * IN + 90] == 0);
        for (int i = 0; i < 32; i++) assert_true(i == 7 || fabsf(v[o * IN + i] - w[o * IN + i]) < 3);
    }
    let_go(&m);
    free(w);
    free(x);
}

/* Fewer rows than inputs: without damping the second moments have no inverse. */
static void damping_is_raised_until_there_is_an_inverse(void **state)
{
    (void)state;
    float *w = normals(OUT * IN, 6), *x = inputs(false);
    memset(x + 50 * IN, 0, (ROWS - 50) * IN * 4);
    for (int i = 0; i < 50 * IN; i++)
        x[i] = rintf(4 * x[i]); /* sums are exact: the matrix is singular, not nearly so */
    method_run m;
    bl_solve s = solve_with(4, 32);
    s.damp = 0;
    solve(&m, w, x, NULL, ROWS / 2, &s);
    assert_true(m.stat.damp == 0.01);
    let_go(&m);
    free(w);
    free(x);
}

static void what_is_stored_is_what_was_promised(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double bits; /* of 160 inputs, by hand: codes + 16-bit scale + zero of every group */
        bool ragged;
    } rows[] = {
        {"gptq:w4g32", 4 + (16 + 4) / 32.0, false},
        {"gptq:w3g64+symmetric", 3 + 3 * 16 / 160.0, true},
        {"gptq:w1g32", 1 + 16 / 32.0, false},
        {"gptq:w1pc+symmetric+mse", 1 + 16 / 160.0, false},
        {"gptq:w2pc", 2 + (16 + 8) / 160.0, false}, /* a zero of its own byte */
        {"gptq:w8pc+symmetric+scale=fp32", 8 + 32 / 160.0, false},
        {"gptq:w4g32+range=minmax", 4 + (16 + 16) / 32.0, false},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        method_run m;
        bl_err e = {0};
        const bl_format *f;
        bl_shape shape;
        method_open(&m, rows[i].text, NULL, OUT, IN);
        assert_ok(m.run.method->check(&m.run, &e));
        assert_true(m.run.method->predict(&m.run, &m.lin, &f, &shape));
        if (fabs(bl_format_bits(f, &shape) - rows[i].bits) > 0.026) /* zeros of a row fill whole bytes */
            fail_msg("%s: %g bits, wanted %g", rows[i].text, bl_format_bits(f, &shape), rows[i].bits);
        assert_int_equal(bl_shape_ragged(&shape), rows[i].ragged);
        method_close(&m);
    }
}

static void options_that_do_not_fit_each_other(void **state)
{
    (void)state;
    static const char *const settled[][2] = {
        {"gptq:w4pc+static-groups", "gptq:w4pc"},
        {"gptq:w1g32+symmetric+range=restricted+mse", "gptq:w1g32"},
        {"gptq:w4pc+group-aware", "gptq:w4pc"},
        {"gptq:w4g64+symmetric+range=minmax", "gptq:w4g64+symmetric"},
        {"gptq:w4g64+range=restricted", "gptq:w4g64"},
        {"gptq:w4g64+act_order+static_groups", "gptq:w4g64+act-order+static-groups"},
    };
    bl_err e = {0};
    bl_method_choice c;
    method_run m;
    bool given;
    for (size_t i = 0; i < BL_COUNT(settled); i++) {
        assert_ok(bl_method_parse(bl_methods, settled[i][0], &c, &e));
        assert_string_equal(c.text, settled[i][1]);
        bl_method_choice_free(&c);
    }
    method_open(&m, "gptq:w4g32+act-order+group-aware", NULL, OUT, IN);
    assert_refused(m.run.method->check(&m.run, &e), BL_E_CONFIG, "method gptq: act-order and group-aware");
    method_close(&m);
    method_open(&m, "gptq:w4g256", NULL, OUT, IN);
    assert_refused(bl_method_predict(&m.run, &m.lin, &given, &e), BL_E_CONFIG, "larger than the 160 inputs");
    method_close(&m);
}

/* The option says 0.01 of every layer; only what was more than that is worth a note. */
static void raised_damping_is_noted(void **state)
{
    (void)state;
    bl_layer_stat layer[] = {{.damp = 0.01}, {.damp = 0.1}, {.damp = 0.01}, {.damp = 1}};
    method_run m;
    bl_text none = {0}, two = {0};
    method_open(&m, "gptq:w4g32", NULL, 4, 64);
    m.run.method->notes(&m.run, layer, 1, &none);
    assert_int_equal(none.n, 0);
    m.run.method->notes(&m.run, layer, 4, &two);
    assert_string_equal(two.s, "damping raised to 1 in 2 of 4 layers");
    bl_text_free(&two);
    method_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_closer_than_by_rounding_to_nearest),
        cmocka_unit_test(the_size_of_the_inputs_does_not_matter),
        cmocka_unit_test(inputs_may_come_in_any_order),
        cmocka_unit_test(inputs_that_never_come_get_no_weight),
        cmocka_unit_test(damping_is_raised_until_there_is_an_inverse),
        cmocka_unit_test(raised_damping_is_noted),
        cmocka_unit_test(what_is_stored_is_what_was_promised),
        cmocka_unit_test(options_that_do_not_fit_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
