/* AWQ's two searches against AutoAWQ, on layer 1 of tinystories656k: losses of all grid points, scales, clipping. */
#include "golden_file.h"
#include "model_fixture.h"
#include "harness/quant/calibrate.h"
#include "methods/awq.h"
#include "methods/registry.h"
#include <math.h>

enum { WINDOWS = 4, LEN = 64, TOKENS = WINDOWS * LEN };

static bl_err e;

/* ---- scales ---- */

static const struct {
    bl_awq_place place;
    const char *name;
} places[] = {{BL_AWQ_ATTN, "qkv"}, {BL_AWQ_O, "o"}, {BL_AWQ_MLP, "mlp"}, {BL_AWQ_DOWN, "down"}};

static void compare(const golden *g, const bl_method_run *r, const char *width, bl_awq_place place, const char *name)
{
    char key[96];
    bl_awq_found f = {0};
    assert_ok(bl_awq_search(r, 1, place, &f, &e));
    snprintf(key, sizeof key, "autoawq.%s.%s.losses", width, name);
    const double *loss = golden_need(g, key, "F64", 20);
    int best = 0;
    for (int i = 0; i < 20; i++) {
        if (fabs(f.loss[i] / loss[i] - 1) > 1e-3)
            fail_msg("%s: loss of point %d is %.8g, wanted %.8g", key, i, f.loss[i], loss[i]);
        if (loss[i] < loss[best]) best = i;
    }
    if (f.best != best) { /* only between neighbours in the loss */
        assert_true(loss[f.best] <= loss[best] * 1.001);
        return;
    }
    snprintf(key, sizeof key, "autoawq.%s.%s.scale", width, name);
    const float *s = golden_need(g, key, "F32", place == BL_AWQ_DOWN ? 384 : 128);
    for (int j = 0; j < (place == BL_AWQ_DOWN ? 384 : 128); j++)
        if (fabsf(f.s[j] / s[j] - 1) > 1e-5f) fail_msg("%s: scale %d is %.8g, wanted %.8g", key, j, f.s[j], s[j]);
}

static void losses_and_scales_are_autoawqs(void **state)
{
    static const char *const widths[][2] = {
        {"awq:w4g64+scale=fp32", "w4g64"},         {"awq:w3g32+scale=fp32", "w3g32"},
        {"awq:w2g128+scale=fp32", "w2g128"},       {"awq:w4g64+scale=fp32+duo", "w4g64.duo"},
        {"awq:w3g32+scale=fp32+duo", "w3g32.duo"}, {"awq:w2g128+scale=fp32+duo", "w2g128.duo"}};
    golden g, tokens;
    int32_t ids[TOKENS];
    bl_arena *a;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/awq.safetensors"));
    golden_open(&tokens, test_path("BITLADDER_GOLDEN", "ptq/calibration_tokens.safetensors"));
    const int32_t *all = golden_need(&tokens, "tinystories656k", "I32", 32 * 512);
    for (int i = 0; i < TOKENS; i++) ids[i] = all[i / LEN * 512 + i % LEN];
    fixture f = fixture_open(test_path("BITLADDER_MODELS", "tinystories656K"), "", 2, false);
    assert_ok(bl_arena_new(&a, &e));
    for (size_t k = 0; k < BL_COUNT(widths); k++) {
        bl_method_choice c;
        bl_calibration *calib;
        const bl_calib_windows w = {.ids = ids, .n = WINDOWS, .seqlen = LEN};
        assert_ok(bl_method_parse(bl_methods, widths[k][0], &c, &e));
        assert_ok(bl_calib_begin(f.m, NULL, &w, BL_CALIB_CHANNELS | BL_CALIB_INPUTS, NULL, &calib, &e));
        assert_ok(bl_block_acquire(f.m, 0, &e));
        assert_ok(bl_calib_advance(calib, &e));
        bl_block_release(f.m, 0);
        assert_ok(bl_block_acquire(f.m, 1, &e));
        uint32_t roles = 0;
        for (int i = 0; i < f.m->blocks[1].n_linears; i++) roles |= BL_ROLE_BIT(f.m->blocks[1].linear[i].role);
        assert_ok(bl_calib_gather(calib, roles, &e));
        const bl_method_run r = {.method = c.method,
                                 .opts = c.opts,
                                 .model = f.m,
                                 .ops = f.be->ops,
                                 .be = f.be,
                                 .calib = calib,
                                 .scratch = a};
        for (size_t p = 0; p < BL_COUNT(places); p++) compare(&g, &r, widths[k][1], places[p].place, places[p].name);
        bl_block_release(f.m, 1);
        bl_calib_end(calib);
        bl_method_choice_free(&c);
    }
    bl_arena_free(a);
    fixture_close(&f);
    golden_close(&g);
    golden_close(&tokens);
}

