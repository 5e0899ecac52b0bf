/* reader.c - rows out of data files: JSON lines, one JSON array or CSV; and whole texts. */
#include "csv.h"
#include "elements.h"
#include "reader.h"
#include "gz.h"
#include "seen.h"
#include "parquet.h"
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
            st = bl_parquet_refuse(path, e);
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
    bl_json *doc;            /* the row */
    bl_elements elements;    /* of the array */
    int64_t element;         /* its number, from 1 */
    bl_csv *csv;             /* NULL: JSON */
    size_t max_row;
    bl_seen seen, said; /* of the rows so far, bl_rows_once and said_once */
    bl_text where;
};

/* What rows are counted in, for sentences. */
static int64_t number_of(const bl_rows *r) { return r->array ? r->element : r->line; }
static const char *counted_as(const bl_rows *r) { return r->array ? "element" : "line"; }

static void place(bl_rows *r)
{
    if (r->where.s) {
        r->where.n = 0;
        r->where.s[0] = 0;
    }
    bl_text_addf(&r->where, "%s:%" PRId64, r->path, r->line);
    if (r->array) bl_text_addf(&r->where, ": element %" PRId64, r->element);
}

const char *bl_rows_where(const bl_rows *r) { return r->where.s ? r->where.s : r->path; }
bl_hash bl_rows_hash(const bl_rows *r) { return r->hash; }

void bl_rows_close(bl_rows *r)
{
    if (!r) return;
    bl_json_free(r->doc);
    bl_csv_close(r->csv);
    bl_seen_free(&r->seen);
    bl_seen_free(&r->said);
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

/* No row's key may be another's. */
static bl_status distinct_keys(bl_rows *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_elements all = bl_elements_of(r->text + r->at, r->n - r->at, -1, 1);
    int64_t first;
    char *key = NULL;

    while (st == BL_OK && bl_elements_next(&all)) {
        bl_free(key);
        if (!(key = bl_format_text(e, "%.*s", (int)all.n_key, all.key))) return BL_E_NOMEM;
        st = bl_seen_add(&r->seen, key, all.line, &first, e);
        if (st == BL_OK && first)
            st = bl_fail(e, BL_E_FORMAT,
                         "%s:%" PRId64 ": key %s comes twice, first in line %" PRId64
                         "; expected another for every row",
                         r->path, all.line, key, first);
    }
    bl_free(key);
    return st;
}

/* One array, the array that is a member of the one object, or the object itself: checked as a whole, so that a file is
 * refused before its first row is used. */
static bl_status whole_document(bl_rows *r, const char *list, bool keyed, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    const bl_json *array;
    int member = -1;

    if (keyed) BL_TRY(distinct_keys(r, e));
    BL_TRY(bl_json_parse(r->text + r->at, r->n - r->at, r->path, BL_JSON_PLAIN, &doc, e));
    array = doc;
    if (list) {
        BL_TRY(bl_json_need(doc, list, &array, e));
        for (const bl_json *m = bl_json_first(doc); m; m = bl_json_next(m)) {
            member++;
            if (m == array) break;
        }
    }
    if (bl_json_kind(array) != (keyed ? BL_JSON_OBJECT : BL_JSON_ARRAY)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: '%s' is not an array", r->path, list);
        goto out;
    }
    r->elements = bl_elements_of(r->text + r->at, r->n - r->at, member, 1);
out:
    bl_json_free(doc);
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

/* A row that is JSON text, at `where`. */
static bl_status take(bl_rows *r, const char *s, size_t n, bl_err *e)
{
    bl_status st = bl_text_check(&r->where, e);
    if (st == BL_OK && n > r->max_row)
        st = bl_fail(e, BL_E_FORMAT, "%s: a row of %zu bytes, expected at most %zu", r->where.s, n, r->max_row);
    return st == BL_OK ? bl_json_parse(s, n, r->where.s, BL_JSON_PLAIN, &r->doc, e) : st;
}

/* The next row of a file, r->doc NULL at its end. */
static bl_status next_element(bl_rows *r, bl_err *e)
{
    if (!bl_elements_next(&r->elements)) return BL_OK;
    r->line = r->elements.line;
    r->element++;
    place(r);
    return take(r, r->elements.value, r->elements.n_value, e);
}

static bl_status next_record(bl_rows *r, bl_err *e)
{
    const char *json;
    size_t n;
    bl_status st = bl_csv_next(r->csv, &json, &n, &r->line, e);
    if (st != BL_OK || !json) return st;
    place(r);
    st = bl_text_check(&r->where, e);
    return st == BL_OK ? bl_json_parse(json, n, r->where.s, BL_JSON_PLAIN, &r->doc, e) : st;
}

static bl_status next_line(bl_rows *r, bl_err *e)
{
    while (r->at < r->n) { /* only "\n" ends a line: strings may hold U+2028 and others */
        const char *s = r->text + r->at, *end = memchr(s, '\n', r->n - r->at);
        size_t len = end ? (size_t)(end - s) : r->n - r->at;
        r->at += len + (end != NULL);
        r->line = r->next_line++;
        if (only_spaces(s, len)) continue;
        place(r);
        return take(r, s, len, e);
    }
    return BL_OK;
}

bl_status bl_rows_json(bl_rows *r, const bl_json **row, bl_err *e)
{
    bl_status st;

    bl_json_free(r->doc);
    r->doc = NULL;
    st = r->array ? next_element(r, e) : r->csv ? next_record(r, e) : next_line(r, e);
    *row = st == BL_OK ? r->doc : NULL;
    return st;
}

/* ---- what is wrong with a row ---- */
bl_status bl_rows_within(const bl_rows *r, bl_status st, bl_err *e)
{
    if (st != BL_OK && e && !strstr(e->text, bl_rows_where(r))) bl_within(e, "%s", bl_rows_where(r));
    return st;
}

bl_status bl_rows_once(bl_rows *r, const bl_json *row, bl_err *e)
{
    static const char *const keys[] = {"id", "ID", "qid", "qID", "iIndex", "idx", "ind", "question_id"};
    bl_status st = BL_OK;
    const bl_json *v = NULL;
    const char *key = NULL, *id;
    bl_text text = {0}, shown = {0};
    int64_t first;
    double x;

    for (size_t k = 0; k < BL_COUNT(keys) && !v; k++) v = bl_json_get(row, key = keys[k]);
    if (bl_json_kind(v) == BL_JSON_NUMBER) {
        BL_TRY(bl_json_real(v, &x, e));
        bl_text_addf(&text, "%.17g", x);
    } else if (bl_json_kind(v) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(v, &id, e));
        if (!id[strspn(id, " \t\r\n")]) {
            st = bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text", key);
            goto out;
        }
        bl_text_add(&text, id);
        bl_json_put_str(&shown, id, strlen(id));
    } else {
        if (v && bl_json_kind(v) != BL_JSON_NULL)
            st = bl_fail(e, BL_E_FORMAT, "'%s' is neither a number nor a text, expected one of them", key);
        goto out; /* it has none */
    }
    BL_TRY(bl_text_check(&text, e));
    BL_TRY(bl_text_check(&shown, e));
    BL_TRY(bl_seen_add(&r->seen, text.s, number_of(r), &first, e));
    if (first)
        st = bl_fail(e, BL_E_FORMAT, "%s %s comes twice, first in %s %" PRId64 "; expected another for every row", key,
                     shown.n ? shown.s : text.s, counted_as(r), first);
out:
    bl_text_free(&shown);
    bl_text_free(&text);
    return bl_rows_within(r, st, e);
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
        if (bl_rows_within(r, st, e) != BL_OK) goto out;
    }
out:
    bl_rows_close(r);
    return st;
}

