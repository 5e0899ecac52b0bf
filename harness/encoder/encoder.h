/* encoder.h - a text encoder of the BERT kind: a text becomes a vector of unit length.
 *
 *     bl_encoder *x;
 *     BL_TRY(bl_encoder_open("all-MiniLM-L6-v2", be, &x, e));
 *     BL_TRY(bl_encoder_embed(x, texts, n, vectors, e));                 // f32 [n, bl_encoder_dim(x)]
 *     bl_encoder_close(x);
 *
 * Read: a directory with config.json (model_type bert), model.safetensors, tokenizer.json or vocab.txt, and what
 * sentence-transformers puts beside them: sentence_bert_config.json (the longest text) and 1_Pooling/config.json (the
 * mean is the only pooling that is made). Weights are F32, F16 or BF16.
 *
 * A text is [CLS] tokens [SEP], cut at the end where it is too long. x = LN(word + position + type); in each layer
 * x = LN(x + attention), x = LN(x + W2 gelu(W1 x)), all with biases (Devlin et al. 2019); the vector is the mean of x
 * over the tokens, [CLS] and [SEP] among them, over its length (Reimers and Gurevych 2019). A vector's bits do not
 * depend on the other texts of the call, on a GPU where that is deterministic.
 */
#ifndef BL_HARNESS_ENCODER_ENCODER_H
#define BL_HARNESS_ENCODER_ENCODER_H
#include "kernels/base/hash.h"
#include "kernels/ops.h"

typedef struct bl_encoder bl_encoder;
/* The backend outlives it. */
bl_status bl_encoder_open(const char *dir, bl_backend *be, bl_encoder **out, bl_err *e);
void bl_encoder_close(bl_encoder *x); /* NULL is fine */
int64_t bl_encoder_dim(const bl_encoder *x);
bl_hash bl_encoder_hash(const bl_encoder *x); /* its fingerprint */
/* Floating-point operations of its products for one token; from config.json alone. */
bl_status bl_encoder_work(const char *dir, double *out, bl_err *e);
/* Of the bytes of all files that could change a vector. */
bl_status bl_encoder_fingerprint(const char *dir, bl_hash *out, bl_err *e);
bl_status bl_encoder_embed(bl_encoder *x, const char *const *text, int64_t n, float *out, bl_err *e);
#endif
