/* Gradients of whole models against central differences of the loss, for each scheme a weight may be trained by; what
 * training must leave as it is. */
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "harness/train/taught.h"
#include "kernels/base/rng.h"
#include "kernels/grid_both.h"
#include "model_fixture.h"
#include <math.h>

enum { LEN = 23 };
static const int32_t start[] = {0, 14, LEN};
static int32_t ids[LEN];
static uint8_t mask[LEN];

static bl_train_batch batch(int64_t vocab)
{
    bl_rng r = bl_rng_at(11, 4, 0);
    for (int i = 0; i < LEN; i++) {
        ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
        mask[i] = i % 5 != 2;
    }
    return (bl_train_batch){.ids = ids, .n_seq = 2, .start = start, .mask = mask};
}

/* The loss, and with it new gradients, with the dropout masks of pass `pass`. */
static double loss_of(bl_trainable *t, const bl_train_batch *b, uint32_t pass)
{
    bl_err e = {0};
    double nll, n = (double)bl_train_batch_tokens(b);
    for (size_t i = 0; i < t->n_params; i++) assert_ok(t->m->be->ops->fill(t->m->be, &t->param[i].grad, 0, &e));
    t->pass = pass;
    assert_ok(bl_trainable_make(t, &e));
    assert_ok(bl_gradients(t, b, 1 / n, &nll, &e));
    return nll / n;
}

/* On the CPU the numbers of a tensor are in host memory. */
static float *numbers(const bl_tensor *t) { return (float *)(void *)((char *)t->buf->data + t->offset); }

/* Every parameter whose name has `only` in it is moved along its gradient, with noise that is as large, and the loss
 * changes as their product says: |g| (|g| + g . noise). */
static void assert_gradients_of(const char *only, const char *what, bl_trainable *t, const bl_train_batch *b,
                                double tolerance)
{
    bl_rng r = bl_rng_at(3, 9, 0);
    double all = 0;
    loss_of(t, b, 1);
    float **g = malloc(t->n_params * sizeof *g);
    for (size_t i = 0; i < t->n_params; i++) {
        int64_t n = bl_tensor_count(&t->param[i].grad);
        g[i] = malloc((size_t)n * sizeof **g);
        memcpy(g[i], numbers(&t->param[i].grad), (size_t)n * sizeof **g);
        for (int64_t k = 0; k < n; k++) all += (double)g[i][k] * g[i][k];
    }
    for (size_t i = 0; i < t->n_params; i++) {
        const bl_trained *p = &t->param[i];
        if (!strstr(p->name, only)) continue;
        int64_t n = bl_tensor_count(&p->value);
        float *x = numbers(&p->value), *was = malloc((size_t)n * sizeof *was), *u = malloc((size_t)n * sizeof *u);
        double length = 0, slope = 0, step, side[2];
        for (int64_t k = 0; k < n; k++) length += (double)g[i][k] * g[i][k];
        length = sqrt(length);
        if (!(length > 0)) fail_msg("%s: %s has no gradient", what, p->name);
        for (int64_t k = 0; k < n; k++) {
            u[k] = (float)(g[i][k] / length + (bl_rng_uniform(&r) * 2 - 1) / sqrt((double)n));
            slope += (double)u[k] * g[i][k];
        }
        memcpy(was, x, (size_t)n * sizeof *was);
        step = fmin(0.02, 0.004 / length); /* the loss changes by 0.004: far above the rounding of f32 */
        for (int s = 0; s < 2; s++) {
            for (int64_t k = 0; k < n; k++) x[k] = was[k] + (s ? -1 : 1) * (float)step * u[k];
            side[s] = loss_of(t, b, 1);
        }
        memcpy(x, was, (size_t)n * sizeof *was);
        double got = (side[0] - side[1]) / (2 * step);
        if (!(fabs(got - slope) <= tolerance * fmax(fabs(slope), 0.02 * sqrt(all))))
            fail_msg("%s, %s: slope %.6g, central difference %.6g", what, p->name, slope, got);
        free(was);
        free(u);
    }
    for (size_t i = 0; i < t->n_params; i++) free(g[i]);
    free(g);
}

static void assert_gradients(const char *what, bl_trainable *t, const bl_train_batch *b, double tolerance)
{
    assert_gradients_of("", what, t, b, tolerance);
}

