/* kv.c - where the parts of a layer's keys and values are in a buffer: codes of k, codes of v, scales of k, scales of
 * v, each at a multiple of 64 bytes. */
#include "ops.h"

const char *const bl_kv_formats[] = {[BL_KV_ACT] = "act", [BL_KV_INT8] = "int8", NULL};

enum { PARTS = 4, ALIGN = 64 };

typedef struct part {
    bl_dtype type;
    int64_t cols;
} part;

static void parts_of(bl_kv_format f, bl_dtype act, int64_t heads, int64_t head_dim, part out[PARTS])
{
    bl_dtype type = f == BL_KV_INT8 ? BL_I8 : act;
    out[0] = out[1] = (part){type, heads * head_dim};
    out[2] = out[3] = (part){BL_F32, f == BL_KV_INT8 ? heads : 0};
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
