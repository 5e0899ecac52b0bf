/* all_plan.c - what a specification and a command line become: methods, paths with commas, calibration, identities. */
#include "study_fixture.h"
#include "checkpoint_build.h"
#include "harness/model/size.h"
#include "harness/study/estimate.h"
#include "harness/study/plan.h"
#include "tasks/registry.h"
#include <math.h>

/* ---- a program with methods of this test ---- */
typedef struct toy_opts {
    bl_quant q;
    bool flag;
} toy_opts;
static const bl_opt turn_rows[] = {{"flag", BL_OPT_BOOL, .at = offsetof(toy_opts, flag), .doc = "x"}, {0}};
static const bl_opt pack_rows[] = {BL_QUANT_ROWS(toy_opts, q), {0}};
static const bl_method base = {.name = "base", .version = 1, .as_stored = true},
                       turn = {.name = "turn", .version = 1, .opts = turn_rows, .opts_size = sizeof(toy_opts)},
                       pack = {.name = "pack",
                               .version = 1,
                               .wbits = 0x1fe,
                               .needs = BL_NEED_HESSIAN,
                               .opts = pack_rows,
                               .opts_size = sizeof(toy_opts)};
static const bl_method *const methods[] = {&base, &turn, &pack, NULL};
static const bl_program program = {.methods = methods, .tasks = bl_tasks};

static bl_status parse(const char *text, bl_spec *out, bl_err *e)
{
    return bl_spec_parse(&program, text, strlen(text), &bl_spec_nothing, out, e);
}

static void lists_in_any_stage_multiply(void **state)
{
    (void)state;
    static const char *const want[] = {"turn+pack:w4g32",      "turn+pack:w4g64",      "turn+pack:w3g32",
                                       "turn+pack:w3g64",      "turn+flag+pack:w4g32", "turn+flag+pack:w4g64",
                                       "turn+flag+pack:w3g32", "turn+flag+pack:w3g64", "turn+pack:w2g128"};
    bl_err e = {0};
    bl_spec s;
    assert_ok(parse("{\"models\": \"m\", \"tasks\": \"piqa\", \"methods\": [{\"chain\": [{\"turn\": {\"flag\": [false, "
                    "true]}}, {\"pack\": {\"wbits\": [4, 3], \"group\": [32, 64]}}]}, \"turn+pack:w2\"]}",
                    &s, &e));
    assert_int_equal(s.n_methods, BL_COUNT(want));
    for (size_t i = 0; i < BL_COUNT(want); i++) assert_string_equal(s.method[i].text, want[i]);
    bl_spec_free(&s);
}

static void chains_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *methods, *says;
    } rows[] = {
        {"[{\"chain\": []}]", "a chain of methods is"},
        {"[{\"chain\": [\"base\", \"pack\"]}]", "no stage of a chain"},
        {"[{\"chain\": [{\"pack\": {\"wbits\": []}}]}]", "the list of 'wbits' is empty"},
        {"[{\"chain\": [\"turn\"], \"x\": 1}]", "a method is a text"},
        {"[[\"turn\", \"pack\"]]", "expected a string"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_spec s;
        char doc[400];
        snprintf(doc, sizeof doc, "{\"models\": \"m\", \"tasks\": \"piqa\", \"methods\": %s}", rows[i].methods);
        bl_status st = parse(doc, &s, &e);
        assert_true(st == BL_E_CONFIG || st == BL_E_FORMAT);
        if (!strstr(e.text, rows[i].says)) fail_msg("'%s' does not say '%s'", e.text, rows[i].says);
    }
}

static void a_comma_in_a_path_that_exists_is_part_of_it(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_err e = {0};
    char list[9000], odd[4300], dir[4300];
    bl_spec spec;
    bl_spec_from from = bl_spec_nothing;
    snprintf(odd, sizeof odd, "%s/a,b,c.bin", s.dir);
    snprintf(dir, sizeof dir, "%s/data,1", s.dir);
    study_write(s.dir, "a,b,c.bin", "x");
    assert_ok(bl_make_dirs(dir, &e));
    snprintf(list, sizeof list, "%s,%s,org/name", s.model, odd);
    from.model = list;
    from.data = dir;
    from.method = "base";
    from.task = "piqa,boolq";
    assert_ok(bl_spec_read(&program, &from, &spec, &e));
    assert_int_equal(spec.n_models, 3);
    assert_string_equal(spec.model[0], s.model);
    assert_string_equal(spec.model[1], odd);
    assert_string_equal(spec.model[2], "org/name");
    assert_int_equal(spec.data.n, 1);
    assert_string_equal(spec.data.dir[0], dir);
    bl_spec_free(&spec);
    study_end(&s);
}

/* ---- calibration ---- */

