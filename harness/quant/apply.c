/* apply.c - a chain of methods over a checkpoint: each stage block by block, so that only one block is in memory,
 * unless it learns. */
#include "between.h"
#include "block_curve.h"
#include "harness/model/block.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>
#include <string.h>

/* ---- one linear ---- */

static bl_status format_text(const bl_weight *w, bl_arena *a, const char **out, bl_err *e)
{
    char text[64];
    bl_stored_text(w->format, &w->shape, text);
    *out = bl_arena_str(a, text, strlen(text), e);
    return *out ? BL_OK : BL_E_NOMEM;
}

/* ---- one stage ---- */

typedef struct work {
    bl_method_run run;
    bl_model *original; /* as `run.model` was; NULL unless calibration compares with it */
    bl_variant *v;
    bl_arena *arena;
    bl_layer_stat *layer;
    int64_t n_layers;
    const bl_apply_how *how;
    int64_t done, all;       /* blocks, of all stages */
    int64_t skipped;         /* of them, blocks of stages that were there */
    double t0;               /* when the first stage began */
    char saw[BL_CALIB_TEXT]; /* the calibration text of this stage */
    bl_hash saw_text;
    bl_text calibration; /* what a reader should know of the windows of this stage */
    bl_train_done train;
    int stage; /* one of a chain, counted from 1; 0: the last */
} work;

void bl_quantize_line(const bl_quantize_at *at, char out[256])
{
    char layer[160] = "", left[32] = "";
    if (at->layer && at->error >= 0) snprintf(layer, sizeof layer, "  %s  error %.2g", at->layer, at->error);
    else if (at->layer) snprintf(layer, sizeof layer, "  %s", at->layer);
    if (at->left >= 0) snprintf(left, sizeof left, ", %.0f s left", at->left);
    snprintf(out, 256, "block %lld of %lld%s  %.0f s%s", (long long)(at->layer ? at->done + 1 : at->done),
             (long long)at->all, layer, at->seconds, left);
}

/* `share` of the block at hand is done; stat: the linear that was done last, NULL: a whole block. */
static bl_status tell(const work *k, double share, const bl_layer_stat *stat, bl_err *e)
{
    double seconds = bl_now() - k->t0, done = (double)(k->done - k->skipped) + share;
    double all = (double)(k->all - k->skipped);
    bl_quantize_at at = {.done = k->done,
                         .all = k->all,
                         .error = -1,
                         .seconds = seconds,
                         .left = done > 0 ? seconds * (all - done) / done : -1};
    if (!k->how->progress) return BL_OK;
    if (stat) {
        at.layer = stat->name;
        at.error = stat->out_nmse >= 0 ? stat->out_nmse : stat->nmse;
    }
    return k->how->progress(k->how->ctx, &at, e);
}

