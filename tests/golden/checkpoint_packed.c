/* checkpoint_packed.c - directories packed by GPTQModel, AutoAWQ and compressed-tensors (tests/data/packed/record.py):
 * the weights that they hold, and their bytes when they are written again. */
#include "test.h"
#include "own_dir.h"
#include "harness/checkpoint/export.h"
#include "kernels/base/json.h"
#include "kernels/base/fs.h"

#define PACKED BL_SOURCE_DIR "/tests/data/packed/"
static const struct {
    const char *dir, *stored_as;
    bl_packing_kind kind;
} rows[] = {
    {"gptq-w4g16", "gptq w4g16", BL_PACKED_GPTQ},
    {"gptq-w3g32", "gptq w3g32", BL_PACKED_GPTQ},
    {"gptq-w4g32-sym", "gptq w4g32", BL_PACKED_GPTQ},
    {"gptq-w8pc", "gptq w8pc", BL_PACKED_GPTQ},
    {"gptq_v2-w2g16-ordered", "gptq_v2 w2g16", BL_PACKED_GPTQ_V2},
    {"awq-w4g16", "awq w4g16", BL_PACKED_AWQ},
    {"ct-w4g16-sym", "compressed-tensors w4g16", BL_PACKED_CT},
    {"ct-w3g16", "compressed-tensors w3g16", BL_PACKED_CT},
    {"ct-w8pc", "compressed-tensors w8pc", BL_PACKED_CT},
};

static const char *at(const char *a, const char *b)
{
    static char ring[4][8192];
    static unsigned i;
    char *p = ring[i++ % 4];
    snprintf(p, sizeof ring[0], "%s/%s", a, b);
    return p;
}

static bl_checkpoint *open_model(const char *path)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(path, NULL, &c, &e));
    return c;
}

static void write_again(const char *from, const bl_export_how *how, const char *to)
{
    bl_err e = {0};
    bl_checkpoint *c = open_model(from);
    assert_ok(bl_checkpoint_verify(c, &e));
    assert_ok(bl_export(c, how, to, &e));
    bl_checkpoint_close(c);
}

/* Every tensor of file a is in file b, byte for byte; how many there are. */
static size_t contains(const char *a, const char *b)
{
    bl_err e = {0};
    bl_map m, n;
    bl_safetensors *s, *t;
    assert_ok(bl_map_open(a, &m, &e));
    assert_ok(bl_map_open(b, &n, &e));
    assert_ok(bl_safetensors_parse(m.data, m.size, a, &s, &e));
    assert_ok(bl_safetensors_parse(n.data, n.size, b, &t, &e));
    size_t count = bl_safetensors_count(s);
    for (size_t i = 0; i < count; i++) {
        const bl_st_tensor *x = bl_safetensors_at(s, i), *y = bl_safetensors_find(t, x->name);
        if (!y) fail_msg("%s: no tensor '%s'", b, x->name);
        assert_string_equal(x->dtype_name, y->dtype_name);
        assert_int_equal(x->bytes, y->bytes);
        if (memcmp(m.data + x->offset, n.data + y->offset, x->bytes)) fail_msg("%s: '%s' differs", b, x->name);
    }
    bl_safetensors_close(s);
    bl_safetensors_close(t);
    bl_map_close(&m);
    bl_map_close(&n);
    return count;
}

static void what_other_programs_packed_has_their_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char from[256], to[4400];
        snprintf(from, sizeof from, "%s%s", PACKED, rows[i].dir);
        snprintf(to, sizeof to, "%s/dense-%s", dir, rows[i].dir);
        bl_checkpoint *c = open_model(from);
        assert_string_equal(bl_checkpoint_stored_as(c), rows[i].stored_as);
        bl_checkpoint_close(c);
        write_again(from, &(bl_export_how){.type = BL_F32}, to);
        assert_int_equal(contains(at(from, "expected.safetensors"), at(to, "model.safetensors")), 2);
    }
}

/* What GPTQModel calls the layout, beside the words of the program that first had it (AutoAWQ: quant_method, version).
 */
static void assert_named(const char *config, bl_packing_kind kind)
{
    static const char *const names[][2] = {[BL_PACKED_GPTQ] = {"gptq", "gptq"},
                                           [BL_PACKED_GPTQ_V2] = {"gptq", "gptq_v2"},
                                           [BL_PACKED_AWQ] = {"awq", "gemm"}};
    bl_err e = {0};
    bl_json *doc;
    const char *s, *const keys[] = {"method", "quant_method", "format", "checkpoint_format"};
    if (kind == BL_PACKED_CT) return;
    assert_ok(bl_json_read(config, 1 << 20, BL_JSON_PLAIN, &doc, &e));
    for (size_t k = 0; k < BL_COUNT(keys); k++) {
        assert_ok(bl_json_get_str(bl_json_get(doc, "quantization_config"), keys[k], &s, &e));
        assert_string_equal(s, names[kind][k / 2]);
    }
    const bl_json *q = bl_json_get(doc, "quantization_config");
    bool zeros, symmetric;
    if (kind == BL_PACKED_AWQ) { /* sym is a key of the others alone */
        assert_null(bl_json_get(q, "sym"));
        assert_ok(bl_json_get_str(q, "version", &s, &e));
        assert_string_equal(s, "gemm");
        assert_ok(bl_json_get_bool(q, "zero_point", &zeros, &e));
        assert_true(zeros);
    } else {
        static const char *const more[] = {"bits", "group_size", "desc_act", "lm_head", "meta"};
        for (size_t k = 0; k < BL_COUNT(more); k++) assert_non_null(bl_json_get(q, more[k]));
        assert_ok(bl_json_get_bool(q, "sym", &symmetric, &e));
        assert_ok(bl_json_get_str(q, "pack_dtype", &s, &e));
        assert_string_equal(s, "int32");
    }
    bl_json_free(doc);
}

