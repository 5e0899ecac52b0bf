/* lanes.c - weights into the layout of lanes.h, and single rows out of it in plain C; and the decoders of a weight that
 * know both layouts. */
#include "lanes.h"
#include "kernels/format_impl.h"
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

void bl_lanes_as(const bl_format **f, bl_shape *g)
{
    const bl_blocks *b = bl_blocks_of(*f);
    if (!b) return;
    *f = bl_format_find(b->as);
    g->group = b->group;
    g->zero = BL_ZERO_NONE;
    g->scale = BL_F16;
}

bool bl_lanes_fit(const bl_format *f, const bl_shape *shape)
{
    bl_shape as = *shape;
    const bl_shape *g = &as;
    const bl_blocks *blocks = bl_blocks_of(f);
    bl_lanes_as(&f, &as);
    bool table = f->kind == BL_FMT_TABLE && f->bits <= 4 && !g->double_quant;
    bool integer = f->kind == BL_FMT_INT && (f->bits > 1 || g->zero == BL_ZERO_NONE);
    return (table || integer) && g->out % BL_BAND == 0 && g->in % BL_RUN == 0 &&
           (g->group % BL_RUN == 0 || g->group >= g->in || (blocks && blocks->words));
}

/* Bytes of a row of part i, which has a row for each output. */
static int64_t row_bytes(const bl_tensor *t) { return t->dim[1] * (int64_t)bl_dtype_bytes(t->dtype); }

static uint8_t code_at(const uint32_t *run, int bits, int64_t lane, int k)
{
    int width[3], n = bl_lanes_planes(bits, width), at = 0;
    unsigned code = 0;
    for (int i = 0; i < n; run += BL_BAND * width[i], at += width[i], i++)
        code |=
            (run[bl_lanes_word(width[i], k) * BL_BAND + lane] >> bl_lanes_shift(width[i], k) & ((1u << width[i]) - 1))
            << at;
    return (uint8_t)code;
}

/* The rows of a band in `from` to their places in `to`. Four codes are a word with a byte each, that is a quad. */
static inline __attribute__((always_inline)) void turn_as(int bits, int64_t in, const uint8_t *from, int64_t bytes,
                                                          uint32_t *to)
{
    for (int64_t k = 0; k < in; k += BL_RUN)
        for (int64_t lane = 0; lane < BL_BAND; lane++) {
            const uint8_t *p = from + lane * bytes + k / 8 * bits;
            uint8_t q[BL_RUN];
            uint32_t quad[BL_RUN / 4];
#pragma GCC unroll 4
            for (int i = 0; i < BL_RUN; i += 8) {
                uint64_t v = 0;
                memcpy(&v, p + i / 8 * bits, (size_t)bits);
#pragma GCC unroll 8
                for (int j = 0; j < 8; j++) q[i + j] = (uint8_t)(v >> j * bits & ((1u << bits) - 1));
            }
            memcpy(quad, q, sizeof quad);
            uint32_t *word = to + k / BL_RUN * bits * BL_BAND + lane;
            int known = 0;
#pragma GCC unroll 4
            for (int plane = 8; plane; plane /= 2) {
                if (!(bits & plane)) continue;
                const int parts = 8 / plane; /* of a word */
#pragma GCC unroll 8
                for (int w = 0; w < plane; w++, word += BL_BAND) {
                    uint32_t v = 0;
#pragma GCC unroll 8
                    for (int t = 0; t < parts; t++)
                        v |= (quad[w * parts + t] >> known & ((1u << plane) - 1) * 0x01010101u) << plane * t;
                    *word = v;
                }
                known += plane;
            }
        }
}
static void turn_codes(int bits, int64_t in, const uint8_t *from, int64_t bytes, uint32_t *to)
{
    switch (bits) {
#define BITS(b)                                                                                                        \
    case b: turn_as(b, in, from, bytes, to); break;
        BITS(1)
        BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) BITS(8)
#undef BITS
    }
}
static void turn_numbers(int64_t size, int64_t groups, const uint8_t *from, uint8_t *to)
{
    for (int64_t lane = 0; lane < BL_BAND; lane++)
        for (int64_t i = 0; i < groups; i++)
            memcpy(to + (i * BL_BAND + lane) * size, from + (lane * groups + i) * size, (size_t)size);
}
static void turn_zeros(int bits, int64_t groups, const uint8_t *from, int64_t bytes, uint8_t *to)
{
    for (int64_t i = 0; i < groups; i++) {
        uint8_t q[BL_BAND];
        for (int64_t lane = 0; lane < BL_BAND; lane++) q[lane] = bl_code_at(from + lane * bytes, bits, i);
        bl_codes_write(to + i * 2 * bits, bits, BL_BAND, q);
    }
}