static void gradients_of_every_architecture_are_those_of_central_differences(void **state)
{
    (void)state;
    static const char *const models[] = {"synth:tiny", "synth:tiny-biases", "synth:tiny-qwen2", "synth:tiny-qwen3"};
    bl_err e = {0};
    for (size_t i = 0; i < BL_COUNT(models); i++) {
        fixture f = fixture_open(models[i], "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_full(t, &e));
        assert_gradients(models[i], t, &b, 0.01);
        bl_trainable_free(t);
        fixture_close(&f);
    }
}

/* B is 0 at first: random numbers instead, so that A has a gradient. */
static void set_b(bl_trainable *t)
{
    bl_rng r = bl_rng_at(2, 8, 0);
    for (size_t i = 0; i < t->n_params; i++)
        if (strstr(t->param[i].name, ".lora_B"))
            for (int64_t k = 0; k < bl_tensor_count(&t->param[i].value); k++)
                numbers(&t->param[i].value)[k] = (float)(0.2 * (bl_rng_uniform(&r) - 0.5));
}

static void gradients_of_adapters_are_those_of_central_differences(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        bl_lora o;
    } all[] = {
        {"synth:tiny", {.rank = 3, .alpha = 6, .seed = 1}},
        {"synth:tiny:int4", {.rank = 8, .alpha = 16, .seed = 2, .rank_stabilized = true}},
        {"synth:tiny:int4", {.rank = 4, .alpha = 8, .seed = 3, .dropout = 0.2}},
        {"synth:tiny-qwen3", {.rank = 4, .alpha = 8, .seed = 4, .dropout = 0.1}},
        {"synth:tiny", {.rank = 2, .alpha = 4, .seed = 5, .targets = BL_ROLE_BIT(BL_ROLE_Q) | BL_ROLE_BIT(BL_ROLE_V)}}};
    bl_err e = {0};
    for (size_t i = 0; i < BL_COUNT(all); i++) {
        fixture f = fixture_open(all[i].model, "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_lora(t, &all[i].o, &e));
        assert_int_equal(t->n_params, 2 * (all[i].o.targets ? 4 : f.m->n_linears));
        set_b(t);
        assert_gradients(all[i].model, t, &b, 0.01);
        bl_trainable_free(t);
        fixture_close(&f);
    }
}

/* Of DoRA those of the lengths, which A and B do not take part in by its authors' choice; with dropout the weight sees
 * what its adapter does not. */
static void gradients_of_lengths_are_those_of_central_differences(void **state)
{
    (void)state;
    static const double dropout[] = {0, 0.3};
    bl_err e = {0};
    for (size_t i = 0; i < 2 * BL_COUNT(dropout); i++) {
        const char *model = i % 2 ? "synth:tiny-qwen2:nf4" : "synth:tiny";
        fixture f = fixture_open(model, "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_lora(t, &(bl_lora){.rank = 4, .alpha = 8, .seed = 6, .dropout = dropout[i / 2]}, &e));
        assert_ok(bl_train_dora(t, &e));
        set_b(t);
        assert_gradients_of(".lora_magnitude_vector", model, t, &b, 0.01);
        bl_trainable_free(t);
        fixture_close(&f);
    }
}

/* Inputs that are scaled and turned before a product with a packed weight, outputs that are scaled after it; an adapter
 * that is there already, and one that is trained, read them as they come. */
static void gradients_go_through_transformed_inputs_and_adapters_that_are_there(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_rng r = bl_rng_at(4, 6, 0);
    fixture f = fixture_open("synth:tiny:int4", "", 2, false);
    bl_train_batch b = batch(f.m->config.vocab);
    bl_trainable *t;
    for (size_t i = 0; i < f.m->n_linears; i++) {
        bl_linear *l = &f.m->linears[i];
        bl_tensor scale = fixture_tensor(&f, BL_F32, 1, l->in), a = fixture_tensor(&f, BL_F32, 2, l->in + 16),
                  v = fixture_tensor(&f, BL_F32, l->out + 16, 2);
        scale = bl_tensor_1d(scale.buf, 0, BL_F32, l->in);
        a = bl_tensor_2d(a.buf, 0, BL_F32, 2, l->in);
        v = bl_tensor_2d(v.buf, 0, BL_F32, l->out, 2);
        for (int64_t k = 0; k < l->in; k++) numbers(&scale)[k] = (float)(0.5 + bl_rng_uniform(&r));
        for (int64_t k = 0; k < 2 * l->in; k++) numbers(&a)[k] = (float)(0.2 * (bl_rng_uniform(&r) - 0.5));
        for (int64_t k = 0; k < 2 * l->out; k++) numbers(&v)[k] = (float)(0.2 * (bl_rng_uniform(&r) - 0.5));
        assert_ok(bl_linear_add_transform(
            l, &(bl_transform){.kind = BL_T_SCALE, .in = l->in, .out = l->in, .data = scale}, &e));
        if (l->in == 64)
            assert_ok(
                bl_linear_add_transform(l, &(bl_transform){.kind = BL_T_HADAMARD, .in = l->in, .out = l->in}, &e));
        assert_ok(bl_linear_add_adapter(l, &(bl_lowrank){.a = a, .b = v, .scale = 2}, &e));
        bl_tensor by = fixture_tensor(&f, BL_F32, 1, l->out);
        by = bl_tensor_1d(by.buf, 0, BL_F32, l->out);
        for (int64_t k = 0; k < l->out; k++) numbers(&by)[k] = (float)(0.5 + bl_rng_uniform(&r));
        assert_ok(
            bl_linear_add_after(l, &(bl_transform){.kind = BL_T_SCALE, .in = l->out, .out = l->out, .data = by}, &e));
    }
    f.m->config.turned_keys = true;
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_ok(bl_train_lora(t, &(bl_lora){.rank = 4, .alpha = 8, .seed = 3}, &e));
    set_b(t);
    assert_gradients("transformed", t, &b, 0.01);
    bl_trainable_free(t);
    fixture_close(&f);
}

/* Beside itself a model has nothing to learn from the divergence; beside another the gradients are those of the loss,
 * whose divergence is a sum over tokens and a mean over the sequences of a step. */
static void gradients_towards_a_teacher_are_those_of_central_differences(void **state)
{
    (void)state;
    bl_err e = {0};
    for (int other = 0; other < 3; other++) { /* the same; another; another of which some logits are kept */
        fixture f = fixture_open(other ? "synth:tiny:int2" : "synth:tiny", "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_checkpoint *teacher;
        bl_trainable *t;
        assert_ok(bl_checkpoint_open("synth:tiny", NULL, &teacher, &e));
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_lora(t, &(bl_lora){.rank = 4, .alpha = 8, .seed = 3}, &e));
        assert_refused(bl_train_taught(t, teacher, 0, 0, &e), BL_E_CONFIG, "above 0");
        assert_ok(bl_train_taught(t, teacher, other ? 0.05 : 1, other > 0, &e));
        if (other == 2) assert_ok(bl_train_topk(t, 9, &e));
        if (other) {
            set_b(t);
            assert_gradients(other == 1 ? "a teacher" : "some logits of a teacher", t, &b, 0.01);
        }
        if (other == 1) {
            t->ce = 0;
            const double one = loss_of(t, &b, 1);
            t->sequences = 2;
            const double half = loss_of(t, &b, 1);
            assert_true(one > 0.01 && fabs(half - one / 2) < 1e-9 * one);
            assert_refused(bl_train_topk(t, f.m->config.vocab + 1, &e), BL_E_CONFIG, "tokens");
            bl_trainable *all; /* of the same model, beside the adapters that it has by now */
            assert_ok(bl_trainable_new(f.m, &all, &e));
            assert_ok(bl_train_lora(all, &(bl_lora){.rank = 4, .alpha = 8, .seed = 4}, &e));
            assert_ok(bl_train_taught(all, teacher, 0.05, 1, &e));
            assert_ok(bl_train_topk(all, f.m->config.vocab, &e));
            all->ce = 0;
            all->sequences = 2;
            assert_true(fabs(loss_of(all, &b, 1) - half) < 1e-6 * half);
            bl_trainable_free(all);
        } else if (!other) {
            assert_true(loss_of(t, &b, 1) == 0);
            for (size_t i = 0; i < t->n_params; i++)
                for (int64_t k = 0; k < bl_tensor_count(&t->param[i].grad); k++)
                    assert_true(numbers(&t->param[i].grad)[k] == 0);
        }
        bl_trainable_free(t);
        bl_checkpoint_close(teacher);
        fixture_close(&f);
    }
}

static const bl_ops *whole_ops;
static int embedded;
static bl_status counts(bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    embedded++;
    return whole_ops->embed(be, a, e);
}
/* A teacher's pass over sequences that it had before is not made again: of the two passes, each of which embeds once,
 * one is left, and gradients have the same bits. */
static void a_teacher_that_keeps_its_states_makes_them_once(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny:int2", "", 2, false);
    bl_train_batch b = batch(f.m->config.vocab);
    bl_checkpoint *c;
    bl_trainable *t;
    uint8_t others[LEN];
    float *was = NULL;
    const int64_t tokens = bl_train_batch_tokens(&b);
    assert_ok(bl_checkpoint_open("synth:tiny", NULL, &c, &e));
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_ok(bl_train_lora(t, &(bl_lora){.rank = 4, .alpha = 8, .seed = 3}, &e));
    assert_ok(bl_train_taught(t, c, 1, 0.5, &e));
    set_b(t);
    bl_ops ops = *(whole_ops = t->m->be->ops);
    ops.embed = counts;
    t->m->be->ops = &ops;
    const bl_tensor *g = &t->param[1].grad;
    double loss = 0;
    for (int k = 0; k < 4; k++) { /* none is kept; it comes to be; it is there; of other tokens that count it is not */
        if (k == 1) bl_teacher_keep(t->teacher, 2 * tokens);
        if (k == 3) {
            for (int i = 0; i < LEN; i++) others[i] = i % 2;
            b.mask = others;
        }
        embedded = 0;
        const double now = loss_of(t, &b, 1);
        assert_int_equal(embedded, k == 2 ? 1 : 2);
        if (k == 0) {
            loss = now;
            assert_non_null(was = malloc(bl_tensor_bytes(g)));
            memcpy(was, numbers(g), bl_tensor_bytes(g));
        } else if (k < 3) {
            assert_true(now == loss);
            assert_memory_equal(was, numbers(g), bl_tensor_bytes(g));
        }
    }
    assert_true(bl_teacher_keeps(t->teacher) > 0);
    bl_teacher_keep(t->teacher, INT64_C(1) << 40);
    assert_true(bl_teacher_keeps(t->teacher) == 0);
    t->m->be->ops = whole_ops;
    free(was);
    bl_trainable_free(t);
    bl_checkpoint_close(c);
    fixture_close(&f);
}

static void new_adapters_change_nothing_and_learn_from_b_on(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny:int4", "", 2, false);
    bl_train_batch b = batch(f.m->config.vocab);
    bl_trainable *t;
    bl_tensor before = fixture_hidden(&f, ids, LEN), after;
    size_t bytes = bl_tensor_bytes(&before);
    double first, later = 0;
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_ok(bl_train_lora(t, &(bl_lora){.rank = 4, .alpha = 8, .seed = 1}, &e));
    after = fixture_hidden(&f, ids, LEN);
    assert_memory_equal(numbers(&before), numbers(&after), bytes);
    fixture_drop(&f, &after);
    first = loss_of(t, &b, 0);
    for (size_t i = 0; i < t->n_params; i++) {
        double sum = 0;
        for (int64_t k = 0; k < bl_tensor_count(&t->param[i].grad); k++)
            sum += fabs((double)numbers(&t->param[i].grad)[k]);
        assert_true(strstr(t->param[i].name, ".lora_A") ? sum == 0 : sum > 0);
        double bound = 1 / sqrt((double)t->param[i].value.dim[1]), top = 0; /* U(-1/sqrt(in), 1/sqrt(in)) */
        for (int64_t k = 0; k < bl_tensor_count(&t->param[i].value); k++)
            top = fmax(top, fabs((double)numbers(&t->param[i].value)[k]));
        assert_true(strstr(t->param[i].name, ".lora_A") ? top <= bound && top > 0.9 * bound : top == 0);
    }
    for (int step = 0; step < 8; step++) {
        later = loss_of(t, &b, 0);
        assert_ok(bl_adamw_step(&o, t, 1e-2, NULL, &e));
    }
    assert_true(later < first - 0.1);
    for (size_t i = 0; i < t->n_params; i++) assert_true(t->param[i].m.dtype == BL_F32);
    after = fixture_hidden(&f, ids, LEN); /* what was learned stays with the model */
    assert_true(memcmp(numbers(&before), numbers(&after), bytes) != 0);
    fixture_drop(&f, &after);
    fixture_drop(&f, &before);
    bl_trainable_free(t);
    fixture_close(&f);
}

/* dw of the weights that products are computed with, from full training of the same model, goes through the rounding
 * where nothing was clipped. */
static void moments_of_eight_bits_learn_as_well(void **state)
{
    (void)state;
    bl_err e = {0};
    double first[2], later[2];
    for (int eight = 0; eight < 2; eight++) {
        fixture f = fixture_open("synth:tiny", "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t;
        bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01, .clip = 1, .eight_bits = eight};
        size_t small = 0, large = 0;
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_full(t, &e));
        first[eight] = loss_of(t, &b, 0);
        for (int step = 0; step < 8; step++) {
            later[eight] = loss_of(t, &b, 0);
            assert_ok(bl_adamw_step(&o, t, 1e-3, NULL, &e));
        }
        for (size_t i = 0; i < t->n_params; i++) {
            bool codes = t->param[i].m.dtype == BL_U8 && t->param[i].v.dtype == BL_U8;
            assert_true(codes == (eight && bl_tensor_count(&t->param[i].value) >= 4096));
            small += !codes;
            large += codes;
        }
        assert_true(small > 0 && (large > 0) == eight);
        bl_trainable_free(t);
        fixture_close(&f);
    }
    assert_true(first[0] == first[1] && later[0] < first[0] - 0.1);
    assert_true(fabs(later[1] - later[0]) < 0.05 * (first[0] - later[0]));
}

/* What products of a linear are with, made from its parameters. */
static float *effective(bl_trainable *t, bl_effective *w)
{
    bl_err e = {0};
    bl_backend *be = t->m->be;
    bl_buffer *buf;
    float *y = malloc((size_t)(w->linear->out * w->linear->in) * sizeof *y);
    assert_ok(be->ops->buffer_new(be, (uint64_t)(w->linear->out * w->linear->in) * sizeof *y + 64, &buf, &e));
    bl_tensor made = bl_tensor_2d(buf, 0, BL_F32, w->linear->out, w->linear->in);
    assert_ok(w->rule->make(t, w, made, &e));
    assert_ok(be->ops->download(be, &made, y, &e));
    be->ops->buffer_free(buf);
    return y;
}

/* Parameter k of a linear whose weight is on a grid, its numbers or its gradient's. */
static float *of(bl_trainable *t, const bl_effective *w, int k, bool grad)
{
    const bl_trained *p = &t->param[w->param[k]];
    return numbers(grad ? &p->grad : &p->value);
}

/* g = dL/d(what is rounded) from want = dL/dW: in g's place of the factors' gradients dB = s g At, dA = s Bt g. */
static void assert_factors(bl_trainable *t, const bl_effective *w, const float *g)
{
    const int64_t out = w->linear->out, in = w->linear->in, rank = t->param[w->param[0]].value.dim[0];
    const float *a = of(t, w, 0, false), *b = of(t, w, 1, false), *da = of(t, w, 0, true), *db = of(t, w, 1, true);
    double error = 0, all = 0;
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < rank; k++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++) sum += w->low_rank * (double)g[o * in + i] * a[k * in + i];
            error += pow(sum - db[o * rank + k], 2);
            all += sum * sum;
        }
    for (int64_t k = 0; k < rank; k++)
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++) sum += w->low_rank * (double)g[o * in + i] * b[o * rank + k];
            error += pow(sum - da[k * in + i], 2);
            all += sum * sum;
        }
    if (!(error <= 1e-10 * all && all > 0)) fail_msg("%s: error %g of %g", w->linear->name, error, all);
}

