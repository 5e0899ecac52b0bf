/* methods_shared.c - statistics of the original model are gathered once for all methods that ask for no more, and what
 * they make of them is the same, byte for byte. */
#include "method_model.h"

typedef struct made {
    bl_text bytes; /* of the files of the model */
    uint64_t products;
} made;

static void add_files(const char *out, bl_text *t)
{
    bl_err e = {0};
    char **name, path[8600], *p;
    size_t n, size;
    assert_ok(bl_dir_list(out, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name[i], ".safetensors")) continue;
        snprintf(path, sizeof path, "%s/%s", out, name[i]);
        assert_ok(bl_read_file(path, 1 << 26, &p, &size, &e));
        for (size_t k = 0; k < size; k++) bl_text_addf(t, "%02x", (unsigned char)p[k]);
        bl_free(p);
    }
    bl_list_free(name, n);
}

static made make(const char *text, const char *shared)
{
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_result r;
    bl_arena *a;
    char out[4200];
    made m = {0};
    const bl_calib_choice calib = {.data = "primer:test", .n = 5, .seqlen = 64};
    snprintf(out, sizeof out, "%s/out", model_dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(model_shared, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib, .shared = shared}, be, out, a, &r, &e));
    for (size_t i = 0; i < BL_COUNT(be->products); i++) m.products += be->products[i];
    add_files(out, &m.bytes);
    assert_ok(bl_remove_tree(out, &e));
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);
    return m;
}

static int files_in(const char *dir, char name[512])
{
    bl_err e = {0};
    char **list;
    size_t n;
    if (!bl_is_dir(dir)) return 0;
    assert_ok(bl_dir_list(dir, &list, &n, &e));
    if (n) snprintf(name, 512, "%s", list[0]);
    bl_list_free(list, n);
    return (int)n;
}

static void rows_with_equal_needs_send_the_text_through_the_model_once(void **state)
{
    static const struct {
        const char *method;
        enum { ALL, SOME, NONE } passes; /* products that are made again: as many as alone, fewer, none */
        int files;                       /* there afterwards: one a block of what was asked for so far */
    } rows[] = {{"gptq:w4g24+true-sequential", ALL, 0}, /* inputs from linears as they are by then */
                {"gptq:w4g24", ALL, 1},                 /* the first block's inputs are its own */
                {"gptq:w3g24", SOME, 1},
                {"quarot+gptq:w3g24", ALL, 1}, /* of another model */
                {"smoothquant:w8a8", ALL, 3},
                {"smoothquant:w6a6", NONE, 3},
                {"smoothquant:w8a8+static", NONE, 3},
                {"gguf:q4_0", NONE, 3},
                {"smoothquant+gptq:w4g24", SOME, 3},
                {"awq:w4g24", ALL, 5}, /* rows of inputs as well */
                {"awq:w3g24", SOME, 5},
                {"slim-llm:w3g24", ALL, 6}}; /* second moments as well */
    char shared[4200], name[512];
    (void)state;
    snprintf(shared, sizeof shared, "%s/cache", model_dir);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        made alone = make(rows[i].method, NULL), got = make(rows[i].method, shared);
        if (strcmp(alone.bytes.s, got.bytes.s) != 0) fail_msg("%s: other bytes", rows[i].method);
        if (rows[i].passes == NONE   ? got.products > 0
            : rows[i].passes == SOME ? !got.products || got.products >= alone.products
                                     : got.products != alone.products)
            fail_msg("%s: %d products, %d alone", rows[i].method, (int)got.products, (int)alone.products);
        if (files_in(shared, name) != rows[i].files) fail_msg("%s: %d files", rows[i].method, files_in(shared, name));
        assert_true(alone.products > 0);
        bl_text_free(&alone.bytes);
        bl_text_free(&got.bytes);
    }
}

static void shared_statistics_that_are_damaged_are_made_again(void **state)
{
    bl_err e = {0};
    char shared[4200], name[512], path[8600], *p;
    size_t n, again;
    (void)state;
    snprintf(shared, sizeof shared, "%s/damaged", model_dir);
    made first = make("gguf:q4_0", shared);
    assert_int_equal(files_in(shared, name), 2);
    snprintf(path, sizeof path, "%s/%s", shared, name);
    assert_ok(bl_read_file(path, 1 << 26, &p, &n, &e));
    for (int k = 0; k < 3; k++) { /* a bit, half of it, the beginning */
        char *bad = malloc(n), *now;
        memcpy(bad, p, n);
        bad[k == 2 ? 3 : n / 2] ^= 1;
        assert_ok(bl_write_file(path, bad, k == 1 ? n / 2 : n, &e));
        made second = make("gguf:q4_0", shared);
        assert_true(second.products > 0 && strcmp(first.bytes.s, second.bytes.s) == 0);
        assert_ok(bl_read_file(path, 1 << 26, &now, &again, &e));
        assert_true(again == n && memcmp(now, p, n) == 0);
        bl_text_free(&second.bytes);
        bl_free(now);
        free(bad);
    }
    bl_text_free(&first.bytes);
    bl_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_with_equal_needs_send_the_text_through_the_model_once),
        cmocka_unit_test(shared_statistics_that_are_damaged_are_made_again),
    };
    return cmocka_run_group_tests_name("methods_shared", tests, model_begin, model_end);
}
