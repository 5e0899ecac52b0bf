/* Steps within subspaces beside those that galore-torch made of recorded gradients: weights after each step, subspaces
 * up to signs, moments; with moments of 8 bits, whose gradients in a subspace are those of its own. */
#include "golden_file.h"
#include "kernels/base/rng.h"
#include "harness/train/optimizer.h"
#include "harness/train/subspace.h"
#include "method_run.h"
#include <math.h>

/* The same vectors up to their signs, rows of `side` or columns; then with the recorded signs, which their moments
 * follow. */
static void same_subspace(bl_trained *w, const float *want, int64_t side, bool right)
{
    const int64_t rank = w->low.rank, n = bl_tensor_count(&w->m) / rank;
    float *p = w->low.p.buf->data, *m = (float *)(void *)((char *)w->m.buf->data + w->m.offset);
    for (int64_t k = 0; k < rank; k++) {
        double dot = 0, length = 0;
        for (int64_t j = 0; j < side; j++) {
            const int64_t x = right ? k * side + j : j * rank + k;
            dot += (double)p[x] * want[x];
            length += (double)p[x] * p[x];
        }
        assert_true(fabs(length - 1) < 1e-5 && fabs(fabs(dot) - 1) < 1e-4);
        for (int64_t j = 0; dot < 0 && j < side; j++) p[right ? k * side + j : j * rank + k] *= -1;
        for (int64_t j = 0; dot < 0 && j < n; j++) m[right ? j * rank + k : k * n + j] *= -1;
    }
}

static void steps_in_subspaces_are_those_of_galore(void **state)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
        double near;
    } all[] = {{"tall", 48, 32, 2e-5}, {"wide", 32, 48, 2e-5}, {"square", 32, 32, 2e-5}};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/galore.safetensors"));
    for (size_t i = 0; i < BL_COUNT(all); i++) {
        const int64_t n = all[i].rows * all[i].cols;
        char key[64];
        bl_err e = {0};
        method_run m;
        bl_trainable *t;
        snprintf(key, sizeof key, "%s.options", all[i].name);
        const double *o = golden_need(&g, key, "F64", 5); /* rank, steps between subspaces, scale, lr, decay */
        snprintf(key, sizeof key, "%s.w", all[i].name);
        method_open(&m, "full", golden_need(&g, key, "F32", n), all[i].rows, all[i].cols);
        assert_ok(bl_trainable_new(&m.model, &t, &e));
        bl_tensor value;
        int at;
        assert_ok(bl_effective_dense(t, t->w, &value, &e));
        assert_ok(bl_trained_add(t, "matrix", "weight", value, &at, &e));
        t->param[at].low = (bl_low){.rank = (int64_t)o[0], .every = (int64_t)o[1], .scale = o[2]};
        bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .decay = o[4]};
        snprintf(key, sizeof key, "%s.grads", all[i].name);
        const float *grads = golden_need(&g, key, "F32", 5 * n);
        snprintf(key, sizeof key, "%s.path", all[i].name);
        const float *path = golden_need(&g, key, "F32", 5 * n);
        snprintf(key, sizeof key, "%s.projector", all[i].name);
        const int64_t side = BL_MIN(all[i].rows, all[i].cols), rank = t->param[at].low.rank;
        const float *subspace = golden_need(&g, key, "F32", 5 * rank * side);
        for (int step = 0; step < 5; step++) {
            memcpy(t->param[at].grad.buf->data, grads + step * n, (size_t)n * sizeof *grads);
            /* the first subspace is found; moments stay when it changes, so that later ones matter with their signs,
             * which nothing says: those are given */
            if (step) t->param[at].low.every = 1000;
            if (step && step % (int)o[1] == 0)
                memcpy(t->param[at].low.p.buf->data, subspace + step * rank * side,
                       (size_t)(rank * side) * sizeof *subspace);
            assert_ok(bl_adamw_step(&adam, t, o[3], NULL, &e));
            if (!step) same_subspace(&t->param[at], subspace, side, all[i].rows >= all[i].cols);
            const float *w = (const float *)(const void *)((char *)value.buf->data + value.offset);
            for (int64_t k = 0; k < n; k++)
                if (!(fabs((double)w[k] - path[step * n + k]) <= all[i].near))
                    fail_msg("%s, step %d, element %lld: %.9g, recorded %.9g", all[i].name, step + 1, (long long)k,
                             (double)w[k], (double)path[step * n + k]);
        }
        const uint64_t moments = 2 * (uint64_t)(rank * BL_MAX(all[i].rows, all[i].cols)) * sizeof(float);
        assert_true(bl_adamw_bytes(&adam, &t->param[at]) >= moments &&
                    bl_adamw_bytes(&adam, &t->param[at]) < moments + 128);
        bl_trainable_free(t);
        method_close(&m);
    }
    golden_close(&g);
}

