/* hellaswag.c - which of four endings goes on (Zellers et al. 2019, MIT); validation split.
 *
 *     Roof shingle removal: A man is sitting on a roof. He starts pulling up roofing on a roof.
 *
 * From the original fields: query = P(activity_label + ": " + ctx_a + " " + Cap(ctx_b)), choice = P(ending).
 * Cap is Python's str.capitalize. P, in this order: outer white space stripped; every " [title]" becomes ". "; every
 * shortest [bracketed] piece goes; two spaces become one, in one pass. As the strip comes first, an ending that began
 * with a bracket keeps a leading space.
 *
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the ending
 *
 * Files that are preprocessed already ("query") are taken as they are. hellaswag:olmes1000 is such a file of 1,000
 * items; its queries differ in places from those of P.
 */
#include "shared_choice.h"
#include "harness/data/pytext.h"
#include <string.h>

static const char *const full[] = {"hellaswag/hellaswag_val.jsonl", "hellaswag/data/hellaswag_val.jsonl",
                                   "hellaswag/validation.jsonl", "hellaswag_val.jsonl", NULL};
static const char *const olmes[] = {"hellaswag/hellaswag_val_olmes1000.jsonl", NULL};
static const char where[] = "hellaswag_val.jsonl of rowanz/hellaswag, or Rowan/hellaswag as JSON lines";

/* P of a text, in the arena. */
static bl_status preprocess(const char *s, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0}, u = {0};
    size_t n = strlen(s);

    bl_strip(&s, &n);
    bl_replace(&t, s, n, " [title]", ". ");
    for (const char *p = t.s ? t.s : "", *end = p + t.n;;) { /* \[.*?\]: a piece never crosses a line */
        const char *open = memchr(p, '[', (size_t)(end - p)), *close = NULL;
        if (open) {
            size_t len = strcspn(open, "]\n");
            if (open + len < end && open[len] == ']') close = open + len;
        }
        if (!open) {
            bl_text_addn(&u, p, (size_t)(end - p));
            break;
        }
        bl_text_addn(&u, p, (size_t)(open - p) + (close == NULL)); /* a bracket that is not closed on its line stays */
        p = close ? close + 1 : open + 1;
    }
    t.n = 0;
    bl_replace(&t, u.s ? u.s : "", u.n, "  ", " ");
    BL_TRY(bl_text_check(&u, e));
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s ? t.s : "", t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    bl_text_free(&u);
    return st;
}

static bl_status query_of(const bl_json *j, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const char *activity, *ctx_a, *ctx_b;

    BL_TRY(bl_json_get_str(j, "activity_label", &activity, e));
    BL_TRY(bl_json_get_str(j, "ctx_a", &ctx_a, e));
    BL_TRY(bl_json_get_str(j, "ctx_b", &ctx_b, e));
    if (!activity[strspn(activity, " ")] || !ctx_a[strspn(ctx_a, " ")]) {
        st = bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text",
                     activity[strspn(activity, " ")] ? "ctx_a" : "activity_label");
        goto out;
    }
    bl_text_addf(&t, "%s: %s ", activity, ctx_a);
    BL_TRY(bl_capitalize(&t, ctx_b, e));
    BL_TRY(preprocess(t.s, a, out, e));
out:
    bl_text_free(&t);
    return st;
}

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    bool ready = bl_json_get(j, "query") != NULL;
    const bl_json *endings = bl_json_get(j, "endings") ? bl_json_get(j, "endings") : bl_json_get(j, "choices");
    int64_t gold;

    if (!endings) {
        st = bl_fail(e, BL_E_FORMAT, "'endings' is missing");
        goto out;
    }
    BL_TRY(bl_choice_texts(endings, a, &out->choice, &out->n_choices, e));
    BL_TRY(bl_choice_int(j, bl_json_get(j, "gold") ? "gold" : "label", &gold, e));
    out->gold = gold < 0 || gold > INT32_MAX ? -1 : (int)gold;
    if (ready) {
        BL_TRY(bl_choice_text(j, "query", a, &out->text, e));
    } else {
        const char **choice = (const char **)(uintptr_t)out->choice; /* our own copy */
        BL_TRY(query_of(j, a, &out->text, e));
        for (int c = 0; c < out->n_choices; c++) BL_TRY(preprocess(choice[c], a, &choice[c], e));
    }
    out->more = ready ? "ready" : NULL; /* for `load` alone */
out:
    return st;
}

static const char *const train[] = {"hellaswag/hellaswag_train.jsonl", "hellaswag/train.jsonl",
                                    "hellaswag/data/hellaswag_train.jsonl", NULL};
static const char where_train[] = "hellaswag_train.jsonl of rowanz/hellaswag, or its train split as JSON lines";
static const bl_choice_task row = {
    .read = read_row, .prompt = "{text}", .by_length = true, .examples = train, .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bool small = !strncmp(how->name, "hellaswag:olmes1000", strlen("hellaswag:olmes1000"));
    bl_status st = bl_choice_load(how, small ? olmes : full, where, &row, out, e);
    if (st == BL_OK && !small && bl_choice_at(out, 0)->more)
        out->note = "preprocessed HellaSwag file: endings without the leading spaces of the original";
    return st;
}

static const char *const names[] = {"hellaswag", "hellaswag:olmes1000", NULL};
static const char *const of[] = {"validation", "1,000 of validation"};

const bl_task bl_task_hellaswag = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 2,
    .title = "HellaSwag",
    .cite = "Zellers et al. 2019",
    .doc = "Which of four endings goes on; validation split, 10,042 items. A file with a ready query (endings without "
           "their leading spaces) is taken as it is.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
