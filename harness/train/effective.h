/* effective.h - what a weight is while it is trained: the numbers that are learned, the weight that products are
 * computed with, and how its gradient becomes theirs.
 *
 *     bl_trainable *t;
 *     BL_TRY(bl_trainable_new(m, &t, e));                                  // everything is frozen
 *     BL_TRY(bl_train_lora(t, &(bl_lora){ .rank = 8, .alpha = 16, .seed = 1 }, e));
 *     bl_trainable_free(t);                                                // the model keeps what was learned
 *
 * A linear computes y = x Wt + b + s (drop(x) At) Bt. W is frozen, dense or packed, or made by a rule from parameters
 * (bl_weight_rule): the rule says how W comes of them and how dL/dW becomes their gradient, and nothing else here knows
 * the scheme. W of a frozen linear stays packed; the gradient to its input is the transposed product with it. A and B
 * are learned, or made by a rule too (bl_adapter_rule): DoRA, pooled inputs, short cuts.
 * Parameters are views into the model where it has a place for them, so that what is trained is what is scored and
 * saved; others, those that a weight is made of, live here.
 */
#ifndef BL_HARNESS_TRAIN_EFFECTIVE_H
#define BL_HARNESS_TRAIN_EFFECTIVE_H
#include "harness/model/backward.h"

/* The gradient G [rows, cols] of a matrix within a subspace (GaLore, Zhao et al. 2024, arXiv 2403.03507), of which the
 * moments are and in which the step is: R = G Pt, P the first right singular vectors of G, where rows >= cols, else R =
 * Pt G with the left ones; found anew every so many steps, moments stay. The step is scale times that of R, turned
 * back. */
typedef struct bl_lazy {  /* on the host */
    int64_t every, found; /* steps that a subspace stays by now; how many there were */
    double cosine[5];     /* of the first vector of each with that of the one before, the newest last */
    float first[];        /* that vector */
} bl_lazy;
typedef struct bl_low {
    int64_t rank, every;
    double scale;
    int64_t near;   /* the shorter side from which on P are near singular vectors, in two passes; 0: never */
    int bits;       /* P is kept as integers of so many bits; 0: as f32 */
    int64_t group;  /* numbers of it that share a scale then; 0: 256 */
    double same;    /* mean of the last five cosines from which on a subspace stays twice as long; 0: as long as ever */
    bl_tensor p;    /* f32 [rank, cols] or [rows, rank]; no tensor before the first step, nor with bits */
    bl_weight kept; /* with bits */
    bl_lazy *lazy;  /* where `same` is not 0 */
} bl_low;

typedef struct bl_trained {
    char name[128];        /* "model.layers.0.mlp.up_proj.weight", "….lora_A" */
    bl_tensor value, grad; /* f32, contiguous, of one shape */
    bl_tensor kept;        /* bf16, what is kept of a value that is there around its block alone (narrow.h); or none */
    bl_tensor m, v;        /* of the optimizer: f32, or u8 with m_max, v_max; no tensor before its first step */
    bl_tensor m_max, v_max;
    bl_buffer *moments; /* that those are parts of */
    void *host;         /* the moments are here and not on the backend; NULL: they are there */
    bl_buffer *own;     /* of the value, when it is not part of the model */
    double rate;        /* learning rate as a share of the run's; 1 */
    bl_low low;         /* rank 0: steps are of the gradient itself */
    bool eight;         /* moments take 8 bits, whatever the run says */
    bl_linear *packed;  /* the value is this one's weight, int8 rounded by chance after each step; `value` is a shape,
                           and `grad` too, where the step is made in the backward pass; NULL: it is `value` */
    uint64_t seed;      /* of that chance */
} bl_trained;

typedef struct bl_trainable bl_trainable;
typedef struct bl_effective bl_effective;

typedef bl_status bl_weight_make(bl_trainable *t, bl_effective *w, bl_tensor y, bl_err *e);

