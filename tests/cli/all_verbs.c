/* all_verbs.c - every verb of the program: exit codes, sentences, JSON that reads, the protocols of score and tokenize.
 */
#include "study_fixture.h"
#include "harness/cli/cli.h"
#include "variant_write.h"
#include "kernels/base/json.h"

static study S; /* thirty items of PIQA, three cells that are done, a quantized copy in `quant` */
static char quant[4200], hub[4200];

/* "@name" of an argument: @model @data @out @quant @dir. */
static const char *filled(const char *arg)
{
    static char ring[64][8500];
    static unsigned at;
    const struct {
        const char *name, *value;
    } names[] = {{"@model", S.model}, {"@data", S.data}, {"@out", S.out}, {"@quant", quant}, {"@dir", S.dir}};
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(arg, names[i].name, n) != 0) continue;
        char *p = ring[at++ % 64];
        snprintf(p, sizeof ring[0], "%s%s", names[i].value, arg + n);
        return p;
    }
    return arg;
}

static ran said(const char *input, const char *const *args)
{
    const char *argv[24] = {"bitladder"};
    for (int i = 0; args[i]; i++) argv[i + 1] = filled(args[i]);
    return program_with(&S, input, argv);
}
#define SAY(input, ...) said(input, (const char *const[]){__VA_ARGS__, NULL})

static size_t lines_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}

/* @dir/adapted: a saved model with something of everything that a linear may have. */
static void write_adapted(void)
{
    bl_err e = {0};
    char dir[4300];
    fixture f = fixture_open("synth:tiny:int4", "", 1, false);
    snprintf(dir, sizeof dir, "%s/adapted", S.dir);
    variant_everything(&f);
    assert_ok(variant_of_model(f.m, dir, (const bl_stage[]){{.text = "smooth", .hash = "12ab"}, {.text = "lora"}}, 2,
                               NULL, &e));
    fixture_close(&f);
}

static int set_up(void **state)
{
    (void)state;
    bl_text items = {0};
    char *piqa;
    S = study_begin(30);
    for (int i = 0; i < 30; i++) /* choices of one length, so that a few bits less may turn the answer */
        bl_text_addf(&items, "{\"goal\": \"make %d of %c\", \"sol1\": \"cut %c\", \"sol2\": \"fit %c\"}\n", i,
                     'a' + i % 26, 'b' + i % 20, 'c' + i % 7);
    piqa = bl_join(S.data, "piqa", NULL);
    study_write(piqa, "valid.jsonl", items.s);
    bl_free(piqa);
    bl_text_free(&items);
    snprintf(quant, sizeof quant, "%s/quant", S.dir);
    snprintf(hub, sizeof hub, "%s/hub", S.dir);
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base,rtn:w4g24,rtn:w1pc", "--task", "piqa", "--data",
                "@data", "--out", "@out");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "quantize", "@model", "--method", "rtn:w4g24", "-o", "@quant");
    expect(&r, 0, NULL);
    ran_free(&r);
    study_write(S.dir, "broken.bin", "short");
    write_adapted();
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    study_end(&S);
    return 0;
}

/* ---- what is said, and the exit code ---- */

