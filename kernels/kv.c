/* kv.c - where the parts of a layer's keys and values are in a buffer: codes of k, codes of v, scales of k, scales of
 * v, each at a multiple of 64 bytes. */
#include "ops.h"

const char *const bl_kv_formats[] = {[BL_KV_ACT] = "act",   [BL_KV_INT8] = "int8", [BL_KV_INT4] = "int4",
                                     [BL_KV_INT3] = "int3", [BL_KV_INT2] = "int2", NULL};

enum { PARTS = 4, ALIGN = 64 };

typedef struct part {
    bl_dtype type;
    int64_t cols;
} part;

int bl_kv_bits(bl_kv_format f)
{
    static const int bits[] = {[BL_KV_INT8] = 8, [BL_KV_INT4] = 4, [BL_KV_INT3] = 3, [BL_KV_INT2] = 2};
    return bits[f];
}

static int64_t scales_of(bl_kv_format f, int64_t head_dim) /* of a head */
{
    int bits = bl_kv_bits(f);
    return bits == 8 ? 1 : bits ? (head_dim + BL_KV_GROUP - 1) / BL_KV_GROUP * 2 : 0;
}

int64_t bl_kv_code_bytes(bl_kv_format f, int64_t head_dim, int64_t act)
{
    int bits = bl_kv_bits(f);
    return bits ? (head_dim * bits + 7) / 8 : head_dim * act;
}

int64_t bl_kv_head_bytes(bl_kv_format f, int64_t head_dim, int64_t act)
{
    int64_t scale = (int64_t)(bl_kv_bits(f) == 8 ? sizeof(float) : sizeof(uint16_t));
    return bl_kv_code_bytes(f, head_dim, act) + scales_of(f, head_dim) * scale;
}

static void parts_of(bl_kv_format f, bl_dtype act, int64_t heads, int64_t head_dim, part out[PARTS])
{
    int bits = bl_kv_bits(f);
    bool low = bits && bits < 8;
    out[0] = out[1] = low ? (part){BL_U8, heads * bl_kv_code_bytes(f, head_dim, 0)}
                          : (part){bits ? BL_I8 : act, heads * head_dim};
    out[2] = out[3] = (part){low ? BL_F16 : BL_F32, heads * scales_of(f, head_dim)};
}

static bool part_bytes(const part *p, int64_t rows, uint64_t *out)
{
    uint64_t n;
    if (__builtin_mul_overflow((uint64_t)rows, (uint64_t)p->cols * bl_dtype_bytes(p->type), &n) ||
        __builtin_add_overflow(n, (uint64_t)ALIGN - 1, &n))
        return false;
    *out = n / ALIGN * ALIGN;
    return true;
}

uint64_t bl_kv_view_bytes(const bl_backend *be, bl_kv_format f, int64_t rows, int64_t heads, int64_t head_dim)
{
    part p[PARTS];
    uint64_t all = 0, n;
    parts_of(f, be->act, heads, head_dim, p);
    for (int i = 0; i < PARTS; i++)
        if (!part_bytes(&p[i], rows, &n) || __builtin_add_overflow(all, n, &all)) return 0;
    return all;
}

bl_kv_view bl_kv_view_at(bl_buffer *b, uint64_t offset, bl_kv_format f, int64_t rows, int64_t heads, int64_t head_dim)
{
    bl_kv_view v = {.format = f, .rows = rows, .heads = heads, .head_dim = head_dim};
    bl_tensor *const to[PARTS] = {&v.k, &v.v, &v.k_scale, &v.v_scale};
    part p[PARTS];
    parts_of(f, b->backend->act, heads, head_dim, p);
    for (int i = 0; i < PARTS; i++) {
        uint64_t n = 0;
        if (!p[i].cols) continue;
        *to[i] = bl_tensor_2d(b, offset, p[i].type, rows, p[i].cols);
        part_bytes(&p[i], rows, &n);
        offset += n;
    }
    return v;
}