/* Steps of 8 bits: weights within a step's rounding of moments. */
static void steps_of_eight_bits_are_near_those_of_galore(void **state)
{
    enum { ROWS = 96, COLS = 64, N = ROWS * COLS };
    golden g;
    bl_err e = {0};
    method_run m;
    bl_trainable *t;
    bl_tensor value;
    int at;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/galore.safetensors"));
    const float *first = golden_need(&g, "eight.w", "F32", N), *grads = golden_need(&g, "eight.grads", "F32", 5 * N),
                *path = golden_need(&g, "eight.path", "F32", 5 * N);
    method_open(&m, "full", first, ROWS, COLS);
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(bl_effective_dense(t, t->w, &value, &e));
    assert_ok(bl_trained_add(t, "matrix", "weight", value, &at, &e));
    t->param[at].low = (bl_low){.rank = 32, .every = 1000, .scale = 0.25};
    bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .eight_bits = true};
    /* the learning rate is in the file's path alone: that of the first step, which is lr scale / (1 + eps) each */
    double moved = 0, other = 0;
    memcpy(t->param[at].grad.buf->data, grads, N * sizeof *grads);
    assert_ok(bl_adamw_step(&adam, t, 1, NULL, &e));
    const float *w = (const float *)(const void *)((char *)value.buf->data + value.offset);
    for (int64_t k = 0; k < N; k++) {
        moved += ((double)w[k] - first[k]) * ((double)path[k] - first[k]);
        other += pow((double)w[k] - first[k], 2);
    }
    const double lr = moved / other;
    double apart = 0, all = 0;
    for (int64_t k = 0; k < N; k++) {
        apart += pow(first[k] + lr * ((double)w[k] - first[k]) - path[k], 2);
        all += pow((double)path[k] - first[k], 2);
    }
    if (!(apart <= 1e-4 * all)) fail_msg("lr %g: %g of %g", lr, apart, all);
    bl_trainable_free(t);
    method_close(&m);
    golden_close(&g);
}

/* Q-GaLore's subspaces: 4 bits in groups of 64, a new one twice as seldom each time that the last five first vectors
 * have hardly turned. */
static void subspaces_of_four_bits_stay_as_long_as_those_of_q_galore(void **state)
{
    enum { ROWS = 48, COLS = 64, N = ROWS * COLS, RANK = 8, STEPS = 12, GROUPS = ROWS * RANK / 64 };
    golden g;
    bl_err e = {0};
    method_run m;
    bl_trainable *t;
    bl_tensor value, p;
    int at;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/galore.safetensors"));
    const float *grads = golden_need(&g, "lazy.grads", "F32", STEPS * N),
                *low = golden_need(&g, "lazy.low", "F32", STEPS * RANK * COLS),
                *cosines = golden_need(&g, "lazy.cosines", "F32", 5),
                *scales = golden_need(&g, "lazy.scales", "F32", GROUPS),
                *zeros = golden_need(&g, "lazy.zeros", "F32", GROUPS);
    const uint8_t *codes = golden_need(&g, "lazy.codes", "U8", ROWS * RANK);
    const int32_t *gap = golden_need(&g, "lazy.gap", "I32", STEPS);
    method_open(&m, "full", grads, ROWS, COLS);
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(bl_effective_dense(t, t->w, &value, &e));
    assert_ok(bl_trained_add(t, "matrix", "weight", value, &at, &e));
    bl_trained *w = &t->param[at];
    w->low = (bl_low){.rank = RANK, .every = 1, .scale = 0.25, .bits = 4, .group = 64, .same = 0.4};
    assert_ok(bl_low_new(t->m->be, w, &e));
    double worst = 1;
    for (int step = 0; step < STEPS; step++) {
        memcpy(w->grad.buf->data, grads + step * N, N * sizeof *grads);
        assert_ok(bl_low_find(t, w, step, &e));
        assert_int_equal(w->low.lazy->every, gap[step]);
        assert_ok(bl_low_matrix(t, w, &p, &e));
        const float *at_p = p.buf->data;
        for (int k = 0; k < RANK; k++) { /* R = Pt G, up to the sign of a vector */
            double dot = 0, a = 0, b = 0;
            for (int j = 0; j < COLS; j++) {
                double r = 0, want = low[(step * RANK + k) * COLS + j];
                for (int i = 0; i < ROWS; i++) r += (double)at_p[i * RANK + k] * grads[step * N + i * COLS + j];
                dot += r * want;
                a += r * r;
                b += want * want;
            }
            worst = fmin(worst, fabs(dot) / sqrt(a * b));
        }
    }
    assert_true(worst > 0.95); /* columns of other signs are rounded in other groups */
    for (int k = 0; k < 5; k++) assert_true(fabs(w->low.lazy->cosine[k] - (double)cosines[k]) < 1e-5);
    assert_int_equal(w->low.lazy->found, *(const int32_t *)golden_need(&g, "lazy.svd_count", "I32", 1));

    /* the last of them, that of step 8, with the recorded signs: its integers */
    bl_low bits = w->low;
    w->low = (bl_low){.rank = RANK, .every = 1};
    memcpy(w->grad.buf->data, grads + 8 * N, N * sizeof *grads);
    assert_ok(bl_low_new(t->m->be, w, &e));
    assert_ok(bl_low_find(t, w, 8, &e));
    float *v = w->low.p.buf->data;
    for (int k = 0; k < RANK; k++) {
        double dot = 0;
        for (int i = 0; i < ROWS; i++) {
            const int x = i * RANK + k;
            dot += (double)v[x] * ((double)codes[x] - (double)zeros[x / 64]) * (double)scales[x / 64];
        }
        for (int i = 0; dot < 0 && i < ROWS; i++) v[i * RANK + k] *= -1;
    }
    const bl_tensor flat = bl_tensor_2d(w->low.p.buf, 0, BL_F32, GROUPS, 64);
    assert_ok(t->m->be->ops->pack(t->m->be, &(bl_pack_args){.x = flat, .w = &bits.kept, .rule = BL_RANGE_CLIP}, &e));
    const char *kept = bits.kept.owned->data;
    const uint8_t *got = (const uint8_t *)kept + bits.kept.part[0].offset;
    int other = 0;
    for (int i = 0; i < ROWS * RANK; i++) {
        const int code = got[i / 2] >> i % 2 * 4 & 15;
        assert_true(abs(code - codes[i]) <= 1);
        other += code != codes[i];
    }
    assert_true(other <= 1); /* of 384: one in a thousand */
    for (int i = 0; i < GROUPS; i++) {
        float s;
        memcpy(&s, kept + bits.kept.part[1].offset + (size_t)i * sizeof s, sizeof s);
        assert_true(fabs((double)s / (double)scales[i] - 1) < 1e-5);
    }
    bl_low_free(t->m->be->ops, &bits);
    bl_trainable_free(t);
    method_close(&m);
    golden_close(&g);
}

