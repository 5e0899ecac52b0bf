/* all_forecast.c - what a plan says of making a variant, beside what making it takes; what a row says of its
 * calibration text. */
#include "study_fixture.h"
#include "harness/data/windows.h"
#include "harness/quant/apply.h"
#include "methods/registry.h"

/* The most that was allocated while the variant was made, without what was there before. */
static uint64_t made(const study *s, const char *method_text, const bl_calib_choice *calib, uint64_t limit,
                     bl_quantize_forecast *f, bl_quantize_result *r, bl_arena *a)
{
    bl_err e = {0};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    char dir[4300];
    snprintf(dir, sizeof dir, "%s/variant", s->dir);
    assert_ok(bl_checkpoint_open(s->model, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2, .memory_limit = limit}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, method_text, &chain, &e));
    assert_ok(bl_quantize_check(c, &chain, calib, NULL, limit, f, &e));
    bl_alloc_watch_reset();
    uint64_t before = bl_alloc_live();
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = calib, .hash = NULL}, be, dir, a, r, &e));
    uint64_t most = bl_alloc_peak() - before;
    assert_ok(bl_remove_tree(dir, &e));
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    return most;
}

static void memory_is_as_planned_whether_it_is_spilled_or_not(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    /* Beside the buffers: the text and its ids, the writer of the directory, panels of a thread. */
    enum { BESIDE = 12 << 20 };
    const bl_calib_choice calib = {.data = "primer:test", .n = 512, .seqlen = 64};
    const uint64_t stream = 512 * 64 * 72 * sizeof(float), ids = 512 * 64 * sizeof(int32_t);
    for (int spilled = 0; spilled < 2; spilled++) {
        bl_arena *a;
        bl_quantize_forecast f;
        bl_quantize_result r;
        assert_ok(bl_arena_new(&a, &e));
        uint64_t most = made(&s, "gptq:w4g36", &calib, spilled ? 12 << 20 : 0, &f, &r, a), said = f.stage[0].memory;
        if (most > said + ids + BESIDE || (!spilled && most < said - said / 4))
            fail_msg("%llu bytes at most, %llu were planned", (unsigned long long)most, (unsigned long long)said);
        assert_true(spilled ? said < 12 << 20 : said > stream);
        assert_true(f.packed_bytes == (int64_t)r.packed_bytes && f.bits == r.bits);
        bl_arena_free(a);
    }
    study_end(&s);
}

/* A table of 7.2 million weights, as it was, a slice of it dense, and as it will be. */
static void memory_of_the_ends_is_as_planned(void **state)
{
    static const tiny shape = {
        .dim = 72, .hidden = 100, .layers = 1, .heads = 9, .kv_heads = 3, .vocab = 100000, .max_len = 16};
    uint64_t seed = 1;
    bl_err e = {0};
    bl_arena *a;
    bl_quantize_forecast f;
    bl_quantize_result r;
    (void)state;
    study s = study_begin(1);
    tiny_write(s.model, &shape, tiny_random, &seed, tiny_random, tiny_random, &seed);
    assert_ok(bl_arena_new(&a, &e));
    uint64_t most = made(&s, "rtn:w4g36+head+embeddings", NULL, 0, &f, &r, a), said = f.stage[0].memory;
    if (most > said + said / 4 || most < said - said / 4)
        fail_msg("%llu bytes at most, %llu were planned", (unsigned long long)most, (unsigned long long)said);
    bl_arena_free(a);
    study_end(&s);
}

/* Tokens of the text that windows cover, counted one by one. */
static void tokens_of_windows_that_overlap_are_counted_once(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    bl_arena *a;
    bl_checkpoint *c;
    bl_tokenizer *t;
    bl_source_text text;
    bl_ids ids = {0};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(s.model, NULL, &c, &e));
    assert_ok(bl_tokenizer_of(c, &t, &e));
    assert_ok(bl_source_find("primer:test")->load(NULL, a, &text, &e));
    assert_ok(bl_encode(t, text.stream, text.n_stream, BL_ENCODE_BOS | BL_ENCODE_PLAIN, &ids, &e));
    static const int64_t n[] = {1, 3, 40, 500};
    for (size_t k = 0; k < BL_COUNT(n); k++) {
        const bl_calib_choice calib = {.data = "primer:test", .n = n[k], .seqlen = 64, .seed = 7};
        bl_calib_windows w;
        bl_py_random random;
        int64_t want = 0;
        char *seen = bl_new(ids.n, 1, &e);
        assert_ok(bl_calib_draw(&calib, NULL, t, a, &w, &e));
        bl_py_seed(&random, 7);
        for (int64_t i = 0; i < n[k]; i++) {
            int64_t first = bl_py_randint(&random, 0, (int64_t)ids.n - 65);
            assert_memory_equal(w.ids + i * 64, ids.id + first, 64 * sizeof *w.ids);
            for (int64_t j = first; j < first + 64; j++) want += !seen[j], seen[j] = 1;
        }
        assert_int_equal(w.distinct, want);
        bl_free(seen);
    }
    bl_calib_windows w; /* a window more than the text has, and one that just fits */
    bl_calib_choice whole = {.data = "primer:test", .n = 2, .seqlen = (int64_t)ids.n};
    assert_refused(bl_calib_draw(&whole, NULL, t, a, &w, &e), BL_E_CONFIG, "needs one more than that");
    whole.seqlen--;
    assert_ok(bl_calib_draw(&whole, NULL, t, a, &w, &e));
    assert_int_equal(w.distinct, whole.seqlen);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
    bl_checkpoint_close(c);
    bl_arena_free(a);
    study_end(&s);
}

