/* calibrate.c - calibration text through the model, block by block, and what is gathered on the way.
 *
 * The residual stream of all windows at one block boundary is kept, in memory or in a file (calibrate_store.c); a few
 * windows at a time are copied out of it, go through the block, and back. So besides it only a pass's activations are
 * needed, and what is gathered does not depend on where it is kept.
 */
#include "calibrate_impl.h"
#include "harness/model/block.h"
#include <math.h>
#include <string.h>

/* ---- statistics ---- */

/* Of one input: what the weights of the linears in `roles` are multiplied with. Linears that read the same and have no
 * transforms share one; a linear with transforms of its own has its own. */
typedef struct stat {
    uint32_t roles;
    const bl_linear *lin;      /* one of them */
    int64_t in, rows, sampled; /* rows seen; rows kept in `sample` */
    bl_buffer *hessian;        /* f64 [in, in] */
    bl_buffer *channels;       /* f64 [2, in] sums of |x| and x^2, then f32 [in] largest |x| */
    bl_buffer *sample;         /* act [BL_CALIB_SAMPLE_ROWS, in] */
    bl_buffer *mismatch;       /* f64 [in, in] */
    bl_buffer *original;       /* act [pass rows, in]: what the original model has there, of the windows at hand */
    float *max_abs;            /* host, once asked for */
    double *mean_abs, *mean_sq;
} stat;

enum { MOST_INPUTS = 8 }; /* different inputs of linears in one block */

struct bl_calibration {
    bl_model *m;
    int64_t n, seqlen, block;
    unsigned wants;
    bl_calib_store *x;  /* inputs of `block`, [n * seqlen, dim] */
    bl_model *original; /* with BL_CALIB_BOTH: the model as it was, and its inputs of `block` */
    bl_calib_store *x0;
    bl_calib_store *y0;           /* with BL_CALIB_ORIGINAL: what it makes of them, at block `targets_of` */
    int64_t targets_of;           /* -1: of none yet */
    bl_calib_store *held, *held0; /* with BL_CALIB_HELD: x and x0 of block held_block */
    int64_t held_block;
    bl_buffer *pass;   /* act [pass rows, dim] */
    bl_buffer *turned; /* inputs after a linear's transforms */
    bl_kv *kv;
    int64_t pass_windows;
    int32_t *start, *past, *slot;
    stat stat[MOST_INPUTS];
    int n_stats;
    bl_buffer *head; /* with BL_CALIB_INPUTS: inputs of block `head_block` of the first windows, act [rows, dim] */
    int64_t head_block;
    char *path; /* of statistics of the first `shared` blocks that others have too; NULL: nobody has */
    bl_hash of;
    int64_t shared;
    bool given;         /* those of all blocks: no residual stream is there */
    double loss[2];     /* that the block before `loss_until` said, at first and in the end */
    int64_t loss_until; /* 0: none has */
    bl_calib_step *step;
    size_t n_steps, cap_steps;
};

int64_t bl_calib_sequences(const bl_calibration *c) { return c->n; }
int64_t bl_calib_tokens(const bl_calibration *c) { return c->n * c->seqlen; }

void bl_calib_say_loss(bl_calibration *c, double first, double last)
{
    c->loss[0] = first;
    c->loss[1] = last;
    c->loss_until = c->block + 1;
}

void bl_calib_loss(const bl_calibration *c, double *first, double *last)
{
    const bool said = c->loss_until == c->block + 1;
    *first = said ? c->loss[0] : -1;
    *last = said ? c->loss[1] : -1;
}

bl_status bl_calib_say_step(bl_calibration *c, const bl_calib_step *s, bl_err *e)
{
    bl_status st = bl_grow(&c->step, &c->cap_steps, c->n_steps + 1, sizeof *c->step, e);
    if (st == BL_OK) c->step[c->n_steps++] = *s;
    return st;
}

void bl_calib_steps(const bl_calibration *c, const bl_calib_step **out, int64_t *n)
{
    *out = c ? c->step : NULL;
    *n = c ? (int64_t)c->n_steps : 0;
}

static void forget(bl_calibration *c)
{
    for (int i = 0; i < c->n_stats; i++) {
        stat *s = &c->stat[i];
        c->m->be->ops->buffer_free(s->hessian);
        c->m->be->ops->buffer_free(s->channels);
        c->m->be->ops->buffer_free(s->sample);
        c->m->be->ops->buffer_free(s->mismatch);
        c->m->be->ops->buffer_free(s->original);
        bl_free(s->max_abs);
        bl_free(s->mean_abs);
    }
    c->n_stats = 0;
}