static bl_status plan_with(const study *s, const char *method, const char *calib, int64_t seqlen, bl_plan **out,
                           bl_spec *spec, bl_err *e)
{
    bl_spec_from from = bl_spec_nothing;
    from.model = s->model;
    from.method = method;
    from.task = "piqa";
    from.data = s->data;
    from.calib = calib;
    from.calib_seqlen = seqlen;
    bl_status st = bl_spec_read(&program, &from, spec, e);
    return st == BL_OK ? bl_plan_make(spec, &(bl_plan_opts){.no_estimate = true}, out, e) : st;
}

static bl_hash cell_hash(const study *s, const char *method, const char *calib, int64_t seqlen)
{
    bl_err e = {0};
    bl_plan *p;
    bl_spec spec;
    assert_ok(plan_with(s, method, calib, seqlen, &p, &spec, &e));
    bl_hash h = p->cell[0].hash;
    bl_plan_free(p);
    bl_spec_free(&spec);
    return h;
}

#define TEXT                                                                                                           \
    "a text to look at that is longer than the ninety-six tokens of a window of this model, whatever a token of it "   \
    "may "                                                                                                             \
    "be\n"

static void calibration_is_part_of_what_needs_it(void **state)
{
    (void)state;
    study s = study_begin(2);
    study_write(s.data, "wiki.train.raw", TEXT);
    study_write(s.data, "ptb.train.txt", "other words, and " TEXT);
    bl_hash need = cell_hash(&s, "pack:w4", "wikitext2", -1), not = cell_hash(&s, "turn", "wikitext2", -1);
    assert_true(bl_hash_equal(need, cell_hash(&s, "pack:w4", "wikitext2:train", -1))); /* the same text */
    assert_true(bl_hash_equal(need, cell_hash(&s, "pack:w4", "wikitext2", 96))); /* what -1 means for this model */
    assert_false(bl_hash_equal(need, cell_hash(&s, "pack:w4", "wikitext2", 64)));
    assert_false(bl_hash_equal(need, cell_hash(&s, "pack:w4", "ptb", -1)));
    assert_true(bl_hash_equal(not, cell_hash(&s, "turn", "ptb", 64)));
    assert_true(bl_hash_equal(not, cell_hash(&s, "turn", NULL, -1)));
    char one[4400], two[4400], other[4400]; /* a file of one's own is its bytes, wherever it is */
    snprintf(one, sizeof one, "file:%s/one.txt", s.dir);
    snprintf(two, sizeof two, "file:%s/two.txt", s.dir);
    snprintf(other, sizeof other, "file:%s/other.txt", s.dir);
    study_write(s.dir, "one.txt", TEXT);
    study_write(s.dir, "two.txt", TEXT);
    study_write(s.dir, "other.txt", TEXT "x");
    bl_hash own = cell_hash(&s, "pack:w4", one, -1);
    assert_true(bl_hash_equal(own, cell_hash(&s, "pack:w4", two, -1)));
    assert_false(bl_hash_equal(own, cell_hash(&s, "pack:w4", other, -1)) || bl_hash_equal(own, need));
    study_write(s.data, "wiki.train.raw", TEXT "more of it\n"); /* other bytes, other numbers */
    assert_false(bl_hash_equal(need, cell_hash(&s, "pack:w4", "wikitext2", -1)));
    assert_true(bl_hash_equal(not, cell_hash(&s, "turn", "wikitext2", -1)));
    study_end(&s);
}