#define STUDIED(s)                                                                                                     \
    PROGRAM(s, "run", "--model", (s)->model, "--method", "rtn:w4g36,gptq:w4g36", "--task", "wikitext2:word,piqa",      \
            "--data", (s)->data, "--out", (s)->out, "--calib", "wikitext2:test", "--calib-n", "1", "--calib-seqlen",   \
            "64")

/* Rows of a study whose notes have the phrase and whose calibration is that (NULL: any). */
static int said(const char *out, const char *phrase, const char *calibration)
{
    bl_err e = {0};
    bl_arena *a;
    char **name;
    size_t n;
    int count = 0;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_dir_list(out, &name, &n, &e));
    for (size_t k = 0; k < n; k++) {
        if (!strstr(name[k], ".h5")) continue;
        char *path = bl_join(out, name[k], &e);
        bl_cell c = {0};
        assert_ok(bl_cell_read(path, false, a, &c, &e));
        count += strstr(c.notes, phrase) && (!calibration || (c.calibration && !strcmp(c.calibration, calibration)));
        assert_true(!c.calibration == !c.calibration_hash);
        if (c.calibration && strstr(name[k], "wikitext2")) assert_string_equal(c.calibration_hash, c.data_hash);
        bl_free(path);
    }
    bl_list_free(name, n);
    bl_arena_free(a);
    return count;
}

static void forget_shards(const char *out)
{
    bl_err e = {0};
    char **name;
    size_t n;
    assert_ok(bl_dir_list(out, &name, &n, &e));
    for (size_t k = 0; k < n; k++) {
        char *path = strstr(name[k], ".h5") ? bl_join(out, name[k], &e) : NULL;
        if (path) assert_ok(bl_remove_tree(path, &e));
        bl_free(path);
    }
    bl_list_free(name, n);
}

/* A model that was quantized and kept is the base of a study of its own. */
static void saved_it_still_knows(const study *s)
{
    char model[4300], out[4300];
    snprintf(model, sizeof model, "%s/saved", s->dir);
    snprintf(out, sizeof out, "%s/saved-out", s->dir);
    ran p = PROGRAM(s, "quantize", s->model, "--method", "gptq:w4g36", "--data", s->data, "--calib", "wikitext2:test",
                    "--calib-n", "1", "--calib-seqlen", "64", "--output", model);
    expect(&p, 0, NULL);
    ran_free(&p);
    p = PROGRAM(s, "run", "--model", model, "--method", "base", "--task", "wikitext2:word,piqa", "--data", s->data,
                "--out", out);
    expect(&p, 0, "1 cell is calibrated on the text that is scored");
    ran_free(&p);
    assert_int_equal(said(out, "calibrated on the text that is scored", "wikitext2:test 1x64 seed 0"), 1);
    assert_int_equal(said(out, "", "wikitext2:test 1x64 seed 0"), 2);
}

static void a_row_says_what_is_odd_about_its_calibration(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    bl_arena *a;
    bl_quantize_forecast f;
    bl_quantize_result r;
    assert_ok(bl_arena_new(&a, &e));
    made(&s, "gptq:w4g36", &(bl_calib_choice){.data = "primer:test", .n = 1, .seqlen = 64}, 0, &f, &r, a);
    assert_non_null(strstr(r.notes, "fewer calibration tokens (64) than inputs of model.layers.0.mlp.down_proj (100)"));
    made(&s, "gptq:w4g36", &(bl_calib_choice){.data = "primer:test", .n = 4, .seqlen = 64}, 0, &f, &r, a);
    assert_null(strstr(r.notes, "calibration"));
    made(&s, "gptq:w4g36", &(bl_calib_choice){.data = "primer:test", .n = 400, .seqlen = 64}, 0, &f, &r, a);
    assert_non_null(strstr(r.notes, "calibration windows overlap: "));
    assert_non_null(strstr(r.notes, " distinct tokens of 25600"));
    char odd[4300], name[4400];
    bl_text crlf = {0};
    snprintf(odd, sizeof odd, "%s/odd.txt", s.dir);
    snprintf(name, sizeof name, "file:%s", odd);
    for (int i = 0; i < 90; i++) bl_text_add(&crlf, "a line that ends as lines of another system do\r\n");
    assert_ok(bl_write_file(odd, crlf.s, crlf.n, &e));
    made(&s, "gptq:w4g36", &(bl_calib_choice){.data = name, .n = 4, .seqlen = 64}, 0, &f, &r, a);
    assert_non_null(strstr(r.notes, "calibration text: lines of the data file end in CR LF"));
    bl_text_free(&crlf);
    bl_arena_free(a);

    study_write(s.data, "wiki.test.raw",
                " = A text = \n a first paragraph of words that are read and then are scored as well \n"
                " and a second one which is there so that a window of them has words enough \n");
    for (int i = 0; i < 2; i++) { /* the second time the variant is taken as it is there */
        ran p = STUDIED(&s);
        expect(&p, 0,
               "1 cell is calibrated on the text that is scored; the rows say so: noise/gptq:w4g36/wikitext2:word/0");
        ran_free(&p);
        assert_int_equal(said(s.out, "gptq:w4g36: fewer calibration tokens (64) than inputs of", NULL),
                         2); /* both tasks */
        assert_int_equal(said(s.out, "calibrated on the text that is scored", NULL), 1);
        assert_int_equal(said(s.out, "", "wikitext2:test 1x64 seed 0"), 2);
        forget_shards(s.out);
    }
    saved_it_still_knows(&s);
    study_end(&s);
}

