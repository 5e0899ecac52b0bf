/* maker.h - what makes vectors of texts, for the verbs that compare texts: a model (the mean of its final states,
 * bl_engine_embed) or a text encoder. */
#ifndef BL_HARNESS_CLI_MAKER_H
#define BL_HARNESS_CLI_MAKER_H
#include "session.h"
#include "harness/encoder/encoder.h"

typedef struct bl_cli_maker {
    const char *model, *encoder; /* one of them */
    bl_cli_model m;
} bl_cli_maker;
/* clang-format off */
#define BL_MAKER_ROWS(type, member) \
    {"model", BL_OPT_TEXT, .at = offsetof(type, member.model), .arg = "MODEL", .doc = "makes the vectors"}, \
    {"encoder", BL_OPT_TEXT, .at = offsetof(type, member.encoder), .arg = "DIR", \
     .doc = "makes the vectors instead of a model: a text encoder, e.g. all-MiniLM-L6-v2"}, \
    BL_MODEL_ROWS(type, member.m)
/* clang-format on */

typedef struct bl_maker {
    bl_session s; /* of a model */
    bl_backend *be;
    bl_encoder *x;
    int64_t dim;
    const char *by; /* name for people */
    bl_hash hash;   /* of all that could change a vector */
} bl_maker;
bl_status bl_maker_open(bl_maker *m, const char *verb, const bl_cli_maker *o, int64_t threads, bl_err *e);
void bl_maker_close(bl_maker *m);
/* f32 [n, dim], of unit length. */
bl_status bl_maker_vectors(bl_maker *m, const char *const *text, int64_t n, float *out, bl_err *e);
/* The text under `key` that vectors are made of; refused where it has none but blanks. */
bl_status bl_maker_text(const bl_json *j, const char *key, const char **text, bl_err *e);
#endif
