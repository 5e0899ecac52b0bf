/* export.h - a checkpoint as a directory that other programs load: the packed layouts of packed.h, or dense.
 *
 *     bl_checkpoint *c;
 *     BL_TRY(bl_checkpoint_open("smollm2-w4", NULL, &c, e));
 *     BL_TRY(bl_export(c, &(bl_export_how){ .kind = BL_PACKED_GPTQ }, "smollm2-gptq", e));
 *
 * Codes, scales and zeros are written as they are; what a layout cannot express (other formats, widths, zeros between
 * codes, transforms, adapters that are not to be left out, quantized activations) is refused with parameter and reason,
 * before anything is written. The directory appears by rename. Reading it again gives the same parameters: the same
 * fingerprint, but for the type of a dense export.
 */
#ifndef BL_HARNESS_CHECKPOINT_EXPORT_H
#define BL_HARNESS_CHECKPOINT_EXPORT_H
#include "packed.h"

typedef struct bl_export_how {
    bl_packing_kind kind; /* NOT: dense */
    bl_dtype type;        /* dense: F32, F16 or BF16 */
    bool without;         /* dense: adapters are left out, and the scales of outputs that DoRA learned beside them */
} bl_export_how;
bl_status bl_export(bl_checkpoint *c, const bl_export_how *how, const char *dir, bl_err *e);

/* A tokenizer as llama.cpp takes it (bl_tokenizer_gguf). Arrays are lent. */
typedef struct bl_gguf_vocab {
    const char *model, *pre;   /* "gpt2" and how text is cut; "llama" and NULL */
    const char *chat_template; /* NULL: none */
    size_t n, n_merges;        /* pieces, as many as the embedding has rows */
    const char *const *piece;  /* [n] */
    const int32_t *type;       /* [n] as GGUF counts: 1 ordinary, 2 unknown, 3 control, 4 user, 5 unused, 6 byte */
    const float *score;        /* llama: [n]; else NULL */
    const char *const *merge;  /* gpt2: [n_merges] two pieces with a space between */
    int32_t bos, eos, unk;     /* -1: none */
    bool adds_bos;             /* in front of a text */
    bool space_prefix, remove_extra; /* llama: a space comes in front; spaces after spaces go */
} bl_gguf_vocab;
/* A GGUF file, weights in the types that they are stored in (export_gguf.c). vocab: the tokenizer; NULL: that of the
 * GGUF file that the checkpoint has one in, or none. */
bl_status bl_export_gguf(bl_checkpoint *c, const bl_gguf_vocab *vocab, const char *path, bl_err *e);

/* ---- its parts ---- */
/* Text of config.json. BL_E_UNSUPPORTED: what config.json has no key for. */
bl_status bl_export_config(const bl_checkpoint *c, const bl_packing *p, const char *dtype, bl_text *out, bl_err *e);
/* How all block linears are packed alike in that layout. BL_E_UNSUPPORTED names the first that is not. */
bl_status bl_export_packing(const bl_checkpoint *c, bl_packing_kind kind, bl_packing *out, bl_err *e);

/* What of its inputs or outputs is transformed, in words; NULL: nothing or, where that can be said (`order`), one
 * permutation of all inputs. */
const char *bl_export_transformed(const bl_stored *t, bool order);
/* That permutation: input that column i of the stored weight is of; NULL: i. The caller frees it. */
bl_status bl_export_order(bl_checkpoint *c, const bl_stored *t, int32_t **out, bl_err *e);

/* A tensor of a packed linear, in the order in which they are written. */
typedef struct bl_export_tensor {
    const char *part; /* "qweight", after the linear's name */
    const char *dtype;
    int ndim;
    int64_t dim[2];
    uint64_t bytes;
} bl_export_tensor;
enum { BL_EXPORT_TENSORS = 4 };
int bl_export_tensors(const bl_packing *p, const bl_stored *t, bl_export_tensor out[BL_EXPORT_TENSORS]);
/* Their bytes, one after another. The caller frees them. */
bl_status bl_export_bytes(bl_checkpoint *c, const bl_packing *p, const bl_stored *t, uint8_t **out, bl_err *e);
#endif
