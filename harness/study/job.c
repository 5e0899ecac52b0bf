/* job.c - the job of a child as JSON, written and read. */
#include "job.h"
#include "kernels/base/json.h"
#include <string.h>

/* ---- writing ---- */

static void put_hash(bl_json_out *o, const char *key, bl_hash h)
{
    char hex[33];
    bl_hash_hex(h, hex);
    bl_json_add_str(o, key, hex);
}

static void put_named(bl_json_out *o, const bl_plan_cell *c)
{
    bl_json_add_str(o, "key", c->key);
    bl_json_add_str(o, "file", c->file);
    put_hash(o, "hash", c->hash);
}

static bl_status put_cell(const bl_plan *p, const bl_plan_cell *c, size_t task, bl_json_out *o, bl_err *e)
{
    bl_identity id;
    bl_hash whole;
    bl_status st = bl_plan_identity(p, c, &id, &whole, e);
    if (st != BL_OK) return st;
    bl_json_object(o, NULL);
    bl_json_add_int(o, "task", (int64_t)task);
    put_named(o, c);
    bl_json_array(o, "ingredients");
    for (int k = 0; k < BL_INGREDIENTS; k++) put_hash(o, NULL, id.of[k]);
    bl_json_end(o);
    if (c->base) {
        bl_json_object(o, "base");
        put_named(o, c->base);
        bl_json_end(o);
    }
    bl_json_end(o);
    return st;
}

/* The part of the study that these cells are: their model, method, seed and tasks. task [n]: of each cell, in `part`.
 */
static bl_status part_of(const bl_plan *p, bl_plan_cell *const *cell, size_t n, bl_spec *part, bl_task_choice *choice,
                         size_t *task, bl_err *e)
{
    const bl_spec *s = p->spec;
    size_t *at = bl_new(s->n_tasks, sizeof *at, e);

    if (!at) return BL_E_NOMEM;
    *part = *s;
    part->model = &s->model[cell[0]->model];
    part->method = &s->method[cell[0]->method];
    part->seed = &cell[0]->seed;
    part->kv = p->variant[cell[0]->variant].kv;
    part->task = choice;
    part->n_models = part->n_methods = part->n_seeds = 1;
    part->n_tasks = 0;
    for (size_t i = 0; i < n; i++) {
        if (!at[cell[i]->task]) {
            choice[part->n_tasks] = s->task[cell[i]->task];
            at[cell[i]->task] = ++part->n_tasks;
        }
        task[i] = at[cell[i]->task] - 1;
    }
    bl_free(at);
    return BL_OK;
}

bl_status bl_job_print(const bl_plan *p, bl_plan_cell *const *cell, size_t n, bl_log_level log, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec part;
    bl_text spec = {0};
    bl_json_out o = {.t = t};
    bl_task_choice *choice = bl_new(n, sizeof *choice, e);
    size_t *task = bl_new(n, sizeof *task, e);

    if (!choice || !task) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(part_of(p, cell, n, &part, choice, task, e));
    BL_TRY(bl_spec_print(&part, &spec, e));
    bl_json_object(&o, NULL);
    bl_json_add_str(&o, "name", p->model[cell[0]->model].name);
    bl_json_add_int(&o, "log", log);
    bl_json_add_text(&o, "spec", spec.s);
    bl_json_lines(&o, "cells");
    for (size_t i = 0; i < n; i++) BL_TRY(put_cell(p, cell[i], task[i], &o, e));
    bl_json_end(&o);
    bl_json_end(&o);
    bl_text_add(t, "\n");
    st = bl_text_check(t, e);
out:
    bl_text_free(&spec);
    bl_free(choice);
    bl_free(task);
    return st;
}

/* ---- reading ---- */

static bl_status get_hash(const bl_json *v, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    unsigned long long hi, lo;
    BL_TRY(bl_json_str(v, &s, e));
    if (strlen(s) != 32 || s[strspn(s, "0123456789abcdef")] || sscanf(s, "%16llx%16llx", &hi, &lo) != 2)
        return bl_fail(e, BL_E_FORMAT, "job: '%s' is no hash", s);
    *out = (bl_hash){.hi = hi, .lo = lo};
out:
    return st;
}

