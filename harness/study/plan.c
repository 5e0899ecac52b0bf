/* plan.c - from a specification to cells with keys and identities; says no before any work is done. */
#include "plan_impl.h"
#include "kernels/base/fs.h"
#include "results/cell.h"
#include "estimate.h"
#include "progress.h"
#include "harness/data/sources.h"
#include "harness/quant/apply.h"
#include "harness/score/score.h"
#include "harness/tokenizer/chat.h"
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MANY_CELLS = 100000 };

/* ---- parts ---- */

/* R89: results never go into a model's own directory. */
static bl_status out_is_no_model(const bl_spec *s, const char *model_path, bl_err *e)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (s->out && realpath(s->out, a) && realpath(model_path, b) && strcmp(a, b) == 0)
        return bl_fail(e, BL_E_CONFIG, "the output directory %s is the model's own directory", s->out);
    return BL_OK;
}

/* A sentence that becomes the reason of cells. */
static bl_status keep(const bl_plan *p, const bl_err *why, const char **out, bl_err *e)
{
    *out = bl_arena_str(p->arena, why->text, strlen(why->text), e);
    return *out ? BL_OK : BL_E_NOMEM;
}

/* Such a sentence does not refuse the whole study. */
static bool is_reason(bl_status st) { return st == BL_E_CONFIG || st == BL_E_UNSUPPORTED || st == BL_E_MISSING; }

static bl_status open_models(bl_plan *p, const char *only_name, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    bl_checkpoint_opts o = {.allow_nonfinite = s->allow_nonfinite, .tokenizer = s->tokenizer};
    bl_err why = {0};

    BL_TRY(bl_device_check(s->device, e));
    const char *device = bl_device_numerics(s->device, s->deterministic);
    p->numerics = device;
    if (s->kv != BL_KV_ACT) {
        char both[64];
        int n = snprintf(both, sizeof both, "%s-kv:%s", device, bl_kv_formats[s->kv]);
        if (!(p->numerics = bl_arena_str(p->arena, both, (size_t)n, e))) return BL_E_NOMEM;
    }
    for (size_t i = 0; i < s->n_models; i++) {
        bl_plan_model *m = &p->model[i];
        BL_TRY(bl_checkpoint_open(s->model[i], &o, &m->ckpt, e));
        BL_TRY(out_is_no_model(s, bl_checkpoint_path(m->ckpt), e));
        for (size_t k = 0; k < i; k++)
            if (!strcmp(bl_checkpoint_path(p->model[k].ckpt), bl_checkpoint_path(m->ckpt))) {
                st = bl_fail(e, BL_E_CONFIG, "the model %s is named twice", s->model[i]);
                goto out;
            }
        BL_TRY(bl_checkpoint_fingerprint(m->ckpt, &m->fingerprint, e));
        BL_TRY(bl_identity_model(m->ckpt, m->fingerprint, device, &m->id, e));
        if (bl_tokenizer_there(m->ckpt, &why) != BL_OK) BL_TRY(keep(p, &why, &m->missing, e));
        const char *name = only_name ? only_name : bl_checkpoint_name(m->ckpt);
        bool taken = false;
        for (size_t k = 0; k < i; k++) taken |= strcmp(p->model[k].name, name) == 0;
        if (taken) { /* two models of one name: the fingerprint tells them apart */
            char hex[33], both[512];
            bl_hash_hex(m->fingerprint, hex);
            snprintf(both, sizeof both, "%s~%.6s", name, hex);
            if (!(m->name = bl_arena_str(p->arena, both, strlen(both), e))) {
                st = BL_E_NOMEM;
                goto out;
            }
        } else m->name = name;
    }
out:
    return st;
}

static bl_status open_tasks(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    bl_err why = {0};

    for (size_t i = 0; i < s->n_tasks; i++) {
        bl_plan_task *t = &p->task[i];
        bl_task_load how = {.name = s->task[i].name, .opts = s->task[i].opts, .dirs = &s->data, .seed = s->seed[0]};
        t->data.arena = p->arena;
        st = bl_task_read(s->task[i].task, &how, &t->data, &why);
        if (st == BL_E_MISSING) { /* these cells are n/a; the others go on */
            bl_within(&why, "task %s", s->task[i].name);
            BL_TRY(keep(p, &why, &t->missing, e));
            BL_TRY(bl_identity_task(&s->task[i], (bl_hash){0}, &t->id, e));
            continue;
        }
        if (st != BL_OK) {
            bl_fail(e, st, "%s", why.text);
            bl_within(e, "task %s", s->task[i].name);
            goto out;
        }
        BL_TRY(bl_identity_task(&s->task[i], t->data.hash, &t->id, e));
        t->there = true;
        if (t->data.n == 0) {
            st = bl_fail(e, BL_E_FORMAT, "task %s: %s holds no items", s->task[i].name, t->data.path);
            goto out;
        }
    }
out:
    return st;
}

