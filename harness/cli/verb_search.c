/* verb_search.c - the rows of an index that are nearest to a question. */
#include "maker.h"
#include "kernels/index.h"
#include "results/qim.h"
#include "results/vectors.h"
#include <math.h>
#include <string.h>

enum { BY_COSINE, BY_QIM };
static const char *const measures[] = {"cosine", "qim", NULL};
typedef struct opts {
    bl_cli_common common;
    bl_cli_maker maker;
    int64_t most, levels;
    int by;
} opts;
static const bl_opt rows[] = {
    {"most", BL_OPT_INT, .min = 1, .max = 1000, .def.i = 5, .at = offsetof(opts, most), .arg = "K", .letter = 'k',
     .doc = "rows for a question"},
    {"by", BL_OPT_CHOICE, .choices = measures, .def.choice = BY_COSINE, .at = offsetof(opts, by),
     .doc = "what nearest means: the cosine, or the Quantized Influence Measure of question and row"},
    {"levels", BL_OPT_INT, .min = 2, .max = BL_QIM_LEVELS, .def.i = 16, .at = offsetof(opts, levels), .arg = "K",
     .doc = "of the Quantized Influence Measure"},
    BL_MAKER_ROWS(opts, maker),
    BL_COMMON_ROWS(opts, common),
    {0}};

typedef struct search {
    const opts *o;
    bl_maker m;
    bl_vectors v;
    bl_index *index;
    bl_backend *be; /* of the index: the CPU */
    float *query;
    double *x, *y; /* query and row of the measure */
    bl_near *found;
} search;

static bl_qim qim_of(search *s, int64_t row)
{
    for (int64_t d = 0; d < s->v.dim; d++) s->y[d] = s->v.row[row * s->v.dim + d];
    return bl_qim_of(s->x, s->y, s->v.dim, (int)s->o->levels);
}

static bl_status nearest(search *s, bl_err *e)
{
    int64_t k = s->o->most, have = 0;
    if (s->o->by == BY_COSINE) return bl_index_find(s->index, s->query, 1, k, s->found, NULL, e);
    for (int64_t r = 0; r < s->v.n; r++) {
        bl_near new = {r, qim_of(s, r).value};
        int64_t i = BL_MIN(have, k - 1);
        if (have == k && new.score <= s->found[i].score) continue;
        for (; i > 0 && new.score > s->found[i - 1].score; i--) s->found[i] = s->found[i - 1];
        s->found[i] = new;
        have = BL_MIN(have + 1, k);
    }
    for (; have < k; have++) s->found[have].row = -1;
    return BL_OK;
}

/* {"question": …} */
static bl_status answer(search *s, const bl_json *line, bl_text *t, bl_err *e)
{
    static const char *const keys[] = {"question", NULL};
    bl_status st = BL_OK;
    const char *text;

    BL_TRY(bl_json_only(line, keys, e));
    BL_TRY(bl_maker_text(line, "question", &text, e));
    BL_TRY(bl_maker_vectors(&s->m, &text, 1, s->query, e));
    for (int64_t d = 0; d < s->v.dim; d++) s->x[d] = s->query[d];
    BL_TRY(nearest(s, e));
    bl_json_out j = {.t = t, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "question", text);
    bl_json_array(&j, "found");
    for (int64_t i = 0; i < s->o->most && s->found[i].row >= 0; i++) {
        int64_t row = s->found[i].row;
        bl_qim q = qim_of(s, row);
        bl_json_object(&j, NULL);
        bl_json_add_int(&j, "row", row + 1);
        bl_json_add_real(&j, "cosine", bl_cosine(s->x, s->y, s->v.dim));
        bl_json_add_real(&j, "qim", q.value);
        bl_json_add_text(&j, "entry", s->v.entry[row]);
        bl_json_end(&j);
    }
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(t, "\n");
out:
    return st;
}

static bl_status open_search(search *s, const opts *o, const char *path, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    s->o = o;
    BL_TRY(bl_vectors_read(path, a, &s->v, e));
    BL_TRY(bl_maker_open(&s->m, "search", &o->maker, o->common.threads, e));
    if (!bl_hash_equal(s->m.hash, s->v.hash) || s->m.dim != s->v.dim) {
        st = bl_fail(e, BL_E_CONFIG, "%s: its vectors were made by %s, which is not this %s", path, s->v.by, s->m.by);
        goto out;
    }
    size_t dim = (size_t)s->v.dim;
    if (!(s->query = bl_alloc(a, dim, sizeof *s->query, e)) || !(s->x = bl_alloc(a, dim, sizeof *s->x, e)) ||
        !(s->y = bl_alloc(a, dim, sizeof *s->y, e)) ||
        !(s->found = bl_alloc(a, (size_t)o->most, sizeof *s->found, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = (int)o->common.threads}, &s->be, e));
    BL_TRY(bl_index_new(s->be, s->v.row, s->v.n, s->v.dim, &s->index, e));
out:
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    search s = {0};
    bl_arena *a = NULL;
    bl_lines lines = {0};
    bl_json *line = NULL;
    bl_text t = {0};
    (void)p;
    (void)exit_code;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_lines_open(args->pos[1], &lines, e));
    BL_TRY(open_search(&s, options, args->pos[0], a, e));
    for (;;) {
        BL_TRY(bl_lines_json(&lines, &line, e));
        if (!line) break;
        if ((st = answer(&s, line, &t, e)) != BL_OK) {
            bl_lines_within(&lines, e);
            goto out;
        }
        bl_json_free(line);
        line = NULL;
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_json_free(line);
    bl_text_free(&t);
    bl_lines_close(&lines);
    bl_index_free(s.index);
    bl_backend_close(s.be);
    bl_maker_close(&s.m);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_search = {
    .name = "search",
    .args = "INDEX FILE|-",
    .line = "the rows of an index that are nearest to a question",
    .doc =
        "Of each line {\"question\": ...} the K rows of an index (bitladder index) that are nearest, the best first, "
        "with both measures. Exact: the vectors are looked at in 8 bits, and those that could be among the K are "
        "compared in full. The model or encoder must be the one that made the index.",
    .example = "bitladder search --encoder all-MiniLM-L6-v2 -k 3 faq.h5 questions.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 2,
    .max_args = 2,
    .computes = true,
    .run = run,
};
