/* verb_index.c - the vectors of the rows of a file, kept in HDF5, to be searched. */
#include "maker.h"
#include "harness/data/reader.h"
#include "kernels/base/fs.h"
#include "results/vectors.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_maker maker;
    const char *field, *out;
} opts;
static const bl_opt rows[] = {
    {"field", BL_OPT_TEXT, .def.s = "text", .at = offsetof(opts, field), .arg = "NAME",
     .doc = "of a row: the text that its vector is of; a question, where questions are looked for"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o', .doc = "vectors.h5 to write"},
    BL_MAKER_ROWS(opts, maker),
    BL_COMMON_ROWS(opts, common),
    {0}};

enum { TOGETHER = 256 }; /* texts of a call */

typedef struct entries {
    const char **text, **entry;
    size_t n, cap[2];
} entries;

static bl_status take(const bl_json *j, const char *field, bl_arena *a, entries *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const char *text;
    BL_TRY(bl_maker_text(j, field, &text, e));
    BL_TRY(bl_grow(&s->text, &s->cap[0], s->n + 1, sizeof *s->text, e));
    BL_TRY(bl_grow(&s->entry, &s->cap[1], s->n + 1, sizeof *s->entry, e));
    bl_json_put_node(&t, j);
    BL_TRY(bl_text_check(&t, e));
    s->text[s->n] = bl_arena_str(a, text, strlen(text), e);
    s->entry[s->n] = bl_arena_str(a, t.s, t.n, e);
    if (!s->text[s->n] || !s->entry[s->n]) st = BL_E_NOMEM;
    s->n++;
out:
    bl_text_free(&t);
    return st;
}

static bl_status read_rows(const char *path, const char *field, bl_arena *a, entries *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    const bl_json *j;
    BL_TRY(bl_rows_open_as(path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        st = take(j, field, a, s, e);
        BL_TRY(bl_rows_within(r, st, e));
        BL_TRY(bl_rows_once(r, j, e));
    }
    if (st == BL_OK && !s->n) st = bl_fail(e, BL_E_FORMAT, "%s: no rows, expected at least one", path);
out:
    bl_rows_close(r);
    return st;
}

/* What is at `path` is made anew where its head is that of a shard; the rows themselves, say, are not. */
static bl_status may_write(const char *path, bl_err *e)
{
    static const char head[] = "\x89"
                               "BLD\r\n\x1a\n";
    bl_status st = BL_OK;
    bl_map m = {.fd = -1};
    if (!bl_exists(path)) return BL_OK;
    BL_TRY(bl_map_open(path, &m, e));
    if (m.size < sizeof head - 1 || memcmp(m.data, head, sizeof head - 1) != 0)
        st = bl_fail(e, BL_E_CONFIG, "%s exists and is no index, expected another name for --output", path);
    bl_map_close(&m);
out:
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_maker m = {0};
    bl_arena *a = NULL;
    entries s = {0};
    float *row = NULL;
    (void)p;
    (void)exit_code;

    if (!o->out) return bl_fail(e, BL_E_CONFIG, "index needs --output FILE");
    BL_TRY(may_write(o->out, e));
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(read_rows(args->pos[0], o->field, a, &s, e));
    BL_TRY(bl_maker_open(&m, "index", &o->maker, o->common.threads, e));
    if (!(row = bl_new(s.n, (size_t)m.dim * sizeof *row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < s.n; i += TOGETHER) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "stopped after %zu of %zu rows; nothing was written", i, s.n);
            goto out;
        }
        BL_TRY(
            bl_maker_vectors(&m, s.text + i, (int64_t)BL_MIN(s.n - i, (size_t)TOGETHER), row + i * (size_t)m.dim, e));
    }
    BL_TRY(bl_vectors_write(o->out,
                            &(bl_vectors){.n = (int64_t)s.n,
                                          .dim = m.dim,
                                          .row = row,
                                          .entry = s.entry,
                                          .by = m.by,
                                          .field = o->field,
                                          .hash = m.hash},
                            e));
    if (!o->common.quiet) printf("%s: %zu vectors of %lld, by %s\n", o->out, s.n, (long long)m.dim, m.by);
out:
    bl_free(row);
    bl_free(s.text);
    bl_free(s.entry);
    bl_maker_close(&m);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_index = {
    .name = "index",
    .args = "FILE",
    .line = "keep the vectors of the rows of a file, for search",
    .doc = "Makes a vector of one text of each row of FILE (JSON lines, a JSON array or CSV, plain or gzip) and writes "
           "vectors and rows to an HDF5 file. A row without that text, with an empty one, with the 'id' of another, or "
           "of more than a million bytes is refused.",
    .example = "bitladder index --encoder all-MiniLM-L6-v2 --field question -o faq.h5 faq.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