/* A weight that is computed from parameters. Those of w are w->param[0 .. n_params) in the rule's own order. */
typedef struct bl_weight_rule {
    const char *name;
    /* Parameters to the weight that products are computed with, written to y, f32 [out, in]. Between bl_made_begin and
     * bl_made_end it is kept for the linears of one block, else made whenever it is needed, y one buffer for all
     * linears. NULL: the linear's weight is what products are with. */
    bl_weight_make *make;
    /* Whether `make` writes y as activations are, act [out, in]; NULL: it does not. */
    bool (*as_act)(const bl_trainable *t, const bl_effective *w);
    /* dw, of the type of `make`'s y, [out, in], the gradient of the weight, is turned into theirs, added to what is
     * there; what dw holds afterwards is of no use. NULL: param[0] is the weight, and the gradient is added to its
     * directly. */
    bl_status (*chain)(bl_trainable *t, bl_effective *w, bl_tensor dw, bl_err *e);
    /* The weight in the format that it is kept in; NULL: it stays as it is. */
    bl_status (*store)(bl_trainable *t, bl_effective *w, bl_weight *out, bl_err *e);
} bl_weight_rule;

/* An adapter whose A and B, those of the model, are computed from parameters: w->a and w->b, which are of the rule's
 * own shapes, and w->param. W is frozen beside it. */
typedef struct bl_adapter_rule {
    const char *name;
    bool output; /* `chain` reads y, what the linear put out, its bias included */
    /* Parameters to the model's A and B, and what else the linear computes with, after each change of them. */
    bl_status (*make)(bl_trainable *t, bl_effective *w, bl_err *e);
    /* What a product in f32 is with in the place of the weight and the transforms of its outputs: y f32 [out, in], made
     * as weights of rules are; bl_made_begin. NULL: it is with these. */
    bl_weight_make *weight;
    /* da, db, f32, the gradients of the model's A and B over a pass with the gradient dy of the output, become those of
     * the parameters, added to what is there. */
    bl_status (*chain)(bl_trainable *t, bl_effective *w, bl_tensor y, bl_tensor dy, bl_tensor da, bl_tensor db,
                       bl_err *e);
    /* What is kept in the adapter's place once training ends; NULL: it is. */
    bl_status (*store)(bl_trainable *t, bl_effective *w, bl_err *e);
} bl_adapter_rule;

/* diag(rows) W diag(cols) is what is rounded, W frozen: vectors that others make, and where their gradients go. */
typedef struct bl_scaled {
    bl_tensor rows, cols;   /* f32 [out], [in]; none: 1 */
    bl_tensor drows, dcols; /* as long; none: not wanted */
} bl_scaled;

enum { BL_RULE_PARAMS = 4 };
struct bl_effective {
    bl_linear *linear;
    const bl_weight_rule *rule;  /* NULL: W is frozen */
    const bl_adapter_rule *form; /* NULL: A and B are learned as they are */
    bl_buffer *constant;         /* of the form, on the backend */
    int param[BL_RULE_PARAMS];   /* places in t->param */
    int n_params;
    bl_grid grid;            /* settings of rules that round: the grid, */
    bl_dtype stored;         /* what scales were and will be */
    bool frozen;             /* of those: the linear's weight is rounded and stays as it is, */
    const bl_scaled *scaled; /* lent: so scaled; NULL: as it is */
    double low_rank;         /* and of those with factors in the place of the weight, what is before B A */
    bool act_ends; /* where the linear's input is rounded, how gradients go through it (bl_act_round_grad_args) */
    double act_within;
    bl_actq out;     /* in training, of the product; bits 0: it is not rounded */
    int64_t group;   /* settings of forms with groups of inputs: how many there are in one, */
    double share;    /* and what their sum is taken times */
    int bias;        /* -1: frozen */
    int adapter;     /* which of the linear's adapters is trained; -1: none */
    int a, b;        /* its parameters */
    float *first[2]; /* what a and b began as, where that was taken from the weight, on the host; NULL: nothing was */
    double dropout;
};

