/* What mathematics says about rounding to nearest. */
#include "method_run.h"
#include "same_shape.h"
#include "kernels/base/rng.h"
#include <float.h>
#include <math.h>

static float *gaussian(int64_t n, uint64_t seed)
{
    float *w = malloc((size_t)n * sizeof *w);
    bl_rng r = bl_rng_at(seed, bl_rng_key("rtn test", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)bl_rng_normal(&r);
    return w;
}

static double nmse_of(const char *text, const float *w, int64_t out, int64_t in)
{
    method_run m;
    method_open(&m, text, w, out, in);
    method_apply(&m);
    double e = m.stat.nmse, mine = 0, power = 0;
    float *v = method_dense(&m);
    for (int64_t i = 0; i < out * in; i++) {
        mine += ((double)w[i] - v[i]) * ((double)w[i] - v[i]);
        power += (double)w[i] * w[i];
    }
    assert_true(fabs(e - mine / power) <= 1e-6 * (mine / power) + 1e-18); /* the row says what is stored */
    assert_true(fabs(m.stat.mse - mine / (double)(out * in)) <= 1e-6 * m.stat.mse + 1e-18);
    method_close(&m);
    return e;
}

/* Values simulated once: i.i.d. normal weights, groups of 128. */
static void error_on_gaussian_weights_is_the_known_one(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double want;
    } rows[] = {
        {"rtn:w4g128+range=minmax+scale=fp32", 0.0101},
        {"rtn:w3g128+range=minmax+scale=fp32", 0.0467},
        {"rtn:w2g128+range=minmax+scale=fp32", 0.253},
        {"rtn:w4g128+symmetric", 0.0138},
        {"rtn:w3g128+symmetric", 0.0747},
        {"rtn:w2g128+symmetric", 0.589},
    };
    float *w = gaussian(2500 * 128, 1);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        double got = nmse_of(rows[i].text, w, 250, 1280);
        if (fabs(got / rows[i].want - 1) > 0.02) fail_msg("%s: %.5f, wanted %.5f", rows[i].text, got, rows[i].want);
    }
    free(w);
}

static void error_falls_with_bits_and_with_smaller_groups(void **state)
{
    (void)state;
    static const char *const groups[] = {"g64", "g128", "pc"};
    static const char *const variants[] = {"", "+symmetric", "+range=minmax", "+range=clip"};
    float *w = gaussian(32 * 576, 2);
    for (size_t v = 0; v < BL_COUNT(variants); v++)
        for (size_t g = 0; g < BL_COUNT(groups); g++) {
            double last = INFINITY;
            for (int b = 1; b <= 8; b++) {
                char text[64];
                snprintf(text, sizeof text, "rtn:w%d%s%s", b, groups[g], variants[v]);
                if (b == 2 && v == 1) continue; /* three levels: no better than signs with a mean */
                double e = nmse_of(text, w, 32, 576);
                if (!(e < last)) fail_msg("%s: %g is not below %g", text, e, last);
                last = e;
            }
        }
    for (int b = 2; b <= 8; b++) {
        double last = 0;
        for (size_t g = 0; g < BL_COUNT(groups); g++) {
            char text[64];
            snprintf(text, sizeof text, "rtn:w%d%s", b, groups[g]);
            double e = nmse_of(text, w, 32, 576);
            assert_true(e > last);
            last = e;
        }
    }
    free(w);
}

static void a_shrunk_range_loses_less(void **state)
{
    (void)state;
    static const char *const texts[] = {"rtn:w2g64", "rtn:w3pc", "rtn:w4pc", "rtn:w3g64+symmetric",
                                        "rtn:w4pc+symmetric"};
    float *w = gaussian(32 * 576, 8);
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[64];
        snprintf(text, sizeof text, "%s+mse", texts[i]);
        double plain = nmse_of(texts[i], w, 32, 576), shrunk = nmse_of(text, w, 32, 576);
        if (!(shrunk < 0.97 * plain)) fail_msg("%s: %g, without the search %g", text, shrunk, plain);
    }
    free(w);
}