#define LINE "{\"context\": \"make\", \"continuation\": \" cut\"}\n"
static const struct {
    const char *args[12], *in;
    int code;
    const char *out, *err;
} rows[] = {
    {{"--help"}, NULL, 0, "usage: bitladder VERB", NULL},
    {{"-h"}, NULL, 0, "usage: bitladder VERB", NULL},
    {{"help", "run"}, NULL, 0, "usage: bitladder run", NULL},
    {{"help", "runn"}, NULL, 2, NULL, "no verb 'runn'; did you mean run?"},
    {{"--version"}, NULL, 0, "HDF5 ", NULL},
    {{"frobnicate"}, NULL, 2, NULL, "no verb 'frobnicate'"},
    {{0}, NULL, 2, NULL, "usage: bitladder VERB"},
    /* list, show */
    {{"list", "methods"}, NULL, 0, "rtn ", NULL},
    {{"list"}, NULL, 2, NULL, "list needs methods|tasks|texts"},
    {{"list", "tasks", "kernels"}, NULL, 2, NULL, "'kernels' is one argument too many"},
    {{"list", "taskz"}, NULL, 2, NULL, "did you mean tasks?"},
    {{"list", "tasks", "--jsn"}, NULL, 2, NULL, "unknown option '--jsn'; did you mean --json?"},
    {{"list", "tasks", "--threads", "many"}, NULL, 2, NULL, "--threads: 'many' is not an integer"},
    {{"list", "tasks", "--threads"}, NULL, 2, NULL, "--threads: needs a value"},
    {{"show", "fp16"}, NULL, 0, "fp16, a format", NULL},
    {{"show", "fp16"}, NULL, 0, "fp16, a method", NULL},
    /* lines of a value align */
    {{"show", "gptq"}, NULL, 0, "instead of float.\n             Scales are rounded", NULL},
    {{"show", "paretto"}, NULL, 2, NULL, "did you mean pareto?"},
    {{"show", "gemm_int4_avx"}, NULL, 2, NULL, "did you mean gemm_int4_avx2?"},
    /* plan, run */
    {{"plan", "--model", "@model", "--method", "base", "--task", "piqa", "--data", "@data", "--out", "@out"},
     NULL,
     0,
     "1 cell: 1 done",
     NULL},
    {{"plan"}, NULL, 2, NULL, "no model"},
    {{"plan", "@dir/none.json"}, NULL, 2, NULL, "none.json"},
    {{"run", "a.json", "b.json"}, NULL, 2, NULL, "'b.json' is one argument too many"},
    {{"run", "-"}, "{\"models\": 3}", 2, NULL, "standard input: models: found 3, expected a string"},
    {{"run", "--model", "@dir/broken.bin", "--method", "base", "--task", "piqa", "--out", "@dir/x"},
     NULL,
     2,
     NULL,
     "broken.bin"},
    {{"score", "--model", "@model", "--device", "cuda:9", "-"}, LINE, 2, NULL, "no device 'cuda:9'; there are: "},
    /* table */
    {{"table", "@out", "--rows", "method,bits", "--cols", "task", "--metric", "acc"},
     NULL,
     0,
     "| rtn:w4g24 a | 4 ",
     NULL},
    {{"table", "@out", "--format", "tex"}, NULL, 0, "\\toprule", NULL},
    {{"table", "@out", "--failed"}, NULL, 0, "no cell failed", NULL},
    {{"table", "@out", "--metric", "acx"}, NULL, 2, NULL, "no result has a metric 'acx'; did you mean acc?"},
    {{"table", "@out", "--rows", "colour"}, NULL, 2, NULL, "no column 'colour'"},
    {{"table", "@out", "--format", "xml"}, NULL, 2, NULL, "'xml' is not one of md, csv, tex, json"},
    {{"table", "@out", "-o", "@dir/none/table.md"}, NULL, 4, NULL, "none/table.md"},
    {{"table", "@dir/none"}, NULL, 2, NULL, "no such directory"},
    {{"table", "@dir/broken.bin"}, NULL, 1, NULL, "skipped"},
    {{"table"}, NULL, 2, NULL, "table needs DIR..."},
    /* samples */
    {{"samples", "@out", "--task", "p*", "--method", "base"},
     NULL,
     0,
     "\"cell\": \"noise/base/piqa/0\", \"id\": 29",
     NULL},
    {{"samples", "@out", "--method", "rtn:w1pc"}, NULL, 0, "\"scores\": {\"acc\": ", NULL},
    {{"samples", "@out", "--task", "boolq"}, NULL, 2, NULL, "no cell of 3 has the task 'boolq'; there are: piqa"},
    {{"samples", "@dir/none"}, NULL, 2, NULL, "none"},
    {{"samples", "@out", "--flipped", "nonesuch"}, NULL, 2, NULL, "has the method 'nonesuch'; there are: base"},
    {{"samples", "@out", "--flipped", "base", "--data", "@data", "--format", "text"}, NULL, 0, " against base\n", NULL},
    /* rm, clean */
    {{"rm", "@out", "*/gptq*"}, NULL, 2, NULL, "no cell has a key like '*/gptq*'"},
    {{"rm", "@out", "*/base/*", "--dry-run"}, NULL, 0, "1 cell would be removed", NULL},
    {{"rm", "@dir/none", "*"}, NULL, 2, NULL, "no such directory"},
    {{"clean", "@out", "--dry-run"}, NULL, 0, "would be removed; results stay", NULL},
    {{"clean", "@dir/none"}, NULL, 2, NULL, "no such directory"},
    /* plot */
    {{"plot", "@out", "ppl_bits"}, NULL, 2, NULL, "nothing in it fits the figure 'ppl_bits'"},
    {{"plot", "@out", "paretto"}, NULL, 2, NULL, "did you mean pareto?"},
    {{"plot", "@out", "-o", "@dir/x.png"}, NULL, 2, NULL, "name of one figure"},
    {{"plot", "@out", "pareto", "-o", "@dir/x.jpg"}, NULL, 2, NULL, "pictures end in .png, .svg or .pdf"},
    {{"plot", "@out", "pareto", "-o", "@dir/x.pdf", "--format", "svg"}, NULL, 2, NULL, "in the format svg"},
    {{"plot", "@dir/none"}, NULL, 2, NULL, "no such directory"},
    {{"report", "@dir/none"}, NULL, 2, NULL, "no such directory"},
    {{"report", "@dir/model"}, NULL, 2, NULL, "there are no results in it"},
    {{"report", "@out", "-o", "@dir/none/r.html"}, NULL, 4, NULL, "none"},
    /* ask */
    {{"ask", "piqa", "3", "--data", "@data"}, NULL, 0, "context: \"Question: make 3 of d\\nAnswer:\"", NULL},
    {{"ask", "piqa", "3", "--data", "@data", "--model", "@model"}, NULL, 0, "1<BOS>", NULL},
    {{"ask", "piqa", "30", "--data", "@data"}, NULL, 2, NULL, "item '30' of piqa: expected a number in 0..29"},
    {{"ask", "piqa", "", "--data", "@data"}, NULL, 2, NULL, "item '' of piqa"},
    {{"ask", "piqa", "1x", "--data", "@data"}, NULL, 2, NULL, "item '1x' of piqa"},
    {{"ask", "piqqa", "1"}, NULL, 2, NULL, "did you mean piqa?"},
    {{"ask", "primer:gptq2048", "1"}, NULL, 2, NULL, "give --model MODEL"},
    {{"ask", "primer:gptq2048", "one"}, NULL, 2, NULL, "expected the number of a window"},
    {{"ask", "primer:gptq2048", "1", "--model", "@model"}, NULL, 2, NULL, "do not fit the model's 96 positions"},
    {{"ask", "boolq", "1", "--data", "@data"}, NULL, 2, NULL, "--data"},
    /* score */
    {{"score", "--model", "@model", "-"}, "", 0, NULL, NULL},
    {{"score", "-"}, LINE, 2, NULL, "score needs --model MODEL"},
    {{"score", "--model", "@model"}, NULL, 2, NULL, "score needs FILE or --prompt TEXT"},
    {{"score", "--model", "@model", "@dir/none"}, NULL, 2, NULL, "none: cannot open"},
    {{"score", "--model", "@dir/none", "-"}, LINE, 2, NULL, "no file or directory"},
    {{"score", "--model", "nobody/nothing", "-"}, LINE, 2, NULL, "nothing is downloaded"},
    {{"score", "--model", "synth:nothing", "-"}, LINE, 2, NULL, "no synthetic shape 'nothing'"},
    {{"score", "--model", "@model", "-"},
     LINE "\n{\"context\": \"a\"}\n",
     2,
     NULL,
     "bitladder: standard input: line 3: 'continuation' is missing"},
    {{"score", "--model", "@model", "-"},
     "{\"contxt\": \"a\"}",
     2,
     NULL,
     "standard input: line 1: unknown key 'contxt'; did you mean context?"},
    {{"score", "--model", "@model", "-"}, "{\"text\": \"a\", \"context\": \"b\"}", 2, NULL, "not both"},
    {{"score", "--model", "@model", "-"}, "{\"text\": 3}", 2, NULL, "text: found 3, expected a string"},
    {{"score", "--model", "@model", "-"}, "[]", 2, NULL, "line 1: a JSON array; expected one JSON object a line"},
    {{"score", "--model", "@model", "-"}, "{\"text\": \"\xff\"}", 2, NULL, "not valid UTF-8"},
    {{"score", "--model", "@model", "--batch_size", "2", "--kernel_ref", "-"}, LINE, 0, "\"scored\":4,", NULL},
    /* tokenize */
    {{"tokenize", "--model", "@model", "-"}, "{\"text\": \"ab\"}", 0, "{\"ids\":[1,", NULL},
    {{"tokenize", "--model", "@model", "--no-bos", "-"},
     "\xef\xbb\xbf{\"text\": \"ab\"}\n{\"text\": \"\"}", /* a byte order mark is no part of the first line */
     0,
     "\n{\"ids\":[]}",
     NULL},
    {{"tokenize", "--model", "@model", "--no-bos", "-"}, "{\"text\": \"\"}", 0, "{\"ids\":[]}", NULL},
    {{"tokenize", "--tokenizer", "@dir/model/tok.bin", "-"}, "{\"text\": \"ab\"}", 0, "{\"ids\":[1,", NULL},
    {{"tokenize", "-"}, "{\"text\": \"ab\"}", 2, NULL, "tokenize needs --model MODEL"},
    {{"tokenize", "--model", "@model", "--decode", "-"},
     "{\"ids\": [1, 300]}",
     2,
     NULL,
     "standard input: line 1: id 300 is not in 0..299"},
    {{"tokenize", "--model", "@model", "--decode", "-"}, "{\"ids\": [-1]}", 2, NULL, "id -1 is not in 0..299"},
    {{"tokenize", "--model", "@model", "--decode", "-"}, "{\"ids\": \"1\"}", 2, NULL, "'ids' is not a list"},
    {{"tokenize", "--model", "@model", "-"}, "{\"ids\": [1]}", 2, NULL, "unknown key 'ids'"},
    /* generate */
    {{"generate", "--model", "@model", "--max-new", "4", "-"},
     "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n",
     0,
     "\"new_tokens\": ",
     NULL},
    {{"generate", "--help"}, NULL, 0, "are text unless", NULL},
    {{"generate", "--model", "@model", "--special", "--max-new", "4", "-"}, "a<s>b", 0, "", NULL},
    {{"score", "--model", "@model", "--special", "--no-bos", "-"},
     "{\"context\": \"a\", \"continuation\": \"</s>\"}",
     0,
     "2],\"scored\":1,",
     NULL},
    {{"score", "--model", "@model", "-"},
     "{\"context\": \"a\", \"continuation\": \"\"}", /* nothing to score is no certainty */
     0,
     "\"scored\":0,\"loglikelihood\":null,\"is_greedy\":false",
     NULL},
    {{"generate", "--model", "@model", "-"},
     "{\"promt\": \"a\"}",
     2,
     NULL,
     "unknown key 'promt'; did you mean prompt?"},
    {{"generate", "--model", "@model", "-"}, "a\xff", 2, NULL, "byte 1 is 0xff, which is not valid UTF-8"},
    {{"generate", "--model", "@model", "--max-new", "0", "-"}, "a", 2, NULL, "--max-new: 0 is not in 1..1048576"},
    {{"generate", "--model", "@model", "--max-new", "96", "-"}, "a", 2, NULL, "leave no room"},
    {{"generate", "--model", "@model", "--temperature", "hot", "-"}, "a", 2, NULL, "'hot' is not a number"},
    /* quantize, inspect, init, doctor, internal */
    {{"quantize", "@model", "-o", "@dir/q"}, NULL, 2, NULL, "quantize needs --method METHOD"},
    {{"quantize", "@model", "--method", "rtn:w4g24"}, NULL, 2, NULL, "quantize needs -o DIR"},
    {{"quantize", "@model", "--method", "rtn:w4g24", "-o", "@quant"}, NULL, 2, NULL, "not empty"},
    {{"quantize", "@model", "--method", "rtn:w9", "-o", "@dir/q"}, NULL, 2, NULL, "9 is not in 1..8"},
    {{"inspect", "@model"}, NULL, 0, "llama: 3 blocks, width 72, feed-forward 100", NULL},
    {{"inspect", "@model"}, NULL, 0, " tokens, BOS 1, EOS 2\n", NULL},
    {{"inspect", "@model", "--json"}, NULL, 0, "\"bos\": 1, \"eos\": 2, \"adds_bos\": true", NULL},
    {{"inspect", "synth:tiny-qwen2"}, NULL, 0, "biases on q_proj, k_proj, v_proj\n", NULL},
    {{"inspect", "synth:tiny-qwen3"}, NULL, 0, "norms on q_proj, k_proj\n", NULL},
    {{"inspect", "synth:tiny-mistral"},
     NULL,
     0,
     "note: sliding window: sequences longer than 256 tokens are refused",
     NULL},
    {{"inspect", "@quant"}, NULL, 0, "made by rtn:w4g24 from noise", NULL},
    {{"inspect", "@dir/adapted"},
     NULL,
     0,
     "made by smooth+lora from synth:tiny:int4\n    stage 1: smooth, state 12ab, options {}\n    stage 2: lora, "
     "options {}\n",
     NULL},
    {{"inspect", "@dir/adapted"}, NULL, 0, "    scale of 64; permute of 64; hadamard of 64; rotate of 64\n", NULL},
    {{"inspect", "@dir/adapted"},
     NULL,
     0,
     "    hadamard of 64 after; activations of 8 bits per tensor; adapter of rank 4\n",
     NULL},
    {{"inspect", "@dir/broken.bin"}, NULL, 2, NULL, "broken.bin"},
    {{"inspect", "@dir"}, NULL, 2, NULL, "no config.json"},
    {{"init", "-"}, NULL, 0, "// A study", NULL},
    {{"init", "@dir/none/spec.json"}, NULL, 4, NULL, "none/spec.json"},
    {{"doctor", "--data", "@data"}, NULL, 0, "30 items             ", NULL},
    {{"internal", "man"}, NULL, 0, ".TH BITLADDER 1", NULL},
    {{"internal", "completion"}, NULL, 0, "complete -o filenames -F _bitladder bitladder", NULL},
    {{"internal", "woman"}, NULL, 2, NULL, "internal knows man, completion"},
};

