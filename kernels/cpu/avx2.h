/* avx2.h - the AVX2 and AVX-512 side of the CPU backend: what fast.c and product.c call, each for a piece of work that
 * one thread does.
 *
 * Products are tiles of up to 3 rows of x by 4 outputs (AVX-512: 6 by 8). Weights of a block of k are unpacked once
 * into a panel panel[tile][k / 8][4 outputs][8]  f32 in the scratch of the thread and used for all rows; with one or
 * two rows they are unpacked in registers instead. Both run the same 8 chains over k, so the bits are those of the
 * reference whatever way was taken.
 */
#ifndef BL_KERNELS_CPU_AVX2_H
#define BL_KERNELS_CPU_AVX2_H
#include "cpu.h"
#include "kernels/kernel.h"

/* Where the weights of a product come from. */
typedef struct bl_source bl_source;
/* n weights of a row: 8 to dst, 8 to dst + stride, …; the last 8 are filled up with zeros. k0 is a multiple of 32. */
typedef void bl_unpack8(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride);
typedef struct bl_gemv bl_gemv;
typedef void bl_gemv4(const bl_gemv *g, int64_t row, int64_t n); /* outputs row .. row+n, n <= 4 */
struct bl_source {
    const bl_format *format;
    bl_shape shape;
    const void *part[BL_MAX_PARTS];
    int layout;
    int64_t groups, code_bytes, zero_bytes; /* of a row */
    int64_t scale_step;                     /* in the layout of lanes.h: scales from one band to the next */
    const struct bl_blocks *blocks;         /* of codes of blocks: what they are (blocks.h), else NULL */
    bl_unpack8 *unpack;
    bl_gemv4 *gemv[2]; /* one row, two rows; NULL: through panels */
};
bool bl_source_decoded(const bl_weight *w); /* there is code for the format; its groups are whole vectors */
bool bl_source_narrow(const bl_weight *w);  /* and AVX-512 has code of its own for it */
void bl_source_of(const bl_weight *w, bl_source *out);
void bl_source_512(const bl_weight *w, bl_source *out);    /* with AVX-512 where that is narrow */
void bl_source_blocks(const bl_weight *w, bl_source *out); /* of the codes of blocks, prepared or as stored */
void bl_source_any(const bl_weight *w, bl_source *out);    /* of any format, by its own decoder */
bl_unpack8 *bl_lanes_unpack(const bl_source *s);           /* in the layout of lanes.h */

/* What to do with a product: y = v, y += v or y += scale * v. */
typedef enum bl_put { BL_PUT, BL_PUT_ADD, BL_PUT_ADD_SCALED } bl_put;
struct bl_gemv {
    const bl_source *w;
    const float *x;
    int64_t ldx; /* [rows, in rounded up to 8], zeros after in */
    float *y;
    int64_t ldy;
    const float *bias; /* [out], or NULL: added to the product before it is put */
    bl_put put;
    float scale;
};
typedef struct bl_gemm {
    bl_gemv v;
    int threads;
    int64_t rows, block_rows, blocks; /* x is cut into blocks of rows that stay in the second level cache */
    int64_t chunk, chunks;            /* outputs of one task, tasks of a block */
    const bl_gemv *then;              /* onto what a task has made, where the family says `then`; else NULL */
    void (*task)(const struct bl_gemm *g, int64_t task, void *scratch); /* task 0 .. blocks * chunks */
} bl_gemm;

/* x of integer products, cut into segments that share every scale: the group of the weight, or that of the activations
 * where it is shorter. A segment is filled up with zeros to a multiple of `pad` codes: 32, or 16 of large blocks with
 * groups of 16. */
typedef struct bl_icodes {
    bool shifted, blocked;  /* a code is 128 less than its number; a scale for each segment instead of each row */
    int64_t seg, segs, ldx; /* inputs of a segment, segments of a row, bytes of a row */
    int64_t pad;
    int8_t *x;      /* [rows, ldx] */
    int32_t *sum;   /* [rows, segs] of the codes less zero */
    int32_t *shift; /* [rows, segs] x + shift is the code less zero */
    float *scale;   /* [rows], blocked: [rows, segs] */
} bl_icodes;
void bl_icodes_of(const bl_actq *q, const bl_weight *w, bl_icodes *out); /* all but the arrays */
/* Bytes of a row's segment of n inputs. */
static inline int64_t bl_icodes_wide(const bl_icodes *c, int64_t n) { return (n + c->pad - 1) / c->pad * c->pad; }
/* Row r of the arrays; `scale`, `zero` are those of the tensor where `q` says so. */
void bl_icodes_row(const bl_icodes *c, int64_t r, const float *x, int64_t in, const bl_actq *q, float scale,
                   float zero);

