/* checkpoint_variant.c - quantized directories that do not check are refused: every field, every part. */
#include "test.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/variant.h"

static char dir[4096], model[4200], *list;
static size_t list_bytes;

static int begin(void **state)
{
    bl_err e = {0};
    bl_checkpoint *c;
    bl_variant *v;
    (void)state;
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    snprintf(model, sizeof model, "%s/m", dir);
    if (bl_checkpoint_open("synth:tiny:int4", NULL, &c, &e) || bl_variant_begin(model, c, "base", NULL, &v, &e) ||
        bl_variant_copy_rest(v, &e) || bl_variant_commit(v, &e))
        return -1;
    bl_checkpoint_close(c);
    char path[4300];
    snprintf(path, sizeof path, "%s/bitladder.json", model);
    return bl_read_file(path, 1 << 20, &list, &list_bytes, &e);
}

static int end(void **state)
{
    bl_err e = {0};
    (void)state;
    bl_free(list);
    return bl_remove_tree(dir, &e);
}

static bl_status open_model(bl_err *e)
{
    bl_checkpoint *c = NULL;
    bl_status st = bl_checkpoint_open(model, NULL, &c, e);
    bl_checkpoint_close(c);
    return st;
}

/* bitladder.json with the first `from` replaced. */
static void write_list(const char *from, const char *to)
{
    const char *at = strstr(list, from);
    bl_text t = {0};
    assert_non_null(at);
    bl_text_addn(&t, list, (size_t)(at - list));
    bl_text_add(&t, to);
    bl_text_add(&t, at + strlen(from));
    test_write(model, "bitladder.json", t.s, t.n);
    bl_text_free(&t);
}

static const struct {
    const char *from, *to;
    bl_status want;
    const char *phrase;
} rows[] = {
    {"\"bitladder-model\"", "\"other\"", BL_E_FORMAT, "schema 'other'"},
    {"\"schema_version\":1", "\"schema_version\":2", BL_E_NEWER, "newer than this program's 1"},
    {"\"method\":", "\"m\":", BL_E_FORMAT, "'method' is missing"},
    {"\"source\":", "\"m\":", BL_E_FORMAT, "'source' is missing"},
    {"\"config\":", "\"m\":", BL_E_FORMAT, "'config' is missing"},
    {"\"weights\":", "\"m\":", BL_E_FORMAT, "'weights' is missing"},
    {"\"dim\":64", "\"dim\":0", BL_E_FORMAT, "hidden_size is 0"},
    {"\"dim\":64", "\"dim\":\"64\"", BL_E_FORMAT, "dim"},
    {"\"layers\":2", "\"layers\":3", BL_E_FORMAT, "expected 'model.layers.2.input_layernorm.weight'"},
    {"\"layers\":2", "\"layers\":1", BL_E_FORMAT, "expected 'model.norm.weight'"},
    {"\"vocab\":512", "\"vocab\":511", BL_E_FORMAT, "is BF16 [512, 64], expected BF16 [511, 64]"},
    {"\"tied\":false", "\"tied\":true", BL_E_FORMAT, "more than the"},
    {"\"tied\":false", "\"tied\":0", BL_E_FORMAT, "tied"},
    {"\"rope\":0", "\"rope\":7", BL_E_FORMAT, "config.rope is 7"},
    {"\"format\":\"int4\"", "\"format\":\"int9\"", BL_E_FORMAT, "unknown format 'int9'"},
    {"\"format\":\"int4\"", "\"format\":\"int5\"", BL_E_FORMAT, "codes' is U8 [64, 32], expected U8 [64, 40]"},
    {"\"format\":\"int4\"", "\"format\":\"bf16\"", BL_E_FORMAT, "q_proj.weight"},
    {"\"group\":64", "\"group\":32", BL_E_FORMAT, "scales' is F16 [64, 1], expected F16 [64, 2]"},
    {"\"group\":64", "\"group\":0", BL_E_FORMAT, "group"},
    {"\"group\":64", "\"group\":-5", BL_E_FORMAT, "group"},
    {"\"group\":64", "\"group\":1000", BL_E_FORMAT, "group"},
    {"\"zero\":\"packed\"", "\"zero\":\"none\"", BL_E_FORMAT, "zeros' is not listed"},
    {"\"zero\":\"packed\"", "\"zero\":\"x\"", BL_E_FORMAT, "'zero' is 'x'"},
    {"\"scale\":\"F16\"", "\"scale\":\"F32\"", BL_E_FORMAT, "scales' is F16 [64, 1], expected F32 [64, 1]"},
    {"\"scale\":\"F16\"", "\"scale\":\"I32\"", BL_E_FORMAT, "'scale' is 'I32'"},
    {"\"double_quant\":false", "\"double_quant\":null", BL_E_FORMAT, "double_quant"},
    {"\"name\":\"model.layers.0.mlp.up_proj.weight\"", "\"name\":\"model.layers.0.mlp.gate_proj.weight\"", BL_E_FORMAT,
     "expected 'model.layers.0.mlp.up_proj.weight'"},
    {"\"double_quant\":false",
     "\"double_quant\":false,\"act\":{\"bits\":9,\"unit\":\"token\",\"symmetric\":true,\"group\":0,\"scale\":0,"
     "\"zero\":0}",
     BL_E_FORMAT, "activations of 9 bits"},
    {"\"double_quant\":false",
     "\"double_quant\":false,\"act\":{\"bits\":8,\"unit\":\"row\",\"symmetric\":true,\"group\":0,\"scale\":0,\"zero\":"
     "0}",
     BL_E_FORMAT, "'unit' is 'row'"},
    {"{", "", BL_E_FORMAT, "bitladder.json"},
};

static void a_list_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    assert_ok(open_model(&e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        write_list(rows[i].from, rows[i].to);
        bl_status st = open_model(&e);
        if (st != rows[i].want || !strstr(e.text, rows[i].phrase))
            fail_msg("%s -> %s: %s '%s' does not say '%s'", rows[i].from, rows[i].to, bl_status_name(st), e.text,
                     rows[i].phrase);
    }
}

static void a_damaged_or_missing_tensor_file_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    char path[4300], *p;
    size_t n;
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    assert_ok(bl_read_file(path, 1 << 24, &p, &n, &e));
    test_write(model, "model.safetensors", p, n - 1);
    assert_refused(open_model(&e), BL_E_FORMAT, "model.safetensors");
    char *name = memmem(p, n, "up_proj.weight.codes", 20);
    name[0] = 'x';
    test_write(model, "model.safetensors", p, n);
    assert_refused(open_model(&e), BL_E_FORMAT, "up_proj.weight.codes' is missing");
    bl_free(p);
    remove(path);
    assert_int_not_equal(open_model(&e), BL_OK);
    assert_non_null(strstr(e.text, "model.safetensors"));
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(a_list_that_does_not_fit_is_refused),
        WITH(a_damaged_or_missing_tensor_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