/* |w - w^| <= s / 2 inside the range; rounding of the zero point may cost another half step at the ends. */
static void error_is_at_most_a_step(void **state)
{
    (void)state;
    static const char *const variants[] = {"", "+range=minmax", "+symmetric"};
    float *w = gaussian(16 * 200, 3);
    for (int b = 2; b <= 8; b++)
        for (size_t v = 0; v < BL_COUNT(variants); v++) {
            char text[64];
            method_run m;
            const void *part[BL_MAX_PARTS];
            float scale[4], zero[4];
            uint8_t code[200];
            snprintf(text, sizeof text, "rtn:w%dg64+scale=fp32%s", b, variants[v]); /* 200 = 3 x 64 + 8: ragged */
            method_open(&m, text, w, 16, 200);
            method_apply(&m);
            bl_text note = {0};
            m.model.embed.weight = m.lin.weight; /* of the same format, so that nothing is said of it */
            bl_model_notes(&m.model, &note);
            assert_string_equal(note.s, "ragged last group");
            bl_text_free(&note);
            method_parts(&m, part);
            float *d = method_dense(&m);
            for (int64_t r = 0; r < 16; r++) {
                bl_int_decode(m.lin.weight.format, &m.lin.weight.shape, part, r, code, scale, zero);
                for (int64_t k = 0; k < 200; k++) {
                    float s = scale[k / 64], gap = fabsf(w[r * 200 + k] - d[r * 200 + k]);
                    bool end = code[k] == 0 || code[k] == (1 << b) - 1;
                    if (gap > s * (end ? 1.0001f : 0.50001f))
                        fail_msg("%s: row %lld, %lld: off by %g of a step", text, (long long)r, (long long)k,
                                 (double)(gap / s));
                    assert_true(code[k] < 1 << b);
                }
            }
            method_close(&m);
        }
    free(w);
}

/* With the stored scale and zero point, the stored values give the same codes again. */
static void stored_values_are_their_own_nearest(void **state)
{
    (void)state;
    float *w = gaussian(8 * 192, 4);
    for (int b = 2; b <= 8; b++) {
        char text[64];
        method_run m;
        const void *part[BL_MAX_PARTS];
        float scale[2], zero[2];
        uint8_t code[192];
        snprintf(text, sizeof text, "rtn:w%dg96", b);
        method_open(&m, text, w, 8, 192);
        method_apply(&m);
        method_parts(&m, part);
        float *d = method_dense(&m);
        for (int64_t r = 0; r < 8; r++) {
            bl_int_decode(m.lin.weight.format, &m.lin.weight.shape, part, r, code, scale, zero);
            for (int64_t k = 0; k < 192; k++) {
                float q = rintf(d[r * 192 + k] / scale[k / 96]) + zero[k / 96];
                assert_true((float)code[k] == fminf(fmaxf(q, 0), (float)((1 << b) - 1)));
            }
        }
        method_close(&m);
    }
    free(w);
}

/* A group that is positive throughout: the zero point forced into the codes clips the top, the group's own range does
 * not. */
static void one_signed_groups_tell_the_ranges_apart(void **state)
{
    (void)state;
    float w[64];
    for (int i = 0; i < 64; i++) w[i] = 1.0f + 0.01f * (float)i;
    double zero = nmse_of("rtn:w4g64", w, 1, 64), minmax = nmse_of("rtn:w4g64+range=minmax", w, 1, 64),
           clip = nmse_of("rtn:w4g64+range=clip", w, 1, 64);
    assert_true(minmax < zero);
    assert_true(zero < clip);
    assert_true(minmax < 1e-4);
    assert_true(clip > 0.1);
}

static void one_bit_is_sign_times_mean_absolute_value(void **state)
{
    (void)state;
    static const float w[8] = {0.5f, -1.5f, -0.0f, 2.0f, 3.0f, -3.0f, 1.0f, -1.0f};
    static const float want[8] = {1, -1, 1, 1, 2, -2, 2, -2};
    static const char *const texts[] = {"rtn:w1g4", "rtn:w1g4+symmetric", "rtn:w1g4+range=minmax"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        method_run m;
        method_open(&m, texts[i], w, 1, 8);
        assert_string_equal(m.choice.text, "rtn:w1g4");
        method_apply(&m);
        float *d = method_dense(&m);
        for (int k = 0; k < 8; k++) assert_true(d[k] == want[k]);
        assert_int_equal(m.lin.weight.n_parts, 2); /* codes and scales: no zero point is stored */
        method_close(&m);
    }
}

/* Bits of a weight are the bytes in memory. */
static void bits_are_bytes(void **state)
{
    (void)state;
    float *w = gaussian(24 * 200, 5);
    static const char *const variants[] = {"", "+symmetric", "+range=minmax", "+scale=fp32"};
    for (int b = 1; b <= 8; b++)
        for (size_t v = 0; v < BL_COUNT(variants); v++) {
            char text[64];
            method_run m;
            const bl_format *f = NULL;
            bl_shape g;
            uint64_t bytes = 0;
            snprintf(text, sizeof text, "rtn:w%dg64%s", b, variants[v]);
            method_open(&m, text, w, 24, 200);
            assert_true(m.run.method->predict(&m.run, &m.lin, &f, &g));
            method_apply(&m);
            for (int i = 0; i < m.lin.weight.n_parts; i++) bytes += bl_tensor_bytes(&m.lin.weight.part[i]);
            assert_true(bytes == bl_format_bytes(f, &g));
            assert_true(f == m.lin.weight.format && same_shape(&g, &m.lin.weight.shape));
            int64_t groups = 4, codes = (200 * b + 7) / 8, scale = v == 3 ? 4 : 2;
            int64_t zeros = b == 1 || v == 1 ? 0 : v == 2 ? 2 * groups : (groups * b + 7) / 8;
            assert_int_equal(bytes, 24 * (codes + scale * groups + zeros));
            method_close(&m);
        }
    free(w);
}

