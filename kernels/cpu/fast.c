/* fast.c - the table of the CPU backend where AVX2 is there: the ops other than linear, cut into rows or tiles for the
 * threads. */
#include "avx2.h"
#if defined(BL_HAVE_X86)
#include <omp.h>

typedef struct rows {
    bl_by_row *row;
    const void *args;
    int64_t n, tasks;
} rows;
static void some_rows(void *ctx, int64_t i, int lane)
{
    const rows *w = ctx;
    (void)lane;
    for (int64_t r = w->n * i / w->tasks; r < w->n * (i + 1) / w->tasks; r++) w->row(w->args, r);
}
bl_status bl_cpu_each_row(bl_backend *be, double operations, int64_t n, bl_by_row *row, const void *args)
{
    enum { WORTH = 40000 }; /* operations: ten microseconds, of threads that are awake */
    const int threads = operations < WORTH ? 1 : ((const bl_cpu *)be->own)->threads;
    rows w = {row, args, n, BL_MIN(n, 2 * threads)};
    bl_team_run(((const bl_cpu *)be->own)->team, threads, some_rows, &w, w.tasks);
    return BL_OK;
}

static void norm_row(const void *args, int64_t r)
{
    const bl_rmsnorm_args *a = args;
    bl_avx2_rmsnorm(bl_cpu_row(&a->x, r), bl_cpu_at(&a->weight), bl_cpu_row(&a->y, r), a->x.dim[1], a->eps);
}
static bl_status rmsnorm(bl_backend *be, const bl_rmsnorm_args *a, bl_err *e)
{
    bl_status st = bl_check_rmsnorm(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, (double)bl_tensor_count(&a->x), a->x.dim[0], norm_row, a);
}

static void rope_row(const void *args, int64_t r)
{
    const bl_rope_args *a = args;
    const int32_t *pos = bl_cpu_at(&a->pos);
    bl_avx2_rope(bl_cpu_row(&a->x, r), bl_cpu_row(&a->cos, pos[r]), bl_cpu_row(&a->sin, pos[r]), a->x.dim[1],
                 a->head_dim);
}
static bl_status rope(bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_rope(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, (double)bl_tensor_count(&a->x), a->x.dim[0], rope_row, a);
}

static void swiglu_row(const void *args, int64_t r)
{
    const bl_swiglu_args *a = args;
    bl_avx2_swiglu(bl_cpu_row(&a->gate, r), bl_cpu_row(&a->up, r), bl_cpu_row(&a->y, r), a->gate.dim[1]);
}
static bl_status swiglu(bl_backend *be, const bl_swiglu_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, 4 * (double)bl_tensor_count(&a->gate), a->gate.dim[0], swiglu_row, a);
}

static void add_row(const void *args, int64_t r)
{
    const bl_add_args *a = args;
    bl_avx2_add(bl_cpu_row(&a->x, r), bl_cpu_row(&a->y, r), a->x.dim[1]);
}
static bl_status add(bl_backend *be, const bl_add_args *a, bl_err *e)
{
    bl_status st = bl_check_add(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, (double)bl_tensor_count(&a->x), a->x.dim[0], add_row, a);
}

static void act_round_row(const void *args, int64_t r)
{
    const bl_act_round_args *a = args;
    bl_avx2_act_round(bl_cpu_row(&a->x, r), bl_cpu_row(&a->y, r), a->x.dim[1], &a->act);
}
static bl_status act_round(bl_backend *be, const bl_act_round_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, 6 * (double)bl_tensor_count(&a->x), a->x.dim[0], act_round_row, a);
}
static bl_status act_round_grad(bl_backend *be, const bl_act_round_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round_grad(be, a, e);
    return st != BL_OK
               ? st
               : bl_cpu_each_row(be, 8 * (double)bl_tensor_count(&a->x), a->x.dim[0], bl_cpu_act_round_grad_row, a);
}

/* Rows of a weight into rows of y: those of ids, or from the first on. */
typedef struct decoding {
    bl_source s;
    const bl_weight *w;
    const bl_tensor *y;
    const int32_t *ids;
    int64_t row0;
} decoding;
static void decode_row(const void *args, int64_t r)
{
    const decoding *d = args;
    const int64_t from = d->ids ? d->ids[r] : d->row0 + r, in = d->s.shape.in;
    if (in % 8 == 0) d->s.unpack(&d->s, from, 0, in, bl_cpu_row(d->y, r), 8);
    else bl_cpu_unpack(d->w, from, 0, in, bl_cpu_row(d->y, r));
}

static bl_status embed(bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_embed(be, a, e);
    decoding d = {.w = a->w, .y = &a->y, .ids = bl_cpu_at(&a->ids)};
    if (st != BL_OK) return st;
    bl_source_of(a->w, &d.s);
    return bl_cpu_each_row(be, 4 * (double)bl_tensor_count(&a->y), a->y.dim[0], decode_row, &d);
}

