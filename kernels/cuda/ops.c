/* ops.c - the table of the CUDA backend, and its ops that are one launch each. */
#include "cuda.h"
#include "search.h"

static bl_status rmsnorm(bl_backend *be, const bl_rmsnorm_args *a, bl_err *e)
{
    bl_status st = bl_check_rmsnorm(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_rmsnorm(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->weight), bl_cuda_at(&a->y), a->y.stride[0],
                  a->x.dim[0], a->x.dim[1], (float)a->eps);
    return bl_cuda_launched(be, "rmsnorm", e);
}

static bl_status turn(bl_backend *be, const bl_rope_args *a, bool back, bl_err *e)
{
    bl_status st = bl_check_rope(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_rope(c->now, bl_cuda_at(&a->x), a->x.stride[0], a->x.dim[0], a->x.dim[1], a->head_dim, bl_cuda_at(&a->pos),
               bl_cuda_at(&a->cos), bl_cuda_at(&a->sin), a->cos.stride[0], back);
    return bl_cuda_launched(be, "rope", e);
}
static bl_status rope(bl_backend *be, const bl_rope_args *a, bl_err *e) { return turn(be, a, false, e); }
static bl_status rope_grad(bl_backend *be, const bl_rope_args *a, bl_err *e) { return turn(be, a, true, e); }

_Static_assert((int)BL_CU_KV_GROUP == (int)BL_KV_GROUP, "groups of keys and values are those of ops.h");

static void append_rows(const bl_cuda *c, const bl_tensor *from, const bl_tensor *cache, const int64_t *to)
{
    const int64_t size = (int64_t)sizeof(uint16_t);
    bl_cu_gather(c->now, bl_cuda_at(from), from->stride[0] * size, bl_cuda_at(cache), cache->stride[0] * size,
                 from->dim[1] * size, NULL, to, from->dim[0]);
}

static void append_keys(const bl_cuda *c, const bl_kv_append_args *a)
{
    const bl_kv_view *kv = &a->kv;
    const bl_cu_kv_keys k = {.bits = bl_kv_bits(kv->format),
                             .x = bl_cuda_at(&a->k),
                             .tail = bl_cuda_at(&kv->k_tail),
                             .codes = bl_cuda_at(&kv->k),
                             .steps = bl_cuda_at(&kv->k_scale),
                             .to = bl_cuda_at(&a->to),
                             .tail_row = bl_cuda_at(&a->tail),
                             .ldx = a->k.stride[0],
                             .ldt = kv->k_tail.stride[0],
                             .ldc = kv->k.stride[0],
                             .lds = kv->k_scale.stride[0],
                             .rows = a->k.dim[0],
                             .heads = kv->heads,
                             .dim = kv->head_dim};
    bl_cu_kv_keys_low(c->now, &k);
}

static void append_values(const bl_cuda *c, const bl_kv_view *kv, const bl_tensor *from, const int64_t *to)
{
    const int bits = bl_kv_bits(kv->format);
    if (bits < 8)
        bl_cu_kv_low(c->now, bits, bl_cuda_at(from), from->stride[0], from->dim[0], kv->heads, kv->head_dim,
                     bl_cuda_at(&kv->v), kv->v.stride[0], bl_cuda_at(&kv->v_scale), kv->v_scale.stride[0], to);
    else
        bl_cu_kv_int8(c->now, bl_cuda_at(from), from->stride[0], from->dim[0], kv->heads, kv->head_dim,
                      bl_cuda_at(&kv->v), kv->v.stride[0], bl_cuda_at(&kv->v_scale), kv->v_scale.stride[0], to);
}

static bl_status kv_append(bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    bl_status st = bl_check_kv_append(be, a, e);
    bl_cuda *c = be->own;
    const int64_t *to = bl_cuda_at(&a->to);
    const bool coded = bl_kv_bits(a->kv.format);
    if (st != BL_OK) return st;
    if (a->k.buf && coded) append_keys(c, a);
    else if (a->k.buf) append_rows(c, &a->k, &a->kv.k, to);
    if (a->v.buf && coded) append_values(c, &a->kv, &a->v, to);
    else if (a->v.buf) append_rows(c, &a->v, &a->kv.v, to);
    return bl_cuda_launched(be, "kv_append", e);
}

/* Few rows to a sequence, as in decoding: keys are cut into parts, so that the device is full. How many rows and keys
 * each sequence has is on the device; the size of the cache bounds the keys. */
static bl_status attend_rows(bl_backend *be, const bl_cu_attention *k, int64_t cache_rows, bl_err *e)
{
    enum { LEAST = 128, MOST_SPLITS = 64 };
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t blocks = k->rows * k->kv_heads, fill = (4LL * c->about.multiProcessorCount + blocks - 1) / blocks;
    int splits = (int)BL_MAX(BL_MIN(BL_MIN(cache_rows / LEAST, fill), MOST_SPLITS), 1);
    void *part;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS,
                        (uint64_t)(k->rows * k->heads * splits * (k->head_dim + 2)) * sizeof(float), &part, e));
    bl_cu_attention_rows(c->now, k, splits, part);
