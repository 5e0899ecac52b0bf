/* model_variant.c - saved models that do not check are refused: every field, every part. */
#include "checkpoint_build.h"
#include "model_fixture.h"
#include "variant_write.h"
#include "harness/checkpoint/safetensors.h"
#include "harness/checkpoint/variant_parts.h"
#include "kernels/base/fs.h"

static char dir[4096], model[4200], *list;
static size_t list_bytes;

static int begin(void **state)
{
    bl_err e = {0};
    (void)state;
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    snprintf(model, sizeof model, "%s/m", dir);
    fixture f = fixture_stored("synth:tiny:int4", "", 1, false);
    variant_everything(&f);
    assert_ok(variant_of_model(f.m, model, &(bl_stage){.text = "all", .hash = "12"}, 1, NULL, &e));
    fixture_close(&f);
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
    {"\"schema_version\":3", "\"schema_version\":4", BL_E_NEWER, "newer than this program's 3"},
    {"\"schema_version\":3", "\"schema_version\":2", BL_E_FORMAT, "write the model again with quantize"},
    {"\"source\":", "\"m\":", BL_E_FORMAT, "'source' is missing"},
    {"\"stages\":", "\"m\":", BL_E_FORMAT, "'stages' is missing"},
    {"{\"text\":\"all\",\"hash\":\"12\",\"options\":{}}", "", BL_E_FORMAT, "'stages' is no list of 1 to 1024"},
    {"\"text\":\"all\"", "\"text\":4", BL_E_FORMAT, "text"},
    {"\"hash\":\"12\"", "\"hash\":12", BL_E_FORMAT, "hash"},
    {"\"options\":{}", "\"o\":{}", BL_E_FORMAT, "'options' is missing"},
    {"\"config\":", "\"m\":", BL_E_FORMAT, "'config' is missing"},
    {"\"parameters\":", "\"m\":", BL_E_FORMAT, "'parameters' is missing"},
    {"\"arch\":\"llama\"", "\"arch\":\"lama\"", BL_E_FORMAT, "architecture 'lama' is not known"},
    {"\"self_attn.o_proj.bias\"", "\"self_attn.q_norm.weight\"", BL_E_FORMAT, "has no 'self_attn.q_norm.weight'"},
    {"\"self_attn.o_proj.bias\"", "\"x\"", BL_E_FORMAT, "has no 'x'"},
    {"\"self_attn.o_proj.bias\"", "", BL_E_FORMAT, "is 'model.layers.0.self_attn.o_proj.bias', expected"},
    {"\"arch\":", "\"a\":", BL_E_FORMAT, "'arch' is missing"},
    {"\"optional\":", "\"o\":", BL_E_FORMAT, "'optional' is missing"},
    {"\"window\":", "\"w\":", BL_E_FORMAT, "'window' is missing"},
    {"\"rope_exact\":", "\"r\":", BL_E_FORMAT, "'rope_exact' is missing"},
    {"\"turned_keys\":", "\"t\":", BL_E_FORMAT, "'turned_keys' is missing"},
    {"\"dim\":64", "\"dim\":0", BL_E_FORMAT, "hidden_size is 0"},
    {"\"dim\":64", "\"dim\":\"64\"", BL_E_FORMAT, "dim"},
    {"\"layers\":2", "\"layers\":3", BL_E_MISSING, "model-00004-of-00004.safetensors"},
    {"\"vocab\":512", "\"vocab\":511", BL_E_FORMAT, "'out' is 512, expected 511"},
    {"\"tied\":false", "\"tied\":true", BL_E_FORMAT, "more than the"},
    {"\"tied\":false", "\"tied\":0", BL_E_FORMAT, "tied"},
    {"\"rope\":0", "\"rope\":7", BL_E_FORMAT, "config.rope is 7"},
    {"\"format\":\"int4\"", "\"format\":\"int9\"", BL_E_FORMAT, "unknown format 'int9'"},
    {"\"format\":\"int4\"", "\"format\":\"int5\"", BL_E_FORMAT, "codes' is U8 [64, 32], expected U8 [64, 40]"},
    {"\"format\":\"int4\"", "\"format\":\"bf16\"", BL_E_FORMAT, "q_proj.weight"},
    {"\"format\":\"int4\",\"out\":64,\"in\":64", "\"format\":\"int4\",\"out\":64,\"in\":128", BL_E_FORMAT,
     "'in' is 128, expected 64"},
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
    {"\"bits\":8", "\"bits\":9", BL_E_FORMAT, "activations of 9 bits"},
    {"\"bits\":8", "\"bits\":1", BL_E_FORMAT, "activations of 1 bits"},
    {"\"unit\":\"tensor\"", "\"unit\":\"row\"", BL_E_FORMAT, "'unit' is 'row'"},
    {"\"unit\":\"tensor\"", "\"unit\":\"group\"", BL_E_FORMAT, "in groups of 0"},
    {"\"scale\":0.5,\"zero\":3", "\"scale\":-0.5,\"zero\":3", BL_E_FORMAT, "scale -0.5"},
    {"\"scale\":0.5,\"zero\":3", "\"scale\":0.5,\"zero\":1e300", BL_E_FORMAT, "zero 1e+300"},
    {"\"kind\":\"scale\"", "\"kind\":\"mirror\"", BL_E_FORMAT, "'kind' is 'mirror'"},
    {"\"kind\":\"scale\"", "\"kind\":\"permute\"", BL_E_FORMAT, "transform.0' is F32 [64], expected I32 [64]"},
    {"\"kind\":\"scale\",\"in\":64,\"out\":64", "\"kind\":\"scale\",\"in\":32,\"out\":32", BL_E_FORMAT,
     "transform 0, scale of 32 to 32, does not fit a width of 64"},
    {"\"kind\":\"scale\",\"in\":64,\"out\":64", "\"kind\":\"scale\",\"in\":64,\"out\":32", BL_E_FORMAT,
     "does not fit a width of 64"},
    {"\"out\":64,\"shape\":[64]", "\"out\":64,\"shape\":[32]", BL_E_FORMAT, "does not fit a width of 64 or its data"},
    {"\"out\":64,\"shape\":[64]", "\"out\":64,\"shape\":[]", BL_E_FORMAT, "does not fit a width of 64 or its data"},
    {"\"out\":64,\"shape\":[64]", "\"out\":64,\"shape\":[-64]", BL_E_FORMAT, "has a dimension of -64"},
    {"\"shape\":[4,16,16]", "\"shape\":[4000000000000,4000000000000,16]", BL_E_FORMAT,
     "has a dimension of 4000000000000"},
    {"\"shape\":[4,16,16]", "\"shape\":[16,8,8]", BL_E_FORMAT, "does not fit a width of 64 or its data"},
    {"\"shape\":[4,16,16]", "\"shape\":[4,4,4,4]", BL_E_FORMAT, "does not fit a width of 64 or its data"},
    {"\"kind\":\"permute\",\"in\":64,\"out\":64,\"shape\":[64]",
     "\"kind\":\"permute\",\"in\":64,\"out\":65,\"shape\":[65]", BL_E_FORMAT,
     "transform.1' is I32 [64], expected I32 [65]"},
    {"\"kind\":\"hadamard\"", "\"kind\":\"rotate\"", BL_E_FORMAT, "transform 2, rotate of 64 to 64"},
    {"\"after\":1", "\"after\":2", BL_E_FORMAT, "2 of 1 transforms are of the output"},
    {"\"after\":1", "\"after\":-1", BL_E_FORMAT, "-1 of 1 transforms are of the output"},
    {"\"transforms\":[", "\"transforms\":{},\"t\":[", BL_E_FORMAT, "'transforms' is no list of at most 64"},
    {"\"transforms\":[", "\"t\":[", BL_E_FORMAT, "transform.0' is not listed"},
    {"{\"name\":\"model.embed_tokens.weight\",", "{\"name\":\"model.embed_tokens.weight\",\"act\":{},", BL_E_FORMAT,
     "has 'act', expected in linears alone"},
    {"{\"name\":\"model.norm.weight\",", "{\"name\":\"model.norm.weight\",\"transforms\":[],", BL_E_FORMAT,
     "has 'transforms', expected in linears alone"},
    {"\"rank\":4", "\"rank\":0", BL_E_FORMAT, "an adapter of rank 0"},
    {"\"rank\":4", "\"rank\":5", BL_E_FORMAT, "adapter.0.a' is F32 [4, 64], expected F32 [5, 64]"},
    {"\"rank\":4", "\"rank\":9007199254740992", BL_E_FORMAT, "an adapter of rank 9007199254740992"},
    {"\"rank\":4,\"scale\":0.5", "\"rank\":4,\"scale\":1e300", BL_E_FORMAT, "scale 1e+300"},
    {"{\"rank\":4,\"scale\":0.5}", "{\"rank\":4,\"scale\":0.5},{\"rank\":4,\"scale\":0.5}", BL_E_FORMAT,
     "adapter.1.a' is missing"},
    {"\"adapters\":[", "\"adapters\":3,\"a\":[", BL_E_FORMAT, "'adapters' is no list of at most 64"},
    {"\"tensors\":[", "\"tensors\":3,\"t\":[", BL_E_FORMAT, "'tensors' is no list"},
    {".codes\",\"hash\":\"", ".codes\",\"hash\":\"x", BL_E_FORMAT, ".codes', is no hash"},
    {".codes\",\"hash\"", ".cod\",\"hash\"", BL_E_FORMAT, "no hash of tensor '"},
    {"\"tensors\":", "\"t\":", BL_E_FORMAT, "'tensors' is missing"},
    /* what fits, and is not what was written: nobody but the hash of all knows */
    {"\"eps\":", "\"eps\":1", BL_E_CORRUPT, "is not what was written"},
    {"\"scale\":0.5,\"zero\":3", "\"scale\":0.25,\"zero\":3", BL_E_CORRUPT, "is not what was written"},
    {"\"rank\":4,\"scale\":0.5", "\"rank\":4,\"scale\":5.5", BL_E_CORRUPT, "is not what was written"},
    {"\"double_quant\":false", "\"double_quant\":false,\"more\":1", BL_E_CORRUPT, "is not what was written"},
    {"\"source\":\"", "\"source\":\"x", BL_E_CORRUPT, "is not what was written"},
    {"\"text\":\"all", "\"text\":\"some", BL_E_CORRUPT, "is not what was written"},
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

static void write_sealed(const char *text)
{
    bl_text t = {0};
    bl_text_add(&t, text);
    bl_variant_seal(&t);
    test_write(model, "bitladder.json", t.s, t.n);
    bl_text_free(&t);
}

/* A list whose last bytes are gone, or which has none of the kind. */
static void a_list_without_its_hash_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    char *copy = bl_strdup(list, &e), *hash = copy + list_bytes - 44;
    assert_int_equal(strncmp(hash, ",\"hash\":\"", 9), 0);
    strcpy(hash, "}\n");
    test_write(model, "bitladder.json", copy, strlen(copy));
    assert_refused(open_model(&e), BL_E_FORMAT, "does not end with its hash");
    write_sealed(copy);
    assert_ok(open_model(&e));
    bl_free(copy);
}