typedef struct bl_igemm {
    const bl_source *w;
    const bl_icodes *c;
    float *y;
    int64_t ldy;
    const float *bias; /* [out], or NULL */
    bl_put put;
    int threads;
    int64_t rows, chunk, chunks;       /* all rows; outputs of one task, tasks */
    int64_t whole, block_rows, blocks; /* bl_igemm_plan: tasks of all rows, which come first; others are of a block */
    void (*task)(const struct bl_igemm *g, int64_t task, void *scratch); /* task 0 .. chunks */
} bl_igemm;
/* Tasks of `outs` outputs, as many as each thread can have alike; those left over by blocks of rows, block by block.
 * The part of a task. */
void bl_igemm_plan(bl_igemm *g, int64_t outs);
typedef struct bl_igemm_part {
    int64_t row, n, first, after; /* outputs row .. row+n, rows first .. after-1 of x */
} bl_igemm_part;
static inline bl_igemm_part bl_igemm_part_of(const bl_igemm *g, int64_t task)
{
    const int64_t rest = (g->w->shape.out + g->chunk - 1) / g->chunk - g->whole, part = task - g->whole;
    const int64_t row = (part < 0 ? task : g->whole + part % rest) * g->chunk,
                  first = part < 0 ? 0 : part / rest * g->block_rows;
    return (bl_igemm_part){row, BL_MIN(g->w->shape.out - row, g->chunk), first,
                           part < 0 ? g->rows : BL_MIN(g->rows, first + g->block_rows)};
}
/* Weights for tiles of products in integers: `outs` outputs row .. row+n, eight or sixteen, side by side.
 *     codes u8 [ldx / 4][outs][4], scale f32 and zero i32 [groups][outs], sum i32 [segs][outs] of the codes (shifted);
 *     blocks: one row of zeros for all groups, least f32 [groups][outs] where they have minima
 */
typedef struct bl_ipanel {
    uint8_t *codes;
    float *scale, *least; /* least NULL: none */
    int32_t *zero, *sum;
    int64_t zero_step; /* from one group to the next: outs or 0 */
} bl_ipanel;
int64_t bl_ipanel_bytes(const bl_icodes *c, const bl_weight *w, int64_t outs);
bl_ipanel bl_ipanel_at(const bl_icodes *c, const bl_source *s, int64_t outs, void *scratch);
void bl_ipanel_fill(const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row, int64_t n);
void bl_lanes_panel(const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row); /* in the layout of lanes.h */
/* blocks: of GGUF blocks, else of integers. */
bool bl_igemm_fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w, int64_t outs,
                   bool blocks);

/* The families of products of many rows in integers, of integers and of GGUF blocks, with these instructions, by plan;
 * TILE_OUT outputs a panel. */
#define BL_IGEMM(isa, level, decode, product)                                                                          \
    static bool of_integers(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)                         \
    {                                                                                                                  \
        return bl_igemm_fits(be, level, a, w, TILE_OUT, false);                                                        \
    }                                                                                                                  \
    static bool of_blocks(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)                           \
    {                                                                                                                  \
        return bl_igemm_fits(be, level, a, w, TILE_OUT, true);                                                         \
    }                                                                                                                  \
    const bl_kernel_family bl_family_igemm_##isa = {                                                                   \
        .op = "linear",                                                                                                \
        .backend = "cpu",                                                                                              \
        .doc = "integer weights times activations quantized to integers, exact sums for every group",                  \
        .bitwise = true,                                                                                               \
        .nmse_limit = 1e-11,                                                                                           \
        .decode_ns = decode,                                                                                           \
        .product_ns = product,                                                                                         \
        .applicable = of_integers,                                                                                     \
        .run = bl_product_run,                                                                                         \
        .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan},                                  \
    };                                                                                                                 \
    const bl_kernel_family bl_family_iblocks_##isa = {                                                                 \
        .op = "linear",                                                                                                \
        .backend = "cpu",                                                                                              \
        .doc = "codes of GGUF blocks times activations quantized to integers, exact sums for every group",             \
        .layout = BL_LAYOUT_LANES,                                                                                     \
        .bitwise = true,                                                                                               \
        .nmse_limit = 1e-11,                                                                                           \
        .decode_ns = decode,                                                                                           \
        .product_ns = product,                                                                                         \
        .applicable = of_blocks,                                                                                       \
        .run = bl_product_run,                                                                                         \
        .own = &(const bl_cpu_product){.source = bl_source_blocks, .plan_integer = plan},                              \
    };