static bl_status said_once(bl_rows *r, const void *item, void (*said)(const void *, bl_text *), bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    int64_t first;

    said(item, &t);
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(bl_seen_add(&r->said, t.s, number_of(r), &first, e));
    if (first)
        st = bl_fail(e, BL_E_FORMAT,
                     "the same question comes twice, first in %s %" PRId64 "; expected another for every row",
                     counted_as(r), first);
out:
    bl_text_free(&t);
    return st;
}

bl_status bl_rows_items(const char *path, const bl_rows_layout *how, bl_row_item *read, const void *ctx, size_t size,
                        bl_arena *a, void **out, int64_t *n, bl_hash *hash, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows_layout layout = *how;
    bl_rows *r = NULL;
    char *list = NULL, *kept, *item;
    size_t count = 0, cap = 0;
    const bl_json *j;

    if (!layout.max_row) layout.max_row = BL_ROW_MAX;
    BL_TRY(bl_rows_open_as(path, &layout, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        BL_TRY(bl_grow(&list, &cap, count + 1, size, e));
        item = list + count * size;
        memset(item, 0, size);
        st = bl_json_kind(j) == BL_JSON_OBJECT ? read(ctx, (int64_t)count, j, a, item, e)
                                               : bl_fail(e, BL_E_FORMAT, "expected an object");
        if (st == BL_OK) st = bl_rows_once(r, j, e);
        if (st == BL_OK && layout.said) st = said_once(r, item, layout.said, e);
        if (bl_rows_within(r, st, e) != BL_OK) goto out;
        count++;
    }
    if (st != BL_OK) goto out;
    if (!count) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no rows, expected at least one", path);
        goto out;
    }
    if (!(kept = bl_alloc(a, count, size, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(kept, list, count * size);
    *out = kept;
    *n = (int64_t)count;
    *hash = bl_rows_hash(r);
out:
    bl_rows_close(r);
    bl_free(list);
    return st;
}
