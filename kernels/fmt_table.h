/* fmt_table.h - value tables by code, and the nearest code in one. */
#ifndef BL_KERNELS_FMT_TABLE_H
#define BL_KERNELS_FMT_TABLE_H
#include "format_impl.h"

extern const float bl_nf2[4], bl_nf3[8], bl_nf4[16], bl_nf8[256], bl_fp4[16], bl_fp8_e4m3[256];
extern const float bl_dynamic_map[256]; /* signed; also the codes of double-quantized scales */

enum { BL_SCALES_BLOCK = 256 };

/* A table sorted for searching, made per call: no shared state. */
typedef struct bl_codebook {
    float bound[256];  /* between neighbours, ascending; then infinity, up to a power of two less one */
    uint8_t code[256]; /* by ascending value */
    int span;          /* the power of two */
    uint8_t zero;      /* code of the value 0 */
    bool coarse;       /* x is first rounded to one of 65,536 steps over -1..1 */
} bl_codebook;
void bl_codebook_init(bl_codebook *t, const float *table, int n);
uint8_t bl_codebook_code(const bl_codebook *t, float x);
/* Scales s[0 .. n) as codes of the signed dynamic map, the largest of every BL_SCALES_BLOCK of them, and their mean, as
 * bitsandbytes does it. `s` is left less the mean. */
void bl_scales_double(float *s, int64_t n, uint8_t *code, float *tops, float *mean);
/* What a format of normal floats with coded scales keeps of w [out, in]: the bits of packing and unpacking. */
bl_status bl_lq_kept(const bl_format *f, const bl_shape *g, const float *w, float *q, bl_err *e);
/* A row of codes into f->table: table[code] scale + shift, the two numbers of the group with that index in all. */
typedef struct bl_table_group {
    float scale, shift; /* -0.0f: none, which changes no sign of a zero */
} bl_table_group;
typedef bl_table_group bl_table_group_at(const bl_shape *g, const void *const part[], int64_t i);
void bl_table_unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0,
                     int64_t n, bl_table_group_at *at, float *dst);
/* Number i that is coded by bl_scales_double, but for the mean. */
static inline float bl_scale_mapped(const void *code, const void *tops, int64_t i)
{
    return bl_dynamic_map[((const uint8_t *)code)[i]] * ((const float *)tops)[i / BL_SCALES_BLOCK];
}
#endif
