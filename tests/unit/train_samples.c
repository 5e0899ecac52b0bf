/* Training files of every format as sequences: what their text is and which part of it counts. The tokenizer has the
 * bytes as tokens, so that both can be read; "^" is its begin token and "$" its end token. */
#include "test.h"
#include "tiny_model.h"
#include "harness/train/samples.h"
#include "kernels/base/fs.h"

static char dir[4096];
static bl_tokenizer *bytes;

static int begin(void **state)
{
    bl_err e = {0};
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    char *path = bl_join(dir, "tok.bin", &e);
    tiny_tokenizer(path, NULL);
    assert_ok(bl_tokenizer_open(BL_TOK_LLAMA2C, path, &bytes, &e));
    bl_free(path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    bl_tokenizer_close(bytes);
    return bl_remove_tree(dir, NULL) == BL_OK ? 0 : -1;
}

static const char *written(const char *name, const char *text)
{
    static char path[4300];
    bl_err e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    return path;
}

static bl_status read_text(const char *text, bl_sample_format f, int64_t seqlen, bool pack, bl_samples *s, bl_err *e)
{
    return bl_samples_read(written("train.jsonl", text), f,
                           &(bl_samples_opts){.tokenizer = bytes, .vocab = 300, .seqlen = seqlen, .pack = pack}, s, e);
}

/* Sequence i as text; `counted`: what counts of it alone. */
static const char *shown(const bl_samples *s, int64_t i, bool counted)
{
    static char text[2][4096];
    char *to = text[counted];
    size_t n = 0;
    for (int64_t k = s->start[i]; k < s->start[i + 1]; k++)
        if (!counted || s->mask[k]) to[n++] = (char)(s->ids[k] == 1 ? '^' : s->ids[k] == 2 ? '$' : s->ids[k] - 3);
    to[n] = 0;
    return to;
}

static void the_text_of_an_example_is_that_of_its_template_and_its_answer_counts(void **state)
{
    static const struct {
        bl_sample_format f;
        const char *line, *text, *counts;
    } rows[] = {
        {BL_SAMPLES_ALPACA, "{\"instruction\": \"Add 2 and {3}.\", \"input\": \"\", \"output\": \"5\"}",
         "^Below is an instruction that describes a task. Write a response that appropriately completes the "
         "request.\n\n### Instruction:\nAdd 2 and {3}.\n\n### Response:5$",
         "5$"},
        {BL_SAMPLES_ALPACA,
         "{\"instruction\": \"Say its ### color.\", \"input\": \"the sky\", \"output\": \"blue\", \"category\": 3}",
         "^Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\nSay its ### color.\n\n### "
         "Input:\nthe sky\n\n### Response:blue$",
         "blue$"},
        {BL_SAMPLES_CHAT,
         "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": "
         "\"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello\"}, {\"role\": \"user\", \"content\": \"Bye\"}, "
         "{\"role\": \"assistant\", \"content\": \"See you\"}]}",
         "^Be kind. ### Human: Hi ### Assistant: Hello ### Human: Bye ### Assistant: See you$", " Hello See you$"},
        {BL_SAMPLES_CHAT,
         "{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hello\"}, "
         "{\"from\": \"human\", \"value\": \"Bye\"}]}",
         "^### Human: Hi ### Assistant: Hello ### Human: Bye", " Hello"},
        {BL_SAMPLES_CHAT, "{\"text\": \"### Human: Hi### Assistant: Hello ### Human: Bye### Assistant: See you\"}",
         "^### Human: Hi### Assistant: Hello ### Human: Bye### Assistant: See you$", " Hello See you$"},
        {BL_SAMPLES_CHAT, "{\"input\": \"### Human: Hi ### Assistant:\", \"output\": \"Hello\", \"rank\": 0}",
         "^### Human: Hi ### Assistant: Hello$", " Hello$"},
        {BL_SAMPLES_COT, "{\"question\": \"What is 2 + 3?\", \"rationale\": \"2 + 3 = 5.\", \"answer\": \"5\"}",
         "^Q: What is 2 + 3?\nA: 2 + 3 = 5. The answer is 5.$", " 2 + 3 = 5. The answer is 5.$"},
        {BL_SAMPLES_COT, "{\"question\": \"What is 2 + 3?\", \"rationale\": \" \", \"answer\": \"5\"}",
         "^Q: What is 2 + 3?\nA: The answer is 5.$", " The answer is 5.$"}, /* answers alone */
        {BL_SAMPLES_COT,
         "{\"question\": \"How many?\", \"answer\": \"Half is 48/2 = <<48/2=24>>24.\\nSo 24 < 30.\\n#### 24\"}",
         "^Q: How many?\nA: Half is 48/2 = 24. So 24 < 30. The answer is 24.$",
         " Half is 48/2 = 24. So 24 < 30. The answer is 24.$"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_samples s;
        assert_ok(read_text(rows[i].line, rows[i].f, 0, false, &s, &e));
        assert_int_equal(s.n, 1);
        assert_string_equal(shown(&s, 0, false), rows[i].text);
        assert_string_equal(shown(&s, 0, true), rows[i].counts);
        assert_true(s.shuffled);
        bl_samples_free(&s);
    }
}

static void a_text_is_cut_into_sequences_that_count_whole(void **state)
{
    bl_err e = {0};
    bl_samples s;
    (void)state;
    assert_ok(read_text("abcdefghijk", BL_SAMPLES_TEXT, 5, false, &s, &e)); /* 12 tokens with the first */
    assert_int_equal(s.n, 3);
    assert_string_equal(shown(&s, 0, true), "^abcd");
    assert_string_equal(shown(&s, 1, true), "efghi");
    assert_string_equal(shown(&s, 2, true), "jk");
    bl_samples_free(&s);
    assert_ok(read_text("abcdefghij", BL_SAMPLES_TEXT, 5, false, &s, &e)); /* a last one alone predicts nothing */
    assert_int_equal(s.n, 2);
    bl_samples_free(&s);
}

#define COT(question, answer) "{\"question\": \"" question "\", \"rationale\": \"\", \"answer\": \"" answer "\"}\n"

static void an_example_whose_prompt_fills_its_length_is_left_out_and_counted(void **state)
{
    bl_err e = {0};
    bl_samples s;
    (void)state;
    assert_ok(read_text(COT("1", "1") COT("a longer question", "2"), BL_SAMPLES_COT, 12, false, &s, &e));
    assert_int_equal(s.n, 1);
    assert_int_equal(s.skipped, 1);
    assert_string_equal(shown(&s, 0, false), "^Q: 1\nA: The");
    bl_samples_free(&s);
    assert_int_equal(read_text(COT("a longer question", "2"), BL_SAMPLES_COT, 12, false, &s, &e), BL_E_FORMAT);
    assert_non_null(strstr(e.text, "no token of its 1 examples counts within 12 tokens"));
}

/* Texts "^Q: 1\nA: The answer is 1.$" have 26 tokens each. */
static void neighbours_share_a_row_while_they_fit(void **state)
{
    bl_err e = {0};
    bl_samples s;
    (void)state;
    assert_ok(read_text(COT("1", "1") COT("2", "2") COT("3", "3") COT("4", "4") COT("5", "5"), BL_SAMPLES_COT, 60, true,
                        &s, &e));
    assert_int_equal(s.n, 5);
    assert_int_equal(s.start[1], 26);
    assert_int_equal(s.n_rows, 3);
    assert_memory_equal(s.row, ((int64_t[]){0, 2, 4, 5}), 4 * sizeof *s.row);
    bl_samples_free(&s);
}

static void an_example_that_is_something_else_is_refused_by_file_and_line(void **state)
{
    static const struct {
        bl_sample_format f;
        const char *text, *says;
    } rows[] = {
        {BL_SAMPLES_ALPACA, "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"a\"}\n",
         ":2: data-format alpaca expects 'instruction' and 'output'; found 'instruction'"},
        {BL_SAMPLES_ALPACA, "\n\n{\"instruction\": 3, \"output\": \"b\"}\n", ":3"},
        {BL_SAMPLES_ALPACA, "{\"instruction\": \"a\", \"input\": [], \"output\": \"b\"}\n", ":1"},
        {BL_SAMPLES_ALPACA, "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instr", ":2"},
        {BL_SAMPLES_ALPACA, "[3]", "no object"},
        {BL_SAMPLES_CHAT, "{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", ":1: a turn of 'tool'"},
        {BL_SAMPLES_CHAT, "{\"messages\": [{\"role\": \"user\"}]}", "'content' is missing"},
        {BL_SAMPLES_CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
         "no turn of the assistant, expected"},
        {BL_SAMPLES_CHAT, "{\"messages\": \"a\"}", "'messages' is no list"},
        {BL_SAMPLES_CHAT, "{\"text\": \"a\"}", "its text has no turn '### Assistant:'"},
        {BL_SAMPLES_CHAT, "{\"prompt\": \"a\"}",
         "expects 'messages' or 'conversations' or 'text' or 'output'; found 'prompt'"},
        {BL_SAMPLES_COT, "{\"question\": \"a\", \"answer\": \"5\"}", "neither 'rationale' nor '####'"},
        {BL_SAMPLES_COT, "{\"question\": \"a\"}",
         ":1: data-format cot expects 'question' and 'answer'; found 'question'"},
        {BL_SAMPLES_COT, "\n", "no lines"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_samples s;
        assert_int_equal(read_text(rows[i].text, rows[i].f, 0, false, &s, &e), BL_E_FORMAT);
        if (!strstr(e.text, rows[i].says) || !strstr(e.text, "train.jsonl"))
            fail_msg("row %zu: expected %s in: %s", i, rows[i].says, e.text);
    }
}

/* A file of every format with an answer and one that is empty, as the formats have them. */
static void an_empty_answer_is_refused_by_line_left_out_or_learned(void **state)
{
    static const struct {
        const char *text, *what, *learned; /* what counts of the second example */
    } all[] = {
        [BL_SAMPLES_IDS] = {"{\"ids\": [5, 6]}\n{\"ids\": [7, 8], \"mask\": [0, 0]}\n",
                            ":2: what 'mask' counts of its ids is empty", ""},
        [BL_SAMPLES_TEXT] = {" \n\t", ": its text is empty", NULL},
        [BL_SAMPLES_ALPACA] = {"{\"instruction\": \"a\", \"output\": \"b\"}\n"
                               "{\"instruction\": \"Say nothing.\", \"output\": \"\"}\n",
                               ":2: 'output' is empty", "$"},
        [BL_SAMPLES_CHAT] = {"{\"text\": \"### Human: a ### Assistant: b\"}\n"
                             "{\"text\": \"### Human: a ### Assistant: ### Human: c ### Assistant: d\"}\n",
                             ":2: a turn of the assistant is empty", " d$"},
        [BL_SAMPLES_COT] = {"{\"question\": \"a\", \"answer\": \"b #### c\"}\n"
                            "{\"question\": \"a\", \"answer\": \"b ####\"}\n",
                            ":2: 'answer' is empty", " b The answer is .$"},
    };
    (void)state;
    for (int f = 0; bl_sample_formats[f]; f++) {
        bl_samples s;
        bl_err e = {0};
        bl_samples_opts o = {.tokenizer = bytes, .vocab = 300};
        const bool alone = f == BL_SAMPLES_TEXT; /* one text is one example */
        assert_true(f < (int)BL_COUNT(all) && all[f].text);
        const char *path = written("train.jsonl", all[f].text);
        assert_refused(bl_samples_read(path, (bl_sample_format)f, &o, &s, &e), BL_E_FORMAT, all[f].what);
        assert_non_null(strstr(e.text, "train.jsonl"));
        assert_non_null(strstr(e.text, "expected something to learn"));
        o.empty = BL_EMPTY_LEFT_OUT;
        if (alone)
            assert_refused(bl_samples_read(path, (bl_sample_format)f, &o, &s, &e), BL_E_FORMAT, "of all of its 1 ex");
        else {
            assert_ok(bl_samples_read(path, (bl_sample_format)f, &o, &s, &e));
            assert_int_equal(s.n, 1);
            assert_int_equal(s.empty, 1);
            bl_samples_free(&s);
        }
        o.empty = BL_EMPTY_LEARNED;
        assert_ok(bl_samples_read(path, (bl_sample_format)f, &o, &s, &e));
        assert_int_equal(s.n, alone ? 1 : 2);
        assert_int_equal(s.empty, 0);
        if (!alone) assert_string_equal(shown(&s, 1, true), all[f].learned);
        bl_samples_free(&s);
    }
}

/* In conversations as lists of turns too, and a rationale alone is no answer. */
static void an_answer_of_white_space_is_empty_in_every_layout(void **state)
{
    static const struct {
        bl_sample_format f;
        const char *line;
    } rows[] = {
        {BL_SAMPLES_ALPACA, "{\"instruction\": \"a\", \"output\": \" \\n\"}"},
        {BL_SAMPLES_CHAT, "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\"}]}"},
        {BL_SAMPLES_CHAT, "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"a\"}, {\"from\": \"gpt\", "
                          "\"value\": \" \"}]}"},
        {BL_SAMPLES_CHAT, "{\"input\": \"### Human: Hi ### Assistant:\", \"output\": \"\"}"},
        {BL_SAMPLES_COT, "{\"question\": \"a\", \"rationale\": \"b\", \"answer\": \"\"}"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_samples s;
        assert_refused(read_text(rows[i].line, rows[i].f, 0, false, &s, &e), BL_E_FORMAT, ":1: ");
        assert_non_null(strstr(e.text, "is empty, expected"));
    }
}

/* A row of every format where another one was asked for: file, line, what was asked, what is there, of which format. */
static void a_row_of_another_format_is_named(void **state)
{
    static const char *const row[] = {
        [BL_SAMPLES_IDS] = "{\"ids\": [1, 2]}",
        [BL_SAMPLES_ALPACA] = "{\"instruction\": \"a\", \"output\": \"b\"}",
        [BL_SAMPLES_CHAT] = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
        [BL_SAMPLES_COT] = "{\"question\": \"a\", \"rationale\": \"b\", \"answer\": \"c\"}",
    };
    char asked[64], found[64];
    (void)state;
    for (int f = 0; bl_sample_formats[f]; f++)
        for (int g = 0; bl_sample_formats[g]; g++) {
            bl_err e = {0};
            bl_samples s;
            if (f == BL_SAMPLES_TEXT || g == BL_SAMPLES_TEXT) continue;   /* any text is one */
            if (f == BL_SAMPLES_CHAT && g == BL_SAMPLES_ALPACA) continue; /* its output may have turns */
            bl_status st = read_text(row[g], (bl_sample_format)f, 0, false, &s, &e);
            if (f == g) {
                assert_ok(st);
                bl_samples_free(&s);
                continue;
            }
            assert_int_equal(st, BL_E_FORMAT);
            snprintf(asked, sizeof asked, "train.jsonl:1: data-format %s expects '", bl_sample_formats[f]);
            snprintf(found, sizeof found, "', as data-format %s", bl_sample_formats[g]);
            if (!strstr(e.text, asked) || !strstr(e.text, found)) fail_msg("%s", e.text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_an_example_is_that_of_its_template_and_its_answer_counts),
        cmocka_unit_test(a_text_is_cut_into_sequences_that_count_whole),
        cmocka_unit_test(an_example_whose_prompt_fills_its_length_is_left_out_and_counted),
        cmocka_unit_test(neighbours_share_a_row_while_they_fit),
        cmocka_unit_test(an_example_that_is_something_else_is_refused_by_file_and_line),
        cmocka_unit_test(an_empty_answer_is_refused_by_line_left_out_or_learned),
        cmocka_unit_test(an_answer_of_white_space_is_empty_in_every_layout),
        cmocka_unit_test(a_row_of_another_format_is_named),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
