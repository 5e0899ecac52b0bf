/* method.h - the contract of a method: it changes a model one linear layer at a time. It never sees a task.
 *
 * Hooks at four scales, each may be NULL: `model` (before the blocks), `block` (a transformer block and the statistics
 * of its inputs, which are gathered anew for `layer` unless they are the original model's), `layer` (one linear),
 * `learns`. Of a method that has `learns`
 * only `layer` comes before it. `check` says no in a millisecond, before hours of work, to what its options and the
 * model rule out; a format that cannot be of the predicted shape (a group larger than a row) is refused for it.
 * methods/rtn.c is a whole one; how one is added: CONTRIBUTING.md.
 */
#ifndef BL_HARNESS_METHOD_H
#define BL_HARNESS_METHOD_H
#include "kernels/base/opt.h"
#include "harness/model/model.h"
#include "results/layer.h"

/* The rows that every quantizing method shares. Method text "w4g64" / "a8" / "pc" sets them. */
typedef struct bl_quant {
    int64_t wbits, group, abits, act_group;
    bool symmetric;
} bl_quant; /* group -1: whole row; abits 0: activations stay; act_group 0: they share a scale per token */
#define BL_QUANT_ROWS(type, member)                                                                                    \
    {"wbits",       BL_OPT_INT,                                                                                        \
     .min = 1,      .max = 8,                                                                                          \
     .def.i = 4,    .at = offsetof(type, member.wbits),                                                                \
     .arg = "1..8", .doc = "bits of a weight"},                                                                        \
        {"group",      BL_OPT_INT,                                                                                     \
         .min = -1,    .max = 65536,                                                                                   \
         .def.i = 128, .at = offsetof(type, member.group),                                                             \
         .arg = "N",   .doc = "weights that share a scale; -1: one scale a row"},                                      \
        {"abits",       BL_OPT_INT,                                                                                    \
         .min = 0,      .max = 8,                                                                                      \
         .def.i = 0,    .at = offsetof(type, member.abits),                                                            \
         .arg = "0..8", .doc = "bits of an activation; 0: not quantized"},                                             \
        {"act-group", BL_OPT_INT,                                                                                      \
         .min = 0,    .max = 65536,                                                                                    \
         .def.i = 0,  .at = offsetof(type, member.act_group),                                                          \
         .arg = "N",  .doc = "activations that share a scale; 0: those of a token"},                                   \
    {                                                                                                                  \
        "symmetric", BL_OPT_BOOL, .at = offsetof(type, member.symmetric), .doc = "no zero point"                       \
    }

/* Activations of abits > 0: dynamic; symmetric as the weights are. */
static inline bl_actq bl_quant_act(const bl_quant *q)
{
    return (bl_actq){.bits = (int)q->abits,
                     .symmetric = q->symmetric,
                     .unit = q->act_group ? BL_ACT_GROUP : BL_ACT_TOKEN,
                     .group = q->act_group};
}

typedef enum bl_need {
    BL_NEED_NOTHING = 0,
    BL_NEED_HESSIAN = 1,   /* of the inputs of a linear over calibration text */
    BL_NEED_CHANNELS = 2,  /* per-channel maxima and means of them */
    BL_NEED_INPUTS = 4,    /* rows of them */
    BL_NEED_GRADIENTS = 8, /* windows of calibration text, in `learns`, to compute gradients on */
    BL_NEED_TRAINING = 16,
    BL_NEED_MISMATCH = 32, /* how they differ from those of the model as it was */
    BL_NEED_ORIGINAL = 64, /* windows of the block's input, and what the model as it was makes of its own */
    BL_NEED_CALIBRATION = BL_NEED_HESSIAN | BL_NEED_CHANNELS | BL_NEED_INPUTS | BL_NEED_GRADIENTS | BL_NEED_MISMATCH |
                          BL_NEED_ORIGINAL /* any of these */
} bl_need;

typedef struct bl_trainable bl_trainable;     /* harness/train/effective.h */
typedef struct bl_calibration bl_calibration; /* harness/quant/calibrate.h; NULL for methods that look at no data */
struct bl_calib_windows;                      /* the same */
typedef struct bl_method_run {
    const struct bl_method *method;
    const void *opts; /* filled from method->opts */
    bl_model *model;  /* names and shapes of everything; weights of a block only inside `block` and `layer`. A hook may
                         change any field of it through its setters: all of it is written */
    const bl_ops *ops;
    bl_backend *be;
    bl_calibration *calib;
    const struct bl_calib_windows *windows; /* BL_NEED_GRADIENTS: of the calibration text; in `work`: how many and how
                                               long, where that is known; else NULL */
    bl_arena *scratch;
    uint64_t seed;
} bl_method_run;