/* The first tensor file of the model with `n` bytes of the tensor `name` from byte `at` on replaced; the list says so
 * too (`listed`), or has the old hash. */
static void write_tensor(const char *name, size_t at, const void *bytes, size_t n, bool listed)
{
    bl_err e = {0};
    bl_safetensors *st;
    char path[4300], *p;
    size_t size;
    snprintf(path, sizeof path, "%s/model-00001-of-00003.safetensors", model);
    assert_ok(bl_read_file(path, 1 << 24, &p, &size, &e));
    assert_ok(bl_safetensors_parse((uint8_t *)p, size, path, &st, &e));
    const bl_st_tensor *t = bl_safetensors_find(st, name);
    assert_non_null(t);
    memcpy(p + t->offset + at, bytes, n);
    if (listed) {
        char hex[33], *entry = bl_format_text(&e, "\"name\":\"%s\",\"hash\":\"", name), *copy = bl_strdup(list, &e);
        bl_hash_hex(bl_hash_bytes(p + t->offset, t->bytes), hex);
        assert_non_null(strstr(copy, entry));
        memcpy(strstr(copy, entry) + strlen(entry), hex, 32);
        write_sealed(copy);
        bl_free(entry);
        bl_free(copy);
    }
    bl_safetensors_close(st);
    test_write(model, "model-00001-of-00003.safetensors", p, size);
    bl_free(p);
}

