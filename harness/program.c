/* program.c - finding methods and tasks by name. */
#include "program.h"
#include <stdlib.h>
#include <string.h>

bl_status bl_program_method(const bl_program *p, const char *name, const bl_method **out, bl_err *e)
{
    const char *names[256];
    size_t n = 0;
    for (size_t i = 0; p->methods[i]; i++) {
        if (strcmp(p->methods[i]->name, name) == 0) {
            *out = p->methods[i];
            return BL_OK;
        }
        if (n < BL_COUNT(names) - 1) names[n++] = p->methods[i]->name;
    }
    names[n] = NULL;
    const char *near = bl_nearest(name, names);
    return near ? bl_fail(e, BL_E_CONFIG, "no method '%s'; did you mean %s?", name, near)
                : bl_fail(e, BL_E_CONFIG, "no method '%s'; see: bitladder list methods", name);
}

const char *const *bl_program_task_names(const bl_program *p, bl_arena *a, bl_err *e)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) n++;
    const char **names = bl_alloc(a, n + 1, sizeof *names, e);
    if (!names) return NULL;
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) names[at++] = p->tasks[i]->names[j];
    return names;
}

enum { MOST_SHOTS = 64 };

int bl_task_shots(const char *name, size_t *base)
{
    const char *suffix = strrchr(name, ':');
    char *end;
    long n;

    if (base) *base = strlen(name);
    if (!suffix || suffix[1] < '1' || suffix[1] > '9') return 0;
    n = strtol(suffix + 1, &end, 10);
    if (n > MOST_SHOTS || strcmp(end, "shot")) return 0;
    if (base) *base = (size_t)(suffix - name);
    return (int)n;
}

/* ---- through a chat template ---- */
enum { MOST_NAME = 128 };
static const char chat[] = "+chat", turns[] = "+turns";
/* What a name says: the task's own, and how it is asked. */
typedef struct asked {
    char plain[MOST_NAME];
    bool chat, turns;
} asked;

static bool cut_end(const char *text, size_t *n, const char *end)
{
    size_t m = strlen(end);
    if (*n <= m || strncmp(text + *n - m, end, m)) return false;
    *n -= m;
    return true;
}

static asked asked_of(const char *text)
{
    asked a = {0};
    size_t n = strlen(text), whole = n;
    a.turns = cut_end(text, &n, turns);
    a.chat = cut_end(text, &n, chat);
    if (!a.chat) n = whole, a.turns = false;
    snprintf(a.plain, sizeof a.plain, "%.*s", (int)BL_MIN(n, MOST_NAME - 1), text); /* no name is as long */
    return a;
}

bl_status bl_task_read(const bl_task *t, const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_task_load plain = *how;
    asked a = asked_of(how->name);

    out->chat = a.chat && !t->no_chat;
    out->turns = out->chat && a.turns;
    if (out->chat && !(plain.name = bl_arena_str(out->arena, a.plain, strlen(a.plain), e))) return BL_E_NOMEM;
    return t->load(&plain, out, e);
}

bl_prompt bl_task_prompt(const bl_task_data *d, bl_arena *a)
{
    bl_prompt p = bl_prompt_new(a);
    p.turns = d->turns;
    return p;
}

bl_status bl_task_ask(const bl_task *t, bl_task_data *d, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    bl_prompt *prompt;
    bl_status st = t->ask(d, i, turn, out, e);
    if (st != BL_OK || !d->chat) return st;
    int n = out->kind == BL_ASK_GENERATE ? bl_request_prompts(out, &prompt) : 0;
    for (int k = 0; k < n; k++) prompt[k].chat = true;
    for (int k = 0; out->kind == BL_ASK_PAIRS && k < out->n_pairs; k++) {
        bl_pair *p = &out->pair[k];
        p->context.chat = true;
        if (p->delimited && !p->context.turn) p->continuation++;
        p->delimited = false;
    }
    return BL_OK;
}

bool bl_task_few(const bl_task *t, const char *name)
{
    const char *suffix = strrchr(name, ':');
    size_t n = suffix ? strlen(suffix) : 0;
    return t->few && !(n > 4 && !strcmp(suffix + n - 4, "shot"));
}

