/* Rotations leave the function of a model as it is, and spread what stands out. */
#include "method_run.h"
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/model/block.h"
#include "harness/quant/apply.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <unistd.h>

enum { LEN = 23 };

static bl_tensor noise(const fixture *f, bl_tensor like, uint64_t seed, float mean, float deviation)
{
    bl_err e = {0};
    int64_t n = bl_tensor_count(&like);
    bl_tensor t = fixture_tensor(f, BL_F32, 1, n);
    float *v = malloc((size_t)n * sizeof *v);
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_quarot", 0), 0);
    for (int64_t i = 0; i < n; i++) v[i] = mean + deviation * (float)bl_rng_normal(&r);
    t = bl_tensor_1d(t.buf, 0, BL_F32, n);
    assert_ok(f->be->ops->upload(f->be, &t, v, &e));
    free(v);
    return t;
}

static char dir[4096];

/* Nine heads in groups of three, like SmolLM2; every width has a Hadamard matrix. Tied: without the head. */
static const char *nine_heads(bool tied)
{
    static const tiny t = {
        .dim = 72, .hidden = 160, .layers = 2, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 64};
    static const uint64_t seed[2] = {100, 101};
    static char path[4200];
    FILE *f;
    snprintf(path, sizeof path, "%s/nine%d.bin", dir, tied);
    tiny_write(path, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    if (!tied) return path;
    if (!(f = fopen(path, "r+b"))) fail_msg("%s", path);
    fseek(f, 5 * 4, SEEK_SET);
    tiny_put(f, &t.vocab, 4);
    fseek(f, 0, SEEK_END);
    long end = ftell(f) - 300 * 72 * 4;
    fclose(f);
    if (truncate(path, end)) fail_msg("%s", path);
    return path;
}

/* A model as trained ones are: norms that are not 1, biases, a channel of the residual stream that stands out. */
static fixture grown(const char *model)
{
    bl_err e = {0};
    fixture f = fixture_open(model, "", 2, false);
    uint64_t seed = 0;
    for (size_t i = 0; i < f.m->n_norms; i++)
        bl_norm_set(&f.m->norms[i], noise(&f, f.m->norms[i].weight, ++seed, 1, 0.3f));
    bl_norm_set(&f.m->norm, noise(&f, f.m->norm.weight, ++seed, 1, 0.3f));
    for (size_t i = 0; i < f.m->n_linears; i++) {
        bl_linear *l = &f.m->linears[i];
        bl_linear_set_bias(l, noise(&f, (bl_tensor){.ndim = 1, .dim = {l->out}}, ++seed, 0, 0.1f));
    }
    bl_tensor dense;
    bl_weight w = {0};
    bl_shape shape = {.out = f.m->embed.out, .in = f.m->embed.in};
    assert_ok(bl_linear_dense(f.be, &f.m->embed, &dense, &e));
    for (int64_t r = 0; r < shape.out; r++) ((float *)dense.buf->data)[r * shape.in + 5] += 30;
    assert_ok(bl_weight_new(f.be, bl_format_find("fp32"), &shape, &w, &e));
    assert_ok(f.be->ops->upload(f.be, &w.part[0], dense.buf->data, &e));
    bl_linear_set_weight(&f.m->embed, &w);
    fixture_drop(&f, &dense);
    return f;
}

/* The hooks of a data-free method over a resident model. */
static void turn(fixture *f, const char *text)
{
    bl_err e = {0};
    bl_method_choice c;
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_method_parse(bl_methods, text, &c, &e));
    bl_method_run r = {
        .method = c.method, .opts = c.opts, .model = f->m, .ops = f->be->ops, .be = f->be, .scratch = a, .seed = 4};
    assert_ok(c.method->check(&r, &e));
    if (c.method->unties_head && f->m->config.tied) assert_ok(bl_model_untie(f->m, &e));
    assert_ok(c.method->model(&r, &e));
    for (int64_t b = 0; b < f->m->config.n_layers; b++) {
        assert_ok(bl_block_acquire(f->m, b, &e));
        assert_ok(c.method->block(&r, b, &e));
        bl_block_release(f->m, b);
    }
    bl_method_choice_free(&c);
    bl_arena_free(a);
}

