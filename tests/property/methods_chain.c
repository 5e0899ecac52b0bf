/* Stages over whole models, written and read back: a turned model is the same model, and GPTQ is nearer to it than
 * rounding to nearest. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/quant/apply.h"
#include "kernels/base/fs.h"
#include "methods/registry.h"
#include <math.h>
#include <unistd.h>

enum { LEN = 40, FEW = 2 };
static char dir[4096], plain[4200], tied[4200], spiked[4200];

static float with_a_large_channel(const void *ctx, int64_t i) { return tiny_random(ctx, i) + (i % 72 == 5 ? 2.0f : 0); }

/* Nine heads in groups of three; every width has a Hadamard matrix. Ids are bytes. */
static int begin(void **state)
{
    static const tiny t = {
        .dim = 72, .hidden = 160, .layers = 2, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 128};
    static const uint64_t seed[2] = {100, 101};
    char tok[4200];
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(plain, sizeof plain, "%s/plain.bin", dir);
    snprintf(tied, sizeof tied, "%s/tied.bin", dir);
    snprintf(spiked, sizeof spiked, "%s/spiked.bin", dir);
    snprintf(tok, sizeof tok, "%s/tok.bin", dir);
    tiny_tokenizer(tok, NULL);
    tiny_write(plain, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    tiny_write(tied, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    tiny_write(spiked, &t, with_a_large_channel, &seed[0], tiny_random, tiny_random, &seed[1]);
    FILE *f = fopen(tied, "r+b"); /* the head is the embedding: a positive vocabulary and no head at the end */
    if (!f) return 1;
    fseek(f, 5 * 4, SEEK_SET);
    tiny_put(f, &t.vocab, 4);
    fseek(f, 0, SEEK_END);
    long end = ftell(f) - 300 * 72 * 4;
    fclose(f);
    return truncate(tied, end);
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL);
}

/* Logits [LEN, vocab] of the text that calibration reads, by the model in that file or directory. */
static float *logits_of(const char *model, bl_arena *a)
{
    bl_err e = {0};
    fixture f = fixture_open(model, NULL, 1, false);
    bl_calib_windows w;
    const bl_calib_choice calib = {.data = "primer:test", .n = 1, .seqlen = LEN};
    assert_ok(bl_calib_draw(&calib, NULL, f.t, a, &w, &e));
    bl_tensor h = fixture_hidden(&f, w.ids, LEN), y = fixture_tensor(&f, BL_F32, LEN, f.m->config.vocab);
    float *v = bl_alloc(a, (size_t)bl_tensor_count(&y), sizeof *v, &e);
    assert_ok(bl_logits(f.m, h, 0, LEN, y, &e));
    assert_ok(f.be->ops->download(f.be, &y, v, &e));
    fixture_drop(&f, &h);
    fixture_drop(&f, &y);
    fixture_close(&f);
    return v;
}

/* Mean squared difference of logits to those of the model, over their mean square; -1: the chain is refused, before any
 * work, with a sentence that names what has the fault. With few
 * windows what takes many steps takes few. */
static double distance_by(const char *model, const char *text, int windows, bl_arena *a)
{
    static const char *const steps[][2] = {{"iters", "2"}, {"epochs", "1"}, {"grid", "2"}};
    bool used = false;
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_result r;
    char out[4200];
    double off = 0, all = 0;
    const bl_calib_choice calib = {.data = "primer:test", .n = windows, .seqlen = windows <= FEW ? 32 : 64};
    snprintf(out, sizeof out, "%s/out", dir);
    assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 1}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    for (size_t i = 0; windows <= FEW && i < BL_COUNT(steps); i++)
        assert_ok(bl_chain_set(&chain, steps[i][0], steps[i][1], &used, &e));
    if (used) assert_ok(bl_chain_renew(&chain, &e));
    if (bl_quantize_check(c, &chain, &calib, NULL, 0, &(bl_quantize_forecast){0}, &e) != BL_OK) {
        assert_non_null(strstr(e.text, "model.layers."));
        bl_chain_free(&chain);
        bl_backend_close(be);
        bl_checkpoint_close(c);
        return -1;
    }
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib, .seed = 3}, be, out, a, &r, &e));
    float *want = logits_of(model, a), *got = logits_of(out, a);
    for (int i = 0; i < LEN * 300; i++) {
        off += ((double)want[i] - got[i]) * ((double)want[i] - got[i]);
        all += (double)want[i] * want[i];
    }
    assert_ok(bl_remove_tree(out, &e));
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    return off / all;
}

static double distance(const char *model, const char *text, bl_arena *a) { return distance_by(model, text, 24, a); }

static void a_turned_model_is_the_same_model(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    assert_true(distance(plain, "quarot", a) < 1e-8);
    assert_true(distance(tied, "quarot+r3", a) < 1e-8);
    assert_true(distance(tied, "quarot+bf16", a) < 1e-3); /* 16 bits are enough */
    bl_arena_free(a);
}

