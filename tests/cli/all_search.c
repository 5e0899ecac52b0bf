/* all_search.c - index and search: the rows nearest to a question, by an encoder and by a model; rows that are refused
 * with file, line and what was expected. */
#include "verbs_fixture.h"
#include <unistd.h>

#define ENCODER BL_SOURCE_DIR "/tests/data/encoder"

static const char rows[] = "{\"id\": 1, \"text\": \"how many moons has mars\", \"answer\": \"two\"}\n"
                           "{\"id\": 2, \"text\": \"water boils at sea level\", \"answer\": \"100\"}\n"
                           "\n"
                           "{\"id\": \"3\", \"text\": \"the cat sat\", \"answer\": \"mat\"}\n";

static const char *put(const char *name, const char *text, size_t n)
{
    static char path[4300];
    bl_err e = {0};
    snprintf(path, sizeof path, "%s/%s", S.dir, name);
    assert_ok(bl_write_file(path, text, n, &e));
    return path;
}

/* A vector does not know capital letters (of this encoder), and a text is nearest to itself. */
static void a_search_finds_the_row_that_is_the_question(void **state)
{
    (void)state;
    put("rows.jsonl", rows, strlen(rows));
    ran r = SAY(NULL, "index", "--encoder", ENCODER, "-o", "@dir/e.h5", "@dir/rows.jsonl");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "e.h5: 3 vectors of 24, by encoder"));
    ran_free(&r);
    static const char *const by[] = {"cosine", "qim"};
    for (size_t i = 0; i < BL_COUNT(by); i++) {
        r = SAY("{\"question\": \"Water boils at SEA level\"}\n{\"question\": \"The cat sat\"}\n", "search",
                "--encoder", ENCODER, "--by", by[i], "-k", "2", "@dir/e.h5", "-");
        expect(&r, 0, NULL);
        assert_int_equal(lines_of(r.out), 2);
        const char *first = strstr(r.out, "\"found\":[{\"row\":2,"), *second = strstr(r.out, "\"found\":[{\"row\":3,");
        assert_true(first && second && first < second);
        assert_non_null(strstr(r.out, "\"entry\":{\"id\":\"3\",\"text\":\"the cat sat\",\"answer\":\"mat\"}}"));
        ran_free(&r);
    }
    r = SAY(NULL, "index", "--model", "@model", "--field", "answer", "-o", "@dir/m.h5", "@dir/rows.jsonl");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY("{\"question\": \"mat\"}\n", "search", "--model", "@model", "-k", "9", "@dir/m.h5", "-");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"found\":[{\"row\":3,\"cosine\":1.0000000000000"));
    ran_free(&r);
    r = SAY("{\"question\": \"mat\"}\n", "search", "--model", "@model", "@dir/e.h5", "-");
    expect(&r, 2, "e.h5: its vectors were made by encoder, which is not this");
    ran_free(&r);
    char copy[9000]; /* an encoder of the same name and shape, one weight another */
    snprintf(copy, sizeof copy, "mkdir -p '%s/other' && cp -r '%s' '%s/other/'", S.dir, ENCODER, S.dir);
    assert_int_equal(system(copy), 0);
    snprintf(copy, sizeof copy, "%s/other/encoder/model.safetensors", S.dir);
    FILE *f = fopen(copy, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    int last = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    fputc(last ^ 1, f);
    fclose(f);
    r = SAY("{\"question\": \"mat\"}\n", "search", "--encoder", "@dir/other/encoder", "@dir/e.h5", "-");
    expect(&r, 2, "e.h5: its vectors were made by encoder, which is not this encoder");
    ran_free(&r);
    r = SAY("{\"query\": \"mat\"}\n", "search", "--encoder", ENCODER, "@dir/e.h5", "-");
    expect(&r, 2, "standard input: line 1: ");
    ran_free(&r);
    r = SAY(NULL, "index", "--encoder", ENCODER, "@dir/rows.jsonl");
    expect(&r, 2, "index needs --output FILE");
    ran_free(&r);
    r = SAY(NULL, "index", "--encoder", ENCODER, "-o", "@dir/rows.jsonl", "@dir/rows.jsonl"); /* they stay */
    expect(&r, 2, "rows.jsonl exists and is no index, expected another name for --output");
    ran_free(&r);
    r = SAY(NULL, "index", "--encoder", ENCODER, "-o", "@dir/e.h5", "@dir/rows.jsonl");
    expect(&r, 0, NULL);
    ran_free(&r);
}

