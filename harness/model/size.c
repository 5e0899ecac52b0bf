/* size.c - rows and bytes from a model's shape. */
#include "size.h"

enum { CHUNK_BYTES = 64 << 20, LEAST_CHUNK = 256, MOST_CHUNK = 1024, PASS_ROWS = 2048, LOGITS_BYTES = 64 << 20 };
static const uint64_t least_stream_pass = 64ull << 20, most_stream_pass = 768ull << 20;
static const int64_t f32 = sizeof(float);

int64_t bl_chunk_row_bytes(const bl_config *c)
{
    int64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    return f32 * (c->dim + BL_MAX(2 * q + 2 * kv + c->dim, 2 * c->ffn_dim));
}

int64_t bl_chunk_rows(const bl_config *c)
{
    return BL_MIN(BL_MAX(CHUNK_BYTES / bl_chunk_row_bytes(c), LEAST_CHUNK), MOST_CHUNK);
}

/* Keys and values of one position in one block. */
static int64_t kv_bytes(const bl_config *c, bl_kv_format kv)
{
    return c->n_kv_heads * bl_kv_head_bytes(kv, c->head_dim, f32);
}

int64_t bl_pass_row_bytes(const bl_config *c, bl_kv_format kv)
{
    return f32 * 2 * c->dim + kv_bytes(c, kv) + c->n_kv_heads * bl_kv_tail_bytes(kv, c->head_dim, f32) / BL_KV_GROUP;
}

int64_t bl_pass_rows(const bl_config *c, const bl_pass_where *r)
{
    const uint64_t bytes = BL_MIN(BL_MAX(r->resident / 3, least_stream_pass), most_stream_pass);
    int64_t rows = PASS_ROWS;
    if (r->stream) rows = BL_MAX(rows, (int64_t)(bytes / (uint64_t)bl_pass_row_bytes(c, BL_KV_ACT)));
    rows *= r->wide;
    if (r->wide > 1 && r->limit)
        rows = BL_MIN(rows, BL_MAX((int64_t)(r->limit / 4 / (uint64_t)bl_pass_row_bytes(c, r->kv)), PASS_ROWS));
    return rows;
}

int64_t bl_head_rows(const bl_config *c) { return BL_MAX(LOGITS_BYTES / (c->vocab * f32), 1); }

int64_t bl_scored_rows(const bl_config *c, int64_t wide, bool beside, uint64_t limit)
{
    const int64_t rows = bl_head_rows(c), more = 4 * rows / 128 * 128;
    const bool little = !limit || (uint64_t)(more * c->vocab * f32) <= limit / 16;
    return wide > 1 && !beside && little ? BL_MAX(rows, more) : rows;
}

int64_t bl_kv_row_bytes(const bl_config *c, bl_kv_format kv) { return c->n_layers * kv_bytes(c, kv); }

int64_t bl_kv_slot_bytes(const bl_config *c, bl_kv_format kv)
{
    return c->n_layers * c->n_kv_heads * bl_kv_tail_bytes(kv, c->head_dim, f32);
}
