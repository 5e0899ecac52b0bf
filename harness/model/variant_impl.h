/* variant_impl.h - the writer of a saved model, as its files share it: variant.c writes, variant_resume.c goes on after
 * what an interrupted writer left. */
#ifndef BL_HARNESS_MODEL_VARIANT_IMPL_H
#define BL_HARNESS_MODEL_VARIANT_IMPL_H
#include "kernels/base/hash.h"
#include "kernels/base/json.h"
#include "variant.h"

/* A tensor to be written: contiguous, on a backend. */
typedef struct piece {
    char name[192];
    bl_tensor t;
    const bl_format *as; /* an f32 vector that is stored in this dense format; NULL: as it is */
} piece;

struct bl_variant {
    bl_checkpoint *source;
    char *dir, *temp;
    bl_arena *arena; /* of the stages */
    bl_stage *stage; /* the source's, then those that follow */
    int n_stages;
    bl_config config; /* of the model; has a bias where any of its blocks has */
    int64_t next;     /* block that is written next; n_layers: the ends; n_layers + 1: all is written */
    piece *piece;     /* of the file at hand */
    size_t n, cap;
    int64_t left;                /* blocks that an interrupted writer left */
    const char **more;           /* [left] */
    size_t params, tensors;      /* bytes of `blocks` and `sums` before the block at hand */
    bl_text embed, blocks, rest; /* entries of bitladder.json */
    bl_text sums;                /* of its list of tensors: name and hash */
    bl_hasher *hash;             /* of the tensor at hand */
    uint64_t bytes;              /* of tensors so far */
    uint8_t *buf;
    size_t buf_bytes;
};

/* v->temp becomes what a process that is gone left of the same state, if any did; *taken: so it is. What others left
 * goes. */
bl_status bl_variant_adopt(bl_variant *v, bool *taken, bl_err *e);
/* What it had written of whole blocks, from the first on. */
bl_status bl_variant_recall(bl_variant *v, bl_err *e);
/* Removes the files that only going on needs. */
void bl_variant_forget(const bl_variant *v);
bl_status bl_variant_list(bl_variant *v, bl_err *e); /* writes bitladder.json */
#endif
