/* identity.h - the hash of everything that could change a number: of a variant (the model after each stage of its
 * method) and of a cell. Batch, threads and streaming cannot change one and are not in it.
 *
 * Every ingredient has a hash of its own, so that a cell that is not what was planned can say in what:
 *
 *     bl_identity id = {0};
 *     BL_TRY(bl_identity_model(ckpt, fingerprint, "cpu-f32", &id, e));
 *     BL_TRY(bl_identity_variant(method, calib, calib_bytes, (bl_hash){0}, seed, stage, &id, e)); // stage[method->n]
 *     BL_TRY(bl_identity_task(task, data_bytes, &id, e));
 *     BL_TRY(bl_identity_cell(stage[method->n - 1], scoring, &id, &hash, e));
 */
#ifndef BL_HARNESS_STUDY_IDENTITY_H
#define BL_HARNESS_STUDY_IDENTITY_H
#include "spec.h"

typedef enum bl_ingredient {
    BL_OF_WEIGHTS,     /* tensors and configuration of the source */
    BL_OF_TOKENIZER,   /* the bytes of its files */
    BL_OF_NUMERICS,    /* the class of the device's arithmetic: "cpu-f32" */
    BL_OF_METHOD,      /* name, version and options of every stage; seed */
    BL_OF_CALIBRATION, /* of methods that look at text: which, how many windows, its bytes */
    BL_OF_TRAINING,    /* of methods that learn: settings, the bytes of what they learn from */
    BL_OF_TASK,        /* name, version, options */
    BL_OF_DATA,        /* the bytes of its data */
    BL_OF_SCORING,     /* seed, items, BOS, keys and values */
    BL_INGREDIENTS
} bl_ingredient;
typedef struct bl_identity {
    bl_hash of[BL_INGREDIENTS];
} bl_identity;

typedef struct bl_scoring {
    uint64_t seed;
    int64_t limit, sample;
    bool no_bos, base; /* base: the cell that others are compared with */
    bl_kv_format kv;
} bl_scoring;

bl_status bl_identity_model(const bl_checkpoint *c, bl_hash fingerprint, const char *numerics, bl_identity *id,
                            bl_err *e);
/* stage [m->n]: the model after each stage, so that chains share what they begin with; the last is the variant.
 * `training`: bl_train_settings_hash, of no use where no stage learns. */
bl_status bl_identity_variant(const bl_method_chain *m, const bl_calib_choice *calib, bl_hash calib_bytes,
                              bl_hash training, uint64_t seed, bl_hash *stage, bl_identity *id, bl_err *e);
bl_status bl_identity_task(const bl_task_choice *t, bl_hash data, bl_identity *id, bl_err *e);
bl_status bl_identity_cell(bl_hash variant, const bl_scoring *s, bl_identity *id, bl_hash *out, bl_err *e);
/* Of the files that a tokenizer is made from, without opening it. */
bl_status bl_identity_tokenizer(const bl_checkpoint *c, bl_hash *out, bl_err *e);

/* The first ingredient that differs is a sentence with both hashes; subject[i] is whose it is ("piqa/valid.jsonl").
 * BL_E_FORMAT when a file changed, BL_E_INTERNAL when the same words came out as something else. */
bl_status bl_identity_same(const bl_identity *planned, const bl_identity *found,
                           const char *const subject[BL_INGREDIENTS], bl_err *e);
#endif
