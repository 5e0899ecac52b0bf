/* samples_text.c - texts, instructions, conversations and chains of thought as sequences of tokens.
 *
 * What counts is found by lengths: text up to a place is encoded alone, and as many tokens of the whole are before it,
 * as Stanford Alpaca does it. So tokens are those of the whole, and a prompt at inference ends as it did in training.
 */
#include "samples_impl.h"
#include "harness/data/reader.h"
#include <string.h>

/* A text, and the parts of it that count: [from, to) in bytes. */
typedef struct example {
    bl_text text;
    size_t *span; /* [2 n] */
    size_t n, cap;
    bool ends;         /* an EOS after it, which counts */
    const char *empty; /* what of it is and should be an answer; NULL: nothing is */
    bl_ids ids, part;
    uint8_t *mask;
    size_t cap_mask;
} example;

static void clear(example *x)
{
    x->text.n = x->n = x->ids.n = 0;
    x->ends = false;
    x->empty = NULL;
}

static void free_example(example *x)
{
    bl_text_free(&x->text);
    bl_ids_free(&x->ids);
    bl_ids_free(&x->part);
    bl_free(x->span);
    bl_free(x->mask);
}

static bl_status counts(example *x, size_t from, size_t to, bl_err *e)
{
    bl_status st = bl_grow(&x->span, &x->cap, 2 * (x->n + 1), sizeof *x->span, e);
    if (st != BL_OK) return st;
    x->span[2 * x->n] = from;
    x->span[2 * x->n++ + 1] = to;
    return BL_OK;
}

static void answers(example *x, const char *what, const char *s, size_t n)
{
    if (!x->empty && bl_samples_blank(s, n)) x->empty = what;
}

/* Tokens of the first n bytes. */
static bl_status tokens_of(const bl_tokenizer *t, example *x, size_t n, size_t *out, bl_err *e)
{
    x->part.n = 0;
    bl_status st = bl_encode(t, x->text.s, n, BL_ENCODE_BOS, &x->part, e);
    *out = x->part.n;
    return st;
}

static bl_status put(bl_samples_reader *r, example *x, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_tokenizer *t = r->o->tokenizer;
    size_t from, to;

    BL_TRY(bl_text_check(&x->text, e));
    BL_TRY(bl_encode(t, x->text.s, x->text.n, BL_ENCODE_BOS, &x->ids, e));
    size_t n = x->ids.n;
    if (x->ends && bl_tokenizer_eos(t) >= 0) BL_TRY(bl_ids_push(&x->ids, bl_tokenizer_eos(t), e));
    BL_TRY(bl_grow(&x->mask, &x->cap_mask, x->ids.n + 1, 1, e));
    memset(x->mask, 0, x->ids.n);
    for (size_t i = 0; i < x->n; i++) {
        BL_TRY(tokens_of(t, x, x->span[2 * i], &from, e));
        to = n;
        if (x->span[2 * i + 1] < x->text.n) BL_TRY(tokens_of(t, x, x->span[2 * i + 1], &to, e));
        for (size_t k = from; k < BL_MIN(to, n); k++) x->mask[k] = 1;
    }
    for (size_t k = n; k < x->ids.n; k++) x->mask[k] = 1;
    BL_TRY(bl_samples_add(r, x->ids.id, x->mask, (int64_t)x->ids.n, e));
out:
    return st;
}

/* The text of a key; *out NULL when it is absent or null. */
static bl_status maybe(const bl_json *row, const char *key, const char **out, bl_err *e)
{
    const bl_json *v = bl_json_get(row, key);
    *out = NULL;
    return v && bl_json_kind(v) != BL_JSON_NULL ? bl_json_str(v, out, e) : BL_OK;
}