/* The template that prompts with "+chat" go through: a model whose own is not known is not asked so, which is said
 * before anything is computed. */
static bl_status open_chats(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    bool any = false;
    bl_err why = {0};

    for (size_t t = 0; t < p->spec->n_tasks; t++) any = any || p->task[t].data.chat;
    for (size_t m = 0; m < p->spec->n_models && any; m++) {
        bl_tokenizer *t = NULL;
        const bl_chat *c;
        if (p->model[m].missing) continue;
        st = bl_tokenizer_of(p->model[m].ckpt, &t, &why);
        if (st == BL_OK) st = bl_tokenizer_chat(t, &c, &why);
        bl_tokenizer_close(t);
        if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", why.text);
        if (st != BL_OK) BL_TRY(keep(p, &why, &p->model[m].no_chat, e));
    }
    st = BL_OK;
out:
    return st;
}

/* The text that methods look at: its hash, and what it means for each model. Without a name of a text there is no
 * study; one that is not there, or does not fit a model, is a reason. */
static bl_status open_calibration(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    const char *who = NULL;
    bl_err why = {0};

    for (size_t k = 0; k < s->n_methods && !who; k++)
        if (bl_chain_needs(&s->method[k]) & BL_NEED_CALIBRATION) who = s->method[k].text;
    if (!who) return BL_OK;
    uint64_t bytes = 0;
    for (size_t m = 0; m < s->n_models; m++) {
        st = bl_calib_for(&s->calib, who, p->model[m].ckpt, &p->model[m].calib, &why);
        if (st != BL_OK && !s->calib.data) return bl_fail(e, st, "%s", why.text);
        if (st != BL_OK) BL_TRY(keep(p, &why, &p->model[m].no_calib, e));
    }
    st = bl_calib_hash(&s->calib, &s->data, &p->calib_bytes, &bytes, &why);
    if (st != BL_OK && st != BL_E_MISSING) return bl_fail(e, st, "%s", why.text);
    for (size_t m = 0; m < s->n_models; m++)
        if (!p->model[m].no_calib && (st != BL_OK || bl_calib_fits(&p->model[m].calib, bytes, &why) != BL_OK))
            if (keep(p, &why, &p->model[m].no_calib, e) != BL_OK) return BL_E_NOMEM;
    st = BL_OK;
out:
    return st;
}

/* What methods learn from; without it they are no study by themselves, and others go on. */
static bl_status open_training(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    bl_err why = {0};

    if (!(p->training = bl_alloc(p->arena, 1 + s->n_sets, sizeof *p->training, e))) return BL_E_NOMEM;
    for (size_t k = 0; k < s->n_methods && s->trains; k++) {
        size_t set = bl_spec_set(s, &s->method[k]);
        if (!(bl_chain_needs(&s->method[k]) & BL_NEED_TRAINING) || p->training[set].missing ||
            !bl_hash_equal(p->training[set].hash, (bl_hash){0}))
            continue;
        st = bl_train_settings_hash(bl_spec_training(s, &s->method[k]), &p->training[set].hash, &why);
        if (st == BL_E_MISSING) BL_TRY(keep(p, &why, &p->training[set].missing, e));
        else if (st != BL_OK) return bl_fail(e, st, "%s", why.text);
    }
out:
    return st;
}

