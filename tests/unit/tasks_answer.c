/* Numbers out of a chain of thought (gsm8k_cot of lm-evaluation-harness): extraction with all its quirks, comparison.
 */
#include "test.h"
#include "tasks/shared_answer.h"
#include "harness/data/pytext.h"
#include "harness/data/reader.h"

static const struct {
    const char *text, *want;
} strict[] = {
    {"The answer is 18. Q", "18."},
    {"The answer is 18.", "18"}, /* the last character is owed to the pattern's dot */
    {"The answer is 18", "1"},
    {"The answer is 18\n", "1"}, /* a newline does not serve as that character */
    {"The answer is 18.\n", "18"},
    {"The answer is 5", NULL},
    {"The answer is 5\n\n", NULL},
    {"The answer is 5 eggs", "5"},
    {"The answer is 1,234.", "1,234"},
    {"The answer is -3. Q:", "-3."},
    {"The answer is $5.", NULL},
    {"the answer is 5.", NULL},
    {"The answer is  5.", NULL},
    {"The answer is x. The answer is 7.", "7"},
    {"The answer is 3. The answer is 7.", "3."}, /* the first */
    {"The answer is 4\xc3\xa9", "4"},
    {"", NULL},
};
static const struct {
    const char *text, *want;
} flexible[] = {
    {"She has 3 apples. So 7.", "7."},
    {"costs $1,050.50.", "$1,050.50."},
    {"none", NULL},
    {"7 eggs...", "..."},
    {"a lone 5", "5"},
    {"minus -5", "-5"},
    {"-$5 and no more", "-$5"},
    {"a - b . c $ d", NULL},
    {"1 2 3 - x", "3"},
    {"--12", "-12"},
};
static const struct {
    const char *s, *gold;
    bool want;
} equal[] = {
    {"18.", "18", true},   {"1,234", "1234", true},   {"1,050.50.", "1050.50", true},
    {"$5", "5", true},     {"18.0", "18", false},     {"18", "180", false},
    {"180", "18", false},  {"..", ".", false},        {"-3.", "-3", true},
    {"-3", "3", false},    {"70000", "70,000", true}, {"", "5", false},
    {"#### 5", "5", true}, {"5..", "5", false},       {"5.,", "5", true},
};

static void check(bool (*find)(const char *, const char **, size_t *), const char *text, const char *want)
{
    const char *s;
    size_t n;
    bool found = find(text, &s, &n);
    if (found != (want != NULL)) fail_msg("'%s': %s", text, found ? "found something" : "found nothing");
    if (found && (n != strlen(want) || memcmp(s, want, n)))
        fail_msg("'%s': '%.*s', wanted '%s'", text, (int)n, s, want);
}

static void strict_takes_the_first_answer_with_its_quirks(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(strict); i++) check(bl_answer_strict, strict[i].text, strict[i].want);
}

static void flexible_takes_the_last_number_with_its_quirks(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(flexible); i++) check(bl_answer_flexible, flexible[i].text, flexible[i].want);
}

static void answers_are_compared_as_cleaned_strings(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(equal); i++)
        if (bl_answer_equal(equal[i].s, strlen(equal[i].s), equal[i].gold) != equal[i].want)
            fail_msg("'%s' and '%s'", equal[i].s, equal[i].gold);
}

/* Every worked solution of the training set equals its own gold: "#### N" goes in as a whole. */
static void every_gold_answer_equals_itself(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    bl_err e = {0};
    bl_rows *r;
    const bl_json *j;
    int64_t n = 0;
    assert_ok(bl_rows_open(test_path("BITLADDER_DATA", "gsm8k/train.jsonl.gz"), &r, &e));
    while (bl_rows_json(r, &j, &e) == BL_OK && j) {
        const char *answer, *gold;
        assert_ok(bl_json_get_str(j, "answer", &answer, &e));
        gold = strstr(answer, "#### ");
        assert_non_null(gold);
        assert_true(bl_answer_equal(answer, strlen(answer), gold + 5));
        n++;
    }
    assert_int_equal(n, 7473);
    bl_rows_close(r);
}