/* Applies the method to one linear. */
static bl_status one(work *k, bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    bl_layer_stat *stat = &k->layer[k->n_layers];
    double t0 = bl_now();

    *stat = bl_layer_none;
    BL_TRY(k->run.method->layer(&k->run, lin, stat, e));
    stat->seconds = bl_now() - t0;
    stat->bits = 8 * (double)bl_linear_bytes(lin) / ((double)lin->in * (double)lin->out);
    if (!(stat->name = bl_arena_str(k->arena, lin->name, strlen(lin->name), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(format_text(&lin->weight, k->arena, &stat->format, e));
    k->n_layers++;
out:
    if (st != BL_OK) bl_within(e, "%s", lin->name);
    return st;
}

static uint32_t linear_roles(const bl_model *m, int64_t block)
{
    uint32_t roles = 0;
    for (int i = 0; i < m->blocks[block].n_linears; i++) roles |= BL_ROLE_BIT(m->blocks[block].linear[i].role);
    return roles;
}

static bool is_sequential(const bl_method_run *r)
{
    return !r->method->original_inputs && r->method->sequential && r->method->sequential(r);
}

/* The linears of a block, in the order in which a forward pass reaches their inputs. A sequential method sees the
 * inputs of the later ones with the earlier ones already changed. */
static bl_status layers(work *k, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = &k->run;
    bl_block *b = &r->model->blocks[block];
    bool sequential = is_sequential(r);
    int ready = 0;
    uint32_t left = linear_roles(r->model, block), now;

    if (r->calib && !r->method->original_inputs && !sequential) BL_TRY(bl_calib_gather(r->calib, left, e));
    for (; left; left &= ~now) {
        now = left & bl_roles_of_one_input(left);
        if (r->calib && sequential) BL_TRY(bl_calib_gather(r->calib, now, e));
        for (int i = 0; i < b->n_linears; i++)
            if (now & BL_ROLE_BIT(b->linear[i].role)) {
                BL_TRY(one(k, &b->linear[i], e));
                BL_TRY(tell(k, (double)++ready / b->n_linears, &k->layer[k->n_layers - 1], e));
            }
    }
out:
    return st;
}

/* What was done to a block, for who goes on after it when this process does not. */
static bl_status keep_block(work *k, int64_t b, int64_t first_layer, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    bl_json_out o = {.t = &t, .compact = true};
    bl_json_array(&o, NULL);
    for (int64_t i = first_layer; i < k->n_layers; i++) bl_layer_put_json(&k->layer[i], &o);
    bl_block_curve_put(k->run.calib, b, &o);
    bl_json_end(&o);
    BL_TRY(bl_text_check(&t, e));
    st = bl_variant_keep(k->v, b, t.s, e);
out:
    bl_text_free(&t);
    return st;
}

static int64_t together(const bl_method_run *r) { return r->method->together ? r->method->together(r) : 1; }

/* The blocks that an interrupted process left: what it said of their layers, and the calibration text goes through them
 * as they are by now. */
static bl_status go_on(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t left = bl_variant_left(k->v), n = left - left % together(&k->run); /* whole sets */
    bl_checkpoint *done = NULL;
    bl_model *m = NULL;
    bl_json *j = NULL;

    for (int64_t b = 0; b < n; b++) {
        const char *text = bl_variant_more(k->v, b);
        BL_TRY(bl_json_parse(text, strlen(text), "layers of a block", BL_JSON_PLAIN, &j, e));
        for (const bl_json *v = bl_json_first(j); v; v = bl_json_next(v))
            if (bl_json_kind(v) == BL_JSON_ARRAY && k->run.calib) BL_TRY(bl_block_curve_take(k->run.calib, b, v, e));
            else if (k->n_layers < (int64_t)k->run.model->n_linears)
                BL_TRY(bl_layer_get_json(v, k->arena, &k->layer[k->n_layers++], e));
        bl_json_free(j);
        j = NULL;
    }
    k->done += n;
    k->skipped += n;
    if (!n || !k->run.calib || n == k->run.model->config.n_layers) goto out;
    if (!k->run.method->original_inputs) {
        BL_TRY(bl_variant_view(k->v, k->run.model, &done, e));
        BL_TRY(bl_model_open(done, k->run.be, &(bl_model_opts){.stream = true, .as_stored = true}, &m, e));
    }
    for (int64_t b = 0; b < n; b++) BL_TRY(bl_calib_pass_by(k->run.calib, m, e));
out:
    bl_json_free(j);
    bl_model_close(m);
    bl_checkpoint_close(done);
    return st;
}

/* What a method does to a block beside its linears. */
static bl_status change(work *k, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method *method = k->run.method;
    bl_model *m = k->run.model;
    bl_calibration *calib = k->run.calib;
    /* Of a method that calibrates on blocks as they were all is gathered and sent on before it changes anything. */
    if (calib && method->original_inputs && b + 1 < m->config.n_layers)
        st = bl_calib_gather_advance(calib, linear_roles(m, b), e);
    else if (calib && (method->block || method->original_inputs)) st = bl_calib_gather(calib, linear_roles(m, b), e);
    if (st == BL_OK && method->block) st = method->block(&k->run, b, e);
    return st;
}

/* The linears of a block, which is then done. A block that an interrupted process wrote is there already: it was made
 * of the same, to the same bits. */
static bl_status finish(work *k, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t before = k->n_layers;
    const bl_method *method = k->run.method;
    bl_model *m = k->run.model;
    bl_calibration *calib = k->run.calib;
    if (method->layer) BL_TRY(layers(k, b, e));
    if (calib && !method->original_inputs && b + 1 < m->config.n_layers) BL_TRY(bl_calib_advance(calib, e));
    if (b < bl_variant_left(k->v)) return BL_OK;
    BL_TRY(bl_variant_block(k->v, m, b, e));
    BL_TRY(keep_block(k, b, before, e));
out:
    return st;
}

/* Blocks first .. first + n, which are in memory: those of a method that changes several together. */
static bl_status change_together(work *k, int64_t first, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calibration *calib = k->run.calib;
    BL_TRY(bl_calib_hold(calib, e));
    for (int64_t b = first; b < first + n; b++) {
        if (b > first) BL_TRY(bl_calib_advance(calib, e));
        BL_TRY(change(k, b, e));
    }
    BL_TRY(bl_calib_targets(calib, e));
    BL_TRY(bl_calib_rewind(calib, e));
    st = k->run.method->blocks(&k->run, first, n, e);
out:
    return st;
}

static bl_status some_blocks(work *k, int64_t first, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t held = 0;

    if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
    for (; held < n; held++) BL_TRY(bl_block_acquire(k->run.model, first + held, e));
    if (together(&k->run) > 1) BL_TRY(change_together(k, first, n, e));
    for (int64_t b = first; b < first + n; b++) {
        if (together(&k->run) == 1) BL_TRY(change(k, b, e));
        BL_TRY(finish(k, b, e));
        bl_block_release(k->run.model, b);
        held--;
        k->done++;
        BL_TRY(tell(k, 0, NULL, e));
    }
out:
    for (int64_t b = first + n - held; b < first + n; b++) bl_block_release(k->run.model, b);
    return st;
}

/* Everything changed is in memory: after training, the blocks are written one after another. */
static bl_status write_blocks(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = k->run.model;
    for (int64_t b = 0; b < m->config.n_layers && st == BL_OK; b++) {
        BL_TRY(bl_block_acquire(m, b, e));
        st = bl_variant_block(k->v, m, b, e);
        bl_block_release(m, b);
    }
out:
    return st;
}

static unsigned wants_of(const bl_method_run *r) /* bl_calib_wants */
{
    static const struct {
        unsigned need, want;
    } rows[] = {{BL_NEED_HESSIAN, BL_CALIB_HESSIAN},
                {BL_NEED_CHANNELS, BL_CALIB_CHANNELS},
                {BL_NEED_INPUTS, BL_CALIB_INPUTS},
                {BL_NEED_MISMATCH, BL_CALIB_MISMATCH},
                {BL_NEED_ORIGINAL, BL_CALIB_ORIGINAL}};
    unsigned wants = 0,
             needs = bl_choice_needs(&(bl_method_choice){.method = r->method, .opts = (void *)(uintptr_t)r->opts});
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        if (needs & rows[i].need) wants |= rows[i].want;
    return together(r) > 1 ? wants | BL_CALIB_HELD : wants;
}

enum { FEW_KINDS = 16, FEW_TIMES = 32 }; /* no text that is meant has so few, each so many times */
/* What a reader of the row should know of the text and the windows. Random draws of a long text overlap a little, in
 * the published protocols too; that is said when it takes a tenth of the tokens. */
static bl_status look_at_windows(work *k, const bl_calib_windows *w, unsigned wants, bl_err *e)
{
    const bl_model *m = k->run.model;
    const bl_linear *widest = &m->linears[0];
    int64_t tokens = w->n * w->seqlen;
    bl_text *t = &k->calibration;

    for (size_t i = 1; i < m->n_linears; i++)
        if (bl_linear_width(&m->linears[i]) > bl_linear_width(widest)) widest = &m->linears[i];
    if (w->note) bl_text_addf(t, "calibration text: %s", w->note);
    if (w->kinds < FEW_KINDS && tokens > FEW_TIMES * w->kinds)
        bl_text_addf(t, "%scalibration windows of %lld different tokens", t->n ? "; " : "", (long long)w->kinds);
    if (10 * w->distinct < 9 * tokens)
        bl_text_addf(t, "%scalibration windows overlap: %lld distinct tokens of %lld", t->n ? "; " : "",
                     (long long)w->distinct, (long long)tokens);
    if (wants & BL_CALIB_HESSIAN && tokens < bl_linear_width(widest))
        bl_text_addf(t, "%sfewer calibration tokens (%lld) than inputs of %s (%lld)", t->n ? "; " : "",
                     (long long)tokens, widest->name, (long long)bl_linear_width(widest));
    return bl_text_check(t, e);
}

/* How many blocks have inputs that are those of the model as it is in the first stage, so that their statistics are the
 * same for every method with the same text that asks for the same: the first has, where nothing changes before all of
 * its linears are gathered. */
static int64_t shared_blocks(const work *k, bool first, unsigned wants)
{
    const bl_method *m = k->run.method;
    if (!k->how->shared || !first || m->model || m->learns || wants & BL_CALIB_BOTH || is_sequential(&k->run)) return 0;
    return m->original_inputs ? k->run.model->config.n_layers : 1;
}

static bl_status begin_shared(work *k, bl_checkpoint *source, const bl_calib_windows *w, unsigned wants, int64_t blocks,
                              const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash model, of;
    char hex[33], *path = NULL;
    bl_hasher *h;
    BL_TRY(bl_checkpoint_fingerprint(source, &model, e));
    if (!(h = bl_hasher_new(e))) return BL_E_NOMEM;
    bl_hash_text(h, "statistics 2");
    bl_hash_of(h, model);
    bl_hash_text(h, bl_backend_numerics(k->run.be));
    bl_hash_u64(h, wants);
    bl_hash_u64(h, (uint64_t)w->n);
    bl_hash_u64(h, (uint64_t)w->seqlen);
    bl_hash_add(h, w->ids, (size_t)(w->n * w->seqlen) * sizeof *w->ids);
    of = bl_hasher_end(h);
    bl_hash_hex(of, hex);
    if (!(path = bl_format_text(e, "%s/%s.inputs", k->how->shared, hex))) return BL_E_NOMEM;
    BL_TRY(bl_make_dirs(k->how->shared, e));
    BL_TRY(bl_calib_begin_shared(k->run.model, w, wants, dir, path, of, blocks, &k->run.calib, e));
out:
    bl_free(path);
    return st;
}

static bl_status draw(work *k, bl_checkpoint *source, unsigned wants, bl_calib_windows *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = NULL;
    bl_calib_choice c;
    char text[BL_CALIB_TEXT];
    BL_TRY(bl_calib_for(k->how->calib ? k->how->calib : &(bl_calib_choice){0}, k->run.method->name, source, &c, e));
    BL_TRY(bl_tokenizer_of(source, &t, e));
    BL_TRY(bl_calib_draw(&c, k->how->dirs, t, k->arena, w, e));
    bl_calib_text(&c, text);
    BL_TRY(bl_variant_saw(k->v, text, w->text, e));
    snprintf(k->saw, sizeof k->saw, "%s", text);
    k->saw_text = w->text;
    st = look_at_windows(k, w, wants, e);
out:
    bl_tokenizer_close(t);
    return st;
}

static bl_status calibrate(work *k, bl_checkpoint *source, bool first, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calib_windows w = {0};
    unsigned wants = wants_of(&k->run);

    if (!wants) return BL_OK;
    BL_TRY(draw(k, source, wants, &w, e));
    int64_t blocks = shared_blocks(k, first, wants);
    if (blocks) {
        BL_TRY(begin_shared(k, source, &w, wants, blocks, dir, e));
        goto out;
    }
    if (wants & BL_CALIB_BOTH)
        BL_TRY(bl_model_open(source, k->run.be, &(bl_model_opts){.stream = true, .as_stored = true}, &k->original, e));
    BL_TRY(bl_calib_begin(k->run.model, k->original, &w, wants, dir, &k->run.calib, e));
out:
    return st;
}

/* What the stage itself knows and its state does not show. */
static bl_status note_stage(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    if (k->run.method->learns)
        bl_text_addf(&t, "trained for %lld steps to a loss of %.4g", (long long)k->train.steps, k->train.loss);
    if (k->run.method->learns && isfinite(k->train.valid)) bl_text_addf(&t, ", %.4g on valid", k->train.valid);
    if (k->run.method->notes) k->run.method->notes(&k->run, k->layer, k->n_layers, &t);
    if (k->calibration.n) bl_text_addf(&t, "%s%s", t.n ? "; " : "", k->calibration.s);
    BL_TRY(bl_text_check(&t, e));
    if (t.n) BL_TRY(bl_variant_note(k->v, t.s, e));
out:
    bl_text_free(&t);
    return st;
}

/* What a method that learns does to the linears first: they stay in memory. A run that goes on does it again, to the
 * same bits. */
static bl_status before_learning(work *k, bl_checkpoint *source, bool first, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = k->run.model;
    if (k->run.method->ops) BL_TRY(bl_check_ops(k->run.be, k->run.method->ops, e));
    BL_TRY(calibrate(k, source, first, dir, e));
    for (int64_t b = 0; b < m->config.n_layers; b++) {
        if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        BL_TRY(bl_block_acquire(m, b, e));
        st = layers(k, b, e);
        if (st == BL_OK && k->run.calib && b + 1 < m->config.n_layers) st = bl_calib_advance(k->run.calib, e);
        bl_block_release(m, b);
        if (st != BL_OK) goto out;
    }
out:
    bl_calib_end(k->run.calib);
    k->run.calib = NULL;
    bl_model_rest(m); /* training is planned without it */
    return st;
}

/* A method that learns has the whole model in memory and changes it at once. */
static bl_status learn(work *k, bl_checkpoint *source, bool first, const bl_method_choice *stage, bl_hash hash,
                       const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calib_windows windows = {0};
    bl_train_how how = *k->how->train;
    char *lines = NULL;
    if (k->run.method->check) BL_TRY(k->run.method->check(&k->run, e));
    if (bl_choice_needs(stage) & BL_NEED_GRADIENTS) {
        BL_TRY(draw(k, source, 0, &windows, e));
        k->run.windows = &windows;
    }
    if (k->run.method->layer) BL_TRY(before_learning(k, source, first, dir, e));
    if (how.lines && k->stage && strcmp(how.lines, "-") != 0 && !bl_is_stream(how.lines)) {
        if (!(lines = bl_format_text(e, "%s.stage%d", how.lines, k->stage))) return BL_E_NOMEM;
        how.lines = lines;
    }
    BL_TRY(bl_train_stage(&k->run, stage->text, dir, hash, &how, k->v, &k->train, e));
    BL_TRY(write_blocks(k, e));
    BL_TRY(bl_variant_ends(k->v, k->run.model, e));
    k->done += k->run.model->config.n_layers;
    st = tell(k, 0, NULL, e);
out:
    bl_free(lines);
    k->run.windows = NULL;
    return st;
}

/* The model hook, the blocks, the ends: a method that is to change embedding and head has its `layer` called for them
 * last. */
static bl_status run_stage(work *k, bl_checkpoint *source, bool first, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method *method = k->run.method;
    bl_model *m = k->run.model;

    if (method->check) BL_TRY(method->check(&k->run, e));
    if (method->unties_head) BL_TRY(bl_model_untie(m, e));
    if (method->ops) BL_TRY(bl_check_ops(k->run.be, method->ops, e));
    if (method->model) BL_TRY(method->model(&k->run, e));
    BL_TRY(calibrate(k, source, first, dir, e));
    BL_TRY(go_on(k, e));
    const int64_t each = together(&k->run), left = bl_variant_left(k->v);
    for (int64_t b = left - left % each; b < m->config.n_layers; b += each)
        BL_TRY(some_blocks(k, b, BL_MIN(each, m->config.n_layers - b), e));
    if (method->layer && method->wants_head && method->wants_head(&k->run)) {
        BL_TRY(one(k, &m->embed, e));
        if (m->head.weight.format) BL_TRY(one(k, &m->head, e));
    }
    BL_TRY(bl_variant_ends(k->v, m, e));
out:
    return st;
}

static bl_status block_curve(const work *k, const char *dir, const bl_method_choice *stage, const bl_hash *hash,
                             bl_err *e)
{
    return bl_block_curve_write(k->run.calib, dir, hash ? *hash : (bl_hash){0}, stage->text, k->run.model, k->saw,
                                k->saw_text, e);
}

/* first: the source is the checkpoint that the chain begins with. */
static bl_status apply_stage(work *k, bl_checkpoint *source, bool first, const bl_method_choice *stage,
                             const bl_hash *hash, bl_backend *be, const char *dir, bl_quantize_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method *method = stage->method;
    /* positions: the model's own, or none are used */
    int64_t max_len = method->learns || method->needs & BL_NEED_CALIBRATION ? 0 : 1;
    bl_model *m = NULL;
    bl_text options = {0}, text = {0};
    char hex[33];
    double t0 = bl_now();

    BL_TRY(bl_method_json(method, stage->opts, &options, e));
    BL_TRY(bl_text_check(&options, e));
    BL_TRY(bl_model_open(
        source, be,
        &(bl_model_opts){
            .stream = !method->learns, .later = method->packs_first, .as_stored = true, .max_len = max_len},
        &m, e));
    if (hash) bl_hash_hex(*hash, hex);
    BL_TRY(bl_variant_begin(
        dir, source, &(bl_stage){.text = stage->text, .hash = hash ? hex : NULL, .options = options.s}, 1, &k->v, e));
    k->run = (bl_method_run){.method = method,
                             .opts = stage->opts,
                             .model = m,
                             .ops = be->ops,
                             .be = be,
                             .scratch = k->arena,
                             .seed = k->how->seed};
    k->n_layers = 0;
    if (!(k->layer = bl_alloc(k->arena, m->n_linears + 2, sizeof *k->layer, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (method->learns) BL_TRY(learn(k, source, first, stage, *hash, dir, e));
    else BL_TRY(run_stage(k, source, first, dir, e));
    BL_TRY(note_stage(k, e));
    if (k->n_layers) {
        out->layer = k->layer;
        out->n_layers = k->n_layers;
    }
    out->seconds += bl_now() - t0;
    out->packed_bytes = bl_variant_bytes(k->v);
    BL_TRY(bl_quantize_print_layers(k->layer, k->n_layers, bl_now() - t0, &text, e));
    BL_TRY(bl_variant_file(k->v, BL_LAYERS_FILE, text.s, text.n, e));
    BL_TRY(block_curve(k, dir, stage, hash, e));
    BL_TRY(bl_variant_commit(k->v, e));
    k->v = NULL;
    if (method->learns) BL_TRY(bl_train_forget(dir, e));
    out->train = k->train;
out:
    if (st != BL_OK && st != BL_E_INTERRUPTED) (void)block_curve(k, dir, stage, hash, NULL);
    if (st == BL_E_INTERRUPTED) bl_variant_leave(k->v); /* the same command goes on */
    else bl_variant_drop(k->v);
    k->v = NULL;
    bl_calib_end(k->run.calib);
    k->run.calib = NULL;
    bl_text_free(&k->calibration);
    bl_model_close(k->original);
    k->original = NULL;
    bl_model_close(m);
    bl_text_free(&options);
    bl_text_free(&text);
    return st;
}

/* ---- the chain ---- */

/* Of the state that was written: its bits, what it is, and what its stages noted. */
static bl_status look_at_state(bl_checkpoint *state, bl_arena *a, bl_quantize_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = NULL;
    bl_text t = {0};
    BL_TRY(bl_model_outline(state, &m, e));
    bl_model_notes(m, &t);
    bl_stage_notes(state, &t);
    BL_TRY(bl_text_check(&t, e));
    out->bits = bl_model_bits(m);
    if (!(out->notes = bl_arena_str(a, t.s ? t.s : "", t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    bl_model_close(m);
    return st;
}

/* Before the first stage, of states that nobody keeps. */
static bl_status prepare(bl_checkpoint *source, const bl_method_chain *chain, const bl_apply_how *how, const char *dir,
                         int *first, bl_err *e)
{
    bl_status st = BL_OK;
    char *at = NULL;
    BL_TRY(bl_variant_place(dir, source, e));
    if (bl_between_stays(how)) return bl_between_begin(how, dir, chain->n, first, e);
    if (!(at = bl_bare_dir(dir, e))) return BL_E_NOMEM;
    bl_clean_beside(at, ".stage"); /* of a process that was killed */
out:
    bl_free(at);
    return st;
}

bl_status bl_quantize_dir(bl_checkpoint *source, const bl_method_chain *chain, const bl_apply_how *how, bl_backend *be,
                          const char *dir, bl_arena *a, bl_quantize_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    work k = {.arena = a, .how = how, .all = chain->n * bl_checkpoint_config(source)->n_layers, .t0 = bl_now()};
    bl_checkpoint *state = NULL, *next = NULL;
    bl_quantize_result res = {0};
    char *path = NULL, *old = NULL; /* of the stage at hand; of the one before, when it is to be removed */
    bool made = false;              /* `path` is there and to be removed */
    int first = 0;

    BL_TRY(
        bl_quantize_check(source, chain, NULL, how->train ? how->train->set : NULL, 0, &(bl_quantize_forecast){0}, e));
    if (!how->between) BL_TRY(prepare(source, chain, how, dir, &first, e));
    if (first) {
        if (!(old = bl_between_dir(how, dir, first - 1, chain->n, e))) return BL_E_NOMEM;
        BL_TRY(bl_checkpoint_open(old, NULL, &state, e));
        k.done = k.skipped = first * bl_checkpoint_config(source)->n_layers;
    }
    for (int i = first; i < chain->n; i++) {
        bl_checkpoint *from = state ? state : source;
        if (!(path = bl_between_dir(how, dir, i, chain->n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        k.stage = i + 1 < chain->n ? i + 1 : 0;
        if (i + 1 < chain->n && how->between && bl_is_dir(path)) {
            k.skipped += bl_checkpoint_config(source)->n_layers;
            k.done = k.skipped;
        } else
            BL_TRY(
                apply_stage(&k, from, i == 0, &chain->stage[i], how->hash ? &how->hash[i] : NULL, be, path, &res, e));
        made = i + 1 == chain->n || !how->between;
        if (!made && how->made) how->made(how->ctx, i);
        BL_TRY(bl_checkpoint_open(path, NULL, &next, e));
        bl_checkpoint_close(state);
        state = next;
        next = NULL;
        if (i + 1 == chain->n) BL_TRY(look_at_state(state, a, &res, e));
        if (old) BL_TRY(bl_remove_tree(old, e));
        bl_free(old);
        old = how->between || i + 1 == chain->n ? NULL : path;
        if (!old) bl_free(path);
        path = NULL;
        made = false;
    }
    *out = res;
out:
    if (st != BL_OK && chain->n > 1) bl_within(e, "%s", chain->text);
    bl_checkpoint_close(state);
    if (old && !(st == BL_E_INTERRUPTED && bl_between_stays(how))) bl_remove_tree(old, NULL);
    if (made) bl_remove_tree(path, NULL);
    bl_free(old);
    bl_free(path);
    return st;
}

/* ---- before any work ---- */

/* Bytes of packing one of the ends: a slice of it dense, and what it will be, at most of 8 bits and scales. */
static double pack_end(const bl_linear *l)
{
    double n = (double)l->out * (double)l->in;
    return BL_MIN(n, (double)BL_PACK_DENSE) * sizeof(float) + 1.25 * n;
}

/* Flops and bytes of one stage on the outline as the stage before left it. */
static void weigh(const bl_method_run *run, const bl_calib_choice *calib, uint64_t limit, bl_stage_forecast *out)
{
    const bl_model *m = run->model;
    unsigned wants = wants_of(run);
    double most = 0, block = 0, ends = (double)bl_linear_bytes(&m->embed);
    bl_calib_size size;
    bl_method_run known = *run;
    const bl_calib_windows windows = calib ? (bl_calib_windows){.n = calib->n, .seqlen = calib->seqlen}
                                           : (bl_calib_windows){0};

    if (m->head.weight.format) ends += (double)bl_linear_bytes(&m->head);
    if (wants && calib && calib->data) known.windows = &windows;
    for (size_t i = 0; i < m->n_linears; i++) {
        const bl_linear *lin = &m->linears[i];
        double n = (double)(lin->out * lin->in);
        if (run->method->work) out->work += run->method->work(&known, lin);
        out->weights += n;
        most = BL_MAX(most, n);
        if (lin->block == 0) block += (double)bl_linear_bytes(lin);
    }
    if (together(run) > 1) /* dense, as they were and with what was learned beside */
        block = BL_MAX(block,
                       3 * sizeof(float) / 2.0 * (double)together(run) * out->weights / (double)m->config.n_layers);
    double beside = 2 * block + 2 * sizeof(float) * most; /* as it was and as it will be; dense */
    if (run->method->wants_head && run->method->wants_head(run))
        beside = BL_MAX(beside, pack_end(m->head.weight.format ? &m->head : &m->embed));
    out->memory = (uint64_t)(ends + beside);
    if (!wants || !calib || !calib->data) return;
    bl_calib_size_of(&m->config, calib->n, calib->seqlen, wants, &size);
    uint64_t others = out->memory + size.beside, room = BL_CALIB_RESIDENT;
    if (limit) room = limit > others ? limit - others : 0;
    out->memory = others + (size.stream <= room ? size.stream : 0);
    out->work += bl_calib_work(&m->config, calib->n, calib->seqlen, wants, is_sequential(run),
                               run->method->original_inputs);
}

/* A stage that learns, on the outline as it leaves it: adapters, or every weight where it adds none. A step goes
 * through the products forward, again, and back; and to the weights' own gradients where they are learned. `rounds`:
 * what its `layer` takes comes first. */
static void weigh_training(const bl_model *m, const bl_train_settings *s, int adapters_before, bool rounds,
                           bl_stage_forecast *out)
{
    const bl_config *c = &m->config;
    double weights = 0, adapters = 0, packed = 0,
           rows = (double)bl_train_settings_tokens(s) / (double)(s->steps * s->accumulate);
    for (size_t i = 0; i < m->n_linears; i++) {
        const bl_linear *l = &m->linears[i];
        weights += (double)l->out * (double)l->in;
        for (int k = adapters_before; k < l->n_adapters; k++) {
            const double n = (double)l->adapter[k].a.dim[0] * (double)(l->in + l->out);
            adapters += n;
            packed += bl_linear_packed(l, k) ? n : 0; /* f32 all the same until the last step */
        }
    }
    double head = (double)c->vocab * (double)c->dim, trained = adapters > 0 ? adapters : weights + head;
    double products = adapters > 0 ? 6 : 8, moments = s->eight_bits ? 2 : 8,
           each = (s->adapter_type ? 2 : 4) + (s->gradient_type ? 2 : 4);
    const double memory = (double)bl_model_bytes(m) + packed * sizeof(float) + trained * (each + moments) +
                          rows * (double)sizeof(float) *
                              ((double)(c->n_layers + 12) * (double)c->dim + 6 * (double)c->ffn_dim) +
                          (double)(64 << 20);
    out->weights = 0;
    out->work = (rounds ? out->work : 0) +
                (double)bl_train_settings_tokens(s) * (products * (weights + adapters) + 4 * head);
    out->memory = BL_MAX(rounds ? out->memory : 0, (uint64_t)memory);
}

/* What a linear becomes in stage k. Its weight is rounded once: what rounds a rounded weight does not see what it is to
 * be near to. by [..]: the stage + 1 that rounded it, 0: none. */
static bl_status predict(const bl_method_run *run, const bl_method_chain *chain, int k, bl_linear *lin, uint8_t *by,
                         bl_err *e)
{
    bl_status st = BL_OK;
    bool gives;
    BL_TRY(bl_method_predict(run, lin, &gives, e));
    if (!gives) return BL_OK;
    const bool rounds = lin->weight.format->kind != BL_FMT_DENSE;
    if (rounds && *by) {
        const bl_method_choice *first = &chain->stage[*by - 1];
        const bool can_wait = first->method->opts && bl_opt_find(first->method->opts, "round");
        return bl_fail(e, BL_E_CONFIG, "%s: %s is rounded by %s before; a chain rounds a weight once%s%s%s",
                       chain->stage[k].text, lin->name, first->text, can_wait ? ": " : "", can_wait ? first->text : "",
                       can_wait ? "+round=false leaves it to this stage" : "");
    }
    *by = rounds ? (uint8_t)(k + 1) : 0;
out:
    return st;
}

static int most_adapters(const bl_model *m)
{
    int n = 0;
    for (size_t i = 0; i < m->n_linears; i++) n = BL_MAX(n, m->linears[i].n_adapters);
    return n;
}

bl_status bl_quantize_check(bl_checkpoint *source, const bl_method_chain *chain, const bl_calib_choice *calib,
                            const bl_train_settings *train, uint64_t limit, bl_quantize_forecast *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = NULL;
    bl_arena *a = NULL;
    bl_quantize_forecast f = {0};
    uint8_t *by;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_model_outline(source, &m, e));
    if (!(by = bl_alloc(a, m->n_linears + 2, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int k = 0; k < chain->n; k++) {
        bl_method_run run = {.method = chain->stage[k].method, .opts = chain->stage[k].opts, .model = m, .scratch = a};
        const bl_method *method = run.method;
        if (method->learns && !train) {
            st = bl_fail(e, BL_E_CONFIG, "%s is trained: bitladder finetune does that, or a study with \"train\"",
                         method->name);
            goto out;
        }
        if (method->check) BL_TRY(method->check(&run, e));
        if (method->unties_head) BL_TRY(bl_model_untie(m, e));
        if (!method->as_stored) weigh(&run, calib, limit, &f.stage[k]);
        int adapters = most_adapters(m);
        for (size_t i = 0; i < m->n_linears; i++) BL_TRY(predict(&run, chain, k, &m->linears[i], &by[i], e));
        if (method->learns) weigh_training(m, train, adapters, method->layer != NULL, &f.stage[k]);
        if (!method->wants_head || !method->wants_head(&run)) continue;
        BL_TRY(predict(&run, chain, k, &m->embed, &by[m->n_linears], e));
        BL_TRY(predict(&run, chain, k, &m->head, &by[m->n_linears + 1], e));
    }
    f.packed_bytes = (int64_t)bl_model_bytes(m);
    f.bits = bl_model_bits(m);
    *out = f;
out:
    bl_model_close(m);
    bl_arena_free(a);
    return st;
}