typedef struct bl_method {
    const char *name;
    int version; /* raised whenever its numbers could change */
    const char *title, *cite, *doc;
    const char *deviates;                 /* how it differs from its paper, a line each; NULL: it does not */
    uint32_t wbits;                       /* bit b: works at b bits; bit 0: without a width too; 0: has no width */
    unsigned needs;                       /* bl_need */
    unsigned (*spares)(const void *opts); /* of `needs`, what these options do without; NULL: nothing */
    const size_t *ops; /* of bl_check_ops: those it runs that a backend may lack, said before anything is computed */
    const bl_opt *opts;
    size_t opts_size;
    const char
        *word; /* the option that what follows ':' is the value of, where it is no width: gguf:q4_k; NULL: none */
    void (*settle)(
        void *opts); /* puts options that do not apply beside the others back to their defaults; may be NULL */
    bool as_stored;  /* base: the checkpoint itself is evaluated, nothing is written */
    bl_status (*check)(const bl_method_run *r, bl_err *e);
    bl_status (*model)(const bl_method_run *r, bl_err *e);
    bl_status (*block)(const bl_method_run *r, int64_t block, bl_err *e);
    /* How many neighbouring blocks are in memory together; NULL: one. Then `block` is called of each in turn, with
     * inputs that the ones before leave by now, and `blocks` of all of them, with the inputs of the first as `block`
     * had them (bl_calib_window, and what the model as it was makes of its own after the last), before `layer`. */
    int64_t (*together)(const bl_method_run *r);
    bl_status (*blocks)(const bl_method_run *r, int64_t first, int64_t n, bl_err *e);
    bl_status (*layer)(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e);
    /* What of a whole model in memory is trained, on text that `finetune` is given; a method that has it is refused
     * where there is none to train on. */
    bl_status (*learns)(const bl_method_run *r, bl_trainable *t, bl_err *e);
    bool packs_first; /* learns() reaches blocks one after another (bl_trainable_reach) and packs each, so that the
                         whole model is never there as it was stored */
    /* The inputs of later linears of a block are gathered after the earlier ones were changed (q, k, v; o; gate, up;
     * down), not all at once; NULL: no. */
    bool (*sequential)(const bl_method_run *r);
    /* Calibration inputs come from blocks as they were, not as the method left them; they are gathered once, before
     * `block`, which says by bl_calib_divide what it did to them. */
    bool original_inputs;
    bool unties_head; /* a tied head becomes a parameter of its own */
    bool for_ends;    /* what +head and +embeddings of a method that rounds and has no such options stand for */
    /* Format and geometry that a linear's weight will have, so that `plan` knows bytes without weights; false: unknown,
     * or as it was. `lin` is of an outline: it may be given the transforms it will have, without buffers. */
    bool (*predict)(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape);
    bool about; /* what `predict` says depends on the weights, and is right within a twentieth for all of them together
                 */
    /* Flops of `layer` on one linear, as of products among many rows, beside calibration and rounding; NULL: nothing to
     * speak of. For plans: what a method solves or searches belongs here. */
    double (*work)(const bl_method_run *r, const bl_linear *lin);
    /* head and embedding, when an option asks for them: `layer` is called with a bl_linear named "lm_head" /
     * "model.embed_tokens". */
    bool (*wants_head)(const bl_method_run *r);
    /* In words, once it was applied: what happened that neither its options nor the state (bl_model_notes) show, like
     * "damping raised to 0.1 in 2 of 210 layers". Nothing is added when there is nothing; may be NULL. */
    void (*notes)(const bl_method_run *r, const bl_layer_stat *layer, int64_t n, bl_text *out);
} bl_method;

/* What `predict` says of a linear of an outline becomes its format; *given: it says something. BL_E_CONFIG, naming the
 * linear, when that format cannot be of that shape. */
