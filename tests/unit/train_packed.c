/* Weights that are integers while they are trained: rounding by chance is right in the mean where rounding to nearest
 * stands still, and the step in the backward pass is that of a gradient that was kept. */
#include "test.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "model_fixture.h"
#include <math.h>

static bl_err e;
static bl_backend *backends[3]; /* fast, plain C on two threads, reference */

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_PLAIN}, &backends[1], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[2], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(backends); i++) bl_backend_close(backends[i]);
    return 0;
}

static void chance_is_right_in_the_mean_where_nearest_stands_still(void **state)
{
    enum { OUT = 3, IN = 10, GROUP = 4, N = OUT * IN, ROUNDS = 10000 };
    uint8_t first[N];
    (void)state;
    for (size_t b = 0; b < BL_COUNT(backends); b++) {
        bl_backend *be = backends[b];
        const bl_shape shape = {.out = OUT, .in = IN, .group = GROUP, .zero = BL_ZERO_PACKED, .scale = BL_F32};
        bl_weight w;
        bl_buffer *buf;
        float *x, sum[N] = {0}, nearest[N];
        uint8_t drawn[N];
        bl_rng r = bl_rng_at(3, bl_rng_key("packed", 0), 0);
        assert_ok(be->ops->buffer_new(be, N * sizeof *x, &buf, &e));
        const bl_tensor t = bl_tensor_2d(buf, 0, BL_F32, OUT, IN);
        x = buf->data;
        for (int i = 0; i < N; i++) x[i] = (float)bl_rng_normal(&r);
        assert_ok(bl_weight_new(be, bl_format_find("int8"), &shape, &w, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = t, .w = &w, .rule = BL_RANGE_CLIP}, &e));
        const float *scale = (const float *)(const void *)((char *)w.owned->data + w.part[1].offset);
        const uint8_t *zero = (const uint8_t *)w.owned->data + w.part[2].offset,
                      *codes = (const uint8_t *)w.owned->data + w.part[0].offset;
        assert_ok(be->ops->unpack(be, &(bl_unpack_args){.w = &w, .rows = OUT, .y = t}, &e));
        memcpy(nearest, x, sizeof nearest);
        memcpy(drawn, codes, sizeof drawn);
        for (int i = 0; i < N; i++) x[i] += 0.3f * scale[i / IN * 3 + i % IN / GROUP]; /* less than half a step */
        for (int k = 0; k < ROUNDS; k++) {
            assert_ok(be->ops->round_random(
                be, &(bl_round_random_args){.x = t, .w = &w, .key = {7, 9}, .stream = {(uint32_t)k, 5}}, &e));
            if (k == 0 && b == 0) memcpy(first, codes, sizeof first);
            if (k == 0) assert_memory_equal(codes, first, sizeof first); /* the same draws everywhere */
            for (int i = 0; i < N; i++) {
                const int at = i / IN * 3 + i % IN / GROUP;
                assert_true(codes[i] - drawn[i] == 0 || codes[i] - drawn[i] == 1); /* down or up, no further */
                sum[i] += (float)(codes[i] - zero[at]) * scale[at] / ROUNDS;
            }
        }
        for (int i = 0; i < N; i++) {
            const int at = i / IN * 3 + i % IN / GROUP;
            const double sigma = (double)scale[at] * sqrt(0.3 * 0.7 / ROUNDS);
            const bool kept = drawn[i] < 255; /* the largest code goes no further */
            if (kept) assert_true(fabs((double)sum[i] - x[i]) < 4.5 * sigma);
            else assert_true(fabs((double)sum[i] - nearest[i]) < 1e-4 * (double)scale[at] * 256);
        }
        /* to nearest the same change is lost, however often it comes */
        for (int i = 0; i < N; i++) {
            const int at = i / IN * 3 + i % IN / GROUP;
            assert_int_equal((int)rintf(x[i] / scale[at]) + zero[at], drawn[i]);
        }
        x[3] = NAN;
        assert_ok(be->ops->round_random(be, &(bl_round_random_args){.x = t, .w = &w}, &e)); /* some code, no trap */
        const bl_tensor half = bl_tensor_2d(buf, 0, BL_F32, OUT, IN - 1);
        assert_refused(be->ops->round_random(be, &(bl_round_random_args){.x = half, .w = &w}, &e), BL_E_INTERNAL,
                       "round_random");
        bl_weight_free(&w);
        be->ops->buffer_free(buf);
    }
}