static void capitalizes_as_python_does(void **state)
{
    (void)state;
    static const struct {
        const char *from, *want;
    } rows[] = {
        {"he Went", "He went"},
        {"", ""},
        {"\xc3\x89T\xc3\x89", "\xc3\x89t\xc3\xa9"},
        {"\xc3\xa9t\xc3\x89", "\xc3\x89t\xc3\xa9"},
        {" Ab", " ab"},
        {"i", "I"},
        /* CPython 3.11.7: sigmas at the end of words, dotted I, ligatures, sharp s, digraphs, iota below */
        {"\xce\x9f\xce\x94\xce\x9f\xce\xa3", "\xce\x9f\xce\xb4\xce\xbf\xcf\x82"},
        {"\xce\xa3\xce\x91\xce\xa3 \xce\xa3\xce\x91\xce\xa3.", "\xce\xa3\xce\xb1\xcf\x82 \xcf\x83\xce\xb1\xcf\x82."},
        {"A\xce\xa3", "A\xcf\x82"},
        {"a\xce\xa3", "A\xcf\x82"},
        {"a\xce\xa3'b", "A\xcf\x83'b"},
        {"a\xce\xa3' b", "A\xcf\x82' b"},
        {"\xce\xa3", "\xce\xa3"},
        {"\xce\x91\xce\xa3\xce\xa3", "\xce\x91\xcf\x83\xcf\x82"},
        {" \xce\xa3", " \xcf\x83"},
        {"a\xca\xb0\xce\xa3", "A\xca\xb0\xcf\x82"},
        {" \xca\xb0\xce\xa3", " \xca\xb0\xcf\x83"},
        {"a\xcd\x85\xce\xa3", "A\xcd\x85\xcf\x82"},
        {"A\xcc\x81\xce\xa3\xcc\x81", "A\xcc\x81\xcf\x82\xcc\x81"},
        {"A\xcc\x81\xce\xa3\xcc\x81"
         "b",
         "A\xcc\x81\xcf\x83\xcc\x81"
         "b"},
        {"a\xce\xa3:b", "A\xcf\x83:b"},
        {"a\xce\xa3"
         "1",
         "A\xcf\x82"
         "1"},
        {"\xc4\xb0STANBUL", "\xc4\xb0stanbul"},
        {"a\xc4\xb0", "Ai\xcc\x87"},
        {"\xef\xac\x81RST", "First"},
        {"\xc3\x9f"
         "ETA",
         "Sseta"},
        {"\xc5\x89OW", "\xca\xbcNow"},
        {"\xc7\x86"
         "AB",
         "\xc7\x85"
         "ab"},
        {"\xc7\x84"
         "AB",
         "\xc7\x85"
         "ab"},
        {"\xe1\xbe\xb3X", "\xe1\xbe\xbcx"},
        {"\xd6\x87", "\xd4\xb5\xd6\x82"},
        {"\xe1\xba\x9e\xc3\x9f", "\xe1\xba\x9e\xc3\x9f"},
        {"\xce\x90"
         "A",
         "\xce\x99\xcc\x88\xcc\x81"
         "a"},
        {"a\xce\xa3\xc2\xad\xce\xa3", "A\xcf\x83\xc2\xad\xcf\x82"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_text t = {0};
        assert_ok(bl_capitalize(&t, rows[i].from, &e));
        if (strcmp(t.s ? t.s : "", rows[i].want))
            fail_msg("row %zu: '%s' became '%s', wanted '%s'", i, rows[i].from, t.s, rows[i].want);
        bl_text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_takes_the_first_answer_with_its_quirks),
        cmocka_unit_test(flexible_takes_the_last_number_with_its_quirks),
        cmocka_unit_test(answers_are_compared_as_cleaned_strings),
        cmocka_unit_test(every_gold_answer_equals_itself),
        cmocka_unit_test(capitalizes_as_python_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