typedef struct bl_lora { /* LoRA, Hu et al. 2021, arXiv 2106.09685: y += s (drop(x) At) Bt */
    int64_t rank;
    double alpha;
    bool rank_stabilized; /* s = alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732), else alpha / rank */
    double dropout;       /* 0 <= p < 1 */
    uint32_t targets;     /* BL_ROLE_BITs of the linears; 0: all of the blocks */
    uint64_t seed;
    bool dora; /* set by bl_train_dora */
} bl_lora;
double bl_lora_scale(int64_t rank, double alpha, bool rank_stabilized);

typedef struct bl_teacher bl_teacher; /* taught.h */
/* Rooms of a trainable: the first five of activations, the others f32. NARROW holds the gradient of a weight whose rule
 * makes it as activations are, BACK that of an input that was rounded, DA and DB those of A and B where a form makes
 * them of others, or a step and its gradient in a subspace, P that subspace. */
enum {
    BL_WORK_X,
    BL_WORK_LOW,
    BL_WORK_ACT,
    BL_WORK_NARROW,
    BL_WORK_BACK,
    BL_WORK_COLS,
    BL_WORK_DW,
    BL_WORK_W,
    BL_WORK_DA,
    BL_WORK_DB,
    BL_WORK_P,
    BL_WORK
};
/* Activations of a pass; new memory for each would have to be cleared by the system first. */
typedef struct bl_pass_room {
    bl_buffer *stream, *inputs, *lists; /* residual stream; inputs of blocks; ids, targets, wanted rows */
    bl_buffer *work;                    /* of the loss, then of the way back through a block */
    bl_tape *tape;                      /* [n_layers], of which the first or those that are kept are made; NULL: none */
} bl_pass_room;

typedef struct bl_narrow_part {
    bl_buffer *kept, *room; /* bf16 of all blocks, f32 of one; NULL: as f32, each parameter's own */
} bl_narrow_part;

enum { BL_MADE_OFF = -2, BL_MADE_NONE = -1 };

struct bl_trainable {
    bl_model *m;
    bl_effective
        *w; /* [n] the linears of the blocks in the model's order, then the embedding, then a head of its own */
    size_t n, n_linears; /* all; linears of blocks, which are first */
    int *norm;           /* [m->n_norms + 1] parameter of each norm, the final one last; -1: frozen */
    bl_trained *param;
    size_t n_params, cap_params;
    bool still;        /* no dropout: the loss of a validation text */
    int64_t n_reached; /* blocks that are held */
    bool keep;         /* activations of all blocks between forward and backward pass; else a block is computed again */
    uint32_t dropout_key[2], pass; /* masks of a pass are numbered by it; bl_gradients counts it */
    bl_buffer *work[BL_WORK];      /* kept between passes */
    struct {                       /* weights that rules made of the linears of a block */
        bl_buffer *room;
        int64_t block;  /* BL_MADE_NONE: none */
        uint32_t there; /* BL_ROLE_BITs of those that are */
    } made;
    struct { /* outputs of linears, of so many rows; 0: none are kept */
        bl_buffer *room[2];
        int64_t rows;
    } kept;
    struct { /* narrow.h */
        bl_narrow_part value, grad;
        bl_buffer *ids;
        int64_t rows, block; /* of a block's numbers, 0: nothing is narrow; that the room has the values of, -1: none */
    } narrow;
    bl_pass_room room;         /* so is this, until bl_trainable_rest */
    int64_t block;             /* that alone is trained; -1: the whole model */
    bl_tensor moment_table[2]; /* f32 [256], of moments of 8 bits */
    bl_buffer *page;           /* where moments that the host keeps are for a step of their parameter */
    bl_lora lora;              /* as bl_train_lora was told; rank 0: it was not */
    bl_teacher *teacher;       /* the loss is kl (divergence from its distribution) + ce (cross-entropy); NULL: the
                                  latter alone */
    bool unsure;               /* bl_train_unsure was called, with */
    double power, even;
    double kl, ce;     /* of a sum over the tokens of a sequence, a mean over sequences; of a mean over tokens */
    int64_t sequences; /* rows of a step, which the divergence is divided by; the trainer sets it; 0: one */
    const struct bl_adamw *stepping; /* what steps in the backward pass are made with, at that rate; NULL: none is */
    double stepping_rate;
    const bl_format *adapters_as; /* what adapters are rounded to after the last step; NULL: they stay f32 */
    bool
        base_is_own; /* no base of peft's is like it: rounded without the part that adapters are, or to codes of ours */
    bool base_takes_in; /* in the end adapters are within the weights: there is nothing for files of peft */
};

