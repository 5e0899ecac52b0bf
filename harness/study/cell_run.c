/* cell_run.c - items in batches through the engine; every sample is in the journal before the next batch; the shard is
 * the last act. */
#include "cell_run.h"
#include "kernels/base/fs.h"
#include "results/journal.h"
#include "results/table.h"
#include "harness/score/divergence.h"
#include "identity.h"
#include "bl_build.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { MAX_STEPS = 16 };
static const double sync_every = 5; /* seconds between syncs of the journal */

typedef struct work {
    const bl_cell_job *job;
    const bl_task_choice *choice;
    bl_task_data *data;
    bl_arena *arena; /* of the cell */
    bl_journal *journal;
    bl_divergence *divergence;
    bool keep; /* the base keeps its states */
    const char *kl_absent;
    bl_weight base_head;
    const bl_weight *head;
    char *part, *part_kl, *kept, *keeping; /* paths */
    int64_t all;                           /* items */
    double t0, synced;
    int64_t rows0; /* the engine's tokens when the cell began */
    uint64_t products0[4];
    uint64_t read0;
} work;

/* ---- paths ---- */

static char *path_of(const char *dir, const char *stem, const char *tail, bl_err *e)
{
    return bl_format_text(e, "%s/%s%s", dir, stem, tail);
}

static char *kept_path(const char *out, bl_hash cell, const char *tail, bl_err *e)
{
    char hex[33];
    bl_hash_hex(cell, hex);
    return bl_format_text(e, "%s/cache/%s%s", out, hex, tail);
}

/* ---- asking ---- */

typedef struct asked {
    int64_t id;
    bl_turn turn;
    bl_reply reply[MAX_STEPS];
    bl_request request;
    bool open;
} asked;

/* The request of item i at this step; a stream's windows are made here, since a task does not know tokens. */
static bl_status ask_one(work *w, asked *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_task_data *d = w->data;
    a->request = (bl_request){0};
    if (d->n < 0) {
        a->request = (bl_request){.kind = a->turn.step ? BL_ASK_DONE : BL_ASK_WINDOW,
                                  .text = d->stream,
                                  .n_text = d->n_stream,
                                  .length = d->length,
                                  .index = a->id,
                                  .rule = d->rule};
    } else {
        st = w->choice->task->ask(d, a->id, &a->turn, &a->request, e);
        if (st != BL_OK) bl_within(e, "item %lld", (long long)a->id);
    }
    a->open = st == BL_OK && a->request.kind != BL_ASK_DONE;
    return st;
}

static bl_status batch(work *w, const int64_t *id, int64_t n, bl_arena *scratch, bl_err *e)
{
    bl_status st = BL_OK;
    asked *a = bl_alloc(scratch, (size_t)n, sizeof *a, e);
    bl_request *req = bl_alloc(scratch, (size_t)n, sizeof *req, e);
    bl_reply *reply = bl_alloc(scratch, (size_t)n, sizeof *reply, e);
    int64_t *of = bl_alloc(scratch, (size_t)n, sizeof *of, e), *ids = bl_alloc(scratch, (size_t)n, sizeof *ids, e);
    int *step = bl_alloc(scratch, (size_t)n, sizeof *step, e);

    if (!a || !req || !reply || !of || !ids || !step) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        a[i].id = id[i];
        a[i].turn = (bl_turn){.arena = scratch, .reply = a[i].reply};
        BL_TRY(ask_one(w, &a[i], e));
    }
    for (;;) {
        int64_t m = 0;
        for (int64_t i = 0; i < n; i++)
            if (a[i].open) {
                req[m] = a[i].request;
                ids[m] = a[i].id;
                step[m] = a[i].turn.step;
                of[m++] = i;
            }
        if (m == 0) break;
        if (w->divergence) bl_divergence_batch(w->divergence, ids, step, m);
        BL_TRY(bl_engine_replies(w->job->engine, req, m, scratch, reply, e));
        for (int64_t k = 0; k < m; k++) {
            asked *x = &a[of[k]];
            if (x->turn.n_replies == MAX_STEPS) {
                st = bl_fail(e, BL_E_INTERNAL, "item %lld asks more than %d times", (long long)x->id, MAX_STEPS);
                goto out;
            }
            x->reply[x->turn.n_replies++] = reply[k];
            x->turn.step++;
            BL_TRY(ask_one(w, x, e));
        }
    }
    for (int64_t i = 0; i < n; i++) {
        bl_sample s = {0};
        BL_TRY(bl_mark_item(w->choice->task, w->data, a[i].id, &a[i].turn, &s, e));
        if (w->divergence)
            BL_TRY(bl_divergence_item(w->divergence, s.id,
                                      e)); /* before the journal: a journaled item has its side data */
        if (!bl_journal_has(w->journal, s.id)) BL_TRY(bl_journal_add(w->journal, &s, e));
    }
