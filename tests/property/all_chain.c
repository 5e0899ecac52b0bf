/* all_chain.c - stages one after another: each reads what the one before wrote, and what a hook changes is written. */
#include "model_fixture.h"
#include "harness/quant/apply.h"
#include "kernels/base/fs.h"
#include "methods/registry.h"

static char dir[4096];
static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return 0;
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

/* ---- methods of the test ---- */
static char trail[4096]; /* what was called, in order */
static void called(const char *what) { strcat(strcat(trail, what), " "); }

static void double_norm(const bl_method_run *r, bl_norm *n)
{
    bl_err e = {0};
    bl_tensor w = bl_tensor_1d(NULL, 0, BL_F32, bl_tensor_count(&n->weight));
    float *x = malloc(bl_tensor_bytes(&n->weight));
    assert_ok(r->ops->download(r->be, &n->weight, x, &e));
    for (int64_t i = 0; i < w.dim[0]; i++) x[i] *= 2;
    assert_ok(r->ops->buffer_new(r->be, (uint64_t)w.dim[0] * sizeof *x, &w.buf, &e));
    assert_ok(r->ops->upload(r->be, &w, x, &e));
    bl_norm_set(n, w);
    free(x);
}
static bl_status norms_model(const bl_method_run *r, bl_err *e)
{
    (void)e;
    double_norm(r, &r->model->norm);
    called("model");
    return BL_OK;
}
static bl_status norms_block(const bl_method_run *r, int64_t block, bl_err *e)
{
    (void)e;
    double_norm(r, bl_model_norm(r->model, block, BL_ROLE_MLP_NORM));
    called("block");
    return BL_OK;
}
static const bl_method norms = {.name = "norms", .version = 1, .model = norms_model, .block = norms_block};

static bl_status breaks(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    (void)r;
    (void)stat;
    return lin->block == 1 ? bl_fail(e, BL_E_NUMERIC, "enough") : BL_OK;
}
static const bl_method broken = {.name = "broken", .version = 1, .layer = breaks};

static bl_status look(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_tensor h;
    bl_status st = bl_calib_hessian(r->calib, lin, &h, e);
    stat->damp = 0.5;
    if (lin->block == 0) called(bl_roles[lin->role].part);
    return st;
}
static bool in_turn(const bl_method_run *r)
{
    (void)r;
    return true;
}
static const bl_method looks = {
    .name = "looks", .version = 1, .needs = BL_NEED_HESSIAN, .layer = look, .sequential = in_turn};

static bl_status strain(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    (void)r;
    (void)e;
    stat->damp = lin->role == BL_ROLE_DOWN ? 0.5 : 0;
    return BL_OK;
}
static void strain_notes(const bl_method_run *r, const bl_layer_stat *layer, int64_t n, bl_text *out)
{
    int strained = 0;
    (void)r;
    for (int64_t i = 0; i < n; i++) strained += layer[i].damp > 0;
    bl_text_addf(out, "%d of %d strained", strained, (int)n);
}
static const bl_method strains = {.name = "strains", .version = 1, .layer = strain, .notes = strain_notes};

static const bl_method *const *methods(void)
{
    static const bl_method **all;
    bl_err e = {0};
    size_t n = 0;
    if (all) return all;
    while (bl_methods[n]) n++;
    assert_non_null(all = bl_new(n + 5, sizeof *all, &e)); /* kept to the end */
    memcpy(all, (const bl_method *const[]){&norms, &broken, &looks, &strains}, 4 * sizeof *all);
    memcpy(all + 4, bl_methods, n * sizeof *all);
    return all;
}