static void every_verb_says_what_it_did_or_why_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = said(rows[i].in, rows[i].args);
        if (r.code != rows[i].code || (rows[i].out && !strstr(r.out, rows[i].out)) ||
            (rows[i].err && !strstr(r.err, rows[i].err)))
            fail_msg("row %zu: %s %s %s: exit %d, wanted %d\nout (wanted '%s'): %.600s\nerr (wanted '%s'): %s", i,
                     rows[i].args[0] ? rows[i].args[0] : "", rows[i].args[0] && rows[i].args[1] ? rows[i].args[1] : "",
                     rows[i].args[0] && rows[i].args[1] && rows[i].args[2] ? rows[i].args[2] : "", r.code, rows[i].code,
                     rows[i].out ? rows[i].out : "", r.out, rows[i].err ? rows[i].err : "", r.err);
        if (r.code == 2 && rows[i].args[0]) { /* refused: one line that names the program, and nothing else anywhere */
            assert_memory_equal(r.err, "bitladder: ", 11);
            assert_int_equal(lines_of(r.err), 1);
            assert_string_equal(r.out, "");
        }
        ran_free(&r);
    }
}

static void a_full_disk_is_said_and_a_closed_pipe_is_not(void **state)
{
    (void)state;
    static const char *const verbs[][4] = {
        {"bitladder", "--help"}, {"bitladder", "list", "kernels"}, {"bitladder", "internal", "man"}};
    char err[4200];
    snprintf(err, sizeof err, "%s/full.err", S.dir);
    if (access("/dev/full", W_OK) != 0) skip();
    for (size_t i = 0; i < BL_COUNT(verbs); i++) {
        ran r = program_wait(program_start(verbs[i], NULL, "/dev/full", err), "/dev/null", err);
        expect(&r, 4, "standard output could not be written");
        ran_free(&r);
    }
}