static bl_status get_text(const bl_json *v, const char *key, bl_arena *a, char **out, bl_err *e)
{
    const char *s;
    bl_status st = bl_json_get_str(v, key, &s, e);
    if (st == BL_OK && !(*out = bl_arena_str(a, s, strlen(s), e))) st = BL_E_NOMEM;
    return st;
}

static bl_status get_named(const bl_json *v, bl_arena *a, bl_plan_cell *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(get_text(v, "key", a, &out->key, e));
    BL_TRY(get_text(v, "file", a, &out->file, e));
    BL_TRY(get_hash(bl_json_get(v, "hash"), &out->hash, e));
out:
    return st;
}

static bl_status get_cell(const bl_json *v, const bl_spec *s, bl_arena *a, bl_job_cell *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t task;
    const bl_json *base = bl_json_get(v, "base"), *list;
    int k = 0;

    BL_TRY(bl_json_get_int(v, "task", &task, e));
    if (task < 0 || (size_t)task >= s->n_tasks) return bl_fail(e, BL_E_FORMAT, "job: no task %lld", (long long)task);
    out->cell.task = (size_t)task;
    out->cell.seed = s->seed[0];
    BL_TRY(get_named(v, a, &out->cell, e));
    BL_TRY(bl_json_need(v, "ingredients", &list, e));
    if (bl_json_size(list) != BL_INGREDIENTS) return bl_fail(e, BL_E_FORMAT, "job: ingredients of another version");
    for (const bl_json *h = bl_json_first(list); h; h = bl_json_next(h)) BL_TRY(get_hash(h, &out->id.of[k++], e));
    if (base) {
        BL_TRY(get_named(base, a, &out->base, e));
        out->cell.base = &out->base;
    }
out:
    return st;
}

bl_status bl_job_parse(const bl_program *p, const char *text, size_t n, bl_job *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_job j = {0};
    bl_spec_from from = bl_spec_nothing;
    bl_json *doc = NULL;
    const bl_json *spec, *cells;
    int64_t log;
    char *name;

    from.file = "job";
    BL_TRY(bl_json_parse(text, n, "job", BL_JSON_PLAIN, &doc, e));
    BL_TRY(bl_arena_new(&j.arena, e));
    BL_TRY(bl_json_need(doc, "spec", &spec, e));
    BL_TRY(bl_spec_from_json(p, spec, &from, &j.spec, e));
    if (j.spec.n_models != 1 || j.spec.n_methods != 1 || j.spec.n_seeds != 1) {
        st = bl_fail(e, BL_E_FORMAT, "job: %zu models, %zu methods, %zu seeds, expected one of each", j.spec.n_models,
                     j.spec.n_methods, j.spec.n_seeds);
        goto out;
    }
    BL_TRY(get_text(doc, "name", j.arena, &name, e));
    j.name = name;
    BL_TRY(bl_json_get_int(doc, "log", &log, e));
    j.log = (bl_log_level)log;
    BL_TRY(bl_json_need(doc, "cells", &cells, e));
    if (!(j.cell = bl_alloc(j.arena, bl_json_size(cells), sizeof *j.cell, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *v = bl_json_first(cells); v; v = bl_json_next(v))
        BL_TRY(get_cell(v, &j.spec, j.arena, &j.cell[j.n_cells++], e));
    if (j.n_cells == 0) {
        st = bl_fail(e, BL_E_FORMAT, "job: no cells");
        goto out;
    }
    *out = j;
    j = (bl_job){0};
out:
    bl_json_free(doc);
    bl_job_free(&j);
    return st;
}

void bl_job_free(bl_job *j)
{
    bl_spec_free(&j->spec);
    bl_arena_free(j->arena);
    *j = (bl_job){0};
}