/* Loads all blocks and keeps them; of a model that loads them later, those up to `block` when bl_trainable_reach is
 * called. BL_E_UNSUPPORTED for a model that is streamed. */
bl_status bl_trainable_new(bl_model *m, bl_trainable **out, bl_err *e);
bl_status bl_trainable_reach(bl_trainable *t, int64_t block, bl_err *e);
/* Of one block that is in memory: its linears and norms are all there is. */
bl_status bl_trainable_of_block(bl_model *m, int64_t block, bl_trainable **out, bl_err *e);
void bl_trainable_free(bl_trainable *t);            /* NULL is fine */
void bl_trainable_rest(bl_trainable *t);            /* activations go; the next pass makes them again */
uint64_t bl_trainable_count(const bl_trainable *t); /* numbers that are learned */
/* Weights that rules make are made once for a block and kept until another's are asked for: between the two parameters
 * do not change. bl_made_at: where that of a linear is, [out, in], and whether it is there already, else it is to be
 * made now. Bytes of a block's; what makes one; whether it is made as activations are. */
void bl_made_begin(bl_trainable *t);
void bl_made_end(bl_trainable *t);
bl_status bl_made_at(bl_trainable *t, const bl_effective *w, bl_tensor *y, bool *there, bl_err *e);
uint64_t bl_made_bytes(const bl_trainable *t, int64_t block);
bl_weight_make *bl_made_by(const bl_trainable *t, const bl_effective *w); /* NULL: the weight is the linear's */
bool bl_effective_narrow(const bl_trainable *t, const bl_effective *w);
/* Between the two what a linear puts out is kept where its form asks for it and no tape has it. bl_kept_at: where those
 * of some rows are; false: nowhere. */
bl_status bl_kept_begin(bl_trainable *t, int64_t rows, bl_err *e);
void bl_kept_end(bl_trainable *t);
bool bl_kept_at(const bl_trainable *t, const bl_effective *w, int64_t row0, int64_t rows, bl_tensor *y);
uint64_t bl_kept_bytes(const bl_trainable *t, int64_t rows);
/* What forms make of the parameters as they are now; after every change of them. */
bl_status bl_trainable_make(bl_trainable *t, bl_err *e);
/* The end of training: weights that rules made take the format that they are kept in, with the same values, and are
 * frozen. */
bl_status bl_trainable_store(bl_trainable *t, bl_err *e);

/* ---- what is trained ---- */
/* Every parameter of the model: weights become dense f32. */
bl_status bl_train_full(bl_trainable *t, bl_err *e);
/* The weights of the blocks' linears alone; all but them: embedding, head, biases, norms. */
bl_status bl_train_linears(bl_trainable *t, bl_err *e);
bl_status bl_train_rest(bl_trainable *t, bl_err *e);
/* bl_train_full, and steps of the blocks' matrices are within subspaces of that rank, or all of a smaller one. */
bl_status bl_train_galore(bl_trainable *t, const bl_low *o, bl_err *e);
/* The same with the blocks' weights as int8 in groups along the inputs, nothing kept beside them: each takes its step
 * as soon as its gradient is there, which is not kept, and is rounded by chance (Q-GaLore). Gradients of these are in
 * no norm and are not clipped. Blocks are reached one after another. */
bl_status bl_train_packed(bl_trainable *t, const bl_low *o, int64_t group, uint64_t seed, bl_err *e);
/* Gradients of those weights are kept after all: steps come after several passes. */
bl_status bl_train_packed_hold(bl_trainable *t, bl_err *e);
/* Some step is made in the backward pass. */
bool bl_trainable_steps(const bl_trainable *t);
/* New adapters on the targets; the rest is frozen. A is uniform in +-1 / sqrt(in) and B is 0, as in peft, so that the
 * model computes what it did. BL_E_CONFIG when settings cannot be. */