/* Gradients of parameters from dL/dW of a model that has the rounded weights and trains all of them. */
static void assert_chained(bl_trainable *t, bl_effective *w, const float *want)
{
    const int64_t out = w->linear->out, in = w->linear->in, groups = (in + w->grid.group - 1) / w->grid.group;
    const bool factors = w->grid.kind == BL_GRID_OFFSET || w->grid.kind == BL_GRID_INSIDE;
    const int at = factors ? 2 : 1;
    bl_err e = {0};
    float *x = malloc((size_t)(out * in) * sizeof *x), *g = malloc((size_t)(out * in) * sizeof *g);
    if (factors) { /* what is rounded */
        bl_buffer *buf;
        assert_ok(t->m->be->ops->buffer_new(t->m->be, (uint64_t)(out * in) * sizeof *x + 64, &buf, &e));
        bl_tensor dense = bl_tensor_2d(buf, 0, BL_F32, out, in);
        assert_ok(
            t->m->be->ops->unpack(t->m->be, &(bl_unpack_args){.w = &w->linear->weight, .rows = out, .y = dense}, &e));
        assert_ok(t->m->be->ops->download(t->m->be, &dense, x, &e));
        t->m->be->ops->buffer_free(buf);
        const int64_t rank = t->param[w->param[0]].value.dim[0];
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i < in; i++) {
                double sum = 0;
                for (int64_t k = 0; k < rank; k++)
                    sum += (double)of(t, w, 1, false)[o * rank + k] * of(t, w, 0, false)[k * in + i];
                x[o * in + i] += (float)(w->low_rank * sum);
            }
    } else memcpy(x, of(t, w, 0, false), (size_t)(out * in) * sizeof *x);
    for (int64_t r = 0; r < out; r++)
        for (int64_t k = 0; k < groups; k++) {
            const bl_grid_group as = bl_grid_of(w->grid.kind, w->grid.bits, w->grid.half,
                                                of(t, w, at, false)[r * groups + k],
                                                w->n_params > at + 1 ? of(t, w, at + 1, false)[r * groups + k] : 0);
            double ds = 0, most = 0;
            const int64_t end = BL_MIN((k + 1) * w->grid.group, in);
            for (int64_t i = k * w->grid.group; i < end; i++) {
                const bl_grid_slopes d = bl_grid_slopes_at(w->grid.kind, &as, x[r * in + i]);
                g[r * in + i] = d.w * want[r * in + i];
                ds += (double)d.s * want[r * in + i];
                most += fabs((double)d.s * want[r * in + i]);
            }
            if (w->grid.kind == BL_GRID_STEP || w->grid.kind == BL_GRID_OFFSET)
                ds /= sqrt((double)(end - k * w->grid.group) * ((1 << (w->grid.bits - 1)) - 1));
            assert_true(fabs(ds - of(t, w, at, true)[r * groups + k]) <= 1e-4 * most);
        }
    if (factors) assert_factors(t, w, g);
    for (int64_t i = 0; !factors && i < out * in; i++) assert_true(of(t, w, 0, true)[i] == g[i]);
    free(x);
    free(g);
}