static void calibration_that_cannot_be_is_refused_before_work(void **state)
{
    (void)state;
    study s = study_begin(2);
    study_write(s.data, "ptb.train.txt", "other words\n");
    static const struct {
        const char *calib;
        int64_t seqlen;
        bool study; /* all of it is refused, not only what looks at the text */
        const char *says;
    } rows[] = {
        {NULL, -1, true, "method pack:w4g128 looks at calibration text; give --calib NAME"},
        {"wikitext2", -1, false, "calibration text wikitext2:train: not found: "},
        {"primer:test", 97, false, "noise: calibration windows of 97 tokens are longer than the model's 96"},
        {"ptb:train", 64, false,
         "calibration text ptb:train: 11 bytes hold fewer than the 64 tokens of a calibration window"},
        {"wikitxet2:train", -1, true, "did you mean wikitext2:train?"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_plan *p = NULL;
        bl_spec spec = {0};
        bl_status st = plan_with(&s, "turn,pack:w4", rows[i].calib, rows[i].seqlen, &p, &spec, &e);
        if (rows[i].study) assert_refused(st, BL_E_CONFIG, rows[i].says);
        else {
            assert_ok(st);
            assert_int_equal(p->cell[0].state, BL_CELL_OPEN);
            assert_int_equal(p->cell[1].state, BL_CELL_NA);
            if (!strstr(p->cell[1].reason, rows[i].says)) fail_msg("'%s'", p->cell[1].reason);
        }
        bl_plan_free(p);
        bl_spec_free(&spec);
    }
    study_end(&s);
}

/* Attention beyond a sliding window is not computed, so calibration windows keep to it. */
static void calibration_windows_are_no_longer_than_a_sliding_window(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    bl_calib_choice got;
    assert_ok(bl_checkpoint_open("synth:tiny-mistral", NULL, &c, &e)); /* 512 positions, a window of 256 */
    assert_ok(bl_calib_for(&(bl_calib_choice){.data = "primer:test", .n = 1}, "m", c, &got, &e));
    assert_int_equal(got.seqlen, 256);
    assert_refused(bl_calib_for(&(bl_calib_choice){.data = "primer:test", .n = 1, .seqlen = 257}, "m", c, &got, &e),
                   BL_E_CONFIG, "longer than the model's 256");
    bl_checkpoint_close(c);
}

/* A plan with estimates of one method on one task. */
static bl_plan *estimated(const study *s, int64_t n, int64_t mem_limit, bl_spec *spec)
{
    bl_err e = {0};
    bl_plan *p;
    bl_spec_from from = bl_spec_nothing;
    from.model = s->model;
    from.method = "turn+pack:w4";
    from.task = "piqa";
    from.data = s->data;
    from.out = s->out;
    from.calib = "primer:test";
    from.calib_n = n;
    from.calib_seqlen = 64;
    from.mem_limit = mem_limit;
    assert_ok(bl_spec_read(&program, &from, spec, &e));
    assert_ok(bl_plan_make(spec, &(bl_plan_opts){0}, &p, &e));
    return p;
}

static void a_plan_counts_what_calibration_takes(void **state)
{
    (void)state;
    study s = study_begin(2);
    bl_err e = {0};
    bl_spec spec;
    bl_text t = {0};
    double work[3];
    uint64_t memory[3];
    static const int64_t n[] = {512, 1024, 1536}; /* windows of 64 tokens */
    for (int i = 0; i < 3; i++) {
        bl_plan *p = estimated(&s, n[i], -1, &spec);
        assert_int_equal(p->n_variants, 1);
        bl_plan_variant *v = &p->variant[0];
        work[i] = v->forecast->stage[1].work;
        memory[i] = v->forecast->stage[1].memory;
        assert_true(v->seconds > 0 && v->peak_bytes > (int64_t)memory[i] && p->cell[0].peak_bytes >= v->peak_bytes);
        assert_true(v->forecast->stage[0].work == 0); /* `turn` looks at nothing */
        bl_plan_text(p, &t);
        char tokens[40];
        snprintf(tokens, sizeof tokens, "make   %11lld", (long long)n[i] * 64);
        if (!strstr(t.s, tokens)) fail_msg("'%s' does not say '%s'", t.s, tokens);
        bl_text_free(&t);
        bl_plan_free(p);
        bl_spec_free(&spec);
    }
    assert_true(work[0] > 0 && fabs(work[2] - 3 * work[0]) < 1e-9 * work[2] &&
                fabs(work[1] - 2 * work[0]) < 1e-9 * work[1]);
    /* the residual stream, f32 of 72 channels, and nothing else */
    assert_int_equal(memory[1] - memory[0], 512 * 64 * 72 * sizeof(float));
    assert_int_equal(memory[2] - memory[1], 512 * 64 * 72 * sizeof(float));

    bl_plan *p = estimated(&s, 1 << 20, 8, &spec); /* of 8 MiB: 19 GB of it go to a file */
    assert_true(p->variant[0].forecast->stage[1].memory < 8 << 20);
    for (int i = 0; i < 2; i++) { /* a stage that is there, then both: not made again */
        char hex[33], dir[4400];
        bl_hash_hex(p->variant[0].stage[i], hex);
        snprintf(dir, sizeof dir, "%s/variants/%s", s.out, hex);
        assert_ok(bl_make_dirs(dir, &e));
        bl_plan_free(p);
        bl_spec_free(&spec);
        p = estimated(&s, 1 << 20, 8, &spec);
        if (i == 0) assert_true(p->variant[0].seconds > 0 && p->variant[0].peak_bytes > 0);
        else assert_true(p->variant[0].seconds == 0 && p->variant[0].peak_bytes == 0);
    }
    bl_plan_text(p, &t);
    assert_null(strstr(t.s, " make "));
    bl_text_free(&t);
    bl_plan_free(p);
    bl_spec_free(&spec);
    study_end(&s);
}

static void a_spec_with_calibration_is_printed_as_it_is_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_spec s, again;
    bl_text a = {0}, b = {0};
    assert_ok(parse("{\"models\": \"m\", \"tasks\": \"piqa\", \"methods\": \"pack\", \"mem_limit\": 12, \"kv\": "
                    "\"int8\", \"calib\": "
                    "{\"data\": \"ptb\", \"n\": 3, \"seqlen\": 40, \"seed\": 5}}",
                    &s, &e));
    assert_string_equal(s.calib.data, "ptb:train");
    assert_int_equal(s.calib.n, 3);
    assert_int_equal(s.calib.seqlen, 40);
    assert_int_equal(s.calib.seed, 5);
    assert_int_equal(s.mem_limit, 12);
    assert_int_equal(s.kv, BL_KV_INT8);
    assert_ok(bl_spec_print(&s, &a, &e));
    assert_ok(parse(a.s, &again, &e));
    assert_ok(bl_spec_print(&again, &b, &e));
    assert_string_equal(a.s, b.s);
    bl_text_free(&a);
    bl_text_free(&b);
    bl_spec_free(&s);
    bl_spec_free(&again);
    assert_refused(parse("{\"models\": \"m\", \"tasks\": \"piqa\", \"kv\": \"int5\"}", &s, &e), BL_E_CONFIG,
                   "'kv' is \"int5\", expected act, int8, int4, int3 or int2");
}

