/* child.c - the process that makes one variant and runs its cells: a crash or a kill costs the running cell and nothing
 * else.
 *
 * `internal variant PARENT`: the job (job.h) on standard input, events as JSON lines on standard output: start,
 * doing (in words), quantize, progress, done, failed. A cell is known by its place in the job. Everything that fails
 * inside a cell is noted by the child itself.
 */
#include "run.h"
#include "kernels/base/fs.h"
#include "cell_run.h"
#include "job.h"
#include "harness/quant/apply.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

typedef struct child {
    bl_job job;
    bl_plan *plan;
    bl_backend *be;
    bl_checkpoint *variant; /* NULL: the source is used as it is */
    bl_model *model;
    bl_tokenizer *tokenizer;
    bl_engine *engine;
    bl_arena *arena;
    bl_layer_stat *layer;
    int64_t n_layers;
    double quantize_seconds;
    bl_lock *lock[BL_MAX_STAGES]; /* of the stages of the variant that are being made */
    size_t now;                   /* the cell that runs */
} child;

enum { NO_CELL = -1 };

/* ---- events ---- */

static void event(const char *what, int64_t cell, const char *key, const char *text, double done, int64_t all,
                  double rate)
{
    bl_text t = {0};
    bl_json_out o = {.t = &t};
    bl_json_object(&o, NULL);
    bl_json_add_str(&o, "event", what);
    if (cell != NO_CELL) bl_json_add_int(&o, "cell", cell);
    if (text) bl_json_add_str(&o, key, text);
    if (all > 0) {
        bl_json_add_real(&o, "done", done);
        bl_json_add_int(&o, "all", all);
        bl_json_add_real(&o, "rate", rate);
    }
    bl_json_end(&o);
    bl_text_add(&t, "\n");
    if (!t.failed) {
        for (size_t at = 0; at < t.n;) {
            ssize_t n = write(STDOUT_FILENO, t.s + at, t.n - at);
            if (n <= 0) break;
            at += (size_t)n;
        }
    }
    bl_text_free(&t);
}

static void on_items(void *ctx, double done, int64_t all, double rate)
{
    const child *c = ctx;
    event("progress", (int64_t)c->now, NULL, NULL, done, all, rate);
}

static bl_status on_blocks(void *ctx, const bl_quantize_at *at, bl_err *e)
{
    char line[96];
    (void)ctx;
    (void)e;
    const char *dot = at->layer ? strrchr(at->layer, '.') : NULL;
    int n = snprintf(line, sizeof line, "quantizing block %lld/%lld", (long long)(at->layer ? at->done + 1 : at->done),
                     (long long)at->all);
    if (dot) n += snprintf(line + n, sizeof line - (size_t)n, ", %s", dot + 1);
    if (dot && at->error >= 0) snprintf(line + n, sizeof line - (size_t)n, " error %.2g", at->error);
    event("quantize", NO_CELL, "line", line, (double)at->done, at->all, 0);
    return BL_OK;
}

static bl_status on_steps(void *ctx, const bl_trainer *r, bl_err *e)
{
    char line[96];
    (void)ctx;
    (void)e;
    snprintf(line, sizeof line, "training step %lld/%lld, loss %.4g", (long long)r->step, (long long)r->steps,
             r->curve[r->step - 1].loss);
    event("quantize", NO_CELL, "line", line, (double)r->step, r->steps, 0);
    return BL_OK;
}

static void failed(const child *c, size_t cell, const char *reason)
{
    bl_run_note_failure(c->plan, &c->job.cell[cell].cell, "failed", reason);
    event("failed", (int64_t)cell, "reason", reason, 0, 0, 0);
}

/* ---- what was planned ---- */

