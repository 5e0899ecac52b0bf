/* Every layout that a data set is distributed in gives the same items, and what changes in a row is seen; small made-up
 * files. */
#include "layout_fixture.h"

static void layouts_give_the_items_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        layout_write(dir, i);
        if (!layouts[i].want) continue;
        char *got = items_of(layouts[i].task, layouts[i].root);
        if (strcmp(got, layouts[i].want)) fail_msg("%s:\n%s\nwanted\n%s", layouts[i].root, got, layouts[i].want);
        bl_free(got);
    }
}

/* ---- rows that are changed a little ---- */
/* The first row of a layout that is JSON, parsed; before and after it, what makes a file of it; NULL: it is none. */
static bl_json *first_row(const char *text, const char **before, const char **after)
{
    bl_err e = {0};
    bl_json *whole;
    size_t n = *text == '{' && strcspn(text, "\n") < strlen(text) ? strcspn(text, "\n") : strlen(text);
    *before = *after = "";
    if (*text != '{' && *text != '[') return NULL;
    assert_ok(bl_json_parse(text, n, "row", BL_JSON_PLAIN, &whole, &e));
    const bl_json *row = whole, *first = bl_json_first(whole);
    if (*text == '[') {
        *before = "[";
        *after = "]";
        row = first;
    } else if (bl_json_kind(first) == BL_JSON_ARRAY && !strcmp(bl_json_key(first), "examples")) {
        *before = "{\"examples\":[";
        *after = "]}";
        row = bl_json_first(first);
    } else return whole;
    bl_text t = {0};
    bl_json *copy;
    bl_json_out o = {.t = &t, .compact = true};
    bl_json_add_node(&o, NULL, row);
    assert_ok(bl_json_parse(t.s, t.n, "row", BL_JSON_PLAIN, &copy, &e));
    bl_text_free(&t);
    bl_json_free(whole);
    return copy;
}

/* The row with the value of one key replaced (value NULL: without that key), `times` times. */
static void put_row(size_t i, const bl_json *row, const char *before, const char *after, const bl_json *changed,
                    const char *value, int times)
{
    bl_text t = {0};
    bl_text_add(&t, before);
    for (int k = 0; k < times; k++) {
        bool first = true;
        bl_text_add(&t, !k ? "{" : *before ? ",{" : "\n{");
        for (const bl_json *j = bl_json_first(row); j; j = bl_json_next(j)) {
            bl_json_out o = {.t = &t, .compact = true};
            if (j == changed && !value) continue;
            if (!first) bl_text_add(&t, ",");
            first = false;
            bl_json_put_str(&t, bl_json_key(j), strlen(bl_json_key(j)));
            bl_text_add(&t, ":");
            if (j == changed) bl_text_add(&t, value);
            else bl_json_add_node(&o, NULL, j);
        }
        bl_text_add(&t, "}");
    }
    bl_text_add(&t, after);
    put(layouts[i].root, layouts[i].file, t.s);
    bl_text_free(&t);
}

/* The items, or NULL and the sentence that refuses them, which must name the file and the row, once. */
static char *items_or_refusal(size_t i, const char *what, const char *before, bl_err *e)
{
    char place[200];
    bl_status st = task_refusal(layouts[i].task, root_of(layouts[i].root), e);
    if (st == BL_OK) return items_of(layouts[i].task, layouts[i].root);
    snprintf(place, sizeof place, *before ? "%s:1: element " : "%s:", strrchr(layouts[i].file, '/') + 1);
    if (st == BL_E_MISSING && strstr(e->text, "no label")) return NULL; /* they may be in a file beside it */
    if (st != BL_E_FORMAT || !strstr(e->text, place) || strstr(strstr(e->text, place) + 1, place))
        fail_msg("%s (%s), %s: %s: %s", layouts[i].task, layouts[i].root, what, bl_status_name(st), e->text);
    return NULL;
}

/* One more of the last element of an array, or of both arrays of {"text": [...], "label": [...]}; false: it has none.
 */
static bool one_more(const bl_json *value, bl_text *out)
{
    static const char *const parts[] = {"text", "label"};
    bl_json_out o = {.t = out, .compact = true};
    bool choices = bl_json_kind(value) == BL_JSON_OBJECT && bl_json_kind(bl_json_get(value, "text")) == BL_JSON_ARRAY;
    if (bl_json_kind(value) != BL_JSON_ARRAY && !choices) return false;
    if (choices) bl_text_add(out, "{");
    for (int k = 0; k < (choices ? 2 : 1); k++) {
        const bl_json *list = choices ? bl_json_get(value, parts[k]) : value, *last = NULL;
        if (choices) bl_text_addf(out, "%s\"%s\":", k ? "," : "", parts[k]);
        bl_text_add(out, "[");
        for (const bl_json *j = bl_json_first(list); j; j = bl_json_next(j)) {
            bl_json_add_node(&o, NULL, j);
            o = (bl_json_out){.t = out, .compact = true};
            bl_text_add(out, ",");
            last = j;
        }
        if (choices && k) bl_text_add(out, "\"Z\"");
        else bl_json_add_node(&o, NULL, last);
        o = (bl_json_out){.t = out, .compact = true};
        bl_text_add(out, "]");
    }
    if (choices) bl_text_add(out, "}");
    return true;
}

static size_t pairs_in(const char *items)
{
    size_t n = 0;
    for (; *items; items++) n += *items == '|';
    return n;
}

/* The second half of HellaSwag's contexts; a ninth of SciQ's questions have no passage. */
static bool may_be_empty(const char *key) { return !strcmp(key, "ctx_b") || !strcmp(key, "support"); }