out:
    return st;
}

static bl_cu_attention attention_of(const bl_attention_args *a)
{
    return (bl_cu_attention){.q = bl_cuda_at(&a->q),
                             .y = bl_cuda_at(&a->y),
                             .kv_bits = bl_kv_bits(a->kv.format),
                             .k = bl_cuda_at(&a->kv.k),
                             .v = bl_cuda_at(&a->kv.v),
                             .k_scale = bl_cuda_at(&a->kv.k_scale),
                             .v_scale = bl_cuda_at(&a->kv.v_scale),
                             .ldq = a->q.stride[0],
                             .ldy = a->y.stride[0],
                             .ldk = a->kv.k.stride[0],
                             .ldv = a->kv.v.stride[0],
                             .ldks = a->kv.k_scale.stride[0],
                             .ldvs = a->kv.v_scale.stride[0],
                             .start = bl_cuda_at(&a->start),
                             .past = bl_cuda_at(&a->past),
                             .seg_start = bl_cuda_at(&a->seg_start),
                             .seg = bl_cuda_at(&a->seg),
                             .fresh = bl_cuda_at(&a->fresh),
                             .tail = bl_cuda_at(&a->kv.k_tail),
                             .own = bl_cuda_at(&a->own),
                             .ldf = a->fresh.stride[0],
                             .ldt = a->kv.k_tail.stride[0],
                             .n_seq = a->n_seq,
                             .heads = (int32_t)a->heads,
                             .kv_heads = (int32_t)a->kv.heads,
                             .head_dim = (int32_t)a->kv.head_dim,
                             .rows = a->q.dim[0],
                             .scale = (float)a->scale};
}

static bl_status attention(bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    BL_TRY(bl_check_attention(be, a, e));
    if (a->kv.head_dim > BL_CU_HEAD_MOST)
        return bl_fail(e, BL_E_UNSUPPORTED, "attention: heads of %lld numbers; at most %d on this device",
                       (long long)a->kv.head_dim, BL_CU_HEAD_MOST);
    const bl_cu_attention k = attention_of(a);
    if (!a->n_seq || !k.rows) return BL_OK;
    if (k.rows <= 2LL * a->n_seq && !be->opts.deterministic && !a->sums.buf) BL_TRY(attend_rows(be, &k, a->kv.rows, e));
    else if (a->sums.buf ? !bl_cu_attention_summed(c->now, &k, bl_cuda_at(&a->sums))
                         : !bl_cu_attention_hopper(c->now, &k))
        bl_cu_attention_tiles(c->now, &k);
    BL_TRY(bl_cuda_launched(be, "attention", e));
out:
    return st;
}

static bl_status step(bl_backend *be, const bl_step_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_rope_args *r = &a->rope, keys = {a->append.k, r->head_dim, r->pos, r->cos, r->sin};
    const bl_kv_append_args *n = &a->append;
    bl_cu_attention k = attention_of(&a->attention);
    k.new_k = bl_cuda_at(&n->k);
    k.new_v = bl_cuda_at(&n->v);
    k.to = bl_cuda_at(&n->to);
    k.pos = bl_cuda_at(&r->pos);
    k.cos = bl_cuda_at(&r->cos);
    k.sin = bl_cuda_at(&r->sin);
    k.ldnk = n->k.stride[0];
    k.ldnv = n->v.stride[0];
    k.ldcos = r->cos.stride[0];
    if (be->opts.deterministic || !n->k.buf || !n->v.buf || !k.n_seq || r->head_dim != k.head_dim ||
        !bl_cu_attention_steps(&k)) {
        BL_TRY(rope(be, r, e));
        BL_TRY(rope(be, &keys, e));
        BL_TRY(kv_append(be, n, e));
        return attention(be, &a->attention, e);
    }
    BL_TRY(bl_check_rope(be, r, e));
    BL_TRY(bl_check_rope(be, &keys, e));
    BL_TRY(bl_check_kv_append(be, n, e));
    BL_TRY(bl_check_attention(be, &a->attention, e));
    BL_TRY(attend_rows(be, &k, a->attention.kv.rows, e));
    BL_TRY(bl_cuda_launched(be, "attention", e));
out:
    return st;
}