static void activations_follow_the_option(void **state)
{
    (void)state;
    float *w = gaussian(4 * 64, 6);
    method_run m;
    method_open(&m, "rtn:w8a8g32+symmetric", w, 4, 64);
    method_apply(&m);
    assert_int_equal(m.lin.act.bits, 8);
    assert_true(m.lin.act.symmetric && m.lin.act.unit == BL_ACT_TOKEN && m.lin.act.scale == 0);
    method_close(&m);
    method_open(&m, "rtn:w8g32", w, 4, 64);
    method_apply(&m);
    assert_int_equal(m.lin.act.bits, 0);
    method_close(&m);
    free(w);
}

static void a_group_larger_than_a_row_is_refused_before_work(void **state)
{
    (void)state;
    bl_err e = {0};
    method_run m;
    bool given;
    method_open(&m, "rtn:w4g128", NULL, 4, 64);
    assert_refused(bl_method_predict(&m.run, &m.lin, &given, &e), BL_E_CONFIG,
                   "group 128 is larger than the 64 inputs of model.layers.0.mlp.up_proj");
    method_close(&m);
    method_open(&m, "rtn:w4pc", NULL, 4, 64);
    assert_ok(bl_method_predict(&m.run, &m.lin, &given, &e));
    assert_true(given);
    method_close(&m);
}

static void head_and_embeddings_stay_unless_asked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool wants, head, embeddings;
    } rows[] = {
        {"rtn:w4g32", false, false, false},
        {"rtn:w4g32+head", true, true, true}, /* no head of its own: the one table serves as both */
        {"rtn:w4g32+embeddings", true, false, true},
        {"rtn:w4g32+head+embeddings", true, true, true},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        method_run m;
        const bl_format *f;
        bl_shape g;
        method_open(&m, rows[i].text, NULL, 4, 64);
        bl_linear head = {.name = "lm_head", .role = BL_ROLE_HEAD, .block = -1, .in = 64, .out = 100},
                  embed = {.name = "model.embed_tokens", .role = BL_ROLE_EMBED, .block = -1, .in = 64, .out = 100};
        assert_int_equal(m.run.method->wants_head(&m.run), rows[i].wants);
        assert_int_equal(m.run.method->predict(&m.run, &head, &f, &g), rows[i].head);
        assert_int_equal(m.run.method->predict(&m.run, &embed, &f, &g), rows[i].embeddings);
        method_close(&m);
    }
}

static void sixteen_bit_methods_round_to_their_type(void **state)
{
    (void)state;
    float *w = gaussian(4 * 64, 7);
    for (int t = 0; t < 2; t++) {
        method_run m;
        method_open(&m, t ? "bf16" : "fp16", w, 4, 64);
        method_apply(&m);
        float *d = method_dense(&m);
        for (int i = 0; i < 256; i++)
            assert_true(d[i] == (t ? bl_bf16_to_f32(bl_f32_to_bf16(w[i])) : bl_f16_to_f32(bl_f32_to_f16(w[i]))));
        assert_true(bl_format_bits(m.lin.weight.format, &m.lin.weight.shape) == 16);
        method_close(&m);
    }
    w[77] = 70000; /* more than half precision holds */
    bl_err e = {0};
    method_run m;
    method_open(&m, "fp16", w, 4, 64);
    assert_true(m.run.method->layer(&m.run, &m.lin, &m.stat, &e) == BL_E_NUMERIC);
    method_close(&m);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_on_gaussian_weights_is_the_known_one),
        cmocka_unit_test(error_falls_with_bits_and_with_smaller_groups),
        cmocka_unit_test(a_shrunk_range_loses_less),
        cmocka_unit_test(error_is_at_most_a_step),
        cmocka_unit_test(stored_values_are_their_own_nearest),
        cmocka_unit_test(one_signed_groups_tell_the_ranges_apart),
        cmocka_unit_test(one_bit_is_sign_times_mean_absolute_value),
        cmocka_unit_test(bits_are_bytes),
        cmocka_unit_test(activations_follow_the_option),
        cmocka_unit_test(a_group_larger_than_a_row_is_refused_before_work),
        cmocka_unit_test(head_and_embeddings_stay_unless_asked),
        cmocka_unit_test(sixteen_bit_methods_round_to_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