bl_status bl_train_lora(bl_trainable *t, const bl_lora *o, bl_err *e);
/* A trained adapter begins as A [rank, in] and B [out, rank] of the host; the caller takes s B A from the weight.
 * `keep` has them for the files of peft, which then tell the change of the weight as it was: right where the rest is
 * dense. Without it `base_is_own` says that A and B are of this base alone. */
bl_status bl_effective_begin(bl_trainable *t, bl_effective *w, const float *a, const float *b, bool keep, bl_err *e);
/* Adapters that are there, and not begun yet, are DoRA's (Liu et al. 2024, arXiv 2402.09353): the length m of each row
 * of V = W + s B A is learned beside its direction, y = (m / |V|) (x Vt) + b. It begins as |V|, so that the model
 * computes what it did. A transform of the outputs and B m / |V| are what the model has. The last to be called: W is as
 * it will stay. BL_E_UNSUPPORTED where a linear sees transformed inputs. */
bl_status bl_train_dora(bl_trainable *t, bl_err *e);
/* Adapters that are there read means, or sums, of the inputs of each group of the weight's, which are integers with
 * zero points; A is [rank, groups], uniform in Xavier's bounds. With `merge` they end in the zero points, which are
 * numbers then (QA-LoRA, Xu et al. 2023, arXiv 2309.14717). */
bl_status bl_train_pooled(bl_trainable *t, bool means, bool merge, bl_err *e);
/* Adapters that are there get short cuts past A and past B, each with a learned factor that begins at 0; the model's A
 * and B have them in them (IR-QLoRA, Qin et al. 2024, arXiv 2402.05445). */
bl_status bl_train_shortcuts(bl_trainable *t, bl_err *e);
/* The loss of training becomes kl KL(P | Q) / (rows of a step) + ce (mean nll), P the distribution of the model in c
 * (INT2.1, arXiv 2306.08162: the divergence is summed over tokens). c is lent until the end. That of a validation text
 * stays. */
bl_status bl_train_taught(bl_trainable *t, bl_checkpoint *c, double kl, double ce, bl_err *e);
/* With a teacher: the divergence of a token counts (h_P h_Q)^power + even times, h the entropies of both over ln of the
 * vocabulary, no gradient through them: what both are unsure of counts more. */
bl_status bl_train_unsure(bl_trainable *t, double power, double even, bl_err *e);
/* Norms: all, of a block those of the block. */
bl_status bl_train_norms(bl_trainable *t, bl_err *e);
/* Weights of the linears of the blocks on a grid of which everything is learned (bl_grid of ops_train.h); the rest is
 * frozen. Kept as int<bits>. STEP and AFFINE learn the weights themselves; OFFSET and INSIDE factors B A beside weights
 * that stay:
 *
 *     OFFSET  what is rounded is W + alpha / rank B A
 *     INSIDE  P + alpha / rank B A, P = W / s in steps of the scale s that it begins with, stored as `phi` says
 *
 * A begins uniform in +-1 / sqrt(in), B at 0. Scales begin at 2 mean|w| / sqrt(high) of a group (STEP); the ends of the
 * group and 0 (AFFINE); open to sigmoid(4) = 0.982 where not said otherwise (CLIP, beside weights that stay); 2 / 3 and
 * -1 / 3 of max|w| (PLANES), so that nearest of four are those of integers of 2 bits; the larger of max / high and min
 * / low (OFFSET); the one of 100, i / 100 of max|w| over high, that has the least sum of |error|^4 (INSIDE). */
