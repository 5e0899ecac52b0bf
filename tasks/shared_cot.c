/* shared_cot.c - chains of thought: prompts, answers in replies, marking. */
#include "shared_cot.h"
#include "harness/data/pytext.h"
#include "shared_answer.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STRICT, FLEXIBLE, NO_STRICT, NO_FLEXIBLE };
const bl_metric bl_cot_metrics[5] = {
    {.name = "exact_match_strict", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = STRICT},
    {.name = "exact_match_flexible",
     .direction = 1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = FLEXIBLE},
    {.name = "no_answer_strict",
     .direction = -1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = NO_STRICT},
    {.name = "no_answer_flexible", .direction = -1, .percent = true, .agg = BL_AGG_MEAN, .a = NO_FLEXIBLE},
    {.name = "hit_limit",
     .direction = -1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_FLAG_SHARE,
     .a = BL_SAMPLE_HIT_LIMIT},
};
const bl_opt bl_cot_rows[] = {{"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 256,
                               .at = offsetof(bl_cot_opts, max_new), .arg = "N", .doc = "most new tokens of a reply"},
                              {0}};
const char *const bl_cot_stops[3] = {"Q:", "</s>", "<|im_end|>"};

enum { ANSWER_TOKENS = 32 }; /* of a reply that has nothing but the answer */

typedef enum how_asked { REASONED, DIRECT, ZEROSHOT } how_asked;
typedef struct data {
    const bl_cot_set *set;
    bl_cot_item *item;
    how_asked how;
    int64_t max_new;
} data;

/* ---- rows ---- */
bl_status bl_cot_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    size_t n;

    BL_TRY(bl_json_get_str(row, key, &s, e));
    n = strlen(s);
    bl_strip(&s, &n);
    if (n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text", key);
        goto out;
    }
    if (!(*out = bl_arena_str(a, s, n, e))) st = BL_E_NOMEM;
out:
    return st;
}

bl_status bl_cot_number(const bl_json *v, const char *name, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    char text[32], *end;
    const char *s;
    double x;

    if (bl_json_kind(v) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(v, &s, e));
        x = strtod(s, &end); /* which takes "nan", "inf" and "0x10" as well */
        if (end == s || *end || s[strspn(s, "0123456789+-.eE")]) {
            st = bl_fail(e, BL_E_FORMAT, "'%s' is \"%s\", expected a number", name, s);
            goto out;
        }
    } else BL_TRY(bl_json_real(v, &x, e));
    snprintf(text, sizeof text, "%.15g", x);
    if (!(*out = bl_arena_str(a, text, strlen(text), e))) st = BL_E_NOMEM;
out:
    return st;
}

static bl_status read_row(const void *ctx, int64_t i, const bl_json *row, bl_arena *a, void *out, bl_err *e)
{
    const bl_cot_set *set = ctx;
    (void)i;
    return set->read(row, a, out, e);
}

static void asked(const void *item, bl_text *out) { bl_text_add(out, ((const bl_cot_item *)item)->question); }

bl_status bl_cot_file(const char *path, const bl_cot_set *set, bl_arena *a, bl_cot_item **item, int64_t *n,
                      bl_hash *hash, bl_err *e)
{
    void *list;
    const bl_rows_layout layout = {.list = set->list, .said = set->once ? asked : NULL};
    const bl_status st = bl_rows_items(path, &layout, read_row, set, sizeof **item, a, &list, n, hash, e);
    if (st == BL_OK) *item = list;
    return st;
}

/* Some examples have "Yes or no: " in front of what is an item. */
static const char *bare(const char *question)
{
    static const char prefix[] = "Yes or no: ";
    return question + (strncmp(question, prefix, strlen(prefix)) ? 0 : strlen(prefix));
}

static bool is_example(const bl_cot_set *set, const char *question)
{
    for (int k = 0; k < set->n_examples; k++)
        if (!strcmp(bare(set->example[k].question), bare(question))) return true;
    return false;
}

