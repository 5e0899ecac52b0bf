/* What mathematics says about PB-LLM: two values a row and 8 bits for the rest, the least squared error for its means,
 * bits that are counted, the same on any number of threads. */
#include "method_model.h"
#include "methods/pb_llm.h"

enum { OUT = 20, IN = 72, GROUP = 24, TERMS = IN / GROUP + 1 };
static bl_err e;

static void normals(float *w, int64_t n, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_pb_llm", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)(bl_rng_normal(&r) * (i % 11 == 4 ? 4 : 1));
}

typedef struct rounded {
    float w[OUT * IN], u[IN * IN], scale[OUT * TERMS], mean[OUT * TERMS];
    uint8_t salient[OUT * IN];
} rounded;
/* The factor is the unit matrix, with `beside` above the diagonal. */
static void round_it(rounded *k, uint64_t seed, float beside, const bl_pb *how, int threads)
{
    bl_backend *be;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = threads}, &be, &e));
    memset(k, 0, sizeof *k);
    normals(k->w, OUT * IN, seed);
    for (int i = 0; i < IN * IN; i++) k->u[i] = i % (IN + 1) == 0 ? 1 : i / IN < i % IN ? beside : 0;
    assert_ok(bl_pb_round(&(bl_method_run){.be = be, .ops = be->ops},
                          &(bl_rows){.out = OUT, .in = IN, .w = k->w, .u = k->u}, how, k->salient, k->scale, k->mean,
                          &e));
    bl_backend_close(be);
}

/* Without anything to hand on: of each weight that is not salient the nearer of two values, whose mean size is the
 * least squared error for their mean; of a salient one the nearest of 256. */
static void values_are_the_nearest_and_sizes_the_best(void **state)
{
    static float w[OUT * IN];
    static rounded k;
    bl_pb how = {.share = 0.2, .group = GROUP, .scale = BL_F32};
    int salient = 0;
    (void)state;
    normals(w, OUT * IN, 1);
    round_it(&k, 1, 0, &how, 1);
    for (int r = 0; r < OUT; r++) {
        const float *s = k.scale + r * TERMS, *m = k.mean + r * TERMS;
        double error[IN / GROUP][3] = {{0}};
        for (int j = 0; j < IN; j++) {
            float x = w[r * IN + j], v = k.w[r * IN + j];
            int i = j / GROUP;
            if (k.salient[r * IN + j]) {
                assert_true(fabsf(v - x) <= 0.5f * s[TERMS - 1] * 1.001f);
                salient++;
                continue;
            }
            assert_true(fabsf(fabsf(v - m[i]) - s[i]) <= 1e-6f && (v > m[i]) == (x >= m[i]));
            for (int t = 0; t < 3; t++) {
                double d = fabs((double)x - m[i]) - s[i] * (0.98 + 0.02 * t);
                error[i][t] += d * d;
            }
        }
        for (int i = 0; i < IN / GROUP; i++) assert_true(error[i][1] <= error[i][0] && error[i][1] <= error[i][2]);
    }
    assert_int_equal(salient, bl_pb_salient(&how, OUT, IN));
    assert_int_equal(salient, 3 * (OUT * GROUP - 1 - OUT * GROUP * 8 / 10));
}

/* With salient weights counted as 0 the size is smaller by their share, about. */
static void diluted_sizes_are_smaller_by_the_share(void **state)
{
    static rounded own, diluted;
    double a = 0, b = 0;
    (void)state;
    round_it(&own, 2, 0, &(bl_pb){.share = 0.5, .group = IN, .scale = BL_F32}, 1);
    round_it(&diluted, 2, 0, &(bl_pb){.share = 0.5, .group = IN, .scale = BL_F32, .diluted = true}, 1);
    assert_memory_equal(own.salient, diluted.salient, sizeof own.salient);
    for (int r = 0; r < OUT; r++) {
        a += own.scale[r * 2];
        b += diluted.scale[r * 2];
    }
    assert_true(b < 0.62 * a && b > 0.45 * a);
}

static void threads_change_nothing(void **state)
{
    static rounded one, three;
    bl_pb how = {.share = 0.1, .group = GROUP, .scale = BL_F16};
    (void)state;
    round_it(&one, 3, 0.03f, &how, 1);
    round_it(&three, 3, 0.03f, &how, 3);
    assert_memory_equal(&one, &three, sizeof one);
}

typedef struct stored {
    uint8_t codes[OUT * IN / 8], salient[OUT * IN / 8], large[OUT * IN];
    float scale[OUT * TERMS], mean[OUT * TERMS];
    int32_t first[OUT];
} stored;
static void what_is_stored_is_what_was_rounded(void **state)
{
    static rounded k;
    static stored s;
    const bl_format *f = bl_format_find("sign_int8");
    bl_pb how = {.share = 0.1, .group = GROUP, .scale = BL_F32};
    bl_shape g = {.out = OUT, .in = IN, .group = GROUP, .scale = BL_F32, .salient = bl_pb_salient(&how, OUT, IN)};
    void *part[BL_MAX_PARTS] = {s.codes, s.scale, s.mean, s.salient, s.large, s.first};
    const void *const *in = (const void *const *)part;
    float back[IN];
    (void)state;
    round_it(&k, 4, 0.02f, &how, 1);
    for (int i = 0; i < OUT * IN; i++) s.salient[i / 8] |= (uint8_t)(k.salient[i] << i % 8);
    assert_ok(f->encode(f, &g, k.w, k.scale, k.mean, part, &e));
    for (int r = 0; r < OUT; r++) {
        f->unpack(f, &g, in, r, 0, IN, back);
        for (int j = 0; j < IN; j++) assert_true(fabsf(back[j] - k.w[r * IN + j]) <= 1e-6f);
    }
    /* two bits a weight, seven a salient one, two numbers a group and a row more, and where the row's begin */
    assert_int_equal(bl_format_bytes(f, &g),
                     2 * OUT * IN / 8 + (7 * g.salient + 7) / 8 + OUT * TERMS * 2 * 4 + OUT * 4);
    s.first[3] = 1 << 30; /* out of a file: nothing is read there */
    f->unpack(f, &g, in, 3, 0, IN, back);
    for (int j = 0; j < IN; j++)
        if (k.salient[3 * IN + j]) assert_true(back[j] == 0);
    g.salient--;
    assert_refused(f->encode(f, &g, k.w, k.scale, k.mean, part, &e), BL_E_NUMERIC, "weights are salient");
    g.salient = OUT * IN + 1;
    assert_refused(f->check(f, &g, &e), BL_E_CONFIG, "too many");
    k.mean[TERMS - 1] = 256;
    g.salient = OUT * IN;
    assert_refused(f->encode(f, &g, k.w, k.scale, k.mean, part, &e), BL_E_NUMERIC, "zero point");
    assert_refused(bl_format_find("sign_split")->check(bl_format_find("sign_split"), &g, &e), BL_E_CONFIG, "none");
}

static void outputs_come_nearer_with_the_share_and_beat_signs_alone(void **state)
{
    double least = model_distance(model_shared, "gptq:w1g24");
    static const char *const texts[] = {"pb-llm:g24+salient=0.05", "pb-llm:g24+salient=0.2", "pb-llm:g24+salient=0.6"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i]);
        if (!(got < least)) fail_msg("%s: %g, before %g", texts[i], got, least);
        least = got;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_the_nearest_and_sizes_the_best),
        cmocka_unit_test(diluted_sizes_are_smaller_by_the_share),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(what_is_stored_is_what_was_rounded),
        cmocka_unit_test(outputs_come_nearer_with_the_share_and_beat_signs_alone),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
