/* sample.c - building and copying samples. */
#include "sample.h"
#include "kernels/base/utf8.h"
#include <string.h>

const char *bl_sample_flag_name(int i)
{
    static const char *const names[] = {"tie", "truncated", "boundary", "hit_limit", "no_answer", "unscored"};
    return i >= 0 && (size_t)i < BL_COUNT(names) ? names[i] : NULL;
}

static bl_status numbers(const double **out, int *n_out, bl_arena *a, const double *v, int n, bl_err *e)
{
    double *copy = bl_alloc(a, (size_t)n, sizeof *copy, e);
    if (!copy) return BL_E_NOMEM;
    if (n) memcpy(copy, v, (size_t)n * sizeof *v);
    *out = copy;
    *n_out = n;
    return BL_OK;
}

bl_status bl_sample_scores(bl_sample *s, bl_arena *a, const double *v, int n, bl_err *e)
{
    return numbers(&s->score, &s->n_scores, a, v, n, e);
}

bl_status bl_sample_values(bl_sample *s, bl_arena *a, const double *v, int n, bl_err *e)
{
    return numbers(&s->value, &s->n_values, a, v, n, e);
}

/* Lists are short, so a longer one is a new one. */
static bl_status add_text(const char *const **list, int *n, bl_arena *a, const char *text, size_t len, bl_err *e)
{
    const char **more = bl_alloc(a, (size_t)*n + 1, sizeof *more, e);
    if (!more) return BL_E_NOMEM;
    if (*n) memcpy(more, *list, (size_t)*n * sizeof *more);
    if (text && !(more[*n] = bl_arena_str(a, text, len, e))) return BL_E_NOMEM;
    *list = more;
    ++*n;
    return BL_OK;
}

bl_status bl_sample_reply(bl_sample *s, bl_arena *a, const char *text, bl_err *e)
{
    return add_text(&s->reply, &s->n_replies, a, text ? text : "", text ? strlen(text) : 0, e);
}

bl_status bl_sample_answer(bl_sample *s, bl_arena *a, const char *text, size_t n, bl_err *e)
{
    return add_text(&s->answer, &s->n_answers, a, text, n, e);
}

static bl_status copy_text(bl_arena *a, const char *text, const char **out, bl_err *e)
{
    char *valid;
    if (!text) return BL_OK;
    if (!(valid = bl_utf8_repaired(text, strlen(text), e))) return BL_E_NOMEM;
    *out = bl_arena_str(a, valid, strlen(valid), e);
    bl_free(valid);
    return *out ? BL_OK : BL_E_NOMEM;
}

static bl_status copy_texts(bl_arena *a, const char *const *text, int n, const char *const **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **list = bl_alloc(a, (size_t)n, sizeof *list, e);
    if (!list) return BL_E_NOMEM;
    for (int i = 0; i < n; i++) BL_TRY(copy_text(a, text[i], &list[i], e));
    *out = list;
out:
    return st;
}

bl_status bl_sample_copy(const bl_sample *s, bl_arena *a, bl_sample *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample c = *s;
    c.group = NULL;
    BL_TRY(bl_sample_scores(&c, a, s->score, s->n_scores, e));
    BL_TRY(bl_sample_values(&c, a, s->value, s->n_values, e));
    BL_TRY(copy_text(a, s->group, &c.group, e));
    BL_TRY(copy_texts(a, s->reply, s->n_replies, &c.reply, e));
    BL_TRY(copy_texts(a, s->answer, s->n_answers, &c.answer, e));
    *out = c;
out:
    return st;
}
