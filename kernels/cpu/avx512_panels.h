/* avx512_panels.h - rows of x times a panel of decoded weights where the CPU has AVX-512: what products and transposed
 * products share.
 *
 * panel  f32 [outputs / 8][k / 8][8 outputs][8]      a vector of 16 holds 8 lanes of two outputs
 */
#ifndef BL_KERNELS_CPU_AVX512_PANELS_H
#define BL_KERNELS_CPU_AVX512_PANELS_H
#include "avx2.h"

enum { BL_TILE_ROWS = 6, BL_TILE_OUTS = 8 };

typedef struct bl_panel_rows {
    const bl_gemv *v;
    const float *panel; /* filled up with zeros to whole tiles */
    int64_t k0, n;      /* the k of it */
    int64_t o0, outs;   /* its outputs; those before are y's */
    int64_t r0, rows;   /* of x and y */
    float *kept;        /* f32 [rows][outputs / 8][64], where lanes wait between the panels of a product */
    bool more;          /* a panel with other k follows */
    const char *ahead;  /* what the next task reads first: it is asked for meanwhile */
    int64_t ahead_bytes;
} bl_panel_rows;
void bl_avx512_panel_rows(const bl_panel_rows *p);

/* A product over at most eight k, as adapters have them: each chain is one product, so a lane is an output.
 *
 * w      f32 [8][ldw], zeros after k and after the outputs, up to 16 */
enum { BL_LOW_K = 8 };
typedef struct bl_low_rows {
    const bl_gemv *v;
    const float *w;
    int64_t ldw, k;
    int64_t o0, outs, r0, rows;
} bl_low_rows;
void bl_avx512_low_rows(const bl_low_rows *p);
#endif
