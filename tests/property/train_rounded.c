/* Training with rounded activations, keys and values, with weights of which the largest says the scale or that are two
 * planes, and with tokens that count as both models are unsure of them: what is kept is what was trained. */
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "kernels/base/rng.h"
#include "model_fixture.h"
#include <math.h>

enum { LEN = 23 };
static const int32_t start[] = {0, 14, LEN};
static int32_t ids[LEN];

static bl_train_batch batch(int64_t vocab, const uint8_t *mask)
{
    bl_rng r = bl_rng_at(11, 4, 0);
    for (int i = 0; i < LEN; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
    return (bl_train_batch){.ids = ids, .n_seq = 2, .start = start, .mask = mask};
}

static float *numbers(const bl_tensor *t) { return (float *)(void *)((char *)t->buf->data + t->offset); }

static double loss_of(bl_trainable *t, const bl_train_batch *b)
{
    bl_err e = {0};
    double nll, n = (double)bl_train_batch_tokens(b);
    for (size_t i = 0; i < t->n_params; i++) assert_ok(t->m->be->ops->fill(t->m->be, &t->param[i].grad, 0, &e));
    assert_ok(bl_gradients(t, b, 1 / n, &nll, &e));
    return nll / n;
}

static void what_is_kept_is_what_was_trained(void **state)
{
    static const struct {
        bl_grid grid;
        int abits, kvbits;
        bool frozen;
        const char *format;
        double lr;
    } rows[] = {{{BL_GRID_LARGEST, 4, 0, true}, 0, 0, false, "int4", 1e-3},
                {{BL_GRID_LARGEST, 4, 0, true}, 8, 4, false, "int4", 1e-3},
                {{BL_GRID_LARGEST, 2, 16, true}, 4, 0, false, "int2", 1e-3},
                {{BL_GRID_CLIP, 3, 16, true}, 6, 0, true, "int3", 1e-2},
                {{BL_GRID_PLANES, 2, 16, true}, 0, 0, true, "planes", 3e-3},
                {{BL_GRID_PLANES, 2, 0, true}, 0, 0, false, "planes", 1e-3}};
    (void)state;
    for (size_t row = 0; row < BL_COUNT(rows); row++) {
        bl_err e = {0};
        bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
        fixture f = fixture_open("synth:tiny", "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab, NULL);
        const bl_actq act = {.bits = rows[row].abits, .symmetric = rows[row].grid.kind == BL_GRID_LARGEST},
                      kv = {.bits = rows[row].kvbits, .symmetric = true};
        bl_trainable *t;
        double first, last, later;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_grid(t, &(bl_grid_learned){.grid = rows[row].grid, .frozen = rows[row].frozen}, &e));
        if (!rows[row].frozen) assert_ok(bl_train_rest(t, &e));
        if (act.bits) assert_ok(bl_train_rounded_inputs(t, &act, rows[row].grid.kind == BL_GRID_CLIP, 0, &e));
        if (kv.bits) assert_ok(bl_train_rounded_keys(t, &kv, &e));
        first = loss_of(t, &b);
        for (int step = 0; step < 12; step++) {
            loss_of(t, &b);
            assert_ok(bl_adamw_step(&adam, t, rows[row].lr, NULL, &e));
        }
        if (!(loss_of(t, &b) < first)) fail_msg("row %d: a loss of %g became %g", (int)row, first, loss_of(t, &b));
        assert_ok(bl_loss(t, &b, &last, &e));
        assert_ok(bl_trainable_store(t, &e));
        assert_ok(bl_loss(t, &b, &later, &e));
        if (!(last == later)) fail_msg("row %d: %.17g was trained, %.17g is kept", (int)row, last, later);
        for (size_t i = 0; i < f.m->n_linears; i++) {
            assert_string_equal(f.m->linears[i].weight.format->name, rows[row].format);
            assert_int_equal(f.m->linears[i].act.bits, rows[row].abits);
        }
        bl_trainable_free(t);
        fixture_close(&f);
    }
}

/* Inputs as a product rounds them; keys and values as they leave theirs, before they are turned. */
static void products_read_and_leave_rounded_numbers(void **state)
{
    enum { ROWS = 5 };
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 2, false);
    const bl_actq act = {.bits = 4}, kv = {.bits = 3, .symmetric = true};
    bl_trainable *t;
    (void)state;
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_ok(bl_train_full(t, &e));
    assert_ok(bl_train_rounded_inputs(t, &act, false, 0, &e));
    assert_ok(bl_train_rounded_keys(t, &kv, &e));
    const bl_role roles[] = {BL_ROLE_K, BL_ROLE_V, BL_ROLE_Q, BL_ROLE_DOWN};
    for (size_t i = 0; i < BL_COUNT(roles); i++) {
        bl_effective *w = bl_effective_of(t, 0, roles[i]);
        bl_tensor x = fixture_tensor(&f, BL_F32, ROWS, w->linear->in),
                  y = fixture_tensor(&f, BL_F32, ROWS, w->linear->out),
                  want = fixture_tensor(&f, BL_F32, ROWS, w->linear->out);
        bl_rng r = bl_rng_at(5, i, 0);
        for (int64_t k = 0; k < ROWS * w->linear->in; k++) numbers(&x)[k] = (float)bl_rng_normal(&r);
        assert_ok(bl_effective_forward(t, w, 0, x, y, false, &e));
        assert_ok(bl_linear_apply(f.be, w->linear, x, want, false, &e));
        if (i < 2) {
            assert_true(memcmp(numbers(&y), numbers(&want), bl_tensor_bytes(&y)) != 0);
            assert_ok(f.be->ops->act_round(f.be, &(bl_act_round_args){.x = want, .y = want, .act = kv}, &e));
        }
        assert_memory_equal(numbers(&y), numbers(&want), bl_tensor_bytes(&y));
        fixture_drop(&f, &x);
        fixture_drop(&f, &y);
        fixture_drop(&f, &want);
    }
    bl_trainable_free(t);
    fixture_close(&f);
}

