/* score_score.c - a document against lm-evaluation-harness, perplexity windows against PyTorch. The items of tasks are
 * in all_harness.c. */
#include "model_fixture.h"
#include "harness/score/score.h"
#include "harness/data/sources.h"
#include <math.h>

#define SMOLLM "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

/* One number of the recorded perplexities: sum of nll of a window. */
static double window_sum(const char *name, int64_t index)
{
    bl_err e = {0};
    bl_json *j;
    double v;
    assert_ok(
        bl_json_read(test_path("BITLADDER_GOLDEN", "smollm2-135m/perplexity.json"), 1 << 20, BL_JSON_PLAIN, &j, &e));
    const bl_json *w = bl_json_first(bl_json_get(bl_json_get(bl_json_get(j, "ppl"), name), "window_nll_sums"));
    while (index--) w = bl_json_next(w);
    assert_ok(bl_json_real(w, &v, &e));
    bl_json_free(j);
    return v;
}

static void windows_and_documents_sum_to_the_recorded_losses(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    bl_engine *g;
    bl_source_text text;
    bl_reply got[3];
    bl_data_dirs dirs = {.n = 1};
    char *line, *rest;
    size_t size;
    bl_json *j;
    const char *doc;
    double recorded;
    int64_t n;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    BL_NEEDS("BITLADDER_DATA");
    dirs.dir[0] = getenv("BITLADDER_DATA");
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_source_find("wikitext2")->load(&dirs, a, &text, &e));
    assert_ok(
        bl_read_file(test_path("BITLADDER_GOLDEN", "smollm2-135m/harness/wikitext.jsonl"), 16 << 20, &line, &size, &e));
    rest = line;
    strsep(&rest, "\n");
    assert_ok(bl_json_parse(line, strlen(line), "wikitext", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_str(j, "target", &doc, &e));
    assert_ok(bl_json_real(bl_json_first(bl_json_get(j, "replies")), &recorded, &e));

    fixture f = fixture_open(test_path("BITLADDER_MODELS", SMOLLM), NULL, 2, false);
    assert_ok(bl_engine_new(f.m, f.t, NULL, &g, &e));
    assert_ok(bl_engine_windows(g, text.raw, text.n_raw, 512, BL_WINDOW_LLAMACPP, &n, &e));
    assert_ok(bl_engine_windows(g, text.stream, text.n_stream, 2048, BL_WINDOW_GPTQ, &n, &e));
    assert_int_equal(n, 148);
    const bl_request req[] = {
        {.kind = BL_ASK_WINDOW,
         .text = text.stream,
         .n_text = text.n_stream,
         .length = 2048,
         .index = 6,
         .rule = BL_WINDOW_GPTQ},
        {.kind = BL_ASK_WINDOW,
         .text = text.raw,
         .n_text = text.n_raw,
         .length = 512,
         .index = 2,
         .rule = BL_WINDOW_LLAMACPP},
        {.kind = BL_ASK_ROLLING, .text = doc, .n_text = strlen(doc), .length = 2048},
    };
    const int first = SANITIZED; /* the long window goes the way of the others */
    assert_ok(bl_engine_replies(g, req + first, 3 - first, a, got + first, &e));
    if (!first) assert_int_equal(got[0].tokens[0], 2047);
    assert_int_equal(got[1].tokens[0], 255);
    double want[] = {window_sum("wikitext2:gptq2048", 6), window_sum("wikitext2:llamacpp512", 2), -recorded};
    assert_true(fabs(got[2].nll[0] - 3315.2602) < 0.01); /* float64: tests/data/rolling_float64.json */
    for (int i = first; i < 3; i++)
        if (!(fabs(got[i].nll[0] / want[i] - 1) <= 1e-5))
            fail_msg("request %d: nll %.4f, recorded %.4f", i, got[i].nll[0], want[i]);
    bl_engine_free(g);
    fixture_close(&f);
    bl_json_free(j);
    bl_free(line);
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_and_documents_sum_to_the_recorded_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
