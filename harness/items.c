/* items.c - the data of a recorded cell, opened again to show its items. */
#include "items.h"
#include "kernels/base/json.h"

#include <string.h>

struct bl_items {
    const bl_task *task;
    bl_task_data data;
    bl_arena *arena;
};

static bl_status set_options(const bl_task *t, const char *text, void *opts, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;

    if (t->opts) bl_opt_defaults(t->opts, opts);
    BL_TRY(bl_json_parse(text, strlen(text), "options of the task", BL_JSON_PLAIN, &doc, e));
    for (const bl_json *o = bl_json_first(doc); o && t->opts; o = bl_json_next(o))
        BL_TRY(bl_opt_set_json(t->opts, opts, bl_json_key(o), o, "options of the task", e));
out:
    bl_json_free(doc);
    return st;
}

bl_status bl_items_open(const bl_program *p, const bl_cell *c, const bl_data_dirs *dirs, bl_items **out, bl_err *e)
{
    bl_status st;
    bl_items *items = bl_new(1, sizeof *items, e);
    const char *name;
    char hash[33];
    void *opts;

    if (!items) return BL_E_NOMEM;
    if (bl_program_task(p, c->task, &items->task, &name, NULL) != BL_OK || items->task->version != c->task_version) {
        st = bl_fail(e, BL_E_MISSING, "this program does not know version %lld of %s", (long long)c->task_version,
                     c->task);
        goto out;
    }
    BL_TRY(bl_arena_new(&items->arena, e));
    if (!(opts = bl_alloc(items->arena, 1, items->task->opts_size ? items->task->opts_size : 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(set_options(items->task, c->task_options && *c->task_options ? c->task_options : "{}", opts, e));
    items->data.arena = items->arena;
    BL_TRY(bl_task_read(items->task,
                        &(bl_task_load){.name = name, .opts = opts, .dirs = dirs, .seed = (uint64_t)c->seed},
                        &items->data, e));
    bl_hash_hex(items->data.hash, hash);
    if (strcmp(hash, c->data_hash)) {
        st = bl_fail(e, BL_E_FORMAT, "%s is not what %s was made from: its hash is %.12s, recorded is %.12s",
                     items->data.path ? items->data.path : c->task, c->key, hash, c->data_hash);
        goto out;
    }
    *out = items;
    items = NULL;
out:
    bl_items_close(items);
    return st;
}

void bl_items_close(bl_items *items)
{
    if (!items) return;
    bl_arena_free(items->arena);
    bl_free(items);
}

/* ---- texts ---- */
static void put_spans(const bl_prompt *p, bool data_only, bl_text *out)
{
    for (size_t i = 0; i < p->n; i++) {
        if (data_only && !p->span[i].data) continue;
        if (data_only && out->n) bl_text_add(out, "\n");
        if (!data_only) bl_text_add(out, bl_prompt_between(p, i));
        bl_text_addn(out, p->span[i].text, p->span[i].n);
    }
}

static bl_status keep(bl_text *t, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = bl_text_check(t, e);
    if (st == BL_OK && !(*out = bl_arena_str(a, t->n ? t->s : "", t->n, e))) st = BL_E_NOMEM;
    t->n = 0;
    return st;
}

static bool same_prompt(const bl_prompt *a, const bl_prompt *b)
{
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n && a->span != b->span; i++)
        if (a->span[i].n != b->span[i].n || memcmp(a->span[i].text, b->span[i].text, a->span[i].n)) return false;
    return true;
}

static bl_status pairs_of(const bl_request *r, bl_arena *a, bl_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const char **choice = bl_alloc(a, (size_t)r->n_pairs, sizeof *choice, e);
    bool shared = true;

    if (!choice) return BL_E_NOMEM;
    for (int i = 1; i < r->n_pairs; i++) shared = shared && same_prompt(&r->pair[i].context, &r->pair[0].context);
    if (shared && r->n_pairs) put_spans(&r->pair[0].context, false, &t);
    BL_TRY(keep(&t, a, &out->question, e));
    for (int i = 0; i < r->n_pairs; i++) {
        const char *text = r->pair[i].continuation;
        if (!shared) put_spans(&r->pair[i].context, false, &t);
        bl_text_add(&t, shared && *text == ' ' ? text + 1 : text);
        BL_TRY(keep(&t, a, &choice[i], e));
    }
    out->choice = choice;
    out->n_choices = r->n_pairs;
out:
    bl_text_free(&t);
    return st;
}

bl_status bl_items_get(bl_items *items, int64_t id, bl_arena *a, bl_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_request r = {0};
    bl_item item = {.question = ""};
    bl_text t = {0};

    if (items->data.n >= 0 && (id < 0 || id >= items->data.n))
        return bl_fail(e, BL_E_MISSING, "there is no item %lld", (long long)id);
    if (items->data.n < 0) return bl_fail(e, BL_E_MISSING, "item %lld is a window of a text", (long long)id);
    BL_TRY(items->task->ask(&items->data, id, &(bl_turn){.arena = a}, &r, e));
    if (r.kind == BL_ASK_PAIRS) BL_TRY(pairs_of(&r, a, &item, e));
    if (r.kind == BL_ASK_GENERATE) put_spans(&r.prompt, true, &t);
    if (r.kind == BL_ASK_ROLLING) bl_text_addn(&t, r.text, r.n_text);
    if (r.kind == BL_ASK_NEAR) bl_text_add(&t, r.query);
    if (r.kind != BL_ASK_PAIRS) BL_TRY(keep(&t, a, &item.question, e));
    if (items->task->question) item.alone = items->task->question(&items->data, id); /* as long as the items */
    item.gold = items->task->gold ? items->task->gold(&items->data, id) : NULL;
    if (item.gold && !(item.gold = bl_arena_str(a, item.gold, strlen(item.gold), e))) st = BL_E_NOMEM;
    if (st == BL_OK) *out = item;
out:
    bl_text_free(&t);
    return st;
}
