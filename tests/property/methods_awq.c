/* AWQ's scales leave the function of the model as it is; without its two searches it is rounding to nearest. */
#include "method_model.h"
#include "methods/awq.h"

enum { WINDOWS = 6, LEN = 32 };
static bl_err e;

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
    assert_ok(bl_calib_begin(f->m, NULL, &w, BL_CALIB_CHANNELS | BL_CALIB_INPUTS, NULL, &calib, &e));
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
        fixture f = fixture_open(k < 2 ? model_shared : model_own, NULL, 2, false);
        float *want = model_logits(&f), most = 0;
        scale_only(&f, k == 1 ? "awq:w2g24+duo" : "awq:w3g24");
        float *got = model_logits(&f);
        for (int i = 0; i < MODEL_LOGITS; i++) most = fmaxf(most, fabsf(want[i]));
        for (int i = 0; i < MODEL_LOGITS; i++)
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

/* r = 0 scales nothing. */
static void without_scales_and_clipping_it_rounds_to_nearest(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        char text[64], rtn[64];
        snprintf(text, sizeof text, "awq:w%dg24+grid=1+clip=false", bits);
        snprintf(rtn, sizeof rtn, "rtn:w%dg24+range=clip", bits);
        assert_true(model_distance(model_shared, text) == model_distance(model_shared, rtn));
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
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i][0]), rtn = model_distance(model_shared, texts[i][1]);
        if (!(got < rtn)) fail_msg("%s: %g; %s: %g", texts[i][0], got, texts[i][1], rtn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_leave_the_model_as_it_is),
        cmocka_unit_test(without_scales_and_clipping_it_rounds_to_nearest),
        cmocka_unit_test(outputs_are_nearer_than_by_rounding_to_nearest),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