static void ids_of(const fixture *f, int32_t ids[LEN])
{
    bl_rng r = bl_rng_at(7, 7, 7);
    for (int i = 0; i < LEN; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)f->m->config.vocab);
}
static float *logits_of(const fixture *f)
{
    bl_err e = {0};
    int32_t ids[LEN];
    ids_of(f, ids);
    bl_tensor h = fixture_hidden(f, ids, LEN), y = fixture_tensor(f, BL_F32, LEN, f->m->config.vocab);
    float *v = malloc(bl_tensor_bytes(&y));
    assert_ok(bl_logits(f->m, h, 0, LEN, y, &e));
    assert_ok(f->be->ops->download(f->be, &y, v, &e));
    fixture_drop(f, &h);
    fixture_drop(f, &y);
    return v;
}

static const struct {
    const char *text;
    int moves, transforms; /* weights of block 0 that change, linears with a transform */
} rows[] = {
    {"quarot+r2=false+heads=false+r4=false", 7, 0},
    {"quarot+r1=false+heads=false+r4=false", 2, 0},
    {"quarot+r1=false+r2=false+r4=false", 1, 1},
    {"quarot+r1=false+r2=false+heads=false", 1, 1},
    {"quarot+heads=false+r4=false", 7, 0},
    {"quarot", 7, 2},
    {"quarot+r1=false+r2=false+heads=false+r4=false+r3", 0, 0},
    {"quarot+r3", 7, 2},
};

static void each_rotation_alone_leaves_the_logits(void **state)
{
    (void)state;
    static const char *const models[] = {NULL, NULL, "synth:tiny-biases:f32", "synth:tiny-qwen2:f32",
                                         "synth:tiny-qwen3:f32"};
    for (size_t k = 0; k < BL_COUNT(models); k++)
        for (size_t i = 0; i < BL_COUNT(rows); i++) {
            bl_err e = {0};
            char text[128];
            /* 176 has no matrix */
            snprintf(text, sizeof text, "%s%s", rows[i].text,
                     models[k] && !strstr(rows[i].text, "r4=") ? "+r4=false" : "");
            if (models[k] && strstr(rows[i].text, "+r1=false+r2=false+heads=false")) continue;
            fixture f = grown(models[k] ? models[k] : nine_heads(k));
            bl_tensor before[7], after;
            int moved = 0, transforms = 0;
            float *want = logits_of(&f), *got, most = 0, off = 0;
            bl_block *b = &f.m->blocks[0];
            assert_int_equal(b->n_linears, 7);
            for (int k = 0; k < 7; k++) assert_ok(bl_linear_dense(f.be, &b->linear[k], &before[k], &e));
            turn(&f, text);
            got = logits_of(&f);
            for (int64_t k = 0; k < LEN * f.m->config.vocab; k++) {
                most = fmaxf(most, fabsf(want[k]));
                off = fmaxf(off, fabsf(want[k] - got[k]));
            }
            if (!(off <= 1e-4f * most))
                fail_msg("%s, %s: logits are off by %g of %g", models[k] ? models[k] : "nine heads", text, (double)off,
                         (double)most);
            for (int k = 0; k < 7; k++) {
                assert_ok(bl_linear_dense(f.be, &b->linear[k], &after, &e));
                moved += memcmp(after.buf->data, before[k].buf->data, bl_tensor_bytes(&after)) != 0;
                transforms += b->linear[k].n_transforms;
                fixture_drop(&f, &after);
                fixture_drop(&f, &before[k]);
            }
            assert_int_equal(moved, rows[i].moves);
            assert_int_equal(transforms, rows[i].transforms - (models[k] && rows[i].transforms == 2));
            free(want);
            free(got);
            fixture_close(&f);
        }
}

