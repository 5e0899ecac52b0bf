/* method_model.h - small models with uneven channels, and what a method or chain makes of them, as logits. */
#ifndef BL_TESTS_METHOD_MODEL_H
#define BL_TESTS_METHOD_MODEL_H
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/quant/apply.h"
#include "harness/quant/calibrate.h"
#include "kernels/base/fs.h"
#include "methods/registry.h"
#include <math.h>

enum { MODEL_DIM = 72, MODEL_VOCAB = 300, MODEL_LEN = 32, MODEL_LOGITS = MODEL_LEN * MODEL_VOCAB };
static char model_dir[4096], model_shared[4200], model_own[4200]; /* three value heads for nine; nine */

/* Some channels of the residual stream are much larger than others. */
static inline float model_uneven(const void *ctx, int64_t i)
{
    return tiny_random(ctx, i) * (i % MODEL_DIM % 7 ? 1.0f : 9.0f);
}

static int model_begin(void **state)
{
    tiny t = {
        .dim = MODEL_DIM, .hidden = 160, .layers = 2, .heads = 9, .kv_heads = 3, .vocab = MODEL_VOCAB, .max_len = 128};
    static const uint64_t seed[2] = {100, 101};
    char tok[4200];
    (void)state;
    snprintf(model_dir, sizeof model_dir, "%s", test_dir());
    snprintf(model_shared, sizeof model_shared, "%s/shared.bin", model_dir);
    snprintf(model_own, sizeof model_own, "%s/own.bin", model_dir);
    snprintf(tok, sizeof tok, "%s/tok.bin", model_dir);
    tiny_tokenizer(tok, NULL);
    tiny_write(model_shared, &t, model_uneven, &seed[0], tiny_random, tiny_random, &seed[1]);
    t.kv_heads = 9;
    tiny_write(model_own, &t, model_uneven, &seed[0], tiny_random, tiny_random, &seed[1]);
    return 0;
}
static int model_end(void **state)
{
    (void)state;
    return bl_remove_tree(model_dir, NULL);
}

/* Logits of one text, MODEL_LOGITS of them; free. */
static inline float *model_logits(const fixture *f)
{
    bl_err e = {0};
    int32_t ids[MODEL_LEN];
    for (int i = 0; i < MODEL_LEN; i++) ids[i] = 5 + i * 37 % 250;
    bl_tensor h = fixture_hidden(f, ids, MODEL_LEN), y = fixture_tensor(f, BL_F32, MODEL_LEN, f->m->config.vocab);
    float *v = malloc(bl_tensor_bytes(&y));
    assert_ok(bl_logits(f->m, h, 0, MODEL_LEN, y, &e));
    assert_ok(f->be->ops->download(f->be, &y, v, &e));
    fixture_drop(f, &h);
    fixture_drop(f, &y);
    return v;
}

/* The model in `file` after a method or chain, written to `out` and read back; its logits. */
static inline float *model_after(const char *file, const char *text, const char *out)
{
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_result r;
    bl_arena *a;
    const bl_calib_choice calib = {.data = "primer:test", .n = 24, .seqlen = 64};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(file, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib, .seed = 3}, be, out, a, &r, &e));
    fixture f = fixture_open(out, NULL, 2, false);
    float *v = model_logits(&f);
    fixture_close(&f);
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);
    return v;
}

/* Squared difference of the logits after a method to those of the model, over their squares. */
static inline double model_distance(const char *file, const char *text)
{
    bl_err e = {0};
    char out[4200];
    double off = 0, all = 0;
    snprintf(out, sizeof out, "%s/out", model_dir);
    float *want = model_after(file, "base", out);
    assert_ok(bl_remove_tree(out, &e));
    float *got = model_after(file, text, out);
    assert_ok(bl_remove_tree(out, &e));
    for (int i = 0; i < MODEL_LOGITS; i++) {
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        all += (double)want[i] * want[i];
    }
    free(want);
    free(got);
    if (getenv("BL_SHOW")) print_message("%s %g\n", text, off / all);
    return off / all;
}
#endif