/* Bytes of "foo" in "foo:5shot", "foo:0shot", "foo:99shot", whatever follows the last colon and ends in "shot"; 0: it
 * is not such a name. */
static size_t shots_of(const char *text)
{
    const char *suffix = strrchr(text, ':');
    size_t n = suffix ? strlen(suffix) : 0;
    return n > 5 && !strcmp(suffix + n - 4, "shot") ? (size_t)(suffix - text) : 0;
}

static int name_of(const bl_task *t, const char *text, size_t n)
{
    for (int j = 0; t->names[j]; j++)
        if (strlen(t->names[j]) == n && !strncmp(t->names[j], text, n)) return j;
    return -1;
}

/* What name j has in front by itself, as NAME:Nshot would draw it; -1: it would not. */
static int own_shots(const bl_task *t, int j) { return t->fixed ? -1 : t->shots ? t->shots[j] : 0; }

/* Which of a task's names it is; -1: none. */
static int which_plain(const bl_task *t, const char *text)
{
    size_t base;
    int j = name_of(t, text, strlen(text));
    if (j >= 0) return j;
    if (bl_task_shots(text, &base)) j = name_of(t, text, base);
    else if ((base = shots_of(text)) > 0 && !strcmp(text + base, ":0shot")) {
        j = name_of(t, text, base);
        if (j >= 0 && own_shots(t, j) != 0) j = -1;
    }
    return j >= 0 && bl_task_few(t, t->names[j]) ? j : -1;
}

static int examples_of(const bl_task *t, const char *plain, int j)
{
    int drawn = t->few ? bl_task_shots(plain, NULL) : 0;
    return drawn ? drawn : t->shots && j >= 0 ? t->shots[j] : 0;
}

/* Are there worked examples that could be turns of a conversation? What is fixed is part of the question. */
static bool has_turns(const bl_task *t, const char *plain, int j)
{
    return examples_of(t, plain, j) > 0 && !(t->fixed && !bl_task_shots(plain, NULL));
}

static int which_name(const bl_task *t, const char *text)
{
    asked a = asked_of(text);
    int j = which_plain(t, a.plain);
    return a.chat && t->no_chat ? -1 : a.turns && j >= 0 && !has_turns(t, a.plain, j) ? -1 : j;
}

/* The name under which a measurement is kept: mmlu:5shot is mmlu, aqua:0shot is aqua. */
static const char *kept_name(const bl_task *t, int j, const char *text)
{
    size_t base = shots_of(text);
    bool whole = !strcmp(t->names[j], text), own = base > 0 && bl_task_shots(text, NULL) == own_shots(t, j);
    return whole || (own && base == strlen(t->names[j])) ? t->names[j] : text;
}

bl_status bl_program_shots(const bl_program *p, const char *text, bl_err *e)
{
    size_t base = shots_of(text);
    for (size_t i = 0; base && p->tasks[i]; i++) {
        const bl_task *t = p->tasks[i];
        int j = name_of(t, text, base);
        if (j < 0 || which_name(t, text) >= 0) continue;
        if (!bl_task_few(t, t->names[j]))
            return bl_fail(e, BL_E_CONFIG, "no task '%s': '%s' takes no other worked examples than it has", text,
                           t->names[j]);
        if (!strcmp(text + base, ":0shot")) return bl_fail(e, BL_E_CONFIG, "no task '%s': %s", text, t->fixed);
        return bl_fail(e, BL_E_CONFIG, "no task '%s': '%s' is no number of worked examples, expected 1shot to %dshot",
                       text, text + base + 1, MOST_SHOTS);
    }
    return BL_OK;
}

int bl_task_examples(const bl_task *t, const char *name)
{
    return examples_of(t, asked_of(name).plain, which_name(t, name));
}

const char *bl_task_split(const bl_task *t, const char *name)
{
    int which = which_name(t, name);
    return t->splits && which >= 0 ? t->splits[which] : "";
}