static bl_status stat_new(bl_calibration *c, uint32_t roles, const bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    const bl_ops *ops = be->ops;
    stat *s;
    bl_tensor all;

    if (c->n_stats == MOST_INPUTS) return bl_fail(e, BL_E_INTERNAL, "more than %d inputs in a block", MOST_INPUTS);
    int64_t in = lin->weight.shape.in;
    s = &c->stat[c->n_stats++];
    *s = (stat){.roles = roles, .lin = lin, .in = in};
    if (c->wants & BL_CALIB_HESSIAN) {
        BL_TRY(ops->buffer_new(be, (uint64_t)in * (uint64_t)in * sizeof(double), &s->hessian, e));
        all = bl_tensor_2d(s->hessian, 0, BL_F64, in, in);
        BL_TRY(ops->fill(be, &all, 0, e));
    }
    if (c->wants & BL_CALIB_CHANNELS) {
        BL_TRY(ops->buffer_new(be, (uint64_t)in * (2 * sizeof(double) + sizeof(float)), &s->channels, e));
        all = bl_tensor_1d(s->channels, 0, BL_F64, 2 * in);
        BL_TRY(ops->fill(be, &all, 0, e));
        all = bl_tensor_1d(s->channels, 2 * (uint64_t)in * sizeof(double), BL_F32, in);
        BL_TRY(ops->fill(be, &all, 0, e));
    }
    if (c->wants & BL_CALIB_MISMATCH) {
        BL_TRY(ops->buffer_new(be, (uint64_t)in * (uint64_t)in * sizeof(double), &s->mismatch, e));
        all = bl_tensor_2d(s->mismatch, 0, BL_F64, in, in);
        BL_TRY(ops->fill(be, &all, 0, e));
        BL_TRY(ops->buffer_new(be, (uint64_t)(c->pass_windows * c->seqlen * in) * bl_dtype_bytes(be->act), &s->original,
                               e));
    }
    if (c->wants & BL_CALIB_INPUTS)
        BL_TRY(ops->buffer_new(be, (uint64_t)(BL_CALIB_SAMPLE_ROWS * in) * bl_dtype_bytes(be->act), &s->sample, e));
out:
    return st;
}

static bl_tensor channel_sums(const stat *s, int i)
{
    return bl_tensor_1d(s->channels, (uint64_t)(i * s->in) * sizeof(double), BL_F64, s->in);
}
static bl_tensor channel_max(const stat *s)
{
    return bl_tensor_1d(s->channels, 2 * (uint64_t)s->in * sizeof(double), BL_F32, s->in);
}

/* Row i of the sample is row i * tokens / BL_CALIB_SAMPLE_ROWS of all, or every row when there are fewer. */
static int64_t sampled_row(const bl_calibration *c, int64_t i)
{
    int64_t tokens = bl_calib_tokens(c);
    return tokens <= BL_CALIB_SAMPLE_ROWS ? i : i * tokens / BL_CALIB_SAMPLE_ROWS;
}

static bl_status keep_rows(bl_calibration *c, stat *s, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    int64_t most = BL_MIN(bl_calib_tokens(c), BL_CALIB_SAMPLE_ROWS);
    bl_tensor all = bl_tensor_2d(s->sample, 0, be->act, BL_CALIB_SAMPLE_ROWS, s->in);

    while (s->sampled < most && sampled_row(c, s->sampled) < s->rows + x.dim[0]) {
        BL_TRY(be->ops->gather(be,
                               &(bl_gather_args){.src = bl_tensor_rows(x, sampled_row(c, s->sampled) - s->rows, 1),
                                                 .dst = bl_tensor_rows(all, s->sampled, 1),
                                                 .n = 1},
                               e));
        s->sampled++;
    }
out:
    return st;
}

/* Rows row0 .. of the windows at hand, in the original model. */
static bl_tensor original_rows(const bl_calibration *c, const stat *s, int64_t row0, int64_t n)
{
    return bl_tensor_rows(bl_tensor_2d(s->original, 0, c->m->be->act, c->pass_windows * c->seqlen, s->in), row0, n);
}

static bl_status keep_original(void *ctx, const bl_model *m, int64_t block, uint32_t roles, int64_t row0, bl_tensor x,
                               bl_err *e)
{
    bl_status st = BL_OK;
    const bl_calibration *c = ctx;
    bl_backend *be = m->be;

    (void)block;
    for (int i = 0; i < c->n_stats; i++) {
        const stat *s = &c->stat[i];
        if (!(s->roles & roles)) continue;
        bl_tensor y = original_rows(c, s, row0, x.dim[0]);
        if (s->lin->n_transforms)
            BL_TRY(be->ops->transform(
                be, &(bl_transform_args){.x = x, .t = s->lin->transform, .n_t = s->lin->n_transforms, .y = y}, e));
        else BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = x, .dst = y, .n = x.dim[0]}, e));
    }
