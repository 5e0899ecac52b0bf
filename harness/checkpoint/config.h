/* config.h - the shape of a model, whatever file it came from. */
#ifndef BL_HARNESS_CHECKPOINT_CONFIG_H
#define BL_HARNESS_CHECKPOINT_CONFIG_H
#include "arch.h"
#include "kernels/base/json.h"

/* How rotary frequencies are changed so that longer sequences can be told apart (model/rope.c has the formulas). */
typedef enum bl_rope_scaling {
    BL_ROPE_PLAIN,
    BL_ROPE_LINEAR,
    BL_ROPE_LLAMA3,
    BL_ROPE_YARN,
    BL_ROPE_DYNAMIC,
    BL_N_ROPES
} bl_rope_scaling;
extern const char *const bl_rope_names[BL_N_ROPES]; /* "plain", "linear", "llama3", "yarn", "dynamic" */

struct bl_config {
    int64_t dim, ffn_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab;
    int64_t max_len; /* positions the model was made for */
    double eps;      /* RMSNorm */
    double rope_theta;
    bl_rope_scaling rope;
    double rope_factor;
    /* LLaMA-3.1 and YaRN: a frequency that turns less than `low` times in `original` positions is divided by the
     * factor, one that turns more than `high` times is kept (low_freq_factor, high_freq_factor; beta_slow, beta_fast).
     */
    double rope_low, rope_high;
    int64_t rope_original; /* LLaMA-3.1, YaRN, dynamic: positions before it was stretched */
    double rope_attention; /* YaRN: cosines and sines are multiplied by it */
    bool rope_exact;       /* YaRN: the bounds of the ramp are not rounded to whole dimensions */
    bool tied;             /* the head is the embedding */
    bool turned_keys;      /* queries and keys are turned by the Hadamard matrix of a head after rotary embedding, which
                              cancels in their products: QuaRot's R3, for keys that are kept in few bits */
    int64_t bos, eos;      /* as the config says; of a list the first; -1: it does not */
    int64_t window;        /* sliding-window attention: a position sees this many, itself included; 0: all before it */
    const bl_arch *arch;
    uint32_t roles; /* BL_ROLE_BITs of the parameters it has; HEAD is also decided by `tied` */
};

/* Every field within bounds that keep all later products inside 64 bits; `file` opens the sentence (R38-R47). */
bl_status bl_config_check(const bl_config *c, const char *file, bl_err *e);
int64_t bl_config_params(const bl_config *c);        /* weights of the whole model */
int64_t bl_config_linear_params(const bl_config *c); /* of the block linears, biases not counted */
/* Longest sequence whose positions can be told apart: max_len, times the factor of dynamic scaling. (What is longer
 * than a window is refused when it is fed.) */
int64_t bl_config_reach(const bl_config *c);

/* All of it as a JSON object, and back. */
void bl_config_put(bl_text *t, const bl_config *c);
bl_status bl_config_get(const bl_json *o, bl_config *out, bl_err *e);
#endif
