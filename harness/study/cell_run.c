/* cell_run.c - one cell from its first item to its shard: what it needs is opened, its items are run, the shard is the
 * last act. */
#include "cell_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is closed when the cell ends, however it ends. */
typedef struct opened {
    bl_cell_work w;
    char *part, *distances; /* side files of the running cell */
    char *kept, *keeping;   /* states of the base in OUT/cache, and while they grow */
    bl_linear base_head;
} opened;

/* OUT/<file><tail> and OUT/cache/<hash><tail>; bl_free. */
static char *beside(const bl_cell_job *job, const char *tail, bl_err *e)
{
    return bl_format_text(e, "%s/%s%s", job->plan->spec->out, job->cell->file, tail);
}

static char *cached(const bl_cell_job *job, bl_hash cell, const char *tail, bl_err *e)
{
    char hex[33];
    bl_hash_hex(cell, hex);
    return bl_format_text(e, "%s/cache/%s%s", job->plan->spec->out, hex, tail);
}

/* ---- the base ---- */

/* The head that the base's logits came through: the base's own, in memory once when this model still has it. */
static bl_status base_head(opened *o, const bl_linear **out, bl_err *e)
{
    bl_status st;
    const bl_cell_job *job = o->w.job;
    const bl_linear *ours = bl_model_head(job->model);
    bool same;

    BL_TRY(bl_head_open(job->source, job->model->be, &o->base_head, e));
    BL_TRY(bl_linear_same(&o->base_head, ours, &same, e));
    if (same) {
        bl_linear_free(&o->base_head);
        o->base_head = (bl_linear){0};
    }
    *out = same ? ours : &o->base_head;
out:
    return st;
}

