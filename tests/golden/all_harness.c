/* all_harness.c - what lm-evaluation-harness recorded of SmolLM2-135M, again: the log-likelihood and is_greedy of every
 * choice, the rolling log-likelihoods of documents, greedy generations to the letter. Here some items of each file;
 * with BITLADDER_SLOW=1 (ctest -C Slow -L slow) all of them, with a line a file that says how far apart the two are.
 * That our prompts and continuations are the recorded ones, item by item, tests/golden/tasks_harness.c says.
 */
#include "model_fixture.h"
#include "sha256.h"
#include "task_run.h"
#include "harness/score/score.h"
#include <math.h>
#include <time.h>

#define SMOLLM "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
enum { TOGETHER = 16, MOST_CHOICES = 32 };
static const double nat = 0.01;

static fixture f;
static bl_engine *engine;
static bool whole;
static const char *only; /* the name of one file; NULL: all of them */

static int setup(void **state)
{
    bl_err e = {0};
    (void)state;
    only = getenv("BITLADDER_SLOW");
    whole = only != NULL;
    if (only && !strcmp(only, "1")) only = NULL;
    if (!getenv("BITLADDER_GOLDEN") || !getenv("BITLADDER_MODELS") || !getenv("BITLADDER_DATA")) return 0;
    f = fixture_open(test_path("BITLADDER_MODELS", SMOLLM), NULL, 2, false);
    assert_ok(bl_engine_new(f.m, f.t, &(bl_engine_opts){.max_len = 2048}, &engine, &e));
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    if (!engine) return 0;
    bl_engine_free(engine);
    fixture_close(&f);
    return 0;
}

/* ---- recorded rows ---- */
typedef struct item {
    bl_pair pair[MOST_CHOICES];
    double ll[MOST_CHOICES];
    bool greedy[MOST_CHOICES];
    int n;
    int64_t number;
} item;
typedef struct recorded {
    const char *file;
    bl_rows *rows;
    bl_arena *arena;
    int64_t line;
    struct timespec from;
} recorded;

static recorded open_file(const char *file)
{
    bl_err e = {0};
    char path[128];
    recorded r = {.file = file};
    snprintf(path, sizeof path, "smollm2-135m/harness/%s.jsonl", file);
    assert_ok(bl_rows_open(test_path("BITLADDER_GOLDEN", path), &r.rows, &e));
    assert_ok(bl_arena_new(&r.arena, &e));
    clock_gettime(CLOCK_MONOTONIC, &r.from);
    return r;
}

/* The next row; NULL after the last. */
static const bl_json *next_row(recorded *r)
{
    bl_err e = {0};
    const bl_json *j;
    assert_ok(bl_rows_json(r->rows, &j, &e));
    if (j) r->line++;
    return j;
}

/* A line of the table that is published: nothing here is judged by the clock. */
static void close_file(recorded *r, int64_t items, int64_t scores, double apart, const char *unit)
{
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = (double)(to.tv_sec - r->from.tv_sec) + 1e-9 * (double)(to.tv_nsec - r->from.tv_nsec);
    if (whole)
        print_message("| `%s` | %lld | %lld | %.5f %s | %.0f |\n", r->file, (long long)items, (long long)scores, apart,
                      unit, seconds);
    bl_rows_close(r->rows);
    bl_arena_free(r->arena);
}

/* ---- choices ---- */
static void read_item(const bl_json *j, bl_arena *a, item *out)
{
    bl_err e = {0};
    int k = 0;
    *out = (item){0};
    assert_ok(bl_json_get_int(j, "item", &out->number, &e));
    for (const bl_json *r = bl_json_first(bl_json_get(j, "requests")); r; r = bl_json_next(r), out->n++) {
        const char *context, *continuation;
        assert_true(out->n < MOST_CHOICES);
        assert_ok(bl_json_str(bl_json_first(r), &context, &e));
        assert_ok(bl_json_str(bl_json_next(bl_json_first(r)), &continuation, &e));
        bl_prompt p = bl_prompt_new(a);
        bl_quoten(&p, bl_arena_str(a, context, strlen(context), NULL), strlen(context));
        out->pair[out->n] = (bl_pair){.context = p,
                                      .continuation = bl_arena_str(a, continuation, strlen(continuation), NULL)};
    }
    for (const bl_json *r = bl_json_first(bl_json_get(j, "replies")); r; r = bl_json_next(r), k++) {
        assert_ok(bl_json_real(bl_json_first(r), &out->ll[k], &e));
        assert_ok(bl_json_bool(bl_json_next(bl_json_first(r)), &out->greedy[k], &e));
    }
    assert_int_equal(out->n, k);
}