/* ---- instructions: tatsu-lab/stanford_alpaca ---- */
static bl_status alpaca(const bl_json *row, example *x, bl_err *e)
{
    bl_status st = BL_OK;
    const char *instruction, *input, *output;
    BL_TRY(bl_json_get_str(row, "instruction", &instruction, e));
    BL_TRY(maybe(row, "input", &input, e));
    BL_TRY(bl_json_get_str(row, "output", &output, e));
    bool has = input && *input;
    bl_text_add(&x->text, has ? "Below is an instruction that describes a task, paired with an input that provides "
                                "further context. Write a response that appropriately completes the request.\n\n"
                              : "Below is an instruction that describes a task. Write a response that appropriately "
                                "completes the request.\n\n");
    bl_text_addf(&x->text, "### Instruction:\n%s\n\n", instruction);
    if (has) bl_text_addf(&x->text, "### Input:\n%s\n\n", input);
    bl_text_add(&x->text, "### Response:");
    size_t from = x->text.n;
    bl_text_add(&x->text, output);
    answers(x, "'output'", output, strlen(output));
    BL_TRY(counts(x, from, x->text.n, e));
    x->ends = true;
out:
    return st;
}

/* ---- conversations ---- */
static const char human[] = "### Human:", assistant[] = "### Assistant:";

static bl_status one_turn(const bl_json *turn, bool named, example *x, bl_err *e)
{
    bl_status st = BL_OK;
    const char *who, *says;
    BL_TRY(bl_json_get_str(turn, named ? "role" : "from", &who, e));
    BL_TRY(bl_json_get_str(turn, named ? "content" : "value", &says, e));
    bool user = !strcmp(who, "user") || !strcmp(who, "human"), system = !strcmp(who, "system");
    if (!user && !system && strcmp(who, "assistant") != 0 && strcmp(who, "gpt") != 0)
        return bl_fail(e, BL_E_FORMAT, "a turn of '%.40s', expected system, user or assistant (human or gpt)", who);
    bl_text_add(&x->text, x->text.n ? " " : "");
    x->ends = !user && !system;
    if (x->ends) {
        bl_text_add(&x->text, assistant);
        size_t from = x->text.n;
        bl_text_addf(&x->text, " %s", says);
        answers(x, "a turn of the assistant", says, strlen(says));
        BL_TRY(counts(x, from, x->text.n, e));
    } else bl_text_addf(&x->text, "%s%s%s", user ? human : "", user ? " " : "", says);
out:
    return st;
}

/* What stands between "### Assistant:" and the next "### Human:" or the end. */
static bl_status turns_in(example *x, bl_err *e)
{
    bl_status st = bl_text_check(&x->text, e);
    if (st != BL_OK) return st;
    for (char *at = strstr(x->text.s, assistant); at; at = strstr(at, assistant)) {
        at += strlen(assistant);
        const char *next = strstr(at, human);
        size_t to = next ? (size_t)(next - x->text.s) : x->text.n;
        if (next && to > 0 && x->text.s[to - 1] == ' ') to--;
        answers(x, "a turn of the assistant", at, to - (size_t)(at - x->text.s));
        BL_TRY(counts(x, (size_t)(at - x->text.s), to, e));
        x->ends = !next;
    }
    if (!x->n) st = bl_fail(e, BL_E_FORMAT, "its text has no turn '%s'", assistant);
out:
    return st;
}

static bl_status chat(const bl_json *row, example *x, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *named = bl_json_get(row, "messages"), *list = named ? named : bl_json_get(row, "conversations");
    const char *text, *input, *output;

    if (list && bl_json_kind(list) != BL_JSON_ARRAY)
        return bl_fail(e, BL_E_FORMAT, "'%s' is no list", bl_json_key(list));
    for (const bl_json *t = list ? bl_json_first(list) : NULL; t; t = bl_json_next(t))
        BL_TRY(one_turn(t, named != NULL, x, e));
    if (list && !x->n)
        return bl_fail(e, BL_E_FORMAT, "no turn of the assistant, expected at least one: nothing else counts");
    if (list) goto out;
    BL_TRY(maybe(row, "text", &text, e));
    BL_TRY(maybe(row, "input", &input, e));
    BL_TRY(maybe(row, "output", &output, e));
    if (text) bl_text_add(&x->text, text);
    else bl_text_addf(&x->text, "%s%s%s", input ? input : "", input && *input ? " " : "", output ? output : "");
    BL_TRY(turns_in(x, e));
out:
    return st;
}

