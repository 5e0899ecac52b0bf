/* reader.c - rows out of data files: JSON lines, one JSON array or CSV; and whole texts. */
#include "csv.h"
#include "reader.h"
#include "gz.h"
#include "kernels/base/utf8.h"
#include <inttypes.h>
#include <string.h>

static bl_status check_text(const char *path, const char *s, size_t n, bl_err *e)
{
    int64_t line = 1;

    if (n == 0) return bl_fail(e, BL_E_FORMAT, "%s: the file is empty", path);
    for (size_t i = 0; i < n;) {
        if ((unsigned char)s[i] - 1u < 0x7f) { /* ASCII but NUL */
            line += s[i++] == '\n';
            continue;
        }
        uint32_t c;
        size_t k = s[i] ? bl_utf8_get(s + i, n - i, &c) : 0;
        if (k == 0)
            return bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": %s at byte %zu of the file", path, line,
                           s[i] ? "invalid UTF-8" : "a NUL byte", i);
        i += k;
    }
    return BL_OK;
}

bl_status bl_text_file(const char *path, uint64_t max, char **out, size_t *n, bl_hash *hash, bl_err *e)
{
    bl_status st = BL_OK;
    char *raw = NULL, *text = NULL;
    size_t n_raw = 0, n_text = 0;

    if (max == 0) max = BL_TEXT_MAX;
    BL_TRY(bl_read_file(path, max, &raw, &n_raw, e));
    if (bl_gz_named(path)) {
        BL_TRY(bl_gz_unpack(path, raw, n_raw, max, &text, &n_text, e));
    } else {
        if (n_raw >= 2 && (uint8_t)raw[0] == 0x1f && (uint8_t)raw[1] == 0x8b) {
            st = bl_fail(e, BL_E_FORMAT, "%s: gzip data in a file that is not named .gz; rename or unpack it", path);
            goto out;
        }
        if (n_raw >= 4 && !memcmp(raw, "PAR1", 4)) {
            st = bl_fail(e, BL_E_FORMAT,
                         "%s: a parquet file, expected text; convert it: python3 -c \"import pandas; "
                         "pandas.read_parquet('FILE.parquet').to_json('FILE.jsonl', orient='records', lines=True)\"",
                         path);
            goto out;
        }
        text = raw;
        n_text = n_raw;
        raw = NULL;
    }
    BL_TRY(check_text(path, text, n_text, e));
    if (hash) *hash = bl_hash_bytes(text, n_text);
    *out = text;
    *n = n_text;
    text = NULL;
out:
    bl_free(text);
    bl_free(raw);
    return st;
}

int bl_text_oddities(const char *s, size_t n)
{
    return (n >= 3 && !memcmp(s, "\xef\xbb\xbf", 3) ? BL_TEXT_MARK : 0) | (memmem(s, n, "\r\n", 2) ? BL_TEXT_CRLF : 0);
}

/* ---- rows ---- */
struct bl_rows {
    char *path, *text;
    size_t n, at;
    bl_hash hash;
    bool array;
    int64_t line, next_line; /* of the row last returned; of text[at] */
    bl_json *doc;            /* the row; or the whole array */
    const bl_json *element;  /* of the array: next */
    bl_csv *csv;             /* NULL: JSON */
    size_t max_row;
    bl_text where;
};

static void place(bl_rows *r)
{
    if (r->where.s) {
        r->where.n = 0;
        r->where.s[0] = 0;
    }
    bl_text_addf(&r->where, r->array ? "%s: element %" PRId64 : "%s:%" PRId64, r->path, r->line);
}

const char *bl_rows_where(const bl_rows *r) { return r->where.s ? r->where.s : r->path; }
bl_hash bl_rows_hash(const bl_rows *r) { return r->hash; }

void bl_rows_close(bl_rows *r)
{
    if (!r) return;
    bl_json_free(r->doc);
    bl_csv_close(r->csv);
    bl_text_free(&r->where);
    bl_free(r->text);
    bl_free(r->path);
    bl_free(r);
}

static bool csv_named(const char *path)
{
    size_t n = strlen(path) - (bl_gz_named(path) ? 3 : 0);
    return n > 4 && !memcmp(path + n - 4, ".csv", 4);
}

