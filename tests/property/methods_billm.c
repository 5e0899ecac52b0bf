/* What mathematics says about BiLLM: the second sign lowers the error, what is stored is what was rounded, errors go
 * into later blocks only, and outputs are nearer than with one sign. */
#include "method_model.h"
#include "methods/billm.h"

enum { OUT = 20, GROUP = 32, BLOCKS = 3, IN = 80 }; /* a short last block */
static bl_err e;

static void normals(float *w, int64_t n, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_billm", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)(bl_rng_normal(&r) * (i % IN % 9 == 4 ? 5 : 1));
}
static void factor(float *u, float beside) /* upper triangular */
{
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) u[i * IN + j] = i == j ? 1 + (float)(i % 5) / 10 : i < j ? beside : 0;
}

typedef struct rounded {
    float v[OUT * IN], scale[OUT * BLOCKS * 4], mean[OUT * BLOCKS * 4];
    uint8_t salient[IN];
} rounded;
static bl_backend *backend(int threads)
{
    bl_backend *be;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = threads}, &be, &e));
    return be;
}
static void round_on(rounded *k, const float *w, float beside, int threads)
{
    static float u[IN * IN];
    factor(u, beside);
    memset(k, 0, sizeof *k);
    memcpy(k->v, w, sizeof k->v);
    bl_backend *be = backend(threads);
    assert_ok(bl_billm_round(be, &(bl_rows){.out = OUT, .in = IN, .w = k->v, .u = u},
                             &(bl_billm){.group = GROUP, .scale = BL_F16}, k->salient, k->scale, k->mean, &e));
    bl_backend_close(be);
}

static void round_it(rounded *k, const float *w, float beside) { round_on(k, w, beside, 1); }

static void threads_change_nothing(void **state)
{
    static float w[OUT * IN];
    static rounded one, three;
    (void)state;
    normals(w, OUT * IN, 5);
    round_on(&one, w, 0.02f, 1);
    round_on(&three, w, 0.02f, 3);
    assert_memory_equal(&one, &three, sizeof one);
}

static void the_second_sign_lowers_the_error_of_every_row(void **state)
{
    static float w[OUT * IN];
    static rounded k;
    int better = 0;
    (void)state;
    normals(w, OUT * IN, 1);
    round_it(&k, w, 0);
    for (int i = 0; i < OUT * BLOCKS; i++) {
        const float *s = k.scale + 4 * i, *m = k.mean + 4 * i;
        double one = 0, two = 0;
        int n = 0;
        for (int j = i % BLOCKS * GROUP; j < BL_MIN(IN, (i % BLOCKS + 1) * GROUP); j++) {
            if (!k.salient[j]) continue;
            double x = w[i / BLOCKS * IN + j], d = x - m[2] - (x >= m[2] ? s[2] : -s[2]),
                   d2 = x - k.v[i / BLOCKS * IN + j];
            one += d * d;
            two += d2 * d2;
            n++;
        }
        assert_true(n > 0 && two <= one + 1e-4); /* rounded to 16 bits */
        better += two < 0.9 * one;
    }
    assert_true(better > OUT);
}

/* Where nothing is handed on, blocks are rounded alone; else what a block loses, e U_jk / U_jj, is in later ones. */
static void errors_go_into_later_blocks(void **state)
{
    static float w[OUT * IN];
    static rounded alone, together;
    (void)state;
    normals(w, OUT * IN, 2);
    round_it(&alone, w, 0);
    round_it(&together, w, 0.02f);
    for (int i = 0; i < OUT; i++) {
        assert_memory_equal(alone.v + i * IN, together.v + i * IN, GROUP * sizeof(float));
        assert_memory_not_equal(alone.v + i * IN + GROUP, together.v + i * IN + GROUP, (IN - GROUP) * sizeof(float));
    }
}

static void what_is_stored_is_what_was_rounded(void **state)
{
    static float w[OUT * IN], back[IN];
    static rounded k;
    const bl_format *f = bl_format_find("sign_split");
    bl_shape g = {.out = OUT, .in = IN, .group = GROUP, .scale = BL_F16};
    uint8_t codes[OUT * IN / 4], salient[IN / 8] = {0};
    uint16_t scale[OUT * BLOCKS * 4], mean[OUT * BLOCKS * 4];
    void *part[BL_MAX_PARTS] = {codes, scale, mean, salient};
    (void)state;
    normals(w, OUT * IN, 3);
    round_it(&k, w, 0.01f);
    for (int j = 0; j < IN; j++) salient[j / 8] |= (uint8_t)(k.salient[j] << j % 8);
    assert_ok(f->encode(f, &g, k.v, k.scale, k.mean, part, &e));
    for (int r = 0; r < OUT; r++) {
        f->unpack(f, &g, (const void *const *)part, r, 0, IN, back);
        for (int j = 0; j < IN; j++) assert_true(fabsf(back[j] - k.v[r * IN + j]) <= 1e-5f);
    }
    /* two bits a weight, eight numbers a row and block, a bit a column */
    assert_int_equal(bl_format_bytes(f, &g), OUT * IN / 4 + OUT * BLOCKS * 8 * 2 + IN / 8);
    k.v[7] = NAN;
    assert_refused(f->encode(f, &g, k.v, k.scale, k.mean, part, &e), BL_E_NUMERIC, "sign_split");
}

/* Two numbers are exact with two signs, three are not: beside a column far from all others exactly one more is salient.
 */
static void a_column_apart_and_one_more_are_salient(void **state)
{
    static float s[OUT * IN];
    uint8_t salient[IN];
    float threshold;
    double error[BL_BILLM_COLUMNS];
    int n = 0;
    (void)state;
    for (int i = 0; i < OUT * IN; i++) s[i] = i % IN == 11 ? 1000 : 1 + (float)(i * 37 % 101) / 200;
    bl_backend *be = backend(1);
    assert_ok(bl_billm_columns(be, s, OUT, IN, BL_BILLM_COLUMNS, salient, error, &e));
    for (int j = 0; j < IN; j++) n += salient[j];
    assert_true(n == 2 && salient[11]);
    assert_true(error[2] < error[1] && error[1] < error[3]);
    assert_ok(bl_billm_split(be, s, OUT, IN, salient, false, &threshold, &e));
    bl_backend_close(be);
    assert_true(threshold > 1 && threshold < 1.5f);
}

static void outputs_are_nearer_than_with_one_sign_a_weight(void **state)
{
    static const char *const texts[][2] = {
        {"billm:g24", "rtn:w1g24"}, {"billm:g24+metric=magnitude", "rtn:w1g24"}, {"billm:g24", "gptq:w1g24"}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i][0]), other = model_distance(model_shared, texts[i][1]);
        if (!(got < other)) fail_msg("%s: %g; %s: %g", texts[i][0], got, texts[i][1], other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(the_second_sign_lowers_the_error_of_every_row),
        cmocka_unit_test(errors_go_into_later_blocks),
        cmocka_unit_test(what_is_stored_is_what_was_rounded),
        cmocka_unit_test(a_column_apart_and_one_more_are_salient),
        cmocka_unit_test(outputs_are_nearer_than_with_one_sign_a_weight),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
