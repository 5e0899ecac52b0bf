/* hopper.h - attention on devices of compute capability 9.0 where a gradient follows, as C sees it; see
 * attention_hopper.cu and launch.h. */
#ifndef BL_KERNELS_CUDA_HOPPER_H
#define BL_KERNELS_CUDA_HOPPER_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
/* The device in use is one of these, and there is code for it in this program. */
bool bl_cu_hopper(void);

/* As bl_cu_attention_hopper; sums f32 [heads, rows], what bl_cu_attention_grad_kept needs, or NULL. */
bool bl_cu_attention_summed(bl_stream s, const bl_cu_attention *a, float *sums);

/* The gradient of scores of some heads of keys, in tiles of 64 queries by 64 keys, of which the mask leaves something.
 */
enum { BL_CU_KEPT_SIDE = 64, BL_CU_KEPT_TILE = BL_CU_KEPT_SIDE * BL_CU_KEPT_SIDE * 2 /* bytes */ };
typedef struct bl_cu_kept {
    void *at;          /* scratch: kv_n heads / kv_heads n_seq tiles BL_CU_KEPT_TILE bytes */
    int64_t tiles;     /* bl_cu_kept_tiles(longest) */
    int32_t longest;   /* rows of a sequence */
    int32_t kv0, kv_n; /* heads of keys at a time; a launch has those from kv0 on */
} bl_cu_kept;
static inline int64_t bl_cu_kept_tiles(int64_t longest)
{
    const int64_t n = (longest + BL_CU_KEPT_SIDE - 1) / BL_CU_KEPT_SIDE;
    return n * (n + 1) / 2;
}
/* Bytes that may be kept so: some for each number of queries, so that memory stays linear in the rows. 0: heads that
 * are made another way. */
static inline uint64_t bl_cu_kept_room(int64_t rows, int64_t heads, int64_t head_dim)
{
    return head_dim <= 64 || head_dim > 128 ? 0 : (uint64_t)(rows * heads * head_dim) * 10;
}
/* As bl_cu_attention_grad_hopper, a->sums those that attention left. */
bool bl_cu_attention_grad_kept(bl_stream s, const bl_cu_attention_grad *a, const bl_cu_kept *kept);
#ifdef __cplusplus
}
#endif
#endif
