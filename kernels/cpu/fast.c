/* fast.c - the table of the CPU backend where AVX2 is there. */
#include "fast.h"

const bl_ops bl_ops_cpu = {
    .name = "cpu",
    .buffer_new = bl_cpu_buffer_new, .buffer_free = bl_cpu_buffer_free, .upload = bl_cpu_upload, .download = bl_cpu_download,
    .fill = bl_cpu_fill, .sync = bl_cpu_sync, .memory = bl_cpu_memory, .facts = bl_cpu_facts, .flush = bl_cpu_flush,
    .linear = bl_fast_linear, .linear_is_integer = bl_cpu_integer, .norm = bl_ref_norm, .rope = bl_ref_rope, .attention = bl_ref_attention,
    .rows = bl_ref_rows, .gate = bl_ref_gate, .add = bl_ref_add, .embed = bl_ref_embed, .loss = bl_ref_loss, .compare = bl_ref_compare,
    .sample = bl_ref_sample, .pack = bl_ref_pack, .unpack = bl_ref_unpack, .product_rows = bl_cpu_product_rows,
};