/* What a kernel family of the CPU brings (its `own`): how a weight is read, and how its outputs are cut into tasks. */
typedef struct bl_cpu_product {
    void (*source)(const bl_weight *w, bl_source *out);
    void (*plan)(bl_gemm *g, int64_t rows); /* fills rows … task from v and threads; NULL: a product in integers */
    void (*plan_integer)(bl_igemm *g);      /* fills chunk, chunks and task */
    int64_t then;                           /* most k of another product that its tasks take on */
} bl_cpu_product;
/* What all families ask: the instructions are there, a row of x fits the stage, and the product is one in integers or
 * not. */
bool bl_product_fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w, bool integer);
/* A linear with family k[i] for weight i; all in integers or none. */
bl_status bl_products(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], bl_err *e);
void bl_gemv_plan(bl_gemm *g, int64_t rows);                         /* one row or two, by the source's gemv */
bool bl_cpu_prepares(const bl_backend *be, const bl_linear_args *a); /* linear_prepares */
bl_status bl_product_run(const bl_kernel_family *k, bl_backend *be, const bl_linear_args *a, bl_err *e);

/* Attention. */
enum { BL_ATTEND_BLOCK = 64 };   /* keys */
typedef struct bl_attend_steps { /* the two products, by rows: [1] .. [rows] */
    int64_t rows;
    void (*scores[7])(const float *q, const float *kt, float *s, int64_t n, int64_t dim, int64_t dim8,
                      float scale); /* s = q kt scale, n keys */
    void (*values[7])(const float *s, const float *v, float *y, int64_t from, int64_t to,
                      int64_t dim8); /* y += s v, keys from .. to */
} bl_attend_steps;
extern const bl_attend_steps bl_attend_avx2, bl_attend_avx512;
bl_status bl_fast_attention(bl_backend *be, const bl_attention_args *a, bl_err *e);

/* n steps of products in registers, of floats or integers: how many operations, two a product and sum. */
double bl_avx2_peak(bool integer, int64_t n);
uint64_t bl_avx2_read(const void *p, int64_t n); /* n bytes, as products read weights; something that is made of them */
double bl_avxvnni_peak(bool integer, int64_t n);
double bl_avx512_peak(bool integer, int64_t n);
double bl_amx_peak(bool integer, int64_t n); /* of integers */

/* What is done row by row, by the threads that wait between products: those of OpenMP would have to wake up first. */
typedef void bl_by_row(const void *args, int64_t r);
bl_status bl_cpu_each_row(bl_backend *be, double operations, int64_t n, bl_by_row *row, const void *args);

void bl_avx2_rmsnorm(const float *x, const float *w, float *y, int64_t n, double eps);
void bl_avx2_rope(float *x, const float *c, const float *s, int64_t width, int64_t head_dim);
void bl_avx2_kv_row(const float *x, int64_t heads, int64_t dim, int8_t *codes, float *scale);
void bl_avx2_swiglu(const float *g, const float *u, float *y, int64_t n);
void bl_avx2_add(const float *x, float *y, int64_t n);
void bl_avx2_act_round(const float *x, float *y, int64_t n, const bl_actq *q); /* integers, of a token or groups */
bool bl_avx2_top(const float *x, int64_t n, float *top, int32_t *at);          /* false: not all finite */
double bl_avx2_sum_exp(const float *x, int64_t n, float top);
double bl_avx2_sum_cross(const float *p, const float *q, int64_t n, float top); /* sum e^(p - top) (p - q) */
#endif