out:
    return st;
}

static bool done(const work *w, int64_t id)
{
    return bl_journal_has(w->journal, id) && (!w->divergence || bl_divergence_has(w->divergence, id));
}

static bl_status sync_all(work *w, bl_err *e)
{
    bl_status st = BL_OK;
    if (w->divergence) BL_TRY(bl_divergence_sync(w->divergence, e));
    BL_TRY(bl_journal_sync(w->journal, e));
    w->synced = bl_now();
out:
    return st;
}

static bl_status all_items(work *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *scratch = NULL;
    int64_t size = w->data->n < 0 ? BL_BATCH_WINDOWS : BL_BATCH_ITEMS, i = 0, finished = 0, *id;

    BL_TRY(bl_arena_new(&scratch, e));
    if (w->data->n >= 0) { /* generations are long: smaller batches, so that less is lost */
        bl_turn turn = {.arena = scratch};
        bl_request r = {0};
        BL_TRY(w->choice->task->ask(w->data, 0, &turn, &r, e));
        if (r.kind == BL_ASK_GENERATE) size = BL_BATCH_GENERATIONS;
        if (r.kind == BL_ASK_ROLLING) size = BL_BATCH_WINDOWS;
    }
    if (w->job->plan->spec->stream) { /* a pass reads every block: fill it */
        int64_t length = w->data->n < 0 ? BL_MAX(w->data->length, 1) : 32;
        size = BL_MAX(size, bl_engine_pass_tokens(w->job->engine) / length);
    }
    if (!(id = bl_alloc(scratch, (size_t)BL_MIN(size, w->all), sizeof *id, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t k = 0; k < w->all; k++) finished += done(w, k);
    while (i < w->all) {
        bl_mark mark = bl_arena_mark(scratch);
        int64_t n = 0;
        for (; i < w->all && n < size; i++)
            if (!done(w, i)) id[n++] = i;
        if (n == 0) break;
        st = bl_interrupted() ? bl_fail(e, BL_E_INTERRUPTED, "interrupted") : batch(w, id, n, scratch, e);
        bl_arena_release(scratch, mark);
        if (st != BL_OK) {
            sync_all(w, NULL);
            goto out;
        }
        finished += n;
        bl_fault_point("after-batch", w->job->cell->key);
        if (bl_now() - w->synced > sync_every) BL_TRY(sync_all(w, e));
        if (w->job->progress)
            w->job->progress(w->job->ctx, finished, w->all,
                             (double)(bl_engine_tokens(w->job->engine) - w->rows0) / BL_MAX(bl_now() - w->t0, 1e-9));
    }
    BL_TRY(sync_all(w, e));
out:
    bl_arena_free(scratch);
    return st;
}

/* ---- the base ---- */

static bl_status open_divergence(work *w, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = w->job;
    const bl_spec *s = job->plan->spec;
    const bl_plan_variant *v = &job->plan->variant[job->cell->variant];
    bl_err why = {0};

    if (s->no_kl) {
        w->kl_absent = "not asked for";
        return BL_OK;
    }
    if (v->base) {
        char *cache = bl_join(s->out, "cache", e);
        if (!cache) return BL_E_NOMEM;
        w->kl_absent = "this is the base";
        st = bl_make_dirs(cache, e);
        bl_free(cache);
        if (st == BL_OK && !((w->kept = kept_path(s->out, job->cell->hash, ".hidden", e)) &&
                             (w->keeping = kept_path(s->out, job->cell->hash, ".part", e))))
            st = BL_E_NOMEM;
        if (st == BL_OK) st = bl_divergence_keep(w->keeping, job->cell->hash, job->model, &w->divergence, e);
        w->keep = st == BL_OK;
        return st;
    }
    if (!job->base) {
        w->kl_absent = job->no_base;
        return BL_OK;
    }
    if (!(w->kept = kept_path(s->out, job->base->hash, ".hidden", e))) return BL_E_NOMEM;
    w->head = &bl_model_head(job->model)->weight;
    const bl_method_chain *chain = &s->method[job->cell->method];
    if (chain->stage[chain->n - 1].method->wants_head) { /* the base's own head, in case this one's is changed */
        const bl_stored *t = bl_checkpoint_find(job->source, "lm_head.weight");
        if (!t) t = bl_checkpoint_find(job->source, "model.embed_tokens.weight");
        if (t->format != w->head->format) {
            BL_TRY(bl_checkpoint_load(job->source, t, job->model->be, &w->base_head, e));
            w->head = &w->base_head;
        }
    }
    st = bl_divergence_open(w->kept, job->base->hash, w->part_kl, job->cell->hash, job->model, w->head, &w->divergence,
                            &why);
    if (st == BL_E_MISSING || st == BL_E_CORRUPT) {
        w->kl_absent = bl_arena_str(w->arena, why.text, strlen(why.text), e);
        return w->kl_absent ? BL_OK : BL_E_NOMEM;
    }
    if (st != BL_OK) bl_fail(e, st, "%s", why.text);
out:
    return st;
}

/* ---- the shard ---- */

static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "5", 1) != 1) bl_log(BL_LOG_DEBUG, "peak memory is of the whole process");
    close(fd);
}

