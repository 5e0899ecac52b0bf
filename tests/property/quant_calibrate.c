/* quant_calibrate.c - what methods are told about inputs is what the inputs are. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/model/block.h"
#include "harness/quant/calibrate.h"
#include "kernels/base/fs.h"
#include <math.h>

enum { WINDOWS = 5, LEN = 19, TOKENS = WINDOWS * LEN };

static bl_calib_windows windows(const fixture *f)
{
    static int32_t ids[TOKENS];
    bl_rng r = bl_rng_at(9, 3, 0);
    for (int i = 0; i < TOKENS; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)f->m->config.vocab);
    return (bl_calib_windows){.ids = ids, .n = WINDOWS, .seqlen = LEN};
}

/* All inputs of one role in block 1, [TOKENS, in], by forward passes of one window each through blocks 0 and 1. */
typedef struct grab {
    uint32_t roles;
    float *x;
    int64_t in, rows;
} grab;
static bl_status take(void *ctx, const bl_model *m, int64_t block, uint32_t roles, int64_t row0, bl_tensor x, bl_err *e)
{
    grab *g = ctx;
    (void)block;
    (void)row0;
    if (!(roles & g->roles)) return BL_OK;
    bl_status st = m->be->ops->download(m->be, &x, g->x + g->rows * g->in, e);
    g->rows += x.dim[0];
    return st;
}
static float *inputs(const fixture *f, bl_role role)
{
    bl_err e = {0};
    bl_calib_windows w = windows(f);
    grab g = {.roles = BL_ROLE_BIT(role), .in = bl_model_linear(f->m, 1, role)->in};
    g.x = malloc((size_t)(TOKENS * g.in) * sizeof *g.x);
    for (int64_t i = 0; i < WINDOWS; i++) {
        bl_kv *kv;
        int32_t slot, past = 0;
        bl_tensor x = fixture_tensor(f, BL_F32, LEN, f->m->config.dim), id = fixture_tensor(f, BL_I32, LEN, 1);
        id = bl_tensor_1d(id.buf, 0, BL_I32, LEN);
        bl_batch b = {.n_seq = 1, .start = (int32_t[]){0, LEN}, .past = &past, .slot = &slot};
        assert_ok(f->be->ops->upload(f->be, &id, w.ids + i * LEN, &e));
        assert_ok(f->be->ops->embed(f->be, &(bl_embed_args){.w = &f->m->embed.weight, .ids = id, .y = x}, &e));
        assert_ok(bl_kv_new(f->m, LEN, 1, true, BL_KV_ACT, &kv, &e));
        assert_ok(bl_kv_slot(kv, LEN, -1, 0, &slot, &e));
        assert_ok(bl_block_forward(f->m, 0, &b, kv, x, NULL, NULL, &e));
        assert_ok(bl_block_forward(f->m, 1, &b, kv, x, &(bl_block_hooks){.input = take, .ctx = &g}, NULL, &e));
        bl_kv_free(kv);
        fixture_drop(f, &x);
        fixture_drop(f, &id);
    }
    assert_int_equal(g.rows, TOKENS);
    return g.x;
}

static double *moment(const float *x, int64_t in)
{
    double *h = calloc((size_t)(in * in), sizeof *h);
    for (int64_t r = 0; r < TOKENS; r++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t j = 0; j < in; j++)
                h[i * in + j] += 2.0 / WINDOWS * (double)x[r * in + i] * (double)x[r * in + j];
    return h;
}

static double *hessian(const fixture *f, bl_calibration *c, const bl_linear *l)
{
    bl_err e = {0};
    bl_tensor h;
    assert_ok(bl_calib_hessian(c, l, &h, &e));
    double *got = malloc(bl_tensor_bytes(&h));
    assert_ok(f->be->ops->download(f->be, &h, got, &e));
    return got;
}

static void assert_moment(const double *got, const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            if (fabs(got[i * n + j] - want[i * n + j]) > 1e-6 * sqrt(want[i * n + i] * want[j * n + j]))
                fail_msg("[%d, %d] is %.9g, expected %.9g", (int)i, (int)j, got[i * n + j], want[i * n + j]);
}

/* Statistics of block 1 as the block loop gathers them. */
static bl_calibration *gathered(const fixture *f, uint32_t roles, unsigned wants)
{
    bl_err e = {0};
    bl_calib_windows w = windows(f);
    bl_calibration *c;
    assert_ok(bl_calib_begin(f->m, NULL, &w, wants, NULL, &c, &e));
    assert_int_equal(bl_calib_sequences(c), WINDOWS);
    assert_int_equal(bl_calib_tokens(c), TOKENS);
    assert_ok(bl_calib_advance(c, &e));
    assert_ok(bl_calib_gather(c, roles, &e));
    return c;
}