/* The blocks of a band, each taken apart in `space` first. Small blocks: codes of all, then scales of all. */
static void turn_blocks(const bl_blocks *b, int64_t in, int64_t bytes, const uint8_t *from, uint8_t *space, uint8_t *to)
{
    const int64_t blocks = in / BL_RUN, code_bytes = in / 8 * b->bits, size = bytes / blocks;
    uint8_t *scales = space + BL_BAND * code_bytes;
    for (int64_t lane = 0; lane < BL_BAND; lane++)
        for (int64_t i = 0; i < blocks; i++) {
            uint8_t q[BL_RUN];
            bl_blocks_codes(b, from + lane * bytes + i * size, q);
            bl_codes_write(space + lane * code_bytes + i * (BL_RUN / 8 * b->bits), b->bits, BL_RUN, q);
            memcpy(scales + (lane * blocks + i) * 2, from + lane * bytes + i * size, 2);
        }
    turn_codes(b->bits, in, space, code_bytes, (uint32_t *)(void *)to);
    turn_numbers(2, blocks, scales, to + BL_BAND * code_bytes);
}
/* Large ones: one after another, with the words of their scales, d and dmin. */
static void turn_super(const bl_blocks *b, int64_t in, int64_t bytes, const uint8_t *from, uint8_t *space, uint8_t *to)
{
    const int64_t blocks = in / BL_SUPER, code_bytes = BL_SUPER / 8 * b->bits, size = bytes / blocks;
    for (int64_t i = 0; i < blocks; i++, from += size) {
        for (int64_t lane = 0; lane < BL_BAND; lane++) {
            uint8_t q[BL_SUPER];
            bl_blocks_codes(b, from + lane * bytes, q);
            bl_codes_write(space + lane * code_bytes, b->bits, BL_SUPER, q);
        }
        turn_codes(b->bits, BL_SUPER, space, code_bytes, (uint32_t *)(void *)to);
        to += BL_BAND * code_bytes;
        for (int word = 0; word < b->words; word++)
            for (int64_t lane = 0; lane < BL_BAND; lane++, to += 4)
                memcpy(to, from + lane * bytes + b->scales + 4 * word, 4);
        for (int least = 0; least <= b->least; least++)
            for (int64_t lane = 0; lane < BL_BAND; lane++, to += 2)
                memcpy(to, from + lane * bytes + (least ? b->dmin : b->d), 2);
    }
}

/* A part of a weight, turned in place by the lanes that will read it. */
typedef struct turning {
    const bl_cpu *c;
    const bl_weight *w;
    const bl_format *f; /* of the codes */
    bl_shape g;
    int part;
    int64_t tasks, bytes; /* of a row */
    uint8_t *space;       /* two bands of each lane */
    _Atomic int refused;  /* 0, or why a piece did not come near */
} turning;

static void turn_band(const turning *t, uint8_t *to, uint8_t *from)
{
    const bl_blocks *b = bl_blocks_of(t->w->format);
    const int64_t groups = bl_shape_groups(&t->g), in = t->g.in;
    memcpy(from, to, (size_t)(BL_BAND * t->bytes));
    if (b) (b->words ? turn_super : turn_blocks)(b, in, t->bytes, from, from + BL_BAND * t->bytes, to);
    else if (t->part == 0) turn_codes(t->f->bits, in, from, t->bytes, (uint32_t *)(void *)to);
    else if (t->part == 2 && t->g.zero == BL_ZERO_PACKED) turn_zeros(t->f->bits, groups, from, t->bytes, to);
    else turn_numbers((int64_t)bl_dtype_bytes(t->w->part[t->part].dtype), groups, from, to);
}

/* What a lane will read comes to the memory of its processors, where there are several. */
static void come_near(turning *t, const uint8_t *p, int64_t n)
{
#if defined(__linux__) && defined(SYS_mbind)
    enum { LOCAL = 4, MOVE = 2 }; /* MPOL_LOCAL, MPOL_MF_MOVE */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
                    to = ((uintptr_t)p + (uintptr_t)n) / page * page;
    if (t->c->nodes > 1 && from < to && syscall(SYS_mbind, from, to - from, LOCAL, NULL, 0, MOVE) != 0)
        atomic_store(&t->refused, errno);
#else
    (void)t;
    (void)p;
    (void)n;
#endif
}

