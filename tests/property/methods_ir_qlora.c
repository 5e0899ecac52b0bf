/* methods_ir_qlora.c - all gradients of ir-qlora with factors that are not 0, by central differences; its codes tell
 * more than normal floats without a shift. */
#include "gradient_fixture.h"
#include "harness/train/effective.h"
#include "method_run.h"

/* ---- gradients ---- */
enum { IN = 64, OUT = 8, RANK = 4, ROWS = 3, OF_A = ROWS * IN, OF_B = OF_A + RANK * IN, OF_BETA = OF_B + OUT * RANK };
static double weight[OUT * IN], scale;

/* y = W x + s (B h + beta2 E h), h = A x + beta1 P x: section 3.3 of the paper, runs of IN / RANK and OUT / RANK. */
static void with_short_cuts(const double *v, double *y)
{
    const double *a = v + OF_A, *b = v + OF_B, *beta = v + OF_BETA;
    for (int r = 0; r < ROWS; r++) {
        const double *x = v + r * IN;
        double h[RANK] = {0};
        for (int k = 0; k < RANK; k++)
            for (int i = 0; i < IN; i++) h[k] += (a[k * IN + i] + (i / (IN / RANK) == k) * beta[0] * RANK / IN) * x[i];
        for (int o = 0; o < OUT; o++) {
            double sum = 0, low = 0;
            for (int i = 0; i < IN; i++) sum += weight[o * IN + i] * x[i];
            for (int k = 0; k < RANK; k++) low += (b[o * RANK + k] + (o / (OUT / RANK) == k) * beta[1]) * h[k];
            y[r * OUT + o] = sum + scale * low;
        }
    }
}

static bl_tensor on(bl_backend *be, const float *v, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof *v, &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    assert_ok(be->ops->upload(be, &t, v, &e));
    return t;
}

static void all_gradients_are_those_of_central_differences(void **state)
{
    static float w[OUT * IN], v[OF_BETA + 2], c[ROWS * OUT], got[OF_BETA + 2];
    static double at[OF_BETA + 2];
    method_run m;
    bl_trainable *t;
    (void)state;
    random_numbers = bl_rng_at(3, 9, 0);
    fill(w, OUT * IN, 0.1f);
    fill(v, OF_BETA, 0.5f);
    fill(c, ROWS * OUT, 1);
    v[OF_BETA] = 0.7f;
    v[OF_BETA + 1] = -1.3f;
    method_open(&m, "ir-qlora+rank=4+alpha=6", w, OUT, IN);
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(m.run.method->learns(&m.run, t, &e));
    const bl_effective *l = &t->w[0];
    const bl_trained *param[] = {&t->param[l->a], &t->param[l->b], &t->param[l->param[0]], &t->param[l->param[1]]};
    static const int place[] = {OF_A, OF_B, OF_BETA, OF_BETA + 1};
    for (int i = 0; i < 4; i++) assert_ok(m.be->ops->upload(m.be, &param[i]->value, v + place[i], &e));
    assert_ok(bl_trainable_make(t, &e));
    scale = m.lin.adapter[0].scale;
    assert_float_equal(scale, 6.0 / RANK, 1e-9);
    in_double(method_dense(&m), OUT * IN, weight);
    bl_tensor x = on(m.be, v, ROWS, IN), dy = on(m.be, c, ROWS, OUT), dx = on(m.be, v, ROWS, IN);
    assert_ok(bl_effective_backward(t, &t->w[0], x, dy, dx, false, &e));
    memcpy(got, dx.buf->data, sizeof(float) * ROWS * IN);
    for (int i = 0; i < 4; i++)
        memcpy(got + place[i], param[i]->grad.buf->data, sizeof(float) * (size_t)bl_tensor_count(&param[i]->grad));
    in_double(v, OF_BETA + 2, at);
    assert_gradient("ir-qlora", with_short_cuts, at, OF_BETA + 2, ROWS * OUT, c, got, 3e-6);
    bl_trainable_free(t);
    m.be->ops->buffer_free(x.buf);
    m.be->ops->buffer_free(dy.buf);
    m.be->ops->buffer_free(dx.buf);
    method_close(&m);
}

/* ---- entropy ---- */
enum { GROUP = 64, GROUPS = 256 };

/* Bits that the codes of a group tell, from the values they stand for. */
static double told(const float *v)
{
    double bits = 0;
    for (int i = 0; i < GROUP; i++) {
        int same = 0;
        for (int j = 0; j < GROUP; j++) same += v[j] == v[i];
        bits -= log2(same / (double)GROUP) / GROUP;
    }
    return bits;
}

static void codes_tell_more_than_normal_floats_without_a_shift(void **state)
{
    static float w[GROUPS * GROUP];
    (void)state;
    for (int bits = 2; bits <= 4; bits++)
        for (int middle = 0; middle < 2; middle++) { /* about 0, and about something else */
            double sum[2] = {0};
            bl_rng r = bl_rng_at(7, 1, (uint64_t)bits);
            for (int i = 0; i < GROUPS * GROUP; i++) w[i] = (float)(0.02 * bl_rng_normal(&r) + 0.01 * middle);
            for (int shifted = 0; shifted < 2; shifted++) {
                char text[64];
                method_run m;
                bl_trainable *t;
                snprintf(text, sizeof text, shifted ? "ir-qlora:w%d+rank=4" : "qlora+code=nf%d+rank=4", bits);
                method_open(&m, text, w, GROUPS, GROUP);
                assert_ok(bl_trainable_new(&m.model, &t, &e));
                assert_ok(m.run.method->learns(&m.run, t, &e));
                const float *v = method_dense(&m);
                for (int g = 0; g < GROUPS; g++) sum[shifted] += told(v + g * GROUP) / GROUPS;
                bl_trainable_free(t);
                method_close(&m);
            }
            if (!(sum[1] > sum[0])) fail_msg("nf%d: %g bits with a shift, %g without", bits, sum[1], sum[0]);
            if (getenv("BL_SHOW")) print_message("nf%d: %g bits with a shift, %g without\n", bits, sum[1], sum[0]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_gradients_are_those_of_central_differences),
        cmocka_unit_test(codes_tell_more_than_normal_floats_without_a_shift),
    };
    return cmocka_run_group_tests_name("methods_ir_qlora", tests, gradient_begin, gradient_end);
}