static bl_status divergence_from_base(work *w, const bl_sample *s, int64_t n, bl_cell *c, bl_metric_list *m, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = w->job;
    double *kl, *same;
    int n_rows;
    const bl_metric *row = bl_task_metrics(w->choice->task, w->choice->name, &n_rows);

    if (w->divergence && !w->keep) {
        BL_TRY(bl_divergence_all(w->divergence, w->all, w->arena, &kl, &same, &c->n_kl, e));
        c->kl = c->n_kl ? kl : NULL;
        if (!c->n_kl) w->kl_absent = "no token of this task is scored";
        BL_TRY(bl_divergence_metrics(kl, same, c->n_kl, w->arena, m, e));
    }
    if (job->base && n_rows > 0 && row[0].agg == BL_AGG_MEAN) {
        char *shard = path_of(job->plan->spec->out, job->base->file, ".h5", e);
        if (!shard) return BL_E_NOMEM;
        st = bl_divergence_flips(shard, s, n, w->arena, m, e);
        bl_free(shard);
    }
out:
    return st;
}

static bl_status metrics(work *w, const bl_sample *s, int64_t n, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    int n_rows;
    const bl_metric *row = bl_task_metrics(w->choice->task, w->choice->name, &n_rows);
    bl_metric_list all = {0}, grouped = {0};

    BL_TRY(bl_metrics_over_all(row, n_rows, s, n, w->arena, &all, e));
    BL_TRY(bl_metrics_by_group(row, n_rows, s, n, w->arena, &grouped, e));
    BL_TRY(divergence_from_base(w, s, n, c, &all, e));
    c->metric = all.v;
    c->n_metrics = all.n;
    c->grouped = grouped.v;
    c->n_grouped = grouped.n;
out:
    return st;
}

static bl_status notes(work *w, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const bl_method_chain *chain = &w->job->plan->spec->method[w->job->cell->method];
    const bl_method *method = chain->stage[chain->n - 1].method;
    if (w->job->notes) bl_text_add(&t, w->job->notes);
    if (!method->as_stored && method->wants_head == NULL)
        bl_text_addf(&t, "%slm_head and embeddings as stored", t.n ? "; " : "");
    if (w->data->note) bl_text_addf(&t, "%s%s", t.n ? "; " : "", w->data->note);
    st = bl_text_check(&t, e);
    if (st == BL_OK && !(*out = bl_arena_str(w->arena, t.s ? t.s : "", t.n, e))) st = BL_E_NOMEM;
    bl_text_free(&t);
    return st;
}

