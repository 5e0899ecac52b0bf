/* Steps within subspaces beside those that galore-torch made of recorded gradients: weights after each step, subspaces
 * up to signs, moments; with moments of 8 bits, whose gradients in a subspace are those of its own. */
#include "golden_file.h"
#include "harness/train/optimizer.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_subspaces_are_those_of_galore),
        cmocka_unit_test(steps_of_eight_bits_are_near_those_of_galore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