/* ---- identities ---- */

static void identity(const study *s, const char *tokenizer, const char *numerics, bl_identity *id)
{
    bl_err e = {0};
    bl_checkpoint *c;
    bl_hash f;
    *id = (bl_identity){0};
    assert_ok(bl_checkpoint_open(s->model, &(bl_checkpoint_opts){.tokenizer = tokenizer}, &c, &e));
    assert_ok(bl_checkpoint_fingerprint(c, &f, &e));
    assert_ok(bl_identity_model(c, f, numerics, id, &e));
    bl_checkpoint_close(c);
}

static bl_hash variant(const char *method, bl_identity *id, bl_hash *stage)
{
    bl_err e = {0};
    bl_method_chain m;
    const bl_calib_choice calib = {.data = "ptb:train", .n = 128, .seqlen = 64};
    assert_ok(bl_chain_parse(methods, method, &m, &e));
    assert_ok(bl_identity_variant(&m, &calib, (bl_hash){1, 2}, (bl_hash){0}, 0, stage, id, &e));
    bl_hash last = stage[m.n - 1];
    bl_chain_free(&m);
    return last;
}

static void chains_share_the_models_they_begin_with(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_identity id;
    bl_hash one[8], two[8], three[8];
    identity(&s, NULL, "cpu-f32", &id);
    variant("turn", &id, one);
    variant("turn+pack:w4", &id, two);
    variant("turn+pack:w3", &id, three);
    assert_true(bl_hash_equal(one[0], two[0]) && bl_hash_equal(two[0], three[0]));
    assert_false(bl_hash_equal(two[1], three[1]));
    assert_false(bl_hash_equal(variant("pack:w4", &id, one), two[1])); /* of another model */
    assert_false(bl_hash_equal(variant("turn+flag", &id, one), two[0]));
    study_end(&s);
}

static void another_class_of_arithmetic_is_another_variant(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_identity cpu, cuda;
    bl_hash stage[8];
    identity(&s, NULL, "cpu-f32", &cpu);
    identity(&s, NULL, "cuda-bf16", &cuda);
    bl_hash a = variant("base", &cpu, stage), b = variant("base", &cuda, stage);
    assert_false(bl_hash_equal(a, b));
    for (int i = 0; i < BL_INGREDIENTS; i++)
        assert_int_equal(bl_hash_equal(cpu.of[i], cuda.of[i]), i != BL_OF_NUMERICS);
    study_end(&s);
}

/* Same tensors, another configuration: another model. */
static void every_field_of_a_configuration_is_part_of_the_weights(void **state)
{
    (void)state;
    static const field changes[][3] = {
        {{"rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 2.0}"}, {0}},
        {{"rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 4.0}"}, {0}},
        {{"rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"attention_factor\": 1.5}"}, {0}},
        {{"rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"attention_factor\": 1.25}"}, {0}},
        {{"rms_norm_eps", "1e-06"}, {0}},
        {{"max_position_embeddings", "32"}, {0}},
        {{"model_type", "\"mistral\""}, {"sliding_window", "40"}, {"architectures", "[\"MistralForCausalLM\"]"}},
        {{"model_type", "\"mistral\""}, {"sliding_window", "48"}, {"architectures", "[\"MistralForCausalLM\"]"}},
    };
    study s = study_begin(1);
    st_text tensors = {0};
    bl_hash seen[BL_COUNT(changes)];
    st_layers(&tensors, 0, 2, true, true, NULL);
    snprintf(s.model, sizeof s.model, "%s/hf", s.dir);
    bl_err e = {0};
    assert_ok(bl_make_dirs(s.model, &e));
    st_write(&tensors, s.model, "model.safetensors");
    for (size_t i = 0; i < BL_COUNT(changes); i++) {
        bl_identity id;
        write_config(s.model, changes[i], changes[i][1].key ? 3 : 1);
        identity(&s, NULL, "cpu-f32", &id);
        seen[i] = id.of[BL_OF_WEIGHTS];
        for (size_t k = 0; k < i; k++)
            if (bl_hash_equal(seen[i], seen[k])) fail_msg("configurations %zu and %zu are one model", k, i);
    }
    study_end(&s);
}