static bl_status write_shard(work *w, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = w->job;
    const bl_plan *plan = job->plan;
    const bl_spec *s = plan->spec;
    const bl_method_chain *method = &s->method[job->cell->method];
    bl_backend *be = job->model->be;
    bl_cell c = {0};
    bl_device_info facts = {0};
    bl_text options = {0};
    char group_text[32], fingerprint[33], data_hash[33], tokenizer_hash[33], created[32], host[256] = "",
                                                                                          libraries[256];
    uint64_t products[4] = {0};
    int64_t n;
    bl_hash h;

    bl_sample *samples = (bl_sample *)(uintptr_t)bl_journal_samples(w->journal, &n);
    for (int64_t i = 0; i < n; i++)
        if (samples[i].id != i) {
            st = bl_fail(e, BL_E_INTERNAL, "item %lld is missing", (long long)i);
            goto out;
        }
    if (n != w->all) {
        st = bl_fail(e, BL_E_INTERNAL, "%lld items, expected %lld", (long long)n, (long long)w->all);
        goto out;
    }
    BL_TRY(metrics(w, samples, n, &c, e));
    BL_TRY(bl_chain_json(method, &options, e));
    BL_TRY(notes(w, &c.notes, e));
    BL_TRY(bl_checkpoint_unchanged(job->source, e));

    bl_hash_hex(plan->model[job->cell->model].fingerprint, fingerprint);
    bl_hash_hex(w->data->hash, data_hash);
    BL_TRY(bl_identity_tokenizer(job->source, &h, e));
    bl_hash_hex(h, tokenizer_hash);
    bl_utc(created);
    gethostname(host, sizeof host - 1);
    be->ops->device_info(be, &facts);
    if (be->ops->product_rows) be->ops->product_rows(be, products);
    snprintf(libraries, sizeof libraries, "HDF5 %s; %s", bl_hdf5_version(), BL_BUILD_COMPILER);

    c.key = job->cell->key;
    c.hash = job->cell->hash;
    c.model = plan->model[job->cell->model].name;
    c.model_path = bl_checkpoint_path(job->source);
    c.stored_as = bl_checkpoint_stored_as(job->source);
    c.model_fingerprint = fingerprint;
    c.method = method->text;
    c.method_name = method->stage[method->n - 1].method->name;
    c.method_options = options.s;
    c.method_version = method->stage[method->n - 1].method->version;
    bl_chain_width(method, &c.wbits, &c.group, group_text);
    c.group_text = group_text;
    c.simulated = bl_model_simulated(job->model);
    c.task = w->choice->name;
    c.task_options = w->choice->options;
    c.task_version = w->choice->task->version;
    c.seed = (int64_t)job->cell->seed;
    c.limit = s->limit > 0 && s->limit <= w->all ? s->limit : 0;
    c.data_hash = data_hash;
    c.tokenizer_hash = tokenizer_hash;
    c.bos = s->no_bos                               ? "left out"
            : bl_tokenizer_adds_bos(job->tokenizer) ? "in front, by the tokenizer's rule"
                                                    : "none, by the tokenizer's rule";
    c.bits_per_weight = job->bits;
    c.packed_bytes = (int64_t)job->packed_bytes;
    c.peak_bytes = (int64_t)bl_rss_peak();
    c.bytes_read = (int64_t)(bl_checkpoint_bytes_read(job->model->ckpt) - w->read0);
    c.seconds = bl_now() - w->t0;
    c.quantize_seconds = job->quantize_seconds;
    c.scored_tokens = 0;
    for (int64_t i = 0; i < n; i++) {
        c.scored_tokens += samples[i].tokens;
        c.truncated += (samples[i].flags & BL_SAMPLE_TRUNCATED) != 0;
        c.boundary += (samples[i].flags & BL_SAMPLE_BOUNDARY) != 0;
        c.ties += (samples[i].flags & BL_SAMPLE_TIE) != 0;
        c.hit_limit += (samples[i].flags & BL_SAMPLE_HIT_LIMIT) != 0;
        c.no_answer += (samples[i].flags & BL_SAMPLE_NO_ANSWER) != 0;
    }
    c.tokens_per_second = (double)(bl_engine_tokens(job->engine) - w->rows0) / BL_MAX(c.seconds, 1e-9);
    c.product_calls_1 = (int64_t)(products[0] - w->products0[0]);
    c.product_calls_8 = (int64_t)(products[1] - w->products0[1]);
    c.product_calls_64 = (int64_t)(products[2] - w->products0[2]);
    c.product_calls_more = (int64_t)(products[3] - w->products0[3]);
    c.sample = samples;
    c.n_samples = n;
    c.layer = job->layer;
    c.n_layers = job->n_layers;
    c.kl_absent = c.kl ? NULL : w->kl_absent;
    c.device = facts.name;
    c.simd = facts.simd;
    c.libraries = libraries;
    c.commit = BL_BUILD_COMMIT;
    c.created = created;
    c.host = host;
    c.threads = facts.threads;
    c.batch_tokens = s->batch_tokens;
    BL_TRY(bl_cell_write(s->out, &c, e));
    if (job->headline && c.n_metrics > 0) {
        char number[64];
        const bl_cell_metric *m = c.metric;
        while (m < c.metric + c.n_metrics - 1 && !m->headline) m++;
        bl_number_text(m->value, m->stderr_, m->has_stderr, number);
        snprintf(job->headline, job->n_headline, "%s %s", m->name, number);
    }
out:
    bl_text_free(&options);
    return st;
}

