/* Which type a linear gets, and that blocks are what the format's search gives. */
#include "method_run.h"
#include "kernels/base/rng.h"

enum { OUT = 6 };

static float *weights(int64_t in)
{
    float *w = malloc((size_t)(OUT * in) * sizeof *w);
    bl_rng r = bl_rng_at(9, bl_rng_key("methods_gguf", 0), 0);
    for (int64_t i = 0; i < OUT * in; i++) w[i] = 0.1f * (float)bl_rng_normal(&r);
    return w;
}

static const char *type_of(const char *method, int64_t in)
{
    method_run m;
    float *w = weights(in);
    method_open(&m, method, w, OUT, in);
    method_apply(&m);
    const char *name = m.lin.weight.format->name;
    const bl_format *f;
    bl_shape g = {0};
    assert_true(m.run.method->predict(&m.run, &m.lin, &f, &g)); /* what `plan` counts with */
    assert_ptr_equal(f, m.lin.weight.format);
    assert_true(m.stat.nmse > 0 || in == 40);
    method_close(&m);
    free(w);
    return name;
}

static void rows_that_blocks_do_not_divide_get_what_llama_cpp_takes(void **state)
{
    static const struct {
        const char *type;
        int64_t in;
        const char *want;
    } rows[] = {
        {"q4_k", 256, "q4_k"},     {"q4_k", 96, "q5_0"},    {"q5_k", 96, "q5_1"},   {"q6_k", 96, "q8_0"},
        {"q2_k", 96, "q4_0"},      {"q3_k", 96, "q4_0"},    {"tq2_0", 96, "q4_0"},  {"iq4_xs", 96, "iq4_nl"},
        {"iq2_xxs", 96, "iq4_nl"}, {"iq1_s", 256, "iq1_s"}, {"q8_0", 96, "q8_0"},   {"q8_0", 40, "fp16"},
        {"iq3_s", 40, "fp16"},     {"q4_k", 40, "fp16"},    {"mxfp4", 96, "mxfp4"}, {"nvfp4", 128, "nvfp4"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char text[64];
        snprintf(text, sizeof text, "gguf:%s+importance=false", rows[i].type);
        const char *got = type_of(text, rows[i].in);
        if (strcmp(got, rows[i].want))
            fail_msg("%s of %lld inputs became %s, wanted %s", rows[i].type, (long long)rows[i].in, got, rows[i].want);
    }
}

/* llama.cpp refuses these rows as well. */
static void rows_that_one_bit_blocks_do_not_divide_are_refused(void **state)
{
    bl_err e = {0};
    (void)state;
    for (int64_t in = 96; in <= 128; in += 32) {
        method_run m;
        method_open(&m, "gguf:q1_0+importance=false", NULL, OUT, in);
        bl_status st = m.run.method->check(&m.run, &e);
        if (in == 128) assert_ok(st);
        else assert_refused(st, BL_E_CONFIG, "has 96 inputs, expected whole blocks of 128");
        method_close(&m);
    }
}

static void blocks_are_those_of_the_format(void **state)
{
    const bl_format *f = bl_format_find("q3_k");
    bl_shape g = {.out = OUT, .in = 512};
    float *w = weights(512);
    uint8_t *bytes = malloc((size_t)bl_format_bytes(f, &g));
    const void *part[BL_MAX_PARTS];
    bl_err e = {0};
    method_run m;
    (void)state;
    method_open(&m, "gguf:q3_k+importance=false", w, OUT, 512);
    method_apply(&m);
    method_parts(&m, part);
    assert_ok(f->pack_least(f, &g, w, NULL, (void *[]){bytes}, &e));
    assert_memory_equal(part[0], bytes, (size_t)bl_format_bytes(f, &g));
    method_close(&m);
    free(bytes);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_blocks_do_not_divide_get_what_llama_cpp_takes),
        cmocka_unit_test(rows_that_one_bit_blocks_do_not_divide_are_refused),
        cmocka_unit_test(blocks_are_those_of_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