/* ---- JSON ---- */

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

static void read_json(const char *text, size_t n, size_t row)
{
    bl_err e = {0};
    bl_json *j;
    if (bl_json_parse(text, n, "output", BL_JSON_PLAIN, &j, &e) != BL_OK)
        fail_msg("row %zu (%s %s): %s\n%.*s", row, json[row].args[0], json[row].args[1], e.text, (int)BL_MIN(n, 800),
                 text);
    bl_json_free(j);
}

static void everything_that_prints_json_prints_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(json); i++) {
        ran r = said(json[i].in, json[i].args);
        expect(&r, 0, NULL);
        if (!r.out[0] || r.out[strlen(r.out) - 1] != '\n') fail_msg("row %zu: '%s' is not whole", i, r.out);
        if (!json[i].lines) read_json(r.out, strlen(r.out), i);
        else
            for (const char *p = r.out; *p; p = strchr(p, '\n') + 1) read_json(p, (size_t)(strchr(p, '\n') - p), i);
        ran_free(&r);
    }
}

/* ---- score and tokenize ---- */

typedef struct scored {
    int32_t id[2048];
    int64_t n, k;
    double ll;
    bool greedy;
} scored;

/* Line i of what score printed, which has exactly these members in their order. */
static scored score_line(const char *out, size_t i)
{
    bl_err e = {0};
    scored s = {0};
    bl_json *j;
    static const char *const keys[] = {"ids", "scored", "loglikelihood", "is_greedy", "boundary", "truncated"};
    for (; i; i--) out = strchr(out, '\n') + 1;
    assert_ok(bl_json_parse(out, (size_t)(strchr(out, '\n') - out), "line", BL_JSON_PLAIN, &j, &e));
    const bl_json *m = bl_json_first(j);
    for (size_t k = 0; k < BL_COUNT(keys); k++, m = bl_json_next(m)) assert_string_equal(bl_json_key(m), keys[k]);
    assert_null(m);
    for (const bl_json *v = bl_json_first(bl_json_get(j, "ids")); v; v = bl_json_next(v)) {
        int64_t id;
        assert_ok(bl_json_int(v, &id, &e));
        assert_true(s.n < 2048);
        s.id[s.n++] = (int32_t)id;
    }
    assert_ok(bl_json_get_int(j, "scored", &s.k, &e));
    if (bl_json_kind(bl_json_get(j, "loglikelihood")) == BL_JSON_NULL) assert_int_equal(s.k, 0); /* nothing to score */
    else assert_ok(bl_json_get_real(j, "loglikelihood", &s.ll, &e));
    assert_ok(bl_json_bool(bl_json_get(j, "is_greedy"), &s.greedy, &e));
    bl_json_free(j);
    assert_true(s.ll <= 0 && s.k >= 0 && s.k <= s.n);
    return s;
}

static void requests_are_split_as_the_evaluation_harness_does(void **state)
{
    (void)state;
    bl_text in = {0};
    bl_text_add(&in,
                "{\"context\": \"abc\", \"continuation\": \" de\"}\n" /* 0 */
                "{\"context\": \"abc \", \"continuation\": \"de\"}\n" /* 1: the space is moved */
                "{\"continuation\": \"de\", \"context\": \"\"}\n"     /* 2: the prefix token is the context */
                "{\"context\": \"  \", \"continuation\": \"de\"}\n"   /* 3: so it is here, and the spaces are scored */
                "{\"context\": \"abc\", \"continuation\": \"\"}\n"    /* 4 */
                "{\"context\": \"a</s>\", \"continuation\": \"<s>b\"}\n" /* 5: stays text */
                "{\"text\": \"abc de\"}\n"                               /* 6 */
                "{\"text\": \"\"}\n"                                     /* 7 */
                "{\"context\": \"");                                     /* 8: cut from the left */
    for (int i = 0; i < 150; i++) bl_text_add(&in, "b");
    bl_text_add(&in,
                "\", \"continuation\": \"cd\"}\n{\"context\": \"a\", \"continuation\": \""); /* 9: nothing but
                                                                                                continuation is left */
    for (int i = 0; i < 150; i++) bl_text_add(&in, "c");
    bl_text_add(&in, "\"}\n{\"text\": \""); /* 10: longer than the model */
    for (int i = 0; i < 250; i++) bl_text_addf(&in, "%c", 'a' + i % 26);
    bl_text_add(&in, "\"}\n");
    ran r = SAY(in.s, "score", "--model", "@model", "-");
    expect(&r, 0, NULL);
    assert_string_equal(r.err, "");
    assert_int_equal(lines_of(r.out), 11);
    scored a = score_line(r.out, 0), b = score_line(r.out, 1);
    assert_int_equal(a.id[0], 1);
    assert_int_equal(a.k, 3);
    assert_true(a.n == b.n && a.k == b.k && a.ll == b.ll && memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id) == 0);
    b = score_line(r.out, 2);
    assert_int_equal(b.id[0], 1);
    assert_int_equal(b.k, b.n - 1);
    scored c = score_line(r.out, 3);
    assert_int_equal(c.k, b.k + 2);
    c = score_line(r.out, 4);
    assert_true(c.k == 0 && !c.greedy); /* lm_eval 0.4.13 stops there */
    c = score_line(r.out, 5);
    for (int64_t i = 1; i < c.n; i++) assert_true(c.id[i] > 2);
    c = score_line(r.out, 6);
    assert_true(c.id[0] == 1 && c.id[1] == 1 && c.k == c.n - 1); /* prefix token, then the text with its own BOS */
    c = score_line(r.out, 7);
    assert_true(c.n == 2 && c.k == 1);
    c = score_line(r.out, 8);
    assert_true(c.n == 97 && c.k == 2);
    c = score_line(r.out, 9);
    assert_true(c.n == 97 && c.k == 96);
    c = score_line(r.out, 10);
    assert_true(c.n > 250 && c.k == c.n - 1);
    ran_free(&r);

    r = SAY("{\"context\": \"abc\", \"continuation\": \" de\"}\n{\"text\": \"abc de\"}\n{\"text\": \"\"}\n", "score",
            "--model", "@model", "--no-bos", "-");
    expect(&r, 0, NULL);
    b = score_line(r.out, 0);
    assert_true(b.n == a.n - 1 && b.k == a.k && memcmp(b.id, a.id + 1, (size_t)b.n * sizeof *b.id) == 0);
    b = score_line(r.out, 1);
    assert_true(b.id[0] == 1 && b.id[1] != 1);
    b = score_line(r.out, 2);
    assert_true(b.n == 1 && b.k == 0 && b.ll == 0);
    ran_free(&r);
    bl_text_free(&in);
}