bl_status bl_cell_run(const bl_cell_job *job, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = job->plan->spec;
    work w = {.job = job,
              .choice = &s->task[job->cell->task],
              .data = &job->plan->task[job->cell->task].data,
              .t0 = bl_now()};
    bool written = false;

    w.synced = w.t0;
    reset_peak();
    w.rows0 = bl_engine_tokens(job->engine);
    w.read0 = bl_checkpoint_bytes_read(job->model->ckpt);
    if (job->model->be->ops->product_rows) job->model->be->ops->product_rows(job->model->be, w.products0);
    BL_TRY(bl_arena_new(&w.arena, e));
    w.part = path_of(s->out, job->cell->file, ".part.jsonl", e);
    w.part_kl = path_of(s->out, job->cell->file, ".part.kl", e);
    if (!w.part || !w.part_kl) {
        st = BL_E_NOMEM;
        goto out;
    }
    w.all = w.data->n;
    if (w.all < 0)
        BL_TRY(
            bl_engine_windows(job->engine, w.data->stream, w.data->n_stream, w.data->length, w.data->rule, &w.all, e));
    if (w.data->n < 0 && w.data->max_windows > 0) w.all = BL_MIN(w.all, w.data->max_windows);
    if (s->limit > 0) w.all = BL_MIN(w.all, s->limit);
    BL_TRY(bl_journal_open(w.part, job->cell->key, job->cell->hash, &w.journal, e));
    BL_TRY(open_divergence(&w, e));
    bl_engine_observe(job->engine, w.divergence ? bl_divergence_observe : NULL, w.divergence);
    BL_TRY(all_items(&w, e));
    if (w.keep) { /* there before the shard says that the base is done */
        BL_TRY(bl_rename(w.keeping, w.kept, e));
    }
    BL_TRY(write_shard(&w, e));
    written = true;
out:
    bl_engine_observe(job->engine, NULL, NULL);
    bl_divergence_free(w.divergence);
    bl_journal_close(w.journal);
    if (written) {
        unlink(w.part);
        unlink(w.part_kl);
    }
    bl_weight_free(&w.base_head);
    bl_free(w.part);
    bl_free(w.part_kl);
    bl_free(w.kept);
    bl_free(w.keeping);
    bl_arena_free(w.arena);
    return st;
}
