/* format.h - number formats: how the bits of a weight are laid out in memory, and exactly how many there are.
 *
 * A weight W [out, in] (row-major) in a format is a few parts, each an array: `codes`, `scales`, `zeros`, … Which parts
 * there are and how long they are follows from the format and the shape alone, so bits per weight is arithmetic:
 * bytes of all parts x 8 / (out x in).
 *
 *     bl_shape g = { .out = 1536, .in = 576, .group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16 };
 *     const bl_format *f = bl_format_find("int4");
 *     BL_TRY(f->check(f, &g, e));
 *     BL_TRY(bl_weight_new(be, f, &g, &w, e));                    // parts allocated on the backend
 *
 * be->ops->pack fills it, be->ops->linear multiplies by it, f->unpack is the reference decoder on the host.
 *
 * Layout rules. Every row of every part starts at a byte boundary; code i of a row is bits [i*b, i*b+b) of the row,
 * low bits first, rows are ceil(in*b/8) bytes. `scales` is [out, groups] of shape.scale; `zeros` is [out,
 * ceil(groups*b/8)] of packed b-bit integers (BL_ZERO_PACKED) or [out, groups] int16 (BL_ZERO_I16). groups = ceil(in /
 * group); the last may be short ("ragged"). Value = (code - zero) * scale; symmetric (BL_ZERO_NONE): zero = 2^(b-1);
 * BL_ZERO_FLOAT: zeros are [out, groups] of shape.scale; BL_ZERO_MIDDLE: zero = (2^b - 1) / 2, none stored. 1 bit, zero
 * NONE: value = code ? +scale : -scale, scale = mean |w| of the group, the sign of 0 is +. Tables (nf*,
 * fp4, fp8_e4m3, dyn8): value = table[code] * scale, scale = max |w| of the group / largest value of the table: 448 of
 * fp8_e4m3, 1 of the others. double_quant: `scales` is replaced by u8 codes [1, out*groups] (signed dynamic map of
 * bitsandbytes, blocks of 256 after subtracting the mean), `scales2` f32 [1, blocks], `offset` f32 [1, 1]; shape.scale
 * is not used then. GGUF block formats have one part `blocks` [out, in / block length * block bytes], bytes as in the
 * file; 16-bit dense formats one part `weight`.
 */
#ifndef BL_KERNELS_FORMAT_H
#define BL_KERNELS_FORMAT_H
#include "fmt_codes.h"
#include "tensor.h"

enum { BL_MAX_PARTS = 6 };
typedef enum bl_zero { BL_ZERO_NONE, BL_ZERO_PACKED, BL_ZERO_I16, BL_ZERO_FLOAT, BL_ZERO_MIDDLE } bl_zero;

typedef struct bl_shape {
    int64_t out, in;
    int64_t group;       /* inputs that share a scale, 1..in; formats without scales: 0 */
    bl_zero zero;        /* integer formats; of 1 bit NONE or FLOAT */
    bl_dtype scale;      /* BL_F16, BL_BF16 or BL_F32 */
    bool double_quant;   /* table formats only */
    int64_t salient;     /* formats that say so: how many weights or columns are stored in another way; else 0 */
    int scale_bits;      /* formats with coded scales (nf*_lq): bits of one, 2..8; 0: 8 */
    int64_t scale_group; /* and how many of them share their maximum; 0: 256 */
} bl_shape;

typedef struct bl_part_spec {
    const char *name; /* "codes", "scales", "zeros", "blocks", "weight", "scales2", "offset" */
    bl_dtype dtype;
    int64_t rows, cols; /* rows == out where the part has a row per output, else 1 */
} bl_part_spec;

/* CODES: integers with scales and zeros in an arrangement of the format's own, given by a method. */
typedef enum bl_fmt_kind { BL_FMT_DENSE, BL_FMT_INT, BL_FMT_TABLE, BL_FMT_BLOCK, BL_FMT_CODES } bl_fmt_kind;