bl_status bl_cot_load(const bl_task_load *how, const bl_cot_set *set, int n_sets, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cot_opts *o = how->opts;
    const char *mode = strchr(how->name, ':');
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    int64_t n, kept = 0;

    if (!d) return BL_E_NOMEM;
    for (int k = 0; k < n_sets && mode && !d->set; k++)
        if (strlen(set[k].name) == (size_t)(mode - how->name) && !strncmp(set[k].name, how->name, strlen(set[k].name)))
            d->set = &set[k];
    if (!d->set) {
        st = bl_fail(e, BL_E_INTERNAL, "no set of items '%s'", how->name);
        goto out;
    }
    d->how = !strcmp(mode, ":direct") ? DIRECT : !strcmp(mode, ":zeroshot") ? ZEROSHOT : REASONED;
    d->max_new = o ? o->max_new : bl_cot_rows[0].def.i;
    BL_TRY(bl_data_find(how->dirs, d->set->files, d->set->where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_cot_file(out->path, d->set, out->arena, &d->item, &n, &out->hash, e));
    for (int64_t i = 0; i < n; i++)
        if (!is_example(d->set, d->item[i].question)) d->item[kept++] = d->item[i];
    if (kept == 0) {
        st = bl_fail(e, BL_E_FORMAT, "%s: each of its questions is one of the worked examples, expected others",
                     out->path);
        goto out;
    }
    if (kept < n) out->note = "a question that is one of the worked examples is left out";
    out->rows = d;
    out->n = kept;
out:
    return st;
}

/* ---- asking ---- */
void bl_cot_say_examples(bl_prompt *p, const bl_cot_set *set, bool reasoned)
{
    for (int k = 0; k < set->n_examples; k++) {
        const bl_cot_example *x = &set->example[k];
        bl_say(p, "Q: ");
        bl_say(p, x->question);
        bl_say(p, "\nA:");
        bl_answer_follows(p, " ");
        if (reasoned) {
            bl_say(p, x->reason);
            bl_say(p, " ");
        }
        bl_say(p, reasoned ? set->so : "The answer is ");
        bl_say(p, x->answer);
        bl_say(p, ".");
        bl_question_follows(p, "\n\n");
    }
}

bl_status bl_cot_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    bool answer_only = d->how == DIRECT || turn->step == 1;
    (void)e;

    if (turn->step > (d->how == ZEROSHOT)) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    if (d->how != ZEROSHOT) bl_cot_say_examples(&p, d->set, d->how == REASONED);
    bl_say(&p, "Q: ");
    bl_quote(&p, d->item[i].question);
    bl_say(&p, "\nA:");
    bl_reply_begins(&p);
    if (d->how == ZEROSHOT) bl_say(&p, " Let's think step by step.");
    if (turn->step == 1) {
        bl_quote(&p, turn->reply[0].text ? turn->reply[0].text : "");
        bl_say(&p, "\n");
        bl_say(&p, d->set->therefore);
    }
    *out = (bl_request){.kind = BL_ASK_GENERATE,
                        .prompt = p,
                        .stop = bl_cot_stops,
                        .n_stops = BL_COUNT(bl_cot_stops),
                        .max_new = answer_only ? BL_MIN(d->max_new, ANSWER_TOKENS) : d->max_new};
    return BL_OK;
}

/* ---- answers ---- */
static bool in_word(char c) { return isalnum((unsigned char)c); }

static bool at_word(const char *text, const char *s) { return s == text || !in_word(s[-1]); }

/* A letter that stands alone, yes or no in any case, a word: at s, in `text`. Length; 0: none. */
static size_t answer_at(bl_cot_answer kind, const char *text, const char *s)
{
    size_t n = 0;
    if (!at_word(text, s)) return 0;
    if (kind == BL_COT_LETTER) n = *s >= 'A' && *s <= 'E';
    if (kind == BL_COT_YES_NO) n = !strncasecmp(s, "yes", 3) ? 3 : !strncasecmp(s, "no", 2) ? 2 : 0;
    if (kind == BL_COT_WORD)
        while (isalpha((unsigned char)s[n])) n++;
    return n && !in_word(s[kind == BL_COT_LETTER && s[n] == ')' ? n + 1 : n]) ? n : 0;
}

static bl_cot_found first_answer(bl_cot_answer kind, const char *text, const char *from)
{
    for (const char *s = from; *s; s++) {
        size_t n = answer_at(kind, text, s);
        if (n) return (bl_cot_found){s, n};
    }
    return (bl_cot_found){0};
}