static bl_status unpack(bl_backend *be, const bl_unpack_args *a, bl_err *e)
{
    bl_status st = bl_check_unpack(be, a, e);
    decoding d = {.w = a->w, .y = &a->y, .row0 = a->row0};
    if (st != BL_OK) return st;
    bl_source_of(a->w, &d.s);
    return bl_cpu_each_row(be, 4 * (double)bl_tensor_count(&a->y), a->rows, decode_row, &d);
}

static void append_row(const void *args, int64_t r)
{
    const bl_kv_append_args *a = args;
    const int64_t to = ((const int64_t *)bl_cpu_at(&a->to))[r];
    if (a->k.buf) memmove(bl_cpu_row(&a->kv.k, to), bl_cpu_row(&a->k, r), (size_t)a->k.dim[1] * sizeof(float));
    if (a->v.buf) memmove(bl_cpu_row(&a->kv.v, to), bl_cpu_row(&a->v, r), (size_t)a->v.dim[1] * sizeof(float));
}
static bl_status kv_append(bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    const bl_tensor *rows = a->k.buf ? &a->k : &a->v;
    bl_status st;
    if (bl_kv_bits(a->kv.format)) return bl_cpu_kv_append(be, a, bl_avx2_kv_row, e);
    st = bl_cpu_check_kv_append(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, 16 * (double)bl_tensor_count(rows), rows->dim[0], append_row, a);
}

static void gather_row(const void *args, int64_t i)
{
    const bl_gather_args *a = args;
    const size_t size = bl_dtype_bytes(a->src.dtype);
    const int64_t *from_row = bl_cpu_at(&a->from), *to_row = bl_cpu_at(&a->to);
    const int64_t from = from_row ? from_row[i] : i, to = to_row ? to_row[i] : i;
    memmove((char *)bl_cpu_at(&a->dst) + (size_t)(to * a->dst.stride[0]) * size,
            (const char *)bl_cpu_at(&a->src) + (size_t)(from * a->src.stride[0]) * size, (size_t)a->src.dim[1] * size);
}
static bl_status gather(bl_backend *be, const bl_gather_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_gather(be, a, e);
    if (st != BL_OK) return st;
    if (a->to.buf || a->src.buf == a->dst.buf) return bl_ref_gather(be, a, e); /* the order may matter */
    return bl_cpu_each_row(be, (double)a->n * (double)a->src.dim[1], a->n, gather_row, a);
}

static void loss_row(const void *args, int64_t r)
{
    const bl_loss_args *a = args;
    double *nll = bl_cpu_at(&a->nll);
    int32_t *argmax = bl_cpu_at(&a->argmax), at;
    const int32_t *targets = bl_cpu_at(&a->target);
    const float *x = bl_cpu_row(&a->logits, r);
    const int32_t target = targets ? targets[r] : -1;
    float top;
    bool finite = bl_avx2_top(x, a->vocab, &top, &at);
    if (argmax) argmax[r] = at;
    if (nll)
        nll[r] = target < 0 ? 0 : !finite ? NAN : log(bl_avx2_sum_exp(x, a->vocab, top)) + ((double)top - x[target]);
}
static bl_status loss(bl_backend *be, const bl_loss_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_loss(be, a, e);
    const int64_t n = a->logits.dim[0];
    return st != BL_OK ? st : bl_cpu_each_row(be, 4 * (double)n * (double)a->vocab, n, loss_row, a);
}

static bl_status kl_div(bl_backend *be, const bl_kl_div_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_kl_div(be, a, e);
    if (st != BL_OK) return st;
    if (a->least > 0) return bl_ref_kl_div(be, a, e);
    double *kl = bl_cpu_at(&a->kl), *dp = bl_cpu_at(&a->dp);
    int32_t *same = bl_cpu_at(&a->same);
    const int32_t *targets = bl_cpu_at(&a->target);
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, 8 * (double)a->p.dim[0] * (double)a->vocab))
    for (int64_t r = 0; r < a->p.dim[0]; r++) {
        const float *p = bl_cpu_row(&a->p, r), *q = bl_cpu_row(&a->q, r);
        int32_t atp, atq, t = targets[r];
        float topp, topq;
        bool finite = bl_avx2_top(p, a->vocab, &topp, &atp);
        finite = bl_avx2_top(q, a->vocab, &topq, &atq) && finite;
        same[r] = atp == atq;
        if (!finite) {
            kl[r] = dp[r] = NAN;
            continue;
        }
        double zp = bl_avx2_sum_exp(p, a->vocab, topp), zq = bl_avx2_sum_exp(q, a->vocab, topq);
        kl[r] = bl_avx2_sum_cross(p, q, a->vocab, topp) / zp - (topp + log(zp)) + (topq + log(zq));
        dp[r] = exp((double)q[t] - topq) / zq - exp((double)p[t] - topp) / zp;
    }
    return BL_OK;
}