static void replies_come_in_the_order_of_the_requests_whatever_the_batch(void **state)
{
    (void)state;
    bl_text in = {0};
    for (int i = 0; i < 150; i++) {
        bl_text_add(&in, i % 3 ? "{\"context\": \"make\", \"continuation\": \"" : "{\"text\": \"");
        for (int k = 0; k < 1 + i * 37 % 40; k++) bl_text_addf(&in, "%c", 'a' + (i + k) % 26);
        bl_text_add(&in, i % 7 ? "\"}\n" : "\"}\r\n\n");
    }
    ran r = SAY(in.s, "score", "--model", "@model", "-"),
        one = SAY(in.s, "score", "--model", "@model", "--batch-size", "1", "--threads", "1", "--stream", "-");
    expect(&r, 0, NULL);
    expect(&one, 0, NULL);
    assert_string_equal(r.out, one.out);
    assert_int_equal(lines_of(r.out), 150);
    for (int i = 0; i < 150; i++) {
        scored s = score_line(r.out, (size_t)i);
        assert_int_equal(s.id[s.n - 1], score_line(r.out, (size_t)i).id[s.n - 1]);
        if (i % 3) assert_int_equal(s.k, 1 + i * 37 % 40);
    }
    study_write(S.dir, "requests.jsonl", in.s);
    ran file = SAY(NULL, "score", "--model", "@model", "@dir/requests.jsonl");
    assert_string_equal(r.out, file.out);
    ran_free(&file);
    ran_free(&r);
    ran_free(&one);
    bl_text_free(&in);
}

static void text_comes_back_from_its_ids(void **state)
{
    (void)state;
    static const char texts[] = "{\"text\":\"abc 123\"}\n{\"text\":\"\"}\n{\"text\":\"h\xc3\xa4 \xe2\x82\xac "
                                "\\\"q\\\"\\n\\tx\"}\n{\"text\":\"<s>a</s>\"}\n";
    for (int bos = 0; bos < 2; bos++) {
        ran ids = SAY(texts, "tokenize", "--model", "@model", bos ? "--no-json" : "--no-bos", "-");
        expect(&ids, 0, NULL);
        ran back = SAY(ids.out, "tokenize", "--model", "@model", "--decode", "-");
        expect(&back, 0, NULL);
        assert_string_equal(back.out, texts);
        ran_free(&ids);
        ran_free(&back);
    }
}

/* ---- generate ---- */

