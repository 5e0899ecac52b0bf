/* all_json.c - whatever prints JSON prints JSON that reads. */
#include "verbs_fixture.h"

static int begin(void **state)
{
    begin_results(state);
    write_adapted();
    return 0;
}

static const struct {
    const char *args[14], *in;
    bool lines;
} json[] = {
    {.args = {"list", "methods", "--json"}},
    {.args = {"list", "tasks", "--json"}},
    {.args = {"list", "kernels", "--json"}},
    {.args = {"list", "formats", "--json"}},
    {.args = {"list", "plots", "--json"}},
    {.args = {"show", "rtn", "--json"}},
    {.args = {"show", "fp16", "--json"}},
    {.args = {"show", "gsm8k:cot8", "--json"}},
    {.args = {"show", "q2_k", "--json"}},
    {.args = {"show", "gemm_w8a8_avx2", "--json"}},
    {.args = {"show", "pareto", "--json"}},
    {.args = {"plan", "--json", "--model", "@model", "--method", "base", "--task", "piqa", "--data", "@data", "--out",
              "@out"}},
    {.args = {"run", "--json", "--model", "@model", "--method", "base", "--task", "piqa", "--data", "@data", "--out",
              "@dir/a \"b\"\\n"}},
    {.args = {"table", "@out", "--json"}},
    {.args = {"table", "@out", "--format", "json"}},
    {.args = {"table", "@out", "--failed", "--json"}},
    {.args = {"samples", "@out", "--json"}},
    {.args = {"samples", "@out", "--flipped", "base", "--data", "@data"}, .lines = true},
    {.args = {"rm", "@out", "*", "--dry-run", "--json"}},
    {.args = {"clean", "@out", "--dry-run", "--json"}},
    {.args = {"compare", "@out", "base", "rtn:w4g24", "--json"}},
    {.args = {"samples", "@out", "--format", "json", "--wrong"}},
    {.args = {"samples", "@out"}, .lines = true},
    {.args = {"samples", "@out", "--format", "jsonl", "--flipped", "base"}, .lines = true},
    {.args = {"samples", "@out", "--flipped", "base", "--json"}},
    {.args = {"ask", "piqa", "0", "--json", "--data", "@data"}},
    {.args = {"ask", "piqa", "0", "--json", "--data", "@data", "--model", "@model"}},
    {.args = {"ask", "primer_choice", "5", "--json"}},
    {.args = {"score", "--model", "@model", "--json", "-"}, LINE LINE, true},
    {.args = {"tokenize", "--model", "@model", "--json", "-"}, "{\"text\": \"a\\\"\\n\"}\n", true},
    {.args = {"tokenize", "--model", "@model", "--decode", "--json", "-"}, "{\"ids\": [1, 37, 130, 13]}\n", true},
    {.args = {"generate", "--model", "@model", "--json", "--max-new", "9", "-"}, "make"},
    {.args = {"generate", "--model", "@model", "--max-new", "9", "-"},
     "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}",
     true},
    {.args = {"quantize", "@model", "--method", "rtn:w3g24", "-o", "@dir/q3", "--json"}},
    {.args = {"quantize", "@model", "--method", "base", "-o", "@dir/qb", "--json"}},
    {.args = {"inspect", "@model", "--json"}},
    {.args = {"inspect", "@quant", "--json"}},
    {.args = {"inspect", "@dir/adapted", "--json"}},
    {.args = {"init", "--json"}},
    {.args = {"doctor", "--json", "--data", "@data"}},
};

static void everything_that_prints_json_prints_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(json); i++) {
        ran r = said(json[i].in, json[i].args);
        expect(&r, 0, NULL);
        if (!r.out[0] || r.out[strlen(r.out) - 1] != '\n') fail_msg("row %zu: '%s' is not whole", i, r.out);
        char what[80];
        snprintf(what, sizeof what, "row %zu (%.20s %.20s)", i, json[i].args[0], json[i].args[1]);
        if (!json[i].lines) read_json(r.out, strlen(r.out), what);
        else
            for (const char *p = r.out; *p; p = strchr(p, '\n') + 1) read_json(p, (size_t)(strchr(p, '\n') - p), what);
        ran_free(&r);
    }
}

static void a_run_says_its_results_as_json(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_json *doc;
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base", "--task", "piqa,primer:gptq2048", "--data",
                "@data", "--out", "@dir/said", "--json", "--quiet");
    expect(&r, 1, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "run", BL_JSON_PLAIN, &doc, &e));
    bl_json_free(doc);
    assert_non_null(strstr(r.out, "\"key\": \"noise/base/piqa/0\", \"state\": \"done\""));
    assert_non_null(strstr(r.out, "{\"name\": \"acc\", \"value\": 0."));
    assert_non_null(
        strstr(r.out, "\"key\": \"noise/base/primer:gptq2048/0\", \"state\": \"n/a\", \"reason\": \"windows of"));
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_prints_json_prints_json),
        cmocka_unit_test(a_run_says_its_results_as_json),
    };
    return cmocka_run_group_tests_name("JSON of the verbs", tests, begin, end_study);
}