/* The reader of tokenizer.json takes begin and end of a text from the files beside it. */
static void files_beside_a_tokenizer_are_part_of_it(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                        "generation_config.json"};
    study s = study_begin(1);
    char path[4300];
    bl_identity before, after;
    snprintf(path, sizeof path, "%s/tokenizer.json", s.dir);
    study_write(s.dir, "tokenizer.json", "{}");
    identity(&s, path, "cpu-f32", &before);
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        study_write(s.dir, names[i], "{}");
        identity(&s, path, "cpu-f32", &after);
        assert_false(bl_hash_equal(before.of[BL_OF_TOKENIZER], after.of[BL_OF_TOKENIZER]));
        assert_true(bl_hash_equal(before.of[BL_OF_WEIGHTS], after.of[BL_OF_WEIGHTS]));
        before = after;
        study_write(s.dir, names[i], "{ }");
        identity(&s, path, "cpu-f32", &after);
        assert_false(bl_hash_equal(before.of[BL_OF_TOKENIZER], after.of[BL_OF_TOKENIZER]));
        before = after;
    }
    study_end(&s);
}

/* Keys of a GGUF file's tokenizer, whichever: end tokens have names of their own. */
static void end_of_turn_1(bl_text *t) { key_u32(t, "tokenizer.ggml.eot_token_id", 1); }
static void end_of_turn_2(bl_text *t) { key_u32(t, "tokenizer.ggml.eot_token_id", 2); }
static void every_key_of_a_tokenizer_inside_a_model_is_part_of_it(void **state)
{
    (void)state;
    static void (*const keys[])(bl_text *) = {NULL, end_of_turn_1, end_of_turn_2};
    study s = study_begin(1);
    bl_identity id[BL_COUNT(keys)];
    char path[4300];
    snprintf(path, sizeof path, "%s/m.gguf", s.dir);
    for (size_t i = 0; i < BL_COUNT(keys); i++) {
        bl_text t = {0};
        gguf_llama(&t, &(gguf_extra){.keys = keys[i] != NULL, .put_keys = keys[i]});
        test_write(s.dir, "m.gguf", t.s, t.n);
        bl_text_free(&t);
        identity(&s, path, "cpu-f32", &id[i]);
        for (size_t k = 0; k < i; k++)
            assert_false(bl_hash_equal(id[i].of[BL_OF_TOKENIZER], id[k].of[BL_OF_TOKENIZER]));
    }
    study_end(&s);
}

/* What a plan counts for a position is what the cache of a backend really takes. */
static void keys_and_values_are_counted_in_their_format(void **state)
{
    (void)state;
    static const bl_kv_format formats[] = {BL_KV_ACT, BL_KV_INT8, BL_KV_INT4, BL_KV_INT3, BL_KV_INT2};
    enum { ROWS = 64 }; /* parts of a cache fill whole 64 bytes */
    const bl_config c = {.n_layers = 3, .n_kv_heads = 2, .head_dim = 18};
    bl_err e = {0};
    bl_backend *be;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    for (size_t i = 0; i < BL_COUNT(formats); i++)
        for (int64_t slots = 1; slots < 3; slots++) {
            const bl_kv_shape shape = {formats[i], ROWS, slots, c.n_kv_heads, c.head_dim};
            int64_t counted = ROWS * bl_kv_row_bytes(&c, formats[i]) + slots * bl_kv_slot_bytes(&c, formats[i]),
                    took = c.n_layers * (int64_t)bl_kv_view_bytes(be, &shape);
            assert_true(counted >= took &&
                        counted - took < ROWS * c.n_layers * c.n_kv_heads); /* less than a byte a head */
        }
    /* codes of both; of 8 bits a scale a head, else a step and a least value; those of the keys of 32 positions */
    assert_int_equal(bl_kv_row_bytes(&c, BL_KV_INT8), 3 * 2 * (2 * 18 + 4 + 3));
    assert_int_equal(bl_kv_row_bytes(&c, BL_KV_INT3), 3 * 2 * (2 * 7 + 4 + 3));
    assert_int_equal(bl_kv_slot_bytes(&c, BL_KV_INT3), 3 * 2 * 32 * 18 * 4);
    bl_backend_close(be);
}

static void the_device_that_is_asked_for_is_measured(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_speed v = {0};
    assert_refused(bl_estimate_speed("gpu:9", 1, false, &v, &e), BL_E_UNSUPPORTED, "no device 'gpu:9'");
    assert_ok(bl_estimate_speed("cpu", 1, false, &v, &e));
    assert_true(v.flops > 0 && v.block_seconds == 0);
}

/* A device that computes at once and waits for launches: 1,000 replies of 64 tokens, 256 at a time, are 250 passes; two
 * replies are 64 passes, however few they are. */
