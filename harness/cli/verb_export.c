/* verb_export.c - writes a model as a directory or a file that other programs load. */
#include "session.h"
#include "harness/checkpoint/export.h"
#include "harness/tokenizer/tokenizer.h"

typedef struct opts {
    bl_cli_common common;
    const char *tokenizer, *out;
    int format, type;
    bool without;
} opts;
static const char *const formats[] = {"safetensors", "gptq", "gptq_v2", "awq", "compressed-tensors", "gguf", NULL};
enum { DENSE = 0, GGUF = 5 };
static const char *const types[] = {"bf16", "fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "PATH", .letter = 'o',
     .doc = "the new directory; of gguf the new file"},
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "safetensors: dense weights; gptq, gptq_v2, awq, compressed-tensors: integers packed as GPTQModel, AutoAWQ "
            "and "
            "compressed-tensors read them; gguf: block types, for llama.cpp"},
    {"type", BL_OPT_CHOICE, .choices = types, .at = offsetof(opts, type), .doc = "of dense weights, with safetensors"},
    {"without-adapters", BL_OPT_BOOL, .at = offsetof(opts, without),
     .doc =
         "with safetensors: the weights that adapters are beside, the base that adapter_model.safetensors goes with"},
    {"tokenizer", BL_OPT_TEXT, .at = offsetof(opts, tokenizer), .arg = "FILE",
     .doc = "tokenizer of a model that carries none"},
    BL_COMMON_ROWS(opts, common),
    {0}};

/* A tokenizer that is in no GGUF file is written as one. */
static bl_status to_gguf(bl_checkpoint *c, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = NULL;
    bl_arena *a = NULL;
    bl_gguf_vocab vocab;
    const char *file, *why;
    bl_tok_kind kind = bl_checkpoint_tokenizer(c, &file, &why);
    if (kind == BL_TOK_NONE || kind == BL_TOK_GGUF) return bl_export_gguf(c, NULL, path, e);
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_tokenizer_of(c, &t, e));
    st = bl_tokenizer_gguf(t, bl_checkpoint_config(c)->vocab, a, &vocab, e);
    if (st != BL_OK) {
        bl_within(e, "%s", file);
        goto out;
    }
    st = bl_export_gguf(c, &vocab, path, e);
out:
    bl_tokenizer_close(t);
    bl_arena_free(a);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    static const bl_packing_kind kinds[] = {BL_PACKED_NOT, BL_PACKED_GPTQ, BL_PACKED_GPTQ_V2, BL_PACKED_AWQ,
                                            BL_PACKED_CT}; /* in the order of `formats` */
    static const bl_dtype dtypes[] = {BL_BF16, BL_F16, BL_F32};
    bl_status st = BL_OK;
    const opts *o = options;
    bl_checkpoint *c = NULL;
    bl_text t = {0};
    (void)p;
    (void)exit_code;

    if (!o->out || !*o->out) return bl_fail(e, BL_E_CONFIG, "export needs -o PATH");
    if (o->without && o->format != DENSE)
        return bl_fail(e, BL_E_CONFIG, "--without-adapters is of --format safetensors, not %s", formats[o->format]);
    BL_TRY(bl_checkpoint_open(args->pos[0], &(bl_checkpoint_opts){.tokenizer = o->tokenizer}, &c, e));
    BL_TRY(bl_checkpoint_verify(c, e));
    if (o->format == GGUF) BL_TRY(to_gguf(c, o->out, e));
    else
        BL_TRY(bl_export(c, &(bl_export_how){.kind = kinds[o->format], .type = dtypes[o->type], .without = o->without},
                         o->out, e));
    if (o->common.json) {
        bl_json_out j = {.t = &t};
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, o->format == GGUF ? "file" : "directory", o->out);
        bl_json_add_str(&j, "format", formats[o->format]);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    } else if (!o->common.quiet) {
        bl_text_addf(&t, "%s: %s, as %s\n", o->out, bl_checkpoint_stored_as(c), formats[o->format]);
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    bl_checkpoint_close(c);
    return st;
}

const bl_verb bl_verb_export = {
    .name = "export",
    .args = "MODEL",
    .line = "writes a model as a directory or a file that other programs load",
    .doc =
        "Writes MODEL, as a rule a directory of `quantize`, as a Hugging Face directory: codes, scales and zero points "
        "as they are in one of the packed layouts, or dense weights; or as a GGUF file. What a layout cannot express "
        "is refused, but with --without-adapters the weights beside adapters are written, for peft to add these to.",
    .example = "bitladder export smollm2-w4 --format gptq -o smollm2-w4-gptq",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
