/* source_plain.c - texts that are one file: Penn Treebank, C4, the primer, a user's own. */
#include "data_impl.h"
#include "pytext.h"
#include <string.h>

static bl_status keep(bl_arena *a, const bl_text *stream, bl_source_text *t, bl_err *e)
{
    if (bl_text_check(stream, e) != BL_OK) return BL_E_NOMEM;
    if (stream->n == 0) return bl_fail(e, BL_E_FORMAT, "%s: no text in it", t->path);
    t->n_stream = stream->n;
    t->stream = bl_arena_str(a, stream->s, stream->n, e);
    return t->stream ? BL_OK : BL_E_NOMEM;
}

/* Rows of a text file, stripped, joined with `between`. */
static bl_status load_lines(const char *source, const char *const *names, const char *between, const bl_data_dirs *d,
                            bl_arena *a, bl_source_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text t = {0};
    bl_text stream = {0};
    char *s = NULL;
    size_t n = 0;

    BL_TRY(bl_data_find(d, names, bl_source_find(source)->where, a, &t.path, NULL, e));
    BL_TRY(bl_text_file(t.path, 0, &s, &n, &t.hash, e));
    t.note = bl_source_note(bl_text_oddities(s, n) & BL_TEXT_MARK); /* the CR goes with the white space */
    for (size_t at = 0; at < n;) {
        const char *row = s + at, *end = memchr(row, '\n', n - at);
        size_t len = end ? (size_t)(end - row) : n - at;
        if (at > 0) bl_text_add(&stream, between);
        at += len + (end != NULL);
        bl_strip(&row, &len);
        bl_text_addn(&stream, row, len);
    }
    BL_TRY(keep(a, &stream, &t, e));
    *out = t;
out:
    bl_free(s);
    bl_text_free(&stream);
    return st;
}

/* Field "text" of the first `most` JSON lines (0: all), joined with `between`. */
static bl_status join_rows(const char *path, int64_t most, const char *between, bl_arena *a, bl_source_text *out,
                           bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text t = {.path = path};
    bl_text stream = {0};
    bl_rows *r = NULL;
    const bl_json *row;
    const char *text;

    BL_TRY(bl_rows_open(t.path, &r, e));
    for (int64_t i = 0; (most == 0 || i < most) && (st = bl_rows_json(r, &row, e)) == BL_OK && row; i++) {
        BL_TRY(bl_json_get_str(row, "text", &text, e));
        if (i > 0) bl_text_add(&stream, between);
        bl_text_add(&stream, text);
    }
    if (st != BL_OK) goto out;
    t.hash = bl_rows_hash(r);
    BL_TRY(keep(a, &stream, &t, e));
    *out = t;
out:
    bl_rows_close(r);
    bl_text_free(&stream);
    return st;
}

static bl_status load_documents(const char *source, const char *const *names, int64_t most, const bl_data_dirs *d,
                                bl_arena *a, bl_source_text *out, bl_err *e)
{
    const char *path;
    bl_status st = bl_data_find(d, names, bl_source_find(source)->where, a, &path, NULL, e);
    return st == BL_OK ? join_rows(path, most, " ", a, out, e) : st;
}

/* The whole of a text file. */
static bl_status load_whole(const char *path, bl_arena *a, bl_source_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text t = {.path = path};
    bl_text s = {0};
    BL_TRY(bl_text_file(t.path, 0, &s.s, &s.n, &t.hash, e));
    t.note = bl_source_note(bl_text_oddities(s.s, s.n));
    BL_TRY(keep(a, &s, &t, e));
    t.raw = t.stream;
    t.n_raw = t.n_stream;
    *out = t;
out:
    bl_text_free(&s);
    return st;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

bl_status bl_source_own(const char *path, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const rows[] = {".jsonl", ".json", ".jsonl.gz", ".json.gz"};
    const char *kept = bl_arena_str(a, path, strlen(path), e);
    if (!kept) return BL_E_NOMEM;
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        if (ends_with(path, rows[i])) return join_rows(kept, 0, "\n\n", a, out, e);
    return load_whole(kept, a, out, e);
}

static const char *const ptb_train[] = {"ptb/ptb.train.txt", "simple-examples/data/ptb.train.txt", "ptb.train.txt",
                                        NULL};

bl_status bl_source_load_ptb(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"ptb/ptb.valid.txt", "simple-examples/data/ptb.valid.txt", "ptb.valid.txt",
                                        NULL};
    return load_lines("ptb", names, "\n\n", d, a, out, e);
}

bl_status bl_source_load_ptb_train(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load_lines("ptb:train", ptb_train, "\n\n", d, a, out, e);
}

bl_status bl_source_load_ptb_new_train(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load_lines("ptb-new:train", ptb_train, " ", d, a, out, e);
}

bl_status bl_source_load_c4_web(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"c4/web_calibration.utf8", "web_calibration.utf8", NULL};
    return load_lines("c4-web:train", names, " ", d, a, out, e);
}

bl_status bl_source_load_c4_train(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"c4/en/c4-train.00000-of-01024.json", "c4/c4-train.00000-of-01024.json", NULL};
    return load_documents("c4:train", names, 10000, d, a, out, e);
}

bl_status bl_source_load_ptb_new(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"ptb/ptb.test.txt", "simple-examples/data/ptb.test.txt", "ptb.test.txt", NULL};
    return load_lines("ptb-new", names, " ", d, a, out, e);
}

bl_status bl_source_load_c4_demo(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"c4/c4_demo.jsonl", "c4_demo.jsonl", NULL};
    return load_documents("c4-demo", names, 0, d, a, out, e);
}

/* The rule of "c4-new" in the GPTQ code; its "c4" draws windows with Python's random numbers and cannot be repeated. */
bl_status bl_source_load_c4(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"c4/en/c4-validation.00000-of-00008.json",
                                        "c4/c4-validation.00000-of-00008.json", "c4/c4-validation.00000-of-00512.json",
                                        NULL};
    bl_status st = load_documents("c4", names, 1100, d, a, out, e);
    if (st == BL_OK) out->max_windows = 256;
    return st;
}

bl_status bl_source_load_primer(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    static const char *const names[] = {"primer/primer.txt", NULL};
    const char *path;
    bl_status st = bl_data_find(d, names, bl_source_find("primer")->where, a, &path, NULL, e);
    return st == BL_OK ? load_whole(path, a, out, e) : st;
}
