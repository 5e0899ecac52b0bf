/* cell_record.c - what a finished cell says about itself: every number is assigned here once, to the member that its
 * line of results/cell.def makes. */
#include "cell_impl.h"
#include "bl_build.h"
#include "identity.h"
#include "kernels/base/fs.h"
#include "results/table.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- counters ---- */

/* The kernel counts the peak of memory from now on. */
static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "5", 1) != 1) bl_log(BL_LOG_DEBUG, "peak memory is of the whole process");
    close(fd);
}

bl_meter bl_meter_start(const bl_cell_job *job)
{
    bl_backend *be = job->model->be;
    bl_meter m = {
        .t0 = bl_now(), .tokens = bl_engine_tokens(job->engine), .read = bl_checkpoint_bytes_read(job->model->ckpt)};
    reset_peak();
    job->model->kv_peak = 0;
    memcpy(m.products, be->products, sizeof m.products);
    return m;
}

/* What an earlier run counted of a cell that was resumed is gone: then nothing is said. */
static void read_meter(const bl_cell_work *w, bl_cell *c)
{
    const bl_meter *m = &w->meter;
    bl_backend *be = w->job->model->be;
    const uint64_t *products = be->products;
    uint64_t now = 0, peak = 0;

    c->batch_tokens = bl_engine_pass_tokens(w->job->engine);
    c->product_calls_1 = c->product_calls_8 = c->product_calls_64 = c->product_calls_more = c->bytes_read = -1;
    if (w->resumed) return;
    if (be->ops->memory) be->ops->memory(be, &now, &peak);
    c->seconds = bl_now() - m->t0;
    c->tokens_per_second = (double)(bl_engine_tokens(w->job->engine) - m->tokens) / BL_MAX(c->seconds, 1e-9);
    c->peak_bytes = (int64_t)bl_rss_peak();
    c->device_peak_bytes = (int64_t)peak;
    c->kv_bytes = (int64_t)w->job->model->kv_peak;
    c->bytes_read = (int64_t)(bl_checkpoint_bytes_read(w->job->model->ckpt) - m->read);
    c->product_calls_1 = (int64_t)(products[0] - m->products[0]);
    c->product_calls_8 = (int64_t)(products[1] - m->products[1]);
    c->product_calls_64 = (int64_t)(products[2] - m->products[2]);
    c->product_calls_more = (int64_t)(products[3] - m->products[3]);
}

/* ---- items ---- */

static bl_status take_samples(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    c->sample = bl_journal_samples(w->journal, &c->n_samples);
    for (int64_t i = 0; i < c->n_samples; i++) {
        const bl_sample *s = &c->sample[i];
        if (i >= w->n_items || s->id != bl_item_of(w, i))
            return bl_fail(e, BL_E_INTERNAL, "item %lld is not one of the cell", (long long)s->id);
        c->scored_tokens += s->tokens;
        c->truncated += (s->flags & BL_SAMPLE_TRUNCATED) != 0;
        c->boundary += (s->flags & BL_SAMPLE_BOUNDARY) != 0;
        c->unscored += (s->flags & BL_SAMPLE_UNSCORED) != 0;
        c->ties += (s->flags & BL_SAMPLE_TIE) != 0;
        c->hit_limit += (s->flags & BL_SAMPLE_HIT_LIMIT) != 0;
        c->no_answer += (s->flags & BL_SAMPLE_NO_ANSWER) != 0;
    }
    return c->n_samples == w->n_items
               ? BL_OK
               : bl_fail(e, BL_E_INTERNAL, "%lld items, expected %lld", (long long)c->n_samples, (long long)w->n_items);
}

static bl_status keep(bl_cell_work *w, const char *text, const char **out, bl_err *e)
{
    return (*out = bl_arena_str(w->arena, text, strlen(text), e)) ? BL_OK : BL_E_NOMEM;
}

static bl_status keep_hash(bl_cell_work *w, bl_hash h, const char **out, bl_err *e)
{
    char hex[33];
    bl_hash_hex(h, hex);
    return keep(w, hex, out, e);
}

