/* lines.c - verbs that read JSON lines: one after another, or as requests in batches. */
#include "session.h"
#include "harness/data/parquet.h"
#include "harness/data/reader.h"
#include "kernels/base/utf8.h"
#include <string.h>

bl_status bl_lines_open(const char *path, bl_lines *out, bl_err *e)
{
    *out = (bl_lines){.name = strcmp(path, "-") == 0 ? "standard input" : path};
    bl_status st = bl_read_file(path, 4ull << 30, &out->text, &out->n, e);
    if (st == BL_OK && out->n >= 4 && !memcmp(out->text, "PAR1", 4)) return bl_parquet_refuse(out->name, e);
    if (st == BL_OK && (bl_text_oddities(out->text, out->n) & BL_TEXT_MARK)) {
        out->n -= 3; /* the mark says how the file is written */
        memmove(out->text, out->text + 3, out->n + 1);
    }
    return st;
}

bl_status bl_text_is_utf8(const char *name, const char *text, size_t n, bl_err *e)
{
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t k = bl_utf8_get(text + i, n - i, &c);
        if (k == 0)
            return bl_fail(e, BL_E_FORMAT, "%s: byte %zu is 0x%02x, which is not valid UTF-8 there", name, i,
                           (unsigned char)text[i]);
        if (c == 0) return bl_fail(e, BL_E_FORMAT, "%s: byte %zu is NUL, expected text", name, i);
        i += k;
    }
    return BL_OK;
}

bl_status bl_lines_of(const char *key, const char *text, bl_lines *out, bl_err *e)
{
    bl_text t = {0};
    bl_json_out j = {.t = &t, .compact = true};
    bl_status st = bl_text_is_utf8("--prompt", text, strlen(text), e);
    if (st != BL_OK) return st;
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, key, text);
    bl_json_end(&j);
    st = bl_text_check(&t, e);
    if (st != BL_OK) bl_text_free(&t);
    else *out = (bl_lines){.name = "command line", .text = t.s, .n = t.n};
    return st;
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
        if (start[strspn(start, " \t")] == '[')
            return bl_fail(e, BL_E_FORMAT, "%s: line %lld: a JSON array; expected one JSON object a line", l->name,
                           (long long)l->line);
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

/* ---- requests ---- */

/* Up to io->batch lines; *n 0: there are no more. */
static bl_status read_batch(bl_lines *l, const bl_line_io *io, void *ctx, bl_arena *a, bl_request *req, char *kept,
                            int64_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *line = NULL;
    for (*n = 0; *n < io->batch; ++*n) {
        BL_TRY(bl_lines_json(l, &line, e));
        if (!line) break;
        st = io->ask(ctx, line, a, kept + (size_t)*n * io->kept, &req[*n], e);
        bl_json_free(line);
        line = NULL;
        if (st != BL_OK) {
            bl_lines_within(l, e);
            break;
        }
    }
out:
    bl_json_free(line);
    return st;
}

bl_status bl_lines_answer(bl_lines *l, bl_engine *g, const bl_line_io *io, void *ctx, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_text t = {0};
    int64_t n;

    BL_TRY(bl_arena_new(&a, e));
    do {
        bl_mark mark = bl_arena_mark(a);
        bl_request *req = bl_alloc(a, (size_t)io->batch, sizeof *req, e);
        bl_reply *reply = bl_alloc(a, (size_t)io->batch, sizeof *reply, e);
        char *kept = bl_alloc(a, (size_t)io->batch, io->kept ? io->kept : 1, e);
        if (!req || !reply || !kept) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(read_batch(l, io, ctx, a, req, kept, &n, e));
        if (n > 0) BL_TRY(bl_engine_replies(g, req, n, a, reply, e));
        for (int64_t i = 0; i < n; i++) io->tell(kept + (size_t)i * io->kept, &reply[i], &t);
        BL_TRY(bl_output(NULL, &t, e));
        fflush(stdout);
        bl_text_free(&t);
        bl_arena_release(a, mark);
    } while (n == io->batch);
out:
    bl_text_free(&t);
    bl_arena_free(a);
    return st;
}