/* ---- clipping ---- */

static void clip_is_autoawqs(const golden *g, const char *name, const char *width, int bits, int64_t group,
                             const char *x_name)
{
    char key[96];
    int64_t dim[8], differ = 0;
    int ndim;
    bl_backend *be;
    bl_buffer *bw, *bh, *bl;
    snprintf(key, sizeof key, "weight.%s", name);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    assert_non_null(w);
    int64_t out = dim[0], in = dim[1], groups = in / group;
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    assert_ok(be->ops->buffer_new(be, (uint64_t)(out * in) * 4, &bw, &e));
    assert_ok(be->ops->buffer_new(be, (uint64_t)(in * in) * 8, &bh, &e));
    assert_ok(be->ops->buffer_new(be, (uint64_t)(out * groups) * 4, &bl, &e));
    bl_tensor tw = bl_tensor_2d(bw, 0, BL_F32, out, in), th = bl_tensor_2d(bh, 0, BL_F64, in, in),
              tl = bl_tensor_2d(bl, 0, BL_F32, out, groups);
    assert_ok(be->ops->upload(be, &tw, w, &e));
    const float *x = golden_get(g, x_name, "F32", NULL, NULL),
                *gram = x ? NULL : golden_need(g, "gram", "F32", groups * group * group);
    double *h = bh->data;
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = i / group * group; j < i / group * group + group; j++) {
            double sum = 0;
            for (int64_t t = 0; x && t < TOKENS; t++) sum += (double)x[t * in + i] * x[t * in + j];
            h[i * in + j] = x ? sum : gram[i * group + j % group];
        }
    assert_ok(be->ops->clip_search(be,
                                   &(bl_clip_search_args){.w = tw,
                                                          .h = th,
                                                          .group = group,
                                                          .bits = bits,
                                                          .rule = BL_RANGE_CLIP,
                                                          .scale_type = BL_F32,
                                                          .steps = 20,
                                                          .tries = 10,
                                                          .limit = tl},
                                   &e));
    snprintf(key, sizeof key, "autoawq.%s.clip.%s", width, name);
    const float *want = golden_need(g, key, "F32", out * groups), *limit = bl->data, *clipped = bw->data;
    for (int64_t i = 0; i < out * groups; i++) differ += fabsf(limit[i] - want[i]) > 1e-6f * fabsf(want[i]);
    if (differ * 100 > out * groups)
        fail_msg("%s: %lld of %lld differ", key, (long long)differ, (long long)(out * groups));
    for (int64_t i = 0; i < out * in; i++) {
        float m = limit[i / in * groups + i % in / group];
        assert_true(clipped[i] == fminf(fmaxf(w[i], -m), m));
    }
    be->ops->buffer_free(bw);
    be->ops->buffer_free(bh);
    be->ops->buffer_free(bl);
    bl_backend_close(be);
}

static void ranges_are_clipped_as_autoawq_does(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, golden_path("ptq/awq.safetensors"));
    clip_is_autoawqs(&g, "v_proj", "w3g32", 3, 32, "x.qkv");
    if (getenv("BITLADDER_GOLDEN")) {
        static const struct {
            const char *width;
            int bits;
            int64_t group;
        } widths[] = {{"w4g64", 4, 64}, {"w3g32", 3, 32}, {"w2g128", 2, 128}};
        for (size_t i = 0; i < BL_COUNT(widths); i++) {
            clip_is_autoawqs(&g, "v_proj", widths[i].width, widths[i].bits, widths[i].group, "x.qkv");
            clip_is_autoawqs(&g, "gate_proj", widths[i].width, widths[i].bits, widths[i].group, "x.mlp");
            clip_is_autoawqs(&g, "down_proj", widths[i].width, widths[i].bits, widths[i].group, "x.down");
        }
    }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_scales_are_autoawqs),
        cmocka_unit_test(ranges_are_clipped_as_autoawq_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
