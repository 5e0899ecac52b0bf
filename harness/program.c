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

static const char chat[] = "+chat";

bool bl_task_chat(const char *name)
{
    size_t n = strlen(name);
    return n > strlen(chat) && !strcmp(name + n - strlen(chat), chat);
}

bl_status bl_task_read(const bl_task *t, const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st;
    bl_task_load plain = *how;
    bool through = t->chat && bl_task_chat(how->name);

    if (through && !(plain.name = bl_arena_str(out->arena, how->name, strlen(how->name) - strlen(chat), e)))
        return BL_E_NOMEM;
    st = t->load(&plain, out, e);
    out->chat = through;
    return st;
}

bl_status bl_task_ask(const bl_task *t, bl_task_data *d, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    bl_prompt *prompt;
    bl_status st = t->ask(d, i, turn, out, e);
    if (st != BL_OK || !d->chat) return st;
    int n = out->kind == BL_ASK_GENERATE ? bl_request_prompts(out, &prompt) : 0;
    for (int k = 0; k < n; k++) prompt[k].chat = true;
    for (int k = 0; out->kind == BL_ASK_PAIRS && k < out->n_pairs; k++) out->pair[k].context.chat = true;
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
static int which_name(const bl_task *t, const char *text)
{
    size_t base;
    int j = t->chat && bl_task_chat(text) ? name_of(t, text, strlen(text) - strlen(chat)) : -1;
    if (j >= 0 || (j = name_of(t, text, strlen(text))) >= 0) return j;
    if (bl_task_shots(text, &base)) j = name_of(t, text, base);
    else if ((base = shots_of(text)) > 0 && !strcmp(text + base, ":0shot")) {
        j = name_of(t, text, base);
        if (j >= 0 && own_shots(t, j) != 0) j = -1;
    }
    return j >= 0 && bl_task_few(t, t->names[j]) ? j : -1;
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
    int asked = t->few ? bl_task_shots(name, NULL) : 0, which = which_name(t, name);
    return asked ? asked : t->shots && which >= 0 ? t->shots[which] : 0;
}

const char *bl_task_split(const bl_task *t, const char *name)
{
    int which = which_name(t, name);
    return t->splits && which >= 0 ? t->splits[which] : "";
}

bl_status bl_program_task(const bl_program *p, const char *text, const bl_task **out, const char **name, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    const char *const *names;

    for (size_t i = 0; p->tasks[i]; i++) {
        int j = which_name(p->tasks[i], text);
        if (j < 0) continue;
        *out = p->tasks[i];
        *name = kept_name(p->tasks[i], j, text);
        return BL_OK;
    }
    BL_TRY(bl_program_shots(p, text, e));
    BL_TRY(bl_arena_new(&a, e));
    char *plain = NULL;
    if (bl_task_chat(text) && !(plain = bl_arena_str(a, text, strlen(text) - strlen(chat), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; plain && !bl_task_chat(plain) && p->tasks[i]; i++) {
        if (which_name(p->tasks[i], plain) < 0) continue;
        st = bl_fail(e, BL_E_CONFIG, "task '%s' is not asked through a chat template; without %s it is there", plain,
                     chat);
        goto out;
    }
    if (!(names = bl_program_task_names(p, a, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    const char *near = bl_nearest(text, names);
    st = near ? bl_fail(e, BL_E_CONFIG, "no task '%s'; did you mean %s?", text, near)
              : bl_fail(e, BL_E_CONFIG, "no task '%s'; see: bitladder list tasks", text);
out:
    bl_arena_free(a);
    return st;
}

const bl_metric *bl_task_metrics(const bl_task *t, const char *name, int *n)
{
    if (t->metrics_of) return t->metrics_of(name, n);
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