/* Why a task that is there is not asked in that way. */
static bl_status no_chat(const bl_program *p, const char *text, const asked *how, bl_err *e)
{
    char base[MOST_NAME];
    for (size_t i = 0; how->chat && p->tasks[i]; i++) {
        const bl_task *t = p->tasks[i];
        int j = which_plain(t, how->plain);
        if (j < 0) continue;
        if (t->no_chat) return bl_fail(e, BL_E_CONFIG, "no task '%s', only '%s': %s", text, how->plain, t->no_chat);
        return bl_fail(e, BL_E_CONFIG, "no task '%s', only '%s%s': it has no worked examples that could be turns", text,
                       how->plain, chat);
    }
    snprintf(base, sizeof base, "%.*s", (int)BL_MIN(strcspn(text, "+"), MOST_NAME - 1), text);
    for (size_t i = 0; strchr(text, '+') && p->tasks[i]; i++)
        if (which_plain(p->tasks[i], base) >= 0)
            return bl_fail(e, BL_E_CONFIG,
                           "no task '%s': expected %s%s, or %s%s%s for worked examples as turns of a conversation",
                           text, base, chat, base, chat, turns);
    return BL_OK;
}

/* gsm8k:5shot is no name, but there is a gsm8k:... with five worked examples. */
static const char *with_shots(const bl_program *p, const char *plain)
{
    size_t base;
    int n = bl_task_shots(plain, &base);
    for (size_t i = 0; n && p->tasks[i]; i++)
        for (int j = 0; p->tasks[i]->names[j] && p->tasks[i]->shots; j++)
            if (p->tasks[i]->shots[j] == n && !strncmp(p->tasks[i]->names[j], plain, base + 1))
                return p->tasks[i]->names[j];
    return NULL;
}

/* What begins with "foo:" where that is all that was said. */
static bl_status family_of(const char *const *names, const char *plain, bl_text *out, bl_err *e)
{
    size_t n = strlen(plain);
    for (; n && *names; names++)
        if (!strncmp(*names, plain, n) && (*names)[n] == ':') bl_text_addf(out, "%s%s", out->n ? ", " : "", *names);
    return bl_text_check(out, e);
}

bl_status bl_program_task(const bl_program *p, const char *text, const bl_task **out, const char **name, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    const char *const *names;
    asked how = asked_of(text);
    bl_text family = {0};

    for (size_t i = 0; p->tasks[i]; i++) {
        int j = which_name(p->tasks[i], text);
        if (j < 0) continue;
        const char *kept = kept_name(p->tasks[i], j, how.plain);
        if (how.chat && strcmp(kept, how.plain))
            return bl_fail(e, BL_E_CONFIG, "no task '%s': that is %s%s", text, kept, text + strlen(how.plain));
        *out = p->tasks[i];
        *name = how.chat ? text : kept == how.plain ? text : kept;
        return BL_OK;
    }
    BL_TRY(bl_program_shots(p, how.plain, e));
    BL_TRY(no_chat(p, text, &how, e));
    BL_TRY(bl_arena_new(&a, e));
    if (!(names = bl_program_task_names(p, a, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    const char *near = with_shots(p, how.plain);
    if (!near) BL_TRY(family_of(names, how.plain, &family, e));
    if (!near && !family.n) near = bl_nearest(text, names);
    st = near       ? bl_fail(e, BL_E_CONFIG, "no task '%s'; did you mean %s?", text, near)
         : family.n ? bl_fail(e, BL_E_CONFIG, "no task '%s'; there are %s", text, family.s)
                    : bl_fail(e, BL_E_CONFIG, "no task '%s'; see: bitladder list tasks", text);
out:
    bl_text_free(&family);
    bl_arena_free(a);
    return st;
}

const bl_metric *bl_task_metrics(const bl_task *t, const char *name, int *n)
{
    if (t->metrics_of) return t->metrics_of(asked_of(name).plain, n);
    *n = t->n_metrics;
    return t->metrics;
}

static const bl_metric *metrics_by_name(const void *ctx, const char *name, int64_t version, int *n)
{
    const bl_task *t;
    const char *own;
    if (bl_program_task(ctx, name, &t, &own, NULL) != BL_OK || t->version != version) return NULL;
    return bl_task_metrics(t, own, n);
}

bl_metric_rules bl_program_metrics(const bl_program *p) { return (bl_metric_rules){metrics_by_name, p}; }