/* ---- chains of thought ---- */
/* Without marks <<48/2=24>> of a calculator; white space becomes one space. */
static void add_flat(bl_text *t, const char *s, size_t n)
{
    bool space = false, any = false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '<' && i + 1 < n && s[i + 1] == '<') {
            const char *end = strstr(s + i, ">>");
            if (end && end < s + n) {
                i = (size_t)(end - s) + 1;
                continue;
            }
        }
        if (strchr(" \t\r\n", s[i])) {
            space = any;
            continue;
        }
        if (space) bl_text_add(t, " ");
        bl_text_addn(t, s + i, 1);
        space = false;
        any = true;
    }
}

static bl_status cot(const bl_json *row, example *x, bl_err *e)
{
    bl_status st = BL_OK;
    const char *question, *rationale, *answer;
    BL_TRY(bl_json_get_str(row, "question", &question, e));
    BL_TRY(bl_json_get_str(row, "answer", &answer, e));
    BL_TRY(maybe(row, "rationale", &rationale, e));
    size_t n = rationale ? strlen(rationale) : 0;
    if (!rationale) {
        const char *mark = strstr(answer, "####");
        if (!mark) return bl_fail(e, BL_E_FORMAT, "neither 'rationale' nor '####' in its answer");
        rationale = answer;
        n = (size_t)(mark - answer);
        answer = mark + 4;
    }
    answers(x, "'answer'", answer, strlen(answer));
    bl_text_addf(&x->text, "Q: %s\nA:", question);
    size_t from = x->text.n;
    size_t before = x->text.n;
    bl_text_add(&x->text, " ");
    add_flat(&x->text, rationale, n);
    if (x->text.n == before + 1) x->text.n = before; /* no reasoning: the answer at once */
    bl_text_add(&x->text, " The answer is ");
    add_flat(&x->text, answer, strlen(answer));
    bl_text_add(&x->text, ".");
    BL_TRY(counts(x, from, x->text.n, e));
    x->ends = true;
out:
    return st;
}

/* ---- files ---- */
static bl_status plain(bl_samples_reader *r, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    char *text = NULL;
    uint8_t *all = NULL;
    bl_ids ids = {0};
    size_t n, step = (size_t)r->o->seqlen;
    bool left_out = false;

    BL_TRY(bl_text_file(path, 0, &text, &n, NULL, e));
    if (bl_samples_blank(text, n)) st = bl_samples_empty(r, "its text", &left_out, e);
    if (st != BL_OK) bl_within(e, "%s", path);
    if (st != BL_OK || left_out) goto out;
    BL_TRY(bl_encode(r->o->tokenizer, text, n, BL_ENCODE_BOS, &ids, e));
    if (!(all = bl_new(step, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memset(all, 1, step);
    for (size_t at = 0; at < ids.n; at += step) {
        st = bl_samples_add(r, ids.id + at, all, (int64_t)BL_MIN(step, ids.n - at), e);
        if (st != BL_OK) {
            bl_within(e, "%s", path);
            goto out;
        }
    }
out:
    bl_free(all);
    bl_free(text);
    bl_ids_free(&ids);
    return st;
}

bl_status bl_samples_text(bl_samples_reader *r, const char *path, bl_sample_format f, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *rows = NULL;
    const bl_json *row;
    example x = {0};

    if (f == BL_SAMPLES_TEXT) return plain(r, path, e);
    BL_TRY(bl_rows_open(path, &rows, e));
    for (;;) {
        BL_TRY(bl_rows_json(rows, &row, e));
        if (!row) break;
        clear(&x);
        st = bl_samples_keys(row, f, e);
        if (st == BL_OK)
            st = f == BL_SAMPLES_ALPACA ? alpaca(row, &x, e)
                 : f == BL_SAMPLES_CHAT ? chat(row, &x, e)
                                        : cot(row, &x, e);
        bool left_out = false;
        if (st == BL_OK && x.empty) st = bl_samples_empty(r, x.empty, &left_out, e);
        if (st == BL_OK && !left_out) st = put(r, &x, e);
        if (st != BL_OK) {
            if (!strstr(e ? e->text : "", bl_rows_where(rows))) bl_within(e, "%s", bl_rows_where(rows));
            goto out;
        }
    }
out:
    bl_rows_close(rows);
    free_example(&x);
    return st;
}
