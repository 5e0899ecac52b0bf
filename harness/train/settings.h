/* settings.h - what a run of training is told: one table of rows for `finetune`, for "train" of a study, and for what
 * is recorded of both.
 *
 *     bl_train_settings s;
 *     bl_opt_defaults(bl_train_rows, &s);
 *     BL_TRY(bl_opt_set(bl_train_rows, &s, "steps", "200", "train", e));
 *     BL_TRY(bl_train_settings_check(&s, e));
 */
#ifndef BL_HARNESS_TRAIN_SETTINGS_H
#define BL_HARNESS_TRAIN_SETTINGS_H
#include "kernels/base/hash.h"
#include "kernels/base/opt.h"
#include "optimizer.h"

typedef struct bl_train_settings {
    const char *data, *valid, *betas, *init_adapter; /* lent */
    int format, schedule, empty;                     /* bl_sample_format, bl_schedule_kind, bl_empty_answer */
    int64_t seqlen, batch, accumulate, steps, warmup, cycles, save_every, valid_every;
    double lr, least, eps, decay, clip;
    int adapter_type, gradient_type; /* 1: bf16 */
    bool pack, eight_bits, keep_activations;
} bl_train_settings;
extern const char *const bl_sample_formats[], *const bl_empty_answers[]; /* samples.h */
extern const char *const bl_narrow_types[];
/* clang-format off */
#define BL_TRAIN_ROWS(type, member) \
    {"data", BL_OPT_TEXT, .at = offsetof(type, member.data), .arg = "FILE", .doc = "what is trained on"}, \
    {"data-format", BL_OPT_CHOICE, .choices = bl_sample_formats, .at = offsetof(type, member.format), \
     .doc = "ids: JSON lines {\"ids\": [...], \"mask\": [...]}, taken in order; plain text; JSON of instructions " \
            "(alpaca), conversations (chat), questions with reasoning (cot), of which answers count"}, \
    {"empty-answers", BL_OPT_CHOICE, .choices = bl_empty_answers, .at = offsetof(type, member.empty), \
     .doc = "an example whose answer is empty: the file is refused, by its line; skip: the example is left out; " \
            "keep: the end is learned"}, \
    {"seqlen", BL_OPT_INT, .min = 0, .max = 1 << 24, .at = offsetof(type, member.seqlen), .arg = "N", \
     .doc = "tokens of an example that are taken, of a piece of text; 0: all of ids, 512 of others"}, \
    {"pack", BL_OPT_BOOL, .at = offsetof(type, member.pack), \
     .doc = "as many examples a sequence as seqlen holds; none sees another"}, \
    {"valid", BL_OPT_TEXT, .at = offsetof(type, member.valid), .arg = "FILE", \
     .doc = "text of the same format whose loss is told after the last step"}, \
    {"valid-every", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(type, member.valid_every), .arg = "N", \
     .doc = "and after every N steps; 0: not"}, \
    {"batch", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 1, .at = offsetof(type, member.batch), .arg = "N", \
     .doc = "sequences of a step"}, \
    {"accumulate", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 1, .at = offsetof(type, member.accumulate), \
     .arg = "N", .doc = "passes that the sequences of a step are spread over; less memory, the same step"}, \
    {"keep-activations", BL_OPT_BOOL, .at = offsetof(type, member.keep_activations), \
     .doc = "of all blocks in a pass: no block is computed again; more memory, the same numbers"}, \
    {"steps", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 100, .at = offsetof(type, member.steps), .arg = "N", \
     .doc = "of the optimizer"}, \
    {"lr", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 2e-4, .at = offsetof(type, member.lr), .arg = "X", \
     .doc = "learning rate"}, \
    {"betas", BL_OPT_TEXT, .def.s = "0.9:0.999", .at = offsetof(type, member.betas), .arg = "X:X", \
     .doc = "of AdamW"}, \
    {"eps", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 1e-8, .at = offsetof(type, member.eps), .arg = "X", \
     .doc = "of AdamW"}, \
    {"decay", BL_OPT_REAL, .min = 0, .max = 1e6, .at = offsetof(type, member.decay), .arg = "X", \
     .doc = "weight decay"}, \
    {"clip", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 1, .at = offsetof(type, member.clip), .arg = "X", \
     .doc = "most that the norm of all gradients may be; 0: anything"}, \
    {"eight-bits", BL_OPT_BOOL, .at = offsetof(type, member.eight_bits), .doc = "moments of AdamW in 8 bits"}, \
    {"adapter-type", BL_OPT_CHOICE, .choices = bl_narrow_types, .at = offsetof(type, member.adapter_type), \
     .doc = "of adapters in memory and in the files of peft; bf16: rounded to nearest after each step, which AdamW " \
            "makes in fp32"}, \
    {"gradient-type", BL_OPT_CHOICE, .choices = bl_narrow_types, .at = offsetof(type, member.gradient_type), \
     .doc = "of the gradients of adapters; bf16: rounded to nearest after each pass of a step"}, \
    {"schedule", BL_OPT_CHOICE, .choices = bl_schedule_names, .def.choice = BL_SCHEDULE_CONSTANT, \
     .at = offsetof(type, member.schedule), \
     .doc = "of the learning rate, as transformers has it; ramp: min(1, step / warm-up)"}, \
    {"warmup", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(type, member.warmup), .arg = "N", \
     .doc = "steps of warm-up"}, \
    {"cycles", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 1, .at = offsetof(type, member.cycles), .arg = "N", \
     .doc = "of cosine_with_restarts"}, \
    {"least", BL_OPT_REAL, .min = 0, .max = 1, .at = offsetof(type, member.least), .arg = "X", \
     .doc = "of cosine_with_min_lr, as a share of the learning rate"}, \
    {"init-adapter", BL_OPT_TEXT, .at = offsetof(type, member.init_adapter), .arg = "DIR", \
     .doc = "adapters to begin with, a directory of peft"}, \
    {"save-every", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(type, member.save_every), .arg = "N", \
     .doc = "steps between two writings of the state; 0: only when interrupted"}
/* clang-format on */
extern const bl_opt bl_train_rows[]; /* of a bl_train_settings */

/* BL_E_CONFIG: no data, betas that are no two numbers. */
bl_status bl_train_settings_check(const bl_train_settings *s, bl_err *e);
void bl_train_settings_adamw(const bl_train_settings *s, bl_adamw *out); /* after the check */
bl_schedule bl_train_settings_schedule(const bl_train_settings *s);
/* Tokens of all steps, when each sequence is as long as it may be; of ids without a length one of 512 is meant. */
int64_t bl_train_settings_tokens(const bl_train_settings *s);
/* The settings that are not their defaults, as one JSON object that bl_opt_set_json takes, key by key. */
bl_status bl_train_settings_put(const bl_train_settings *s, bl_text *out, bl_err *e);
/* And those of bl_train_rows whose bit is in `said`, whatever they are. */
bl_status bl_train_settings_put_said(const bl_train_settings *s, uint64_t said, bl_text *out, bl_err *e);
/* Of all that could change what comes of it: settings, and the bytes of the files that they name. BL_E_MISSING. */
bl_status bl_train_settings_hash(const bl_train_settings *s, bl_hash *out, bl_err *e);
#endif