static void a_seed_gives_the_same_text_again_and_a_stop_ends_it(void **state)
{
    (void)state;
    ran a = SAY("make", "generate", "--model", "@model", "--json", "--max-new", "20", "--temperature", "1", "--seed",
                "5", "-");
    ran b = SAY("make\n", "generate", "--model", "@model", "--json", "--max_new=20", "--temperature", "1.0", "--seed",
                "5", "--batch-size", "1", "-");
    ran c = SAY("make", "generate", "--model", "@model", "--json", "--max-new", "20", "--temperature", "1", "--seed",
                "6", "-");
    ran d = SAY("make", "generate", "--model", "@model", "--json", "--max-new", "20", "-");
    ran f = SAY("make", "generate", "--model", "@model", "--json", "--max-new", "20", "--seed", "9", "-");
    expect(&a, 0, NULL);
    expect(&d, 0, NULL);
    assert_string_equal(a.out, b.out);
    assert_string_not_equal(a.out, c.out);
    assert_string_equal(d.out, f.out); /* greedy: no seed matters */
    ran_free(&b);
    ran_free(&c);
    ran_free(&d);
    ran_free(&f);

    bl_err e = {0};
    bl_json *j;
    const char *text;
    assert_ok(bl_json_parse(a.out, strlen(a.out), "output", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_str(j, "text", &text, &e));
    const char *stop = NULL; /* the first plain letter after the beginning */
    for (const char *p = text + 1; *p && !stop; p++)
        if (*p >= 'a' && *p <= 'z') stop = p;
    assert_non_null(stop);
    char letter[2] = {*stop, 0};
    size_t until = strcspn(text, letter);
    b = SAY("make", "generate", "--model", "@model", "--max-new", "20", "--temperature", "1", "--seed", "5", "--stop",
            letter, "-");
    expect(&b, 0, NULL);
    assert_int_equal(strlen(b.out), until + 1);
    assert_memory_equal(b.out, text, until);
    bl_json_free(j);
    ran_free(&a);
    ran_free(&b);
}

/* ---- results ---- */

static void samples_are_those_behind_the_numbers(void **state)
{
    (void)state;
    bl_err e = {0};
    ran all = SAY(NULL, "samples", "@out", "--method", "base"),
        wrong = SAY(NULL, "samples", "@out", "--method", "base", "--wrong");
    ran flips = SAY(NULL, "samples", "@out", "--flipped", "base", "--json"), csv = SAY(NULL, "table", "@out", "--json");
    bl_json *t, *f;
    double acc = -1, flipped = 0;
    assert_int_equal(lines_of(all.out), 30);
    assert_ok(bl_json_parse(csv.out, strlen(csv.out), "table", BL_JSON_PLAIN, &t, &e));
    for (const bl_json *r = bl_json_first(bl_json_get(t, "rows")); r; r = bl_json_next(r)) {
        const char *metric, *method;
        double v;
        assert_ok(bl_json_get_str(r, "metric", &metric, &e));
        assert_ok(bl_json_get_str(r, "method", &method, &e));
        assert_ok(bl_json_get_real(r, "value", &v, &e));
        if (strcmp(metric, "acc") == 0 && strcmp(method, "base") == 0) acc = v;
        if (strcmp(metric, "flips") == 0) flipped += v * 30;
    }
    assert_true(fabs(acc - (1 - (double)lines_of(wrong.out) / 30)) < 1e-12);
    assert_ok(bl_json_parse(flips.out, strlen(flips.out), "flips", BL_JSON_PLAIN, &f, &e));
    assert_true(flipped > 0);
    assert_true(fabs((double)bl_json_size(f) - flipped) < 1e-9);
    bl_json_free(t);
    bl_json_free(f);
    ran_free(&all);
    ran_free(&wrong);
    ran_free(&flips);
    ran_free(&csv);
}

static void a_file_gets_what_standard_output_would(void **state)
{
    (void)state;
    static const char *const formats[] = {"md", "csv", "tex", "json"};
    for (size_t i = 0; i < BL_COUNT(formats); i++) {
        char *text;
        size_t n;
        bl_err e = {0};
        ran r = SAY(NULL, "table", "@out", "--format", formats[i]),
            dash = SAY(NULL, "table", "@out", "--format", formats[i], "-o", "-");
        ran file = SAY(NULL, "table", "@out", "--format", formats[i], "--output", "@dir/table");
        expect(&file, 0, NULL);
        assert_string_equal(file.out, "");
        assert_string_equal(dash.out, r.out);
        assert_ok(bl_read_file(filled("@dir/table"), 1 << 24, &text, &n, &e));
        assert_string_equal(text, r.out);
        bl_free(text);
        ran_free(&r);
        ran_free(&dash);
        ran_free(&file);
    }
}

static void figures_are_drawn_where_one_wants_them(void **state)
{
    (void)state;
    ran r = SAY(NULL, "doctor", "--data", "@data");
    bool none = strstr(r.out, "gnuplot-nox") != NULL;
    ran_free(&r);
    if (none) {
        print_message("skipped: no gnuplot\n");
        skip();
    }
    r = SAY(NULL, "plot", "@out", "pareto", "-o", "-");
    expect(&r, 0, NULL);
    assert_memory_equal(r.out, "\x89PNG", 4);
    ran_free(&r);
    assert_false(bl_exists("-"));
    r = SAY(NULL, "plot", "@out", "pareto", "--format", "svg", "-o", "@dir/p.svg");
    expect(&r, 0, NULL);
    assert_true(bl_exists(filled("@dir/p.svg")) && bl_exists(filled("@dir/p.csv")) && bl_exists(filled("@dir/p.gp")));
    ran_free(&r);
    static const struct {
        const char *file, *magic;
    } forms[] = {{"@dir/q.pdf", "%PDF"}, {"@dir/q.svg", "<?xml"}, {"@dir/q.png", "\x89PNG"}, {"@dir/q", "\x89PNG"}};
    for (size_t i = 0; i < BL_COUNT(forms); i++) { /* the ending says what it is */
        char *picture;
        size_t n;
        bl_err e = {0};
        r = SAY(NULL, "plot", "@out", "pareto", "-o", forms[i].file);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_ok(bl_read_file(filled(forms[i].file), 1 << 24, &picture, &n, &e));
        assert_memory_equal(picture, forms[i].magic, 4);
        bl_free(picture);
    }
    r = SAY(NULL, "plot", "@out", "--format", "dumb");
    expect(&r, 0, NULL);
    assert_true(lines_of(r.out) > 20);
    ran_free(&r);
    r = SAY(NULL, "plot", "@out", "--json");
    expect(&r, 0, NULL);
    read_json(r.out, strlen(r.out), 0);
    assert_non_null(strstr(r.out, "plots/acc_bits.png"));
    ran_free(&r);
}

/* The page of a real study: its question, its rows, and the text of the items where the data are. */
static void a_report_is_one_page_with_the_texts_of_items(void **state)
{
    (void)state;
    bl_err e = {0};
    char *page;
    size_t n;
    ran r = SAY(NULL, "report", "@out", "-o", "@dir/report.html", "--data", "@data");
    expect(&r, 0, NULL);
    assert_string_equal(r.out, filled("@dir/report.html\n"));
    ran_free(&r);
    assert_ok(bl_read_file(filled("@dir/report.html"), 1 << 26, &page, &n, &e));
    static const char *const parts[] = {
        "<!DOCTYPE html>", "comparisons with the base", "rtn:w1pc", "id=\"items\"", "<div class=\"q\">Question: ",
        "<ol type=\"A\">", "bitladder run --model ",    "</html>"};
    for (size_t i = 0; i < BL_COUNT(parts); i++)
        if (!strstr(page, parts[i])) fail_msg("'%s' is not in the page", parts[i]);
    bl_free(page);
    r = SAY(NULL, "report", "@out", "-o", "-", "--data", "@dir"); /* no data there: the items are told without text */
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "</html>"));
    assert_null(strstr(r.out, "<div class=\"q\">Question: "));
    ran_free(&r);
    r = SAY(NULL, "report", "@out", "--json");
    expect(&r, 0, NULL);
    read_json(r.out, strlen(r.out), 0);
    assert_true(bl_exists(filled("@out/report.html")));
    ran_free(&r);
}

/* ---- models ---- */

