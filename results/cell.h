/* cell.h - what a finished cell says about itself, written by the study and read by tables and plots; the only list of
 * what is in a shard.
 *
 * bl_cell_write turns this into a shard (layout: results/schema.md); bl_cell_read is its inverse. A cell that failed or
 * is not available leaves `<same name>.failed.json` instead.
 */
#ifndef BL_CELL_H
#define BL_CELL_H
#include "layer.h"
#include "metric.h"
#include "record.h"

typedef struct bl_cell_metric {
    const char *name, *unit;
    int direction;
    double value, stderr_;
    bool has_stderr;
    int64_t n;
} bl_cell_metric;

typedef struct bl_cell {
    /* identity */
    const char *key; /* model/method/task/seed */
    bl_hash hash;
    const char *model, *model_path, *stored_as, *model_fingerprint;
    const char *method, *method_name, *method_options; /* text, name, JSON of all options */
    int64_t method_version, wbits,
        group; /* wbits, group: -1 where the method has none; group -1 as option means per channel: see group_text */
    const char *group_text; /* "64", "pc", "" */
    const char *simulated;  /* NULL, or what is simulated ("activations") */
    const char *notes;      /* "ragged last group; lm_head and embeddings as stored" */
    const char *task, *task_options;
    int64_t task_version, seed, limit;            /* limit 0: all */
    const char *data_hash, *tokenizer_hash, *bos; /* bos: the policy in words */
    /* memory and size */
    double bits_per_weight;                   /* of the block linears */
    int64_t packed_bytes;                     /* whole tensor data, head, embeddings and norms included */
    int64_t peak_bytes, kv_bytes, bytes_read; /* measured; peak_bytes: anonymous memory and mapped pages */
    double seconds, quantize_seconds;         /* of this cell; of making the variant */
    double tokens_per_second;
    int64_t scored_tokens;
    int64_t truncated, boundary, ties, hit_limit, no_answer; /* items */
    int64_t product_rows[4];                                 /* product calls with 1, 2-8, 9-64, more rows */
    /* results */
    const bl_cell_metric *metric;
    int n_metrics; /* the task's, then those against the base (kl_mean, kl_p50 …, top1_agreement, flips) */
    const bl_sample *sample;
    int64_t n_samples;
    const bl_layer_stat *layer;
    int64_t n_layers;
    const double *kl;
    int64_t n_kl;          /* per scored token; NULL: none */
    const char *kl_absent; /* why there is none */
    /* environment */
    const char *device, *simd, *libraries, *commit, *created, *host;
    int64_t threads, batch_tokens;
} bl_cell;

bl_status bl_cell_write(const char *dir, const bl_cell *c, bl_err *e);
bl_status bl_cell_read(const char *path, bool with_samples, bl_arena *a, bl_cell *out, bl_err *e);

/* "<key, / as __, odd bytes %-escaped>--<12 hex>" without ending; bl_free. */
char *bl_cell_file(const char *key, bl_hash hash, bl_err *e);

typedef struct bl_cell_failure {
    const char *key, *hash, *status, *reason, *time, *model, *stored_as, *method, *task;
    int64_t wbits, seed, limit, task_version;
    const char *group_text;
} bl_cell_failure; /* status "failed" or "n/a" */
bl_status bl_failure_write(const char *dir, const char *file, const bl_cell_failure *f,
                           bl_err *e); /* DIR/<file>.failed.json */
bl_status bl_failure_read(const char *path, bl_arena *a, bl_cell_failure *out, bl_err *e);
bl_status bl_failure_remove(const char *dir, const char *file, bl_err *e);
#endif
