/* Whole models on the device and on the CPU: the same loss and gradients within the rounding of bf16, for everything
 * that a weight may be trained by; and steps that lead down. */
#include "gpu.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "harness/model/model.h"

enum { LEN = 300, TIMES = 14 };
static int32_t ids[LEN * TIMES], start[3 * TIMES + 1];
static uint8_t mask[LEN * TIMES];

/* Three sequences, so many times. */
static bl_train_batch batch(int64_t vocab, int times)
{
    static const int32_t ends[] = {140, 141, LEN};
    bl_rng r = bl_rng_at(11, 4, 0);
    for (int i = 0; i < LEN * times; i++) {
        ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
        mask[i] = i % 5 != 2;
    }
    for (int i = 0; i < 3 * times; i++) start[i + 1] = i / 3 * LEN + ends[i % 3];
    return (bl_train_batch){.ids = ids, .n_seq = 3 * times, .start = start, .mask = mask};
}

typedef struct learner {
    bl_checkpoint *c;
    bl_model *m;
    bl_trainable *t;
} learner;
typedef bl_status what(bl_trainable *t, const bl_lora *o);
static bl_status full(bl_trainable *t, const bl_lora *o)
{
    (void)o;
    return bl_train_full(t, &e);
}
static bl_status lora(bl_trainable *t, const bl_lora *o) { return bl_train_lora(t, o, &e); }
static bl_status dora(bl_trainable *t, const bl_lora *o)
{
    bl_status st = bl_train_lora(t, o, &e);
    return st == BL_OK ? bl_train_dora(t, &e) : st;
}
static bl_status steps(bl_trainable *t, const bl_lora *o)
{
    (void)o;
    return bl_train_grid(t, &(bl_grid_learned){.grid = {.kind = BL_GRID_STEP, .bits = 4, .group = 32}}, &e);
}

static learner learner_new(bl_backend *be, const char *model, what *w, const bl_lora *o)
{
    learner l;
    assert_ok(bl_checkpoint_open(model, NULL, &l.c, &e));
    assert_ok(bl_model_open(l.c, be, &(bl_model_opts){.as_stored = true}, &l.m, &e));
    assert_ok(bl_trainable_new(l.m, &l.t, &e));
    assert_ok(w(l.t, o));
    for (size_t i = 0; i < l.t->n_params; i++) { /* B is 0 at first: A would have no gradient */
        const bl_tensor *v = &l.t->param[i].value;
        int64_t n = bl_tensor_count(v);
        if (!strstr(l.t->param[i].name, "lora_B")) continue;
        bl_rng r = bl_rng_at(2, 8, i);
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t k = 0; k < n; k++) x[k] = (float)(0.2 * (bl_rng_uniform(&r) - 0.5));
        assert_ok(be->ops->upload(be, v, x, &e));
        assert_ok(be->ops->sync(be, &e));
        free(x);
    }
    assert_ok(bl_trainable_make(l.t, &e)); /* of dora */
    return l;
}
static void learner_drop(learner *l)
{
    bl_trainable_free(l->t);
    bl_model_close(l->m);
    bl_checkpoint_close(l->c);
}

