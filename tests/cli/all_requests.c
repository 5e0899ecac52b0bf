/* all_requests.c - what score, tokenize and generate make of requests, line by line. */
#include "verbs_fixture.h"

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

/* The candidate that is the question has cosine 1; what is short scores 0; equal ones go to the first. */
static void a_judge_picks_what_is_like_the_question(void **state)
{
    bl_err e = {0};
    bl_json *doc;
    int64_t pick;
    double v;
    (void)state;
    ran r = SAY("{\"question\": \"make a list\", \"candidates\": [\"abc\", \"so it goes\", \"make a list\", \"make a "
                "list\"]}\n",
                "judge", "--model", "@model", "-");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "verdict", BL_JSON_PLAIN, &doc, &e));
    assert_ok(bl_json_get_int(doc, "pick_cosine", &pick, &e));
    assert_int_equal(pick, 2);
    const bl_json *cosine = bl_json_first(bl_json_get(doc, "cosine"));
    assert_ok(bl_json_real(cosine, &v, &e));
    assert_true(v == 0);
    cosine = bl_json_next(bl_json_next(cosine));
    assert_ok(bl_json_real(cosine, &v, &e));
    assert_true(v > 1 - 1e-9 && v < 1 + 1e-9);
    assert_ok(bl_json_real(bl_json_first(bl_json_get(doc, "qim")), &v, &e));
    assert_true(v == 0);
    bl_json_free(doc);
    ran_free(&r);
    r = SAY("{\"question\": \"q\", \"candidates\": \"x\"}\n", "judge", "--model", "@model", "-");
    expect(&r, 2, "standard input: line 1: 'candidates' is no list of texts, or an empty one");
    ran_free(&r);
    r = SAY("{\"question\": \" \", \"candidates\": [\"x\"]}\n", "judge", "--model", "@model", "-");
    expect(&r, 2, "standard input: line 1: 'question' is empty, expected a text");
    ran_free(&r);
    r = SAY("{\"question\": \"q\", \"candidates\": [\"x\"]}\n", "judge", "-");
    expect(&r, 2, "judge needs one of --model MODEL and --encoder DIR");
    ran_free(&r);
    /* by an encoder: capital letters are nothing to this one */
    r = SAY("{\"question\": \"The cat sat\", \"candidates\": [\"mars has moons\", \"the CAT sat\"]}\n", "judge",
            "--encoder", BL_SOURCE_DIR "/tests/data/encoder", "-");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"pick_qim\":1,\"pick_cosine\":1"));
    ran_free(&r);
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

/* Requests that were saved as parquet are no text to go on with: the sentence has the line that makes JSON lines. */
static void a_parquet_file_of_requests_is_refused_with_the_line_that_converts_it(void **state)
{
    (void)state;
    static const char *const verbs[] = {"generate", "score", "tokenize"};
    study_write(S.dir, "p.parquet", "PAR1 and bytes PAR1");
    for (size_t i = 0; i < BL_COUNT(verbs); i++) {
        ran r = SAY(NULL, verbs[i], "--model", "@model", "@dir/p.parquet");
        expect(&r, 2, "/p.parquet: a parquet file, expected text; convert it: python3 -c \"import pandas; ");
        assert_non_null(strstr(r.err, "/p.jsonl', orient='records', lines=True)\""));
        ran_free(&r);
    }
    study_write(S.dir, "named.jsonl", "PAR1 and bytes PAR1"); /* as text: not onto itself */
    ran r = SAY(NULL, "score", "--model", "@model", "@dir/named.jsonl");
    expect(&r, 2, "/named.jsonl: a parquet file, expected text");
    assert_non_null(strstr(r.err, "/named.text.jsonl', orient='records', lines=True)\""));
    ran_free(&r);
}

/* Tokens of the vocabulary, three texts each, which begin alike; the same bytes whatever the batch; training reads
 * them.
 */
static void a_model_writes_what_it_is_trained_on(void **state)
{
    (void)state;
    bl_err e = {0};
    ran a = SAY(NULL, "generate", "--model", "@model", "--own", "9", "--max-new", "12", "--seed", "4");
    ran b = SAY(NULL, "generate", "--model", "@model", "--own", "9", "--max-new", "12", "--seed", "4", "--batch-size",
                "1", "--threads", "1");
    ran c = SAY(NULL, "generate", "--model", "@model", "--own", "9", "--max-new", "12", "--seed", "5");
    expect(&a, 0, NULL);
    assert_string_equal(a.out, b.out);
    assert_string_not_equal(a.out, c.out);
    int64_t ids[9][12], n[9];
    char *text = bl_strdup(a.out, &e), *rest = text, *line;
    for (int i = 0; i < 9; i++) {
        bl_json *j;
        line = strsep(&rest, "\n");
        assert_ok(bl_json_parse(line, strlen(line), "own", BL_JSON_PLAIN, &j, &e));
        const bl_json *list = bl_json_get(j, "ids");
        n[i] = (int64_t)bl_json_size(list);
        assert_in_range(n[i], 3, 12);
        int k = 0;
        for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v))
            assert_ok(bl_json_int(v, &ids[i][k++], &e));
        bl_json_free(j);
        for (k = 0; k < 3; k++) assert_int_equal(ids[i][k], ids[i - i % 3][k]); /* the likeliest after one beginning */
        if (i % 3 == 2 && n[i] > 3 && n[i - 1] > 3) assert_int_equal(ids[i][3], ids[i - 1][3]); /* of two a fourth */
    }
    assert_true(ids[0][0] != ids[3][0] && ids[3][0] != ids[6][0] && ids[0][0] != ids[6][0]);
    bl_free(text);
    study_write(S.dir, "own.jsonl", a.out);
    ran r = SAY(NULL, "finetune", "@model", "--method", "llm-qat:w4a8", "--data", "@dir/own.jsonl", "--batch", "3",
                "--steps", "2", "-o", "@dir/qat");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "llm-qat:w4a8pc"));
    ran_free(&r);
    r = SAY(NULL, "generate", "--model", "@model", "--own", "9", "--prompt", "a");
    expect(&r, 2, "or --own alone");
    ran_free(&r);
    r = SAY(NULL, "generate", "--model", "@model", "--own", "9", "--max-new", "2");
    expect(&r, 2, "a text of 2 tokens; of this model's one has 3 to");
    ran_free(&r);
    ran_free(&a);
    ran_free(&b);
    ran_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_split_as_the_evaluation_harness_does),
        cmocka_unit_test(replies_come_in_the_order_of_the_requests_whatever_the_batch),
        cmocka_unit_test(text_comes_back_from_its_ids),
        cmocka_unit_test(a_seed_gives_the_same_text_again_and_a_stop_ends_it),
        cmocka_unit_test(a_model_writes_what_it_is_trained_on),
        cmocka_unit_test(a_method_can_be_tried_on_the_fly),
        cmocka_unit_test(a_judge_picks_what_is_like_the_question),
        cmocka_unit_test(a_parquet_file_of_requests_is_refused_with_the_line_that_converts_it),
    };
    return cmocka_run_group_tests_name("requests", tests, begin_study, end_study);
}
