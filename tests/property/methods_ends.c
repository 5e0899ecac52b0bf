/* Head and embeddings after any method: what rtn makes of them, and blocks as that method left them. */
#include "method_model.h"
#include "method_run.h"
#include "harness/checkpoint/arch.h"

static void every_method_may_have_the_ends_in_few_bits(void **state)
{
    static const struct {
        const char *text, *block, *end;
    } rows[] = {
        {"gptq:w3g24+ends:w8g24", "int3", "int8"},
        {"awq:w4g24+ends:w4g24", "int4", "int4"},
        {"hqq:w2g24+ends:w6pc", "int2", "int6"},
        {"autoround:w4g24+iters=1+batch=1+ends:w8pc+symmetric", "int4", "int8"},
        {"ends:w5g24+head=false", "fp32", "int5"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_checkpoint *c;
        char out[4200];
        int blocks = 0, ends = 0;
        snprintf(out, sizeof out, "%s/out", model_dir);
        free(model_after(model_shared, rows[i].text, out));
        assert_ok(bl_checkpoint_open(out, NULL, &c, &e));
        for (size_t k = 0; k < bl_checkpoint_count(c); k++) {
            const bl_stored *t = bl_checkpoint_at(c, k);
            const bool block = bl_roles[t->role].kind == BL_KIND_LINEAR, end = t->role == BL_ROLE_EMBED;
            blocks += block;
            ends += end;
            if (!block && !end) continue;
            if (strcmp(t->format->name, block ? rows[i].block : rows[i].end))
                fail_msg("%s: %s is %s", rows[i].text, t->name, t->format->name);
        }
        assert_true(blocks == 2 * 7 && ends == 1);
        bl_checkpoint_close(c);
        assert_ok(bl_remove_tree(out, &e));
    }
}

static void they_are_those_of_rounding_to_nearest(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "rtn:w4g24+ends:w4g24") ==
                model_distance(model_shared, "rtn:w4g24+head+embeddings"));
    assert_true(model_distance(model_shared, "rtn:w4pc+symmetric+ends:w4pc+symmetric") ==
                model_distance(model_shared, "rtn:w4pc+symmetric+head+embeddings"));
}

static void bits_of_a_row_are_those_of_its_blocks(void **state)
{
    bl_err e = {0};
    bl_method_chain chain;
    int64_t bits, group;
    char text[32];
    (void)state;
    assert_ok(bl_chain_parse(bl_methods, "gptq:w3g64+ends:w8pc", &chain, &e));
    bl_chain_width(&chain, &bits, &group, text);
    assert_int_equal(bits, 3);
    assert_string_equal(text, "64");
    bl_chain_free(&chain);
}

static void neither_end_is_refused(void **state)
{
    bl_err e = {0};
    bl_method_chain chain;
    bl_model m = {0};
    (void)state;
    assert_ok(bl_chain_parse(bl_methods, "ends:w4+head=false+embeddings=false", &chain, &e));
    const bl_method_run r = {.model = &m, .method = chain.stage[0].method, .opts = chain.stage[0].opts};
    assert_refused(r.method->check(&r, &e), BL_E_CONFIG, "neither head nor embeddings");
    bl_chain_free(&chain);
}

/* A table of three slices (BL_PACK_DENSE): the bytes and the error of the same weight packed at once, in less memory.
 */
static void a_large_end_is_packed_in_slices(void **state)
{
    enum { OUT = 20000, IN = 512 };
    static const char *const texts[] = {"rtn:w3g64", "ends:w3g64"};
    method_run m[2];
    uint64_t now, peak[2];
    const void *part[2][BL_MAX_PARTS];
    float *w = malloc(sizeof(float) * OUT * IN);
    uint32_t x = 1;
    (void)state;
    _Static_assert((int64_t)OUT * IN > 2 * BL_PACK_DENSE, "three slices");
    for (int64_t i = 0; i < (int64_t)OUT * IN; i++) w[i] = (float)(int32_t)(x = x * 1664525 + 1013904223) * 1e-9f;
    for (int k = 0; k < 2; k++) {
        method_open(&m[k], texts[k], w, OUT, IN);
        if (k) m[k].lin.block = -1, m[k].lin.role = BL_ROLE_EMBED;
        method_apply(&m[k]);
        m[k].be->ops->memory(m[k].be, &now, &peak[k]);
        method_parts(&m[k], part[k]);
    }
    free(w);
    for (int i = 0; i < m[0].lin.weight.n_parts; i++)
        assert_memory_equal(part[0][i], part[1][i], bl_tensor_bytes(&m[0].lin.weight.part[i]));
    assert_true(m[0].stat.mse > 0 && fabs(m[1].stat.mse - m[0].stat.mse) < 1e-12 * m[0].stat.mse);
    assert_true(fabs(m[1].stat.nmse - m[0].stat.nmse) < 1e-12 * m[0].stat.nmse);
    assert_true(peak[1] + ((uint64_t)OUT * IN - BL_PACK_DENSE) * sizeof(float) <= peak[0]);
    for (int k = 0; k < 2; k++) method_close(&m[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_may_have_the_ends_in_few_bits),
        cmocka_unit_test(they_are_those_of_rounding_to_nearest),
        cmocka_unit_test(bits_of_a_row_are_those_of_its_blocks),
        cmocka_unit_test(neither_end_is_refused),
        cmocka_unit_test(a_large_end_is_packed_in_slices),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
