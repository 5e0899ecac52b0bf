/* verb_judge.c - which of several answers fits a question best, by the vectors that a model or a text encoder makes of
 * them. */
#include "maker.h"
#include "kernels/base/utf8.h"
#include "results/qim.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_maker maker;
    int64_t levels;
    double clip;
} opts;
static const bl_opt rows[] = {
    {"levels", BL_OPT_INT, .min = 2, .max = BL_QIM_LEVELS, .def.i = 16, .at = offsetof(opts, levels), .arg = "K",
     .doc = "of the Quantized Influence Measure"},
    {"clip", BL_OPT_REAL, .min = 0, .max = 49, .at = offsetof(opts, clip), .arg = "P",
     .doc = "coordinates of a vector beyond its percentiles P and 100 - P become these before "
            "the measure, not before the cosine; 0: none"},
    BL_MAKER_ROWS(opts, maker),
    BL_COMMON_ROWS(opts, common),
    {0}};

enum { SHORT = 3 }; /* characters: an answer of so many scores 0 */

static int first_best(const double *v, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return (int)best;
}

static void put_list(bl_json_out *j, const char *key, const double *v, size_t n)
{
    bl_json_array(j, key);
    for (size_t i = 0; i < n; i++) bl_json_add_real(j, NULL, v[i]);
    bl_json_end(j);
}

static bl_status vector(bl_maker *m, bl_arena *a, const char *text, double **out, bl_err *e)
{
    bl_status st = BL_OK;
    float *f = bl_alloc(a, (size_t)m->dim, sizeof *f, e);
    if (!f || !(*out = bl_alloc(a, (size_t)m->dim, sizeof **out, e))) return BL_E_NOMEM;
    if (!m->x) return bl_engine_embed(m->s.engine, &text, 1, *out, e);
    BL_TRY(bl_maker_vectors(m, &text, 1, f, e));
    for (int64_t i = 0; i < m->dim; i++) (*out)[i] = f[i];
out:
    return st;
}

static bl_status clip(const double *v, int64_t n, double percent, bl_arena *a, double **out, bl_err *e)
{
    if (!(*out = bl_alloc(a, (size_t)n, sizeof **out, e))) return BL_E_NOMEM;
    memcpy(*out, v, (size_t)n * sizeof **out);
    return bl_qim_clip(*out, n, percent, e);
}

/* {"question": …, "candidates": […]} */
static bl_status judge(bl_maker *m, const opts *o, const bl_json *line, bl_text *t, bl_err *e)
{
    static const char *const keys[] = {"question", "candidates", NULL};
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    const bl_json *list;
    const char *text;
    double *question, *answer, *clipped, *qim, *first, *norm, *cosine;
    int64_t dim = m->dim;
    int cells = 0;
    size_t n = 0;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_json_only(line, keys, e));
    BL_TRY(bl_maker_text(line, "question", &text, e));
    BL_TRY(bl_json_need(line, "candidates", &list, e));
    if (bl_json_kind(list) != BL_JSON_ARRAY || !bl_json_size(list)) {
        st = bl_fail(e, BL_E_FORMAT, "'candidates' is no list of texts, or an empty one");
        goto out;
    }
    if (!(qim = bl_alloc(a, bl_json_size(list), sizeof *qim, e)) ||
        !(first = bl_alloc(a, bl_json_size(list), sizeof *first, e)) ||
        !(norm = bl_alloc(a, bl_json_size(list), sizeof *norm, e)) ||
        !(cosine = bl_alloc(a, bl_json_size(list), sizeof *cosine, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(vector(m, a, text, &question, e));
    BL_TRY(clip(question, dim, o->clip, a, &clipped, e));
    for (const bl_json *c = bl_json_first(list); c; c = bl_json_next(c), n++) {
        BL_TRY(bl_json_str(c, &text, e));
        BL_TRY(vector(m, a, text, &answer, e));
        double *inside;
        BL_TRY(clip(answer, dim, o->clip, a, &inside, e));
        bl_qim q = bl_qim_of(clipped, inside, dim, (int)o->levels);
        cells = q.cells;
        if (bl_utf8_count(text, strlen(text)) <= SHORT) continue;
        qim[n] = q.value;
        first[n] = q.first_version;
        norm[n] = q.i_norm;
        cosine[n] = bl_cosine(question, answer, dim);
    }
    bl_json_out j = {.t = t, .compact = true};
    bl_json_object(&j, NULL);
    put_list(&j, "qim", qim, n);
    put_list(&j, "qim_v1", first, n);
    put_list(&j, "i_norm", norm, n);
    put_list(&j, "cosine", cosine, n);
    bl_json_add_int(&j, "pick_qim", first_best(qim, n));
    bl_json_add_int(&j, "pick_cosine", first_best(cosine, n));
    bl_json_add_int(&j, "cells", cells);
    bl_json_end(&j);
    bl_text_add(t, "\n");
out:
    bl_arena_free(a);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_maker m = {0};
    bl_lines lines = {0};
    bl_text t = {0};
    bl_json *line = NULL;
    (void)p;
    (void)exit_code;

    BL_TRY(bl_lines_open(args->pos[0], &lines, e));
    BL_TRY(bl_maker_open(&m, "judge", &o->maker, o->common.threads, e));
    for (;;) {
        BL_TRY(bl_lines_json(&lines, &line, e));
        if (!line) break;
        if ((st = judge(&m, o, line, &t, e)) != BL_OK) {
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
    bl_maker_close(&m);
    return st;
}

const bl_verb bl_verb_judge = {
    .name = "judge",
    .args = "FILE|-",
    .line = "which answer fits a question, by the vectors of a model or an encoder",
    .doc =
        "Of each line {\"question\": ..., \"candidates\": [...]} the candidate that fits best: by the Quantized "
        "Influence Measure and by the cosine of the vectors of question and candidate (the mean of the model's final "
        "states over the tokens, without BOS; of an encoder the mean over all tokens). A candidate of three characters "
        "or fewer scores 0; the first of equal "
        "ones is picked. qim_v1: its authors' first version, a mean over cells; i_norm: the I-score, over the variance "
        "instead of the deviation. cells: levels of the question that are occupied; where a few large coordinates "
        "leave only some, --clip 1.",
    .example = "bitladder judge --model smollm2.gguf answers.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