/* "he answer is (A)": what follows it at once, but for quotes and a bracket. */
bl_cot_found bl_cot_strict(bl_cot_answer kind, const char *text)
{
    static const char trigger[] = "he answer is";
    if (kind == BL_COT_NUMBER) {
        bl_cot_found f = {0};
        return bl_answer_strict(text, &f.s, &f.n) ? f : (bl_cot_found){0};
    }
    for (const char *p = text; (p = strstr(p, trigger)) != NULL; p++) {
        const char *s = p + strlen(trigger);
        s += strspn(s, " \"'(");
        size_t n = answer_at(kind, text, s);
        if (n) return (bl_cot_found){s, n};
    }
    return (bl_cot_found){0};
}

/* The last "(C)", yes or no. */
static bl_cot_found last_answer(bl_cot_answer kind, const char *text)
{
    bl_cot_found f = {0};
    for (const char *s = text; *s && kind != BL_COT_WORD; s++) {
        size_t n = answer_at(kind, text, s);
        if (n && (kind == BL_COT_YES_NO || (s > text && s[-1] == '(' && s[n] == ')'))) f = (bl_cot_found){s, n};
    }
    return f;
}

static bl_cot_found flexible_answer(bl_cot_answer kind, const char *text)
{
    static const char trigger[] = "nswer is";
    const char *after = NULL;
    bl_cot_found f = {0};

    if (kind == BL_COT_NUMBER) return bl_answer_flexible(text, &f.s, &f.n) ? f : (bl_cot_found){0};
    for (const char *p = text; (p = strstr(p, trigger)) != NULL; p++) after = p + strlen(trigger);
    if (after) f = first_answer(kind, text, after);
    return f.s ? f : last_answer(kind, text);
}

/* -?\d+\.?\d* with commas inside passed over; a final dot goes when answers are compared. */
bl_cot_found bl_cot_first_number(const char *text)
{
    for (const char *s = text; *s; s++) {
        size_t n = strspn(s, "0123456789,.");
        if (!isdigit((unsigned char)*s)) continue;
        if (s > text && s[-1] == '-') return (bl_cot_found){s - 1, n + 1};
        return (bl_cot_found){s, n};
    }
    return (bl_cot_found){0};
}

/* Of the second reply of zeroshot: its first number, letter, yes or no; the last word of its first line. */
static bl_cot_found cleaned_answer(bl_cot_answer kind, const char *text)
{
    bl_cot_found f = {0};
    const char *s = text + strspn(text, " \t\r\n"), *end = s + strcspn(s, "\n");

    if (kind == BL_COT_NUMBER) return bl_cot_first_number(text);
    if (kind != BL_COT_WORD) return first_answer(kind, text, text);
    for (size_t n; s < end; s += n) {
        n = 1;
        if (!in_word(*s)) continue;
        while (s + n < end && in_word(s[n])) n++;
        f = (bl_cot_found){s, n};
    }
    return f;
}

static bool equal(bl_cot_answer kind, bl_cot_found f, const char *gold)
{
    if (!f.s) return false;
    if (kind == BL_COT_NUMBER) return bl_answer_equal(f.s, f.n, gold);
    return strlen(gold) == f.n && !strncasecmp(gold, f.s, f.n);
}

/* ---- marking ---- */
bl_status bl_cot_score(bl_cot_found strict, bl_cot_found flexible, bl_cot_answer kind, const char *gold, bl_arena *a,
                       bl_sample *out, bl_err *e)
{
    const double score[] = {[STRICT] = equal(kind, strict, gold),
                            [FLEXIBLE] = equal(kind, flexible, gold),
                            [NO_STRICT] = !strict.s,
                            [NO_FLEXIBLE] = !flexible.s};
    bl_cot_found shown = strict.s ? strict : flexible;
    bl_status st;

    BL_TRY(bl_sample_scores(out, a, score, BL_COUNT(score), e));
    BL_TRY(bl_sample_answer(out, a, shown.s, shown.n, e));
out:
    return st;
}

bl_status bl_cot_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    bl_cot_answer kind = d->set->answer;
    const char *text = turn->reply[0].text ? turn->reply[0].text : "";
    bl_cot_found strict, flexible = flexible_answer(kind, text);

    if (d->how == ZEROSHOT) {
        strict = cleaned_answer(kind, turn->reply[1].text ? turn->reply[1].text : "");
        if (strict.s) flexible = strict;
    } else strict = bl_cot_strict(kind, text);
    return bl_cot_score(strict, flexible, kind, d->item[i].gold, turn->arena, out, e);
}

const char *bl_cot_gold(bl_task_data *t, int64_t i) { return ((const data *)t->rows)->item[i].gold; }