/* The cell is the one that was planned; else the sentence says what is not. */
static bl_status as_planned(const child *c, const bl_job_cell *j, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = &c->job.spec;
    const bl_plan_task *t = &c->plan->task[j->cell.task];
    const char *model = bl_checkpoint_path(c->plan->model[0].ckpt), *why = NULL;
    const char *subject[BL_INGREDIENTS] = {[BL_OF_WEIGHTS] = model,
                                           [BL_OF_TOKENIZER] = model,
                                           [BL_OF_NUMERICS] = c->plan->numerics,
                                           [BL_OF_METHOD] = s->method[0].text,
                                           [BL_OF_CALIBRATION] = s->calib.data,
                                           [BL_OF_TRAINING] = s->trains ? bl_spec_training(s, &s->method[0])->data
                                                                        : NULL,
                                           [BL_OF_TASK] = s->task[j->cell.task].name,
                                           [BL_OF_DATA] = t->data.path,
                                           [BL_OF_SCORING] = j->cell.key};
    bl_identity id;
    bl_hash whole;

    if (!t->there) return bl_fail(e, BL_E_MISSING, "%s", t->missing);
    bl_checkpoint_tokenizer(c->plan->model[0].ckpt, &subject[BL_OF_TOKENIZER], &why);
    BL_TRY(bl_plan_identity(c->plan, &j->cell, &id, &whole, e));
    BL_TRY(bl_identity_same(&j->id, &id, subject, e));
    if (!bl_hash_equal(whole, j->cell.hash))
        st = bl_fail(e, BL_E_INTERNAL, "%s: the same ingredients have another hash", j->cell.key);
out:
    return st;
}

/* ---- making the variant ---- */

/* Where the model after a stage is kept; in the arena. */
static bl_status stage_dir(child *c, bl_hash stage, const char **out, bl_err *e)
{
    char hex[33];
    bl_hash_hex(stage, hex);
    char *dir = bl_format_text(e, "%s/variants/%s", c->job.spec.out, hex);
    *out = dir ? bl_arena_str(c->arena, dir, strlen(dir), e) : NULL;
    bl_free(dir);
    return *out ? BL_OK : BL_E_NOMEM;
}

/* Nobody else makes this stage meanwhile: chains of other variants begin with it too, and other runs may be at them. */
static bl_status lock_stage(const child *c, bl_hash stage, bl_lock **out, bl_err *e)
{
    bl_status st;
    char hex[33];
    bl_hash_hex(stage, hex);
    char *path = bl_format_text(e, "%s/.making-%s", c->job.spec.out, hex);
    if (!path) return BL_E_NOMEM;
    for (bool said = false; (st = bl_lock_take(path, out, e)) == BL_E_BUSY; said = true) {
        if (!said) bl_log(BL_LOG_INFO, "variant=%s waits_for=\"%s\"", hex, e->text);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            break;
        }
    }
    bl_free(path);
    return st;
}

/* A directory may have been moved: its name is not enough. */
static bl_status is_state(const bl_checkpoint *c, bl_hash state, bl_err *e)
{
    char hex[33];
    int n;
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    const char *is = n ? stage[n - 1].hash : NULL;
    bl_hash_hex(state, hex);
    if (is && !strcmp(is, hex)) return BL_OK;
    return bl_fail(e, BL_E_CORRUPT, "%s holds the state %s, expected %s", bl_checkpoint_path(c),
                   is ? is : "without a hash", hex);
}

/* What was made before a crash, or by an earlier run, stays; what cannot be read or is another state is made again. */
static bl_status drop_unusable(const char *dir, bl_hash state, bl_err *e)
{
    bl_checkpoint *try = NULL;
    bl_err why;
    if (!bl_is_dir(dir)) return BL_OK;
    bl_status st = bl_checkpoint_open(dir, NULL, &try, &why);
    if (st == BL_OK) st = is_state(try, state, &why);
    if (st == BL_OK) st = bl_checkpoint_check(try, &why);
    bl_checkpoint_close(try);
    if (st == BL_OK) return BL_OK;
    bl_log(BL_LOG_WARN, "%s; made again", why.text);
    return bl_remove_tree(dir, e);
}

/* Others may take stage i as it is from now on. */
static void release_stage(void *ctx, int i)
{
    child *c = ctx;
    bl_lock_free(c->lock[i]);
    c->lock[i] = NULL;
}

