/* fmt_table.h - value tables by code, and the nearest code in one. */
#ifndef BL_KERNELS_FMT_TABLE_H
#define BL_KERNELS_FMT_TABLE_H
#include "format_impl.h"

extern const float bl_nf2[4], bl_nf3[8], bl_nf4[16], bl_nf8[256], bl_fp4[16], bl_fp8_e4m3[256];
extern const float bl_dynamic_map[256]; /* signed; also the codes of double-quantized scales */

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
/* Scales s[0 .. n) as codes of the signed dynamic map, the largest of every 256 of them, and their mean, as
 * bitsandbytes does it. `s` is left less the mean. */
void bl_scales_double(float *s, int64_t n, uint8_t *code, float *tops, float *mean);
#endif