static void grids_are_learned_through_the_rounding(void **state)
{
    static const struct {
        bl_grid grid;
        bl_phi phi;
        double bits; /* stored: a scale, an offset for at most 32 codes */
    } rows[] = {{{BL_GRID_STEP, 2, 32, false}, 0, 3.2},           {{BL_GRID_STEP, 8, 32, false}, 0, 9.2},
                {{BL_GRID_AFFINE, 2, 32, true}, 0, 2.7},          {{BL_GRID_AFFINE, 4, 32, false}, 0, 5.3},
                {{BL_GRID_OFFSET, 3, 32, true}, 0, 4.2},          {{BL_GRID_OFFSET, 4, 32, false}, 0, 6.2},
                {{BL_GRID_INSIDE, 2, 0, true}, 0, 2.6},           {{BL_GRID_INSIDE, 4, 32, false}, BL_PHI_INT, 5.2},
                {{BL_GRID_INSIDE, 3, 32, true}, BL_PHI_BF16, 3.7}};
    (void)state;
    bl_err e = {0};
    char name[16];
    for (size_t row = 0; row < BL_COUNT(rows); row++) {
        const bl_grid grid = rows[row].grid;
        const bool factors = grid.kind == BL_GRID_OFFSET || grid.kind == BL_GRID_INSIDE;
        fixture f = fixture_open("synth:tiny", "", 2, false), g = fixture_open("synth:tiny", "", 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t, *full;
        bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
        double later = 0, last;
        bl_rng r = bl_rng_at(8, 1, row);
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_grid(
            t,
            &(bl_grid_learned){
                .grid = grid, .rank = 3, .alpha = 6, .seed = 4, .phi = rows[row].phi, .rate = factors ? 0.1 : 1},
            &e));
        assert_int_equal(t->n_params, f.m->n_linears * (2 + (size_t)factors +
                                                        (grid.kind == BL_GRID_AFFINE || grid.kind == BL_GRID_OFFSET)));
        for (size_t i = 0; factors && i < f.m->n_linears; i++) /* B is 0 at first: A would have no gradient */
            for (int64_t k = 0; k < 3 * f.m->linears[i].out; k++)
                of(t, &t->w[i], 1, false)[k] = (float)(0.02 * (bl_rng_uniform(&r) - 0.5));
        assert_ok(bl_trainable_new(g.m, &full, &e));
        assert_ok(bl_train_full(full, &e));
        for (size_t i = 0; i < f.m->n_linears; i++) { /* the other model gets the rounded weights */
            float *w = effective(t, &t->w[i]);
            memcpy(numbers(&g.m->linears[i].weight.part[0]), w, bl_tensor_bytes(&g.m->linears[i].weight.part[0]));
            free(w);
        }
        const double first = loss_of(t, &b, 0);
        assert_true(loss_of(full, &b, 0) == first);
        for (size_t i = 0; i < f.m->n_linears; i++)
            assert_chained(t, &t->w[i], numbers(&full->param[full->w[i].param[0]].grad));
        for (int step = 0; step < 12; step++) {
            later = loss_of(t, &b, 0);
            assert_ok(bl_adamw_step(&o, t, 2e-3, NULL, &e));
        }
        if (!(later < first - 0.02)) fail_msg("row %zu: loss %g, at first %g", row, later, first);
        assert_ok(bl_loss(t, &b, &last, &e)); /* what is kept has the same values, bit for bit */
        assert_ok(bl_trainable_store(t, &e));
        assert_ok(bl_loss(t, &b, &later, &e));
        assert_true(last == later);
        snprintf(name, sizeof name, "int%d", grid.bits);
        for (size_t i = 0; i < f.m->n_linears; i++) assert_string_equal(f.m->linears[i].weight.format->name, name);
        assert_true(bl_model_bits(f.m) < rows[row].bits);
        bl_trainable_free(t);
        bl_trainable_free(full);
        fixture_close(&f);
        fixture_close(&g);
    }
}

