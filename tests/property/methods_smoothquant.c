/* SmoothQuant leaves the function of the model as it is, balances maxima, and runs in integers. */
#include "method_model.h"
#include "methods/smoothquant.h"

static bl_err e;

static void smoothing_leaves_the_model_as_it_is(void **state)
{
    (void)state;
    for (int alpha = 0; alpha <= 4; alpha++) {
        char text[64];
        snprintf(text, sizeof text, "smoothquant+alpha=%g", alpha / 4.0);
        assert_true(model_distance(model_shared, text) < 1e-10);
    }
    assert_true(model_distance(model_own, "smoothquant") < 1e-10);
}

/* Largest |w| of each column of several linears, largest |x| of what they read over the calibration text. */
static void maxima(const char *dir, int64_t block, const bl_role *roles, int n, float *x, float *w)
{
    bl_calibration *calib;
    bl_calib_windows windows;
    bl_calib_channels seen;
    bl_arena *a;
    fixture f = fixture_open(dir, NULL, 1, false);
    const bl_calib_choice choice = {.data = "primer:test", .n = 24, .seqlen = 64};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_calib_draw(&choice, NULL, f.t, a, &windows, &e));
    assert_ok(bl_calib_begin(f.m, NULL, &windows, BL_CALIB_CHANNELS, NULL, &calib, &e));
    for (int64_t b = 0; b < block; b++) assert_ok(bl_calib_advance(calib, &e));
    assert_ok(bl_calib_gather(calib, BL_ROLE_BIT(roles[0]), &e));
    assert_ok(bl_calib_channel(calib, bl_model_linear(f.m, block, roles[0]), &seen, &e));
    memcpy(x, seen.max_abs, MODEL_DIM * sizeof *x);
    memset(w, 0, MODEL_DIM * sizeof *w);
    for (int i = 0; i < n; i++) {
        bl_tensor dense;
        const bl_linear *l = bl_model_linear(f.m, block, roles[i]);
        assert_ok(bl_linear_dense(f.be, l, &dense, &e));
        const float *v = dense.buf->data;
        for (int64_t k = 0; k < l->out * l->in; k++) w[k % l->in] = fmaxf(w[k % l->in], fabsf(v[k]));
        fixture_drop(&f, &dense);
    }
    bl_calib_end(calib);
    bl_arena_free(a);
    fixture_close(&f);
}

/* alpha = 1: all maxima of the inputs are 1; alpha = 0: all of the weights, over q, k and v together; in between their
 * products stay. */
static void maxima_are_balanced(void **state)
{
    static const bl_role qkv[] = {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V}, mlp[] = {BL_ROLE_GATE, BL_ROLE_UP};
    static const double alphas[] = {0, 0.5, 1};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(alphas); i++)
        for (int p = 0; p < 2; p++) {
            char out[4200], text[64];
            float x0[MODEL_DIM], w0[MODEL_DIM], x[MODEL_DIM], w[MODEL_DIM];
            const bl_role *roles = p ? mlp : qkv;
            snprintf(out, sizeof out, "%s/out", model_dir);
            snprintf(text, sizeof text, "smoothquant+alpha=%g", alphas[i]);
            free(model_after(model_shared, text, out));
            maxima(model_shared, 1, roles, p ? 2 : 3, x0, w0);
            maxima(out, 1, roles, p ? 2 : 3, x, w);
            for (int j = 0; j < MODEL_DIM; j++) {
                assert_true(fabsf(x[j] * w[j] / (x0[j] * w0[j]) - 1) < 1e-4f);
                if (alphas[i] == 0) assert_true(fabsf(w[j] - 1) < 1e-4f);
                else if (alphas[i] == 1) assert_true(fabsf(x[j] - 1) < 1e-4f);
                else assert_true(fabsf(x[j] / w[j] - 1) < 1e-4f);
            }
            assert_ok(bl_remove_tree(out, &e));
        }
}

static void few_bits_of_activations_gain_from_it(void **state)
{
    static const char *const texts[][2] = {
        {"smoothquant:w8a8", "rtn:w8a8pc+symmetric"},
        {"smoothquant:w6a6", "rtn:w6a6pc+symmetric"},
        {"smoothquant:w8a4", "rtn:w8a4pc+symmetric"},
        {"smoothquant+rtn:w8a6g24", "rtn:w8a6g24"},
        {"smoothquant+gptq:w8a6g24+symmetric", "gptq:w8a6g24+symmetric"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i][0]), rtn = model_distance(model_shared, texts[i][1]);
        if (!(got < rtn)) fail_msg("%s: %g; %s: %g", texts[i][0], got, texts[i][1], rtn);
    }
}

/* As a stage before rtn it is what it is alone. */
static void stages_add_up(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "smoothquant:w6a8") ==
                model_distance(model_shared, "smoothquant+rtn:w6a8pc+symmetric"));
    assert_true(model_distance(model_shared, "smoothquant:w8a8+static") ==
                model_distance(model_shared, "smoothquant:a8+static+rtn:w8pc+symmetric"));
}

static void products_run_in_integers(void **state)
{
    static const char *const texts[] = {"smoothquant:w8a8", "smoothquant:w8a8+static", "smoothquant:w4a4",
                                        "smoothquant:w6a6"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char out[4200];
        snprintf(out, sizeof out, "%s/out", model_dir);
        free(model_after(model_shared, texts[i], out));
        fixture f = fixture_open(out, NULL, 1, false);
        assert_null(bl_model_simulated(f.m));
        for (size_t k = 0; k < f.m->n_linears; k++) {
            const bl_linear *l = &f.m->linears[k];
            assert_true(l->act.bits && l->act.symmetric && !l->n_transforms);
            assert_int_equal(l->act.unit, i == 1 ? BL_ACT_TENSOR : BL_ACT_TOKEN);
            assert_true((l->act.scale > 0) == (i == 1));
        }
        fixture_close(&f);
        assert_ok(bl_remove_tree(out, &e));
    }
}

static void what_does_not_apply_is_left_out(void **state)
{
    static const char *const settled[][2] = {{"smoothquant", "smoothquant"},
                                             {"smoothquant:w0", "smoothquant"},
                                             {"smoothquant:w8+static", "smoothquant:w8pc"},
                                             {"smoothquant:a8", "smoothquant:a8"},
                                             {"smoothquant:g64+scale=fp32", "smoothquant"},
                                             {"smoothquant:w8a8pc+alpha=0.85", "smoothquant:w8a8pc"}};
    bl_method_chain chain;
    int64_t wbits, group;
    char text[32];
    (void)state;
    for (size_t i = 0; i < BL_COUNT(settled); i++) {
        bl_method_choice c;
        assert_ok(bl_method_parse(bl_methods, settled[i][0], &c, &e));
        assert_string_equal(c.text, settled[i][1]);
        bl_method_choice_free(&c);
    }
    assert_ok(bl_chain_parse(bl_methods, "gptq:w4+smoothquant", &chain, &e)); /* the width is that of gptq */
    bl_chain_width(&chain, &wbits, &group, text);
    assert_int_equal(wbits, 4);
    assert_int_equal(group, 128);
    bl_chain_free(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoothing_leaves_the_model_as_it_is),
        cmocka_unit_test(maxima_are_balanced),
        cmocka_unit_test(few_bits_of_activations_gain_from_it),
        cmocka_unit_test(stages_add_up),
        cmocka_unit_test(products_run_in_integers),
        cmocka_unit_test(what_does_not_apply_is_left_out),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