bl_status bl_method_predict(const bl_method_run *r, bl_linear *lin, bool *given, bl_err *e);
enum { BL_PACK_DENSE = 1 << 22 };
/* What most `layer` hooks end with: replaces the weight of `lin` by itself packed in that format and fills mse and nmse
 * of `stat`; of an end of the model in slices of at most BL_PACK_DENSE weights. mse: the range is shrunk to the least
 * error (bl_pack_args). */
bl_status bl_method_pack(const bl_method_run *r, bl_linear *lin, const bl_format *format, const bl_shape *shape,
                         bl_range_rule fit, bool mse, bl_layer_stat *stat, bl_err *e);

/* ---- method text: name[:w4[a8][g64|pc]][+flag|+option=value…], name[:word][+…] ---- */
typedef struct bl_method_choice {
    const bl_method *method;
    void *opts;
    char *on; /* of a method that learns, +on=NAME: which of a study's sets it learns from; NULL: what "train" says */
    char *text;
    bool ends[2];   /* head, embeddings: asked for of a method without such options; a chain makes a stage of it */
} bl_method_choice; /* text: canonical, only what differs from the defaults, row order, `on` last */
bl_status bl_method_parse(const bl_method *const *methods, const char *text, bl_method_choice *out, bl_err *e);
/* It rounds blocks and has no options for head and embeddings: +head and +embeddings are a stage after it. */
bool bl_method_leaves_ends(const bl_method *m);
bool bl_is_set_name(const char *s); /* of what follows +on= */
/* From a spec's JSON object of options {"wbits": 4, …}: one value each; NULL: all defaults. */
bl_status bl_method_from_json(const bl_method *m, const bl_json *options, bl_method_choice *out, bl_err *e);
bl_status bl_method_text(const bl_method *m, const void *opts, bl_text *out, bl_err *e);
/* Checks the options beside each other, puts those that do not apply back to their defaults, makes the text again. */
bl_status bl_method_renew(bl_method_choice *c, bl_err *e);
/* All options as a JSON object, for records and hashes. */
bl_status bl_method_json(const bl_method *m, const void *opts, bl_text *out, bl_err *e);
void bl_method_choice_free(bl_method_choice *c);

/* ---- chains: stages joined by '+', each applied to the model that the one before left ----
 * "quarot+gptq:w4g64": what follows a '+' begins a stage when it is the name of a method, else it is an option of the
 * stage it stands in. `base` is no stage of a longer chain. gptq:w4+head is gptq:w4+ends:w4+embeddings=false. */
typedef struct bl_method_chain {
    int n;
    bl_method_choice *stage;
    char *text; /* canonical: the stages' texts joined by '+' */
} bl_method_chain;
enum { BL_MAX_STAGES = 8 };
/* As earlier versions wrote it, and called its results: without a group of weights that is the default's. */
bl_status bl_chain_short_text(const bl_method_chain *c, bl_text *out, bl_err *e);
bl_status bl_chain_parse(const bl_method *const *methods, const char *text, bl_method_chain *out, bl_err *e);
/* From a spec: a text, {"gptq": {"wbits": 4}}, or {"chain": ["quarot", {"gptq": {…}}]}; one value an option. */
bl_status bl_chain_from_json(const bl_method *const *methods, const bl_json *v, bl_method_chain *out, bl_err *e);
/* Sets an option in every stage that has it; *used says whether one had. Options are looked at beside each other, and
 * the texts made again, by bl_chain_renew only, so that several can be set in any order. `value` is lent. */
bl_status bl_chain_set(bl_method_chain *c, const char *name, const char *value, bool *used, bl_err *e);
bl_status bl_chain_renew(bl_method_chain *c, bl_err *e);
/* All options, for records: the object of a single stage; of more stages a list [{"quarot": {…}}, {"gptq": {…}}]. */
bl_status bl_chain_json(const bl_method_chain *c, bl_text *out, bl_err *e);
bool bl_chain_as_stored(const bl_method_chain *c);   /* `base` */
unsigned bl_choice_needs(const bl_method_choice *c); /* bl_need, as its options are */
unsigned bl_chain_needs(const bl_method_chain *c);   /* of all stages */
const char *bl_chain_on(const bl_method_chain *c);   /* `on` of its stages, which is one; NULL: none */
/* Bits and group of the last stage that quantizes, for records; without one -1, -1, "". Group in words: "64", "pc". */
void bl_chain_width(const bl_method_chain *c, int64_t *wbits, int64_t *group, char group_text[32]);
void bl_chain_free(bl_method_chain *c);
#endif