static const bl_role all[] = {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V, BL_ROLE_O, BL_ROLE_GATE, BL_ROLE_UP, BL_ROLE_DOWN};
static uint32_t every(void)
{
    uint32_t roles = 0;
    for (size_t i = 0; i < BL_COUNT(all); i++) roles |= BL_ROLE_BIT(all[i]);
    return roles;
}

static void second_moments_and_channels_are_those_of_the_inputs(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 2, false);
    bl_calibration *c = gathered(&f, every(), BL_CALIB_HESSIAN | BL_CALIB_CHANNELS | BL_CALIB_INPUTS);
    for (size_t k = 0; k < BL_COUNT(all); k++) {
        const bl_linear *l = bl_model_linear(f.m, 1, all[k]);
        float *x = inputs(&f, all[k]);
        double *want = moment(x, l->in), *got = hessian(&f, c, l);
        bl_calib_channels ch;
        bl_tensor rows;
        assert_moment(got, want, l->in);
        assert_ok(bl_calib_channel(c, l, &ch, &e));
        for (int64_t i = 0; i < l->in; i++) {
            double most = 0, sum = 0, sq = 0;
            for (int64_t r = 0; r < TOKENS; r++) {
                double v = fabs((double)x[r * l->in + i]);
                most = fmax(most, v);
                sum += v;
                sq += v * v;
            }
            assert_true(ch.max_abs[i] == (float)most);
            assert_true(fabs(ch.mean_abs[i] - sum / TOKENS) <= 1e-12 * sum &&
                        fabs(ch.mean_sq[i] - sq / TOKENS) <= 1e-12 * sq);
        }
        assert_ok(bl_calib_inputs(c, l, &rows, &e)); /* fewer rows than a sample has: all, in order */
        assert_int_equal(rows.dim[0], TOKENS);
        float *kept = malloc(bl_tensor_bytes(&rows));
        assert_ok(f.be->ops->download(f.be, &rows, kept, &e));
        assert_memory_equal(kept, x, (size_t)(TOKENS * l->in) * sizeof *x);
        free(kept);
        free(x);
        free(want);
        free(got);
    }
    bl_calib_end(c);
    fixture_close(&f);
}

static void a_later_block_sees_what_became_of_the_earlier_one(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 1, false);
    bl_linear *down = bl_model_linear(f.m, 0, BL_ROLE_DOWN), *q = bl_model_linear(f.m, 1, BL_ROLE_Q);
    float *before = inputs(&f, BL_ROLE_Q), *after;
    bl_weight zero = {0};
    assert_ok(bl_weight_new(f.be, down->weight.format, &down->weight.shape, &zero, &e));
    bl_tensor whole = bl_tensor_1d(zero.owned, 0, BL_U8, (int64_t)zero.owned->bytes);
    assert_ok(f.be->ops->fill(f.be, &whole, 0, &e));
    bl_linear_set_weight(down, &zero);
    after = inputs(&f, BL_ROLE_Q);
    assert_true(memcmp(before, after, (size_t)(TOKENS * q->in) * sizeof *after) != 0);
    bl_calibration *c = gathered(&f, BL_ROLE_BIT(BL_ROLE_Q), BL_CALIB_HESSIAN);
    double *want = moment(after, q->in), *got = hessian(&f, c, q);
    assert_moment(got, want, q->in);
    free(before);
    free(after);
    free(want);
    free(got);
    bl_calib_end(c);
    fixture_close(&f);
}

static void inputs_are_seen_after_the_transforms_of_a_linear(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 1, false);
    bl_linear *k = bl_model_linear(f.m, 1, BL_ROLE_K), *q = bl_model_linear(f.m, 1, BL_ROLE_Q);
    float *x = inputs(&f, BL_ROLE_K), *scale = malloc((size_t)k->in * sizeof *scale);
    double *want = moment(x, k->in), *plain = moment(x, k->in), *got;
    bl_buffer *b;
    for (int64_t i = 0; i < k->in; i++) scale[i] = (float)(i % 3 + 1);
    assert_ok(f.be->ops->buffer_new(f.be, (uint64_t)k->in * sizeof *scale, &b, &e));
    bl_transform t = {.kind = BL_T_SCALE, .in = k->in, .out = k->in, .data = bl_tensor_1d(b, 0, BL_F32, k->in)};
    assert_ok(f.be->ops->upload(f.be, &t.data, scale, &e));
    assert_ok(bl_linear_add_transform(k, &t, &e));
    for (int64_t i = 0; i < k->in; i++)
        for (int64_t j = 0; j < k->in; j++) want[i * k->in + j] *= (double)scale[i] * (double)scale[j];
    bl_calibration *c = gathered(&f, every(), BL_CALIB_HESSIAN);
    assert_moment(got = hessian(&f, c, k), want, k->in);
    free(got);
    assert_moment(got = hessian(&f, c, q), plain, q->in);
    free(got);
    free(want);
    free(plain);
    free(x);
    free(scale);
    bl_calib_end(c);
    fixture_close(&f);
}

