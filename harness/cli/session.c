/* session.c - opens what a verb needs to run a model by hand. */
#include "session.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

bl_status bl_session_tokenizer(const char *model, const bl_cli_model *o, bl_tokenizer **out, bl_err *e)
{
    static const struct {
        const char *tail;
        bl_tok_kind kind;
    } kinds[] = {{".gguf", BL_TOK_GGUF}, {".json", BL_TOK_JSON}, {".model", BL_TOK_SPM}};
    const char *file = o->tokenizer ? o->tokenizer : model;
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;

    if (!bl_is_dir(file)) {
        for (size_t i = 0; i < BL_COUNT(kinds); i++)
            if (ends_with(file, kinds[i].tail)) return bl_tokenizer_open(kinds[i].kind, file, out, e);
        if (o->tokenizer) return bl_tokenizer_open(BL_TOK_LLAMA2C, file, out, e);
    }
    BL_TRY(bl_checkpoint_open(model, &(bl_checkpoint_opts){.tokenizer = o->tokenizer}, &c, e));
    BL_TRY(bl_tokenizer_of(c, out, e));
out:
    bl_checkpoint_close(c);
    return st;
}

bl_status bl_session_source(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    *s = (bl_session){0};
    BL_TRY(bl_checkpoint_open(
        model, &(bl_checkpoint_opts){.tokenizer = o->tokenizer, .allow_nonfinite = o->allow_nonfinite}, &s->ckpt, e));
    if (!o->allow_nonfinite) BL_TRY(bl_checkpoint_verify(s->ckpt, e));
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o->device,
                                              .threads = (int)threads,
                                              .reference = o->kernel_ref,
                                              .memory_limit = (uint64_t)o->mem_limit << 20},
                           &s->be, e));
out:
    if (st != BL_OK) bl_session_close(s);
    return st;
}

bl_status bl_session_open(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_session_source(s, model, o, threads, e));
    BL_TRY(bl_tokenizer_of(s->ckpt, &s->tokenizer, e));
    BL_TRY(bl_model_open(s->ckpt, s->be, &(bl_model_opts){.stream = o->stream}, &s->model, e));
    bl_engine_opts eo = {
        .batch_tokens = o->batch_tokens, .batch_size = o->batch_size, .no_bos = o->no_bos, .special = o->special};
    BL_TRY(bl_engine_new(s->model, s->tokenizer, &eo, &s->engine, e));
out:
    if (st != BL_OK) bl_session_close(s);
    return st;
}

void bl_session_close(bl_session *s)
{
    bl_engine_free(s->engine);
    bl_model_close(s->model);
    bl_tokenizer_close(s->tokenizer);
    bl_checkpoint_close(s->ckpt);
    bl_backend_close(s->be);
    *s = (bl_session){0};
}

/* ---- lines ---- */

bl_status bl_lines_open(const char *path, bl_lines *out, bl_err *e)
{
    *out = (bl_lines){.name = strcmp(path, "-") == 0 ? "standard input" : path};
    return bl_read_file(path, 4ull << 30, &out->text, &out->n, e);
}

/* Our JSON refuses \u0000, since texts end at a zero byte. Where one may occur it is written as a noncharacter that the
 * line does not hold. */
static void replace_nul(bl_lines *l, char *line, size_t n)
{
    l->stand_in[0] = 0;
    for (size_t i = 0; i + 5 < n; i += line[i] == '\\' ? 2 : 1) {
        if (memcmp(line + i, "\\u0000", 6) != 0) continue;
        for (int c = 0; !l->stand_in[0] && c < 32; c++) { /* U+FDD0 … U+FDEF */
            char escape[8], bytes[4] = {(char)0xef, (char)0xb7, (char)(0x90 + c), 0};
            snprintf(escape, sizeof escape, "\\ufd%02x", 0xd0 + c);
            if (!memmem(line, n, bytes, 3) && !memmem(line, n, escape, 6)) memcpy(l->stand_in, bytes, 4);
        }
        if (!l->stand_in[0]) return;
        snprintf(line + i + 2, 3, "fd");
        line[i + 4] = "def"[((unsigned char)l->stand_in[2] - 0x90 + 0xd0) / 16 - 0xd];
        line[i + 5] = "0123456789abcdef"[(unsigned char)l->stand_in[2] % 16];
    }
}

size_t bl_lines_nul(const bl_lines *l, char *text)
{
    size_t n = strlen(text), to = 0;
    if (!l->stand_in[0]) return n;
    for (size_t i = 0; i < n; to++) {
        bool nul = strncmp(text + i, l->stand_in, 3) == 0;
        text[to] = nul ? 0 : text[i];
        i += nul ? 3 : 1;
    }
    return to;
}

bl_status bl_lines_json(bl_lines *l, bl_json **out, bl_err *e)
{
    bl_status st = BL_OK;
    *out = NULL;
    while (l->at < l->n) {
        char *start = l->text + l->at, *end = memchr(start, '\n', l->n - l->at);
        size_t n = end ? (size_t)(end - start) : l->n - l->at;
        char *name;
        l->at += n + 1;
        l->line++;
        if (n && start[n - 1] == '\r') n--;
        if (strspn(start, " \t") >= n) continue;
        if (l->nul) replace_nul(l, start, n);
        if (!(name = bl_format_text(e, "%s: line %lld", l->name, (long long)l->line))) return BL_E_NOMEM;
        st = bl_json_parse(start, n, name, BL_JSON_PLAIN, out, e);
        if (st == BL_OK && bl_json_kind(*out) != BL_JSON_OBJECT) {
            bl_json_free(*out);
            *out = NULL;
            st = bl_fail(e, BL_E_FORMAT, "%s: expected a JSON object", name);
        }
        bl_free(name);
        return st;
    }
    return st;
}

void bl_lines_within(const bl_lines *l, bl_err *e)
{
    size_t n = strlen(l->name);
    if (strncmp(e->text, l->name, n) != 0 || e->text[n] != ':')
        bl_within(e, "%s: line %lld", l->name, (long long)l->line);
}

void bl_lines_close(bl_lines *l)
{
    bl_free(l->text);
    *l = (bl_lines){0};
}

bl_status bl_output_failed(bl_err *e)
{
    if (errno == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return bl_fail(e, BL_E_DISK, "standard output could not be written: %s", strerror(errno));
}

bl_status bl_output(const char *path, const bl_text *t, bl_err *e)
{
    bl_status st = bl_text_check(t, e);
    if (st != BL_OK) return st;
    if (path && strcmp(path, "-") != 0) return bl_write_file(path, t->s ? t->s : "", t->n, e);
    if (t->n && fwrite(t->s, 1, t->n, stdout) != t->n) return bl_output_failed(e);
    return BL_OK;
}
