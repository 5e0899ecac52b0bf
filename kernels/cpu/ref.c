/* ref.c - the table of the reference: every op in plain C, one thread. */
#include "cpu.h"

const bl_ops bl_ops_ref = {
    .name = "cpu",
    .buffer_new = bl_cpu_buffer_new, .buffer_free = bl_cpu_buffer_free, .upload = bl_cpu_upload, .download = bl_cpu_download,
    .fill = bl_cpu_fill, .sync = bl_cpu_sync, .memory = bl_cpu_memory, .device_info = bl_cpu_device_info, .flush = bl_cpu_flush,
    .linear = bl_ref_linear, .linear_is_integer = bl_cpu_integer, .rmsnorm = bl_ref_rmsnorm, .rope = bl_ref_rope, .attention = bl_ref_attention,
    .gather = bl_ref_gather, .swiglu = bl_ref_swiglu, .add = bl_ref_add, .embed = bl_ref_embed, .loss = bl_ref_loss, .kl_div = bl_ref_kl_div,
    .sample = bl_ref_sample, .pack = bl_ref_pack, .unpack = bl_ref_unpack, .product_rows = bl_cpu_product_rows,
};
