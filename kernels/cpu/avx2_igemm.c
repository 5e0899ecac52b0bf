/* avx2_igemm.c - products in integers of many rows: weights unpacked into panels of eight or sixteen outputs, tiles of
 * four rows by eight outputs. */
#include "avx2.h"
#include "avx2_igemm.h"

static int64_t round64(int64_t n) { return (n + 63) / 64 * 64; }

/* Rows of outs numbers: of scales or minima, and of zeros. */
static int64_t number_rows(const bl_shape *g) { return (bl_shape_groups(g) + 7) / 8 * 8; }
static int64_t zero_rows(const bl_shape *g, const bl_blocks *b) { return b ? 1 : number_rows(g); }

int64_t bl_ipanel_bytes(const bl_icodes *c, const bl_weight *w, int64_t outs)
{
    const bl_shape g = bl_cpu_integer_shape(w);
    const bl_blocks *b = bl_blocks_of(w->format);
    const int64_t rows = number_rows(&g) * (1 + (b && b->least)) + zero_rows(&g, b) + (c->shifted ? c->segs : 0);
    return round64(c->ldx * outs) + 4 * rows * outs;
}

bl_ipanel bl_ipanel_at(const bl_icodes *c, const bl_source *s, int64_t outs, void *scratch)
{
    const int64_t groups = number_rows(&s->shape);
    bl_ipanel p = {.codes = scratch, .zero_step = s->blocks ? 0 : outs};
    p.scale = (float *)(void *)(p.codes + round64(c->ldx * outs));
    p.zero = (int32_t *)(p.scale + groups * outs);
    p.sum = p.zero + zero_rows(&s->shape, s->blocks) * outs;
    if (s->blocks && s->blocks->least) p.least = (float *)(p.sum + (c->shifted ? c->segs : 0) * outs);
    return p;
}

/* Eight outputs of a panel, from `first` of its outputs on. */
BL_INLINE void fill8(int bits, const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t first, const int64_t o[8])
{
    const bl_source *s = g->w;
    const bl_icodes *c = g->c;
    const uint8_t *row[8];
    uint8_t *dst = p->codes + 4 * first;
    for (int j = 0; j < 8; j++) row[j] = (const uint8_t *)s->part[0] + o[j] * s->code_bytes;
    for (int64_t i = 0; i < s->groups; i += 8) {
        float scale[8][8];
        int32_t zero[8][8];
        groups8x8(bits, s, o, i, scale, zero);
        for (int j = 0; j < 8; j++) {
            memcpy(p->scale + (i + j) * outs + first, scale[j], sizeof scale[j]);
            memcpy(p->zero + (i + j) * outs + first, zero[j], sizeof zero[j]);
        }
    }
    for (int64_t i = 0; i < c->segs; i++) {
        const int64_t at = i * c->seg / 8 * bits, n = BL_MIN(c->seg, s->shape.in - i * c->seg);
        __m256i sum[8];
        for (int j = 0; j < 8; j++) sum[j] = _mm256_setzero_si256();
        for (int64_t t = 0; t * BL_ICODES < n; t++) {
            __m256i v[8];
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) v[j] = codes32(bits, row[j] + at + t * 4 * bits);
            if (c->shifted)
                for (int j = 0; j < 8; j++) dot32(bits, &sum[j], v[j], first32(n - t * BL_ICODES));
            turn8(v);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++, dst += 4 * outs) _mm256_storeu_si256((__m256i *)(void *)dst, v[j]);
        }
        if (c->shifted) _mm256_storeu_si256((__m256i *)(void *)(p->sum + i * outs + first), sums8(sum));
    }
}

/* Blocks as they are stored, in plain C: what is many times used is prepared. */
static void fill_stored(const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row, int64_t n)
{
    const bl_source *s = g->w;
    const bl_blocks *b = s->blocks;
    const bl_icodes *c = g->c;
    const int64_t block = b->words ? BL_SUPER : b->group, groups = block / b->group;
    if (c->shifted) memset(p->sum, 0, (size_t)(c->segs * outs) * sizeof *p->sum);
    for (int64_t lane = 0; lane < outs; lane++) {
        const uint8_t *from = (const uint8_t *)s->part[0] + (row + BL_MIN(lane, n - 1)) * s->code_bytes;
        p->zero[lane] = b->zero;
        for (int64_t k0 = 0, i = 0; k0 < s->shape.in;
             k0 += block, i += groups, from += s->code_bytes / (s->shape.in / block)) {
            float scale[BL_SUPER_GROUPS], least[BL_SUPER_GROUPS];
            uint8_t q[BL_SUPER];
            bl_blocks_codes(b, from, q);
            bl_blocks_stored(b, from, scale, least);
            for (int64_t j = 0; j < groups; j++) {
                p->scale[(i + j) * outs + lane] = scale[j];
                if (p->least) p->least[(i + j) * outs + lane] = least[j];
            }
            for (int64_t k = 0; k < block; k++) {
                const int64_t seg = (k0 + k) / c->seg, at = seg * bl_icodes_wide(c, c->seg) + (k0 + k) % c->seg;
                p->codes[(at / 4 * outs + lane) * 4 + at % 4] = q[k];
                if (c->shifted) p->sum[seg * outs + lane] += q[k];
            }
        }
    }
}

void bl_ipanel_fill(const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row, int64_t n)
{
    if (g->w->layout) { /* whole bands */
        bl_lanes_panel(p, g, outs, row);
        return;
    }
    if (g->w->blocks) {
        fill_stored(p, g, outs, row, n);
        return;
    }
    for (int64_t first = 0; first < outs; first += 8) {
        int64_t o[8];
        for (int j = 0; j < 8; j++) o[j] = row + BL_MIN(first + j, n - 1); /* past the last output the last one again */
        switch (g->w->format->bits) {
#define BITS(b)                                                                                                        \
    case b: fill8(b, p, g, outs, first, o); break;
            BITS(1)
            BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) default : fill8(8, p, g, outs, first, o);
#undef BITS
        }
    }
}

bool bl_igemm_fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w, int64_t outs,
                   bool blocks)
{
    bl_icodes c;
    if (!bl_product_fits(be, isa, a, w, true)) return false;
    if (blocks != (w->format->kind == BL_FMT_BLOCK)) return false;
    bl_icodes_of(&a->act, w, &c);
    return bl_ipanel_bytes(&c, w, outs) <= BL_CPU_SCRATCH;
}

void bl_igemm_plan(bl_igemm *g, int64_t outs)
{
    enum { LEAST = 64, TILE = 32, FILL = 32 }; /* rows: that a panel is worth, of whole tiles, and of filling one */
    const int64_t panels = (g->w->shape.out + outs - 1) / outs, rest = panels % g->threads;
    int64_t best = INT64_MAX;
    g->chunk = outs;
    g->whole = panels - rest;
    for (int64_t n = 1; n == 1 || (rest && n <= g->rows / LEAST); n++) {
        const int64_t rows = ((g->rows + n - 1) / n + TILE - 1) / TILE * TILE, blocks = (g->rows + rows - 1) / rows,
                      time = (rest * blocks + g->threads - 1) / g->threads * (rows + FILL);
        if (time >= best) continue;
        best = time;
        g->block_rows = rows;
        g->blocks = blocks;
    }
    g->chunks = g->whole + rest * g->blocks;
}

BL_IGEMM(avx2, BL_ISA_AVX2, 0.15, 0.03)
