/* cli.h - the command line: a table of verbs, one file each.
 *
 * A verb is option rows and a function; help, man page and completion are made from the rows.
 */
#ifndef BL_HARNESS_CLI_CLI_H
#define BL_HARNESS_CLI_CLI_H
#include "kernels/base/opt.h"
#include "harness/program.h"

int bl_cli_main(const bl_program *p, int argc, char **argv);

typedef struct bl_verb {
    const char *name, *args; /* "run", "[SPEC]" */
    const char *line;        /* one line for the list of verbs */
    const char *doc;         /* a paragraph for its own help */
    const char *example;     /* one real command */
    const bl_opt *opts;
    size_t opts_size;
    int min_args, max_args; /* positionals; -1: any number */
    bool hidden;
    bool computes; /* runs a model in this very process */
    bl_status (*run)(const bl_program *p, const void *opts, const bl_args *args, int *exit_code, bl_err *e);
} bl_verb;
extern const bl_verb *const bl_verbs[]; /* NULL-terminated, verbs.c */

/* Rows that several verbs share; the member structs hold their values. */
typedef struct bl_cli_common {
    bool json, quiet, verbose;
    int log;
    int64_t threads;
} bl_cli_common;
extern const char *const bl_cli_log_levels[];
/* What of the log is shown on standard error. */
bl_log_level bl_cli_log_level(const bl_cli_common *c);
/* clang-format off */
#define BL_COMMON_ROWS(type, member) \
    {"json", BL_OPT_BOOL, .at = offsetof(type, member.json), .doc = "print JSON"}, \
    {"quiet", BL_OPT_BOOL, .at = offsetof(type, member.quiet), .doc = "say less", .letter = 'q'}, \
    {"verbose", BL_OPT_BOOL, .at = offsetof(type, member.verbose), .letter = 'v', \
     .doc = "show what the log says: --log-level info"}, \
    {"log-level", BL_OPT_CHOICE, .choices = bl_cli_log_levels, .def.choice = BL_LOG_WARN, \
     .at = offsetof(type, member.log), .doc = "least that is shown of the log"}, \
    {"threads", BL_OPT_INT, .min = 0, .max = 4096, .at = offsetof(type, member.threads), .arg = "N", \
     .doc = "threads; 0: all cores"}
/* clang-format on */

typedef struct bl_cli_model {
    const char *tokenizer, *device;
    bool no_bos, special, stream, kernel_ref, deterministic, allow_nonfinite;
    int64_t batch_tokens, batch_size, mem_limit;
    int kv;
} bl_cli_model;
/* clang-format off */
#define BL_SOURCE_ROWS(type, member) /* a model, and where it is computed with */ \
    {"tokenizer", BL_OPT_TEXT, .at = offsetof(type, member.tokenizer), .arg = "FILE", \
     .doc = "tokenizer of a model that carries none"}, \
    {"device", BL_OPT_TEXT, .at = offsetof(type, member.device), .arg = "NAME", \
     .doc = "cpu, cuda, cuda:1; without it BITLADDER_DEVICE, else the best there is; see: bitladder list devices"}, \
    {"kernel-ref", BL_OPT_BOOL, .at = offsetof(type, member.kernel_ref), .doc = "plain reference kernels only"}, \
    {"deterministic", BL_OPT_BOOL, .at = offsetof(type, member.deterministic), \
     .doc = "scores that do not depend on the batch, bit for bit, on any device; always so on the CPU"}, \
    {"mem-limit", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(type, member.mem_limit), .arg = "MIB", \
     .mib = true, .doc = "most memory on the device, weights included, also as 24GiB; 0: all there is"}, \
    {"allow-nonfinite", BL_OPT_BOOL, .at = offsetof(type, member.allow_nonfinite), \
     .doc = "load weights that hold NaN or infinity"}
#define BL_MODEL_ROWS(type, member) /* the same, and how texts go through it */ \
    BL_SOURCE_ROWS(type, member), \
    {"no-bos", BL_OPT_BOOL, .at = offsetof(type, member.no_bos), .doc = "put no BOS in front"}, \
    {"stream", BL_OPT_BOOL, .at = offsetof(type, member.stream), .doc = "keep only one block's weights in memory"}, \
    {"kv", BL_OPT_CHOICE, .choices = bl_kv_formats, .at = offsetof(type, member.kv), \
     .doc = "keys and values in the cache: as activations are, or codes of 8, 4, 3 or 2 bits"}, \
    {"batch-tokens", BL_OPT_INT, .min = 0, .max = 1 << 24, .at = offsetof(type, member.batch_tokens), .arg = "N", \
     .doc = "tokens of one forward pass; 0: chosen"}, \
    {"batch-size", BL_OPT_INT, .min = 0, .max = 1 << 20, .at = offsetof(type, member.batch_size), .arg = "N", \
     .doc = "most sequences of one forward pass; 0: any"}
/* clang-format on */

/* Text for methods that look at some; -1: not said. */
typedef struct bl_cli_calib {
    const char *text;
    int64_t n, seqlen, seed;
} bl_cli_calib;
/* clang-format off */
#define BL_CALIB_ROWS(type, member) \
    {"calib", BL_OPT_TEXT, .at = offsetof(type, member.text), .arg = "TEXT", \
     .doc = "text for methods that look at some, e.g. wikitext2:train, primer, file:PATH; see: bitladder list texts"}, \
    {"calib-n", BL_OPT_INT, .min = -1, .max = 1 << 24, .def.i = -1, .at = offsetof(type, member.n), .arg = "N", \
     .doc = "windows of it; -1: 128, or as a spec says"}, \
    {"calib-seqlen", BL_OPT_INT, .min = -1, .max = 1 << 24, .def.i = -1, .at = offsetof(type, member.seqlen), \
     .arg = "N", .doc = "tokens of a window; 0: the model's length, 2048 at most; -1: the same, or as a spec says"}, \
    {"calib-seed", BL_OPT_INT, .min = -1, .max = 9007199254740992.0, .def.i = -1, .at = offsetof(type, member.seed), \
     .arg = "N", .doc = "which windows; -1: 0, or as a spec says"}
/* clang-format on */

/* A method that is applied first, and its text. */
typedef struct bl_cli_make {
    const char *method, *data;
    bl_cli_calib calib;
} bl_cli_make;
/* clang-format off */
#define BL_MAKE_ROWS(type, member) \
    {"method", BL_OPT_TEXT, .at = offsetof(type, member.method), .arg = "METHOD", \
     .doc = "what is done to the model first, e.g. rtn:w4g64; base without it"}, \
    {"data", BL_OPT_TEXT, .at = offsetof(type, member.data), .arg = "DIR", \
     .doc = "where the calibration text is looked for"}, \
    BL_CALIB_ROWS(type, member.calib)
/* clang-format on */

/* For verbs that are given texts. */
#define BL_SPECIAL_ROW(type, member)                                                                                   \
    {                                                                                                                  \
        "special", BL_OPT_BOOL,                                                                                        \
            .at = offsetof(type, member.special),                                                                      \
            .doc = "text of special tokens, such as <|im_end|>, becomes their id; without it stays text"               \
    }
#endif