/* What is in the tensors is looked at when the model is opened, with --allow-nonfinite too where it would be dangerous.
 */
static void values_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t is, put;
        bool always;
        const char *phrase;
    } bad[] = {
        {"model.layers.0.self_attn.q_proj.transform.1", 1, 64, true, "a permutation takes input 64 of 64"},
        {"model.layers.0.self_attn.q_proj.transform.1", 1, -1, true, "a permutation takes input -1 of 64"},
        {"model.layers.0.self_attn.k_proj.transform.0", 1, 64, true,
         "row 21 of sums of inputs is (to 64, from 1, by 1)"},
        {"model.layers.0.self_attn.k_proj.transform.0", 1, 0, true, "expected an output of 64, none before 1,"},
        {"model.layers.0.self_attn.q_proj.transform.0", 0x3f800000, 0x7fc00000, false, "transform 0 has a value that"},
        {"model.layers.0.self_attn.q_proj.transform.3", 0x3f800000, 0x7f800000, false, "transform 3 has a value that"},
        {"model.layers.0.self_attn.o_proj.adapter.0.b", 0x3f800000, 0x7f800000, false, "adapter 0 has a value that"},
        {"model.layers.0.self_attn.o_proj.bias", 0x3f800000, 0x7f800000, false,
         "o_proj.bias': element [63] is infinity"},
    };
    for (size_t i = 0; i < BL_COUNT(bad); i++)
        for (int allow = 0; allow < 2; allow++) {
            bl_err e = {0};
            bl_checkpoint *c;
            bl_backend *be;
            bl_model *m = NULL;
            write_tensor(bad[i].name, 63 * 4, &bad[i].put, 4, true);
            assert_ok(bl_checkpoint_open(model, &(bl_checkpoint_opts){.allow_nonfinite = allow}, &c, &e));
            assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
            bl_status st = bl_model_open(c, be, NULL, &m, &e);
            if (allow && !bad[i].always) assert_int_equal(st, BL_OK);
            else assert_refused(st, BL_E_FORMAT, bad[i].phrase);
            bl_model_close(m);
            bl_backend_close(be);
            bl_checkpoint_close(c);
            write_tensor(bad[i].name, 63 * 4, &bad[i].is, 4, true);
        }
}

