/* spec.h - what a study is: models x methods x tasks x seeds, from a JSON file or from the command line.
 *
 *     { "models":  ["smollm2.gguf"],
 *       "methods": ["base", "rtn:w4g64", {"rtn": {"wbits": [3, 2], "group": 64}},       // lists multiply
 *                   "quarot+gptq:w4", {"chain": ["quarot", {"gptq": {"wbits": [4, 3]}}]}],    // one after another
 *       "tasks":   ["wikitext2:gptq2048", "piqa"],
 *       "calib":   {"data": "wikitext2:train", "n": 128, "seqlen": 2048, "seed": 0},
 *       "train":   {"data": "alpaca.json", "data_format": "alpaca", "batch": 16, "steps": 200, "lr": 2e-4},
 *       "seeds":   [0], "limit": {"piqa": 200}, "sample": 0, "out": "runs/a", "data": ["DIR"] }
 *
 * "train" is what methods that learn learn from, and how: the options of `finetune`. "lora+rank=8" is a row with its
 * adapters beside the weights, "lora+rank=8+merge" the same training with them in the weights. Where rows learn from
 * different texts, each is a set that takes over what "train" says beside it: {"steps": 200, "sets": {"answers":
 * {"data": "a.jsonl"}, "stories": {"data": "s.txt", "data_format": "text"}}}, and "lora+on=answers" learns on one.
 *
 * "limit" is how many items of each task are used, from the first on, "sample" how many are drawn at random by the seed
 * of the cell; a number for all tasks, or one for each that is named. The same in the name of a task: piqa@200 and
 * piqa@~200. 0: all.
 *
 * `//` comments and trailing commas are accepted. Unknown keys are refused with the nearest name.
 */
#ifndef BL_HARNESS_STUDY_SPEC_H
#define BL_HARNESS_STUDY_SPEC_H
#include "harness/program.h"
#include "harness/quant/calibrate.h"
#include "harness/train/settings.h"

typedef struct bl_task_choice {
    const bl_task *task;
    const char *name;
    void *opts;
    const char *options;   /* JSON of all, "{}" */
    int64_t limit, sample; /* the first so many items; so many at random; 0: all; never both */
} bl_task_choice;
typedef struct bl_train_set {
    const char *name;
    bl_train_settings settings; /* whole: with what "train" says */
    uint64_t said;              /* bit i: row i of bl_train_rows is its own */
} bl_train_set;
typedef struct bl_spec {
    const char **model;
    size_t n_models;
    bl_method_chain *method;
    size_t n_methods;
    bool base_after; /* method[n_methods] is `base`: not asked for, but cells are compared with it where its own are */
    bl_task_choice *task;
    size_t n_tasks;
    uint64_t *seed;
    size_t n_seeds;
    bl_train_settings train; /* enters the identity of methods that learn only */
    bool trains;             /* it is said */
    bl_train_set *set;
    size_t n_sets;
    bl_calib_choice calib;            /* enters the identity of methods that need calibration only */
    int64_t limit, sample;            /* of tasks that do not say themselves; 0: all */
    int64_t threads;                  /* 0: all cores */
    int64_t batch_tokens, batch_size; /* 0: chosen; numbers do not depend on them */
    int64_t mem_limit;                /* MiB of buffers on the device; 0: all there is */
    bl_kv_format kv;                  /* of the cache of keys and values */
    bool stream, no_bos, kernel_ref, deterministic, no_kl, allow_nonfinite;
    const char *tokenizer; /* --tokenizer */
    const char *out;       /* NULL: not said */
    const char *device;
    bl_data_dirs data;
    bl_arena *arena; /* owns everything */
} bl_spec;

/* The command line, which wins over the file. A list is separated by commas; in `model` and `data` a comma may also be
 * part of a path that exists. */
typedef struct bl_spec_from {
    const char *file; /* NULL: none; "-": standard input */
    const char *model, *method, *task, *seed, *out, *data, *set, *device, *tokenizer; /* `set`: k=v,k=v */
    const char *calib;                                                                /* "wikitext2:train" */
    int64_t calib_n, calib_seqlen, calib_seed;                                        /* < 0: not said */
    int64_t limit, sample, threads, batch_tokens, batch_size, mem_limit;              /* < 0: not said */
    bl_kv_format kv;                                                                  /* ACT: not said */
    bool stream, no_bos, kernel_ref, deterministic, no_kl, allow_nonfinite;
} bl_spec_from;
extern const bl_spec_from bl_spec_nothing; /* nothing is said */
bl_status bl_spec_read(const bl_program *p, const bl_spec_from *from, bl_spec *out, bl_err *e);
/* The same from a document in memory; from->file is its name in sentences. */
bl_status bl_spec_parse(const bl_program *p, const char *text, size_t n, const bl_spec_from *from, bl_spec *out,
                        bl_err *e);
bl_status bl_spec_from_json(const bl_program *p, const bl_json *doc, const bl_spec_from *from, bl_spec *out,
                            bl_err *e); /* doc may be NULL */
void bl_spec_free(bl_spec *s);
/* What a method learns from: 0, what "train" says itself, or 1 + its set; and the settings of it, NULL when the study
 * does not say. */
size_t bl_spec_set(const bl_spec *s, const bl_method_chain *m);
const bl_train_settings *bl_spec_training(const bl_spec *s, const bl_method_chain *m);
/* The effective spec, as JSON that bl_spec_read takes. */
bl_status bl_spec_print(const bl_spec *s, bl_text *out, bl_err *e);
/* A commented spec to start from. */
const char *bl_spec_example(void);
#endif