static bl_status make_variant(child *c, const bl_plan_variant *v, const char *const *dir, bl_err *e)
{
    const bl_method_chain *chain = &c->job.spec.method[0];
    bl_quantize_result r;
    const bl_train_how train = {
        .set = bl_spec_training(&c->job.spec, chain), .state = BL_STATE_TRIED, .told = on_steps, .ctx = c};
    char *cache = bl_join(c->job.spec.out, "cache", e);
    if (!cache) return BL_E_NOMEM;
    bl_status st = bl_quantize_dir(c->plan->model[0].ckpt, chain,
                                   &(bl_apply_how){.seed = v->seed,
                                                   .calib = &c->plan->model[0].calib,
                                                   .dirs = &c->job.spec.data,
                                                   .between = dir,
                                                   .hash = v->stage,
                                                   .shared = cache,
                                                   .train = train.set ? &train : NULL,
                                                   .progress = on_blocks,
                                                   .made = release_stage,
                                                   .ctx = c},
                                   c->be, dir[chain->n - 1], c->arena, &r, e);
    bl_free(cache);
    if (st != BL_OK) return st;
    c->layer = r.layer;
    c->n_layers = r.n_layers;
    c->quantize_seconds = r.seconds;
    bl_log(BL_LOG_INFO, "variant=%s model=%s method=%s bits=%.4f packed_bytes=%llu s=%.2f", dir[chain->n - 1],
           c->job.name, chain->text, r.bits, (unsigned long long)r.packed_bytes, r.seconds);
    return BL_OK;
}

static bl_status variant_dir(child *c, const bl_plan_variant *v, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const int n = c->job.spec.method[0].n;
    const char *dir[BL_MAX_STAGES] = {0};
    char *all = bl_format_text(e, "%s/variants", c->job.spec.out);

    if (!all) return BL_E_NOMEM;
    BL_TRY(bl_make_dirs(all, e));
    for (int i = 0; i < n; i++) {
        BL_TRY(stage_dir(c, v->stage[i], &dir[i], e));
        BL_TRY(lock_stage(c, v->stage[i], &c->lock[i], e));
        BL_TRY(drop_unusable(dir[i], v->stage[i], e));
        if (!bl_is_dir(dir[i])) continue;
        BL_TRY(bl_train_forget(dir[i], e)); /* of a child that was killed in between */
        if (i + 1 < n) release_stage(c, i);
    }
    *out = dir[n - 1];
    if (bl_is_dir(*out)) {
        st = bl_quantize_layers(*out, c->arena, &c->layer, &c->n_layers, &c->quantize_seconds, NULL);
        if (st == BL_OK) goto out;
        BL_TRY(bl_remove_tree(*out, e));
    }
    BL_TRY(make_variant(c, v, dir, e));
out:
    for (int i = 0; i < n; i++) release_stage(c, i);
    bl_free(all);
    return st;
}

static bl_status ready(child *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_plan_variant *v = &c->plan->variant[0];
    bl_checkpoint *source = c->plan->model[0].ckpt;
    const bl_spec *s = &c->job.spec;
    const char *dir = NULL;

    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = s->device,
                                              .threads = (int)s->threads,
                                              .reference = s->kernel_ref,
                                              .deterministic = s->deterministic,
                                              .memory_limit = (uint64_t)s->mem_limit << 20},
                           &c->be, e));
    event("doing", NO_CELL, "what", "checking the weights", 0, 0, 0);
    if (!s->allow_nonfinite) BL_TRY(bl_checkpoint_verify(source, e));
    if (!v->base) {
        BL_TRY(variant_dir(c, v, &dir, e));
        BL_TRY(bl_checkpoint_open(dir, &(bl_checkpoint_opts){.allow_nonfinite = s->allow_nonfinite}, &c->variant, e));
    }
    event("doing", NO_CELL, "what", "loading", 0, 0, 0);
    BL_TRY(bl_tokenizer_of(source, &c->tokenizer, e));
    BL_TRY(bl_model_open(c->variant ? c->variant : source, c->be, &(bl_model_opts){.stream = s->stream, .kv = s->kv},
                         &c->model, e));
    bl_engine_opts o = {.batch_tokens = s->batch_tokens, .batch_size = s->batch_size, .no_bos = s->no_bos};
    BL_TRY(bl_engine_new(c->model, c->tokenizer, &o, &c->engine, e));
out:
    return st;
}