/* A plan would not know of it otherwise. */
static void a_method_that_solves_or_searches_says_what_that_takes(void **state)
{
    bl_model model = {.config = {.max_len = 256}}; /* methods that train a block count its windows */
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        if (!(m->needs & (BL_NEED_HESSIAN | BL_NEED_INPUTS | BL_NEED_ORIGINAL))) continue;
        if (!m->work) fail_msg("%s has no .work", m->name);
        const bl_linear small = {.out = 64, .in = 64, .weight.shape = {.out = 64, .in = 64}},
                        large = {.out = 128, .in = 64, .weight.shape = {.out = 128, .in = 64}};
        char *opts = calloc(1, m->opts_size + 1);
        if (m->opts) bl_opt_defaults(m->opts, opts);
        bl_method_run run = {.method = m, .model = &model, .opts = opts};
        double one = m->work(&run, &small), two = m->work(&run, &large);
        assert_true(one > 64 * 64 && two > one);
        run.windows = &(bl_calib_windows){.n = 8, .seqlen = 64}; /* a method that trains goes by the text that it has */
        if (m->needs & BL_NEED_ORIGINAL && m->work(&run, &small) > 0.5 * one)
            fail_msg("%s: work of the windows", m->name);
        free(opts);
    }
}

/* ---- progress ---- */
typedef struct seen {
    int64_t layers, blocks, done;
    double seconds;
} seen;
static bl_status watch(void *ctx, const bl_quantize_at *at, bl_err *e)
{
    static const char *const order[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    seen *s = ctx;
    (void)e;
    assert_int_equal(at->all, 3);
    assert_true(at->seconds >= s->seconds && at->left >= 0);
    s->seconds = at->seconds;
    if (!at->layer) {
        assert_int_equal(at->done, ++s->blocks);
        assert_int_equal(s->layers, 7 * s->blocks);
        if (at->done == at->all) assert_true(at->left < 1e-9);
        return BL_OK;
    }
    char block[40];
    snprintf(block, sizeof block, "model.layers.%d.", (int)s->blocks);
    assert_true(strncmp(at->layer, block, strlen(block)) == 0 && strstr(at->layer, order[s->layers % 7]));
    assert_true(at->error > 0 && at->error < 1);
    assert_int_equal(at->done, s->blocks);
    s->layers++;
    return BL_OK;
}

static void progress_names_block_layer_and_error(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_arena *a;
    bl_quantize_result r;
    seen got = {0};
    char dir[4300], line[256];
    const bl_calib_choice calib = {.data = "primer:test", .n = 4, .seqlen = 64};
    snprintf(dir, sizeof dir, "%s/variant", s.dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(s.model, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 1}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, "gptq:w4g36", &chain, &e));
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib, .progress = watch, .ctx = &got}, be, dir, a,
                              &r, &e));
    assert_int_equal(got.blocks, 3);
    assert_int_equal(got.layers, 21);
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);

    static const struct {
        bl_quantize_at at;
        const char *line;
    } rows[] = {
        {{.done = 2, .all = 30, .layer = "model.layers.2.mlp.up_proj", .error = 0.00123, .seconds = 41.2, .left = 550},
         "block 3 of 30  model.layers.2.mlp.up_proj  error 0.0012  41 s, 550 s left"},
        {{.done = 0, .all = 2, .layer = "q", .error = -1, .left = -1}, "block 1 of 2  q  0 s"},
        {{.done = 2, .all = 2, .error = -1, .seconds = 9, .left = 0}, "block 2 of 2  9 s, 0 s left"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_quantize_line(&rows[i].at, line);
        assert_string_equal(line, rows[i].line);
    }
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_as_planned_whether_it_is_spilled_or_not),
        cmocka_unit_test(memory_of_the_ends_is_as_planned),
        cmocka_unit_test(tokens_of_windows_that_overlap_are_counted_once),
        cmocka_unit_test(a_method_that_solves_or_searches_says_what_that_takes),
        cmocka_unit_test(progress_names_block_layer_and_error),
        cmocka_unit_test(a_row_says_what_is_odd_about_its_calibration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