static void micro_batches_add_up_and_threads_change_no_bit(void **state)
{
    (void)state;
    bl_err e = {0};
    float *want = NULL;
    double together = 0;
    for (int way = 0; way < 3; way++) { /* two threads, one, two micro-batches */
        fixture f = fixture_open("synth:tiny", "", way == 1 ? 1 : 2, false);
        bl_train_batch b = batch(f.m->config.vocab);
        bl_trainable *t;
        double nll, more = 0, n = (double)bl_train_batch_tokens(&b);
        assert_ok(bl_trainable_new(f.m, &t, &e));
        assert_ok(bl_train_full(t, &e));
        if (way < 2) assert_ok(bl_gradients(t, &b, 1 / n, &nll, &e));
        else {
            bl_train_batch one = {.ids = ids, .n_seq = 1, .start = start, .mask = mask};
            bl_train_batch two = {.ids = ids + start[1], .n_seq = 1, .mask = mask + start[1]};
            two.start = (const int32_t[]){0, LEN - start[1]};
            assert_int_equal(bl_train_batch_tokens(&one) + bl_train_batch_tokens(&two), (int)n);
            assert_ok(bl_gradients(t, &one, 1 / n, &nll, &e));
            assert_ok(bl_gradients(t, &two, 1 / n, &more, &e));
        }
        if (way) assert_true(fabs(nll + more - together) < 1e-9 * together);
        together = nll + more;
        size_t k = 0;
        if (!want) want = malloc(bl_trainable_count(t) * sizeof *want);
        for (size_t i = 0; i < t->n_params; i++) {
            const float *g = numbers(&t->param[i].grad);
            int64_t count = bl_tensor_count(&t->param[i].grad);
            double top = 0;
            for (int64_t j = 0; j < count; j++) top = fmax(top, fabs((double)g[j]));
            if (way == 0) memcpy(want + k, g, (size_t)count * sizeof *g);
            if (way == 1) assert_memory_equal(want + k, g, (size_t)count * sizeof *g);
            for (int64_t j = 0; j < count && way == 2; j++) assert_true(fabs(g[j] - want[k + (size_t)j]) <= 1e-5 * top);
            k += (size_t)count;
        }
        bl_trainable_free(t);
        fixture_close(&f);
    }
    free(want);
}