bl_status bl_plan_make_variant(const bl_plan *p, size_t model, size_t method, uint64_t seed, bl_plan_variant *v,
                               bl_err *e)
{
    bl_status st;
    const bl_plan_model *m = &p->model[model];
    const bl_method_chain *chain = &p->spec->method[method];
    size_t set = bl_spec_set(p->spec, chain);
    bl_err why = {0};

    *v = (bl_plan_variant){.model = model,
                           .method = method,
                           .seed = seed,
                           .base = bl_chain_as_stored(chain),
                           .kv = p->spec->kv,
                           .id = m->id};
    if (!(v->forecast = bl_alloc(p->arena, 1, sizeof *v->forecast, e))) return BL_E_NOMEM;
    uint64_t limit = (uint64_t)p->spec->mem_limit << 20;
    if (!limit && bl_device_flops(p->spec->device) > 0)
        limit = UINT64_MAX; /* a memory of its own: nothing is spilled */
    st = bl_quantize_check(m->ckpt, chain, &m->calib, bl_spec_training(p->spec, chain), limit, v->forecast, &why);
    if (is_reason(st)) BL_TRY(keep(p, &why, &v->missing, e));
    else if (st != BL_OK) {
        bl_fail(e, st, "%s", why.text);
        bl_within(e, "%s: method %s", m->name, chain->text);
        goto out;
    }
    v->packed_bytes = v->forecast->packed_bytes;
    v->bits = v->forecast->bits;
    if (!v->missing && bl_chain_needs(chain) & BL_NEED_CALIBRATION) v->missing = m->no_calib;
    if (!v->missing && bl_chain_needs(chain) & BL_NEED_TRAINING) v->missing = p->training[set].missing;
    if (!(v->stage = bl_alloc(p->arena, (size_t)chain->n, sizeof *v->stage, e))) return BL_E_NOMEM;
    BL_TRY(bl_identity_variant(chain, &m->calib, p->calib_bytes, p->training[set].hash, seed, v->stage, &v->id, e));
    v->hash = v->stage[chain->n - 1];
out:
    return st;
}

static bl_status make_variants(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    for (size_t m = 0; m < s->n_models; m++)
        for (size_t k = 0; k < s->n_methods; k++)
            for (size_t d = 0; d < s->n_seeds; d++)
                BL_TRY(bl_plan_make_variant(p, m, k, s->seed[d], &p->variant[p->n_variants++], e));
out:
    return st;
}

/* ---- cells ---- */

/* As many items as there are, or more, are all of them. `there` -1: not known before the text is cut into windows. */
static int64_t part_of(int64_t asked, int64_t there) { return there > 0 && asked >= there ? 0 : asked; }

/* `alone`: as earlier versions called a cell of a study without a base. */
static bl_status identity_of(const bl_plan *p, const bl_plan_cell *c, bool alone, bl_identity *id, bl_hash *out,
                             bl_err *e)
{
    const bl_spec *s = p->spec;
    const bl_plan_variant *v = &p->variant[c->variant];
    *id = v->id;
    id->of[BL_OF_TASK] = p->task[c->task].id.of[BL_OF_TASK];
    id->of[BL_OF_DATA] = p->task[c->task].id.of[BL_OF_DATA];
    return bl_identity_cell(v->hash,
                            &(bl_scoring){.seed = c->seed,
                                          .limit = part_of(s->task[c->task].limit, p->task[c->task].data.n),
                                          .sample = part_of(s->task[c->task].sample, p->task[c->task].data.n),
                                          .no_bos = s->no_bos,
                                          .base = v->base || alone,
                                          .kv = v->kv},
                            id, out, e);
}

bool bl_plan_is_reference(const bl_plan_variant *v) { return v->base && v->kv == BL_KV_ACT; }

bl_status bl_plan_identity(const bl_plan *p, const bl_plan_cell *c, bl_identity *id, bl_hash *out, bl_err *e)
{
    return identity_of(p, c, false, id, out, e);
}

static void key_of(const bl_plan *p, const bl_plan_cell *c, const char *method, char *out, size_t n)
{
    const bl_spec *s = p->spec;
    snprintf(out, n, "%s/%s/%s/%llu", p->model[c->model].name, method, s->task[c->task].name,
             (unsigned long long)c->seed);
}

static bl_status name_file(const bl_plan *p, const char *key, bl_hash hash, char **out, bl_err *e)
{
    char *file = bl_cell_file(key, hash, e);
    *out = file ? bl_arena_str(p->arena, file, strlen(file), e) : NULL;
    bl_free(file);
    return *out ? BL_OK : BL_E_NOMEM;
}

