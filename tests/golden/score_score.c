/* score_score.c - log-likelihoods of real items against lm-evaluation-harness, perplexity windows against PyTorch. */
#include "model_fixture.h"
#include "harness/score/score.h"
#include "harness/data/sources.h"
#include <math.h>

#define SMOLLM "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

/* Items of one task file as requests: pairs of (context, continuation), with the recorded log-likelihoods. */
typedef struct item {
    bl_pair pair[8];
    double ll[8];
    bool greedy[8];
    int n;
} item;

static void read_item(const char *line, bl_arena *a, item *out)
{
    bl_err e = {0};
    bl_json *j;
    int k = 0;
    assert_ok(bl_json_parse(line, strlen(line), "item", BL_JSON_PLAIN, &j, &e));
    for (const bl_json *r = bl_json_first(bl_json_get(j, "requests")); r; r = bl_json_next(r), out->n++) {
        const char *context, *continuation;
        assert_ok(bl_json_str(bl_json_first(r), &context, &e));
        assert_ok(bl_json_str(bl_json_next(bl_json_first(r)), &continuation, &e));
        bl_prompt p = bl_prompt_new(a);
        bl_quote(&p, context);
        out->pair[out->n] = (bl_pair){.context = p,
                                      .continuation = bl_arena_str(a, continuation, strlen(continuation), NULL)};
    }
    for (const bl_json *r = bl_json_first(bl_json_get(j, "replies")); r; r = bl_json_next(r), k++) {
        assert_ok(bl_json_real(bl_json_first(r), &out->ll[k], &e));
        assert_ok(bl_json_bool(bl_json_next(bl_json_first(r)), &out->greedy[k], &e));
    }
    assert_int_equal(out->n, k);
    bl_json_free(j);
}

static void choices_score_as_in_the_harness(void **state)
{
    static const struct {
        const char *task;
        int first, items;
    } tasks[] = {
        {"piqa", 0, 1},           {"arc_easy", 0, 1},          {"arc_challenge_val", 7, 1},
        {"boolq", 1, 1},          {"winogrande_sample", 0, 2}, {"hellaswag", 3, 1},
        {"openbookqa", 0, 1},     {"commonsense_qa", 5, 1},    {"social_iqa", 9, 1},
        {"copa", 0, 2},           {"medmcqa", 0, 1},           {"medqa", 1, 1},
        {"truthfulqa_mc1", 0, 1}, {"truthfulqa_mc2", 0, 1},    {"mmlu", 0, 1},
    };
    static item items[32];
    bl_request req[32];
    bl_reply got[32];
    bl_err e = {0};
    bl_arena *a;
    bl_engine *g;
    int n = 0;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    assert_ok(bl_arena_new(&a, &e));
    for (size_t t = 0; t < BL_COUNT(tasks); t++) {
        char path[96], *text, *line, *rest;
        size_t size;
        snprintf(path, sizeof path, "smollm2-135m/harness/%s.jsonl", tasks[t].task);
        assert_ok(bl_read_file(test_path("BITLADDER_GOLDEN", path), 64 << 20, &text, &size, &e));
        rest = text;
        for (int i = 0; i < tasks[t].first + tasks[t].items && (line = strsep(&rest, "\n")); i++)
            if (i >= tasks[t].first) read_item(line, a, &items[n++]);
        bl_free(text);
    }
    fixture f = fixture_open(test_path("BITLADDER_MODELS", SMOLLM), NULL, 2, false);
    assert_ok(bl_engine_new(f.m, f.t, NULL, &g, &e));
    for (int i = 0; i < n; i++)
        req[i] = (bl_request){.kind = BL_ASK_PAIRS, .pair = items[i].pair, .n_pairs = items[i].n};
    assert_ok(bl_engine_replies(g, req, n, a, got, &e));
    for (int i = 0; i < n; i++)
        for (int c = 0; c < items[i].n; c++) {
            if (!(fabs(got[i].nll[c] + items[i].ll[c]) <= 0.01))
                fail_msg("item %d, choice %d: log-likelihood %.5f, recorded %.5f", i, c, -got[i].nll[c],
                         items[i].ll[c]);
            assert_int_equal(got[i].greedy[c], items[i].greedy[c]);
        }
    bl_engine_free(g);
    fixture_close(&f);
    bl_arena_free(a);
}

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
    assert_ok(bl_engine_replies(g, req, 3, a, got, &e));
    assert_int_equal(got[0].tokens[0], 2047);
    assert_int_equal(got[1].tokens[0], 255);
    double want[] = {window_sum("wikitext2:gptq2048", 6), window_sum("wikitext2:llamacpp512", 2), -recorded};
    for (int i = 0; i < 3; i++)
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
        cmocka_unit_test(choices_score_as_in_the_harness),
        cmocka_unit_test(windows_and_documents_sum_to_the_recorded_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