/* Five steps of a model whose weights are int8; `held`: gradients are kept and steps come after the pass. */
static void five_steps(bool held, double *loss, uint8_t *codes, size_t room)
{
    static const int32_t ids[] = {3, 9, 4, 4, 17, 30, 8, 2, 11, 5, 6, 7}, start[] = {0, 7, 12};
    const bl_train_batch batch = {.ids = ids, .n_seq = 2, .start = start};
    fixture f = fixture_stored("synth:tiny", "", 1, false);
    bl_trainable *t;
    bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decay = 0.01};
    size_t n = 0;
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_ok(bl_train_packed(t, &(bl_low){.rank = 8, .every = 2, .scale = 0.25, .bits = 4, .same = 0.4}, 32, 11, &e));
    assert_true(bl_trainable_steps(t));
    if (held) assert_ok(bl_train_packed_hold(t, &e));
    assert_int_equal(bl_trainable_steps(t), !held);
    for (int k = 0; k < 5; k++) {
        const double rate = 0.05 / (k + 1);
        assert_ok(bl_adamw_moments(&adam, t, &e));
        t->stepping = held ? NULL : &adam;
        t->stepping_rate = rate;
        assert_ok(bl_gradients(t, &batch, 0.1, &loss[k], &e));
        assert_ok(bl_adamw_step(&adam, t, rate, NULL, &e));
    }
    for (size_t i = 0; i < t->n_linears; i++) {
        const bl_weight *w = &t->w[i].linear->weight;
        assert_string_equal(w->format->name, "int8");
        const size_t bytes = (size_t)bl_tensor_bytes(&w->part[0]);
        assert_true(n + bytes <= room);
        memcpy(codes + n, (const uint8_t *)w->owned->data + w->part[0].offset, bytes);
        n += bytes;
    }
    bl_trainable_free(t);
    fixture_close(&f);
}

static void a_step_in_the_backward_pass_is_that_of_a_gradient_that_was_kept(void **state)
{
    enum { ROOM = 1 << 20 };
    static uint8_t within[ROOM], held[ROOM];
    double a[5], b[5];
    (void)state;
    five_steps(false, a, within, ROOM);
    five_steps(true, b, held, ROOM);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(within, held, ROOM);
    assert_true(a[4] < a[0]);
}

/* As in bitsandbytes: parameters of fewer than 4,096 elements keep moments of 32 bits. Every part begins at 64 bytes.
 */
static void small_parameters_keep_moments_of_32_bits(void **state)
{
    const bl_adamw o = {.eight_bits = true};
    const bl_trained small = {.value = bl_tensor_2d(NULL, 0, BL_F32, 63, 65)},
                     large = {.value = bl_tensor_2d(NULL, 0, BL_F32, 64, 64)};
    (void)state;
    assert_int_equal(bl_adamw_bytes(&o, &small), 2 * 16384);
    assert_int_equal(bl_adamw_bytes(&o, &large), 2 * 4096 + 2 * 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_parameters_keep_moments_of_32_bits),
        cmocka_unit_test(chance_is_right_in_the_mean_where_nearest_stands_still),
        cmocka_unit_test(a_step_in_the_backward_pass_is_that_of_a_gradient_that_was_kept),
    };
    return cmocka_run_group_tests_name("train_packed", tests, set_up, tear_down);
}