static bl_status open_base(opened *o, bl_err *e)
{
    bl_status st;
    const bl_cell_job *job = o->w.job;
    char *cache = bl_join(job->plan->spec->out, "cache", e);

    if (!cache) return BL_E_NOMEM;
    o->w.kl_absent = "this is the base";
    BL_TRY(bl_make_dirs(cache, e));
    if (!(o->kept = cached(job, job->cell->hash, ".states", e)) ||
        !(o->keeping = cached(job, job->cell->hash, ".states.part", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_divergence_keep(o->keeping, job->cell->hash, bl_engine_state_bytes(job->engine), &o->w.divergence, e));
out:
    bl_free(cache);
    return st;
}

/* Without the base's states there are no distances, and the shard says why. */
static bl_status open_against_base(opened *o, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = o->w.job;
    const bl_linear *head;
    bl_err why = {0};

    if (!job->base) {
        o->w.kl_absent = job->no_base;
        return BL_OK;
    }
    if (!(o->kept = cached(job, job->base->hash, ".states", e)) || !(o->distances = beside(job, BL_CELL_DISTANCES, e)))
        return BL_E_NOMEM;
    st = bl_divergence_open(o->kept, job->base->hash, o->distances, job->cell->hash, bl_engine_state_bytes(job->engine),
                            &o->w.divergence, &why);
    if (st == BL_E_CORRUPT) { /* made again by the next run */
        bl_log(BL_LOG_WARN, "%s; removed", why.text);
        unlink(o->kept);
    }
    if (st == BL_E_MISSING || st == BL_E_CORRUPT) {
        o->w.kl_absent = bl_arena_str(o->w.arena, why.text, strlen(why.text), e);
        return o->w.kl_absent ? BL_OK : BL_E_NOMEM;
    }
    if (st != BL_OK) return bl_fail(e, st, "%s", why.text);
    BL_TRY(base_head(o, &head, e));
    bl_engine_set_base(job->engine, head);
out:
    return st;
}

/* ---- from open to close ---- */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The first of a shuffle of all items by the cell's seed, which is the same for every method, in ascending order. */
static bl_status draw_items(bl_cell_work *w, bl_err *e)
{
    int64_t n = w->choice->sample, *all = bl_alloc(w->arena, (size_t)w->n_items, sizeof *all, e);
    bl_rng r = bl_rng_at(w->job->cell->seed, bl_rng_key("items", 0), 0);

    if (!all) return BL_E_NOMEM;
    for (int64_t i = 0; i < w->n_items; i++) all[i] = i;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = i + (int64_t)bl_rng_below(&r, (uint64_t)(w->n_items - i)), one = all[i];
        all[i] = all[k];
        all[k] = one;
    }
    qsort(all, (size_t)n, sizeof *all, by_number);
    w->item = all;
    w->n_items = n;
    return BL_OK;
}

typedef struct turn {
    int family;
    int64_t item;
} turn;
static int by_family(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    if (x->family != y->family) return x->family < y->family ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* What begins alike is asked one after another; what is recorded is in the order of the items. */
static bl_status order_items(bl_cell_work *w, bl_err *e)
{
    size_t n = (size_t)w->n_items;
    turn *by = bl_alloc(w->arena, n, sizeof *by, e);
    int64_t *out = bl_alloc(w->arena, n, sizeof *out, e);

    if (!by || !out) return BL_E_NOMEM;
    for (size_t k = 0; k < n; k++) {
        by[k].item = bl_item_of(w, (int64_t)k);
        by[k].family = w->data->family[by[k].item];
    }
    qsort(by, n, sizeof *by, by_family);
    for (size_t k = 0; k < n; k++) out[k] = by[k].item;
    w->turn = out;
    return BL_OK;
}

static bl_status open_cell(opened *o, const bl_cell_job *job, bl_err *e)
{
    bl_status st;
    const bl_spec *s = job->plan->spec;
    bl_cell_work *w = &o->w;

    *w = (bl_cell_work){.job = job,
                        .choice = &s->task[job->cell->task],
                        .data = &job->plan->task[job->cell->task].data,
                        .meter = bl_meter_start(job)};
    BL_TRY(bl_arena_new(&w->arena, e));
    BL_TRY(bl_engine_items(job->engine, w->choice->task, w->data, &w->n_items, e));
    w->n_all = w->n_items;
    if (w->choice->limit > 0) w->n_items = BL_MIN(w->n_items, w->choice->limit);
    if (w->choice->sample > 0 && w->choice->sample < w->n_items) BL_TRY(draw_items(w, e));
    if (w->data->family) BL_TRY(order_items(w, e));
    if (!(o->part = beside(job, BL_CELL_JOURNAL, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_journal_open(o->part, job->cell->key, job->cell->hash, &w->journal, e));
    w->resumed = bl_journal_count(w->journal) > 0;
    if (s->no_kl) w->kl_absent = "not asked for";
    else if (bl_plan_is_reference(&job->plan->variant[job->cell->variant])) BL_TRY(open_base(o, e));
    else BL_TRY(open_against_base(o, e));
out:
    return st;
}

/* Side files go when the shard is there; else they are where the next run goes on. */
static void close_cell(opened *o, bool written)
{
    bl_engine_set_base(o->w.job->engine, NULL);
    bl_divergence_free(o->w.divergence);
    bl_journal_close(o->w.journal);
    if (written) {
        unlink(o->part);
        if (o->distances) unlink(o->distances);
    }
    bl_linear_free(&o->base_head);
    bl_free(o->part);
    bl_free(o->distances);
    bl_free(o->kept);
    bl_free(o->keeping);
    bl_arena_free(o->w.arena);
}

bl_status bl_cell_run(const bl_cell_job *job, bl_err *e)
{
    bl_status st;
    opened o = {0};

    BL_TRY(open_cell(&o, job, e));
    st = bl_cell_items(&o.w, e);
    if (st == BL_E_CORRUPT && !o.keeping && o.kept) {
        unlink(o.kept);
        bl_within(e, "states of the base, removed; the next run makes them again");
    }
    if (st != BL_OK) goto out;
    if (o.keeping) BL_TRY(bl_rename(o.keeping, o.kept, e)); /* there before the shard says that the base is done */
    BL_TRY(bl_cell_record(&o.w, e));
out:
    close_cell(&o, st == BL_OK);
    return st;
}