static void decoding_takes_a_pass_for_each_token(void **state)
{
    const bl_config c = {.n_layers = 10,
                         .n_heads = 1,
                         .n_kv_heads = 1,
                         .head_dim = 8,
                         .dim = 8,
                         .ffn_dim = 8,
                         .vocab = 256,
                         .max_len = 512};
    const bl_speed v = {.flops = 1e30, .block_seconds = 0.5};
    bl_task_shape s = {.items = 1000, .new_tokens = 64, .in_turn = 64, .sequence_bytes = 1};
    bl_plan_cell cell = {0};
    (void)state;
    bl_estimate_cell(&c, &s, &v, false, 0, &cell);
    assert_float_equal(cell.seconds, 250 * 10 * 0.5, 1e-9);
    s.items = 2;
    bl_estimate_cell(&c, &s, &v, false, 0, &cell);
    assert_float_equal(cell.seconds, 64 * 10 * 0.5, 1e-9);
}

/* As many caches as there are replies at a time. */
static void memory_of_replies_is_that_of_those_at_once(void **state)
{
    const bl_config c = {.n_layers = 10,
                         .n_heads = 8,
                         .n_kv_heads = 8,
                         .head_dim = 64,
                         .dim = 512,
                         .ffn_dim = 512,
                         .vocab = 256,
                         .max_len = 4096};
    const bl_speed speed = {.flops = 1e12};
    const bl_spec spec = {.batch_tokens = 64};
    const bl_plan_variant v = {.packed_bytes = 1 << 20};
    double one = 10 * 2 * 512 * sizeof(float) * (1001 + 2 * 512.0), peak[3];
    static const int64_t items[] = {1, 8, 4000};
    (void)state;
    for (int i = 0; i < 3; i++) {
        const bl_task_shape s = {
            .items = items[i], .bytes = 1000, .new_tokens = 512, .in_turn = 512, .sequence_bytes = 1000};
        bl_plan_cell cell = {0};
        bl_estimate_cell(&c, &s, &speed, false, 0, &cell);
        peak[i] = (double)bl_estimate_peak(&c, &spec, &v, &cell, &s, false) - 2000.0 * (double)items[i]; /* texts */
    }
    assert_float_equal(peak[1] - peak[0], 7 * one, 0.01 * one);
    assert_float_equal(peak[2] - peak[0], BL_GENERATE_KV_BYTES - one, 0.01 * one);
}

/* Passes, chunks and logits of each device that is here as the model has them there. */
static void memory_of_a_pass_is_that_of_its_device(void **state)
{
    const bl_config c = {.n_layers = 2,
                         .n_heads = 8,
                         .n_kv_heads = 2,
                         .head_dim = 128,
                         .dim = 1024,
                         .ffn_dim = 4096,
                         .vocab = 128256,
                         .max_len = 2048}; /* 512 rows are 251 MiB of logits */
    const bl_plan_variant v = {.packed_bytes = 1 << 20};
    const bl_plan_cell cell = {.tokens = 1 << 20};
    char device[32];
    bl_err e = {0};
    (void)state;
    assert_int_equal(bl_scored_rows(&c, 1, false, 0), 130);
    assert_int_equal(bl_scored_rows(&c, 8, false, 0), 512);
    assert_int_equal(bl_scored_rows(&c, 8, true, 0), 130);
    assert_int_equal(bl_scored_rows(&c, 8, false, 2ull << 30), 130);
    assert_int_equal(bl_scored_rows(&c, 8, false, 4ull << 30), 512);
    assert_int_equal(bl_pass_rows(&c, &(bl_pass_where){.wide = 8}), 16384);
    assert_int_equal(bl_pass_rows(&c, &(bl_pass_where){.wide = 8, .limit = 1 << 20}), 2048);
    assert_int_equal(bl_pass_rows(&c, &(bl_pass_where){.wide = 1, .limit = 1 << 20}), 2048);
    for (int i = 0; bl_device_at(i, device); i++) {
        bl_backend *be;
        const bl_spec spec = {.device = device};
        const bl_task_shape none = {.items = 1}, some = {.items = 1, .scored_bytes = 1 << 20};
        assert_ok(bl_backend_open(&(bl_backend_opts){.device = device, .threads = 1}, &be, &e));
        const double rows = (double)(be->wide * 2048), chunk = (double)(be->wide * bl_chunk_rows(&c)),
                     pass = rows * (double)bl_pass_row_bytes(&c, v.kv) + chunk * (double)bl_chunk_row_bytes(&c),
                     without = (double)bl_estimate_peak(&c, &spec, &v, &cell, &none, false),
                     with = (double)bl_estimate_peak(&c, &spec, &v, &cell, &some, false);
        assert_float_equal(without, 32e6 + (1 << 20) + pass, 1e3);
        assert_float_equal(with - without, (be->wide > 1 ? 512.0 : 130.0) * 4 * 128256, 1e3);
        bl_backend_close(be);
    }
}

