/* size.h - how many rows go through a model together, and what they take: what the model keeps to and what a plan
 * counts with. From the shape alone; activations count as f32. */
#ifndef BL_HARNESS_MODEL_SIZE_H
#define BL_HARNESS_MODEL_SIZE_H
#include "harness/checkpoint/config.h"
#include "kernels/ops.h"

#define BL_GENERATE_KV_BYTES (1ull << 30) /* keys and values of the prompts that are continued together */

/* Rows that go through a block together, and bytes of activations that each of them takes meanwhile. */
int64_t bl_chunk_rows(const bl_config *c);
int64_t bl_chunk_row_bytes(const bl_config *c);
typedef struct bl_pass_where {
    bool stream;
    uint64_t resident; /* bytes of the ends and one block, where it streams */
    int64_t wide;      /* of the backend */
    uint64_t limit;    /* bytes of the device's buffers; 0: none */
    bl_kv_format kv;
} bl_pass_where;
/* Rows of one pass over all blocks. Streaming, a pass reads every block once, so as many as a third of what is resident
 * holds, within 64 and 768 MiB. A device has more, as many as a quarter of its limit holds. */
int64_t bl_pass_rows(const bl_config *c, const bl_pass_where *r);
/* Bytes of a row of a pass between two blocks: residual stream, hidden state, keys and values of one block. Of a cache
 * of codes the sequences count as short, with all their keys in it as activations are as well. */
int64_t bl_pass_row_bytes(const bl_config *c, bl_kv_format kv);
int64_t bl_head_rows(const bl_config *c); /* rows whose logits are computed together: 64 MiB of them */
/* Those of scoring. The head is read for each chunk: a device that multiplies faster than it reads (`wide` of the
 * backend over 1) has four times the rows, where that is little of its limit (bytes; 0: none) and no logits of a base
 * stand beside them. */
int64_t bl_scored_rows(const bl_config *c, int64_t wide, bool beside, uint64_t limit);
int64_t bl_kv_row_bytes(const bl_config *c, bl_kv_format kv);  /* keys and values of one position in all blocks */
int64_t bl_kv_slot_bytes(const bl_config *c, bl_kv_format kv); /* last keys of one sequence in all blocks */
#endif