/* The largest difference of some items. */
static double score(const char *file, const item *list, int n, bl_arena *a)
{
    bl_err e = {0};
    bl_request req[TOGETHER] = {0};
    bl_reply got[TOGETHER];
    double most = 0;
    for (int i = 0; i < n; i++)
        req[i] = (bl_request){.kind = BL_ASK_PAIRS, .pair = (bl_pair *)(uintptr_t)list[i].pair, .n_pairs = list[i].n};
    assert_ok(bl_engine_replies(engine, req, n, a, got, &e));
    for (int i = 0; i < n; i++)
        for (int c = 0; c < list[i].n; c++) {
            double apart = fabs(got[i].nll[c] + list[i].ll[c]);
            most = fmax(most, apart);
            if (!(apart <= nat) || got[i].greedy[c] != list[i].greedy[c])
                fail_msg("%s, item %lld, choice %d: log-likelihood %.5f, greedy %d; recorded %.5f, %d", file,
                         (long long)list[i].number, c, -got[i].nll[c], got[i].greedy[c], list[i].ll[c],
                         list[i].greedy[c]);
        }
    return most;
}

static void choices_score_as_in_the_harness(void **state)
{
    static const struct {
        const char *file;
        int first, items, all; /* `all`: as many as were recorded */
    } files[] = {
        {"piqa", 0, 1, 200},           {"arc_easy", 0, 1, 200},          {"arc_challenge_val", 7, 1, 100},
        {"boolq", 1, 1, 40},           {"winogrande_sample", 0, 2, 100}, {"hellaswag", 3, 1, 100},
        {"openbookqa", 0, 1, 100},     {"commonsense_qa", 5, 1, 60},     {"social_iqa", 9, 1, 100},
        {"copa", 0, 2, 100},           {"medmcqa", 0, 1, 100},           {"medqa", 1, 1, 100},
        {"truthfulqa_mc1", 0, 1, 100}, {"truthfulqa_mc2", 0, 1, 100},    {"mmlu", 0, 1, 116},
    };
    static item list[TOGETHER];
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    BL_NEEDS("BITLADDER_DATA");
    for (size_t k = 0; k < BL_COUNT(files); k++) {
        if (only && strcmp(only, files[k].file) != 0) continue;
        recorded r = open_file(files[k].file);
        const bl_json *j;
        int64_t items = 0, scores = 0;
        int n = 0;
        double most = 0;
        bl_mark mark = bl_arena_mark(r.arena);
        while ((j = next_row(&r)) != NULL) {
            if (!whole && (r.line <= files[k].first || r.line > files[k].first + files[k].items)) continue;
            read_item(j, r.arena, &list[n]);
            scores += list[n].n;
            items++;
            if (++n < TOGETHER) continue;
            most = fmax(most, score(r.file, list, n, r.arena));
            bl_arena_release(r.arena, mark);
            n = 0;
        }
        if (n) most = fmax(most, score(r.file, list, n, r.arena));
        assert_int_equal(items, whole ? files[k].all : files[k].items);
        close_file(&r, items, scores, most, "nat");
    }
}

/* ---- documents ---- */
/* Against float64 (tests/data/rolling_float64.py): what the harness recorded went through PyTorch's log_softmax in
 * float32, whose normalizers are too small, and thousands of tokens add that up (findings/). */
