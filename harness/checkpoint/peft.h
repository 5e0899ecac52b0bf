/* peft.h - adapters in the files of Hugging Face's peft: adapter_config.json and adapter_model.safetensors.
 *
 *     bl_peft *p;
 *     BL_TRY(bl_peft_read("adapter", &p, e));
 *     const bl_peft_tensor *a = bl_peft_find(p, "model.layers.0.self_attn.q_proj.lora_A");    // f32 on the host
 *     bl_peft_free(p);
 *
 * Read are LoRA and DoRA adapters of linears alone: what else a configuration asks for (other ranks of some modules,
 * trained biases, ...) is refused by the name of its field, and so is a field that is not known unless it is null,
 * false or empty.
 */
#ifndef BL_HARNESS_CHECKPOINT_PEFT_H
#define BL_HARNESS_CHECKPOINT_PEFT_H
#include "kernels/ops.h"

typedef struct bl_peft_config {
    int64_t rank;
    double alpha, dropout;
    bool rank_stabilized; /* scale alpha / sqrt(rank), else alpha / rank */
    bool dora;            /* lengths of rows are beside A and B (Liu et al. 2024, arXiv 2402.09353) */
    uint32_t targets;     /* BL_ROLE_BITs of the linears in the blocks */
    const char *base;     /* name of the model that they belong to; only written */
} bl_peft_config;
typedef struct bl_peft_tensor {
    char name[128]; /* "model.layers.0.self_attn.q_proj.lora_A", A [rank, in], B [out, rank], and as
                       lora_magnitude_vector the lengths [1, out] */
    int64_t rows, cols;
    float *value; /* [rows, cols] */
} bl_peft_tensor;
typedef struct bl_peft {
    bl_peft_config config;
    bl_peft_tensor *tensor;
    size_t n;
} bl_peft;
bl_status bl_peft_read(const char *dir, bl_peft **out, bl_err *e);
void bl_peft_free(bl_peft *p);                                          /* NULL is fine */
const bl_peft_tensor *bl_peft_find(const bl_peft *p, const char *name); /* NULL */

/* The two files. `t` are f32, named as in bl_peft_tensor. */
bl_status bl_peft_config_text(const bl_peft_config *c, bl_text *out, bl_err *e);
typedef struct bl_peft_source {
    const char *name;
    const bl_tensor *value;
} bl_peft_source;
bl_status bl_peft_weights(const bl_peft_source *t, size_t n, bl_text *out, bl_err *e);
/* "q_proj" of a linear of the blocks as its BL_ROLE_BIT; 0: none is called so. */
uint32_t bl_linear_named(const char *part, size_t n);
#endif