bl_status bl_plan_name_cell(const bl_plan *p, bl_plan_cell *c, bl_err *e)
{
    bl_status st;
    bl_identity id;
    bl_hash alone;
    bl_text was = {0};
    char key[1024], earlier[1024];

    key_of(p, c, p->spec->method[c->method].text, key, sizeof key);
    if (!(c->key = bl_arena_str(p->arena, key, strlen(key), e))) return BL_E_NOMEM;
    BL_TRY(bl_plan_identity(p, c, &id, &c->hash, e));
    BL_TRY(name_file(p, key, c->hash, &c->file, e));
    if (p->variant[c->variant].base) goto out;
    BL_TRY(identity_of(p, c, true, &id, &alone, e));
    BL_TRY(name_file(p, key, alone, &c->superseded[0], e));
    BL_TRY(bl_chain_short_text(&p->spec->method[c->method], &was, e));
    BL_TRY(bl_text_check(&was, e));
    key_of(p, c, was.s, earlier, sizeof earlier);
    if (!strcmp(earlier, key)) goto out;
    BL_TRY(name_file(p, earlier, c->hash, &c->superseded[1], e));
    BL_TRY(name_file(p, earlier, alone, &c->superseded[2], e));
out:
    bl_text_free(&was);
    return st;
}

static bool wanted(const char *only, const char *key)
{
    if (!only) return true;
    for (const char *at = only;; at++) {
        char glob[1024];
        size_t n = strcspn(at, ",");
        snprintf(glob, sizeof glob, "%.*s", (int)n, at);
        if (fnmatch(glob, key, 0) == 0) return true;
        at += n;
        if (!*at) return false;
    }
}

/* rtn:w4 is another word for rtn:w4g128. */
static bool wanted_as_typed(const bl_plan *p, const bl_plan_cell *c, const char *only)
{
    bl_text method = {0};
    char key[1024] = "";
    if (bl_chain_short_text(&p->spec->method[c->method], &method, NULL) == BL_OK && !method.failed)
        key_of(p, c, method.s, key, sizeof key);
    bl_text_free(&method);
    return *key && wanted(only, key);
}

/* A note that a cell is n/a is of the plan that made it: this one decides anew. */
static bool has_failed(const bl_plan *p, const char *path, const char **why)
{
    bl_cell_failure f;
    bl_mark mark = bl_arena_mark(p->arena);
    bool failed = bl_failure_read(path, p->arena, &f, NULL) == BL_OK && strcmp(f.status, "failed") == 0;
    if (failed && why) *why = f.reason;
    else bl_arena_release(p->arena, mark);
    return failed;
}

bool bl_plan_has_shard(const bl_plan *p, const bl_plan_cell *c)
{
    char *path = bl_format_text(NULL, "%s/%s.h5", p->spec->out, c->file);
    bool there = path && bl_exists(path) && bl_shard_check(path, c->key, c->hash, NULL) == BL_OK;
    bl_free(path);
    return there;
}

bool bl_plan_is_compared(const bl_plan *p, const bl_plan_cell *c)
{
    char *path = bl_format_text(NULL, "%s/%s.h5", p->spec->out, c->file);
    bool is = path && bl_cell_compared(path, c->base->hash);
    bl_free(path);
    return is;
}

/* Are the states of a base where those that need them look? */
static bool has_states(const bl_plan *p, const bl_plan_cell *c)
{
    char hex[33];
    bl_hash_hex(c->hash, hex);
    char *path = bl_format_text(NULL, "%s/cache/%s.states", p->spec->out, hex);
    bool there = path && bl_exists(path);
    bl_free(path);
    return there;
}

bl_cell_state bl_plan_look(const bl_plan *p, const bl_plan_cell *c, const char **why)
{
    bl_cell_state state = BL_CELL_OPEN;
    char name[1024], *path;
    if (!p->spec->out) return state;
    if (bl_plan_has_shard(p, c) && (!c->needed || has_states(p, c)) &&
        (!c->base || bl_plan_is_compared(p, c) || bl_plan_look(p, c->base, NULL) != BL_CELL_DONE))
        state = BL_CELL_DONE;
    if (state == BL_CELL_OPEN) {
        snprintf(name, sizeof name, "%s.failed.json", c->file);
        path = bl_join(p->spec->out, name, NULL);
        if (path && bl_exists(path) && has_failed(p, path, why)) state = BL_CELL_FAILED;
        bl_free(path);
    }
    return state;
}

/* ---- what does not go together ---- */

/* The kind of its requests and what they are long are the same for every item, as far as they are looked at here. */
static bl_status first_requests(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t t = 0; t < p->spec->n_tasks; t++)
        if (p->task[t].there)
            BL_TRY(
                p->spec->task[t].task->ask(&p->task[t].data, 0, &(bl_turn){.arena = p->arena}, &p->task[t].first, e));
