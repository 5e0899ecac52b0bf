/* child.c - the process that makes one variant and runs its cells: a crash or a kill costs the running cell and nothing
 * else.
 *
 * `internal variant PARENT HASH…`: the study's effective spec on standard input, hashes of the cells to run as
 * arguments, events as JSON lines on standard output: start, progress, done, failed. Everything that fails inside a
 * cell is noted by the child itself.
 */
#include "run.h"
#include "kernels/base/fs.h"
#include "cell_run.h"
#include "harness/quant/apply.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

typedef struct child {
    const bl_program *program;
    bl_spec spec;
    bl_plan *plan;
    bl_plan_cell **cell;
    size_t n_cells;
    bl_backend *be;
    bl_checkpoint *variant; /* NULL: the source is used as it is */
    bl_model *model;
    bl_tokenizer *tokenizer;
    bl_engine *engine;
    bl_arena *arena;
    bl_layer_stat *layer;
    int64_t n_layers;
    double quantize_seconds, said;
    const bl_plan_cell *now;
} child;

/* ---- events ---- */

static void event(const char *what, const bl_plan_cell *c, const char *key, const char *text, int64_t done, int64_t all,
                  double rate)
{
    bl_text t = {0};
    bl_text_addf(&t, "{\"event\": \"%s\"", what);
    if (c) {
        bl_text_add(&t, ", \"cell\": ");
        bl_json_put_str(&t, c->key, strlen(c->key));
    }
    if (text) {
        bl_text_addf(&t, ", \"%s\": ", key);
        bl_json_put_str(&t, text, strlen(text));
    }
    if (all > 0) {
        bl_text_addf(&t, ", \"done\": %lld, \"all\": %lld, \"rate\": ", (long long)done, (long long)all);
        bl_json_put_real(&t, rate);
    }
    bl_text_add(&t, "}\n");
    if (!t.failed) {
        for (size_t at = 0; at < t.n;) {
            ssize_t n = write(STDOUT_FILENO, t.s + at, t.n - at);
            if (n <= 0) break;
            at += (size_t)n;
        }
    }
    bl_text_free(&t);
}

static void on_items(void *ctx, int64_t done, int64_t all, double rate)
{
    child *c = ctx;
    if (bl_now() - c->said < 0.1 && done < all) return;
    c->said = bl_now();
    event("progress", c->now, NULL, NULL, done, all, rate);
}

static bl_status on_blocks(void *ctx, int64_t done, int64_t all, bl_err *e)
{
    (void)ctx;
    (void)e;
    event("quantize", NULL, NULL, NULL, done, all, 0);
    return BL_OK;
}

static void failed(child *c, const bl_plan_cell *cell, bl_status st, const char *reason)
{
    bl_run_note_failure(c->plan, cell, st == BL_E_UNSUPPORTED || st == BL_E_MISSING ? "n/a" : "failed", reason);
    event("failed", cell, "reason", reason, 0, 0, 0);
}

/* ---- making the variant ---- */

static bl_status variant_dir(child *c, const bl_plan_variant *v, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_chain *m = &c->spec.method[v->method];
    bl_checkpoint *source = c->plan->model[v->model].ckpt;
    bl_checkpoint *try = NULL;
    char hex[33];
    bl_hash_hex(v->hash, hex);
    char *dir = bl_format_text(e, "%s/variants/%s", c->spec.out, hex);

    if (!dir) return BL_E_NOMEM;
    if (!(*out = bl_arena_str(c->arena, dir, strlen(dir), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (bl_is_dir(dir)) { /* made before a crash, or by an earlier run */
        if (bl_checkpoint_open(dir, NULL, &try, NULL) == BL_OK &&
            bl_quantize_layers(dir, c->arena, &c->layer, &c->n_layers, &c->quantize_seconds, NULL) == BL_OK)
            goto out;
        BL_TRY(bl_remove_tree(dir, e));
    }
    char *parent = bl_format_text(e, "%s/variants", c->spec.out);
    if (!parent) {
        st = BL_E_NOMEM;
        goto out;
    }
    st = bl_make_dirs(parent, e);
    bl_free(parent);
    bl_quantize_result r;
    if (st == BL_OK) st = bl_quantize_dir(source, m, v->seed, c->be, dir, on_blocks, c, c->arena, &r, e);
    if (st == BL_OK) {
        c->layer = r.layer;
        c->n_layers = r.n_layers;
        c->quantize_seconds = r.seconds;
    }
out:
    bl_checkpoint_close(try);
    bl_free(dir);
    return st;
}

static bl_status ready(child *c, const bl_plan_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *source = c->plan->model[v->model].ckpt;
    const bl_spec *s = &c->spec;
    const char *dir;

    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = s->device ? s->device : "cpu",
                                              .threads = (int)s->threads,
                                              .reference = s->kernel_ref},
                           &c->be, e));
    if (!s->allow_nonfinite) BL_TRY(bl_checkpoint_verify(source, e));
    if (!v->base) {
        BL_TRY(variant_dir(c, v, &dir, e));
        BL_TRY(bl_checkpoint_open(dir, &(bl_checkpoint_opts){.allow_nonfinite = s->allow_nonfinite}, &c->variant, e));
    }
    BL_TRY(bl_tokenizer_of(source, &c->tokenizer, e));
    BL_TRY(bl_model_open(c->variant ? c->variant : source, c->be, &(bl_model_opts){.stream = s->stream}, &c->model, e));
    bl_engine_opts o = {.batch_tokens = s->batch_tokens, .batch_size = s->batch_size, .no_bos = s->no_bos};
    BL_TRY(bl_engine_new(c->model, c->tokenizer, &o, &c->engine, e));
out:
    return st;
}

