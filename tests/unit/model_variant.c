/* model_variant.c - a saved model is the state that was written, bit for bit, whatever a stage changed; it stands
 * alone.
 */
#include "model_fixture.h"
#include "same_shape.h"
#include "variant_write.h"
#include "kernels/base/rng.h"
#include <math.h>

static const bl_stage base = {.text = "base"};

/* ---- what a stage may change ---- */
enum { N_IDS = 24 };

/* Small numbers that are never 0, on a buffer of their own. */
static bl_tensor numbers(const fixture *f, int64_t rows, int64_t cols, uint64_t seed, float around, float width)
{
    bl_err e = {0};
    bl_tensor t = fixture_tensor(f, BL_F32, rows, cols);
    float *x = malloc(bl_tensor_bytes(&t));
    bl_rng r = bl_rng_at(seed, 9, 0);
    for (int64_t i = 0; i < rows * cols; i++) x[i] = around + width * ((float)bl_rng_uniform(&r) - 0.5f);
    assert_ok(f->be->ops->upload(f->be, &t, x, &e));
    assert_ok(f->be->ops->sync(f->be, &e));
    free(x);
    return t;
}
static bl_tensor vector(const fixture *f, int64_t n, uint64_t seed, float around, float width)
{
    return bl_tensor_1d(numbers(f, 1, n, seed, around, width).buf, 0, BL_F32, n);
}

/* x [out, in] in a format, as the weight of `l`. */
static void set_packed(const fixture *f, bl_linear *l, bl_tensor x, const char *format, bl_shape g)
{
    bl_err e = {0};
    bl_weight w;
    const bl_format *fmt = bl_format_find(format);
    bl_range_rule rule = fmt->kind != BL_FMT_INT  ? BL_RANGE_OWN
                         : g.zero == BL_ZERO_NONE ? BL_RANGE_SYMMETRIC
                                                  : BL_RANGE_ZERO;
    g.out = x.dim[0];
    g.in = x.dim[1];
    assert_ok(bl_weight_new(f->be, fmt, &g, &w, &e));
    assert_ok(f->be->ops->pack(f->be, &(bl_pack_args){.x = x, .w = &w, .rule = rule}, &e));
    assert_ok(f->be->ops->sync(f->be, &e));
    bl_linear_set_weight(l, &w);
}
static void set_format(const fixture *f, bl_linear *l, const char *format, bl_shape g)
{
    bl_err e = {0};
    bl_tensor x;
    assert_ok(bl_linear_dense(f->be, l, &x, &e));
    set_packed(f, l, x, format, g);
    fixture_drop(f, &x);
}

static bl_linear *linear(const fixture *f, int64_t block, bl_role role) { return bl_model_linear(f->m, block, role); }
static void add_transform(bl_linear *l, bl_transform t)
{
    bl_err e = {0};
    assert_ok(bl_linear_add_transform(l, &t, &e));
}