static bl_status gather(bl_backend *be, const bl_gather_args *a, bl_err *e)
{
    bl_status st = bl_check_gather(be, a, e);
    bl_cuda *c = be->own;
    int64_t size = (int64_t)bl_dtype_bytes(a->src.dtype);
    if (st != BL_OK) return st;
    bl_cu_gather(c->now, bl_cuda_at(&a->src), a->src.stride[0] * size, bl_cuda_at(&a->dst), a->dst.stride[0] * size,
                 a->src.dim[1] * size, bl_cuda_at(&a->from), bl_cuda_at(&a->to), a->n);
    return bl_cuda_launched(be, "gather", e);
}

static bl_status swiglu(bl_backend *be, const bl_swiglu_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_swiglu(c->now, bl_cuda_at(&a->gate), a->gate.stride[0], bl_cuda_at(&a->up), a->up.stride[0],
                 bl_cuda_at(&a->y), a->y.stride[0], a->gate.dim[0], a->gate.dim[1]);
    return bl_cuda_launched(be, "swiglu", e);
}

static bl_status add(bl_backend *be, const bl_add_args *a, bl_err *e)
{
    bl_status st = bl_check_add(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_add(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0], a->x.dim[1]);
    return bl_cuda_launched(be, "add", e);
}

static bl_status loss(bl_backend *be, const bl_loss_args *a, bl_err *e)
{
    bl_status st = bl_check_loss(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_loss(c->now, bl_cuda_at(&a->logits), a->logits.stride[0], a->logits.dim[0], a->vocab, bl_cuda_at(&a->target),
               bl_cuda_at(&a->nll), bl_cuda_at(&a->argmax));
    return bl_cuda_launched(be, "loss", e);
}

static bl_status kl_div(bl_backend *be, const bl_kl_div_args *a, bl_err *e)
{
    bl_status st = bl_check_kl_div(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_kl_div(c->now, bl_cuda_at(&a->p), a->p.stride[0], bl_cuda_at(&a->q), a->q.stride[0], a->p.dim[0], a->vocab,
                 a->least, bl_cuda_at(&a->target), bl_cuda_at(&a->kl), bl_cuda_at(&a->dp), bl_cuda_at(&a->same));
    return bl_cuda_launched(be, "kl_div", e);
}

static bl_status sample(bl_backend *be, const bl_sample_args *a, bl_err *e)
{
    bl_status st = bl_check_sample(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_sample(c->now, bl_cuda_at(&a->logits), a->logits.stride[0], a->logits.dim[0], a->vocab, a->temperature,
                 a->top_p, bl_cuda_at(&a->u), bl_cuda_at(&a->ids));
    return bl_cuda_launched(be, "sample", e);
}

static bl_status channel_stats(bl_backend *be, const bl_channel_stats_args *a, bl_err *e)
{
    bl_status st = bl_check_channel_stats(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_channel_stats(c->now, bl_cuda_at(&a->x), a->x.stride[0], a->x.dim[0], a->x.dim[1], bl_cuda_at(&a->max_abs),
                        bl_cuda_at(&a->sum_abs), bl_cuda_at(&a->sum_sq));
    return bl_cuda_launched(be, "channel_stats", e);
}

static bl_status layernorm(bl_backend *be, const bl_layernorm_args *a, bl_err *e)
{
    bl_status st = bl_check_layernorm(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_layernorm(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->weight), bl_cuda_at(&a->bias),
                    bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0], a->x.dim[1], a->eps);
    return bl_cuda_launched(be, "layernorm", e);
}

static bl_status gelu(bl_backend *be, const bl_gelu_args *a, bl_err *e)
{
    bl_status st = bl_check_gelu(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_gelu(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0], a->x.dim[1]);
    return bl_cuda_launched(be, "gelu", e);
}

const bl_ops bl_ops_cuda = {
    .name = "cuda",
    .buffer_new = bl_cuda_buffer_new,
    .buffer_free = bl_cuda_buffer_free,
    .upload = bl_cuda_upload,
    .download = bl_cuda_download,
    .host_new = bl_cuda_host_new,
    .host_free = bl_cuda_host_free,
    .fill = bl_cuda_fill,
    .sync = bl_cuda_sync,
    .memory = bl_cuda_memory,
    .train_scratch = bl_cuda_train_scratch,
    .device_info = bl_cuda_device_info,
    .native_stream = bl_cuda_native_stream,
    .flush = bl_cuda_flush,
    .event_new = bl_cuda_event_new,
    .event_free = bl_cuda_event_free,
    .event_record = bl_cuda_event_record,
    .event_seconds = bl_cuda_event_seconds,
    .stream_new = bl_cuda_stream_new,
    .stream_free = bl_cuda_stream_free,
    .stream_use = bl_cuda_stream_use,
    .event_wait = bl_cuda_event_wait,
    .graph_begin = bl_cuda_graph_begin,
    .graph_end = bl_cuda_graph_end,
    .graph_replay = bl_cuda_graph_replay,
    .graph_free = bl_cuda_graph_free,
    .prepare = bl_cuda_prepare,
    .linear_turns = true,
    .kv_low = true,
    .linear = bl_cuda_linear,
    .linear_is_integer = bl_cuda_integer,
    .linear_joins = bl_cuda_joins,
    .linear_prepares = bl_cuda_prepares,
    .transform = bl_cuda_transform,
    .channel_stats = channel_stats,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .kv_append = kv_append,
    .step = step,
    .attention = attention,
    .gather = gather,
    .swiglu = swiglu,
    .add = add,
    .embed = bl_cuda_embed,
    .loss = loss,
    .kl_div = kl_div,
    .sample = sample,
    .pack = bl_cuda_pack,
    .unpack = bl_cuda_unpack,
    .permute = bl_cuda_permute,
    .diagonal = bl_cuda_diagonal,
    .hessian = bl_cuda_hessian,
    .cholesky_inverse = bl_cuda_cholesky_inverse,
    .mismatch = bl_cuda_mismatch,
    .mismatch_fold = bl_cuda_mismatch_fold,
    .quad_form = bl_cuda_quad_form,
    .hadamard = bl_cuda_hadamard,
    .gptq_sweep = bl_cuda_gptq_sweep,
    .split_pass = bl_cuda_split_pass,
    .scale = bl_cuda_scale,
    .sq_error = bl_cuda_sq_error,
    .clip_search = bl_cuda_clip_search,
    .hqq = bl_cuda_hqq,
    .greedy = bl_cuda_greedy,
    .range_search = bl_cuda_range_search,
    .each = bl_cuda_each,
    .layernorm = layernorm,
    .gelu = gelu,
    .weight_grad = bl_cuda_weight_grad,
    .rmsnorm_grad = bl_cuda_rmsnorm_grad,
    .rope_grad = rope_grad,
    .attention_grad = bl_cuda_attention_grad,
    .transform_grad = bl_cuda_transform_grad,
    .swiglu_grad = bl_cuda_swiglu_grad,
    .embed_grad = bl_cuda_embed_grad,
    .loss_grad = bl_cuda_loss_grad,
    .dropout = bl_cuda_dropout,
    .round_random = bl_cuda_round_random,
    .adamw = bl_cuda_adamw,
    .adamw_all = bl_cuda_adamw_all,
    .adamw8 = bl_cuda_adamw8,
    .sq_sums = bl_cuda_sq_sums,
    .grid = bl_cuda_grid,
    .grid_grad = bl_cuda_grid_grad,
    .merged_grid = bl_cuda_merged_grid,
    .step_search = bl_cuda_step_search,
    .sign_round = bl_cuda_sign_round,
    .sign_round_grad = bl_cuda_sign_round_grad,
    .sign_step = bl_cuda_sign_step,
    .scale_grad = bl_cuda_scale_grad,
    .differ = bl_cuda_differ,
    .act_round = bl_cuda_act_round,
    .act_round_grad = bl_cuda_act_round_grad,
    .dora = bl_cuda_dora,
    .dora_grad = bl_cuda_dora_grad,
    .pool = bl_cuda_pool,
    .pool_grad = bl_cuda_pool_grad,
    .band = bl_cuda_band,
    .band_grad = bl_cuda_band_grad,
    .lowrank_grad = bl_cuda_lowrank_grad,
};
