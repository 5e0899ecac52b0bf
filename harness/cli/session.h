/* session.h - model, tokenizer, backend and engine in one, for the verbs that run a model by hand. */
#ifndef BL_HARNESS_CLI_SESSION_H
#define BL_HARNESS_CLI_SESSION_H
#include "cli.h"
#include "harness/quant/apply.h"
#include "harness/score/score.h"

typedef struct bl_session {
    bl_backend *be;
    bl_checkpoint *ckpt;
    bl_tokenizer *tokenizer;
    bl_model *model; /* tokenizer, model and engine: NULL after bl_session_source alone */
    bl_engine *engine;
    char *made; /* a directory that goes with the session */
} bl_session;
/* The checkpoint, checked as `run` checks it, and the backend; `model` says how. */
bl_status bl_session_source(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e);
/* The same, with tokenizer, model and engine. */
bl_status bl_session_open(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e);
/* The same of what a method makes of the model; it is in a temporary directory until the session is closed. */
bl_status bl_session_make(bl_session *s, const bl_program *p, const char *model, const bl_cli_model *o,
                          const bl_cli_make *make, int64_t threads, bl_err *e);
void bl_session_close(bl_session *s);
/* What a verb trains has no +on=SET; `instead`: what the verb learns from. */
bl_status bl_session_no_set(const bl_method_chain *m, const char *instead, bl_err *e);
/* The hash of the state after each stage of a chain on s->ckpt, the same as a study's: `how` says which text methods
 * look at, training what they learn from. */
bl_status bl_session_states(const bl_session *s, const bl_method_chain *m, const bl_apply_how *how, bl_hash training,
                            bl_hash *out, bl_err *e);
/* What the options of calibration say. */
bl_calib_choice bl_cli_calib_choice(const bl_cli_calib *o);

/* A tokenizer alone: of a model, of a GGUF file without tensors, or of a tokenizer file. */
bl_status bl_session_tokenizer(const char *model, const bl_cli_model *o, bl_tokenizer **out, bl_err *e);

/* Lines of FILE ("-": standard input), for the verbs that read JSON lines. */
typedef struct bl_lines {
    char *text;
    size_t n, at;
    int64_t line;
    const char *name;
    bool nul;         /* set by the caller: \u0000 may occur in strings; it arrives as `stand_in` */
    char stand_in[4]; /* three bytes of a noncharacter that the line does not hold, "" when it has no \u0000 */
} bl_lines;
bl_status bl_lines_open(const char *path, bl_lines *out, bl_err *e);
/* BL_E_FORMAT, naming byte and `name`, unless it is UTF-8 without NUL. */
bl_status bl_text_is_utf8(const char *name, const char *text, size_t n, bl_err *e);
/* One line: {"key": "text"}. */
bl_status bl_lines_of(const char *key, const char *text, bl_lines *out, bl_err *e);
/* Next line that is not empty, parsed; *out NULL at the end. The caller frees it. */
bl_status bl_lines_json(bl_lines *l, bl_json **out, bl_err *e);
/* Puts file and line in front of a sentence that does not name them yet. */
void bl_lines_within(const bl_lines *l, bl_err *e);
/* `text` with every stand-in turned into a zero byte, in place; its length. */
size_t bl_lines_nul(const bl_lines *l, char *text);
void bl_lines_close(bl_lines *l);
/* Lines as requests, in batches: a line becomes a request, and its reply a line of output, in the same order. */
typedef struct bl_line_io {
    int64_t batch;
    size_t kept; /* bytes that a verb keeps for a line between asking and telling */
    bl_status (*ask)(void *ctx, const bl_json *line, bl_arena *a, void *kept, bl_request *out, bl_err *e);
    void (*tell)(const void *kept, const bl_reply *r, bl_text *t);
} bl_line_io;
bl_status bl_lines_answer(bl_lines *l, bl_engine *g, const bl_line_io *io, void *ctx, bl_err *e);

/* --data DIR, NULL: not said. BL_E_CONFIG when there is no such directory. */
bl_status bl_data_option(const char *dir, bl_data_dirs *out, bl_err *e);

/* "NVIDIA H200, sm_90, 132 multiprocessors, 139.8 GiB of memory": what a device is; it is opened for that. */
bl_status bl_device_facts(const char *device, int threads, char out[256], bl_err *e);
/* Writes text to FILE (atomic), or to standard output when path is NULL or "-". */
bl_status bl_output(const char *path, const bl_text *t, bl_err *e);
/* Says that standard output is gone; a reader that closed its pipe ends the program without a word, as everywhere. */
bl_status bl_output_failed(bl_err *e);
#endif
