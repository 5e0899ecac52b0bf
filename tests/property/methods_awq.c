/* AWQ's scales leave the function of the model as it is; without its two searches it is rounding to nearest. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/quant/apply.h"
#include "harness/quant/calibrate.h"
#include "kernels/base/fs.h"
#include "methods/awq.h"
#include "methods/registry.h"
#include <math.h>

enum { WINDOWS = 6, LEN = 32, DIM = 72 };
static bl_err e;
static char dir[4096], shared[4200], own[4200];

/* Channels of the residual stream differ much in size. */
static float uneven(const void *ctx, int64_t i) { return tiny_random(ctx, i) * (i % DIM % 7 ? 1.0f : 9.0f); }

static int begin(void **state)
{
    tiny t = {.dim = DIM, .hidden = 160, .layers = 2, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 128};
    static const uint64_t seed[2] = {100, 101};
    char tok[4200];
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(shared, sizeof shared, "%s/shared.bin", dir);
    snprintf(own, sizeof own, "%s/own.bin", dir);
    snprintf(tok, sizeof tok, "%s/tok.bin", dir);
    tiny_tokenizer(tok, NULL);
    tiny_write(shared, &t, uneven, &seed[0], tiny_random, tiny_random, &seed[1]);
    t.kv_heads = 9; /* each query head has a value head of its own */
    tiny_write(own, &t, uneven, &seed[0], tiny_random, tiny_random, &seed[1]);
    return 0;
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL);
}

static float *logits(const fixture *f)
{
    int32_t ids[LEN];
    for (int i = 0; i < LEN; i++) ids[i] = 5 + i * 37 % 250;
    bl_tensor h = fixture_hidden(f, ids, LEN), y = fixture_tensor(f, BL_F32, LEN, f->m->config.vocab);
    float *v = malloc(bl_tensor_bytes(&y));
    assert_ok(bl_logits(f->m, h, 0, LEN, y, &e));
    assert_ok(f->be->ops->download(f->be, &y, v, &e));
    fixture_drop(f, &h);
    fixture_drop(f, &y);
    return v;
}

/* The hook `block` of awq on every block of a model: search and scales, nothing is rounded. */
static void scale_only(const fixture *f, const char *text)
{
    int scaled = 0;
    int32_t ids[WINDOWS * LEN];
    bl_method_choice c;
    bl_calibration *calib;
    bl_arena *a;
    for (int i = 0; i < WINDOWS * LEN; i++) ids[i] = 3 + i * i % 290;
    const bl_calib_windows w = {.ids = ids, .n = WINDOWS, .seqlen = LEN};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_method_parse(bl_methods, text, &c, &e));
    assert_ok(bl_calib_begin(f->m, &w, BL_CALIB_CHANNELS | BL_CALIB_INPUTS, NULL, &calib, &e));
    const bl_method_run r = {.method = c.method,
                             .opts = c.opts,
                             .model = f->m,
                             .ops = f->be->ops,
                             .be = f->be,
                             .calib = calib,
                             .scratch = a};
    for (int64_t b = 0; b < f->m->config.n_layers; b++) {
        uint32_t roles = 0;
        for (int i = 0; i < f->m->blocks[b].n_linears; i++) roles |= BL_ROLE_BIT(f->m->blocks[b].linear[i].role);
        assert_ok(bl_block_acquire(f->m, b, &e));
        assert_ok(bl_calib_gather(calib, roles, &e));
        for (int p = 0; p < BL_AWQ_PLACES; p++) {
            bl_awq_found found = {0};
            assert_ok(bl_awq_search(&r, b, (bl_awq_place)p, &found, &e));
            assert_true(found.loss[found.best] <= found.loss[0]);
            scaled += found.best > 0;
        }
        assert_ok(c.method->block(&r, b, &e));
        assert_ok(bl_calib_advance(calib, &e));
        bl_block_release(f->m, b);
    }
    assert_true(scaled > 0);
    bl_calib_end(calib);
    bl_method_choice_free(&c);
    bl_arena_free(a);
}

static void scales_leave_the_model_as_it_is(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        fixture f = fixture_open(k < 2 ? shared : own, NULL, 2, false);
        float *want = logits(&f), most = 0;
        scale_only(&f, k == 1 ? "awq:w2g24+duo" : "awq:w3g24");
        float *got = logits(&f);
        for (int i = 0; i < LEN * 300; i++) most = fmaxf(most, fabsf(want[i]));
        for (int i = 0; i < LEN * 300; i++)
            if (fabsf(got[i] - want[i]) > 1e-5f * most) fail_msg("logit %d: %g, was %g", i, got[i], want[i]);
        const bl_linear *o = bl_model_linear(f.m, 1, BL_ROLE_O), *v = bl_model_linear(f.m, 1, BL_ROLE_V);
        /* into v only where that is exact */
        assert_int_equal(o->n_transforms, k < 2);
        assert_true(v->changed && !bl_model_linear(f.m, 1, BL_ROLE_DOWN)->n_transforms);
        free(want);
        free(got);
        fixture_close(&f);
    }
}

/* Logits of what a method makes of the file. */
static float *after(const char *model, const char *text)
{
    char out[4200];
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_result r;
    bl_arena *a;
    const bl_calib_choice calib = {.data = "primer:test", .n = 24, .seqlen = 64};
    snprintf(out, sizeof out, "%s/out", dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib}, be, out, a, &r, &e));
    fixture f = fixture_open(out, NULL, 2, false);
    float *v = logits(&f);
    fixture_close(&f);
    assert_ok(bl_remove_tree(out, &e));
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);
    return v;
}

/* r = 0 scales nothing. */
static void without_scales_and_clipping_it_rounds_to_nearest(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        char text[64], rtn[64];
        snprintf(text, sizeof text, "awq:w%dg24+grid=1+clip=false", bits);
        snprintf(rtn, sizeof rtn, "rtn:w%dg24+range=clip", bits);
        float *a = after(shared, text), *b = after(shared, rtn);
        assert_memory_equal(a, b, LEN * 300 * sizeof *a);
        free(a);
        free(b);
    }
}

static void outputs_are_nearer_than_by_rounding_to_nearest(void **state)
{
    static const char *const texts[][2] = {{"awq:w3g24", "rtn:w3g24+range=clip"},
                                           {"awq:w4g24", "rtn:w4g24+range=clip"},
                                           {"awq:w4pc+symmetric", "rtn:w4pc+symmetric"},
                                           {"awq:w3g24+clip=false", "rtn:w3g24+range=clip"},
                                           {"quarot+awq:w3g24", "quarot+rtn:w3g24+range=clip"}};
    (void)state;
    float *want = after(shared, "base");
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        float *got = after(shared, texts[i][0]), *rtn = after(shared, texts[i][1]);
        double a = 0, b = 0;
        for (int k = 0; k < LEN * 300; k++) {
            a += ((double)got[k] - want[k]) * ((double)got[k] - want[k]);
            b += ((double)rtn[k] - want[k]) * ((double)rtn[k] - want[k]);
        }
        if (getenv("BL_SHOW")) print_message("%s %g, %s %g\n", texts[i][0], a, texts[i][1], b);
        if (!(a < b)) fail_msg("%s: %g; %s: %g", texts[i][0], a, texts[i][1], b);
        free(got);
        free(rtn);
    }
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_leave_the_model_as_it_is),
        cmocka_unit_test(without_scales_and_clipping_it_rounds_to_nearest),
        cmocka_unit_test(outputs_are_nearer_than_by_rounding_to_nearest),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
