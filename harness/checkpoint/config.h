/* config.h - the shape of a LLaMA-family model, whatever file it came from. */
#ifndef BL_CONFIG_H
#define BL_CONFIG_H
#include "arch.h"

typedef enum bl_rope_scaling { BL_ROPE_PLAIN, BL_ROPE_LINEAR, BL_ROPE_LLAMA3 } bl_rope_scaling;

struct bl_config {
    int64_t dim, ffn_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab;
    int64_t max_len; /* positions the model was made for */
    double eps;      /* RMSNorm */
    double rope_theta;
    bl_rope_scaling rope;
    double rope_factor, rope_low, rope_high; /* factor; LLaMA-3.1: low_freq_factor, high_freq_factor */
    int64_t rope_original;                   /* LLaMA-3.1: original_max_position_embeddings */
    bool tied;                               /* the head is the embedding */
    int64_t bos, eos;                        /* as the config says; -1: it does not */
    const bl_arch *arch;
    uint32_t roles; /* BL_ROLE_BITs of the parameters it has; HEAD is also decided by `tied` */
};

/* Every field within bounds that keep all later products inside 64 bits; `file` opens the sentence (R38-R47). */
bl_status bl_config_check(const bl_config *c, const char *file, bl_err *e);
int64_t bl_config_params(const bl_config *c);        /* weights of the whole model */
int64_t bl_config_linear_params(const bl_config *c); /* of the block linears */
#endif