out:
    return st;
}

/* x as the weight sees it. */
static bl_status add_rows(bl_calibration *c, stat *s, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;

    if (s->lin->n_transforms) {
        BL_TRY(bl_buffer_fit(be, &c->turned, (uint64_t)(x.dim[0] * s->in) * bl_dtype_bytes(be->act), e));
        bl_tensor y = bl_tensor_2d(c->turned, 0, be->act, x.dim[0], s->in);
        BL_TRY(be->ops->transform(
            be, &(bl_transform_args){.x = x, .t = s->lin->transform, .n_t = s->lin->n_transforms, .y = y}, e));
        x = y;
    }
    if (c->wants & BL_CALIB_HESSIAN)
        BL_TRY(be->ops->hessian(be,
                                &(bl_hessian_args){.x = x,
                                                   .h = bl_tensor_2d(s->hessian, 0, BL_F64, s->in, s->in),
                                                   .alpha = 2.0 / (double)c->n},
                                e));
    if (c->wants & BL_CALIB_MISMATCH)
        BL_TRY(be->ops->mismatch(be,
                                 &(bl_mismatch_args){.x0 = original_rows(c, s, row0, x.dim[0]),
                                                     .x = x,
                                                     .c = bl_tensor_2d(s->mismatch, 0, BL_F64, s->in, s->in),
                                                     .alpha = 2.0 / (double)c->n},
                                 e));
    if (c->wants & BL_CALIB_CHANNELS)
        BL_TRY(be->ops->channel_stats(
            be,
            &(bl_channel_stats_args){
                .x = x, .max_abs = channel_max(s), .sum_abs = channel_sums(s, 0), .sum_sq = channel_sums(s, 1)},
            e));
    if (c->wants & BL_CALIB_INPUTS) BL_TRY(keep_rows(c, s, x, e));
    s->rows += x.dim[0];
out:
    return st;
}

static bl_status see(void *ctx, const bl_model *m, int64_t block, uint32_t roles, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calibration *c = ctx;

    (void)m;
    (void)block;
    for (int i = 0; i < c->n_stats && st == BL_OK; i++)
        if (c->stat[i].roles & roles) st = add_rows(c, &c->stat[i], row0, x, e);
    return st;
}

/* ---- a block over all windows ---- */
/* x [n windows, dim], inputs of a block, become what it makes of them. */
static bl_status block_of(bl_calibration *c, bl_model *m, int64_t block, const bl_block_hooks *hooks, bl_tensor x,
                          bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = x.dim[0] / c->seqlen;

    if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
    bl_kv_reset(c->kv);
    for (int64_t i = 0; i < n; i++) {
        c->start[i] = (int32_t)(i * c->seqlen);
        BL_TRY(bl_kv_slot(c->kv, c->seqlen, -1, 0, &c->slot[i], e));
    }
    c->start[n] = (int32_t)(n * c->seqlen);
    BL_TRY(bl_block_forward(m, block,
                            &(bl_batch){.n_seq = (int32_t)n, .start = c->start, .past = c->past, .slot = c->slot},
                            c->kv, x, hooks, NULL, e));
out:
    return st;
}

/* The same of the windows w .. of a pass out of a store; what comes out is stored in `to`, unless that is NULL. */
static bl_status windows_through(bl_calibration *c, bl_model *m, bl_calib_store *from, int64_t w,
                                 const bl_block_hooks *hooks, bl_tensor x, bl_calib_store *to, bl_err *e)
{
    const int64_t next = w + c->pass_windows, left = BL_MIN(c->pass_windows, c->n - next);
    bl_status st = bl_calib_store_take(from, w * c->seqlen, x, e);
    if (st == BL_OK) st = block_of(c, m, c->block, hooks, x, e);
    if (st == BL_OK && to && to != from) st = bl_calib_store_ahead(to, 0, 0, e);
    if (st == BL_OK) st = bl_calib_store_ahead(from, next * c->seqlen, BL_MAX(left, 0) * c->seqlen, e);
    if (st == BL_OK && to) st = bl_calib_store_give(to, w * c->seqlen, x, e);
    return st;
}

/* What the original model makes of its inputs is there already: it is what goes into its next block. */
static void take_targets(bl_calibration *c)
{
    bl_calib_store *inputs = c->x0;
    c->x0 = c->y0;
    c->y0 = inputs;
    c->targets_of = -1;
}

/* The inputs of the block of all windows go through it; with `back` what comes out replaces them. Where the original
 * model is beside it, its windows go first. */
