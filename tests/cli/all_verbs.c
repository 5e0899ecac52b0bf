/* all_verbs.c - every verb of the program: what it says it did, or why not, and the exit code. */
#include "verbs_fixture.h"

static int begin(void **state)
{
    begin_results(state);
    study_write(S.dir, "broken.bin", "short");
    write_adapted();
    return 0;
}

/* ---- what is said, and the exit code ---- */

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
    {{"samples", "@dir/none"}, NULL, 2, NULL, "no such directory"},
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
    {{"table", "@dir/model"}, NULL, 2, NULL, "model: no results"},
    {{"report", "@dir/model"}, NULL, 2, NULL, "there are no results in it"},
    {{"report", "@out", "--data", "@dir/none"}, NULL, 2, NULL, "--data: there is no directory"},
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
    {{"tokenize", "--model", "@model", "-"}, "{\"ids\": [1]}", 2, NULL, "unknown key 'ids'; expected text"},
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
    {{"export", "@quant"}, NULL, 2, NULL, "export needs -o PATH"},
    {{"export", "@quant", "-o", "@dir/e", "--format", "exl3"}, NULL, 2, NULL, "exl3"},
    {{"export", "@quant", "-o", "@dir/e", "--format", "compressed-tensors"},
     NULL,
     2,
     NULL,
     "down_proj.weight: its last group is short; compressed-tensors has no place for that"},
    {{"export", "@quant", "-o", "@dir/e", "--type", "fp16"}, NULL, 0, "int4 g24, as safetensors\n", NULL},
    {{"export", "@quant", "-o", "@dir/e"}, NULL, 2, NULL, "exists already"},
    {{"inspect", "@dir/e"}, NULL, 0, "stored as F16", NULL},
    {{"quantize", "@model", "--method=awq:w4g24+grid=1", "--calib=primer", "--calib-n=1", "--calib-seqlen=16", "-o",
      "@dir/awq", "-q"},
     NULL,
     0,
     NULL,
     NULL},
    {{"export", "@dir/awq", "-o", "@dir/g"},
     NULL,
     2,
     NULL,
     "o_proj.weight: its inputs are scaled while the model runs (awq does without with +online=false); a dense "
     "checkpoint has no"},
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

/* ---- studies ---- */

/* Of a task that a method has no cell of: the methods that it has. */
static void methods_that_samples_names_are_those_of_the_task(void **state)
{
    static const char *const runs[][2] = {{"base,rtn:w4g24", "piqa"}, {"base", "primer_choice@2"}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(runs); i++) {
        ran r = SAY(NULL, "run", "--model", "@model", "--method", runs[i][0], "--task", runs[i][1], "--data", "@data",
                    "--no-kl", "--out", "@dir/two");
        expect(&r, 0, NULL);
        ran_free(&r);
    }
    ran r = SAY(NULL, "samples", "@dir/two", "--task", "primer*", "--method", "rtn:w4g24");
    expect(&r, 2, "no cell of 1 of primer* has the method 'rtn:w4g24'; there are: base\n");
    ran_free(&r);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_says_what_it_did_or_why_not),
        cmocka_unit_test(a_full_disk_is_said_and_a_closed_pipe_is_not),
        cmocka_unit_test(methods_that_samples_names_are_those_of_the_task),
        cmocka_unit_test(a_first_study_is_written_once_and_can_be_planned),
        cmocka_unit_test(a_model_that_is_not_there_is_said_with_the_study_that_names_it),
    };
    return cmocka_run_group_tests_name("every verb", tests, begin, end_study);
}