/* How far from the base: token by token, and which items changed sides. */
static bl_status against_base(bl_cell_work *w, const bl_metric *row, int n_rows, bl_cell *c, bl_metric_list *out,
                              bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = w->job;
    bl_distances d;

    c->kl_absent = w->kl_absent;
    if (w->divergence && !bl_divergence_keeps(w->divergence)) {
        BL_TRY(bl_divergence_all(w->divergence, w->item, w->n_items, w->arena, &d, e));
        BL_TRY(bl_divergence_metrics(&d, w->arena, out, e));
        c->kl = d.n ? d.kl : NULL;
        c->dp = d.n ? d.dp : NULL;
        c->n_kl = d.n;
        BL_TRY(keep_hash(w, job->base->hash, &c->base_hash, e));
        c->kl_absent = d.n ? NULL : "no token was scored after the same text as in the base";
    }
    if (job->base && n_rows > 0 && row[0].agg == BL_AGG_MEAN) {
        char *shard = bl_format_text(e, "%s/%s.h5", job->plan->spec->out, job->base->file);
        if (!shard) return BL_E_NOMEM;
        st = bl_divergence_flips(shard, c->sample, c->n_samples, w->arena, out, e);
        bl_free(shard);
    }
out:
    return st;
}

static bl_status metrics(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    int n_rows;
    const bl_metric *row = bl_task_metrics(w->choice->task, w->choice->name, &n_rows);
    bl_metric_list all = {0}, grouped = {0};

    BL_TRY(bl_metrics_over_all(row, n_rows, c->sample, c->n_samples, w->arena, &all, e));
    BL_TRY(bl_metrics_by_group(row, n_rows, c->sample, c->n_samples, w->arena, &grouped, e));
    BL_TRY(against_base(w, row, n_rows, c, &all, e));
    c->metric = all.v;
    c->n_metrics = all.n;
    c->grouped = grouped.v;
    c->n_grouped = grouped.n;
out:
    return st;
}

/* ---- names ---- */

/* Of the model that was scored, of the stages that made it, of the file it began with, of the data. */
static bl_status notes(bl_cell_work *w, const char **out, bl_err *e)
{
    bl_status st;
    bl_text t = {0};
    const char *file = bl_checkpoint_notes(w->job->source);
    bl_model_notes(w->job->model, &t);
    bl_stage_notes(w->job->model->ckpt, &t);
    if (file) bl_text_addf(&t, "%s%s", t.n ? "; " : "", file);
    if (w->job->base && w->job->model->kv != BL_KV_ACT) /* which the identity of its states says as well */
        bl_text_addf(&t, "%sKL and flips against the base with keys and values as activations", t.n ? "; " : "");
    if (bl_plan_saw(w->job->plan, w->job->cell, w->data->hash))
        bl_text_addf(&t, "%scalibrated on the text that is scored", t.n ? "; " : "");
    if (w->data->note) bl_text_addf(&t, "%s%s", t.n ? "; " : "", w->data->note);
    BL_TRY(bl_text_check(&t, e));
    st = keep(w, t.s ? t.s : "", out, e);
out:
    bl_text_free(&t);
    return st;
}

static bl_status name_model(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    bl_status st;
    const bl_cell_job *job = w->job;
    bl_hash h;

    c->model = job->plan->model[job->cell->model].name;
    c->model_path = bl_checkpoint_path(job->source);
    c->stored_as = bl_checkpoint_stored_as(job->source);
    BL_TRY(keep_hash(w, job->plan->model[job->cell->model].fingerprint, &c->model_fingerprint, e));
    BL_TRY(bl_identity_tokenizer(job->source, &h, e));
    BL_TRY(keep_hash(w, h, &c->tokenizer_hash, e));
    c->bits_per_weight = job->bits;
    c->bits_all = 8.0 * (double)job->packed_bytes / (double)bl_config_params(bl_checkpoint_config(job->source));
    c->packed_bytes = (int64_t)job->packed_bytes;
out:
    return st;
}

/* Of methods that look at text, or of the saved model that they begin with. */
static bl_status name_calibration(bl_cell_work *w, const bl_method_chain *chain, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_stage *before = bl_stage_calibrated(w->job->source);
    char text[BL_CALIB_TEXT];
    if (bl_chain_needs(chain) & BL_NEED_CALIBRATION) {
        bl_calib_text(&w->job->plan->model[w->job->cell->model].calib, text);
        BL_TRY(keep(w, text, &c->calibration, e));
        BL_TRY(keep_hash(w, w->job->plan->calib_bytes, &c->calibration_hash, e));
    } else if (before) {
        BL_TRY(keep(w, before->calibration, &c->calibration, e));
        BL_TRY(keep(w, before->calibration_text, &c->calibration_hash, e));
    }
out:
    return st;
}