/* A pass finds its activations where the one before left them, of more rows too, and its numbers are those of a first
 * pass; bl_trainable_rest gives all of it back. */
static void activations_stay_where_they_are_between_passes(void **state)
{
    (void)state;
    bl_err e = {0};
    for (int keep = 0; keep < 2; keep++) {
        double first = 0;
        float *g = NULL;
        for (int again = 0; again < 2; again++) {
            fixture f = fixture_open("synth:tiny", "", 2, false);
            bl_train_batch b = batch(f.m->config.vocab), few = b;
            bl_trainable *t;
            uint64_t before, now, then;
            few.n_seq = 1;
            assert_ok(bl_trainable_new(f.m, &t, &e));
            assert_ok(bl_train_lora(t, &(bl_lora){.rank = 2, .alpha = 4, .seed = 5}, &e));
            set_b(t);
            t->keep = keep;
            f.m->be->ops->memory(f.m->be, &before, NULL);
            if (again) {
                loss_of(t, &b, 1);
                f.m->be->ops->memory(f.m->be, &now, NULL);
                const void *tape = t->room.tape[0].owned->data, *work = t->room.work->data;
                loss_of(t, &b, 1);
                f.m->be->ops->memory(f.m->be, &then, NULL);
                assert_int_equal(then, now);
                assert_ptr_equal(t->room.tape[0].owned->data, tape);
                assert_ptr_equal(t->room.work->data, work);
            }
            const double loss = loss_of(t, &few, 1);
            const bl_tensor *grad = &t->param[0].grad;
            if (!again) {
                first = loss;
                g = malloc(bl_tensor_bytes(grad));
                memcpy(g, numbers(grad), bl_tensor_bytes(grad));
            } else {
                assert_true(loss == first);
                assert_memory_equal(g, numbers(grad), bl_tensor_bytes(grad));
            }
            f.m->be->ops->memory(f.m->be, &now, NULL);
            bl_trainable_rest(t);
            f.m->be->ops->memory(f.m->be, &then, NULL);
            assert_true(then < now - bl_tape_bytes(f.m, few.start[1]));
            if (again)
                assert_true(then < before + bl_tape_bytes(f.m, LEN)); /* work of products and of the model is left */
            bl_trainable_free(t);
            fixture_close(&f);
        }
        free(g);
    }
}

