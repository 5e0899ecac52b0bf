/* duel.c - prompts of a judge. */
#include "duel.h"
#include "harness/data/reader.h"
#include "kernels/base/json.h"
#include <string.h>

static const char *const fields[] = {"{question}", "{answer_a}", "{answer_b}", "{ref_answer_1}"};
enum { REFERENCE = 3, FIELDS };

static bl_status copy(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    const char *s;
    bl_status st = bl_json_get_str(row, key, &s, e);
    if (st == BL_OK && !(*out = bl_arena_str(a, s, strlen(s), e))) st = BL_E_NOMEM;
    return st;
}

/* Is it asked with two answers to one question, and with a reference? */
static bool single_turn(const char *text)
{
    for (int i = 0; i < REFERENCE; i++)
        if (!strstr(text, fields[i])) return false;
    return true;
}

static bl_status read_row(const bl_json *row, bl_arena *a, bl_judge_prompts *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_judge_prompt p;
    const char *type;

    if (bl_json_kind(row) != BL_JSON_OBJECT) return bl_fail(e, BL_E_FORMAT, "expected an object");
    BL_TRY(bl_json_get_str(row, "type", &type, e));
    BL_TRY(copy(row, "name", a, &p.name, e));
    BL_TRY(copy(row, "system_prompt", a, &p.system, e));
    BL_TRY(copy(row, "prompt_template", a, &p.text, e));
    if (strcmp(type, "pairwise") != 0 || !single_turn(p.text)) goto out;
    bl_judge_prompt *to = strstr(p.text, fields[REFERENCE]) ? &out->with_reference : &out->general;
    if (!to->name) *to = p;
out:
    return st;
}

bl_status bl_judge_prompts_read(const char *path, bl_arena *a, bl_judge_prompts *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    bl_judge_prompts p = {0};
    const bl_json *j;

    BL_TRY(bl_rows_open_as(path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) BL_TRY(bl_rows_within(r, read_row(j, a, &p, e), e));
    if (st == BL_OK && !p.general.name)
        st = bl_fail(e, BL_E_FORMAT, "%s: no prompt of type pairwise with {question}, {answer_a} and {answer_b}", path);
    if (st == BL_OK) *out = p;
out:
    bl_rows_close(r);
    return st;
}

bl_prompt bl_judge_ask(const bl_judge_prompt *p, const bl_duel *d, bl_arena *a)
{
    const char *value[FIELDS] = {d->question, d->answer[0], d->answer[1], d->reference};
    bl_prompt out = bl_prompt_new(a);
    const char *s = p->text, *from = s;

    if (*p->system) {
        bl_quote(&out, p->system);
        bl_quote(&out, "\n\n");
    }
    while (*s) {
        int k = 0;
        if (*s == '{')
            while (k < FIELDS && strncmp(s, fields[k], strlen(fields[k])) != 0) k++;
        if (*s != '{' || k == FIELDS) {
            s++;
            continue;
        }
        bl_quoten(&out, from, (size_t)(s - from));
        bl_quote(&out, value[k] ? value[k] : "");
        from = s += strlen(fields[k]);
    }
    bl_quoten(&out, from, (size_t)(s - from));
    return out;
}

bl_judged bl_judged_text(const char *reply)
{
    static const char *const says[] = {"[[A]]", "[[B]]", "[[C]]"};
    for (int k = 0; k < BL_JUDGED_NOTHING; k++)
        if (strstr(reply, says[k])) return (bl_judged)k;
    return BL_JUDGED_NOTHING;
}

bl_judged bl_judged_letters(const bl_reply *r)
{
    int best = 0;
    for (int k = 0; k < BL_JUDGED_NOTHING; k++) {
        if (k >= r->n || r->tokens[k] == 0) return BL_JUDGED_NOTHING;
        if (r->nll[k] < r->nll[best]) best = k;
    }
    return (bl_judged)best;
}