static void turn_task(void *ctx, int64_t i, int lane)
{
    turning *t = ctx;
    const int64_t bands = t->g.out / BL_BAND, first = bands * i / t->tasks, after = bands * (i + 1) / t->tasks,
                  step = BL_BAND * t->bytes;
    uint8_t *all = bl_cpu_at(&t->w->part[t->part]);
    for (int64_t band = first; band < after; band++) turn_band(t, all + band * step, t->space + lane * 2 * step);
    come_near(t, all + first * step, (after - first) * step);
}

/* Of a part that stays as it is. */
static void near_task(void *ctx, int64_t i, int lane)
{
    turning *t = ctx;
    const bl_tensor *part = &t->w->part[t->part];
    const int64_t rows = part->dim[0], first = rows * i / t->tasks, after = rows * (i + 1) / t->tasks;
    (void)lane;
    come_near(t, (const uint8_t *)bl_cpu_at(part) + first * t->bytes, (after - first) * t->bytes);
}

bl_status bl_cpu_prepare(bl_backend *be, bl_weight *w, bl_err *e)
{
    bl_cpu *c = be->own;
    turning t = {.c = c, .w = w, .f = w->format, .g = w->shape};
    const int threads = bl_cpu_threads(be, (double)t.g.out * (double)t.g.in);
    if (c->isa < BL_ISA_AVX2 || w->layout) return BL_OK;
    const bool turned = bl_lanes_fit(w->format, &w->shape);
    bl_lanes_as(&t.f, &t.g);
    t.tasks = threads;
    for (; t.part < w->n_parts && (turned || c->nodes > 1); t.part++) {
        if (!turned && w->part[t.part].ndim != 2) continue;
        t.bytes = row_bytes(&w->part[t.part]);
        if (turned && !(t.space = bl_new((size_t)(c->threads * 2 * BL_BAND * t.bytes), 1, e))) return BL_E_NOMEM;
        bl_team_run(c->team, threads, turned ? turn_task : near_task, &t, t.tasks);
        bl_free(t.space);
    }
    if (turned) w->layout = BL_LAYOUT_LANES;
    if (t.refused && !c->refused)
        bl_log(BL_LOG_INFO, "weights stay in the memory where they were read, as the system refuses to move them: %s",
               strerror(t.refused));
    c->refused = c->refused ? c->refused : t.refused;
    return BL_OK;
}

/* ---- a row in plain C ---- */
/* A weight as kernels read it, with the elements of a scale's type from one band to the next. */
typedef struct view {
    const bl_format *f;
    bl_shape g;
    const uint8_t *codes, *scales;
    int64_t code_step, groups, scale_step; /* bytes, groups of a row, scales of 16 bits or their own type */
    const bl_blocks *super;                /* large blocks, which have their scales */
} view;
static view view_of(const bl_weight *w)
{
    view v = {.f = w->format, .g = w->shape, .codes = bl_cpu_at(&w->part[0]), .super = bl_blocks_of(w->format)};
    if (v.super && !v.super->words) v.super = NULL;
    bl_lanes_as(&v.f, &v.g);
    v.groups = bl_shape_groups(&v.g);
    v.code_step = BL_BAND * row_bytes(&w->part[0]);
    v.scale_step = BL_BAND * v.groups;
    if (v.f == w->format) v.scales = bl_cpu_at(&w->part[1]);
    else {
        v.scales = v.super ? NULL : v.codes + BL_BAND * (v.g.in / 8 * v.f->bits);
        v.scale_step = v.code_step / 2;
    }
    return v;
}

static uint8_t code_of(const view *v, int64_t row, int64_t k)
{
    const uint8_t *band = v->codes + row / BL_BAND * v->code_step;
    if (v->super) {
        band += k / BL_SUPER * (v->code_step / (v->g.in / BL_SUPER));
        k %= BL_SUPER;
    }
    return code_at((const uint32_t *)(const void *)band + k / BL_RUN * v->f->bits * BL_BAND, v->f->bits, row % BL_BAND,
                   (int)(k % BL_RUN));
}

static float scale_of(const view *v, int64_t row, int64_t i)
{
    return bl_scale_at(v->scales, v->g.scale, row / BL_BAND * v->scale_step + i * BL_BAND + row % BL_BAND);
}

static float zero_of(const bl_weight *w, const view *v, int64_t row, int64_t i)
{
    const int bits = v->f->bits;
    const uint8_t *part = bl_cpu_at(&w->part[2]);
    int64_t first = row / BL_BAND * BL_BAND, lane = row % BL_BAND, at = first * v->groups + i * BL_BAND + lane;
    switch (v->g.zero) {
    case BL_ZERO_NONE: return (float)(1 << (bits - 1));
    case BL_ZERO_PACKED: return bl_code_at(part + first * row_bytes(&w->part[2]) + i * 2 * bits, bits, lane);
    case BL_ZERO_I16: return ((const int16_t *)(const void *)part)[at];
    case BL_ZERO_FLOAT: return bl_scale_at(part, v->g.scale, at);
    case BL_ZERO_MIDDLE: break;
    }
    return (float)((1 << bits) - 1) / 2;
}