static void written_again_it_is_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char from[256], to[4400];
        snprintf(from, sizeof from, "%s%s", PACKED, rows[i].dir);
        snprintf(to, sizeof to, "%s/%s", dir, rows[i].dir);
        write_again(from, &(bl_export_how){.kind = rows[i].kind}, to);
        size_t n = contains(at(from, "model.safetensors"), at(to, "model.safetensors"));
        assert_int_equal(n, contains(at(to, "model.safetensors"), at(from, "model.safetensors")));
        assert_in_range(n, 4 + 3 * 7, 4 + 4 * 7);
        assert_named(at(to, "config.json"), rows[i].kind);
    }
}

static void four_layouts_hold_the_same_codes(void **state)
{
    static const bl_packing_kind way[] = {BL_PACKED_AWQ, BL_PACKED_CT, BL_PACKED_GPTQ_V2, BL_PACKED_GPTQ};
    bl_err e = {0};
    char from[4200] = PACKED "gptq-w4g16", to[4200];
    bl_hash first = {0}, h;
    (void)state;
    for (size_t i = 0; i <= BL_COUNT(way); i++) {
        bl_checkpoint *c = open_model(from);
        assert_ok(bl_checkpoint_fingerprint(c, &h, &e));
        if (i == 0) first = h;
        assert_true(bl_hash_equal(first, h));
        bl_checkpoint_close(c);
        if (i == BL_COUNT(way)) break;
        snprintf(to, sizeof to, "%s/way-%zu", dir, i);
        write_again(from, &(bl_export_how){.kind = way[i]}, to);
        strcpy(from, to);
    }
    assert_int_equal(contains(PACKED "gptq-w4g16/model.safetensors", at(from, "model.safetensors")), 32);
}

static void what_a_layout_cannot_say_is_refused(void **state)
{
    static const struct {
        const char *dir;
        bl_packing_kind kind;
        const char *phrase;
    } no[] = {
        {"gptq-w3g32", BL_PACKED_AWQ, "q_proj.weight: it is stored as int3 pc; awq has no place for that"},
        {"ct-w3g16", BL_PACKED_AWQ, "it is stored as int3 g16; awq"},
        {"ct-w4g16-sym", BL_PACKED_GPTQ, "its scales are not fp16; gptq has no place"},
        {"ct-w8pc", BL_PACKED_GPTQ_V2, "its scales are not fp16; gptq_v2 has no place"},
        {"gptq_v2-w2g16-ordered", BL_PACKED_CT, "compressed-tensors has none since 0.19"},
        {"gptq_v2-w2g16-ordered", BL_PACKED_AWQ, "awq has no place for that"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(no); i++) {
        bl_checkpoint *c = open_model(at(PACKED, no[i].dir));
        const char *to = at(dir, "never");
        assert_refused(bl_export(c, &(bl_export_how){.kind = no[i].kind}, to, &e), BL_E_UNSUPPORTED, no[i].phrase);
        assert_false(bl_exists(to));
        bl_checkpoint_close(c);
    }
}

static void nothing_is_written_over(void **state)
{
    bl_err e = {0};
    bl_checkpoint *c = open_model(PACKED "awq-w4g16");
    (void)state;
    assert_refused(bl_export(c, &(bl_export_how){.kind = BL_PACKED_AWQ}, dir, &e), BL_E_CONFIG, "exists already");
    bl_checkpoint_close(c);
}

/* GPTQModel 7.7.0 refuses zero points of format 1 where `meta` does not name it from 0.9.0 on (tests/tools). */
static void zero_points_of_format_1_say_how_they_are_stored(void **state)
{
    static const struct {
        const char *from;
        bl_packing_kind kind;
        bool said;
    } cases[] = {{"gptq-w4g16", BL_PACKED_GPTQ, true},
                 {"gptq-w4g16", BL_PACKED_GPTQ_V2, false},
                 {"gptq-w4g32-sym", BL_PACKED_GPTQ, false}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        bl_err e = {0};
        char to[4200], config[4300], *text;
        size_t n;
        snprintf(to, sizeof to, "%s/said%zu", dir, i);
        snprintf(config, sizeof config, "%s/config.json", to);
        write_again(at(PACKED, cases[i].from), &(bl_export_how){.kind = cases[i].kind}, to);
        assert_ok(bl_read_file(config, 1 << 20, &text, &n, &e));
        assert_true((strstr(text, "\"gptqmodel:0.9.0\"") != NULL) == cases[i].said);
        bl_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_points_of_format_1_say_how_they_are_stored),
        cmocka_unit_test(what_other_programs_packed_has_their_weights),
        cmocka_unit_test(written_again_it_is_the_same_bytes),
        cmocka_unit_test(four_layouts_hold_the_same_codes),
        cmocka_unit_test(what_a_layout_cannot_say_is_refused),
        cmocka_unit_test(nothing_is_written_over),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