static bl_quantize_result apply(const char *text, const bl_apply_how *how, const char *to, bl_status want,
                                char sentence[2048])
{
    static bl_arena *a;
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain = {0};
    bl_quantize_result r = {0};
    if (!a) assert_ok(bl_arena_new(&a, &e));
    *trail = 0;
    assert_ok(bl_checkpoint_open("synth:tiny", NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_chain_parse(methods(), text, &chain, &e));
    assert_int_equal(bl_quantize_dir(c, &chain, how, be, to, a, &r, &e), want);
    if (sentence) snprintf(sentence, 2048, "%s", e.text);
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    return r;
}

static float *hidden(const char *model)
{
    static const int32_t ids[] = {5, 9, 250, 3, 77, 40, 11};
    bl_err e = {0};
    fixture f = fixture_open(model, "", 1, false);
    bl_tensor h = fixture_hidden(&f, ids, BL_COUNT(ids));
    float *x = malloc(bl_tensor_bytes(&h));
    assert_ok(f.be->ops->download(f.be, &h, x, &e));
    fixture_drop(&f, &h);
    fixture_close(&f);
    return x;
}
static size_t hidden_bytes(void)
{
    fixture f = fixture_open("synth:tiny", "", 1, false);
    size_t n = 7 * (size_t)f.m->config.dim * sizeof(float);
    fixture_close(&f);
    return n;
}
static char *under(const char *name)
{
    bl_err e = {0};
    char *s = bl_join(dir, name, &e);
    assert_non_null(s);
    return s;
}
static size_t entries(void)
{
    bl_err e = {0};
    char **names;
    size_t n;
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    bl_list_free(names, n);
    return n;
}

/* ---- tests ---- */
static void a_chain_is_its_stages_one_by_one(void **state)
{
    (void)state;
    bl_err e = {0};
    char *chain = under("chain"), *first = under("first"), *second = under("second");
    bl_quantize_result r = apply("norms+rtn:w4g64", &(bl_apply_how){0}, chain, BL_OK, NULL);
    assert_string_equal(trail, "model block block ");
    assert_int_equal(entries(), 1); /* the state between is gone */
    assert_true(r.n_layers == 14 && r.bits > 4 && r.bits < 5);

    apply("norms", &(bl_apply_how){0}, first, BL_OK, NULL);
    bl_checkpoint *c;
    bl_backend *be;
    bl_arena *a;
    bl_method_chain rtn;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(first, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_chain_parse(methods(), "rtn:w4g64", &rtn, &e));
    assert_ok(bl_quantize_dir(c, &rtn, &(bl_apply_how){0}, be, second, a, &r, &e));
    bl_checkpoint_close(c);
    bl_backend_close(be);
    bl_chain_free(&rtn);
    float *x = hidden(chain), *y = hidden(second), *z = hidden("synth:tiny");
    assert_memory_equal(x, y, hidden_bytes());
    assert_true(memcmp(x, z, hidden_bytes()) != 0);
    free(x);
    free(y);
    free(z);

    int n;
    assert_ok(bl_checkpoint_open(chain, NULL, &c, &e));
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    assert_int_equal(n, 2);
    assert_string_equal(stage[0].text, "norms");
    assert_string_equal(stage[1].text, "rtn:w4g64");
    bl_checkpoint_close(c);
    bl_arena_free(a);
    bl_free(chain);
    bl_free(first);
    bl_free(second);
}

static int told; /* that a state can be read */
static void is_whole(void *ctx, int i)
{
    bl_err e = {0};
    bl_checkpoint *c;
    assert_int_equal(i, 0);
    assert_ok(bl_checkpoint_open(ctx, NULL, &c, &e));
    bl_checkpoint_close(c);
    told++;
}

static void a_state_that_is_kept_is_taken_as_it_is(void **state)
{
    (void)state;
    char *between = under("between"), *a = under("a"), *b = under("b");
    const char *kept[] = {between};
    size_t before = entries();
    bl_apply_how how = {.between = kept, .made = is_whole, .ctx = between};
    apply("norms+rtn:w4g64", &how, a, BL_OK, NULL);
    assert_int_equal(entries(), before + 2);
    apply("norms+rtn:w3g64", &how, b, BL_OK, NULL);
    assert_string_equal(trail, ""); /* its first stage was not made again */
    assert_int_equal(entries(), before + 3);
    assert_int_equal(told, 2);
    bl_free(between);
    bl_free(a);
    bl_free(b);
}

static void a_stage_that_fails_leaves_nothing(void **state)
{
    (void)state;
    char text[2048], *to = under("failed");
    size_t before = entries();
    apply("norms+broken", &(bl_apply_how){0}, to, BL_E_NUMERIC, text);
    assert_string_equal(text, "norms+broken: model.layers.1.self_attn.q_proj: enough");
    assert_int_equal(entries(), before);
    bl_free(to);
}

/* Nothing of what a rounded weight was is left to be near to. */
static void a_weight_is_rounded_once(void **state)
{
    static const struct {
        const char *chain, *says;
    } rows[] = {
        {"rtn:w4g16+rtn:w4g16",
         "rtn:w4g16: model.layers.0.self_attn.q_proj is rounded by rtn:w4g16 before; a chain rounds a weight once"},
        {"norms+rtn:w8g16+quarot+r4=false+rtn:w4g16", NULL}, /* turned weights are no codes */
        {"awq:w4g16+gptq:w3g16", "a chain rounds a weight once: awq:w4g16+round=false leaves it to this stage"},
        {"rtn:w4g16+head+ends:w8g16+embeddings=false", "lm_head is rounded by rtn:w4g16+head before"},
        {"rtn:w4g16+embeddings+ends:w8g16+embeddings=false", NULL},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char text[2048], *to = under("twice");
        bl_err e = {0};
        apply(rows[i].chain, &(bl_apply_how){0}, to, rows[i].says ? BL_E_CONFIG : BL_OK, text);
        if (rows[i].says && !strstr(text, rows[i].says)) fail_msg("%s: %s", rows[i].chain, text);
        if (!rows[i].says) assert_ok(bl_remove_tree(to, &e));
        assert_false(bl_exists(to));
        bl_free(to);
    }
}

/* Notes are of the state that is there, whatever stages it went through; what a stage notes is under its own text. */
static void notes_say_what_the_state_is(void **state)
{
    (void)state;
    static const struct {
        const char *chain, *notes;
    } rows[] = {
        {"rtn:w4g16", "lm_head and embeddings BF16"},
        {"rtn:w4pc+head+embeddings", ""},
        {"fp16", ""},
        {"quarot+r4=false", "inputs transformed"},
        {"quarot+r4=false+rtn:w4g16", "inputs transformed; lm_head and embeddings F32"},
        {"quarot+r4=false+rtn:w4g16+head", "inputs transformed; lm_head int4 g16, embeddings F32"},
        {"quarot+r4=false+rtn:w4g16+embeddings", "inputs transformed; lm_head F32, embeddings int4 g16"},
        {"rtn:w4g16+quarot+r4=false", "inputs transformed"},
        {"rtn:w4g16+ends:w8g16+embeddings=false", "lm_head int8 g16, embeddings BF16"},
        {"rtn:w4g16+fp16+rtn:w8g16+head", "lm_head int8 g16, embeddings F16"},
        {"quarot+r4=false+r3+rtn:w4g16",
         "inputs transformed; queries and keys transformed; lm_head and embeddings F32"},
        {"strains+rtn:w4g16", "lm_head and embeddings BF16; strains: 2 of 14 strained"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        char *to = under("noted");
        bl_checkpoint *c;
        bl_text again = {0};
        bl_quantize_result r = apply(rows[i].chain, &(bl_apply_how){0}, to, BL_OK, NULL);
        if (strcmp(r.notes, rows[i].notes)) fail_msg("%s: '%s', expected '%s'", rows[i].chain, r.notes, rows[i].notes);
        assert_ok(bl_checkpoint_open(to, NULL, &c, &e)); /* and the directory says the same to who finds it */
        bl_stage_notes(c, &again);
        assert_string_equal(again.n ? again.s : "",
                            strstr(rows[i].chain, "strains") ? "strains: 2 of 14 strained" : "");
        bl_text_free(&again);
        bl_checkpoint_close(c);
        assert_ok(bl_remove_tree(to, &e));
        bl_free(to);
    }
}

static void methods_that_look_at_data_need_a_text(void **state)
{
    (void)state;
    char text[2048], *to = under("looks");
    size_t before = entries();
    apply("looks", &(bl_apply_how){0}, to, BL_E_CONFIG, text);
    assert_non_null(strstr(text, "calibration text"));
    assert_int_equal(entries(), before);
    bl_free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_its_stages_one_by_one),  cmocka_unit_test(a_state_that_is_kept_is_taken_as_it_is),
        cmocka_unit_test(a_stage_that_fails_leaves_nothing), cmocka_unit_test(a_weight_is_rounded_once),
        cmocka_unit_test(notes_say_what_the_state_is),       cmocka_unit_test(methods_that_look_at_data_need_a_text),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