/* Which power of two scales a group of e2m1, from its largest weight: FLOOR brings it into 4..8, where what is above 6
 * is 6 (OCP); CEIL into 3..6; EVEN into 3.5..7 (the largest rounded to a power of two with e2m1's mantissa). */
typedef enum bl_exponent { BL_EXPONENT_FLOOR, BL_EXPONENT_CEIL, BL_EXPONENT_EVEN } bl_exponent;

typedef struct bl_format bl_format;
struct bl_format {
    const char *name; /* "int4", "nf4", "q4_k", "fp16" */
    const char *doc;
    bl_fmt_kind kind;
    int bits;               /* of one code; BLOCK: rounded down, for listings */
    int block, block_bytes; /* BLOCK: weights and bytes of one block, else 0 */
    int ggml_type;          /* GGUF type number, -1: none */
    const float *table;     /* TABLE: 2^bits values by code; NaN where a code is none (e4m3) */
    bl_codes_kind codes;    /* CODES: how they are arranged */
    bool salient;           /* shape.salient is of use */
    bool no_zeros;          /* CODES: `encode` takes none */
    bool coded_scales;      /* shape.scale_bits and scale_group are of use */
    /* BL_OK, or BL_E_CONFIG saying which field cannot be. */
    bl_status (*check)(const bl_format *f, const bl_shape *g, bl_err *e);
    int (*parts)(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS]); /* how many */
    /* Reference decoder: weights k0 .. k0+n of one row into dst[n]. part[i] are host addresses in the order of parts().
     */
    void (*unpack)(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst);
    /* Reference encoder of a whole weight w [out, in] with scales by the format's own rule; NULL: it has none. */
    bl_status (*pack)(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e);
    /* The codes and scales that were found to have the least sum of importance[k] (w - w^)^2, importance [in] of
     * the inputs, not negative; NULL: all alike. */
    bl_status (*pack_least)(const bl_format *f, const bl_shape *g, const float *w, const float *importance,
                            void *const part[], bl_err *e);
    /* Scales that are powers of two: their exponent by that rule. */
    bl_status (*pack_exponent)(const bl_format *f, const bl_shape *g, const float *w, bl_exponent rule,
                               void *const part[], bl_err *e);
    /* Formats of e2m1: the scale of every group of a packed weight, dst [out, groups], and the codes of w anew at the
     * scales that are there. Groups are of 32 inputs, of shape.group where that is not 0. */
    void (*scales)(const bl_format *f, const bl_shape *g, const void *const part[], float *dst);
    void (*recode)(const bl_format *f, const bl_shape *g, const float *w, void *const part[]);
    /* CODES: the same as `pack` with scales and zeros that a method chose, as many as the part `scales` has. */
    bl_status (*encode)(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e);
};

/* The nearest value of e2m1, 0 1/2 1 3/2 2 3 4 6 with a sign; half way the one nearer 0 or, `even`, that of even code.
 */
float bl_e2m1_round(float v, bool even);
/* A row as these formats would keep it, mxfp4 by the rule FLOOR, nvfp4_tensor in groups of 16, fp8_e4m3 with one f32
 * scale; all of it NaN where a value is not finite. */
void bl_mxfp4_round(float *x, int64_t n);
void bl_nvfp4_round(float *x, int64_t n);
void bl_fp8_round(float *x, int64_t n);

const bl_format *bl_format_at(size_t i);                         /* NULL after the last; order of formats.def */
const bl_format *bl_format_find(const char *name);               /* NULL */
const bl_format *bl_format_ggml(int type);                       /* by GGUF type number; NULL */
uint64_t bl_format_bytes(const bl_format *f, const bl_shape *g); /* all parts; 0 when it does not fit 64 bits */
double bl_format_bits(const bl_format *f, const bl_shape *g);    /* per weight, everything included */
int64_t bl_shape_groups(const bl_shape *g);
static inline int bl_shape_scale_bits(const bl_shape *g) { return g->scale_bits ? g->scale_bits : 8; }
static inline int64_t bl_shape_scale_group(const bl_shape *g) { return g->scale_group ? g->scale_group : 256; }
bool bl_shape_ragged(const bl_shape *g);