static void gptq_is_nearer_to_the_model_than_rounding_to_nearest(void **state)
{
    static const struct {
        const char *method, *more, *nearest;
    } texts[] = {
        {"gptq", "g36", "g36"},
        {"gptq", "g36+act-order+true-sequential", "g36"},
        {"gptq", "pc+act-order", "pc"},
        {"gptq", "g36+group-aware", "g36"},
        {"gptq", "g36+act-order+static-groups", "g36"},
        {"quarot+gptq", "g36", "g36"},
        {"quarot+gptq", "pc+symmetric+range=restricted+mse", "pc+symmetric+mse"},
    };
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (int bits = 3; bits <= 4; bits++)
        for (size_t i = 0; i < BL_COUNT(texts); i++) {
            char text[96], nearest[64];
            snprintf(text, sizeof text, "%s:w%d%s", texts[i].method, bits, texts[i].more);
            snprintf(nearest, sizeof nearest, "rtn:w%d%s", bits, texts[i].nearest);
            double got = distance(tied, text, a), rtn = distance(tied, nearest, a);
            if (getenv("BL_SHOW")) print_message("%s %g, %s %g\n", text, got, nearest, rtn);
            if (!(got < 0.5 * rtn)) fail_msg("%s: %g; %s: %g", text, got, nearest, rtn);
        }
    bl_arena_free(a);
}

/* What QuaRot is for: one large channel spoils the scale of every token. */
static void few_bits_of_activations_need_the_rotation(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    double plain_a4 = distance(spiked, "rtn:w8a4pc+symmetric", a),
           turned_a4 = distance(spiked, "quarot+rtn:w8a4pc+symmetric", a);
    if (getenv("BL_SHOW")) print_message("%g, turned %g\n", plain_a4, turned_a4);
    assert_true(turned_a4 < 0.5 * plain_a4);
    bl_arena_free(a);
}

/* Whatever is registered and rounds the weights of blocks, as a stage after each that leaves them unrounded: it is
 * refused before any work, or nearly as near to the model as alone. */
static void what_rounds_follows_what_prepares(void **state)
{
    static const char *const first[] = {"quarot", "smoothquant", "awq:w4g24+round=false"};
    /* train plain weights, or take channels apart and put them together */
    static const char *const apart[] = {"efficientqat", "omniquant", "qllm"};
    bl_err e = {0};
    bl_arena *a;
    int n_refused[BL_COUNT(first)] = {0}, n = 0;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        char text[96], longer[160];
        if (!m->layer || !m->predict || m->learns || m->for_ends || !(m->wbits || m->word || m->needs)) continue;
        bool grouped = m->opts && bl_opt_find(m->opts, "group"), few = false;
        if (m->word) snprintf(text, sizeof text, "%s:q4_0", m->name);
        else if (m->wbits) snprintf(text, sizeof text, "%s:w4%s", m->name, grouped ? "g24" : "");
        else snprintf(text, sizeof text, "%s%s", m->name, grouped ? "+group=24" : "");
        for (size_t k = 0; k < BL_COUNT(apart); k++) few |= !strcmp(m->name, apart[k]);
        const double alone = distance_by(tied, text, FEW, a);
        n++;
        for (size_t k = 0; k < BL_COUNT(first); k++) {
            snprintf(longer, sizeof longer, "%s+%s", first[k], text);
            double got = distance_by(tied, longer, FEW, a);
            if (getenv("BL_SHOW")) print_message("%s %g, alone %g\n", longer, got, alone);
            if (got < 0 ? !few : !(got < 2 * alone + 0.02)) fail_msg("%s: %g; %s: %g", longer, got, text, alone);
            n_refused[k] += got < 0;
        }
    }
    assert_true(n > 10);
    for (size_t k = 0; k < BL_COUNT(first); k++)
        assert_int_equal(n_refused[k], k == 1 ? 0 : BL_COUNT(apart)); /* smoothquant adds no transforms */
    bl_arena_free(a);
}

/* Without rounding AWQ leaves the weights that it would have rounded. */
static void awq_rounds_what_it_leaves_without_rounding(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    double once = distance(tied, "awq:w3g24", a), later = distance(tied, "awq:w3g24+solver=rtn+range=clip", a);
    assert_true(once > 0 && once == later);
    assert_true(distance(tied, "awq:w3g24+round=false+bf16", a) < 0.3 * once); /* what clipping does */
    assert_true(distance(tied, "awq:w3g24+round=false+clip=false+bf16", a) < 1e-3);
    assert_true(distance(tied, "awq:w3g24+solver=gptq", a) < distance(tied, "awq:w3g24", a));
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rounds_follows_what_prepares),
        cmocka_unit_test(awq_rounds_what_it_leaves_without_rounding),
        cmocka_unit_test(a_turned_model_is_the_same_model),
        cmocka_unit_test(few_bits_of_activations_need_the_rotation),
        cmocka_unit_test(gptq_is_nearer_to_the_model_than_rounding_to_nearest),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