static void a_quantized_model_needs_its_source_no_more(void **state)
{
    (void)state;
    bl_err e = {0};
    char *text;
    size_t n;
    assert_ok(bl_make_dirs(filled("@dir/src"), &e));
    for (int i = 0; i < 2; i++) {
        static const char *const file[][2] = {{"@model", "@dir/src/m.bin"}, {"@dir/model/tok.bin", "@dir/src/tok.bin"}};
        assert_ok(bl_read_file(filled(file[i][0]), 1 << 28, &text, &n, &e));
        assert_ok(bl_write_file(filled(file[i][1]), text, n, &e));
        bl_free(text);
    }
    ran r = SAY(NULL, "quantize", "@dir/src/m.bin", "--method", "rtn:w4g24", "-o", "@dir/moved");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_remove_tree(filled("@dir/src"), &e));
    ran a = SAY(LINE, "score", "--model", "@dir/moved", "-"), b = SAY(LINE, "score", "--model", "@quant", "-");
    expect(&a, 0, NULL);
    assert_string_equal(a.out, b.out);
    ran_free(&a);
    ran_free(&b);
    a = SAY("make", "generate", "--model", "@dir/moved", "--max-new", "4", "-");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "inspect", "@dir/moved");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "run", "--model", "@dir/moved", "--method", "base", "--task", "piqa", "--data", "@data", "--out",
            "@dir/moved-runs");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "samples", "@dir/moved-runs"); /* equal scores to those of the cell that quantized for itself */
    b = SAY(NULL, "samples", "@out", "--method", "rtn:w4g24");
    assert_int_equal(lines_of(a.out), 30);
    for (const char *p = a.out, *q = b.out; *p; p = strchr(p, '\n') + 1, q = strchr(q, '\n') + 1) {
        const char *x = strstr(p, "\"id\""), *y = strstr(q, "\"id\"");
        assert_memory_equal(x, y, (size_t)(strchr(x, '\n') - x));
    }
    ran_free(&a);
    ran_free(&b);
}

static void a_name_is_looked_up_in_the_hugging_face_cache(void **state)
{
    (void)state;
    bl_err e = {0};
    char path[4400], link[9000];
    char **name;
    size_t n;
    snprintf(path, sizeof path, "%s/models--some--model/snapshots/0a1b", hub);
    assert_ok(bl_make_dirs(path, &e));
    assert_ok(bl_dir_list(quant, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        char target[9000];
        snprintf(link, sizeof link, "%s/%s", path, name[i]);
        snprintf(target, sizeof target, "%s/%s", quant, name[i]);
        assert_int_equal(symlink(target, link), 0);
    }
    bl_list_free(name, n);
    snprintf(path, sizeof path, "%s/models--some--model/refs", hub);
    assert_ok(bl_make_dirs(path, &e));
    study_write(path, "main", "0a1b");
    setenv("HF_HUB_CACHE", hub, 1);
    ran a = SAY(LINE, "score", "--model", "some/model", "-"), b = SAY(LINE, "score", "--model", "@quant", "-"),
        none = SAY(LINE, "score", "--model", "some/other", "-");
    unsetenv("HF_HUB_CACHE");
    expect(&a, 0, NULL);
    expect(&none, 2, "models--some--other");
    assert_string_equal(a.out, b.out);
    ran_free(&a);
    ran_free(&b);
    ran_free(&none);
}

static void a_first_study_is_written_once_and_can_be_planned(void **state)
{
    (void)state;
    ran r = SAY(NULL, "init", "@dir/study.json");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "init", "@dir/study.json");
    expect(&r, 2, "there already");
    ran_free(&r);
    r = SAY(NULL, "init", "@dir/study.json", "--force");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--out", "@dir/first");
    expect(&r, 2, "SmolLM2-135M-Instruct.Q4_1.gguf");
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--model", "synth:smollm2-135m", "--tokenizer", "@dir/model/tok.bin",
            "--out", "@dir/first", "--limit", "1");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "16 cells: 0 done, 16 open"));
    ran_free(&r);
}

/* Every verb with every option of its, every method and task name: nothing that the program knows is left out. */
static void the_manual_page_has_every_verb_and_every_option(void **state)
{
    (void)state;
    static const char *const sections[] = {"NAME",  "SYNOPSIS",    "DESCRIPTION", "VERBS",      "METHODS",
                                           "TASKS", "ENVIRONMENT", "FILES",       "EXIT STATUS"};
    ran man = SAY(NULL, "internal", "man");
    char want[256];
    size_t verbs = 0;
    for (size_t i = 0; i < BL_COUNT(sections); i++) {
        snprintf(want, sizeof want, "\n.SH %s\n", sections[i]);
        assert_non_null(strstr(man.out, want));
    }
    for (size_t v = 0; bl_verbs[v]; v++) {
        if (bl_verbs[v]->hidden) continue;
        verbs++;
        snprintf(want, sizeof want, "\n.SS \"%s ", bl_verbs[v]->name);
        char *part = strstr(man.out, want);
        if (!part) fail_msg("the page lacks the verb %s", bl_verbs[v]->name);
        char *next = strstr(part + 4, "\n.S");
        for (const bl_opt *o = bl_verbs[v]->opts; o->type != BL_OPT_END; o++) {
            bl_text name = {0};
            bl_text_add(&name, "\\-\\-");
            for (const char *s = o->name; *s; s++) bl_text_addf(&name, *s == '-' ? "\\-" : "%c", *s);
            char *at = strstr(part, name.s);
            if (!at || (next && at > next)) fail_msg("%s: the page lacks --%s", bl_verbs[v]->name, o->name);
            bl_text_free(&name);
        }
        snprintf(want, sizeof want, "  %-9s ", bl_verbs[v]->name);
        ran help = SAY(NULL, "--help");
        assert_non_null(strstr(help.out, want));
        ran_free(&help);
    }
    assert_true(verbs > 12);
    ran_free(&man);
}

/* What is typed after a method's name is what is shown of its options, and the list of tasks has what one chooses by.
 */