/* Rows go to the threads in runs; the error of the first run that fails is the one that is told. */
static bl_status pack(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    enum { RUN = 64 };
    bl_status st = bl_check_pack(be, a, e);
    bl_cpu *c = be->own;
    if (st != BL_OK) return st;
    if (!bl_cpu_pack_by_rows(a->w)) return bl_ref_pack(be, a, e);
    int64_t out = a->w->shape.out, runs = (out + RUN - 1) / RUN, failed = runs;
    double *err = bl_new((size_t)out, sizeof *err, e), *pow = bl_new((size_t)out, sizeof *pow, e), d2 = 0, x2 = 0;
    if (!err || !pow) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(c->threads)
    for (int64_t i = 0; i < runs; i++) {
        bl_err mine = {0};
        bl_status got = bl_cpu_pack_range(a, i * RUN, BL_MIN(out - i * RUN, RUN), err, pow, &mine);
        if (got == BL_OK) continue;
#pragma omp critical(bl_pack)
        if (i < failed) {
            failed = i;
            st = got;
            if (e) *e = mine;
        }
    }
    if (st == BL_E_NUMERIC || st == BL_E_FORMAT)
        st = bl_ref_pack(be, a, e); /* again in order, for the row number in the sentence */
    for (int64_t i = 0; i < out; i++) {
        d2 += err[i];
        x2 += pow[i];
    }
    if (a->sq_error) *a->sq_error = d2;
    if (a->sq_weight) *a->sq_weight = x2;
out:
    bl_free(err);
    bl_free(pow);
    return st;
}

const bl_ops bl_ops_cpu = {
    .name = "cpu",
    .buffer_new = bl_cpu_buffer_new,
    .buffer_free = bl_cpu_buffer_free,
    .upload = bl_cpu_upload,
    .download = bl_cpu_download,
    .fill = bl_cpu_fill,
    .sync = bl_cpu_sync,
    .memory = bl_cpu_memory,
    .device_info = bl_cpu_device_info,
    .flush = bl_cpu_flush,
    .event_new = bl_cpu_event_new,
    .event_free = bl_cpu_event_free,
    .event_record = bl_cpu_event_record,
    .event_seconds = bl_cpu_event_seconds,
    .prepare = bl_cpu_prepare,
    .linear = bl_cpu_linear,
    .linear_turns = true,
    .linear_prepares = bl_cpu_prepares,
    .act_fp4 = true,
    .kv_low = true,
    .linear_is_integer = bl_cpu_integer,
    .transform = bl_ref_transform,
    .channel_stats = bl_ref_channel_stats,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .kv_append = kv_append,
    .attention = bl_fast_attention,
    .gather = gather,
    .swiglu = swiglu,
    .add = add,
    .embed = embed,
    .loss = loss,
    .kl_div = kl_div,
    .sample = bl_ref_sample,
    .pack = pack,
    .unpack = unpack,
    .permute = bl_ref_permute,
    .diagonal = bl_ref_diagonal,
    .hessian = bl_fast_hessian,
    .cholesky_inverse = bl_fast_cholesky_inverse,
    .mismatch = bl_fast_mismatch,
    .mismatch_fold = bl_fast_mismatch_fold,
    .quad_form = bl_fast_quad_form,
    .hadamard = bl_cpu_hadamard,
    .gptq_sweep = bl_fast_gptq_sweep,
    .split_pass = bl_cpu_split_pass,
    .scale = bl_cpu_scale,
    .sq_error = bl_cpu_sq_error,
    .clip_search = bl_cpu_clip_search,
    .hqq = bl_cpu_hqq,
    .greedy = bl_cpu_greedy,
    .range_search = bl_cpu_range_search,
    .each = bl_cpu_each,
    .layernorm = bl_cpu_layernorm,
    .gelu = bl_cpu_gelu,
    .weight_grad = bl_fast_weight_grad,
    .rmsnorm_grad = bl_fast_rmsnorm_grad,
    .rope_grad = bl_fast_rope_grad,
    .attention_grad = bl_fast_attention_grad,
    .transform_grad = bl_cpu_transform_grad,
    .swiglu_grad = bl_fast_swiglu_grad,
    .embed_grad = bl_fast_embed_grad,
    .loss_grad = bl_fast_loss_grad,
    .dropout = bl_cpu_dropout,
    .round_random = bl_cpu_round_random,
    .adamw = bl_cpu_adamw,
    .adamw_all = bl_cpu_adamw_all,
    .adamw8 = bl_cpu_adamw8,
    .sq_sums = bl_cpu_sq_sums,
    .grid = bl_cpu_grid,
    .grid_grad = bl_cpu_grid_grad,
    .merged_grid = bl_cpu_merged_grid,
    .step_search = bl_cpu_step_search,
    .sign_round = bl_cpu_sign_round,
    .sign_round_grad = bl_cpu_sign_round_grad,
    .sign_step = bl_cpu_sign_step,
    .scale_grad = bl_cpu_scale_grad,
    .differ = bl_cpu_differ,
    .act_round = act_round,
    .act_round_grad = act_round_grad,
    .dora = bl_cpu_dora,
    .dora_grad = bl_cpu_dora_grad,
    .pool = bl_cpu_pool,
    .pool_grad = bl_cpu_pool_grad,
    .band = bl_cpu_band,
    .band_grad = bl_cpu_band_grad,
    .lowrank_grad = bl_cpu_lowrank_grad,
};
#endif
