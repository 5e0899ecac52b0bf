/* checkpoint.h - one model on disk, whatever its format, as named weights in HF names and HF row order.
 *
 * MODEL is a directory (Hugging Face, or one written by `quantize`), a .gguf or llama2.c .bin file, `default` (the one
 * that comes with the program), `org/name` in the local Hugging Face cache (never the network), or `synth:SHAPE[:TYPE]`
 * (weights of that shape from a counter, TYPE bf16 by default).
 *
 *     bl_checkpoint *c;
 *     BL_TRY(bl_checkpoint_open("SmolLM2-135M-Instruct.Q4_1.gguf", NULL, &c, e));     // checked, nothing decoded
 *     const bl_stored *t = bl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
 *     bl_weight w;
 *     BL_TRY(bl_checkpoint_load(c, t, be, &w, e));            // the stored bytes, rows in HF order, on the backend
 *     bl_checkpoint_close(c);
 *
 * Which parameters there are and what each is called: arch.h. Rotary order: rows of rotary parameters that are stored
 * in adjacent pairs (llama2.c, and GGUF where the architecture's row says so) are permuted to half-split while loading,
 * so everything above knows one order.
 */
#ifndef BL_HARNESS_CHECKPOINT_CHECKPOINT_H
#define BL_HARNESS_CHECKPOINT_CHECKPOINT_H
#include "config.h"
#include "kernels/base/hash.h"
#include "kernels/ops.h"

typedef struct bl_checkpoint bl_checkpoint;

typedef struct bl_extent {
    int file;
    uint64_t offset, bytes;
} bl_extent; /* file -1: made up (synth) */
/* What a saved model has beside the weight of a linear. */
typedef struct bl_stored_transform {
    bl_transform t;   /* data: type and shape, no buffer; ndim 0: none */
    bl_extent extent; /* of the data */
} bl_stored_transform;
typedef struct bl_stored bl_stored;
typedef struct bl_stored_adapter {
    int64_t rank;
    float scale;
    bl_extent a, b;          /* f32 [rank, in], [out, rank] */
    const bl_stored *packed; /* [2], or those as matrices in a format, their numbers in row order; NULL: as f32 */
} bl_stored_adapter;
struct bl_stored {
    const char *name;
    bl_role role;
    int64_t block;           /* -1: none */
    const bl_format *format; /* fp32, bf16, q4_1, int4, … */
    bl_shape shape;          /* a vector (norm) has out = 1 */
    bool vector;
    int n_parts;
    bl_extent part[BL_MAX_PARTS];         /* in the order of format->parts */
    int64_t rotary_heads;                 /* > 0: rows are in adjacent-pair order within each of so many heads */
    bl_actq act;                          /* of a saved model: how the input of this linear is quantized; bits 0: not */
    const bl_stored_transform *transform; /* of its input, in order; the last width is shape.in */
    int n_transforms, n_after;            /* of the input, of the output */
    const bl_stored_adapter *adapter;
    int n_adapters;
};
/* A step on the way from the source to a saved model. */
typedef struct bl_stage {
    const char *text;             /* of the method: "rtn:w4g64" */
    const char *hash;             /* of everything that could change the state after it; NULL: not known */
    const char *options;          /* JSON */
    const char *note;             /* what happened while it was made, for who reads its numbers; NULL: nothing */
    const char *calibration;      /* text that it looked at: "primer:test 128x2048 seed 0"; NULL: none */
    const char *calibration_text; /* hash of that text's bytes */
} bl_stage;

typedef struct bl_checkpoint_opts {
    bool allow_nonfinite;  /* --allow-nonfinite */
    const char *tokenizer; /* --tokenizer FILE; NULL: the rule of bl_checkpoint_tokenizer */
} bl_checkpoint_opts;

bl_status bl_checkpoint_open(const char *model, const bl_checkpoint_opts *o, bl_checkpoint **out, bl_err *e);
void bl_checkpoint_close(bl_checkpoint *c); /* NULL is fine */

const bl_config *bl_checkpoint_config(const bl_checkpoint *c);
const char *bl_checkpoint_name(const bl_checkpoint *c); /* short, for keys: "smollm2-135m-instruct.q4_1", of the
                                                           directory or file, lower case, odd bytes kept */
const char *bl_checkpoint_path(const bl_checkpoint *c); /* resolved path, or the synth name */
const char *bl_checkpoint_stored_as(
    const bl_checkpoint *c); /* what most linears are: "Q4_1", "F32", "BF16", "int4 g64" */
/* A format as its container spells it, and what shares a scale: "BF16", "Q4_1", "int4 g64", "int4 pc". */
void bl_stored_text(const bl_format *f, const bl_shape *shape, char out[64]);
/* A saved model: the stages that made it, what they are joined by '+' ("quarot+rtn:w4g64"), and the name of the model
 * they began with; else none and NULL. Its parent is the state before the last stage. */
