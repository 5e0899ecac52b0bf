/* csv.c - one record of comma-separated values (RFC 4180) out of a text. */
#include "csv.h"
#include <inttypes.h>

void bl_csv_free(bl_csv *c)
{
    bl_free(c->buf);
    bl_free(c->field);
    *c = (bl_csv){0};
}

static bool at_row_end(const bl_csv *c)
{
    return c->at == c->n || c->text[c->at] == '\n' ||
           (c->text[c->at] == '\r' && c->at + 1 < c->n && c->text[c->at + 1] == '\n');
}

static void skip_row_end(bl_csv *c)
{
    if (c->at < c->n && c->text[c->at] == '\r') c->at++;
    if (c->at < c->n && c->text[c->at] == '\n') {
        c->at++;
        c->line++;
    }
}

/* One field at `at`, copied to buf + *w, NUL behind. */
static bl_status field(bl_csv *c, size_t *w, const char *name, bl_err *e)
{
    const char *s = c->text;

    if (c->at == c->n || s[c->at] != '"') {
        for (; !at_row_end(c) && s[c->at] != ','; c->at++) {
            if (s[c->at] == '"')
                return bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": a quote inside a field that does not begin with one",
                               name, c->line);
            c->buf[(*w)++] = s[c->at];
        }
        c->buf[(*w)++] = 0;
        return BL_OK;
    }
    int64_t from = c->line;
    for (c->at++;; c->at++) {
        if (c->at == c->n) return bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": a quoted field is never closed", name, from);
        if (s[c->at] == '\n') c->line++;
        if (s[c->at] == '"') {
            if (c->at + 1 == c->n || s[c->at + 1] != '"') break;
            c->at++; /* a doubled quote is one */
        }
        c->buf[(*w)++] = s[c->at];
    }
    c->at++;
    if (!at_row_end(c) && s[c->at] != ',')
        return bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": text behind the closing quote of a field", name, c->line);
    c->buf[(*w)++] = 0;
    return BL_OK;
}

bl_status bl_csv_next(bl_csv *c, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    size_t w = 0, end;

    c->n_fields = 0;
    while (c->at < c->n && at_row_end(c)) skip_row_end(c);
    if (c->at == c->n) goto out;
    c->first_line = c->line;

    /* A bound of what the record needs: its bytes up to a line break outside quotes, and a NUL a field. */
    bool quoted = false;
    for (end = c->at; end < c->n && (quoted || c->text[end] != '\n'); end++) quoted ^= c->text[end] == '"';
    BL_TRY(bl_grow(&c->buf, &c->buf_cap, end - c->at + 2, 1, e));
    for (;;) {
        BL_TRY(bl_grow(&c->field, &c->field_cap, c->n_fields + 1, sizeof *c->field, e));
        c->field[c->n_fields++] = c->buf + w;
        BL_TRY(field(c, &w, name, e));
        if (at_row_end(c)) break;
        c->at++; /* the comma: its byte pays for the NUL */
    }
    skip_row_end(c);
out:
    return st;
}