/* BoolQ's title is in the passage or beside it; an instruction has an input or none. */
static bool may_be_missing(const char *key) { return !strcmp(key, "title") || !strcmp(key, "input"); }

/* In every layout of every task, a value that means something is seen or refused, with file and row: a text or a number
 * of no sense either shows in the items or is refused, and so is one option more; a text that is shown may not be
 * empty; a column that is missing is refused or was not needed; a row that has a number of its own may not come twice.
 */
static void no_layout_takes_a_row_that_makes_no_sense(void **state)
{
    static const char *const ids[] = {"id", "ID", "qid", "qID", "iIndex", "idx", "ind", "question_id"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        const char *before, *after;
        bl_json *row = first_row(layouts[i].text, &before, &after);
        bl_err e = {0};
        bool numbered = false, labels = layouts[i].also && strstr(layouts[i].also, "labels");
        char what[200];
        if (!row) continue;
        layout_write(dir, i);
        put_row(i, row, before, after, NULL, NULL, 1);
        if (labels) put(layouts[i].root, layouts[i].also, "1\n");
        char *plain = items_or_refusal(i, "as it is", before, &e);
        assert_non_null(plain);
        for (const bl_json *j = bl_json_first(row); j; j = bl_json_next(j)) {
            const char *key = bl_json_key(j);
            bool text = bl_json_kind(j) == BL_JSON_STRING, shown = false;
            bl_text more = {0};
            for (size_t k = 0; k < BL_COUNT(ids); k++) numbered = numbered || !strcmp(key, ids[k]);
            put_row(i, row, before, after, j, NULL, 1);
            snprintf(what, sizeof what, "'%s' is missing", key);
            char *less = items_or_refusal(i, what, before, &e);
            if (less && strcmp(less, plain) != 0 && !may_be_missing(key))
                fail_msg("%s (%s), %s:\n%s", layouts[i].task, layouts[i].root, what, less);
            bl_free(less);
            if (text || bl_json_kind(j) == BL_JSON_NUMBER) {
                const char *odd = text ? "\"Zq9 it\"" : "979";
                put_row(i, row, before, after, j, odd, 1);
                snprintf(what, sizeof what, "'%s' is %s", key, odd);
                char *got = items_or_refusal(i, what, before, &e);
                shown = got && strcmp(got, plain) != 0;
                if (shown && !strstr(got, text ? "q9" : "979")) fail_msg("%s, %s:\n%s", layouts[i].task, what, got);
                bl_free(got);
            }
            if (text && shown && !may_be_empty(key)) {
                put_row(i, row, before, after, j, "\" \"", 1);
                snprintf(what, sizeof what, "'%s' is empty", key);
                char *got = items_or_refusal(i, what, before, &e);
                if (got) fail_msg("%s (%s), %s:\n%s", layouts[i].task, layouts[i].root, what, got);
            }
            if (one_more(j, &more)) {
                put_row(i, row, before, after, j, more.s, 1);
                snprintf(what, sizeof what, "'%s' has one more", key);
                char *got = items_or_refusal(i, what, before, &e);
                if (got && strcmp(got, plain) != 0 && pairs_in(got) != pairs_in(plain) + 1)
                    fail_msg("%s, %s:\n%s", layouts[i].task, what, got);
                bl_free(got);
            }
            bl_text_free(&more);
        }
        put_row(i, row, before, after, NULL, NULL, 2);
        if (labels) put(layouts[i].root, layouts[i].also, "1\n1\n");
        char *twice = items_or_refusal(i, "twice", before, &e);
        if (numbered && twice) fail_msg("%s (%s): a row that comes twice is taken", layouts[i].task, layouts[i].root);
        bl_free(twice);
        bl_free(plain);
        bl_json_free(row);
    }
}

static void every_task_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++) {
        const bl_task *t = bl_tasks[i];
        assert_true(t->version >= 1 && t->title && t->cite && t->doc && t->load && t->ask && t->mark && t->names[0]);
        for (size_t j = 0; t->names[j]; j++) {
            int n = 0;
            const bl_metric *m = bl_task_metrics(t, t->names[j], &n);
            assert_true(n > 0 && m[0].name && *m[0].name);
            for (size_t k = 0; bl_tasks[k]; k++) /* a name belongs to one task */
                for (size_t l = 0; bl_tasks[k]->names[l]; l++)
                    assert_true((k == i && l == j) || strcmp(bl_tasks[k]->names[l], t->names[j]) != 0);
        }
    }
}

static void the_primer_ships_and_is_balanced(void **state)
{
    (void)state;
    task_run t = task_open("primer_choice", NULL);
    int64_t at[4] = {0};
    bl_err e = {0};
    assert_true(t.data.n >= 64 && t.data.n % 4 == 0);
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q;
        assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
        assert_int_equal(q.n_pairs, 4);
        for (int c = 0; c < 4; c++) at[c] += !strcmp(q.pair[c].continuation + 1, t.task->gold(&t.data, i));
    }
    for (int c = 0; c < 4; c++) assert_int_equal(at[c], t.data.n / 4);
    task_close(&t);
    t = task_open("primer:gptq2048", NULL);
    assert_int_equal(t.data.n, -1);
    bl_request q = {0};
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_true(q.n_text > 20000);
    task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_give_the_items_they_should),
        cmocka_unit_test(every_task_says_what_it_is),
        cmocka_unit_test(no_layout_takes_a_row_that_makes_no_sense),
        cmocka_unit_test(the_primer_ships_and_is_balanced),
    };
    return cmocka_run_group_tests(tests, layouts_begin, layouts_end);
}