typedef enum bl_phi { BL_PHI_FIXED8, BL_PHI_INT, BL_PHI_BF16, BL_PHI_F32 } bl_phi;
extern const char *const bl_phis[]; /* fixed8: steps of 2^(bits - 8), kept within the codes; int: whole steps */
typedef struct bl_grid_learned {
    bl_grid grid; /* group < 1: the whole row */
    double rate;  /* of scales and offsets; 0: 1 */
    int64_t rank; /* OFFSET, INSIDE */
    double alpha;
    uint64_t seed;
    bl_phi phi;
    bool span;   /* OFFSET begins with steps and offsets of which the codes span each group and 0, */
    bool least;  /* or a part of that range that loses least */
    bool frozen; /* PLANES: the weights stay, only scales are learned; CLIP always so */
    double open; /* CLIP: ends begin at its sigmoid times the group's; 0: 4 */
} bl_grid_learned;
bl_status bl_train_grid(bl_trainable *t, const bl_grid_learned *o, bl_err *e);
/* Inputs of the blocks' linears are rounded, in training and afterwards: products and the gradients of weights are with
 * rounded ones, the adapter's too. Integers that come with each token. */
bl_status bl_train_rounded_inputs(bl_trainable *t, const bl_actq *act, bool ends, double within, bl_err *e);
/* Keys and values as their products leave them are rounded in training, a token at a time, keys before they are turned;
 * gradients go straight through. What is kept of the model does not say so: its cache has a format of its own. */
bl_status bl_train_rounded_keys(bl_trainable *t, const bl_actq *act, bl_err *e);
/* Scales alone: integers of the blocks' weights stay as they are, whatever made them; scales are f32 while they are
 * trained, and have their type again afterwards. BL_E_UNSUPPORTED for weights that are no integers with scales. */
bl_status bl_train_scales(bl_trainable *t, bl_err *e);

/* ---- for rules ---- */
/* Zeros of its own, f32 [rows, cols]. */
bl_status bl_trained_tensor(bl_backend *be, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e);
/* A parameter whose value the model holds, or, set afterwards, `own`; its gradient is new and 0. */
bl_status bl_trained_add(bl_trainable *t, const char *name, const char *part, bl_tensor value, int *place, bl_err *e);
/* The value of a parameter, from the host; a packed one is rounded to nearest. */
bl_status bl_trained_put(bl_trainable *t, const bl_trained *p, const float *x, bl_err *e);
/* The linear's weight becomes dense f32 with its present values; *value is a view of it. */
bl_status bl_effective_dense(bl_trainable *t, bl_effective *w, bl_tensor *value, bl_err *e);
/* Room that is kept between passes, contiguous: act [rows, cols] of the first three, f32 of the others; 64 bytes after
 * it belong to it. */
bl_status bl_effective_room(bl_trainable *t, int which, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e);
/* f32 x [rows, cols] times `by` as activations in room `which`; x itself where that is the same. */
bl_status bl_effective_act(bl_trainable *t, int which, bl_tensor x, double by, bl_tensor *out, bl_err *e);
/* Uniform in +-bound, of a seed and a stream. */
bl_status bl_effective_uniform(bl_backend *be, bl_tensor t, double bound, uint64_t seed, uint64_t stream, bl_err *e);
/* y = x Wt, the forward pass of a product, and its gradients; see block.h and backward.h for the arguments. Where y is
 * asked for and not given, nor kept, it is made again. */
bl_status bl_effective_forward(bl_trainable *t, bl_effective *w, int64_t row0, bl_tensor x, bl_tensor y,
                               bool accumulate, bl_err *e);
bl_status bl_effective_backward(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor dy, bl_tensor dx,
                                bool accumulate, bl_err *e);
bl_status bl_effectives_backward(bl_trainable *t, bl_effective *const *w, int n, bl_tensor x, const bl_tensor *y,
                                 const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e);
/* B of a trained adapter, and with `a` A, become parameters of their own with its values, so that a form can make those
 * of the model. The gradients that `chain` is given are those of the parameters themselves where they are not apart. */
bl_status bl_effective_apart(bl_trainable *t, bl_effective *w, bool a, bl_err *e);
/* A parameter becomes zeros of its own, f32 [rows, cols]. */
bl_status bl_effective_replace(bl_trainable *t, int param, int64_t rows, int64_t cols, bl_err *e);
bl_effective *bl_effective_of(bl_trainable *t, int64_t block, bl_role role); /* NULL: this model has none */
#endif