static void documents_have_the_log_likelihoods_of_float64(void **state)
{
    bl_err e = {0};
    double most = 0;
    int64_t items = 0;
    const bl_json *j;
    bl_json *doc;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    BL_NEEDS("BITLADDER_DATA");
    if (!whole || (only && strcmp(only, "wikitext") != 0)) skip(); /* score_score.c has one */
    assert_ok(bl_json_read(BL_SOURCE_DIR "/tests/data/rolling_float64.json", 1 << 16, BL_JSON_PLAIN, &doc, &e));
    const bl_json *exact = bl_json_first(doc);
    recorded r = open_file("wikitext");
    for (; (j = next_row(&r)) != NULL; exact = bl_json_next(exact)) {
        const char *text;
        double ll, harness;
        bl_reply got;
        assert_ok(bl_json_get_str(j, "target", &text, &e));
        assert_ok(bl_json_real(bl_json_first(bl_json_get(j, "replies")), &harness, &e));
        assert_ok(bl_json_real(bl_json_get(exact, "float64"), &ll, &e));
        const bl_request q = {.kind = BL_ASK_ROLLING, .text = text, .n_text = strlen(text), .length = 2048};
        assert_ok(bl_engine_replies(engine, &q, 1, r.arena, &got, &e));
        double apart = fabs(got.nll[0] + ll);
        most = fmax(most, apart);
        items++;
        if (!(apart <= nat)) fail_msg("document %lld: log-likelihood %.4f, %.4f", (long long)items, -got.nll[0], ll);
        assert_true(harness > ll && harness - ll < 1e-5 * fabs(ll));
    }
    assert_int_equal(items, 8);
    close_file(&r, items, items, most, "nat");
    bl_json_free(doc);
}

/* ---- generations ---- */
/* The file has two lines an item, one a filter; replies are those of the first. */
static void generations_are_the_recorded_ones_to_the_letter(void **state)
{
    enum { ITEMS = 12, SHORT = 3 }; /* a reply of 14 tokens */
    bl_err e = {0};
    bl_request q[ITEMS] = {0};
    bl_reply got[ITEMS];
    const char *want[ITEMS];
    int64_t item[ITEMS], letters = 0;
    int n = 0;
    const bl_json *j;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    BL_NEEDS("BITLADDER_DATA");
    if (only && strcmp(only, "gsm8k_cot") != 0) skip();
    recorded r = open_file("gsm8k_cot");
    task_run t = task_open("gsm8k:cot8", NULL);
    while (r.line < ITEMS && (j = next_row(&r)) != NULL) {
        const char *sha, *text;
        char hex[65];
        assert_ok(bl_json_get_int(j, "item", &item[n], &e));
        if (!whole && item[n] != SHORT) continue;
        assert_ok(t.task->ask(&t.data, item[n], &(bl_turn){.arena = t.data.arena}, &q[n], &e));
        char *prompt = prompt_text(&q[n].prompt);
        sha256_hex(prompt, strlen(prompt), hex);
        bl_free(prompt);
        assert_ok(bl_json_str(bl_json_first(bl_json_get(j, "requests")), &sha, &e));
        assert_string_equal(hex, sha);
        assert_ok(bl_json_str(bl_json_first(bl_json_first(bl_json_get(j, "replies"))), &text, &e));
        want[n] = bl_arena_str(r.arena, text, strlen(text), NULL);
        letters += (int64_t)strlen(text);
        n++;
    }
    assert_int_equal(n, whole ? ITEMS : 1);
    assert_ok(bl_engine_replies(engine, q, n, t.data.arena, got, &e));
    for (int i = 0; i < n; i++)
        if (strcmp(got[i].text, want[i]) != 0)
            fail_msg("item %lld:\n%s\nrecorded:\n%s", (long long)item[i], got[i].text, want[i]);
    close_file(&r, n, letters, 0, "letters");
    task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_score_as_in_the_harness),
        cmocka_unit_test(documents_have_the_log_likelihoods_of_float64),
        cmocka_unit_test(generations_are_the_recorded_ones_to_the_letter),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