static void what_cannot_be_trained_is_refused_with_a_sentence(void **state)
{
    (void)state;
    bl_err e = {0};
    double nll;
    fixture f = fixture_open("synth:tiny", "", 1, true);
    bl_trainable *t = NULL;
    assert_refused(bl_trainable_new(f.m, &t, &e), BL_E_UNSUPPORTED, "streamed");
    fixture_close(&f);
    f = fixture_open("synth:tiny", "", 1, false);
    bl_train_batch b = batch(f.m->config.vocab);
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_refused(bl_train_lora(t, &(bl_lora){.rank = 0}, &e), BL_E_CONFIG, "rank"); /* R93 */
    assert_refused(bl_train_lora(t, &(bl_lora){.rank = 1, .dropout = 1}, &e), BL_E_CONFIG, "dropout");
    assert_refused(bl_train_lora(t, &(bl_lora){.rank = 1, .targets = BL_ROLE_BIT(BL_ROLE_EMBED)}, &e), BL_E_CONFIG,
                   "targets");
    assert_refused(bl_train_grid(t, &(bl_grid_learned){.grid = {.kind = BL_GRID_STEP, .bits = 1, .group = 32}}, &e),
                   BL_E_CONFIG, "bits");
    assert_ok(bl_train_lora(t, &(bl_lora){.rank = 2, .alpha = 2}, &e));
    ids[3] = (int32_t)f.m->config.vocab;
    assert_refused(bl_gradients(t, &b, 1, &nll, &e), BL_E_FORMAT, "token id 512 is outside the vocabulary");
    ids[3] = 0;
    const bl_ops *whole = f.be->ops; /* a backend that cannot train says which op it lacks */
    bl_ops less = *whole;
    less.attention_grad = NULL;
    f.be->ops = &less;
    assert_refused(bl_gradients(t, &b, 1, &nll, &e), BL_E_UNSUPPORTED, "has no attention_grad");
    less = *whole;
    less.loss_grad = NULL;
    assert_refused(bl_gradients(t, &b, 1, &nll, &e), BL_E_UNSUPPORTED, "backend cpu has no loss_grad");
    f.be->ops = whole;
    assert_ok(bl_gradients(t, &b, 1, &nll, &e));
    numbers(&t->param[1].grad)[0] = INFINITY;
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    float was = numbers(&t->param[0].value)[0];
    assert_refused(bl_adamw_step(&o, t, 1, NULL, &e), BL_E_NUMERIC, "step 1: the gradient is not finite");
    assert_true(numbers(&t->param[0].value)[0] == was && o.step == 0);
    bl_trainable_free(t);
    bl_actq eight = {.bits = 8, .symmetric = true};
    bl_linear_set_act(&f.m->linears[8], eight);
    assert_ok(bl_trainable_new(f.m, &t, &e));
    assert_refused(bl_train_full(t, &e), BL_E_UNSUPPORTED, "weight cannot be trained");
    bl_trainable_free(t);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_architecture_are_those_of_central_differences),
        cmocka_unit_test(gradients_of_adapters_are_those_of_central_differences),
        cmocka_unit_test(gradients_of_lengths_are_those_of_central_differences),
        cmocka_unit_test(gradients_go_through_transformed_inputs_and_adapters_that_are_there),
        cmocka_unit_test(gradients_towards_a_teacher_are_those_of_central_differences),
        cmocka_unit_test(a_teacher_that_keeps_its_states_makes_them_once),
        cmocka_unit_test(new_adapters_change_nothing_and_learn_from_b_on),
        cmocka_unit_test(moments_of_eight_bits_learn_as_well),
        cmocka_unit_test(grids_are_learned_through_the_rounding),
        cmocka_unit_test(micro_batches_add_up_and_threads_change_no_bit),
        cmocka_unit_test(activations_stay_where_they_are_between_passes),
        cmocka_unit_test(what_cannot_be_trained_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
