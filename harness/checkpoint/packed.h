/* packed.h - how other programs store quantized linears in a Hugging Face directory, value = (code - zero) * scale.
 *
 *     gptq, gptq_v2       (GPTQModel, AutoGPTQ)  2, 3, 4, 8 bits
 *         qweight I32 [in b / 32, out]      code i of a column in bits [i b, i b + b) of its words, low bits first
 *         qzeros  I32 [groups, out b / 32]  the same along a row; gptq stores zero - 1, of 2, 4 and 8 bits the word
 *                                           less 1 in each field as one subtraction modulo 2^32
 *         scales  F16 [groups, out]
 *         g_idx   I32 [in]                  the group of each input
 *     awq                 (AutoAWQ, gemm)        4 bits
 *         qweight I32 [in, out / 8]         field k of a word is output 0 2 4 6 1 3 5 7 [k] of its eight
 *         qzeros  I32 [groups, out / 8]     the same, zero as it is
 *         scales  [groups, out]
 *     compressed-tensors  (pack-quantized)       1 to 8 bits
 *         weight_packed     I32 [out, in b / 32]
 *         weight_zero_point I32 [out b / 32, groups]  along the outputs; not when symmetric
 *         weight_scale      [out, groups]
 *         weight_shape      I64 [2]
 *         weight_g_idx      I32 [in]        the group of each input, with "actorder": "group": read, not
 *                                           written, as versions since 0.19 refuse it
 *
 * Widths and heights are rounded up to whole words where the number of bits is none. Other widths of gptq have another
 * order of bits in GPTQModel 7 and are refused. config.json says which it is; a parameter without packed tensors is
 * dense.
 */
#ifndef BL_HARNESS_CHECKPOINT_PACKED_H
#define BL_HARNESS_CHECKPOINT_PACKED_H
#include "arch.h"
#include "checkpoint.h"
#include "safetensors.h"

typedef enum bl_packing_kind {
    BL_PACKED_NOT,
    BL_PACKED_GPTQ,
    BL_PACKED_GPTQ_V2,
    BL_PACKED_AWQ,
    BL_PACKED_CT
} bl_packing_kind;
extern const char *const bl_packing_names[]; /* by kind; NULL-terminated */

typedef struct bl_packing {
    bl_packing_kind kind;
    int bits;
    int64_t group;  /* inputs that share a scale; -1: the whole row */
    bool symmetric; /* every zero is 2^(bits - 1) */
    bool ordered;   /* inputs are given to groups by g_idx; of what is written */
} bl_packing;

/* What 'quantization_config' of config.json says; kind NOT without one. Unknown keys are refused by name, and what
 * would change the weights in a way that is not read. */
bl_status bl_packing_read(const char *config, bl_packing *out, bl_err *e);
/* "gptq w4g128", "awq w4g64", "compressed-tensors w8pc". */
void bl_packing_text(const bl_packing *p, char out[64]);

/* A tensor of a directory; t NULL: there is none of that name. */
typedef struct bl_found {
    bl_st_tensor *t;
    const uint8_t *data;
    const char *file;
} bl_found;
typedef bl_found bl_find_tensor(void *ctx, const char *name);

/* Codes, scales and zeros in the order of our own formats, without a change to any: they are written to a file that has
 * no name any more once it is mapped, so that everything reads them as it reads a file's bytes, and pages that are not
 * used go. */
typedef struct bl_unpacker bl_unpacker;
bl_status bl_unpacker_new(bl_checkpoint *c, const bl_packing *p, bl_find_tensor *find, void *ctx, bl_unpacker **out,
                          bl_err *e);
/* A linear that is stored packed is put into the list of weights; *is says whether it is. Inputs that g_idx gives to
 * groups in another order are brought together by a permutation of the input. */
bl_status bl_unpacker_put(bl_unpacker *u, const bl_param *s, bool *is, bl_err *e);
bl_status bl_unpacker_end(bl_unpacker *u, bl_err *e); /* after the last: the map */
void bl_unpacker_free(bl_unpacker *u);                /* NULL is fine */
#endif
