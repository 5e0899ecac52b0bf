/* encoder_impl.h - the parts of an encoder, between the file that reads it and the one that runs it. */
#ifndef BL_HARNESS_ENCODER_ENCODER_IMPL_H
#define BL_HARNESS_ENCODER_ENCODER_IMPL_H
#include "encoder.h"
#include "harness/tokenizer/tokenizer.h"

typedef struct enc_linear {
    bl_weight w;
    bl_tensor bias; /* f32 [out] */
} enc_linear;
typedef struct enc_norm {
    bl_tensor weight, bias; /* f32 [dim] */
} enc_norm;
typedef struct enc_layer {
    enc_linear q, k, v, o, up, down;
    enc_norm attention, output; /* after the sum of each half */
} enc_layer;

struct bl_encoder {
    bl_backend *be;
    bl_tokenizer *tokenizer;
    int64_t dim, heads, ffn, n_layers, vocab, positions, longest;
    double eps;
    bl_weight word, position, type;
    enc_norm norm; /* of the sum of the three */
    enc_layer *layer;
    bl_hash hash;
};
bl_status enc_read(bl_encoder *x, const char *dir, bl_err *e);
#endif