static bl_status name_method(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    bl_status st;
    const bl_cell_job *job = w->job;
    const bl_method_chain *chain = &job->plan->spec->method[job->cell->method];
    const bl_method *last = chain->stage[chain->n - 1].method;
    bl_text options = {0};
    char group[32];

    BL_TRY(bl_chain_json(chain, &options, e));
    BL_TRY(keep(w, options.s, &c->method_options, e));
    bl_chain_width(chain, &c->wbits, &c->group, group);
    BL_TRY(keep(w, group, &c->group_text, e));
    BL_TRY(name_calibration(w, chain, c, e));
    c->method = chain->text;
    c->method_name = last->name;
    c->method_version = last->version;
    c->simulated = bl_model_simulated(job->model);
    BL_TRY(notes(w, &c->notes, e));
    c->layer = job->layer;
    c->n_layers = job->n_layers;
    c->quantize_seconds = job->quantize_seconds;
out:
    bl_text_free(&options);
    return st;
}

static bl_status name_task(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    const bl_spec *s = w->job->plan->spec;

    c->task = w->choice->name;
    c->task_options = w->choice->options;
    c->task_version = w->choice->task->version;
    c->seed = (int64_t)w->job->cell->seed;
    c->limit = w->choice->limit > 0 && w->choice->limit < w->n_all ? w->choice->limit : 0;
    c->drawn = w->item ? w->n_items : 0;
    if (w->data->chat) {
        const bl_chat *chat;
        bl_status st = bl_tokenizer_chat(w->job->tokenizer, &chat, e);
        if (st != BL_OK) return st;
        c->chat = chat->name;
    }
    c->bos = s->no_bos                                  ? "left out"
             : bl_tokenizer_adds_bos(w->job->tokenizer) ? "in front, by the tokenizer's rule"
                                                        : "none, by the tokenizer's rule";
    return keep_hash(w, w->data->hash, &c->data_hash, e);
}

static bl_status name_machine(bl_cell_work *w, bl_cell *c, bl_err *e)
{
    bl_status st;
    bl_backend *be = w->job->model->be;
    bl_device_info info = {0};
    char host[256] = "", libraries[256], created[32];

    be->ops->device_info(be, &info);
    gethostname(host, sizeof host - 1);
    bl_utc(created);
    snprintf(libraries, sizeof libraries, "HDF5 %s; %s", bl_hdf5_version(), BL_BUILD_COMPILER);
    BL_TRY(keep(w, info.name, &c->device, e));
    BL_TRY(keep(w, info.simd, &c->simd, e));
    BL_TRY(keep(w, libraries, &c->libraries, e));
    BL_TRY(keep(w, host, &c->host, e));
    BL_TRY(keep(w, created, &c->created, e));
    c->numerics = w->job->plan->numerics;
    c->commit = BL_BUILD_COMMIT;
    c->threads = info.threads;
out:
    return st;
}

/* "acc 64.0 ±3.4 %": the first headline. */
static void put_headline(const bl_cell *c, char *out, size_t n)
{
    const bl_cell_metric *m = c->metric;
    char number[64];

    if (!out || !c->n_metrics) return;
    while (m < c->metric + c->n_metrics - 1 && !m->headline) m++;
    bl_metric_text(m->value, m->stderr_, m->has_stderr, m->percent, number);
    snprintf(out, n, "%s %s%s", m->name, number, m->percent ? " %" : "");
}

bl_status bl_cell_record(bl_cell_work *w, bl_err *e)
{
    bl_status st;
    bl_cell c = {.key = w->job->cell->key, .hash = w->job->cell->hash};

    BL_TRY(take_samples(w, &c, e));
    BL_TRY(metrics(w, &c, e));
    BL_TRY(name_model(w, &c, e));
    BL_TRY(name_method(w, &c, e));
    BL_TRY(name_task(w, &c, e));
    BL_TRY(name_machine(w, &c, e));
    BL_TRY(bl_checkpoint_unchanged(w->job->source, e));
    read_meter(w, &c);
    BL_TRY(bl_cell_write(w->job->plan->spec->out, &c, e));
    put_headline(&c, w->job->headline, w->job->n_headline);
out:
    return st;
}