/* 2 / windows sum of (x0 - x) xT, x0 from the model as it was. */
static void a_mismatch_is_against_the_inputs_of_the_original_model(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 2, false), f0 = fixture_open("synth:tiny", "", 2, false);
    for (int changed = 0; changed < 2; changed++) {
        bl_calib_windows w = windows(&f);
        bl_calibration *c;
        if (changed) { /* block 0 is */
            bl_linear *down = bl_model_linear(f.m, 0, BL_ROLE_DOWN);
            bl_tensor half = bl_tensor_1d(down->weight.owned, 0, BL_U8, (int64_t)(down->weight.owned->bytes / 2));
            assert_ok(f.be->ops->fill(f.be, &half, 0, &e));
        }
        assert_ok(bl_calib_begin(f.m, f0.m, &w, BL_CALIB_HESSIAN | BL_CALIB_MISMATCH, NULL, &c, &e));
        assert_ok(bl_calib_advance(c, &e));
        assert_ok(bl_calib_gather(c, every(), &e));
        for (size_t k = 0; k < BL_COUNT(all); k++) {
            const bl_linear *l = bl_model_linear(f.m, 1, all[k]);
            float *x = inputs(&f, all[k]), *x0 = inputs(&f0, all[k]);
            bl_tensor m;
            double largest = 0;
            assert_ok(bl_calib_mismatch(c, l, &m, &e));
            double *got = malloc(bl_tensor_bytes(&m));
            assert_ok(f.be->ops->download(f.be, &m, got, &e));
            for (int64_t i = 0; i < l->in; i++)
                for (int64_t j = 0; j < l->in; j++) {
                    double want = 0, size = 0;
                    for (int64_t r = 0; r < TOKENS; r++) {
                        double d = ((double)x0[r * l->in + i] - x[r * l->in + i]) * x[r * l->in + j];
                        want += 2.0 / WINDOWS * d;
                        size += 2.0 / WINDOWS * fabs(d);
                    }
                    largest = fmax(largest, fabs(got[i * l->in + j]));
                    if (fabs(got[i * l->in + j] - want) > 2e-6 * size)
                        fail_msg("[%d, %d] is %.9g, expected %.9g", (int)i, (int)j, got[i * l->in + j], want);
                }
            assert_int_equal(largest > 0, changed); /* exactly nothing where nothing has changed */
            free(x);
            free(x0);
            free(got);
        }
        bl_calib_end(c);
    }
    fixture_close(&f);
    fixture_close(&f0);
}

static void what_was_not_gathered_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_tensor h;
    bl_calib_channels ch;
    fixture f = fixture_open("synth:tiny", "", 1, false);
    bl_calibration *c = gathered(&f, BL_ROLE_BIT(BL_ROLE_O), BL_CALIB_HESSIAN);
    assert_int_equal(bl_calib_hessian(c, bl_model_linear(f.m, 1, BL_ROLE_Q), &h, &e), BL_E_INTERNAL);
    assert_int_equal(bl_calib_hessian(c, bl_model_linear(f.m, 0, BL_ROLE_O), &h, &e), BL_E_INTERNAL);
    assert_int_equal(bl_calib_channel(c, bl_model_linear(f.m, 1, BL_ROLE_O), &ch, &e), BL_E_INTERNAL);
    assert_ok(bl_calib_hessian(c, bl_model_linear(f.m, 1, BL_ROLE_O), &h, &e));
    bl_calib_end(c);
    fixture_close(&f);
}

static void inputs_of_a_step_come_in_the_order_of_the_forward_pass(void **state)
{
    (void)state;
    uint32_t left = every();
    const uint32_t want[] = {BL_ROLE_BIT(BL_ROLE_Q) | BL_ROLE_BIT(BL_ROLE_K) | BL_ROLE_BIT(BL_ROLE_V),
                             BL_ROLE_BIT(BL_ROLE_O), BL_ROLE_BIT(BL_ROLE_GATE) | BL_ROLE_BIT(BL_ROLE_UP),
                             BL_ROLE_BIT(BL_ROLE_DOWN)};
    for (size_t i = 0; i < BL_COUNT(want); i++) {
        assert_int_equal(bl_roles_of_one_input(left), want[i]);
        left &= ~want[i];
    }
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_moments_and_channels_are_those_of_the_inputs),
        cmocka_unit_test(a_later_block_sees_what_became_of_the_earlier_one),
        cmocka_unit_test(inputs_are_seen_after_the_transforms_of_a_linear),
        cmocka_unit_test(a_mismatch_is_against_the_inputs_of_the_original_model),
        cmocka_unit_test(what_was_not_gathered_is_refused),
        cmocka_unit_test(inputs_of_a_step_come_in_the_order_of_the_forward_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