static void nothing(const fixture *f) { (void)f; }
static void weights_of_several_formats(const fixture *f)
{
    set_format(f, linear(f, 0, BL_ROLE_Q), "int4", (bl_shape){.group = 48, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    set_format(f, linear(f, 0, BL_ROLE_DOWN), "int3", (bl_shape){.group = 64, .zero = BL_ZERO_I16, .scale = BL_F32});
    set_format(f, linear(f, 1, BL_ROLE_UP), "nf4", (bl_shape){.group = 64, .scale = BL_F32, .double_quant = true});
    set_format(f, linear(f, 1, BL_ROLE_V), "int8", (bl_shape){.group = 64, .zero = BL_ZERO_NONE, .scale = BL_BF16});
    set_format(f, linear(f, 1, BL_ROLE_K), "fp16", (bl_shape){0});
}
static void activations(const fixture *f)
{
    bl_linear *l = linear(f, 1, BL_ROLE_V);
    set_format(f, l, "int8", (bl_shape){.group = 64, .zero = BL_ZERO_NONE, .scale = BL_BF16});
    bl_linear_set_act(l, (bl_actq){.bits = 4, .symmetric = true, .unit = BL_ACT_TOKEN});
    bl_linear_set_act(linear(f, 0, BL_ROLE_O), (bl_actq){.bits = 6, .unit = BL_ACT_GROUP, .group = 16});
    bl_linear_set_act(linear(f, 0, BL_ROLE_UP),
                      (bl_actq){.bits = 8, .unit = BL_ACT_TENSOR, .scale = 0.03f, .zero = 117});
    bl_linear_set_act(linear(f, 0, BL_ROLE_DOWN), (bl_actq){.bits = 4, .unit = BL_ACT_MXFP4});
    bl_linear_set_act(linear(f, 1, BL_ROLE_DOWN), (bl_actq){.bits = 4, .unit = BL_ACT_NVFP4});
    bl_linear_set_act(linear(f, 1, BL_ROLE_GATE), (bl_actq){.bits = 8, .unit = BL_ACT_FP8});
}
static void a_norm_of_a_block(const fixture *f)
{
    bl_norm_set(bl_model_norm(f->m, 1, BL_ROLE_MLP_NORM), vector(f, f->m->config.dim, 1, 1, 1));
}
static void the_final_norm(const fixture *f)
{
    bl_norm_set(bl_model_norm(f->m, -1, BL_ROLE_NORM), vector(f, f->m->config.dim, 2, 1, 1));
}
static void biases_of_some_blocks(const fixture *f)
{
    bl_linear *q = linear(f, 1, BL_ROLE_Q), *down = linear(f, 0, BL_ROLE_DOWN);
    bl_linear_set_bias(q, vector(f, q->out, 3, 0, 4));
    bl_linear_set_bias(down, vector(f, down->out, 4, 0, 1));
}
static void a_scale_of_the_input(const fixture *f)
{
    bl_linear *l = linear(f, 0, BL_ROLE_GATE);
    add_transform(l, (bl_transform){BL_T_SCALE, l->in, l->in, vector(f, l->in, 5, 1, 1)});
}
static void channels_that_are_reassembled(const fixture *f) /* each input twice, in another order */
{
    bl_err e = {0};
    bl_linear *l = linear(f, 1, BL_ROLE_UP);
    bl_tensor order = fixture_tensor(f, BL_I32, 1, 2 * l->in), wide = numbers(f, l->out, 2 * l->in, 6, 0, 0.1f);
    int32_t *from = malloc((size_t)(2 * l->in) * sizeof *from);
    for (int64_t i = 0; i < 2 * l->in; i++) from[i] = (int32_t)((i * 5 + 3) % l->in);
    assert_ok(f->be->ops->upload(f->be, &order, from, &e));
    assert_ok(f->be->ops->sync(f->be, &e));
    free(from);
    add_transform(l, (bl_transform){BL_T_PERMUTE, l->in, 2 * l->in, bl_tensor_1d(order.buf, 0, BL_I32, 2 * l->in)});
    set_packed(f, l, wide, "int4", (bl_shape){.group = 32, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    fixture_drop(f, &wide);
}
static void hadamard_with_and_without_signs(const fixture *f)
{
    bl_linear *o = linear(f, 0, BL_ROLE_O), *q = linear(f, 0, BL_ROLE_Q);
    add_transform(o, (bl_transform){.kind = BL_T_HADAMARD, .in = o->in, .out = o->in});
    bl_linear *k = linear(f, 0, BL_ROLE_K);
    add_transform(q, (bl_transform){BL_T_HADAMARD, q->in, q->in, vector(f, q->in, 7, 1, 0)});
    add_transform(k, (bl_transform){BL_T_HADAMARD, k->in, k->in, vector(f, 8, 7, 1, 0)}); /* in blocks of 8 */
}
static void outputs_that_are_turned(const fixture *f)
{
    bl_err e = {0};
    bl_linear *l = linear(f, 0, BL_ROLE_O);
    add_transform(l, (bl_transform){BL_T_SCALE, l->in, l->in, vector(f, l->in, 7, 1, 0)});
    assert_ok(bl_linear_add_after(l, &(bl_transform){BL_T_HADAMARD, l->out, l->out, vector(f, l->out, 9, 1, 0)}, &e));
    assert_ok(bl_linear_add_after(l, &(bl_transform){.kind = BL_T_HADAMARD, .in = l->out, .out = l->out}, &e));
    add_transform(l, (bl_transform){.kind = BL_T_HADAMARD, .in = l->in, .out = l->in}); /* before those */
    assert_true(l->n_transforms == 2 && l->n_after == 2 && l->transform[1].kind == BL_T_HADAMARD &&
                l->transform[2].data.ndim && !l->transform[3].data.ndim);
    assert_refused(bl_linear_add_after(l, &(bl_transform){.kind = BL_T_HADAMARD, .in = 32, .out = 32}, &e),
                   BL_E_INTERNAL, "expected 64");
}
static void a_block_rotation_after_a_scale(const fixture *f)
{
    bl_linear *l = linear(f, 1, BL_ROLE_DOWN);
    bl_tensor turn = numbers(f, l->in, 8, 8, 0, 0.5f);
    turn.ndim = 3;
    turn.dim[0] = l->in / 8;
    turn.dim[1] = turn.dim[2] = 8;
    turn.stride[0] = 64;
    turn.stride[1] = 8;
    turn.stride[2] = 1;
    add_transform(l, (bl_transform){BL_T_SCALE, l->in, l->in, vector(f, l->in, 9, 1, 1)});
    add_transform(l, (bl_transform){BL_T_ROTATE, l->in, l->in, turn});
}
static void sums_of_the_input(const fixture *f)
{
    bl_err e = {0};
    bl_linear *l = linear(f, 0, BL_ROLE_DOWN);
    bl_tensor rows = fixture_tensor(f, BL_I32, 5, 3);
    assert_ok(
        f->be->ops->upload(f->be, &rows, (const int32_t[]){2, 2, 2, 2, 9, 2, 9, 30, 3, 17, 30, 3, 20, 30, 3}, &e));
    assert_ok(f->be->ops->sync(f->be, &e));
    add_transform(l, (bl_transform){BL_T_PERMUTE, l->in, l->in, rows});
}
static void adapters_on_a_packed_weight(const fixture *f)
{
    bl_err e = {0};
    bl_linear *l = linear(f, 0, BL_ROLE_V), *g = linear(f, 1, BL_ROLE_GATE);
    set_format(f, l, "int2", (bl_shape){.group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    for (int i = 0; i < 2; i++)
        assert_ok(bl_linear_add_adapter(l,
                                        &(bl_lowrank){numbers(f, 3 + 4 * i, l->in, 10, 0, 1),
                                                      numbers(f, l->out, 3 + 4 * i, 11, 0, 1), i ? -0.25f : 1.5f},
                                        &e));
    assert_ok(bl_linear_add_adapter(
        g, &(bl_lowrank){numbers(f, 1, g->in, 12, 0, 1), numbers(f, g->out, 1, 13, 0, 1), 0.1f}, &e));
}
static void the_embedding(const fixture *f)
{
    set_format(f, &f->m->embed, "int8", (bl_shape){.group = 32, .zero = BL_ZERO_PACKED, .scale = BL_F16});
}
static void a_head_of_other_values_in_the_same_format(const fixture *f)
{
    bl_tensor x = numbers(f, f->m->config.vocab, f->m->config.dim, 14, 0, 0.2f);
    assert_string_equal(f->m->head.weight.format->name, "bf16");
    set_packed(f, &f->m->head, x, "bf16", (bl_shape){0});
    fixture_drop(f, &x);
}
static void a_head_with_all_a_linear_has(const fixture *f)
{
    bl_err e = {0};
    bl_linear *h = &f->m->head;
    set_format(f, h, "int4", (bl_shape){.group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    add_transform(h, (bl_transform){BL_T_SCALE, h->in, h->in, vector(f, h->in, 15, 1, 1)});
    bl_linear_set_act(h, (bl_actq){.bits = 8, .unit = BL_ACT_TOKEN});
    assert_ok(bl_linear_add_adapter(
        h, &(bl_lowrank){numbers(f, 2, h->in, 16, 0, 1), numbers(f, h->out, 2, 17, 0, 1), 1}, &e));
}

/* Logits of a sequence, [N_IDS, vocab]. */
static float *logits(const fixture *f)
{
    bl_err e = {0};
    int32_t ids[N_IDS];
    int64_t vocab = f->m->config.vocab;
    bl_rng r = bl_rng_at(1, 1, 1);
    for (int i = 0; i < N_IDS; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
    bl_tensor h = fixture_hidden(f, ids, N_IDS), y = fixture_tensor(f, BL_F32, N_IDS, vocab);
    float *x = malloc(bl_tensor_bytes(&y));
    assert_ok(bl_logits(f->m, h, 0, N_IDS, y, &e));
    assert_ok(f->be->ops->download(f->be, &y, x, &e));
    fixture_drop(f, &h);
    fixture_drop(f, &y);
    return x;
}

static void assert_same_tensor(const bl_tensor *a, const bl_tensor *b, const char *name, const char *what)
{
    bl_err e = {0};
    if (a->ndim != b->ndim || a->dtype != b->dtype || bl_tensor_bytes(a) != bl_tensor_bytes(b))
        fail_msg("%s: %s has another shape", name, what);
    if (!a->ndim) return;
    void *x = malloc(bl_tensor_bytes(a)), *y = malloc(bl_tensor_bytes(a));
    assert_ok(a->buf->backend->ops->download(a->buf->backend, a, x, &e));
    assert_ok(b->buf->backend->ops->download(b->buf->backend, b, y, &e));
    if (memcmp(x, y, bl_tensor_bytes(a))) fail_msg("%s: %s has other bits", name, what);
    free(x);
    free(y);
}

static void assert_same_linear(const bl_linear *a, const bl_linear *b)
{
    assert_string_equal(a->name, b->name);
    assert_ptr_equal(a->weight.format, b->weight.format);
    if (!a->weight.format) return; /* tied */
    assert_true(same_shape(&a->weight.shape, &b->weight.shape));
    for (int p = 0; p < a->weight.n_parts; p++)
        assert_same_tensor(&a->weight.part[p], &b->weight.part[p], a->name, "a part of the weight");
    assert_same_tensor(&a->bias, &b->bias, a->name, "the bias");
    assert_ptr_equal(a->bias_format, b->bias_format);
    assert_int_equal(a->n_transforms, b->n_transforms);
    assert_int_equal(a->n_after, b->n_after);
    for (int i = 0; i < a->n_transforms + a->n_after; i++) {
        const bl_transform *s = &a->transform[i], *t = &b->transform[i];
        assert_true(s->kind == t->kind && s->in == t->in && s->out == t->out);
        assert_same_tensor(&s->data, &t->data, a->name, "a transform");
    }
    const bl_actq *s = &a->act, *t = &b->act;
    assert_true(s->bits == t->bits && s->symmetric == t->symmetric && s->unit == t->unit && s->group == t->group &&
                s->scale == t->scale && s->zero == t->zero);
    assert_int_equal(a->n_adapters, b->n_adapters);
    for (int i = 0; i < a->n_adapters; i++) {
        assert_same_tensor(&a->adapter[i].a, &b->adapter[i].a, a->name, "an adapter's A");
        assert_same_tensor(&a->adapter[i].b, &b->adapter[i].b, a->name, "an adapter's B");
        assert_true(a->adapter[i].scale == b->adapter[i].scale);
    }
}

static void assert_same_norm(const bl_norm *a, const bl_norm *b)
{
    assert_string_equal(a->name, b->name);
    assert_ptr_equal(a->format, b->format);
    assert_same_tensor(&a->weight, &b->weight, a->name, "the weight");
}

static void assert_same_model(const bl_model *a, const bl_model *b)
{
    assert_int_equal(a->n_linears, b->n_linears);
    assert_int_equal(a->n_norms, b->n_norms);
    for (size_t i = 0; i < a->n_linears; i++) assert_same_linear(&a->linears[i], &b->linears[i]);
    for (size_t i = 0; i < a->n_norms; i++) assert_same_norm(&a->norms[i], &b->norms[i]);
    assert_same_linear(&a->embed, &b->embed);
    assert_same_linear(&a->head, &b->head);
    assert_same_norm(&a->norm, &b->norm);
}

/* bytes: how many more than before, counted by hand for synth:tiny (bf16; width 64, 4 heads and 2 of keys of 16, ffn
 * 176, vocabulary 512). */
static const struct {
    void (*change)(const fixture *f);
    int64_t bytes, block_bytes;
} changes[] = {
    {nothing, 0, 0},
    {weights_of_several_formats, -5824 - 17152 - 16712 - 1984, -5824 - 17152 - 16712 - 1984},
    {activations, -1984, -1984},
    {a_norm_of_a_block, 64 * 2, 0}, /* f32 instead of bf16 */
    {the_final_norm, 64 * 2, 0},
    {biases_of_some_blocks, (64 + 64) * 4, (64 + 64) * 4},
    {a_scale_of_the_input, 64 * 4, 64 * 4},
    {channels_that_are_reassembled, 13024 - 22528 + 128 * 4, 13024 - 22528 + 128 * 4},
    {hadamard_with_and_without_signs, (64 + 8) * 4, (64 + 8) * 4},
    {outputs_that_are_turned, 2 * 64 * 4, 2 * 64 * 4},
    {a_block_rotation_after_a_scale, 176 * 4 + 22 * 64 * 4, 176 * 4 + 22 * 64 * 4},
    {sums_of_the_input, 5 * 3 * 4, 5 * 3 * 4},
    {adapters_on_a_packed_weight, 608 - 4096 + (3 + 7) * (64 + 32) * 4 + (64 + 176) * 4,
     608 - 4096 + (3 + 7) * (64 + 32) * 4 + (64 + 176) * 4},
    {the_embedding, 35840 - 65536, 0},
    {a_head_of_other_values_in_the_same_format, 0, 0},
    {a_head_with_all_a_linear_has, 17920 - 65536 + 64 * 4 + 2 * (64 + 512) * 4, 0},
};

static void every_change_of_the_state_is_there_after_writing_and_reading(void **state)
{
    world *w = *state;
    bl_err e = {0};
    fixture plain = fixture_stored("synth:tiny", "", 1, false);
    float *unchanged = logits(&plain);
    size_t n = N_IDS * (size_t)plain.m->config.vocab * sizeof *unchanged;
    uint64_t before = bl_model_bytes(plain.m), written;
    double weights = 2 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 176 * 64);
    assert_true(bl_model_bits(plain.m) == 16);
    fixture_close(&plain);
    for (size_t i = 0; i < BL_COUNT(changes); i++) {
        fixture f = fixture_stored("synth:tiny", "", 1, false);
        changes[i].change(&f);
        float *want = logits(&f);
        if ((changes[i].change == nothing) != !memcmp(want, unchanged, n)) fail_msg("change %zu: logits", i);
        assert_int_equal((int64_t)(bl_model_bytes(f.m) - before), changes[i].bytes);
        assert_true(fabs(bl_model_bits(f.m) - (16 + (double)changes[i].block_bytes * 8 / weights)) < 1e-9);
        assert_ok(variant_of_model(f.m, w->out, &(bl_stage){.text = "stage"}, 1, &written, &e));
        assert_int_equal(written, bl_model_bytes(f.m));
        for (int stream = 0; stream < 2; stream++) {
            fixture g = fixture_stored(w->out, "", 1, stream);
            assert_int_equal(bl_checkpoint_bytes(g.ckpt), written);
            assert_int_equal(bl_model_bytes(g.m), written);
            assert_true(bl_model_bits(g.m) == bl_model_bits(f.m));
            float *got = logits(&g);
            if (memcmp(got, want, n)) fail_msg("change %zu: other logits after reading", i);
            if (!stream) assert_same_model(f.m, g.m);
            free(got);
            fixture_close(&g);
        }
        free(want);
        assert_ok(bl_remove_tree(w->out, &e));
        fixture_close(&f);
    }
    free(unchanged);
}

static void every_architecture_comes_back(void **state)
{
    world *w = *state;
    bl_err e = {0};
    static const char *const models[] = {"synth:tiny-biases", "synth:tiny-mistral", "synth:tiny-qwen2",
                                         "synth:tiny-qwen3", "synth:tiny-qwen3:int4"};
    for (size_t i = 0; i < BL_COUNT(models); i++) {
        fixture f = fixture_stored(models[i], "", 1, false), g;
        bl_norm *norm = bl_model_norm(f.m, 1, BL_ROLE_K_NORM);
        bl_hash h;
        if (norm) bl_norm_set(norm, vector(&f, norm->weight.dim[0], 1, 1, 1));
        float *want = logits(&f), *got;
        assert_ok(variant_of_model(f.m, w->out, &base, 1, NULL, &e));
        g = fixture_stored(w->out, "", 1, true);
        const bl_config *a = &f.m->config, *b = &g.m->config;
        assert_ptr_equal(a->arch, b->arch);
        assert_int_equal(a->roles, b->roles);
        assert_int_equal(a->window, b->window);
        assert_int_equal(bl_checkpoint_bytes(g.ckpt), bl_model_bytes(f.m));
        assert_int_equal(bl_checkpoint_count(g.ckpt), bl_checkpoint_count(f.ckpt));
        got = logits(&g);
        assert_memory_equal(got, want, N_IDS * (size_t)a->vocab * sizeof *want);
        assert_ok(bl_checkpoint_fingerprint(g.ckpt, &h, &e));
        free(got);
        fixture_close(&g);
        g = fixture_stored(w->out, "", 1, false);
        assert_same_model(f.m, g.m);
        fixture_close(&g);
        fixture_close(&f);
        free(want);
        assert_ok(bl_remove_tree(w->out, &e));
    }
}

/* Notes are of all linears, in memory or not. */
static void notes_say_what_the_linears_are(void **state)
{
    world *w = *state;
    bl_err e = {0};
    static const struct {
        void (*change)(const fixture *f);
        const char *want;
    } rows[] = {
        {nothing, ""},
        {weights_of_several_formats, "ragged last group; lm_head and embeddings BF16"},
        {adapters_on_a_packed_weight, "adapters beside the weights; lm_head and embeddings BF16"},
        {a_block_rotation_after_a_scale, "inputs transformed"},
        {a_head_with_all_a_linear_has,
         "adapters beside the weights; inputs transformed; lm_head int4 pc, embeddings BF16"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        fixture f = fixture_stored("synth:tiny", "", 1, false), g;
        bl_text t = {0};
        rows[i].change(&f);
        assert_ok(variant_of_model(f.m, w->out, &base, 1, NULL, &e));
        g = fixture_stored(w->out, "", 1, true);
        bl_model_notes(g.m, &t);
        assert_string_equal(t.s ? t.s : "", rows[i].want);
        bl_text_free(&t);
        fixture_close(&g);
        fixture_close(&f);
        assert_ok(bl_remove_tree(w->out, &e));
    }
}

/* synth:tiny with the embedding for its head. */
static void tied_tiny(world *w)
{
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny", "", 1, false);
    snprintf(w->tied, sizeof w->tied, "%s/tied", w->dir);
    bl_weight_free(&f.m->head.weight);
    assert_ok(variant_of_model(f.m, w->tied, &base, 1, NULL, &e));
    fixture_close(&f);
}

static void a_head_of_its_own_begins_as_the_embedding(void **state)
{
    world *w = *state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:smollm2-135m", "", 1, true), g;
    (void)w;
    assert_true(f.m->config.tied);
    assert_null(bl_model_linear(f.m, -1, BL_ROLE_HEAD));
    uint64_t before = bl_model_bytes(f.m), embedding = 49152 * 576 * 2;
    assert_ok(bl_model_untie(f.m, &e));
    assert_false(f.m->config.tied);
    assert_int_equal(bl_model_bytes(f.m), before + embedding);
    assert_same_tensor(&f.m->embed.weight.part[0], &f.m->head.weight.part[0], "lm_head", "the weight");
    fixture_close(&f);

    tied_tiny(w);
    f = fixture_stored(w->tied, "", 1, false);
    float *tied = logits(&f), *got;
    size_t n = N_IDS * (size_t)f.m->config.vocab * sizeof *tied;
    assert_true(f.m->config.tied);
    assert_ok(bl_model_untie(f.m, &e));
    assert_ok(bl_model_untie(f.m, &e)); /* it is */
    got = logits(&f);
    assert_memory_equal(got, tied, n);
    free(got);
    set_format(&f, &f.m->head, "int4", (bl_shape){.group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    float *want = logits(&f);
    assert_memory_not_equal(want, tied, n);
    assert_ok(variant_of_model(f.m, w->out, &base, 1, NULL, &e));
    g = fixture_stored(w->out, "", 1, false);
    assert_false(g.m->config.tied);
    assert_same_model(f.m, g.m);
    got = logits(&g);
    assert_memory_equal(got, want, n);
    free(got);
    free(want);
    free(tied);
    fixture_close(&f);
    fixture_close(&g);
}

/* A chain: each stage continues what the one before wrote, and the last stands alone. */
static void stages_follow_each_other_and_the_last_stands_alone(void **state)
{
    world *w = *state;
    bl_err e = {0};
    char second[4300];
    int n;
    const bl_stage one = {.text = "smooth", .hash = "00ff", .options = "{\"alpha\":0.5}"},
                   two[] = {{.text = "gptq:w4g64", .options = "{\"wbits\":4}"}, {.text = "lora+merge"}};
    snprintf(second, sizeof second, "%s2", w->out);
    fixture f = fixture_stored("synth:tiny", "", 1, false);
    a_scale_of_the_input(&f);
    assert_ok(variant_of_model(f.m, w->out, &one, 1, NULL, &e));
    fixture_close(&f);
    f = fixture_stored(w->out, "", 1, false);
    adapters_on_a_packed_weight(&f);
    float *want = logits(&f);
    assert_ok(variant_of_model(f.m, second, two, 2, NULL, &e));
    assert_ok(bl_remove_tree(w->out, &e));

    fixture g = fixture_stored(second, "", 1, false);
    float *got = logits(&g);
    assert_memory_equal(got, want, N_IDS * (size_t)f.m->config.vocab * sizeof *want);
    assert_same_model(f.m, g.m);
    assert_string_equal(bl_checkpoint_source(g.ckpt), "synth:tiny");
    assert_string_equal(bl_checkpoint_method(g.ckpt), "smooth+gptq:w4g64+lora+merge");
    const bl_stage *s = bl_checkpoint_stages(g.ckpt, &n);
    assert_int_equal(n, 3);
    assert_string_equal(s[0].text, "smooth");
    assert_string_equal(s[0].hash, "00ff");
    assert_string_equal(s[0].options, "{\"alpha\":0.5}");
    assert_string_equal(s[1].text, "gptq:w4g64");
    assert_null(s[1].hash);
    assert_string_equal(s[2].options, "{}");
    free(want);
    free(got);
    fixture_close(&f);
    fixture_close(&g);
}

/* A head is the same only with all that belongs to it, and can be opened alone. */
static void heads_are_compared_whole(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_linear head = {0};
    bool same;
    static const struct {
        void (*change)(const fixture *f);
        bool same;
    } rows[] = {{nothing, true},
                {the_embedding, true},
                {a_head_of_other_values_in_the_same_format, false},
                {a_head_with_all_a_linear_has, false}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        fixture f = fixture_stored("synth:tiny", "", 1, false), g;
        assert_ok(bl_head_open(f.ckpt, f.be, &head, &e));
        rows[i].change(&f);
        assert_ok(bl_linear_same(&head, bl_model_head(f.m), &same, &e));
        assert_int_equal(same, rows[i].same);
        bl_linear_free(&head);
        assert_ok(variant_of_model(f.m, w->out, &base, 1, NULL, &e));
        g = fixture_open(w->out, "", 1, false);
        assert_ok(bl_head_open(g.ckpt, g.be, &head, &e));
        assert_ok(bl_linear_same(&head, bl_model_head(g.m), &same, &e));
        assert_true(same);
        bl_linear_free(&head);
        fixture_close(&g);
        fixture_close(&f);
        assert_ok(bl_remove_tree(w->out, &e));
    }
    tied_tiny(w);
    fixture f = fixture_stored(w->tied, "", 1, true);
    assert_ok(bl_head_open(f.ckpt, f.be, &head, &e));
    assert_ok(bl_linear_same(&head, &f.m->embed, &same, &e));
    assert_true(same);
    bl_linear_free(&head);
    fixture_close(&f);
}

/* Two adapters give what the weight with both added to it gives. */
static void adapters_add_up_to_the_merged_weight(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny:f32", "", 1, false);
    bl_linear *l = linear(&f, 0, BL_ROLE_UP);
    int64_t in = l->in, out = l->out;
    bl_tensor dense;
    assert_ok(bl_linear_dense(f.be, l, &dense, &e));
    double *sum = malloc((size_t)(in * out) * sizeof *sum);
    float *host = malloc((size_t)(in * out) * sizeof *host);
    assert_ok(f.be->ops->download(f.be, &dense, host, &e));
    for (int64_t i = 0; i < in * out; i++) sum[i] = host[i];
    for (int k = 0; k < 2; k++) {
        int64_t r = k ? 2 : 5;
        float scale = k ? -0.5f : 0.75f, *a = malloc((size_t)(r * in) * sizeof *a),
              *b = malloc((size_t)(out * r) * sizeof *b);
        bl_lowrank low = {numbers(&f, r, in, 20 + (uint64_t)k, 0, 0.2f), numbers(&f, out, r, 30 + (uint64_t)k, 0, 0.2f),
                          scale};
        assert_ok(f.be->ops->download(f.be, &low.a, a, &e));
        assert_ok(f.be->ops->download(f.be, &low.b, b, &e));
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i < in; i++)
                for (int64_t j = 0; j < r; j++) sum[o * in + i] += (double)scale * b[o * r + j] * a[j * in + i];
        assert_ok(bl_linear_add_adapter(l, &low, &e));
        free(a);
        free(b);
    }
    float *apart = logits(&f);
    bl_linear_clear_adapters(l);
    for (int64_t i = 0; i < in * out; i++) host[i] = (float)sum[i];
    assert_ok(f.be->ops->upload(f.be, &dense, host, &e));
    set_packed(&f, l, dense, "fp32", (bl_shape){0});
    float *merged = logits(&f);
    for (int64_t i = 0; i < N_IDS * f.m->config.vocab; i++) assert_true(fabsf(apart[i] - merged[i]) < 1e-4f);
    fixture_drop(&f, &dense);
    free(apart);
    free(merged);
    free(sum);
    free(host);
    fixture_close(&f);
}

/* Streaming, what is not in memory is read from the file: a block that was changed does not come back unchanged. */
static void a_changed_block_is_not_read_anew(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny", "", 1, true);
    assert_ok(bl_block_acquire(f.m, 1, &e));
    a_norm_of_a_block(&f);
    uint64_t bytes = bl_model_bytes(f.m);
    bl_block_release(f.m, 1);
    assert_int_equal(bl_model_bytes(f.m), bytes); /* what it became is known */
    assert_ok(bl_block_acquire(f.m, 0, &e));
    bl_block_release(f.m, 0);
    assert_refused(bl_block_acquire(f.m, 1, &e), BL_E_INTERNAL,
                   "model.layers.1.post_attention_layernorm was changed and released");
    fixture_close(&f);
}

static void what_does_not_fit_is_not_taken_over(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny", "", 1, false);
    bl_linear *l = linear(&f, 0, BL_ROLE_Q);
    bl_transform t = {BL_T_SCALE, 63, 63, vector(&f, 63, 1, 1, 1)};
    bl_lowrank low = {numbers(&f, 2, l->in, 1, 0, 1), numbers(&f, l->out, 3, 1, 0, 1), 1};
    assert_refused(bl_linear_add_transform(l, &t, &e), BL_E_INTERNAL, "a transform of 63 inputs, expected 64");
    assert_refused(bl_linear_add_adapter(l, &low, &e), BL_E_INTERNAL, "does not fit [64, 64]");
    assert_int_equal(l->n_transforms + l->n_adapters, 0);
    fixture_drop(&f, &t.data);
    fixture_drop(&f, &low.a);
    fixture_drop(&f, &low.b);
    fixture_close(&f);
}

/* What is simulated is asked of every linear, in memory or not. */
static void one_simulated_product_makes_the_model_simulated(void **state)
{
    world *w = *state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny", "", 1, false), g;
    for (size_t i = 0; i < f.m->n_linears; i++) {
        bl_linear *l = &f.m->linears[i];
        if (l != linear(&f, 1, BL_ROLE_O))
            set_format(&f, l, "int8", (bl_shape){.group = 16, .zero = BL_ZERO_PACKED, .scale = BL_F16});
        bl_linear_set_act(l, (bl_actq){.bits = 8, .unit = BL_ACT_TOKEN});
    }
    assert_string_equal(bl_model_simulated(f.m), "activations"); /* o_proj of the last block is bf16 */
    assert_ok(variant_of_model(f.m, w->out, &base, 1, NULL, &e));
    g = fixture_stored(w->out, "", 1, true);
    assert_string_equal(bl_model_simulated(g.m), "activations");
    fixture_close(&g);
    set_format(&f, linear(&f, 1, BL_ROLE_O), "int8", (bl_shape){.group = 16, .zero = BL_ZERO_PACKED, .scale = BL_F16});
    assert_null(bl_model_simulated(f.m));
    fixture_close(&f);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin_world, end_world)
    const struct CMUnitTest tests[] = {
        WITH(every_change_of_the_state_is_there_after_writing_and_reading),
        WITH(every_architecture_comes_back),
        WITH(notes_say_what_the_linears_are),
        WITH(a_head_of_its_own_begins_as_the_embedding),
        WITH(stages_follow_each_other_and_the_last_stands_alone),
        WITH(heads_are_compared_whole),
        WITH(adapters_add_up_to_the_merged_weight),
        WITH(a_changed_block_is_not_read_anew),
        WITH(what_does_not_fit_is_not_taken_over),
        WITH(one_simulated_product_makes_the_model_simulated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