/* Largest over root mean square of the residual stream after block 0, of all rows. */
static double peak(const fixture *f)
{
    bl_err e = {0};
    int32_t ids[LEN], slot, past = 0;
    int64_t dim = f->m->config.dim;
    float *trace = malloc((size_t)((f->m->config.n_layers + 1) * dim) * sizeof *trace);
    double worst = 0, square = 0;
    bl_kv *kv;
    ids_of(f, ids);
    assert_ok(bl_kv_new(f->m, LEN, 1, true, f->m->kv, &kv, &e));
    assert_ok(bl_kv_slot(kv, LEN, -1, 0, &slot, &e));
    assert_ok(bl_forward_trace(
        f->m, &(bl_batch){.ids = ids, .n_seq = 1, .start = (int32_t[]){0, LEN}, .past = &past, .slot = &slot}, kv,
        LEN - 1, trace, &e));
    for (int64_t i = 0; i < dim; i++) {
        worst = fmax(worst, fabsf(trace[dim + i]));
        square += (double)trace[dim + i] * trace[dim + i] / (double)dim;
    }
    bl_kv_free(kv);
    free(trace);
    return worst / sqrt(square);
}

static void what_stands_out_is_spread(void **state)
{
    (void)state;
    fixture f = grown(nine_heads(false));
    double before = peak(&f), after;
    turn(&f, "quarot");
    after = peak(&f);
    if (!(before > 6 && after < 4)) fail_msg("largest over rms %g, turned %g", before, after);
    fixture_close(&f);
}

/* Keys of block 0 as attention reads them, host [LEN, kv width]; the caller frees. */
static float *keys_of(const fixture *f)
{
    bl_err e = {0};
    int32_t ids[LEN], slot, past = 0;
    bl_kv *kv;
    bl_tape tape;
    bl_tensor x = fixture_tensor(f, BL_F32, LEN, f->m->config.dim), id = fixture_tensor(f, BL_I32, 1, LEN);
    id = bl_tensor_1d(id.buf, 0, BL_I32, LEN);
    ids_of(f, ids);
    assert_ok(f->be->ops->upload(f->be, &id, ids, &e));
    assert_ok(f->be->ops->embed(f->be, &(bl_embed_args){.w = &f->m->embed.weight, .ids = id, .y = x}, &e));
    assert_ok(bl_kv_new(f->m, LEN, 1, true, f->m->kv, &kv, &e));
    assert_ok(bl_kv_slot(kv, LEN, -1, 0, &slot, &e));
    assert_ok(bl_tape_new(f->m, LEN, &tape, &e));
    assert_ok(bl_block_forward(f->m, 0,
                               &(bl_batch){.n_seq = 1, .start = (int32_t[]){0, LEN}, .past = &past, .slot = &slot}, kv,
                               x, NULL, &tape, &e));
    float *k = malloc(bl_tensor_bytes(&tape.k));
    assert_ok(f->be->ops->download(f->be, &tape.k, k, &e));
    bl_tape_free(f->m, &tape);
    bl_kv_free(kv);
    fixture_drop(f, &x);
    fixture_drop(f, &id);
    return k;
}

/* R3: k' = H k / sqrt(head_dim), head by head. Heads of 8: Sylvester's matrix, signs by the bits that i and j share. */
static void keys_are_turned_after_rotary_embedding(void **state)
{
    (void)state;
    fixture f = grown(nine_heads(false));
    float *before = keys_of(&f), *after;
    turn(&f, "quarot+r1=false+r2=false+heads=false+r4=false+r3");
    after = keys_of(&f);
    for (int h = 0; h < LEN * 3; h++)
        for (int i = 0; i < 8; i++) {
            double want = 0;
            for (int j = 0; j < 8; j++)
                want += (__builtin_parity((unsigned)(i & j)) ? -1.0 : 1.0) * before[h * 8 + j] / sqrt(8.0);
            assert_true(fabs(after[h * 8 + i] - want) < 1e-5);
        }
    free(before);
    free(after);
    fixture_close(&f);
}

