/* shared_block.c - windows of calibration text through a block and back. */
#include "shared_block.h"
#include "harness/quant/calibrate.h"
#include "shared_weight.h"

bl_status bl_block_learner_begin(bl_block_learner *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->run;
    bl_model *m = r->model;
    k->tokens = bl_calib_tokens(r->calib) / bl_calib_sequences(r->calib);
    k->blocks = BL_MAX(k->blocks, 1);
    if (k->blocks == 1) BL_TRY(bl_calib_targets(r->calib, e)); /* else they are there */
    BL_TRY(bl_matrix_new(r, r->be->act, k->tokens, m->config.dim, &k->x, e));
    BL_TRY(bl_matrix_new(r, r->be->act, k->tokens, m->config.dim, &k->target, e));
    BL_TRY(bl_kv_new(m, k->tokens, 1, true, BL_KV_ACT, &k->kv, e));
    for (int64_t b = 0; b < k->blocks; b++) BL_TRY(bl_tape_new(m, k->tokens, &k->tape[b], e));
    st = r->ops->buffer_new(r->be, 64, &k->sum, e);
out:
    return st;
}

void bl_block_learner_end(bl_block_learner *k)
{
    bl_matrix_free(k->run, &k->x);
    bl_matrix_free(k->run, &k->target);
    k->run->ops->buffer_free(k->sum);
    for (int64_t b = 0; b < k->blocks; b++) bl_tape_free(k->run->model, &k->tape[b]);
    bl_kv_free(k->kv);
    k->kv = NULL;
    k->sum = NULL;
}

static bl_status one_window(bl_block_learner *k, int64_t window, int64_t next, double scale, double *sum, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->run;
    bl_model *m = r->model;
    const int32_t start[] = {0, (int32_t)k->tokens}, past[] = {0};
    const bl_tensor all = bl_tensor_1d(k->sum, 0, BL_F64, 1);
    double squares;
    int32_t slot;
    if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
    BL_TRY(bl_calib_window(r->calib, window, k->x, k->target, e));
    bl_kv_reset(k->kv);
    BL_TRY(bl_kv_slot(k->kv, k->tokens, -1, 0, &slot, e));
    const bl_batch b = {.n_seq = 1, .start = start, .past = past, .slot = &slot};
    for (int64_t i = 0; i < k->blocks; i++)
        BL_TRY(bl_block_forward(m, k->block + i, &b, k->kv, k->x, k->hooks, scale != 0 ? &k->tape[i] : NULL, e));
    BL_TRY(r->ops->differ(r->be, &(bl_differ_args){.x = k->x, .y = k->target, .sum = all, .scale = scale}, e));
    for (int64_t i = k->blocks - 1; scale != 0 && i >= 0; i--)
        BL_TRY(bl_block_backward(m, k->block + i, &b, k->kv, &k->tape[i], k->x, i > 0, k->grads, e));
    BL_TRY(bl_calib_window_ahead(r->calib, next, e));
    BL_TRY(r->ops->download(r->be, &all, &squares, e));
    *sum += squares;
out:
    return st;
}

bl_status bl_block_learner_windows(bl_block_learner *k, const int64_t *order, int64_t n, int64_t more, double scale,
                                   double *sum, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < n; i++) {
        const int64_t next = i + 1 < n + more ? (order ? order[i + 1] : i + 1) : -1;
        BL_TRY(one_window(k, order ? order[i] : i, next, scale, sum, e));
    }
out:
    return st;
}

void bl_block_draw(bl_rng *random, int64_t *order, int64_t windows, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i + (int64_t)bl_rng_below(random, (uint64_t)(windows - i)), w = order[at];
        order[at] = order[i];
        order[i] = w;
    }
}

int64_t bl_block_windows(const bl_method_run *r) { return r->windows ? r->windows->n : BL_CALIB_WINDOWS; }

double bl_block_work(const bl_method_run *r, const bl_linear *lin, int64_t windows)
{
    int64_t seqlen = r->windows ? r->windows->seqlen : BL_MIN(r->model->config.max_len, 2048);
    double tokens = (double)windows * (double)seqlen;
    return 6 * tokens * (double)lin->out * (double)bl_linear_width(lin);
}

bl_status bl_block_lost(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_tensor dense = {0};
    bl_status st = bl_calib_original(r->calib, lin, &dense, e);
    if (st == BL_OK) st = bl_weight_error(r, dense, &lin->weight, (bl_tensor){0}, stat, e);
    bl_matrix_free(r, &dense);
    bl_calib_loss(r->calib, &stat->block_loss_first, &stat->block_loss);
    return st;
}