static bl_status run_cell(child *c, size_t i, bl_err *e)
{
    bl_status st = BL_OK;
    bl_job_cell *j = &c->job.cell[i];
    char headline[160] = "";
    bl_cell_job job = {.plan = c->plan,
                       .cell = &j->cell,
                       .model = c->model,
                       .engine = c->engine,
                       .tokenizer = c->tokenizer,
                       .source = c->plan->model[0].ckpt,
                       .layer = c->layer,
                       .n_layers = c->n_layers,
                       .quantize_seconds = c->quantize_seconds,
                       .packed_bytes = bl_model_bytes(c->model),
                       .bits = bl_model_bits(c->model),
                       .progress = on_items,
                       .ctx = c,
                       .headline = headline,
                       .n_headline = sizeof headline};
    if (!j->cell.base) job.no_base = "neither this study nor its directory has a base";
    else if (bl_plan_look(c->plan, j->cell.base, NULL) == BL_CELL_DONE) job.base = j->cell.base;
    else job.no_base = "the base cell is not done";
    c->now = i;
    event("start", (int64_t)i, NULL, NULL, 0, 0, 0);
    BL_TRY(bl_cell_run(&job, e));
    bl_failure_remove(c->job.spec.out, j->cell.file, NULL);
    event("done", (int64_t)i, "headline", headline, 0, 0, 0);
    bl_fault_point("after-cell", j->cell.key);
out:
    return st;
}

static bl_status read_job(const bl_program *p, bl_job *out, bl_err *e)
{
    bl_status st = BL_OK;
    char *text = NULL;
    size_t n;
    BL_TRY(bl_read_file("-", 256 << 20, &text, &n, e));
    BL_TRY(bl_job_parse(p, text, n, out, e));
out:
    bl_free(text);
    return st;
}

int bl_run_child(const bl_program *p, int argc, char **argv)
{
    bl_status st = BL_OK;
    bl_err e = {0};
    child c = {0};
    size_t made = 0;
    bool any_failed = false;

    if (argc != 1) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a child dies with its parent */
    if (getppid() != (pid_t)atol(argv[0])) return 130;
    BL_TRY(bl_arena_new(&c.arena, &e));
    BL_TRY(read_job(p, &c.job, &e));
    BL_TRY(bl_run_log(c.job.spec.out, c.job.log, &e));
    BL_TRY(bl_plan_open(&c.job.spec, c.job.name, &c.plan, &e));
    for (size_t i = 0; i < c.job.n_cells; i++) {
        e = (bl_err){0};
        st = as_planned(&c, &c.job.cell[i], &e);
        if (st == BL_OK && made++ == 0) {
            st = ready(&c, &e);
            if (st == BL_E_DEVICE && !c.be) goto out;                       /* nor can anything else be */
            if (st != BL_OK && st != BL_E_INTERRUPTED && st != BL_E_DISK) { /* no cell of this variant can be run */
                for (; i < c.job.n_cells; i++) failed(&c, i, e.text);
                any_failed = true;
                st = BL_OK;
                break;
            }
        }
        if (st == BL_OK) st = run_cell(&c, i, &e);
        if (st == BL_E_INTERRUPTED || st == BL_E_DISK) goto out; /* what is finished stays; others would fail alike */
        if (st != BL_OK) {
            failed(&c, i, e.text);
            any_failed = true;
        }
        if (st == BL_E_DEVICE) { /* nothing more can be computed in this process; the parent starts another */
            st = BL_OK;
            break;
        }
        st = BL_OK;
    }
out:
    if (st != BL_OK && st != BL_E_INTERRUPTED) event("error", NO_CELL, "reason", e.text, 0, 0, 0);
    bl_engine_free(c.engine);
    bl_tokenizer_close(c.tokenizer);
    bl_model_close(c.model);
    bl_checkpoint_close(c.variant);
    bl_backend_close(c.be);
    bl_plan_free(c.plan);
    bl_job_free(&c.job);
    bl_arena_free(c.arena);
    bl_log_file(NULL, NULL);
    if (st == BL_E_INTERRUPTED) return 130;
    return st != BL_OK ? bl_exit_code(st) : any_failed;
}