const bl_stage *bl_checkpoint_stages(const bl_checkpoint *c, int *n);
/* Their notes, each after the text of its stage: "gptq:w4: damping raised in 2 of 210 layers"; "; " between them and
 * after what `out` holds. */
void bl_stage_notes(const bl_checkpoint *c, bl_text *out);
/* Whether a stage looked at that text; the last stage that looked at any, else NULL. */
bool bl_stage_saw(const bl_checkpoint *c, bl_hash text);
const bl_stage *bl_stage_calibrated(const bl_checkpoint *c);
const char *bl_checkpoint_method(const bl_checkpoint *c);
const char *bl_checkpoint_source(const bl_checkpoint *c);
const char *bl_checkpoint_began(const bl_checkpoint *c); /* that name, or its own where it was not saved by us */
/* What a reader of its numbers should know about the file, "; " between sentences; NULL: nothing. */
const char *bl_checkpoint_notes(const bl_checkpoint *c);
size_t bl_checkpoint_count(const bl_checkpoint *c);
const bl_stored *bl_checkpoint_at(const bl_checkpoint *c, size_t i);           /* embed, blocks in order, norm, head */
const bl_stored *bl_checkpoint_find(const bl_checkpoint *c, const char *name); /* NULL */
/* By role, in that block (-1 where the role has none); NULL: this model has none. */
const bl_stored *bl_checkpoint_param(const bl_checkpoint *c, bl_role role, int64_t block);
uint64_t bl_checkpoint_bytes(const bl_checkpoint *c); /* tensor bytes of all weights as stored */

/* XXH3-128 over sorted (name, format, shape, hash of bytes). Cached under $XDG_CACHE_HOME/bitladder by path, inode,
 * size and time: a cached one reads no weights. */
bl_status bl_checkpoint_fingerprint(bl_checkpoint *c, bl_hash *out, bl_err *e);
/* Decodes every weight once; the first value that is not finite is refused, naming tensor and index (F15). Also cached.
 */
bl_status bl_checkpoint_verify(bl_checkpoint *c, bl_err *e);
/* Every tensor of a saved model is what was written: their hashes are in bitladder.json. Loading asks this of each
 * tensor itself; BL_E_CORRUPT names the first that is not. Other checkpoints have nothing to ask. */
bl_status bl_checkpoint_check(bl_checkpoint *c, bl_err *e);
/* The files that were opened hold what they held then (F9), whatever they are called now: "checkpoint changed". Of one
 * that was written to, all weights are read again and compared with the fingerprint or verification from before. */
bl_status bl_checkpoint_unchanged(bl_checkpoint *c, bl_err *e);

/* The stored bytes on the backend, rows in HF order, mapped pages dropped afterwards. */
bl_status bl_checkpoint_load(bl_checkpoint *c, const bl_stored *t, bl_backend *be, bl_weight *out, bl_err *e);
/* Rows row0 .. row0+rows decoded to f32 on the host, HF order. */
bl_status bl_checkpoint_dense(bl_checkpoint *c, const bl_stored *t, int64_t row0, int64_t rows, float *dst, bl_err *e);
/* Bytes of the file as they are, into a contiguous tensor of as many. */
bl_status bl_checkpoint_load_extent(bl_checkpoint *c, const bl_extent *x, bl_backend *be, const bl_tensor *to,
                                    bl_err *e);
/* Names of synthetic shapes ("synth:" in front opens one), with architecture and sizes; NULL after the last. */
const char *bl_synth_at(size_t i, const char **arch, bl_config *out);
void bl_checkpoint_want(bl_checkpoint *c, const bl_stored *t); /* will be loaded soon (prefetch) */
uint64_t bl_checkpoint_bytes_read(const bl_checkpoint *c);     /* by load and dense since open */

/* ---- what the tokenizer reader needs (harness/text) ---- */
typedef enum bl_tok_kind {
    BL_TOK_NONE,
    BL_TOK_JSON,
    BL_TOK_SPM,
    BL_TOK_LLAMA2C,
    BL_TOK_GGUF,
    BL_TOK_VOCAB /* vocab.txt of a text encoder */
} bl_tok_kind;
/* Where this model's tokenizer is: --tokenizer, the file's own (GGUF), tokenizer.json / tokenizer.model in the
 * directory, else the only tokenizer.* or tok*.model / tok*.bin beside a .bin (.model first). BL_TOK_NONE: *why says
 * what was looked for. */
bl_tok_kind bl_checkpoint_tokenizer(const bl_checkpoint *c, const char **path, const char **why);
/* Its files, under the names that are looked for, into a directory; nothing when there is none. */
bl_status bl_checkpoint_copy_tokenizer(const bl_checkpoint *c, const char *dir, bl_err *e);
#endif
