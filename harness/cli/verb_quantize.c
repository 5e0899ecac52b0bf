/* verb_quantize.c - writes a quantized model as a directory that every verb loads, without the source. */
#include "session.h"
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model model;
    bl_cli_calib calib;
    const char *method, *out, *data;
    int64_t seed;
    int format;
} opts;
static const char *const formats[] = {"safetensors", NULL};
static const bl_opt rows[] = {
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "e.g. rtn:w4g64; base keeps every tensor as stored"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .letter = 'o', .doc = "the new directory"},
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format), .doc = "of the file with the tensors"},
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "for methods that use chance"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR", .doc = "where the calibration text is looked for"},
    BL_CALIB_ROWS(opts, calib),
    BL_SOURCE_ROWS(opts, model),
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status blocks(void *ctx, const bl_quantize_at *at, bl_err *e)
{
    const opts *o = ctx;
    char line[256];
    (void)e;
    if (o->common.quiet || isatty(STDERR_FILENO) != 1) return BL_OK;
    bl_quantize_line(at, line);
    fprintf(stderr, "\r\033[K%s%s", line, !at->layer && at->done == at->all ? "\n" : "");
    return BL_OK;
}

static void as_json(const char *dir, const char *method, const bl_quantize_result *r, bl_text *t)
{
    bl_json_out j = {.t = t};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "directory", dir);
    bl_json_add_str(&j, "method", method);
    bl_json_add_int(&j, "packed_bytes", (int64_t)r->packed_bytes);
    bl_json_add_real(&j, "bits_per_weight", r->bits);
    bl_json_add_real(&j, "seconds", r->seconds);
    bl_json_array(&j, "layers");
    for (int64_t i = 0; i < r->n_layers; i++) bl_layer_put_json(&r->layer[i], &j);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = {0};
    bl_arena *a = NULL;
    bl_method_chain m = {0};
    bl_quantize_result r = {0};
    bl_text t = {0};
    (void)exit_code;

    if (!o->method) return bl_fail(e, BL_E_CONFIG, "quantize needs --method METHOD, e.g. --method rtn:w4g64");
    if (strchr(o->method, ',')) return bl_fail(e, BL_E_CONFIG, "quantize takes one method, found '%s'", o->method);
    if (!o->out) return bl_fail(e, BL_E_CONFIG, "quantize needs -o DIR");
    BL_TRY(bl_chain_parse(p->methods, o->method, &m, e));
    BL_TRY(bl_session_source(&s, args->pos[0], &o->model, o->common.threads, e));
    BL_TRY(bl_arena_new(&a, e));
    bl_hash state[BL_MAX_STAGES];
    const bl_calib_choice calib = bl_cli_calib_choice(&o->calib);
    const bl_apply_how how = {.seed = (uint64_t)o->seed,
                              .calib = &calib,
                              .dirs = &(bl_data_dirs){.dir = {o->data}, .n = o->data != NULL},
                              .hash = state,
                              .progress = blocks,
                              .ctx = (void *)(uintptr_t)o};
    BL_TRY(bl_session_states(&s, &m, &how, (bl_hash){0}, state, e));
    BL_TRY(bl_quantize_dir(s.ckpt, &m, &how, s.be, o->out, a, &r, e));
    BL_TRY(bl_checkpoint_unchanged(s.ckpt, e));
    if (o->common.json) as_json(o->out, m.text, &r, &t);
    else if (!o->common.quiet)
        bl_text_addf(&t, "%s: %s, %.3f bits per weight in the blocks, %.1f MB in all, %.1f s%s%s\n", o->out, m.text,
                     r.bits, (double)r.packed_bytes / 1e6, r.seconds, *r.notes ? "; " : "", r.notes);
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    bl_chain_free(&m);
    bl_session_close(&s);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_quantize = {
    .name = "quantize",
    .args = "MODEL",
    .line = "writes a quantized model as a directory",
    .doc = "Applies METHOD to MODEL and writes a directory that run, score, inspect and generate load with equal "
           "scores, without the source.",
    .example = "bitladder quantize SmolLM2-135M-Instruct.Q4_1.gguf --method rtn:w4g64 -o smollm2-w4",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
