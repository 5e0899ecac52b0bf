/* source_wikitext2.c - WikiText, as three published protocols read it.
 *
 *     raw      the file's bytes                                                        (llama.cpp)
 *     stream   the rows of the Hub joined with two newlines                            (GPTQ and its followers)
 *     doc      62 documents, detokenized                                               (lm-evaluation-harness)
 *
 * The Hub has one row a line: a line of spaces is the empty row, every other keeps its spaces and its newline. From a
 * JSON-lines export of those rows the file is put together again: an empty row is the line " \n".
 */
#include "data_impl.h"
#include "pytext.h"
#include <string.h>

/* Where the rows of a split are, as a raw file or as an export. */
#define RAW(split)                                                                                                     \
    "wikitext2/wiki." split ".raw", "wikitext-2-raw/wiki." split ".raw", "wikitext-2-raw-v1/wiki." split ".raw",       \
        "wiki." split ".raw"
#define EXPORT(split)                                                                                                  \
    "wikitext2/" split ".jsonl", "wikitext-2-raw-v1/" split ".jsonl", "wikitext/wikitext-2-raw-v1/" split ".jsonl"
static const char *const test_names[] = {RAW("test"), EXPORT("test"), NULL},
                         *const valid_names[] = {RAW("valid"), EXPORT("validation"), NULL},
                         *const train_names[] = {RAW("train"), EXPORT("train"), NULL},
                         *const valid103_names[] = {"wikitext2/wiki.valid.wt103", "wikitext-103/wiki.valid.tokens",
                                                    NULL};

static bl_status read_export(const char *path, bl_text *raw, bl_hash *hash, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    const bl_json *row;
    const char *text;

    BL_TRY(bl_rows_open(path, &r, e));
    while ((st = bl_rows_json(r, &row, e)) == BL_OK && row) {
        BL_TRY(bl_json_get_str(row, "text", &text, e));
        bl_text_add(raw, *text ? text : " \n");
    }
    if (st == BL_OK) st = bl_text_check(raw, e);
    *hash = bl_rows_hash(r);
out:
    bl_rows_close(r);
    return st;
}

/* The lines of a text, newline included; the last may lack it. */
typedef struct lines {
    const char *s;
    size_t n, at;
} lines;
static bool next_line(lines *l, const char **line, size_t *n)
{
    if (l->at == l->n) return false;
    const char *s = l->s + l->at, *end = memchr(s, '\n', l->n - l->at);
    *line = s;
    *n = end ? (size_t)(end - s) + 1 : l->n - l->at;
    l->at += *n;
    return true;
}

static bool only_spaces(const char *s, size_t n)
{
    size_t k = n;
    bl_strip(&s, &k);
    return k == 0;
}

static void join_rows(const char *raw, size_t n, bl_text *out)
{
    lines l = {raw, n, 0};
    const char *line;
    size_t k;

    for (bool first = true; next_line(&l, &line, &k); first = false) {
        if (!first) bl_text_addn(out, "\n\n", 2);
        if (!only_spaces(line, k)) bl_text_addn(out, line, k);
    }
}

/* A title line of level one: "= " … " =" once "= = =" and "= =" are drawn together. */
static bool is_title(const char *line, size_t n, bl_text *scratch)
{
    const char *s;
    size_t k;
    bool yes;

    bl_text three = {0};
    bl_replace(&three, line, n, "= = =", "===");
    scratch->n = 0;
    bl_replace(scratch, three.s, three.n, "= =", "==");
    s = scratch->s;
    k = scratch->n;
    bl_strip(&s, &k);
    yes = k >= 4 && !memcmp(s, "= ", 2) && !memcmp(s + k - 2, " =", 2);
    if (three.failed) scratch->failed = true;
    bl_text_free(&three);
    return yes;
}

static bl_status add_document(bl_source_doc **doc, size_t *n, size_t *cap, const char *s, size_t len, bl_arena *a,
                              bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    char *kept;

    BL_TRY(bl_grow(doc, cap, *n + 1, sizeof **doc, e));
    BL_TRY(bl_detokenize(s, len, &t, e));
    if (!(kept = bl_arena_str(a, t.s ? t.s : "", t.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    (*doc)[(*n)++] = (bl_source_doc){.text = kept, .n = t.n, .words = bl_count_words(s, len), .bytes = (int64_t)len};
out:
    bl_text_free(&t);
    return st;
}

/* A document is the lines from one title up to the next, without the newline before that title; empty ones are dropped.
 */
bl_status bl_source_documents(bl_arena *a, bl_source_text *out, bl_err *e)
{
    const char *raw = out->raw;
    size_t n = out->n_raw;
    bl_status st = BL_OK;
    bl_text scratch = {0};
    bl_source_doc *doc = NULL, *kept;
    size_t n_docs = 0, cap = 0, from = 0, at = 0;
    lines l = {raw, n, 0};
    const char *line;
    size_t k;

    for (; next_line(&l, &line, &k); at = l.at) {
        if (!is_title(line, k, &scratch)) continue;
        size_t len = at > from ? at - from - 1 : 0;
        if (!only_spaces(raw + from, len)) BL_TRY(add_document(&doc, &n_docs, &cap, raw + from, len, a, e));
        from = at;
    }
    BL_TRY(add_document(&doc, &n_docs, &cap, raw + from, n - from, a, e));
    BL_TRY(bl_text_check(&scratch, e));
    if (!(kept = bl_alloc(a, n_docs, sizeof *kept, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(kept, doc, n_docs * sizeof *kept);
    out->doc = kept;
    out->n_docs = n_docs;
out:
    bl_free(doc);
    bl_text_free(&scratch);
    return st;
}

static bl_status load(const char *source, const char *const *names, const bl_data_dirs *d, bl_arena *a,
                      bl_source_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text t = {0};
    bl_text raw = {0}, stream = {0};
    int which;

    BL_TRY(bl_data_find(d, names, bl_source_find(source)->where, a, &t.path, &which, e));
    const char *end = strrchr(names[which], '.');
    if (strcmp(end, ".jsonl") != 0) {
        char *s;
        BL_TRY(bl_text_file(t.path, 0, &s, &raw.n, &t.hash, e));
        raw.s = s;
        t.note = bl_source_note(bl_text_oddities(raw.s, raw.n));
    } else {
        BL_TRY(read_export(t.path, &raw, &t.hash, e));
    }
    if (raw.n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no text in it", t.path);
        goto out;
    }

    join_rows(raw.s, raw.n, &stream);
    BL_TRY(bl_text_check(&stream, e));
    t.n_raw = raw.n;
    t.n_stream = stream.n;
    if (!(t.raw = bl_arena_str(a, raw.s, raw.n, e)) || !(t.stream = bl_arena_str(a, stream.s, stream.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *out = t;
out:
    bl_text_free(&stream);
    bl_text_free(&raw);
    return st;
}

bl_status bl_source_load_wikitext2(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load("wikitext2:test", test_names, d, a, out, e);
}
bl_status bl_source_load_wikitext2_valid(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load("wikitext2:valid", valid_names, d, a, out, e);
}
bl_status bl_source_load_wikitext2_train(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load("wikitext2:train", train_names, d, a, out, e);
}
bl_status bl_source_load_wikitext103_valid(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e)
{
    return load("wikitext103:valid", valid103_names, d, a, out, e);
}
