/* arch.h - the architecture table: which parameters a model has, what each is called in every container, and its shape.
 *
 * A model of the LLaMA family is an embedding, blocks of the same parameters, a final norm and a head. A role is one of
 * these parameters (the query projection, its bias, ...); bl_roles says once for all of them what they are. An
 * architecture is a row that says which roles it has and what is particular to it. Readers, model, planner and
 * `inspect` walk this list; nobody else spells a parameter's name. A new architecture with these roles is a row of
 * arch.c, a line of tests/data/arch/record.py and a small shape in synth.c.
 *
 *     bl_param p;
 *     for (size_t i = 0; bl_param_at(&config, i, &p); i++)                    // embedding, blocks in order, norm, head
 *         printf("%s [%lld, %lld]\n", p.name, (long long)p.out, (long long)p.in);
 */
#ifndef BL_HARNESS_CHECKPOINT_ARCH_H
#define BL_HARNESS_CHECKPOINT_ARCH_H
#include "kernels/base/bl.h"

typedef struct bl_config bl_config; /* config.h */

typedef enum bl_role {
    BL_ROLE_EMBED,
    /* of a block, in the order of the forward pass */
    BL_ROLE_ATTN_NORM,
    BL_ROLE_Q,
    BL_ROLE_K,
    BL_ROLE_V,
    BL_ROLE_Q_BIAS,
    BL_ROLE_K_BIAS,
    BL_ROLE_V_BIAS,
    BL_ROLE_Q_NORM,
    BL_ROLE_K_NORM,
    BL_ROLE_O,
    BL_ROLE_O_BIAS,
    BL_ROLE_MLP_NORM,
    BL_ROLE_GATE,
    BL_ROLE_UP,
    BL_ROLE_DOWN,
    BL_ROLE_GATE_BIAS,
    BL_ROLE_UP_BIAS,
    BL_ROLE_DOWN_BIAS,
    /* after the blocks */
    BL_ROLE_NORM,
    BL_ROLE_HEAD,
    BL_N_ROLES
} bl_role;

typedef enum bl_role_kind { BL_KIND_EMBEDDING, BL_KIND_LINEAR, BL_KIND_BIAS, BL_KIND_NORM, BL_KIND_HEAD } bl_role_kind;

/* A width of a parameter, as the configuration gives it. */
typedef enum bl_width {
    BL_WIDTH_ONE,
    BL_WIDTH_DIM,
    BL_WIDTH_Q,  /* n_heads * head_dim */
    BL_WIDTH_KV, /* n_kv_heads * head_dim */
    BL_WIDTH_FFN,
    BL_WIDTH_HEAD, /* head_dim */
    BL_WIDTH_VOCAB
} bl_width;

typedef struct bl_role_row {
    bl_role_kind kind;
    const char *part; /* "q_proj"; of a bias: of its linear */
    const char *hf;   /* "self_attn.q_proj.weight"; in a block after "model.layers.N." */
    const char *gguf; /* "attn_q.weight"; in a block after "blk.N." */
    bl_width out, in; /* a vector (bias, norm) has out ONE */
    bl_role of;       /* BIAS: its linear; Q_NORM, K_NORM: the linear whose heads it normalizes; else itself */
    bool block;       /* one in every block */
    bool rotary;      /* rows belong to heads that rotary embedding turns in pairs */
} bl_role_row;
extern const bl_role_row bl_roles[BL_N_ROLES];

#define BL_ROLE_BIT(role) (UINT32_C(1) << (role))
#define BL_ROLES_ATTENTION_BIAS                                                                                        \
    (BL_ROLE_BIT(BL_ROLE_Q_BIAS) | BL_ROLE_BIT(BL_ROLE_K_BIAS) | BL_ROLE_BIT(BL_ROLE_V_BIAS) |                         \
     BL_ROLE_BIT(BL_ROLE_O_BIAS))
#define BL_ROLES_MLP_BIAS                                                                                              \
    (BL_ROLE_BIT(BL_ROLE_GATE_BIAS) | BL_ROLE_BIT(BL_ROLE_UP_BIAS) | BL_ROLE_BIT(BL_ROLE_DOWN_BIAS))

/* How rows of rotary parameters are ordered within a head: 0 with head_dim / 2 (half-split, Hugging Face), or 0 with 1.
 */
typedef enum bl_rotary_order { BL_ROTARY_HALVES, BL_ROTARY_PAIRS } bl_rotary_order;

typedef struct bl_arch {
    const char *name;     /* "llama": in bitladder.json and on screen */
    const char *hf_type;  /* config.json's model_type */
    const char *hf_class; /* its architectures[0] */
    const char *gguf;     /* general.architecture, and the prefix of its keys; rows may share it: then the first */
    uint32_t has;         /* BL_ROLE_BITs that every model of it has */
    uint32_t may;         /* that a model has when its configuration says so */
    bl_rotary_order gguf_rotary; /* in files of llama.cpp */
    /* Sliding-window attention: NEVER; ALWAYS when config.json has a sliding_window; SWITCHED on by use_sliding_window.
     */
    enum { BL_WINDOW_NEVER, BL_WINDOW_ALWAYS, BL_WINDOW_SWITCHED } window;
    /* What keys absent from config.json mean, as the classes of transformers 5.24 have it. */
    struct {
        int64_t max_len, kv_heads, head_dim, window; /* 0: as many as heads; dim / heads; none */
    } hf;
} bl_arch;
const bl_arch *bl_arch_at(size_t i);               /* NULL after the last */
const bl_arch *bl_arch_find(const char *name);     /* NULL */
const bl_arch *bl_arch_of_hf(const char *hf_type); /* by model_type; NULL */
const bl_arch *bl_arch_of_gguf(const char *gguf);  /* by general.architecture; NULL */

/* A parameter that a model of this configuration has. */
typedef struct bl_param {
    char name[96]; /* as in Hugging Face checkpoints: "model.layers.3.self_attn.q_proj.weight" */
    char gguf[64]; /* as in GGUF files: "blk.3.attn_q.weight" */
    bl_role role;
    int64_t block;   /* -1: none */
    int64_t out, in; /* [out, in]; a vector has out 1 */
    bool vector;
    int64_t rotary_heads; /* rotary parameters: how many heads its rows belong to; else 0 */
} bl_param;
/* Parameter i: embedding, blocks in order, norm, head (unless tied). False after the last. */
bool bl_param_at(const bl_config *c, size_t i, bl_param *out);
/* The parameter of that role in that block (-1 where the role has none); false: the model has none. */
bool bl_param_of(const bl_config *c, bl_role role, int64_t block, bl_param *out);
int64_t bl_width_of(const bl_config *c, bl_width w);
bool bl_has_role(const bl_config *c, bl_role role);
#endif
