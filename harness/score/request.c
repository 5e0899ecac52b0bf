/* request.c - what `ask` of a task builds its requests with: prompts of template and data, pairs of context and
 * continuation. */
#include "harness/task.h"
#include "kernels/base/utf8.h"
#include <string.h>

bl_prompt bl_prompt_new(bl_arena *a) { return (bl_prompt){.arena = a}; }

/* Memory that runs out is remembered and said by the call that makes the request. */
static void add(bl_prompt *p, const char *text, size_t n, bool data)
{
    if (p->failed || !n) return;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 8;
        bl_span *more = bl_alloc(p->arena, cap, sizeof *more, NULL);
        if (!more) {
            p->failed = true;
            return;
        }
        if (p->n) memcpy(more, p->span, p->n * sizeof *more);
        p->span = more;
        p->cap = cap;
    }
    const char *copy = bl_arena_str(p->arena, text, n, NULL);
    if (!copy) {
        p->failed = true;
        return;
    }
    p->span[p->n++] = (bl_span){copy, n, data};
}

void bl_sayn(bl_prompt *p, const char *template_text, size_t n) { add(p, template_text, n, false); }
void bl_say(bl_prompt *p, const char *template_text) { add(p, template_text, strlen(template_text), false); }
void bl_quote(bl_prompt *p, const char *data) { add(p, data, strlen(data), true); }
void bl_quoten(bl_prompt *p, const char *data, size_t n) { add(p, data, n, true); }
void bl_filln(bl_prompt *p, const char *data, size_t n)
{
    add(p, data, n, true);
    if (n) p->fill = p->n;
}

void bl_reply_begins(bl_prompt *p) { p->turn = p->n; }
void bl_system_was(bl_prompt *p) { p->system = p->n; }
void bl_reply_was(bl_prompt *p)
{
    size_t n = p->n_exchanges;
    if (p->failed) return;
    if (!(n & (n - 1))) { /* as many as there is room for: a power of two */
        struct bl_exchange *more = bl_alloc(p->arena, n ? 2 * n : 1, sizeof *more, NULL);
        if (!more) {
            p->failed = true;
            return;
        }
        if (n) memcpy(more, p->exchange, n * sizeof *more);
        p->exchange = more;
    }
    p->exchange[p->n_exchanges++] = (struct bl_exchange){.said = p->n, .again = SIZE_MAX};
}
void bl_message_again(bl_prompt *p)
{
    if (p->n_exchanges) p->exchange[p->n_exchanges - 1].again = p->n;
}

const char *bl_prompt_between(const bl_prompt *p, size_t i)
{
    for (size_t k = 0; k < p->n_exchanges; k++) {
        if (p->exchange[k].said == i) return " ";
        if (p->exchange[k].again == i) return "\n\n";
    }
    return "";
}

void bl_answer_follows(bl_prompt *p, const char *delimiter)
{
    if (p->turns) bl_reply_was(p);
    else bl_say(p, delimiter);
}
void bl_question_follows(bl_prompt *p, const char *delimiter)
{
    if (p->turns) bl_message_again(p);
    else bl_say(p, delimiter);
}

int bl_request_prompts(bl_request *r, bl_prompt **out)
{
    *out = r->n_prompts ? r->prompts : &r->prompt;
    return BL_MAX(r->n_prompts, 1);
}

bl_status bl_done(bl_request *out)
{
    *out = (bl_request){.kind = BL_ASK_DONE};
    return BL_OK;
}

/* " choice", with the counts of what is after the space. */
static bl_status pair_of(bl_prompt context, const char *choice, bl_pair *out, bl_err *e)
{
    size_t n = strlen(choice);
    char *s;

    if (context.failed) return bl_fail(e, BL_E_NOMEM, "no memory for a prompt");
    if (!(s = bl_alloc(context.arena, n + 2, 1, e))) return BL_E_NOMEM;
    s[0] = ' ';
    memcpy(s + 1, choice, n);
    *out = (bl_pair){.context = context,
                     .continuation = s,
                     .chars = (int64_t)bl_utf8_count(choice, n),
                     .bytes = (int64_t)n,
                     .delimited = true};
    return BL_OK;
}

bl_status bl_ask_pairs(bl_request *out, bl_prompt context, const char *const *choice, int n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_pair *pair;

    if (!(pair = bl_alloc(context.arena, (size_t)n, sizeof *pair, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < n; i++) BL_TRY(pair_of(context, choice[i], &pair[i], e));
    *out = (bl_request){.kind = BL_ASK_PAIRS, .pair = pair, .n_pairs = n};
out:
    return st;
}

bl_status bl_ask_contexts(bl_request *out, const bl_prompt *context, int n, const char *continuation, bl_err *e)
{
    bl_status st = BL_OK;
    bl_pair *pair;

    if (!(pair = bl_alloc(context[0].arena, (size_t)n, sizeof *pair, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < n; i++) BL_TRY(pair_of(context[i], continuation, &pair[i], e));
    *out = (bl_request){.kind = BL_ASK_PAIRS, .pair = pair, .n_pairs = n};
out:
    return st;
}
