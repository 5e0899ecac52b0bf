/* mark.c - a task's mark of one item, and around it what every sample says whatever its task: no task has to remember
 * it. */
#include "harness/task.h"

/* Is the least nll of several pairs there twice? */
static bool shares_the_least(const bl_reply *r)
{
    int least = 0, count = 0;
    for (int p = 1; p < r->n; p++)
        if (r->nll[p] < r->nll[least]) least = p;
    for (int p = 0; p < r->n; p++) count += r->nll[p] == r->nll[least];
    return count > 1;
}

static bl_status add_reply(bl_sample *s, const bl_reply *r, bl_arena *a, bl_err *e)
{
    if (r->truncated) s->flags |= BL_SAMPLE_TRUNCATED;
    if (r->boundary) s->flags |= BL_SAMPLE_BOUNDARY;
    if (r->unscored) s->flags |= BL_SAMPLE_UNSCORED;
    if (r->hit_limit) s->flags |= BL_SAMPLE_HIT_LIMIT;
    if (r->kind == BL_ASK_GENERATE) {
        s->tokens += r->new_tokens;
        bl_status st = BL_OK;
        for (int p = 0; p < r->n && st == BL_OK; p++) st = bl_sample_reply(s, a, r->texts ? r->texts[p] : r->text, e);
        return st;
    }
    for (int p = 0; p < r->n; p++) s->tokens += r->tokens[p];
    if (r->kind == BL_ASK_PAIRS && shares_the_least(r)) s->flags |= BL_SAMPLE_TIE;
    return BL_OK;
}

bl_status bl_mark_item(const bl_task *t, bl_task_data *d, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    bl_sample s = {.pick = -1, .gold = -1};
    bl_status st;

    BL_TRY(t->mark(d, i, turn, &s, e));
    s.id = i;
    for (int k = 0; k < turn->n_replies; k++) BL_TRY(add_reply(&s, &turn->reply[k], turn->arena, e));
    for (int k = 0; k < s.n_answers; k++)
        if (!s.answer[k]) s.flags |= BL_SAMPLE_NO_ANSWER;
    *out = s;
out:
    if (st != BL_OK) bl_within(e, "item %lld", (long long)i);
    return st;
}