static void loss_and_gradients_are_those_of_the_cpu(void **state)
{
    static const struct {
        const char *model;
        what *w;
        bl_lora o;
        int times;
    } all[] = {{"synth:tiny", full, {0}, 1},
               {"synth:tiny-biases", full, {0}, 1},
               {"synth:tiny-qwen3", full, {0}, 1},
               {"synth:lessons-tiny", full, {0}, 1},
               {"synth:tiny", lora, {.rank = 3, .alpha = 6, .seed = 1}, 1},
               {"synth:tiny:int4", lora, {.rank = 8, .alpha = 16, .seed = 2, .rank_stabilized = true}, 1},
               {"synth:tiny-qwen2:nf4", lora, {.rank = 4, .alpha = 8, .seed = 3, .dropout = 0.2}, 1},
               {"synth:tiny", dora, {.rank = 4, .alpha = 8, .seed = 4}, 1},
               {"synth:tiny-qwen2:nf4", dora, {.rank = 8, .alpha = 8, .seed = 5}, 1},
               {"synth:tiny", steps, {0}, 1},
               /* rows beside which adapters go into weights, on the way there, and on the way back too */
               {"synth:tiny-qwen2:nf4", lora, {.rank = 8, .alpha = 16, .seed = 6}, 5},
               {"synth:tiny-qwen2:nf4", lora, {.rank = 8, .alpha = 16, .seed = 6}, TIMES},
               {"synth:lessons-tiny:int8", lora, {.rank = 24, .alpha = 24, .seed = 7}, TIMES}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(all); i++) {
        learner l[2] = {learner_new(cpu, all[i].model, all[i].w, &all[i].o),
                        learner_new(gpu, all[i].model, all[i].w, &all[i].o)};
        bl_train_batch b = batch(l[0].m->config.vocab, all[i].times);
        double nll[2], n = (double)bl_train_batch_tokens(&b);
        for (int k = 0; k < 2; k++) assert_ok(bl_gradients(l[k].t, &b, 1 / n, &nll[k], &e));
        if (!(fabs(nll[0] - nll[1]) <= 2e-3 * nll[0]))
            fail_msg("%s: loss %g on the CPU, %g on the device", all[i].model, nll[0] / n, nll[1] / n);
        assert_int_equal(l[0].t->n_params, l[1].t->n_params);
        for (size_t p = 0; p < l[0].t->n_params; p++) {
            const bl_trained *pc = &l[0].t->param[p], *pg = &l[1].t->param[p];
            int64_t size = bl_tensor_count(&pc->grad);
            float *c = malloc((size_t)size * sizeof *c), *g = malloc((size_t)size * sizeof *g);
            assert_ok(cpu->ops->download(cpu, &pc->grad, c, &e));
            assert_ok(gpu->ops->download(gpu, &pg->grad, g, &e));
            double d = distance(c, g, size), power = 0;
            for (int64_t k = 0; k < size; k++) power += (double)c[k] * c[k];
            assert_true(power > 0);
            if (!(d <= 3e-3)) fail_msg("%s, %s: error %g", all[i].model, pc->name, d);
            free(c);
            free(g);
        }
        learner_drop(&l[0]);
        learner_drop(&l[1]);
    }
}

static void steps_on_one_batch_learn_it_by_heart(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    for (int eight = 0; eight < 2; eight++) {
        learner l = learner_new(gpu, "synth:lessons-tiny", full, NULL);
        bl_train_batch b = batch(97, 1);
        bl_adamw o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1, .eight_bits = eight != 0};
        double nll, first = 0, n = (double)bl_train_batch_tokens(&b);
        for (int i = 0; i < 150; i++) {
            assert_ok(bl_gradients(l.t, &b, 1 / n, &nll, &e));
            assert_ok(bl_adamw_step(&o, l.t, 1e-2, NULL, &e));
            if (i == 0) first = nll / n;
        }
        assert_true(first > 4);
        if (!(nll / n < 0.5)) fail_msg("the loss is %g after 150 steps", nll / n);
        learner_drop(&l);
    }
}

static void two_runs_are_the_same_bits(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    learner l[2] = {learner_new(gpu, "synth:lessons-tiny", full, NULL),
                    learner_new(gpu, "synth:lessons-tiny", full, NULL)};
    bl_train_batch b = batch(97, 1);
    for (int k = 0; k < 2; k++) {
        bl_adamw o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
        double nll;
        for (int i = 0; i < 10; i++) {
            assert_ok(bl_gradients(l[k].t, &b, 0.01, &nll, &e));
            assert_ok(bl_adamw_step(&o, l[k].t, 1e-2, NULL, &e));
        }
    }
    for (size_t p = 0; p < l[0].t->n_params; p++) {
        int64_t n = bl_tensor_count(&l[0].t->param[p].value);
        float *x[2];
        for (int k = 0; k < 2; k++) {
            x[k] = malloc((size_t)n * sizeof **x);
            assert_ok(gpu->ops->download(gpu, &l[k].t->param[p].value, x[k], &e));
        }
        assert_memory_equal(x[0], x[1], (size_t)n * sizeof **x);
        free(x[0]);
        free(x[1]);
    }
    learner_drop(&l[0]);
    learner_drop(&l[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_gradients_are_those_of_the_cpu),
        cmocka_unit_test(steps_on_one_batch_learn_it_by_heart),
        cmocka_unit_test(two_runs_are_the_same_bits),
    };
    return gpu_run_tests("gpu_gradients", tests);
}
