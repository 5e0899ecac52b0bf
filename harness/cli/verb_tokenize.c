/* verb_tokenize.c - text to ids and back, JSON lines in and out. */
#include "session.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    const char *model;
    bool decode;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL",
     .doc = "a model, or a tokenizer.json, tokenizer.model or .gguf alone"},
    {"tokenizer", BL_OPT_TEXT, .at = offsetof(opts, m.tokenizer), .arg = "FILE",
     .doc = "tokenizer of a model that carries none"},
    {"special", BL_OPT_BOOL, .at = offsetof(opts, m.special),
     .doc = "text of special tokens becomes their id (decoding: is kept)"},
    {"no-bos", BL_OPT_BOOL, .at = offsetof(opts, m.no_bos), .doc = "put no BOS in front"},
    {"decode", BL_OPT_BOOL, .at = offsetof(opts, decode), .doc = "from {\"ids\": [...]} to {\"text\": ...}"},
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status encode(const bl_tokenizer *t, const opts *o, const bl_lines *lines, const bl_json *line, bl_text *out,
                        bl_err *e)
{
    static const char *const keys[] = {"text", NULL};
    bl_status st = BL_OK;
    bl_ids ids = {0};
    bl_json_out j = {.t = out, .compact = true};
    const char *given;
    char *text = NULL;
    BL_TRY(bl_json_only(line, keys, e));
    BL_TRY(bl_json_get_str(line, "text", &given, e));
    if (!(text = bl_strdup(given, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_encode(t, text, bl_lines_nul(lines, text),
                     (o->m.no_bos ? 0 : BL_ENCODE_BOS) | (o->m.special ? BL_ENCODE_SPECIAL : 0), &ids, e));
    bl_json_object(&j, NULL);
    bl_json_array(&j, "ids");
    for (size_t i = 0; i < ids.n; i++) bl_json_add_int(&j, NULL, ids.id[i]);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
out:
    bl_free(text);
    bl_ids_free(&ids);
    return st;
}

static bl_status decode(const bl_tokenizer *t, const opts *o, const bl_lines *lines, const bl_json *line, bl_text *out,
                        bl_err *e)
{
    static const char *const keys[] = {"ids", NULL};
    bl_status st = BL_OK;
    bl_ids ids = {0};
    const bl_json *list;
    bl_json_out j = {.t = out, .compact = true};
    bl_text quoted = {0};
    char *text = NULL;
    size_t n;
    (void)lines;
    BL_TRY(bl_json_only(line, keys, e));
    BL_TRY(bl_json_need(line, "ids", &list, e));
    if (bl_json_kind(list) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "'ids' is not a list");
        goto out;
    }
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v)) {
        int64_t id;
        BL_TRY(bl_json_int(v, &id, e));
        if (id < 0 || id >= bl_tokenizer_vocab(t)) {
            st = bl_fail(e, BL_E_FORMAT, "id %lld is not in 0..%lld", (long long)id,
                         (long long)bl_tokenizer_vocab(t) - 1);
            goto out;
        }
        BL_TRY(bl_ids_push(&ids, (int32_t)id, e));
    }
    BL_TRY(bl_decode(t, ids.id, ids.n, o->m.special, &text, &n, e));
    bl_text_add(&quoted, "\"");
    for (size_t at = 0; at < n; at++) { /* pieces between zero bytes, which our JSON writer would not keep */
        size_t k = strlen(text + at);
        bl_text piece = {0};
        bl_json_put_str(&piece, text + at, k);
        if (piece.n > 2) bl_text_addn(&quoted, piece.s + 1, piece.n - 2);
        bl_text_free(&piece);
        at += k;
        if (at < n) bl_text_add(&quoted, "\\u0000");
    }
    bl_text_add(&quoted, "\"");
    BL_TRY(bl_text_check(&quoted, e));
    bl_json_object(&j, NULL);
    bl_json_add_text(&j, "text", quoted.s);
    bl_json_end(&j);
    bl_text_add(out, "\n");
out:
    bl_text_free(&quoted);
    bl_free(text);
    bl_ids_free(&ids);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_tokenizer *t = NULL;
    bl_lines lines = {0};
    bl_text out = {0};
    bl_json *line = NULL;
    (void)p;
    (void)exit_code;

    if (!o->model && !o->m.tokenizer)
        return bl_fail(e, BL_E_CONFIG, "tokenize needs --model MODEL or --tokenizer FILE");
    BL_TRY(bl_lines_open(args->pos[0], &lines, e));
    lines.nul = true;
    BL_TRY(bl_session_tokenizer(o->model, &o->m, &t, e));
    for (;;) {
        BL_TRY(bl_lines_json(&lines, &line, e));
        if (!line) break;
        st = (o->decode ? decode : encode)(t, o, &lines, line, &out, e);
        bl_json_free(line);
        line = NULL;
        if (st != BL_OK) {
            bl_lines_within(&lines, e);
            goto out;
        }
        if (out.n > 1 << 20) {
            BL_TRY(bl_output(NULL, &out, e));
            bl_text_free(&out);
        }
    }
    BL_TRY(bl_output(NULL, &out, e));
out:
    bl_json_free(line);
    bl_text_free(&out);
    bl_lines_close(&lines);
    bl_tokenizer_close(t);
    return st;
}

const bl_verb bl_verb_tokenize = {
    .name = "tokenize",
    .args = "FILE|-",
    .line = "text to ids and back, JSON lines",
    .doc = "Reads lines {\"text\": ...} and prints {\"ids\": [...]}, with a BOS in front exactly where the model's own "
           "rule puts it; --decode goes the other way.",
    .example = "echo '{\"text\": \"Hello\"}' | bitladder tokenize --model tokenizer.json -",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
