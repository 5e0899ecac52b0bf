/* mid.h - products of many rows of packed weights on devices of compute capability 9.0, as C sees them; see launch.h.
 */
#ifndef BL_KERNELS_CUDA_MID_H
#define BL_KERNELS_CUDA_MID_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
enum { BL_CU_MID_ROWS = 256 };
typedef struct bl_cu_mid_plan {
    int split;                        /* blocks that share k */
    uint64_t part_bytes, space_bytes; /* of d->parts where split > 1; of x in the order of decoding */
} bl_cu_mid_plan;
bool bl_cu_mid_takes(const bl_cu_weight *w, int64_t rows);
bl_cu_mid_plan bl_cu_mid_planned(const bl_cu_weight *w, int64_t rows, const bl_cu_device *d);
/* y (+)= x wt, at most BL_CU_MID_ROWS rows; x begins at multiples of 16 bytes, its rows too; as for bl_cu_stream no
 * kernel just before it may write the weight. */
void bl_cu_mid(bl_stream s, const bl_cu_weight *w, const bl_cu_mid_plan *p, const uint16_t *x, int64_t ldx,
               int64_t rows, void *space, void *y, bool f32, int64_t ldy, bool accumulate, const bl_cu_device *d);
#ifdef __cplusplus
}
#endif
#endif