/* One array, the array that is a member of the one object, or the object itself. */
static bl_status whole_document(bl_rows *r, const char *list, bool keyed, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *array;

    BL_TRY(bl_json_parse(r->text + r->at, r->n - r->at, r->path, BL_JSON_PLAIN, &r->doc, e));
    array = r->doc;
    if (list) BL_TRY(bl_json_need(r->doc, list, &array, e));
    if (bl_json_kind(array) != (keyed ? BL_JSON_OBJECT : BL_JSON_ARRAY)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: '%s' is not an array", r->path, list);
        goto out;
    }
    r->element = bl_json_first(array);
out:
    return st;
}

bl_status bl_rows_open_as(const char *path, const bl_rows_layout *how, bl_rows **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = bl_new(1, sizeof *r, e);
    char first;

    if (!r) return BL_E_NOMEM;
    r->next_line = 1;
    r->max_row = how->max_row ? how->max_row : SIZE_MAX;
    if (!(r->path = bl_strdup(path, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_text_file(path, 0, &r->text, &r->n, &r->hash, e));
    if (bl_text_oddities(r->text, r->n) & BL_TEXT_MARK) r->at = 3; /* it says how the file is written, not what */
    first = r->text[r->at + strspn(r->text + r->at, " \t\r\n")];
    if (csv_named(path)) {
        BL_TRY(bl_csv_open(r->path, r->text + r->at, r->n - r->at, how->columns, r->max_row, &r->csv, e));
    } else if (first == '[' || (first == '{' && (how->list || how->keyed))) {
        r->array = true;
        BL_TRY(whole_document(r, first == '[' ? NULL : how->list, first == '{' && how->keyed, e));
    }
    *out = r;
    r = NULL;
out:
    bl_rows_close(r);
    return st;
}

bl_status bl_rows_open(const char *path, bl_rows **out, bl_err *e)
{
    return bl_rows_open_as(path, &(bl_rows_layout){0}, out, e);
}

static bool only_spaces(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
    return true;
}

bl_status bl_rows_json(bl_rows *r, const bl_json **row, bl_err *e)
{
    bl_status st = BL_OK;

    if (r->array) {
        *row = r->element;
        if (r->element) {
            r->element = bl_json_next(r->element);
            r->line++;
            place(r);
        }
        return bl_text_check(&r->where, e);
    }
    bl_json_free(r->doc);
    r->doc = NULL;
    *row = NULL;
    if (r->csv) {
        const char *json;
        size_t n;
        BL_TRY(bl_csv_next(r->csv, &json, &n, &r->line, e));
        if (!json) goto out;
        place(r);
        BL_TRY(bl_text_check(&r->where, e));
        BL_TRY(bl_json_parse(json, n, r->where.s, BL_JSON_PLAIN, &r->doc, e));
        *row = r->doc;
        goto out;
    }
    for (; r->at < r->n;) { /* only "\n" ends a line: strings may hold U+2028 and others */
        const char *s = r->text + r->at, *end = memchr(s, '\n', r->n - r->at);
        size_t len = end ? (size_t)(end - s) : r->n - r->at;
        r->at += len + (end != NULL);
        r->line = r->next_line++;
        if (only_spaces(s, len)) continue;
        place(r);
        BL_TRY(bl_text_check(&r->where, e));
        if (len > r->max_row) {
            st = bl_fail(e, BL_E_FORMAT, "%s: a row of %zu bytes, expected at most %zu", r->where.s, len, r->max_row);
            goto out;
        }
        BL_TRY(bl_json_parse(s, len, r->where.s, BL_JSON_PLAIN, &r->doc, e));
        *row = r->doc;
        break;
    }
out:
    return st;
}

bl_status bl_rows_each(const char *path, bl_status (*each)(void *ctx, const bl_json *row, bl_err *e), void *ctx,
                       bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    const bl_json *j;

    BL_TRY(bl_rows_open_as(path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        st = bl_json_kind(j) == BL_JSON_OBJECT ? each(ctx, j, e) : bl_fail(e, BL_E_FORMAT, "expected an object");
        if (st == BL_OK) continue;
        if (e && !strstr(e->text, bl_rows_where(r))) bl_within(e, "%s", bl_rows_where(r));
        goto out;
    }
out:
    bl_rows_close(r);
    return st;
}
