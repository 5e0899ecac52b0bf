/* kv.c - where the parts of a layer's keys and values are in a buffer: codes of k, codes of v, scales of k, scales of
 * v, last keys of each slot, each at a multiple of 64 bytes. */
#include "ops.h"

const char *const bl_kv_formats[] = {[BL_KV_ACT] = "act",   [BL_KV_INT8] = "int8", [BL_KV_INT4] = "int4",
                                     [BL_KV_INT3] = "int3", [BL_KV_INT2] = "int2", NULL};

enum { PARTS = 5, ALIGN = 64 };

typedef struct part {
    bl_dtype type;
    int64_t rows, cols;
} part;

int bl_kv_bits(bl_kv_format f)
{
    static const int bits[] = {[BL_KV_INT8] = 8, [BL_KV_INT4] = 4, [BL_KV_INT3] = 3, [BL_KV_INT2] = 2};
    return bits[f];
}

static int64_t groups(int64_t n) { return (n + BL_KV_GROUP - 1) / BL_KV_GROUP; }

/* Scales of the value of one head in one row. */
static int64_t value_scales(int bits, int64_t head_dim) { return bits == 8 ? 1 : bits ? groups(head_dim) * 2 : 0; }

int64_t bl_kv_code_bytes(bl_kv_format f, int64_t head_dim, int64_t act)
{
    int bits = bl_kv_bits(f);
    return bits ? (head_dim * bits + 7) / 8 : head_dim * act;
}

int64_t bl_kv_head_bytes(bl_kv_format f, int64_t head_dim, int64_t act)
{
    int bits = bl_kv_bits(f);
    int64_t key = bits ? (2 * head_dim * (int64_t)sizeof(uint16_t) + BL_KV_GROUP - 1) / BL_KV_GROUP : 0;
    return 2 * bl_kv_code_bytes(f, head_dim, act) + key +
           value_scales(bits, head_dim) * (int64_t)(bits == 8 ? sizeof(float) : sizeof(uint16_t));
}

int64_t bl_kv_tail_bytes(bl_kv_format f, int64_t head_dim, int64_t act)
{
    return bl_kv_bits(f) ? BL_KV_GROUP * head_dim * act : 0;
}

static void parts_of(const bl_kv_shape *s, bl_dtype act, part out[PARTS])
{
    int bits = bl_kv_bits(s->format);
    int64_t dim = s->head_dim, codes = s->heads * bl_kv_code_bytes(s->format, dim, 0);
    out[0] = bits ? (part){BL_U8, s->rows, codes} : (part){act, s->rows, s->heads * dim};
    out[1] = bits == 8 ? (part){BL_I8, s->rows, codes} : out[0];
    out[2] = (part){BL_F16, groups(s->rows), bits ? s->heads * 2 * dim : 0};
    out[3] = (part){bits == 8 ? BL_F32 : BL_F16, s->rows, s->heads * value_scales(bits, dim)};
    out[4] = (part){act, s->slots * BL_KV_GROUP, bits ? s->heads * dim : 0};
}

static bool part_bytes(const part *p, uint64_t *out)
{
    uint64_t n;
    if (__builtin_mul_overflow((uint64_t)p->rows, (uint64_t)p->cols * bl_dtype_bytes(p->type), &n) ||
        __builtin_add_overflow(n, (uint64_t)ALIGN - 1, &n))
        return false;
    *out = n / ALIGN * ALIGN;
    return true;
}

uint64_t bl_kv_view_bytes(const bl_backend *be, const bl_kv_shape *s)
{
    part p[PARTS];
    uint64_t all = 0, n;
    parts_of(s, be->act, p);
    for (int i = 0; i < PARTS; i++)
        if (!part_bytes(&p[i], &n) || __builtin_add_overflow(all, n, &all)) return 0;
    return all;
}

bl_kv_view bl_kv_view_at(bl_buffer *b, uint64_t offset, const bl_kv_shape *s)
{
    bl_kv_view v = {.format = s->format, .rows = s->rows, .heads = s->heads, .head_dim = s->head_dim};
    bl_tensor *const to[PARTS] = {&v.k, &v.v, &v.k_scale, &v.v_scale, &v.k_tail};
    part p[PARTS];
    parts_of(s, b->backend->act, p);
    for (int i = 0; i < PARTS; i++) {
        uint64_t n = 0;
        if (!p[i].cols) continue;
        *to[i] = bl_tensor_2d(b, offset, p[i].type, p[i].rows, p[i].cols);
        part_bytes(&p[i], &n);
        offset += n;
    }
    return v;
}