static void a_seed_chooses_the_rotation(void **state)
{
    (void)state;
    fixture f[2] = {grown(nine_heads(false)), grown(nine_heads(false))};
    turn(&f[0], "quarot");
    turn(&f[1], "quarot");
    bl_tensor a = f[0].m->embed.weight.part[0], b = f[1].m->embed.weight.part[0];
    assert_memory_equal((char *)a.buf->data + a.offset, (char *)b.buf->data + b.offset, bl_tensor_bytes(&a));
    fixture_close(&f[0]);
    fixture_close(&f[1]);
}

static void what_cannot_be_turned_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bl_config c;
        const char *phrase;
    } cases[] = {
        {"quarot", {.dim = 96, .ffn_dim = 88, .n_heads = 4, .head_dim = 24}, "the input of down_proj is 88 wide"},
        {"quarot+r4=false", {.dim = 88, .ffn_dim = 88, .n_heads = 4, .head_dim = 24}, "+r1=false"},
        {"quarot+r4=false", {.dim = 96, .ffn_dim = 88, .n_heads = 5, .head_dim = 18}, "a head is 18 wide"},
        {"quarot+r4=false+r2=false", {.dim = 96, .ffn_dim = 88, .n_heads = 5, .head_dim = 18}, "+heads=false"},
        {"quarot+r1=false+r2=false+heads=false+r4=false",
         {.dim = 64, .ffn_dim = 64, .n_heads = 4, .head_dim = 16},
         "every rotation switched off"},
        {"quarot+r3",
         {.dim = 64, .ffn_dim = 64, .n_heads = 4, .head_dim = 16, .turned_keys = true},
         "queries and keys of this model are turned already"},
    };
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        bl_err e = {0};
        bl_method_choice c;
        bl_model m = {.config = cases[i].c};
        assert_ok(bl_method_parse(bl_methods, cases[i].text, &c, &e));
        bl_status st = c.method->check(&(bl_method_run){.method = c.method, .opts = c.opts, .model = &m}, &e);
        assert_refused(st, cases[i].c.turned_keys ? BL_E_UNSUPPORTED : BL_E_CONFIG, cases[i].phrase);
        bl_method_choice_free(&c);
    }
}

/* A saved model remembers: what was turned online once is not turned again. */
static void a_saved_turned_model_is_not_turned_again(void **state)
{
    (void)state;
    static const struct {
        const char *chain;
        bl_status st;
    } rows[] = {{"rtn:w4pc", BL_OK},
                {"quarot+heads=false+r2=false+r1=false", BL_E_UNSUPPORTED},
                {"quarot+r1=false+r2=false+r4=false", BL_OK}, /* o_proj, which has none yet */
                {"rtn:w4pc+quarot", BL_E_UNSUPPORTED}};
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_arena *a;
    bl_method_chain chain = {0};
    bl_quantize_result r;
    char to[4200];
    snprintf(to, sizeof to, "%s/turned", dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_checkpoint_open(nine_heads(false), NULL, &c, &e));
    assert_ok(bl_chain_parse(bl_methods, "quarot+heads=false", &chain, &e));
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){0}, be, to, a, &r, &e));
    bl_checkpoint_close(c);
    bl_chain_free(&chain);
    assert_ok(bl_checkpoint_open(to, NULL, &c, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        assert_ok(bl_chain_parse(bl_methods, rows[i].chain, &chain, &e));
        assert_int_equal(bl_quantize_check(c, &chain, NULL, NULL, 0, &(bl_quantize_forecast){0}, &e), rows[i].st);
        if (rows[i].st != BL_OK) assert_non_null(strstr(e.text, "down_proj has transforms or adapters"));
        bl_chain_free(&chain);
    }
    bl_checkpoint_close(c);
    bl_backend_close(be);
    bl_arena_free(a);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return 0;
}
static int end(void **state)
{
    bl_err e = {0};
    (void)state;
    return bl_remove_tree(dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rotation_alone_leaves_the_logits),
        cmocka_unit_test(what_stands_out_is_spread),
        cmocka_unit_test(keys_are_turned_after_rotary_embedding),
        cmocka_unit_test(a_seed_chooses_the_rotation),
        cmocka_unit_test(what_cannot_be_turned_is_refused),
        cmocka_unit_test(a_saved_turned_model_is_not_turned_again),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
