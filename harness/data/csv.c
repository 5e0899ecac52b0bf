/* csv.c - records of RFC 4180 as JSON objects of strings. */
#include "csv.h"
#include "kernels/base/json.h"
#include <inttypes.h>
#include <string.h>

enum { MOST_COLUMNS = 64 };

struct bl_csv {
    const char *path, *text;
    size_t n, at, max_row;
    int64_t line; /* of text[at] */
    char *key[MOST_COLUMNS];
    size_t n_keys;
    bl_text field, json;
};

/* ---- fields ---- */
static bl_status bad(const bl_csv *c, int64_t line, const char *what, bl_err *e)
{
    return bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": %s", c->path, line, what);
}

static bool ends(const bl_csv *c) /* a record, at c->at */
{
    const char *s = c->text + c->at;
    return c->at == c->n || *s == '\n' || (*s == '\r' && c->at + 1 < c->n && s[1] == '\n');
}

/* The field at c->at into c->field; after it a comma or the end of the record. */
static bl_status take_field(bl_csv *c, int64_t line, bl_err *e)
{
    c->field.n = 0;
    if (c->at < c->n && c->text[c->at] == '"') {
        for (c->at++;; c->at++) {
            size_t run = 0;
            while (c->at + run < c->n && c->text[c->at + run] != '"') c->line += c->text[c->at + run++] == '\n';
            bl_text_addn(&c->field, c->text + c->at, run);
            c->at += run;
            if (c->at == c->n) return bad(c, line, "a field's quote is not closed", e);
            c->at++;
            if (c->at == c->n || c->text[c->at] != '"') break;
            bl_text_addn(&c->field, "\"", 1);
        }
        if (!ends(c) && c->text[c->at] != ',')
            return bad(c, line, "text after a field's closing quote, expected a comma or the end of the line", e);
    } else {
        size_t from = c->at;
        while (!ends(c) && c->text[c->at] != ',') {
            if (c->text[c->at] == '"')
                return bad(c, line, "a quote inside a field without quotes, expected the field in quotes", e);
            c->at++;
        }
        bl_text_addn(&c->field, c->text + from, c->at - from);
    }
    return bl_text_check(&c->field, e);
}

static void end_record(bl_csv *c)
{
    if (c->at < c->n && c->text[c->at] == '\r') c->at++;
    if (c->at < c->n) {
        c->at++;
        c->line++;
    }
}

static void skip_empty(bl_csv *c)
{
    while (c->at < c->n && ends(c)) end_record(c);
}

/* ---- records ---- */
static bl_status take_header(bl_csv *c, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t line;

    skip_empty(c);
    line = c->line;
    for (;; c->at++) {
        BL_TRY(take_field(c, line, e));
        if (c->n_keys == MOST_COLUMNS) {
            st = bad(c, line, "more than 64 columns", e);
            goto out;
        }
        if (!(c->key[c->n_keys++] = bl_strdup(c->field.n ? c->field.s : "", e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (ends(c)) break;
    }
    end_record(c);
out:
    return st;
}

bl_status bl_csv_open(const char *path, const char *text, size_t n, const char *const *columns, size_t max_row,
                      bl_csv **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_csv *c = bl_new(1, sizeof *c, e);

    if (!c) return BL_E_NOMEM;
    c->path = path;
    c->text = text;
    c->n = n;
    c->line = 1;
    c->max_row = max_row;
    if (!columns) BL_TRY(take_header(c, e));
    for (; columns && columns[c->n_keys]; c->n_keys++)
        if (!(c->key[c->n_keys] = bl_strdup(columns[c->n_keys], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    *out = c;
    c = NULL;
out:
    bl_csv_close(c);
    return st;
}

void bl_csv_close(bl_csv *c)
{
    if (!c) return;
    for (size_t i = 0; i < BL_COUNT(c->key); i++) bl_free(c->key[i]);
    bl_text_free(&c->field);
    bl_text_free(&c->json);
    bl_free(c);
}

/* The fields up to the end of the record, each beside its key. */
static bl_status take_record(bl_csv *c, int64_t line, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json_out o = {.t = &c->json};
    size_t k = 0;

    c->json.n = 0;
    bl_json_object(&o, NULL);
    for (;; c->at++, k++) {
        BL_TRY(take_field(c, line, e));
        if (k < c->n_keys) bl_json_add_strn(&o, c->key[k], c->field.n ? c->field.s : "", c->field.n);
        if (ends(c)) break;
    }
    bl_json_end(&o);
    if (k + 1 != c->n_keys) {
        st = bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": %zu fields, expected %zu: ", c->path, line, k + 1, c->n_keys);
        for (size_t i = 0; e && i < c->n_keys; i++) {
            size_t n = strlen(e->text);
            snprintf(e->text + n, sizeof e->text - n, "%s%s", i ? ", " : "", c->key[i]);
        }
        goto out;
    }
    BL_TRY(bl_text_check(&c->json, e));
out:
    return st;
}

bl_status bl_csv_next(bl_csv *c, const char **json, size_t *n, int64_t *line, bl_err *e)
{
    bl_status st = BL_OK;
    size_t from;

    *json = NULL;
    skip_empty(c);
    if (c->at == c->n) goto out;
    *line = c->line;
    from = c->at;
    BL_TRY(take_record(c, *line, e));
    if (c->at - from > c->max_row) {
        st = bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": a row of %zu bytes, expected at most %zu", c->path, *line,
                     c->at - from, c->max_row);
        goto out;
    }
    end_record(c);
    *json = c->json.s;
    *n = c->json.n;
out:
    return st;
}