static void rows_that_cannot_be_searched_are_refused_with_their_line(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"text\": \"a\"}\n{\"texts\": \"b\"}\n", "bad.jsonl:2: 'text' is missing"},
        {"{\"text\": \"a\"}\n\n{\"text\": \" \\n\"}\n", "bad.jsonl:3: 'text' is empty, expected a text"},
        {"{\"text\": \"a\", \"id\": 7}\n{\"text\": \"b\", \"id\": 8}\n{\"text\": \"c\", \"id\": 7}\n",
         "bad.jsonl:3: id 7 comes twice, first in line 1; expected another for every row"},
        {"{\"text\": 5}\n", "bad.jsonl:1: "},
        {"\n", "bad.jsonl: no rows"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(bad); i++) {
        put("bad.jsonl", bad[i].text, strlen(bad[i].text));
        ran r = SAY(NULL, "index", "--encoder", ENCODER, "-o", "@dir/bad.h5", "@dir/bad.jsonl");
        expect(&r, 2, bad[i].says);
        ran_free(&r);
    }
    bl_text t = {0};
    bl_text_add(&t, "{\"text\": \"a\"}\n{\"text\": \"");
    for (int i = 0; i < 1 << 20; i++) bl_text_add(&t, "b");
    bl_text_add(&t, "\"}\n");
    put("bad.jsonl", t.s, t.n);
    ran r = SAY(NULL, "index", "--encoder", ENCODER, "-o", "@dir/bad.h5", "@dir/bad.jsonl");
    expect(&r, 2, "bad.jsonl:2: ");
    assert_non_null(strstr(r.err, "1000000"));
    ran_free(&r);
    bl_text_free(&t);
    char path[4300];
    snprintf(path, sizeof path, "%s/bad.h5", S.dir);
    assert_false(bl_exists(path));
}

/* A study by vectors: questions that are their own passages are found by all; what an encoder made is kept, and used
 * again by another variant. */
static void a_study_retrieves_by_the_model_and_by_an_encoder(void **state)
{
    bl_err e = {0};
    bl_text t = {0};
    char path[4300], **names;
    size_t n;
    (void)state;
    for (int i = 0; i < 6; i++)
        bl_text_addf(&t,
                     "{\"question\": \"%s cat\", \"distractor1\": \"a\", \"distractor2\": \"b\", \"distractor3\": "
                     "\"c\", \"correct_answer\": \"d\", \"support\": \"%s cat\"}\n",
                     (const char *[]){"the", "a red", "two", "mars", "water", "sea"}[i],
                     (const char *[]){"the", "a red", "two", "mars", "water", "sea"}[i]);
    snprintf(path, sizeof path, "%s/rag", S.data);
    assert_ok(bl_make_dirs(path, &e));
    snprintf(path, sizeof path, "%s/rag/sciq_validation.jsonl", S.data);
    assert_ok(bl_write_file(path, t.s, t.n, &e));
    bl_text_free(&t);
    snprintf(path, sizeof path, "%s/encoder", S.data);
    assert_int_equal(symlink(ENCODER, path), 0);
    snprintf(path, sizeof path, "%s/cache", S.dir);
    setenv("XDG_CACHE_HOME", path, 1);
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base,rtn:w4g24", "--task",
                "sciq:dense,sciq:encoder,sciq:bm25", "--data", "@data", "--out", "@dir/near");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "table", "@dir/near", "--format", "csv");
    expect(&r, 0, NULL);
    int found = 0;
    for (const char *at = r.out; (at = strstr(at, ",recall@1,,1,0,6,")); at++) found++;
    assert_int_equal(found, 6);
    ran_free(&r);
    snprintf(path, sizeof path, "%s/cache/bitladder/vectors", S.dir);
    assert_ok(bl_dir_list(path, &names, &n, &e));
    assert_int_equal(n, 1);
    bl_list_free(names, n);
    r = SAY(NULL, "ask", "sciq:encoder", "3", "--model", "@model", "--data", "@data");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "request: near\nquery: \"mars cat\"\n6 texts\nnearest: \"mars cat\""));
    ran_free(&r);
}