/* Of one token: what it counts is a factor of the loss and of every gradient, at most 1 + even. */
static void a_token_counts_as_both_are_unsure_of_it(void **state)
{
    static const struct {
        double power, even;
    } how[] = {{0, 0}, {0, 1}, {2, 0.25}};
    uint8_t mask[LEN] = {0};
    bl_err e = {0};
    bl_checkpoint *teacher;
    double plain = 0;
    float *want = NULL;
    (void)state;
    mask[9] = 1;
    assert_ok(bl_checkpoint_open("synth:tiny", NULL, &teacher, &e));
    for (int k = -1; k < (int)BL_COUNT(how); k++) {
        fixture f = fixture_open("synth:tiny", "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab, mask);
        bl_trainable *t;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_grid(t, &(bl_grid_learned){.grid = {.kind = BL_GRID_PLANES, .bits = 2, .group = 16}}, &e));
        assert_refused(bl_train_unsure(t, 1, 1, &e), BL_E_INTERNAL, "no teacher");
        assert_ok(bl_train_taught(t, teacher, 1, 0, &e));
        if (k >= 0) assert_ok(bl_train_unsure(t, how[k].power, how[k].even, &e));
        else assert_refused(bl_train_unsure(t, -1, 0, &e), BL_E_CONFIG, "negative");
        const double loss = loss_of(t, &b);
        const bl_tensor *g = &t->param[t->w[0].param[1]].grad;
        const int64_t n = bl_tensor_count(g);
        if (k < 0) {
            plain = loss;
            want = malloc((size_t)n * sizeof *want);
            memcpy(want, numbers(g), (size_t)n * sizeof *want);
            assert_true(plain > 0);
        } else {
            const double counts = loss / plain;
            double top = 0;
            if (how[k].power == 0) assert_true(fabs(counts - (1 + how[k].even)) < 1e-5);
            else assert_true(counts > how[k].even + 0.01 && counts < how[k].even + 1);
            for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
            for (int64_t i = 0; i < n; i++) assert_true(fabs(numbers(g)[i] - counts * want[i]) <= 1e-4 * top);
        }
        bl_trainable_free(t);
        fixture_close(&f);
    }
    free(want);
    bl_checkpoint_close(teacher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_what_was_trained),
        cmocka_unit_test(products_read_and_leave_rounded_numbers),
        cmocka_unit_test(a_token_counts_as_both_are_unsure_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