static void names_are_shown_with_what_one_chooses_by(void **state)
{
    (void)state;
    static const struct {
        const char *args[4], *out;
    } rows[] = {
        {{"show", "rtn"}, "\n  w1 .. w8 "},
        {{"show", "rtn"}, "\n  gN, pc "},
        {{"show", "rtn"}, "\n  +range=zero|minmax|clip "},
        {{"show", "rtn"}, "\n  +symmetric "},
        {{"show", "quarot"}, "\n  +r1=false "},
        {{"show", "gsm8k:cot8"}, "\n  shots      8\n"},
        {{"show", "arc_challenge:val"}, "\n  split      validation\n"},
        {{"show", "winogrande"}, "not found: winogrande/dev.jsonl"},
        {{"list", "tasks"}, "\nprimer_choice          test                     0  96 items             acc,acc_norm\n"},
        {{"list", "tasks"}, "\nwinogrande:sample      sample of validation     0  not here             acc\n"},
        {{"list", "tasks"}, "\nptb-new:gptq2048       test "},
        {{"list", "shapes"}, "synth:smollm2-135m       llama, 30 blocks, 576 wide, 1.062e+08 weights in them\n"},
        {{"list", "tasks", "--json"},
         "\"name\": \"arc_easy\", \"doc\": \"ARC\", \"split\": \"test\", \"shots\": 0, \"here\": false"},
        {{"doctor"}, "not here"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = said(NULL, rows[i].args);
        if (r.code || !strstr(r.out, rows[i].out)) fail_msg("%s %s: %s", rows[i].args[0], rows[i].args[1], r.out);
        for (const char *line = r.out; i + 1 == BL_COUNT(rows) && *line;) { /* it fits a screen */
            size_t n = strcspn(line, "\n");
            assert_true(n < 160);
            line += n + (line[n] == '\n');
        }
        ran_free(&r);
    }
}

/* A method on the fly makes what `quantize` writes: the same bits. */
static void a_method_can_be_tried_on_the_fly(void **state)
{
    (void)state;
    ran made = SAY(NULL, "quantize", "@model", "--method", "rtn:w4g24", "-o", "@dir/fly");
    expect(&made, 0, NULL);
    ran_free(&made);
    ran want = SAY(NULL, "score", "--model", "@dir/fly", "--prompt", "make a cut"),
        got = SAY(NULL, "score", "--model", "@model", "--method", "rtn:w4g24", "--prompt", "make a cut"),
        plain = SAY("{\"text\": \"make a cut\"}\n", "score", "--model", "@model", "--method", "base", "-");
    expect(&want, 0, NULL);
    expect(&got, 0, NULL);
    expect(&plain, 0, NULL);
    assert_string_equal(want.out, got.out);
    assert_string_not_equal(want.out, plain.out);
    ran_free(&want);
    ran_free(&got);
    ran_free(&plain);
    want = SAY("make a", "generate", "--model", "@dir/fly", "--max-new", "5", "-");
    got = SAY(NULL, "generate", "--model", "@model", "--method", "rtn:w4g24", "--max-new", "5", "--prompt", "make a");
    expect(&want, 0, NULL);
    expect(&got, 0, NULL);
    assert_string_equal(want.out, got.out);
    ran_free(&want);
    ran_free(&got);
    got = SAY("x", "generate", "--model", "@model", "--prompt", "a", "-");
    expect(&got, 2, "not both");
    ran_free(&got);
    got = SAY(NULL, "generate", "--model", "@model", "--prompt", "ab\xff");
    expect(&got, 2, "--prompt: byte 2 is 0xff, which is not valid UTF-8 there");
    ran_free(&got);
    got = SAY(NULL, "score", "--model", "@model", "--prompt", "\xc3");
    expect(&got, 2, "--prompt: byte 0 is 0xc3");
    ran_free(&got);
    got = SAY(NULL, "score", "--model", "@model");
    expect(&got, 2, "score needs FILE or --prompt TEXT");
    ran_free(&got);
}

static void a_model_that_is_not_there_is_said_with_the_study_that_names_it(void **state)
{
    (void)state;
    study_write(S.dir, "gone.json",
                "{\"models\": [\"no/such.gguf\"], \"methods\": [\"base\"], \"tasks\": [\"primer_choice\"]}");
    for (int run = 0; run < 2; run++) {
        ran r = SAY(NULL, run ? "run" : "plan", "@dir/gone.json", "--out", "@dir/gone");
        expect(&r, 2, "gone.json: no file or directory 'no/such.gguf'");
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

static void pages_are_understood_by_the_programs_that_read_them(void **state)
{
    (void)state;
    ran man = SAY(NULL, "internal", "man"), bash = SAY(NULL, "internal", "completion");
    char command[9000];
    study_write(S.dir, "b.1", man.out);
    study_write(S.dir, "b.bash", bash.out);
    ran_free(&man);
    ran_free(&bash);
    if (system("command -v groff > /dev/null") == 0) {
        snprintf(command, sizeof command, "groff -man -Tutf8 -ww '%s' 2>&1 >/dev/null | grep . && exit 1 || exit 0",
                 filled("@dir/b.1"));
        assert_int_equal(system(command), 0);
    }
    if (system("command -v bash > /dev/null") == 0) {
        snprintf(command, sizeof command,
                 "bash -c 'source \"%s\" && COMP_WORDS=(bitladder table --format \"\") COMP_CWORD=3 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = \"md csv tex json\" && "
                 "COMP_WORDS=(bitladder qua) COMP_CWORD=1 && _bitladder && test \"${COMPREPLY[*]}\" = quantize'",
                 filled("@dir/b.bash"));
        assert_int_equal(system(command), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_says_what_it_did_or_why_not),
        cmocka_unit_test(the_manual_page_has_every_verb_and_every_option),
        cmocka_unit_test(names_are_shown_with_what_one_chooses_by),
        cmocka_unit_test(a_method_can_be_tried_on_the_fly),
        cmocka_unit_test(a_run_says_its_results_as_json),
        cmocka_unit_test(a_model_that_is_not_there_is_said_with_the_study_that_names_it),
        cmocka_unit_test(a_full_disk_is_said_and_a_closed_pipe_is_not),
        cmocka_unit_test(everything_that_prints_json_prints_json),
        cmocka_unit_test(requests_are_split_as_the_evaluation_harness_does),
        cmocka_unit_test(replies_come_in_the_order_of_the_requests_whatever_the_batch),
        cmocka_unit_test(text_comes_back_from_its_ids),
        cmocka_unit_test(a_seed_gives_the_same_text_again_and_a_stop_ends_it),
        cmocka_unit_test(samples_are_those_behind_the_numbers),
        cmocka_unit_test(a_file_gets_what_standard_output_would),
        cmocka_unit_test(figures_are_drawn_where_one_wants_them),
        cmocka_unit_test(a_report_is_one_page_with_the_texts_of_items),
        cmocka_unit_test(a_quantized_model_needs_its_source_no_more),
        cmocka_unit_test(a_name_is_looked_up_in_the_hugging_face_cache),
        cmocka_unit_test(a_first_study_is_written_once_and_can_be_planned),
        cmocka_unit_test(pages_are_understood_by_the_programs_that_read_them),
    };
    return cmocka_run_group_tests_name("every verb", tests, set_up, tear_down);
}
