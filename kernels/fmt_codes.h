/* fmt_codes.h - a weight of a format that arranges its codes in a way of its own, as plain addresses and numbers: for
 * kernels that are compiled as C++. Part of format.h, which includes it. */
#ifndef BL_KERNELS_FMT_CODES_H
#define BL_KERNELS_FMT_CODES_H
#include <stdint.h>

typedef enum bl_codes_kind {
    BL_CODES_NONE,
    BL_CODES_DOWN,       /* fmt_down.c */
    BL_CODES_MIXED,      /* fmt_mixed.c */
    BL_CODES_SIGN_SPLIT, /* fmt_sign_split.c */
    BL_CODES_SIGN_INT8,  /* fmt_sign_int8.c */
    BL_CODES_SIGN_OUTER, /* fmt_sign_outer.c */
    BL_CODES_NVFP4,      /* fmt_nvfp4.c */
    BL_CODES_FLOAT,      /* fmt_int.c, zero points that are stored as numbers */
    BL_CODES_MIDDLE,     /* the same, the zero point in the middle */
    BL_CODES_SHIFT,      /* fmt_shift.c */
    BL_CODES_LQ,         /* fmt_lq.c */
    BL_CODES_PLANES      /* fmt_planes.c */
} bl_codes_kind;

typedef struct bl_codes_weight {
    bl_codes_kind kind;
    int bits, scale_type; /* 0 f32, 1 fp16, 2 bf16 */
    int64_t out, in, group, salient;
    int scale_bits;      /* LQ: of a scale, not 0 */
    int64_t scale_group; /* LQ: scales that share a maximum, not 0 */
    const void *part[6]; /* in the order of the format's parts */
    const float *e4m3;   /* NVFP4: values by code */
    const float *table;  /* SHIFT, LQ: the format's values by code */
    const float *map;    /* SHIFT: the signed dynamic map */
} bl_codes_weight;
#endif