/* Of three steps: one prompt, two that begin with what came of it, a choice. */
static bl_status steps_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    static const char *const choice[] = {"a", "bc"};
    bl_prompt p = bl_prompt_new(turn->arena), *two;
    (void)t;
    (void)i;
    if (turn->step > 2) return bl_done(out);
    bl_say(&p, turn->step == 2 ? "q" : "say abc.");
    if (turn->step == 2) return bl_ask_pairs(out, p, choice, 2, e);
    if (turn->step == 0) {
        *out = (bl_request){.kind = BL_ASK_GENERATE, .prompt = p, .max_new = 8};
        return BL_OK;
    }
    assert_int_equal(strlen(turn->reply[0].text), 16);
    if (!(two = bl_alloc(turn->arena, 2, sizeof *two, e))) return BL_E_NOMEM;
    for (int k = 0; k < 2; k++) {
        two[k] = bl_prompt_new(turn->arena);
        bl_say(&two[k], "say ");
        bl_say(&two[k], "abc.");
        bl_quote(&two[k], turn->reply[0].text);
        bl_say(&two[k], k ? "y" : "x");
    }
    *out = (bl_request){.kind = BL_ASK_GENERATE, .prompts = two, .n_prompts = 2, .max_new = 6};
    return BL_OK;
}

/* By hand: 8 bytes of step 0, 8 + 16 + 1 and one more of step 1, "q a" and " bc" of step 2; a second item's prompts
 * begin as those of the first, so that their 8 and 25 bytes are there already. */
static void a_task_costs_what_all_its_steps_cost(void **state)
{
    static const bl_task task = {.ask = steps_ask};
    bl_task_data d = {.n = 2};
    bl_task_shape s;
    bl_err e = {0};
    (void)state;
    assert_ok(bl_estimate_task(&task, &d, 1, &s, &e));
    assert_true(s.items == 1 && s.bytes == 40 && s.scored_bytes == 5 && s.new_tokens == 10 && s.in_turn == 7 &&
                s.sequence_bytes == 25);
    assert_ok(bl_estimate_task(&task, &d, 0, &s, &e));
    assert_true(s.items == 2 && s.bytes == (40 + 40 - 33) / 2.);
    assert_true(s.scored_bytes == 5 && s.new_tokens == 10 && s.in_turn == 7);
}

/* Choices after worked examples: of 4 items of two subjects each but the first few bytes are there already. By hand: 70
 * bytes that a subject begins with, a letter, " x" and " yz" of which the second begins where the first does. */
static bl_status subjects_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    static const char *const choice[] = {"x", "yz"};
    char text[80];
    bl_prompt p = bl_prompt_new(turn->arena);
    if (turn->step) return bl_done(out);
    memset(text, 'a' + t->family[i], 70);
    snprintf(text + 70, 10, "%c", 'p' + (int)i);
    bl_say(&p, text);
    return bl_ask_pairs(out, p, choice, 2, e);
}

static void examples_of_a_subject_are_counted_once(void **state)
{
    static const bl_task task = {.ask = subjects_ask};
    static const int family[] = {0, 1, 0, 1};
    bl_task_data d = {.n = 4, .family = family};
    bl_task_shape s;
    bl_err e = {0};
    (void)state;
    assert_ok(bl_estimate_task(&task, &d, 0, &s, &e));
    assert_true(s.items == 4 && s.bytes == 1 + 2 + 3 && s.sequence_bytes == 71 + 3);
}

/* Vectors of kept texts are made once, however few the items; those of an encoder are its own work. By hand: 3 texts of
 * 10 bytes, a query of 5, one more text of 7 that is not kept. */
static const bl_near_texts *near_texts;
static bl_status near_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    (void)t;
    (void)i;
    (void)e;
    if (turn->step > 1) return bl_done(out);
    *out = (bl_request){.kind = BL_ASK_NEAR, .query = "which", .near = &near_texts[turn->step]};
    return BL_OK;
}