/* The base cell of a cell, done; else why there is none. */
static const bl_plan_cell *base_of(child *c, const bl_plan_cell *cell, const char **why)
{
    *why = "this study has no base";
    for (size_t i = 0; i < c->plan->n_cells; i++) {
        const bl_plan_cell *b = &c->plan->cell[i];
        if (!c->plan->variant[b->variant].base || b->model != cell->model || b->task != cell->task ||
            b->seed != cell->seed)
            continue;
        if (bl_plan_look(c->plan, b) == BL_CELL_DONE) return b;
        *why = "the base cell is not done";
    }
    return NULL;
}

static bl_status run_cell(child *c, bl_plan_cell *cell, bl_err *e)
{
    const bl_plan_variant *v = &c->plan->variant[cell->variant];
    char headline[160] = "";
    const char *notes = NULL;
    int64_t packed;
    double bits;
    bl_cell_job job = {.plan = c->plan,
                       .cell = cell,
                       .model = c->model,
                       .engine = c->engine,
                       .tokenizer = c->tokenizer,
                       .source = c->plan->model[v->model].ckpt,
                       .layer = c->layer,
                       .n_layers = c->n_layers,
                       .quantize_seconds = c->quantize_seconds,
                       .packed_bytes = bl_model_bytes(c->model),
                       .bits = bl_model_bits(c->model),
                       .progress = on_items,
                       .ctx = c,
                       .headline = headline,
                       .n_headline = sizeof headline};
    bl_status st = bl_quantize_check(job.source, &c->spec.method[v->method], &packed, &bits, &notes, c->arena, e);
    if (st != BL_OK) return st;
    job.notes = notes;
    if (!v->base) job.base = base_of(c, cell, &job.no_base);
    c->now = cell;
    event("start", cell, NULL, NULL, 0, 0, 0);
    st = bl_cell_run(&job, e);
    if (st == BL_OK) {
        bl_failure_remove(c->spec.out, cell->file, NULL);
        event("done", cell, "headline", headline, 0, 0, 0);
    }
    return st;
}

static bool asked_for(int argc, char **argv, const bl_plan_cell *cell)
{
    char hex[33];
    bl_hash_hex(cell->hash, hex);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], hex) == 0) return true;
    return false;
}

int bl_run_child(const bl_program *p, int argc, char **argv)
{
    bl_status st = BL_OK;
    bl_err e = {0};
    child c = {.program = p};
    bool any_failed = false;

    if (argc < 2) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a child dies with its parent */
    if (getppid() != (pid_t)atol(argv[0])) return 130;
    BL_TRY(bl_arena_new(&c.arena, &e));
    bl_spec_from from = {.file = "-", .limit = -1, .threads = -1, .batch_tokens = -1, .batch_size = -1};
    BL_TRY(bl_spec_read(p, &from, &c.spec, &e));
    BL_TRY(bl_plan_make(p, &c.spec, &(bl_plan_opts){.no_estimate = true, .many = true}, &c.plan, &e));
    if (!(c.cell = bl_alloc(c.arena, c.plan->n_cells, sizeof *c.cell, &e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < c.plan->n_cells; i++)
        if (asked_for(argc, argv, &c.plan->cell[i])) c.cell[c.n_cells++] = &c.plan->cell[i];
    if (c.n_cells == 0) {
        st = bl_fail(&e, BL_E_FORMAT,
                     "no cell of the study has the identity it was planned with: a checkpoint or a data file changed");
        goto out;
    }

    st = ready(&c, &c.plan->variant[c.cell[0]->variant], &e);
    if (st == BL_E_INTERRUPTED) goto out;
    if (st != BL_OK) { /* the variant cannot be made: none of its cells can */
        for (size_t i = 0; i < c.n_cells; i++) failed(&c, c.cell[i], st, e.text);
        any_failed = true;
        st = BL_OK;
        goto out;
    }
    for (size_t i = 0; i < c.n_cells; i++) {
        e = (bl_err){0};
        st = run_cell(&c, c.cell[i], &e);
        if (st == BL_E_INTERRUPTED) goto out;
        if (st != BL_OK) {
            failed(&c, c.cell[i], st, e.text);
            any_failed = true;
        }
        st = BL_OK;
    }
out:
    if (st != BL_OK && st != BL_E_INTERRUPTED) event("error", NULL, "reason", e.text, 0, 0, 0);
    bl_engine_free(c.engine);
    bl_tokenizer_close(c.tokenizer);
    bl_model_close(c.model);
    bl_checkpoint_close(c.variant);
    bl_backend_close(c.be);
    bl_plan_free(c.plan);
    bl_spec_free(&c.spec);
    bl_arena_free(c.arena);
    if (st == BL_E_INTERRUPTED) return 130;
    return st != BL_OK ? bl_exit_code(st) : any_failed;
}