out:
    return st;
}

/* *out NULL: nothing speaks against it. */
static bl_status why_not(const bl_plan *p, const bl_plan_cell *c, const char **out, bl_err *e)
{
    const bl_plan_model *m = &p->model[c->model];
    const bl_plan_task *t = &p->task[c->task];
    const bl_config *config = bl_checkpoint_config(m->ckpt);
    const char *const reasons[] = {t->missing, m->missing, t->data.chat ? m->no_chat : NULL,
                                   p->variant[c->variant].missing};
    bl_err why = {0};

    *out = NULL;
    for (size_t i = 0; i < BL_COUNT(reasons) && !*out; i++) *out = reasons[i];
    if (*out || bl_request_fits(&t->first, config->max_len, config->window, &why) == BL_OK) return BL_OK;
    return keep(p, &why, out, e);
}

bl_status bl_plan_any(const bl_plan *p, bl_err *e)
{
    for (size_t i = 0; i < p->n_cells; i++)
        if (p->cell[i].state != BL_CELL_NA) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "no cell of this study can be run; %s: %s", p->cell[0].key, p->cell[0].reason);
}

static int by_key(const void *a, const void *b)
{
    const bl_plan_cell *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

/* R91: the same cell twice. */
static bl_status no_duplicates(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_plan_cell **list = bl_new(p->n_cells, sizeof *list, e);
    if (!list) return BL_E_NOMEM;
    for (size_t i = 0; i < p->n_cells; i++) list[i] = &p->cell[i];
    qsort(list, p->n_cells, sizeof *list, by_key);
    for (size_t i = 1; i < p->n_cells && st == BL_OK; i++)
        if (strcmp(list[i - 1]->key, list[i]->key) == 0)
            st = bl_fail(e, BL_E_CONFIG, "the cell %s comes twice: two of the methods, tasks or seeds mean the same",
                         list[i]->key);
    bl_free(list);
    return st;
}

bl_status bl_plan_state(const bl_plan *p, bl_plan_cell *c, bl_err *e)
{
    const char *why;
    bl_status st = BL_OK;
    c->state = bl_plan_look(p, c, &c->reason);
    if (c->state == BL_CELL_DONE) return BL_OK;
    BL_TRY(why_not(p, c, &why, e));
    if (!why) goto out;
    c->state = BL_CELL_NA;
    c->reason = why;
out:
    return st;
}

static bl_status make_cells(bl_plan *p, const bl_plan_opts *o, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;

    BL_TRY(first_requests(p, e));
    for (size_t v = 0; v < p->n_variants; v++) {
        p->variant[v].first = p->n_cells;
        for (size_t t = 0; t < s->n_tasks; t++) {
            bl_plan_cell *c = &p->cell[p->n_cells];
            char key[1024];
            *c = (bl_plan_cell){.model = p->variant[v].model,
                                .method = p->variant[v].method,
                                .task = t,
                                .seed = p->variant[v].seed,
                                .variant = v,
                                .planned = true};
            key_of(p, c, s->method[c->method].text, key, sizeof key);
            if (!wanted(o->only, key) && !wanted_as_typed(p, c, o->only)) continue;
            BL_TRY(bl_plan_name_cell(p, c, e));
            BL_TRY(bl_plan_state(p, c, e));
            p->n_cells++;
        }
        p->variant[v].n_cells = p->n_cells - p->variant[v].first;
    }
    if (p->n_cells == 0) {
        st = bl_fail(e, BL_E_CONFIG, "--only %s matches none of the %zu cells", o->only, p->n_variants * s->n_tasks);
        goto out;
    }
    BL_TRY(no_duplicates(p, e));
out:
    return st;
}

static int64_t items_of(const bl_task_choice *t) { return BL_MAX(t->limit, t->sample); }

/* Stages of a variant that need not be made: those up to the last one that is there. */
static int stages_there(const bl_plan *p, const bl_plan_variant *v)
{
    int n = p->spec->out ? p->spec->method[v->method].n : 0;
    for (; n > 0; n--) {
        char hex[33];
        bl_hash_hex(v->stage[n - 1], hex);
        char *dir = bl_format_text(NULL, "%s/variants/%s", p->spec->out, hex);
        bool there = dir && bl_is_dir(dir);
        bl_free(dir);
        if (there) break;
    }
    return n;
}

static bool is_left(const bl_plan_cell *c) { return c->state == BL_CELL_OPEN || c->state == BL_CELL_FAILED; }

/* Is a variant missing that one of its cells still needs? */
static bool to_make(const bl_plan *p, size_t v)
{
    const bl_plan_variant *w = &p->variant[v];
    for (size_t i = w->first; i < w->first + w->n_cells; i++)
        if (w->peak_bytes > 0 && is_left(&p->cell[i])) return true;
    return false;
}

/* Free bytes where `path` is or will be: of the nearest directory that is there. */
static uint64_t room_at(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    while (!bl_exists(dir)) {
        char *slash = strrchr(dir, '/');
        if (!slash) return bl_disk_free(".");
        slash[slash == dir] = 0;
    }
    return bl_disk_free(dir);
}

/* A shard, without the fixed part: items with their answers, distances of scored tokens. */
enum { SHARD_BYTES = 1 << 16, ITEM_BYTES = 512, TOKEN_BYTES = 16 };

static bl_status estimates(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    bl_speed speed;
    bl_task_shape *shape = bl_alloc(p->arena, s->n_tasks, sizeof *shape, e);

    if (!shape) return BL_E_NOMEM;
    BL_TRY(bl_estimate_speed(s->device, s->threads, s->kernel_ref, &speed, e));
    for (size_t t = 0; t < s->n_tasks; t++)
        if (p->task[t].there)
            BL_TRY(bl_estimate_task(s->task[t].task, &p->task[t].data, items_of(&s->task[t]), &shape[t], e));
    for (size_t v = 0; v < p->n_variants; v++) {
        bl_plan_variant *w = &p->variant[v];
        if (!w->missing) bl_estimate_variant(s, w, stages_there(p, w), speed.flops);
        if (to_make(p, v)) p->disk_need += (uint64_t)w->packed_bytes;
    }
    for (size_t i = 0; i < p->n_cells; i++) {
        bl_plan_cell *c = &p->cell[i];
        const bl_config *config = bl_checkpoint_config(p->model[c->model].ckpt);
        if (c->state == BL_CELL_NA) continue;
        bool kl = c->base != NULL;
        bl_estimate_cell(config, &shape[c->task], &speed, kl, items_of(&s->task[c->task]), c);
        c->peak_bytes = BL_MAX(bl_estimate_peak(config, s, &p->variant[c->variant], c, &shape[c->task], kl),
                               p->variant[c->variant].peak_bytes);
        if (!is_left(c)) continue;
        p->disk_need += (uint64_t)(SHARD_BYTES + ITEM_BYTES * c->items + (kl ? TOKEN_BYTES * c->tokens : 0));
        if (bl_plan_is_reference(&p->variant[c->variant]) && !s->no_kl)
            p->disk_need += (uint64_t)c->tokens * (uint64_t)config->dim * 4;
    }
    p->disk_free = s->out ? room_at(s->out) : 0;
out:
    return st;
}

bl_status bl_plan_open(const bl_spec *s, const char *name, bl_plan **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_plan *p = NULL;

    BL_TRY(bl_arena_new(&a, e));
    if (!(p = bl_alloc(a, 1, sizeof *p, e))) {
        bl_arena_free(a);
        return BL_E_NOMEM;
    }
    p->arena = a;
    p->spec = s;
    if (!(p->model = bl_alloc(a, s->n_models, sizeof *p->model, e)) ||
        !(p->task = bl_alloc(a, s->n_tasks, sizeof *p->task, e)) ||
        !(p->variant = bl_alloc(a, s->n_models * (s->n_methods + 2) * s->n_seeds, sizeof *p->variant, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(open_models(p, name, e));
    BL_TRY(open_calibration(p, e));
    BL_TRY(open_training(p, e));
    BL_TRY(make_variants(p, e));
    BL_TRY(open_tasks(p, e));
    BL_TRY(open_chats(p, e));
    *out = p;
    p = NULL;
out:
    bl_plan_free(p);
    return st;
}

bl_status bl_plan_make(const bl_spec *s, const bl_plan_opts *o, bl_plan **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_plan *p = NULL;
    uint64_t variants, cells;

    if (__builtin_mul_overflow((uint64_t)s->n_models * s->n_methods, (uint64_t)s->n_seeds, &variants) ||
        __builtin_mul_overflow(variants, (uint64_t)s->n_tasks, &cells) || (cells > MANY_CELLS && !o->many))
        return bl_fail(
            e, BL_E_CONFIG,
            "%zu models x %zu methods x %zu seeds x %zu tasks are more than %d cells; pass --many if that is meant",
            s->n_models, s->n_methods, s->n_seeds, s->n_tasks, MANY_CELLS);
    BL_TRY(bl_plan_open(s, NULL, &p, e));
    if (!(p->cell = bl_alloc(p->arena, cells + s->n_models * s->n_seeds * s->n_tasks, sizeof *p->cell, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(make_cells(p, o, e));
    if (!s->no_kl) BL_TRY(bl_plan_find_bases(p, e));
    if (!o->no_estimate) BL_TRY(estimates(p, e));
    *out = p;
    p = NULL;
out:
    bl_plan_free(p);
    return st;
}

void bl_plan_free(bl_plan *p)
{
    if (!p) return;
    if (p->model)
        for (size_t i = 0; i < p->spec->n_models; i++) bl_checkpoint_close(p->model[i].ckpt);
    bl_arena_free(p->arena);
}

/* ---- showing it ---- */

const char *const bl_cell_states[4] = {"open", "done", "failed", "n/a"};

static const char *made_name(const bl_plan *p, size_t v, char out[1024])
{
    const bl_plan_variant *w = &p->variant[v];
    snprintf(out, 1024, "%s/%s", p->model[w->model].name, p->spec->method[w->method].text);
    return out;
}

static int64_t calibration_tokens(const bl_plan *p, const bl_plan_variant *v)
{
    const bl_calib_choice *c = &p->model[v->model].calib;
    return bl_chain_needs(&p->spec->method[v->method]) & BL_NEED_CALIBRATION ? c->n * c->seqlen : 0;
}

/* Tokens that are learned from, at most. */
static int64_t training_tokens(const bl_plan *p, const bl_plan_variant *v)
{
    const bl_method_chain *m = &p->spec->method[v->method];
    const bl_train_settings *set = bl_spec_training(p->spec, m);
    return set && bl_chain_needs(m) & BL_NEED_TRAINING ? bl_train_settings_tokens(set) : 0;
}

bl_plan_todo bl_plan_sum(const bl_plan *p)
{
    bl_plan_todo t = {0};
    for (size_t i = 0; i < p->n_cells; i++) {
        const bl_plan_cell *c = &p->cell[i];
        t.count[c->state]++;
        if (!is_left(c)) continue;
        t.seconds += c->seconds;
        t.peak_bytes = BL_MAX(t.peak_bytes, c->peak_bytes);
    }
    for (size_t v = 0; v < p->n_variants; v++)
        if (to_make(p, v)) t.seconds += p->variant[v].seconds;
    return t;
}

void bl_plan_head(const bl_plan *p, bl_text *t)
{
    char time[32], memory[32], disk[32];
    bl_plan_todo s = bl_plan_sum(p);
    bl_progress_time(s.seconds, time);
    bl_bytes_text((uint64_t)s.peak_bytes, memory);
    bl_bytes_text(p->disk_need, disk);
    bl_text_addf(t, "%zu cell%s: %zu done, %zu open, %zu failed before, %zu n/a", p->n_cells,
                 p->n_cells == 1 ? "" : "s", s.count[BL_CELL_DONE], s.count[BL_CELL_OPEN], s.count[BL_CELL_FAILED],
                 s.count[BL_CELL_NA]);
    if (s.count[BL_CELL_OPEN] + s.count[BL_CELL_FAILED])
        bl_text_addf(t, "; about %s, %s of memory and %s of disk to go", time, memory, disk);
}

bl_status bl_plan_room(const bl_plan *p, bl_err *e)
{
    char need[32], there[32];
    if (!p->spec->out || p->disk_need <= p->disk_free) return BL_OK;
    bl_bytes_text(p->disk_need, need);
    bl_bytes_text(p->disk_free, there);
    return bl_fail(e, BL_E_DISK, "%s: what is left to do needs about %s of disk, %s are free", p->spec->out, need,
                   there);
}

bool bl_plan_saw(const bl_plan *p, const bl_plan_cell *c, bl_hash text)
{
    bool calibrated = bl_chain_needs(&p->spec->method[c->method]) & BL_NEED_CALIBRATION;
    return (calibrated && bl_hash_equal(p->calib_bytes, text)) || bl_stage_saw(p->model[c->model].ckpt, text);
}

void bl_plan_text(const bl_plan *p, bl_text *t)
{
    size_t wide = 3;
    char time[32], name[1024];

    for (size_t i = 0; i < p->n_cells; i++) wide = BL_MAX(wide, strlen(p->cell[i].key));
    for (size_t v = 0; v < p->n_variants; v++)
        if (to_make(p, v)) wide = BL_MAX(wide, strlen(made_name(p, v, name)));
    bl_text_addf(t, "%-*s  %-6s  %10s  %8s  %8s\n", (int)wide, "cell", "state", "tokens", "time", "memory");
    for (size_t i = 0; i < p->n_cells; i++) {
        const bl_plan_cell *c = &p->cell[i];
        const bl_plan_variant *v = &p->variant[c->variant];
        if (v->first == i && to_make(p, c->variant)) {
            bl_progress_time(v->seconds, time);
            bl_text_addf(t, "%-*s  %-6s  %10lld  %8s  %5.0f MB\n", (int)wide, made_name(p, c->variant, name), "make",
                         (long long)(calibration_tokens(p, v) + training_tokens(p, v)), time,
                         (double)v->peak_bytes / 1e6);
        }
        bl_progress_time(c->seconds, time);
        bl_text_addf(t, "%-*s  %-6s  %10lld  %8s  %5.0f MB%s%s%s%s\n", (int)wide, c->key, bl_cell_states[c->state],
                     (long long)(c->tokens + c->new_tokens), time, (double)c->peak_bytes / 1e6, c->reason ? "  " : "",
                     c->reason ? c->reason : "", v->kv != p->spec->kv ? "  (kv act, to compare with)" : "",
                     p->task[c->task].there && bl_plan_saw(p, c, p->task[c->task].data.hash)
                         ? "  (calibrated on the text that is scored)"
                         : "");
    }
    bl_plan_head(p, t);
    bl_text_add(t, "\n");
}

static void cell_json(const bl_plan *p, const bl_plan_cell *c, bl_json_out *o)
{
    const bl_plan_variant *v = &p->variant[c->variant];
    char hex[33];
    bl_hash_hex(c->hash, hex);
    bl_json_object(o, NULL);
    bl_json_add_str(o, "key", c->key);
    bl_json_add_str(o, "hash", hex);
    bl_json_add_str(o, "file", c->file);
    bl_json_add_str(o, "state", bl_cell_states[c->state]);
    if (c->reason) bl_json_add_str(o, "reason", c->reason);
    bl_json_add_str(o, "kv", bl_kv_formats[v->kv]);
    bl_json_add_int(o, "items", c->items);
    bl_json_add_int(o, "tokens", c->tokens);
    bl_json_add_int(o, "new_tokens", c->new_tokens);
    bl_json_add_real(o, "seconds", c->seconds);
    bl_json_add_real(o, "quantize_seconds", v->seconds);
    bl_json_add_int(o, "quantize_peak_bytes", v->peak_bytes);
    bl_json_add_int(o, "calibration_tokens", v->peak_bytes > 0 ? calibration_tokens(p, v) : 0);
    bl_json_add_int(o, "training_tokens", v->peak_bytes > 0 ? training_tokens(p, v) : 0);
    bl_json_add_int(o, "packed_bytes", v->packed_bytes);
    bl_json_add_int(o, "peak_bytes", c->peak_bytes);
    bl_json_add_real(o, "bits_per_weight", v->bits);
    bl_json_end(o);
}

bl_status bl_plan_json(const bl_plan *p, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text spec = {0};
    bl_json_out o = {.t = t};

    BL_TRY(bl_spec_print(p->spec, &spec, e));
    bl_json_object(&o, NULL);
    bl_json_add_str(&o, "schema", "bitladder-plan");
    bl_json_add_text(&o, "spec", spec.s);
    bl_json_lines(&o, "cells");
    for (size_t i = 0; i < p->n_cells; i++) cell_json(p, &p->cell[i], &o);
    bl_json_end(&o);
    bl_json_add_int(&o, "disk_free", (int64_t)p->disk_free);
    bl_json_add_int(&o, "disk_need", (int64_t)p->disk_need);
    bl_json_end(&o);
    bl_text_add(t, "\n");
    st = bl_text_check(t, e);
out:
    bl_text_free(&spec);
    return st;
}