static void vectors_of_texts_are_part_of_what_a_task_costs(void **state)
{
    static const char *const kept[] = {"0123456789", "abcdefghij", "ABCDEFGHIJ"}, *const other[] = {"another"};
    static const bl_task task = {.ask = near_ask};
    const bl_config c = {.n_layers = 2,
                         .n_heads = 1,
                         .n_kv_heads = 1,
                         .head_dim = 8,
                         .dim = 8,
                         .ffn_dim = 8,
                         .vocab = 256, /* a byte a token */
                         .max_len = 512};
    bl_task_data d = {.n = 4};
    bl_task_shape s;
    bl_plan_cell cell = {0};
    bl_err e = {0};
    (void)state;
    near_texts = (bl_near_texts[]){{.text = kept, .n = 3, .kept = true}, {.text = other, .n = 1}};
    assert_ok(bl_estimate_task(&task, &d, 0, &s, &e));
    assert_true(s.items == 4 && s.bytes == 5 + 5 + 7 && s.kept_bytes == 30 && s.compared == 4 && s.encoder_work == 0);
    bl_estimate_cell(&c, &s, &(bl_speed){.flops = 1e30, .block_seconds = 1}, false, 0, &cell);
    assert_int_equal(cell.tokens, 4 * (17 + 1) + 30);
    assert_float_equal(cell.seconds, 2 * 4, 1e-4); /* two blocks; an item's own texts are a pass, queries go together */

    near_texts = (bl_near_texts[]){{.text = kept, .n = 3, .kept = true, .encoder = BL_SOURCE_DIR "/tests/data/encoder"},
                                   {.text = other, .n = 1, .encoder = BL_SOURCE_DIR "/tests/data/encoder"}};
    assert_ok(bl_estimate_task(&task, &d, 0, &s, &e));
    assert_true(s.bytes == 0 && s.encoded_bytes == 17 && s.kept_encoded_bytes == 30);
    bl_json *j;
    int64_t dim, ffn, layers;
    assert_ok(bl_json_read(BL_SOURCE_DIR "/tests/data/encoder/config.json", 1 << 20, BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_int(j, "hidden_size", &dim, &e));
    assert_ok(bl_json_get_int(j, "intermediate_size", &ffn, &e));
    assert_ok(bl_json_get_int(j, "num_hidden_layers", &layers, &e));
    bl_json_free(j);
    assert_true(s.encoder_work == 2. * (double)(layers * (4 * dim * dim + 2 * dim * ffn)));
    const bl_speed speed = {.flops = s.encoder_work}; /* a token a second */
    bl_estimate_cell(&c, &s, &speed, false, 0, &cell);
    const double all = cell.seconds;
    s.encoder_work = 0;
    bl_estimate_cell(&c, &s, &speed, false, 0, &cell);
    assert_float_equal(all - cell.seconds, 1.15 * (4 * 17 + 30), 0.01);
}

/* A model whose chat template is not known is not asked through one: said by the plan, with nothing computed. */
static void a_model_without_a_known_chat_template_is_not_planned_to_chat(void **state)
{
    (void)state;
    study s = study_begin(2);
    bl_err e = {0};
    bl_spec spec;
    bl_plan *p;
    char dir[4300];
    bl_spec_from from = bl_spec_nothing;
    snprintf(dir, sizeof dir, "%s/gsm8k", s.data);
    assert_ok(bl_make_dirs(dir, &e));
    study_write(dir, "test.jsonl", "{\"question\":\"q\",\"answer\":\"#### 2\"}\n");
    from.model = s.model;
    from.method = "base";
    from.task = "svamp:cot8+chat,gsm8k:direct+chat,gsm8k:direct";
    from.data = s.data;
    assert_ok(bl_spec_read(&program, &from, &spec, &e));
    assert_ok(bl_plan_make(&spec, &(bl_plan_opts){.no_estimate = true}, &p, &e));
    assert_int_equal(p->n_cells, 3);
    assert_int_equal(p->cell[1].state, BL_CELL_NA);
    assert_non_null(
        strstr(p->cell[1].reason, "the model has no chat template, nor a token by which one of those built in"));
    assert_int_not_equal(p->cell[2].state, BL_CELL_NA);
    bl_plan_free(p);
    bl_spec_free(&spec);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_in_any_stage_multiply),
        cmocka_unit_test(chains_that_cannot_be_are_refused),
        cmocka_unit_test(a_comma_in_a_path_that_exists_is_part_of_it),
        cmocka_unit_test(calibration_is_part_of_what_needs_it),
        cmocka_unit_test(calibration_that_cannot_be_is_refused_before_work),
        cmocka_unit_test(calibration_windows_are_no_longer_than_a_sliding_window),
        cmocka_unit_test(a_plan_counts_what_calibration_takes),
        cmocka_unit_test(a_spec_with_calibration_is_printed_as_it_is_read),
        cmocka_unit_test(chains_share_the_models_they_begin_with),
        cmocka_unit_test(another_class_of_arithmetic_is_another_variant),
        cmocka_unit_test(every_field_of_a_configuration_is_part_of_the_weights),
        cmocka_unit_test(every_key_of_a_tokenizer_inside_a_model_is_part_of_it),
        cmocka_unit_test(keys_and_values_are_counted_in_their_format),
        cmocka_unit_test(the_device_that_is_asked_for_is_measured),
        cmocka_unit_test(memory_of_replies_is_that_of_those_at_once),
        cmocka_unit_test(memory_of_a_pass_is_that_of_its_device),
        cmocka_unit_test(decoding_takes_a_pass_for_each_token),
        cmocka_unit_test(a_task_costs_what_all_its_steps_cost),
        cmocka_unit_test(files_beside_a_tokenizer_are_part_of_it),
        cmocka_unit_test(examples_of_a_subject_are_counted_once),
        cmocka_unit_test(vectors_of_texts_are_part_of_what_a_task_costs),
        cmocka_unit_test(a_model_without_a_known_chat_template_is_not_planned_to_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