/* Eight bytes of codes, which any decoder would take: nobody but the list knows. */
static void a_tensor_that_is_not_what_was_written_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "model.layers.0.mlp.up_proj.weight.codes", "model.layers.0.self_attn.o_proj.bias",
        "model.layers.0.self_attn.q_proj.transform.0", "model.layers.0.self_attn.o_proj.adapter.0.b"};
    for (size_t i = 0; i < BL_COUNT(names); i++)
        for (int stream = 0; stream < 2; stream++) {
            bl_err e = {0};
            bl_checkpoint *c;
            bl_backend *be;
            bl_model *m = NULL;
            char phrase[160];
            begin(state);
            snprintf(phrase, sizeof phrase, "tensor '%s' is not what was written", names[i]);
            write_tensor(names[i], 8, (const uint8_t[]){1, 2, 3, 4}, 4, false);
            assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
            assert_refused(bl_checkpoint_check(c, &e), BL_E_CORRUPT, phrase);
            bl_checkpoint_close(c);
            /* not looked at for finite values either: loading itself asks */
            assert_ok(bl_checkpoint_open(model, &(bl_checkpoint_opts){.allow_nonfinite = true}, &c, &e));
            assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
            bl_status st = bl_model_open(c, be, &(bl_model_opts){.stream = stream}, &m, &e);
            if (st == BL_OK) st = bl_block_acquire(m, 0, &e);
            assert_refused(st, BL_E_CORRUPT, phrase);
            bl_model_close(m);
            bl_backend_close(be);
            bl_checkpoint_close(c);
            end(state);
        }
}

static void a_damaged_or_missing_tensor_file_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    char path[4300], *p;
    size_t n;
    snprintf(path, sizeof path, "%s/model-00001-of-00003.safetensors", model);
    assert_ok(bl_read_file(path, 1 << 24, &p, &n, &e));
    test_write(model, "model-00001-of-00003.safetensors", p, n - 1);
    assert_refused(open_model(&e), BL_E_FORMAT, "model-00001-of-00003.safetensors");
    char *name = memmem(p, n, "up_proj.weight.codes", 20);
    name[0] = 'x';
    test_write(model, "model-00001-of-00003.safetensors", p, n);
    assert_refused(open_model(&e), BL_E_FORMAT, "up_proj.weight.codes' is missing");
    bl_free(p);
    remove(path);
    assert_int_not_equal(open_model(&e), BL_OK);
    assert_non_null(strstr(e.text, "model-00001-of-00003.safetensors"));
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(a_list_that_does_not_fit_is_refused),
        WITH(values_that_cannot_be_are_refused),
        cmocka_unit_test(a_tensor_that_is_not_what_was_written_is_refused_by_name),
        WITH(a_list_without_its_hash_is_refused),
        WITH(a_damaged_or_missing_tensor_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