static bl_status through(bl_calibration *c, const bl_block_hooks *hooks, bool back, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    const bool differ = c->wants & BL_CALIB_MISMATCH, there = back && !differ && c->y0 && c->targets_of == c->block,
               both = c->original && (back || differ) && !there;
    bl_block_hooks keep = {
        .input = hooks && differ ? keep_original : NULL, .ctx = c, .until = hooks ? hooks->until : 0};

    if (both) {
        st = bl_block_acquire(c->original, c->block, e);
        if (st != BL_OK) return st;
    }
    for (int64_t w = 0; w < c->n; w += c->pass_windows) {
        int64_t n = BL_MIN(c->pass_windows, c->n - w);
        bl_tensor x = bl_tensor_2d(c->pass, 0, be->act, n * c->seqlen, c->m->config.dim);
        if (both) BL_TRY(windows_through(c, c->original, c->x0, w, &keep, x, back ? c->x0 : NULL, e));
        BL_TRY(windows_through(c, c->m, c->x, w, hooks, x, back ? c->x : NULL, e));
    }
    BL_TRY(be->ops->sync(be, e));
    if (there) take_targets(c);
out:
    if (both) bl_block_release(c->original, c->block);
    return st;
}

static bl_status embed(bl_calibration *c, const int32_t *ids, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    bl_buffer *some = NULL;
    int64_t rows = c->pass_windows * c->seqlen;

    BL_TRY(be->ops->buffer_new(be, (uint64_t)rows * sizeof *ids, &some, e));
    for (int64_t r = 0; r < bl_calib_tokens(c); r += rows) {
        int64_t n = BL_MIN(rows, bl_calib_tokens(c) - r);
        bl_tensor id = bl_tensor_1d(some, 0, BL_I32, n), x = bl_tensor_2d(c->pass, 0, be->act, n, c->m->config.dim);
        BL_TRY(be->ops->upload(be, &id, ids + r, e));
        BL_TRY(be->ops->embed(be, &(bl_embed_args){.w = &c->m->embed.weight, .ids = id, .y = x}, e));
        BL_TRY(bl_calib_store_give(c->x, r, x, e));
        if (c->x0) BL_TRY(bl_calib_store_give(c->x0, r, x, e));
    }
    BL_TRY(be->ops->sync(be, e));
out:
    be->ops->buffer_free(some);
    return st;
}

/* stream: the text goes through the model. */
static bl_status begin(bl_model *m, bl_model *original, const bl_calib_windows *w, unsigned wants, bool stream,
                       const char *beside, bl_calibration **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = m->be;
    bl_calibration *c = bl_new(1, sizeof *c, e);
    bl_calib_size size;

    if (!c) return BL_E_NOMEM;
    *c = (bl_calibration){
        .m = m, .original = original, .n = w->n, .seqlen = w->seqlen, .wants = wants, .targets_of = -1};
    if (wants & BL_CALIB_HESSIAN) BL_TRY(bl_check_op(be, be->ops->hessian, "hessian", e));
    if (wants & BL_CALIB_CHANNELS) BL_TRY(bl_check_op(be, be->ops->channel_stats, "channel_stats", e));
    if (wants & BL_CALIB_MISMATCH) BL_TRY(bl_check_op(be, be->ops->mismatch, "mismatch", e));
    c->pass_windows = bl_calib_pass_windows(w->n, w->seqlen);
    if (!(c->start = bl_new((size_t)c->pass_windows + 1, sizeof *c->start, e)) ||
        !(c->past = bl_new((size_t)c->pass_windows, sizeof *c->past, e)) ||
        !(c->slot = bl_new((size_t)c->pass_windows, sizeof *c->slot, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_kv_new(m, c->pass_windows * w->seqlen, (int32_t)c->pass_windows, true, BL_KV_ACT, &c->kv, e));
    if (!stream) goto begun;
    bl_calib_size_of(&m->config, w->n, w->seqlen, wants, &size);
    BL_TRY(bl_calib_store_new(be, bl_calib_tokens(c), m->config.dim, beside, size.beside, &c->x, e));
    if (original) BL_TRY(bl_calib_store_new(be, bl_calib_tokens(c), m->config.dim, beside, size.beside, &c->x0, e));
    if (wants & BL_CALIB_ORIGINAL)
        BL_TRY(bl_calib_store_new(be, bl_calib_tokens(c), m->config.dim, beside, size.beside, &c->y0, e));
    if (wants & BL_CALIB_HELD) {
        BL_TRY(bl_calib_store_new(be, bl_calib_tokens(c), m->config.dim, beside, size.beside, &c->held, e));
        BL_TRY(bl_calib_store_new(be, bl_calib_tokens(c), m->config.dim, beside, size.beside, &c->held0, e));
    }
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(c->pass_windows * w->seqlen * m->config.dim) * bl_dtype_bytes(be->act),
                               &c->pass, e));
    BL_TRY(embed(c, w->ids, e));
begun:
    *out = c;
    c = NULL;
out:
    bl_calib_end(c);
    return st;
}