/* Scales and minima of large block i of a row. */
static void super_numbers(const view *v, int64_t row, int64_t i, float *scale, float *least)
{
    const uint8_t *p = v->codes + row / BL_BAND * v->code_step + i * (v->code_step / (v->g.in / BL_SUPER)) +
                       BL_BAND * (BL_SUPER / 8) * v->f->bits;
    const int64_t lane = row % BL_BAND;
    uint32_t words[4] = {0};
    uint16_t d, dmin = 0;
    for (int word = 0; word < v->super->words; word++, p += 4 * BL_BAND) memcpy(&words[word], p + 4 * lane, 4);
    memcpy(&d, p + 2 * lane, 2);
    if (v->super->least) memcpy(&dmin, p + 2 * (BL_BAND + lane), 2);
    bl_blocks_numbers(v->super, words, d, dmin, scale, least);
}

void bl_cpu_unpack(const bl_weight *w, int64_t row, int64_t k0, int64_t n, float *dst)
{
    if (!w->layout) {
        const void *part[BL_MAX_PARTS];
        bl_cpu_parts(w, part);
        w->format->unpack(w->format, &w->shape, part, row, k0, n, dst);
        return;
    }
    const view v = view_of(w);
    const bool integer = v.f->kind == BL_FMT_INT, sign = integer && v.f->bits == 1;
    float scale[BL_SUPER_GROUPS], least[BL_SUPER_GROUPS];
    for (int64_t k = k0, block = -1; k < k0 + n; k++) {
        const uint8_t q = code_of(&v, row, k);
        if (v.super) {
            if (block != k / BL_SUPER) super_numbers(&v, row, block = k / BL_SUPER, scale, least);
            const int64_t i = k % BL_SUPER / v.super->group;
            dst[k - k0] = (float)(q - v.super->zero) * scale[i];
            if (v.super->least) dst[k - k0] -= least[i];
            continue;
        }
        const float s = scale_of(&v, row, k / v.g.group);
        dst[k - k0] = sign      ? (float)(2 * q - 1) * s
                      : integer ? ((float)q - zero_of(w, &v, row, k / v.g.group)) * s
                                : v.f->table[q] * s;
    }
}

/* Blocks as they are stored. */
static void decode_blocks(const bl_weight *w, const bl_blocks *b, int64_t row, uint8_t *codes, float *scale,
                          float *zero, float *least)
{
    const uint8_t *p = (const uint8_t *)bl_cpu_at(&w->part[0]) + row * row_bytes(&w->part[0]);
    const int groups = w->format->block / b->group;
    for (int64_t k = 0; k < w->shape.in; k += w->format->block, p += w->format->block_bytes) {
        float s[BL_SUPER_GROUPS], m[BL_SUPER_GROUPS];
        bl_blocks_codes(b, p, codes + k);
        bl_blocks_stored(b, p, s, m);
        for (int i = 0; i < groups; i++) {
            *scale++ = s[i];
            *zero++ = (float)b->zero;
            *least++ = m[i];
        }
    }
}

void bl_cpu_int_decode(const bl_weight *w, int64_t row, uint8_t *codes, float *scale, float *zero, float *least)
{
    const bl_blocks *b = bl_blocks_of(w->format);
    if (!w->layout && b) {
        decode_blocks(w, b, row, codes, scale, zero, least);
        return;
    }
    if (!w->layout) {
        const void *part[BL_MAX_PARTS];
        bl_cpu_parts(w, part);
        bl_int_decode(w->format, &w->shape, part, row, codes, scale, zero);
        return;
    }
    const view v = view_of(w);
    for (int64_t k = 0; k < v.g.in; k++) codes[k] = code_of(&v, row, k);
    if (v.super) {
        for (int64_t i = 0, per = BL_SUPER / v.super->group; i < v.groups; i += per) {
            super_numbers(&v, row, i / per, scale + i, least + i);
            for (int64_t j = 0; j < per; j++) zero[i + j] = (float)v.super->zero;
        }
        return;
    }
    for (int64_t i = 0; i < v.groups; i++) {
        scale[i] = scale_of(&v, row, i);
        zero[i] = v.f->bits == 1 ? 0 : zero_of(w, &v, row, i);
    }
}