/* Answers of a round of feedback are marked, and what is marked joins the store and is trained on. */
static void rated_answers_join_the_store_and_the_training_set(void **state)
{
    bl_err e = {0};
    bl_text t = {0};
    char path[4300];
    (void)state;
    for (int f = 0; f < 20; f++)
        bl_text_addf(&t, "{\"file\": \"f%d\", \"question\": \"where is %c\", \"answer\": \"house number %d\"}\n", f,
                     'a' + f, f);
    snprintf(path, sizeof path, "%s/rag", S.data);
    assert_ok(bl_make_dirs(path, &e));
    snprintf(path, sizeof path, "%s/rag/ysa_qa.jsonl", S.data);
    assert_ok(bl_write_file(path, t.s, t.n, &e));
    bl_text_free(&t);
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base", "--task", "feedback:bm25", "--data", "@data",
                "--out", "@dir/round");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/round", "--format", "feedback", "-o", "@dir/nowhere.jsonl", "--data", "@dir");
    expect(&r, 2, "feedback needs questions and right answers");
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/round", "--format", "feedback", "-o", "@data/rag/ysa_feedback.jsonl", "--data",
            "@data");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "run", "--model", "@model", "--method", "base", "--task", "feedback:bm25,faq:closed", "--data",
            "@data", "--out", "@dir/both");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/both", "--format", "feedback", "--data", "@data");
    expect(&r, 2, "a file of answers is of one task: say --task"); /* or the answers that are held out come along */
    ran_free(&r);
    r = SAY(NULL, "ask", "faq:dense", "0", "--data", "@data");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "query: \"where is j\"\n18 texts"));
    ran_free(&r);
    r = SAY(NULL, "finetune", "default", "--method", "lora+rank=2", "--data", "@data/rag/ysa_feedback.jsonl",
            "--data-format", "alpaca", "--seqlen", "512", "--steps", "1", "-o", "@dir/tuned");
    expect(&r, 0, NULL);
    ran_free(&r);
}

/* The same of questions with choices: what was right and what was corrected, the bare question, a store of passages. */
static void rated_choices_join_the_store_too(void **state)
{
    (void)state;
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base", "--task", "sciq:own@2", "--data", "@data",
                "--out", "@dir/chosen");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "ask", "sciq:dense", "0", "--data", "@data");
    expect(&r, 0, NULL);
    int before = atoi(strstr(r.out, "\"\n") + 2);
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/chosen", "--format", "feedback", "--data", "@data");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"rating\""));
    assert_null(strstr(r.out, "\"question\":\"Question:"));
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/chosen", "--format", "fastchat", "--data", "@data");
    expect(&r, 2, "has no replies of sciq:own, expected a task that asks for some");
    ran_free(&r);
    r = SAY(NULL, "samples", "@dir/chosen", "--format", "feedback", "-o", "@data/rag/sciq_feedback.jsonl", "--data",
            "@data");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "ask", "sciq:dense", "0", "--data", "@data");
    expect(&r, 0, NULL);
    assert_int_equal(atoi(strstr(r.out, "\"\n") + 2), before + 2);
    ran_free(&r);
}

static void a_benchmark_of_the_search_checks_its_answers(void **state)
{
    (void)state;
    ran r = SAY(NULL, "bench", "search", "--vectors", "3000", "--dim", "40", "--repetitions", "2", "--json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"exact\": true"));
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_finds_the_row_that_is_the_question),
        cmocka_unit_test(rows_that_cannot_be_searched_are_refused_with_their_line),
        cmocka_unit_test(a_study_retrieves_by_the_model_and_by_an_encoder),
        cmocka_unit_test(rated_answers_join_the_store_and_the_training_set),
        cmocka_unit_test(rated_choices_join_the_store_too),
        cmocka_unit_test(a_benchmark_of_the_search_checks_its_answers),
    };
    return cmocka_run_group_tests(tests, begin_study, end_study);
}