/* Near vectors hold nearly as much of a gradient as the first singular ones, which hold the most of all; what they are
 * does not depend on the run. */
static void near_subspaces_hold_as_much_of_a_gradient(void **state)
{
    enum { ROWS = 90, COLS = 60, RANK = 6, N = ROWS * COLS };
    static float g[N];
    bl_rng r = bl_rng_at(4, 4, 0);
    bl_err e = {0};
    method_run m;
    bl_trainable *t;
    bl_tensor value;
    double held[3] = {0};
    int at;
    (void)state;
    for (int k = 0; k < RANK + 4; k++) { /* parts that get smaller, and noise */
        float u[ROWS], v[COLS];
        for (int i = 0; i < ROWS; i++) u[i] = (float)bl_rng_normal(&r) / (float)(1 + k);
        for (int j = 0; j < COLS; j++) v[j] = (float)bl_rng_normal(&r);
        for (int i = 0; i < N; i++) g[i] += u[i / COLS] * v[i % COLS];
    }
    for (int i = 0; i < N; i++) g[i] += 0.05f * (float)bl_rng_normal(&r);
    method_open(&m, "full", g, ROWS, COLS);
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(bl_effective_dense(t, t->w, &value, &e));
    assert_ok(bl_trained_add(t, "matrix", "weight", value, &at, &e));
    bl_trained *w = &t->param[at];
    memcpy(w->grad.buf->data, g, sizeof g);
    for (int way = 0; way < 3; way++) { /* the first ones; near ones, twice */
        w->low = (bl_low){.rank = RANK, .every = 1, .near = way ? COLS : 0};
        assert_ok(bl_low_new(t->m->be, w, &e));
        assert_ok(bl_low_find(t, w, 0, &e));
        const float *p = w->low.p.buf->data;
        for (int i = 0; i < ROWS; i++)
            for (int k = 0; k < RANK; k++) {
                double sum = 0;
                for (int j = 0; j < COLS; j++) sum += (double)g[i * COLS + j] * p[k * COLS + j];
                held[way] += sum * sum;
            }
        bl_low_free(t->m->be->ops, &w->low);
    }
    assert_true(held[1] <= held[0] * (1 + 1e-6) && held[1] >= 0.99 * held[0]);
    assert_true(held[1] == held[2]);
    w->low = (bl_low){0};
    bl_trainable_free(t);
    method_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_subspaces_are_those_of_galore),
        cmocka_unit_test(steps_of_eight_bits_are_near_those_of_galore),
        cmocka_unit_test(near_subspaces_hold_as_much_of_a_gradient),
        cmocka_unit_test(subspaces_of_four_bits_stay_as_long_as_those_of_q_galore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