bl_status bl_calib_begin(bl_model *m, bl_model *original, const bl_calib_windows *w, unsigned wants, const char *beside,
                         bl_calibration **out, bl_err *e)
{
    return begin(m, original, w, wants, true, beside, out, e);
}

static char *kept_path(const char *path, int64_t block, bl_err *e)
{
    return bl_format_text(e, "%s.%lld", path, (long long)block);
}

/* Whether all of a model's blocks are kept. */
static bl_status all_kept(const bl_model *m, const char *path, bl_hash of, bool *all, bl_err *e)
{
    bl_status st = BL_OK;
    *all = true;
    for (int64_t b = 0; b < m->config.n_layers && *all; b++) {
        uint8_t *data = NULL;
        size_t n = 0;
        char *file = kept_path(path, b, e);
        if (!file) return BL_E_NOMEM;
        st = bl_calib_kept_read(file, of, &data, &n, e);
        bl_free(file);
        if (st != BL_OK) return st;
        *all = data != NULL;
        bl_free(data);
    }
    return st;
}

bl_status bl_calib_begin_shared(bl_model *m, const bl_calib_windows *w, unsigned wants, const char *beside,
                                const char *path, bl_hash of, int64_t blocks, bl_calibration **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calibration *c = NULL;
    bool all = false;
    if (blocks == m->config.n_layers) BL_TRY(all_kept(m, path, of, &all, e));
    BL_TRY(begin(m, NULL, w, wants, !all, beside, &c, e));
    c->of = of;
    c->shared = blocks;
    c->given = all;
    if (!(c->path = bl_strdup(path, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *out = c;
    c = NULL;
out:
    bl_calib_end(c);
    return st;
}

int64_t bl_calib_residual_rows(const bl_calibration *c)
{
    return BL_MIN(BL_MAX(BL_CALIB_SAMPLE_ROWS / c->seqlen, 1), c->n) * c->seqlen;
}

static bl_tensor head_of(const bl_calibration *c)
{
    return bl_tensor_2d(c->head, 0, c->m->be->act, bl_calib_residual_rows(c), c->m->config.dim);
}

/* Room for the inputs of the block of the first windows. */
static bl_status head_new(bl_calibration *c, bl_err *e)
{
    uint64_t bytes = (uint64_t)(bl_calib_residual_rows(c) * c->m->config.dim) * bl_dtype_bytes(c->m->be->act);
    c->head_block = c->block;
    return bl_buffer_fit(c->m->be, &c->head, bytes, e);
}

/* ---- statistics that others have too ---- */
enum { MOST_PIECES = 3 * MOST_INPUTS + 1 };

/* All that was gathered of a block. */
static int pieces(const bl_calibration *c, bl_tensor out[MOST_PIECES])
{
    int n = 0;
    for (int i = 0; i < c->n_stats; i++) {
        const stat *s = &c->stat[i];
        if (s->hessian) out[n++] = bl_tensor_2d(s->hessian, 0, BL_F64, s->in, s->in);
        if (s->channels)
            out[n++] = bl_tensor_1d(s->channels, 0, BL_U8, s->in * (int64_t)(2 * sizeof(double) + sizeof(float)));
        if (s->sample) out[n++] = bl_tensor_2d(s->sample, 0, c->m->be->act, s->sampled, s->in);
    }
    if (c->wants & BL_CALIB_INPUTS) out[n++] = head_of(c);
    return n;
}

/* *taken: the statistics of the block at hand are those that a file has. */
static bl_status take_kept(bl_calibration *c, bool *taken, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor piece[MOST_PIECES];
    uint8_t *data = NULL;
    size_t n = 0, at = 0, all = 0;
    char *file = kept_path(c->path, c->block, e);
    if (!file) return BL_E_NOMEM;
    BL_TRY(bl_calib_kept_read(file, c->of, &data, &n, e));
    *taken = data != NULL;
    if (!data) goto out;
    for (int i = 0; i < c->n_stats; i++) {
        c->stat[i].rows = bl_calib_tokens(c);
        c->stat[i].sampled = BL_MIN(bl_calib_tokens(c), BL_CALIB_SAMPLE_ROWS);
    }
    if (c->wants & BL_CALIB_INPUTS) BL_TRY(head_new(c, e));
    int k = pieces(c, piece);
    for (int i = 0; i < k; i++) all += bl_tensor_bytes(&piece[i]);
    if (all != n) {
        st = bl_fail(e, BL_E_FORMAT, "%s has %zu bytes of statistics, expected %zu", file, n, all);
        goto out;
    }
    for (int i = 0; i < k; i++) {
        BL_TRY(c->m->be->ops->upload(c->m->be, &piece[i], data + at, e));
        at += bl_tensor_bytes(&piece[i]);
    }
out:
    bl_free(file);
    bl_free(data);
    return st;
}

static bl_status keep(bl_calibration *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor piece[MOST_PIECES];
    int k = pieces(c, piece);
    size_t n = 0, at = 0;
    uint8_t *data = NULL;
    char *file = NULL;
    for (int i = 0; i < k; i++) n += bl_tensor_bytes(&piece[i]);
    if (n > BL_CALIB_KEPT_MOST) return BL_OK;
    if (!(file = kept_path(c->path, c->block, e)) || !(data = bl_new(n, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < k; i++) {
        BL_TRY(c->m->be->ops->download(c->m->be, &piece[i], data + at, e));
        at += bl_tensor_bytes(&piece[i]);
    }
    BL_TRY(bl_calib_kept_write(file, c->of, data, n, e));
out:
    bl_free(file);
    bl_free(data);
    return st;
}

static bl_status gather(bl_calibration *c, uint32_t roles, bool advance, bl_err *e)
{
    bl_status st = BL_OK;
    uint32_t until = 0;

    forget(c);
    if (c->wants == BL_CALIB_ORIGINAL) return advance ? bl_calib_advance(c, e) : BL_OK; /* nothing is counted */
    for (uint32_t left = roles, now; left; left &= ~now) {
        const bl_linear *first = NULL;
        uint32_t shared = 0;
        now = bl_roles_of_one_input(left);
        for (int role = 0; role < BL_N_ROLES; role++) {
            if (!(now & BL_ROLE_BIT(role))) continue;
            const bl_linear *l = bl_model_linear(c->m, c->block, (bl_role)role);
            if (l->n_transforms) BL_TRY(stat_new(c, BL_ROLE_BIT(role), l, e));
            else {
                first = first ? first : l;
                shared |= BL_ROLE_BIT(role);
            }
            until = now;
        }
        if (shared) BL_TRY(stat_new(c, shared, first, e));
    }
    bool shared = c->path && c->block < c->shared, taken = false;
    if (shared) BL_TRY(take_kept(c, &taken, e));
    if (taken) {
        if (advance) BL_TRY(bl_calib_advance(c, e));
        goto out;
    }
    if (c->given) { /* when the first block was taken it was there */
        st = bl_fail(e, BL_E_IO, "%s.%lld: the statistics of this block are gone", c->path, (long long)c->block);
        goto out;
    }
    if (c->wants & BL_CALIB_INPUTS) {
        BL_TRY(head_new(c, e));
        BL_TRY(bl_calib_store_take(c->x, 0, head_of(c), e));
    }
    if (advance) until = 0;
    BL_TRY(through(c, &(bl_block_hooks){.input = see, .ctx = c, .until = until}, advance, e));
    if (shared) BL_TRY(keep(c, e));
    if (advance) c->block++;
out:
    return st;
}

bl_status bl_calib_gather(bl_calibration *c, uint32_t roles, bl_err *e) { return gather(c, roles, false, e); }
bl_status bl_calib_gather_advance(bl_calibration *c, uint32_t roles, bl_err *e) { return gather(c, roles, true, e); }

bl_status bl_calib_advance(bl_calibration *c, bl_err *e)
{
    bl_status st = c->given ? BL_OK : through(c, NULL, true, e);
    c->block++;
    return st;
}

/* All rows of one store into another, as many at a time as a pass has. */
static bl_status copy_all(bl_calibration *c, bl_calib_store *from, bl_calib_store *to, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t w = 0; w < c->n; w += c->pass_windows) {
        const int64_t n = BL_MIN(c->pass_windows, c->n - w) * c->seqlen;
        const bl_tensor x = bl_tensor_2d(c->pass, 0, c->m->be->act, n, c->m->config.dim);
        BL_TRY(bl_calib_store_take(from, w * c->seqlen, x, e));
        BL_TRY(bl_calib_store_give(to, w * c->seqlen, x, e));
    }
    st = c->m->be->ops->sync(c->m->be, e);
out:
    return st;
}

bl_status bl_calib_hold(bl_calibration *c, bl_err *e)
{
    bl_status st = copy_all(c, c->x, c->held, e);
    if (st == BL_OK) st = copy_all(c, c->x0, c->held0, e);
    c->held_block = c->block;
    return st;
}

bl_status bl_calib_rewind(bl_calibration *c, bl_err *e)
{
    bl_status st = copy_all(c, c->held, c->x, e);
    if (st == BL_OK) st = copy_all(c, c->held0, c->x0, e);
    c->block = c->held_block;
    return st;
}

bl_status bl_calib_pass_by(bl_calibration *c, bl_model *done, bl_err *e)
{
    bl_model *m = c->m, *through_it = done ? done : m;
    int64_t block = c->block;
    bl_status st = bl_block_acquire(through_it, block, e);
    if (st != BL_OK) return st;
    c->m = through_it;
    st = bl_calib_advance(c, e);
    c->m = m;
    bl_block_release(through_it, block);
    return st;
}

bl_status bl_calib_residual(bl_calibration *c, uint32_t until, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    if (!c->head) return bl_fail(e, BL_E_INTERNAL, "inputs of block %lld were not gathered", (long long)c->block);
    bl_tensor head = head_of(c);
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = head, .dst = y, .n = head.dim[0]}, e));
    for (int64_t r = 0, rows = c->pass_windows * c->seqlen; r < head.dim[0]; r += rows)
        BL_TRY(block_of(c, c->m, c->head_block, &(bl_block_hooks){.until = until},
                        bl_tensor_rows(y, r, BL_MIN(rows, head.dim[0] - r)), e));
    BL_TRY(be->ops->sync(be, e));
out:
    return st;
}

bl_status bl_calib_targets(bl_calibration *c, bl_err *e)
{
    bl_status st = bl_block_acquire(c->original, c->block, e);
    if (st != BL_OK) return st;
    for (int64_t w = 0; w < c->n; w += c->pass_windows) {
        int64_t n = BL_MIN(c->pass_windows, c->n - w) * c->seqlen;
        bl_tensor x = bl_tensor_2d(c->pass, 0, c->m->be->act, n, c->m->config.dim);
        BL_TRY(windows_through(c, c->original, c->x0, w, NULL, x, c->y0, e));
    }
    BL_TRY(c->m->be->ops->sync(c->m->be, e));
    c->targets_of = c->block;
out:
    bl_block_release(c->original, c->block);
    return st;
}

bl_status bl_calib_window(bl_calibration *c, int64_t window, bl_tensor x, bl_tensor target, bl_err *e)
{
    bl_status st = bl_calib_store_take(c->x, window * c->seqlen, x, e);
    if (st == BL_OK) st = bl_calib_store_take(c->y0, window * c->seqlen, target, e);
    return st;
}

bl_status bl_calib_window_ahead(bl_calibration *c, int64_t window, bl_err *e)
{
    const int64_t rows = window < 0 ? 0 : c->seqlen;
    bl_status st = bl_calib_store_ahead(c->x, window * rows, rows, e);
    if (st == BL_OK) st = bl_calib_store_ahead(c->y0, window * rows, rows, e);
    return st;
}

bl_status bl_calib_original(bl_calibration *c, const bl_linear *l, bl_tensor *dense, bl_err *e)
{
    bl_status st = bl_block_acquire(c->original, l->block, e);
    if (st != BL_OK) return st;
    st = bl_linear_dense(c->m->be, bl_model_linear(c->original, l->block, l->role), dense, e);
    bl_block_release(c->original, l->block);
    return st;
}

void bl_calib_end(bl_calibration *c)
{
    if (!c) return;
    forget(c);
    bl_calib_store_free(c->x);
    bl_calib_store_free(c->x0);
    bl_calib_store_free(c->y0);
    bl_calib_store_free(c->held);
    bl_calib_store_free(c->held0);
    c->m->be->ops->buffer_free(c->pass);
    c->m->be->ops->buffer_free(c->turned);
    bl_kv_free(c->kv);
    bl_free(c->start);
    bl_free(c->past);
    bl_free(c->slot);
    c->m->be->ops->buffer_free(c->head);
    bl_free(c->path);
    bl_free(c->step);
    bl_free(c);
}

/* ---- for methods ---- */
static bl_status stat_of(bl_calibration *c, const bl_linear *l, unsigned want, stat **out, bl_err *e)
{
    for (int i = 0; i < c->n_stats; i++)
        if (c->stat[i].lin->block == l->block && c->stat[i].roles & BL_ROLE_BIT(l->role) && c->wants & want) {
            *out = &c->stat[i];
            return BL_OK;
        }
    return bl_fail(e, BL_E_INTERNAL, "the inputs of %s were not gathered", l->name);
}

bl_status bl_calib_hessian(bl_calibration *c, const bl_linear *l, bl_tensor *h, bl_err *e)
{
    stat *s;
    bl_status st = stat_of(c, l, BL_CALIB_HESSIAN, &s, e);
    if (st == BL_OK) *h = bl_tensor_2d(s->hessian, 0, BL_F64, s->in, s->in);
    return st;
}

bl_status bl_calib_mismatch(bl_calibration *c, const bl_linear *l, bl_tensor *m, bl_err *e)
{
    stat *s;
    bl_status st = stat_of(c, l, BL_CALIB_MISMATCH, &s, e);
    if (st == BL_OK) *m = bl_tensor_2d(s->mismatch, 0, BL_F64, s->in, s->in);
    return st;
}

bl_status bl_calib_inputs(bl_calibration *c, const bl_linear *l, bl_tensor *x, bl_err *e)
{
    stat *s;
    bl_status st = stat_of(c, l, BL_CALIB_INPUTS, &s, e);
    if (st == BL_OK) *x = bl_tensor_2d(s->sample, 0, c->m->be->act, s->sampled, s->in);
    return st;
}

bl_status bl_calib_channel(bl_calibration *c, const bl_linear *l, bl_calib_channels *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    stat *s;

    BL_TRY(stat_of(c, l, BL_CALIB_CHANNELS, &s, e));
    if (!s->max_abs) {
        bl_tensor sums = bl_tensor_1d(s->channels, 0, BL_F64, 2 * s->in), most = channel_max(s);
        if (!(s->max_abs = bl_new((size_t)s->in, sizeof *s->max_abs, e)) ||
            !(s->mean_abs = bl_new(2 * (size_t)s->in, sizeof *s->mean_abs, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        s->mean_sq = s->mean_abs + s->in;
        BL_TRY(be->ops->download(be, &most, s->max_abs, e));
        BL_TRY(be->ops->download(be, &sums, s->mean_abs, e));
        for (int64_t i = 0; i < 2 * s->in; i++) s->mean_abs[i] /= (double)s->rows;
        for (int64_t i = 0; i < s->in; i++)
            if (!isfinite(s->max_abs[i]) || !isfinite(s->mean_sq[i])) {
                st = bl_fail(e, BL_E_NUMERIC, "%s: the calibration text has inputs that are not finite: number %lld",
                             l->name, (long long)i);
                bl_free(s->max_abs);
                bl_free(s->mean_abs);
                s->max_abs = NULL;
                s->mean_abs = NULL;
                goto out;
            }
    }
    *out = (bl_calib_channels){s->max_abs, s->mean_abs, s->mean_sq};
out:
    return st;
}

bl_status bl_calib_divide(bl_calibration *c, const bl_linear *l, const float *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = c->m->be;
    bl_calib_channels channels;
    bl_buffer *data = NULL;
    float *inverse = NULL;
    stat *s;

    BL_TRY(stat_of(c, l, BL_CALIB_CHANNELS | BL_CALIB_INPUTS, &s, e));
    if (c->wants & BL_CALIB_CHANNELS) {
        BL_TRY(bl_calib_channel(c, l, &channels, e));
        for (int64_t i = 0; i < s->in; i++) {
            s->max_abs[i] /= v[i];
            s->mean_abs[i] /= v[i];
            s->mean_sq[i] /= (double)v[i] * v[i];
        }
    }
    if (!(c->wants & BL_CALIB_INPUTS)) goto out;
    if (!(inverse = bl_new((size_t)s->in, sizeof *inverse, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < s->in; i++) inverse[i] = 1 / v[i];
    BL_TRY(be->ops->buffer_new(be, (uint64_t)s->in * sizeof *inverse, &data, e));
    BL_TRY(bl_buffer_fit(be, &c->turned, (uint64_t)(s->sampled * s->in) * bl_dtype_bytes(be->act), e));
    bl_tensor by = bl_tensor_1d(data, 0, BL_F32, s->in), x = bl_tensor_2d(s->sample, 0, be->act, s->sampled, s->in),
              y = bl_tensor_2d(c->turned, 0, be->act, s->sampled, s->in);
    BL_TRY(be->ops->upload(be, &by, inverse, e));
    BL_TRY(be->ops->transform(
        be,
        &(bl_transform_args){
            .x = x, .t = &(bl_transform){.kind = BL_T_SCALE, .in = s->in, .out = s->in, .data = by}, .n_t = 1, .y = y},
        e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = y, .dst = x, .n = s->sampled}, e));
    BL_TRY(be->ops->sync(be, e));
out:
    bl_free(inverse);
    be->ops->buffer_free(data);
    return st;
}