/* ---- integer formats with scales and zeros that a method chose ----------------------------------
 * One group w[0..n): afterwards w ~ (q - zero) * scale, 0 <= q <= qmax. `zero` is integral. */
typedef void bl_fit_range(const float *w, int64_t n, int qmax, float *scale, float *zero);
bl_fit_range bl_fit_zero, bl_fit_minmax,
    bl_fit_clip;               /* range contains 0; as the group is; zero clamped into 0..qmax (ARCHITECTURE.md) */
bl_fit_range bl_fit_symmetric; /* restricted: max|w| / (2^(b-1) - 1), zero 2^(b-1) (QuaRot, AutoAWQ) */
bl_fit_range bl_fit_full; /* symmetric, full range: 2 max|w| / (2^b - 1), zero 2^(b-1): the positive end clips by half a
                             step (GPTQ) */
bl_fit_range bl_fit_sign; /* 1 bit: scale = mean |w| */
/* The same with the range shrunk to p times itself, p = 1, 0.99, … 0.21, whichever gives the least sum |w^ - w|^2.4
 * (the published GPTQ code: norm 2.4, grid 100, maxshrink 0.8). */
bl_fit_range bl_fit_zero_mse, bl_fit_minmax_mse, bl_fit_clip_mse, bl_fit_symmetric_mse, bl_fit_full_mse;
bl_fit_range bl_fit_float;  /* as the group is, the zero point not rounded (BL_ZERO_FLOAT) */
bl_fit_range bl_fit_middle; /* 2 max|w| / qmax, zero qmax / 2 (BL_ZERO_MIDDLE) */
/* Where the two numbers of a group of `planes` begin (fmt_planes.c). */
void bl_planes_fit(const float *w, int64_t n, float *scale, float *second);
/* Encodes w [out, in]: for every group fit, then the scale (and a FLOAT zero) rounded to shape.scale, then codes q =
 * clamp(rint(w / s) + z, 0, qmax), with FLOAT and MIDDLE clamp(rint(w / s + z), 0, qmax). scale or zero may be given
 * instead (host, [out, groups], fit == NULL). One bit has one rule: any fit means bl_fit_sign. A zero point that
 * shape.zero cannot store, a scale that shape.scale cannot hold and weights that are not finite are BL_E_NUMERIC, with
 * row and group. */
bl_status bl_int_encode(const bl_format *f, const bl_shape *g, const float *w, bl_fit_range *fit, const float *scale,
                        const float *zero, void *const part[], bl_err *e);
/* Codes, scales, zeros of a packed integer weight on the host, unpacked: codes [in], scale [groups], zero [groups] of
 * one row; any may be NULL. Without zeros the zero is 2^(b-1); 1 bit has none and gives 0. */
void bl_int_decode(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, uint8_t *codes,
                   float *scale, float *zero);

/* ---- weights on a backend ----------------------------------------------------------------------- */
typedef struct bl_weight {
    const bl_format *format; /* NULL: no weight */
    bl_shape shape;
    int n_parts;
    bl_tensor part[BL_MAX_PARTS]; /* views into `owned`, 64-byte aligned, 64 readable bytes after each */
    bl_buffer *owned;
    int layout; /* of the parts; 0: as the format says; else the backend's own (the op `prepare`) */
} bl_weight;
bl_status bl_weight_new(bl_backend *be, const bl_format *f, const bl_shape *g, bl_weight *out,
                        bl_err *e);           /* contents undefined */
void bl_weight_free(bl_weight *w);            /* NULL and empty are fine; w is empty afterwards */
uint64_t bl_weight_bytes(const bl_weight *w); /* of the parts, without alignment */
#endif
