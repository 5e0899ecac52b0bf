/* near.c - how near texts are to a query: cosine and Quantized Influence Measure of their vectors, which the model
 * makes (embed.c) or a text encoder. Vectors of texts that are asked about again are kept, those of an encoder also for
 * other models, under $XDG_CACHE_HOME/bitladder/vectors. */
#include "score_impl.h"
#include "harness/encoder/encoder.h"
#include "kernels/base/fs.h"
#include "results/qim.h"
#include "results/vectors.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const int bl_near_levels[BL_NEAR_RULES] = {2, 3, 16};
enum { TOGETHER = 256 }; /* texts that an encoder is given at once */

struct bl_near_encoder {
    struct bl_near_encoder *next;
    char *dir;
    bl_encoder *x;
};
struct bl_near_store {
    struct bl_near_store *next;
    const bl_near_texts *of;
    double *row;                   /* [n, dim] */
    uint8_t *level[BL_NEAR_RULES]; /* [n, dim] each */
};

bl_status bl_near_reply(const bl_request *r, bl_arena *a, bl_reply *out, bl_err *e)
{
    size_t n = (size_t)r->near->n;
    bl_status st = BL_OK;
    *out = (bl_reply){.kind = r->kind, .n_near = r->near->n};
    if (!(out->cosine = bl_alloc(a, n, sizeof *out->cosine, e))) st = BL_E_NOMEM;
    for (int k = 0; k < BL_NEAR_RULES; k++)
        if (!(out->qim[k] = bl_alloc(a, n, sizeof *out->qim[k], e))) st = BL_E_NOMEM;
    return st;
}

static void store_free(struct bl_near_store *s)
{
    if (!s) return;
    bl_free(s->row);
    for (int k = 0; k < BL_NEAR_RULES; k++) bl_free(s->level[k]);
    bl_free(s);
}

void bl_engine_near_free(bl_engine *g)
{
    for (struct bl_near_store *s = g->near, *next; s; s = next) {
        next = s->next;
        store_free(s);
    }
    for (struct bl_near_encoder *x = g->encoder, *next; x; x = next) {
        next = x->next;
        bl_encoder_close(x->x);
        bl_free(x->dir);
        bl_free(x);
    }
    g->near = NULL;
    g->encoder = NULL;
}

static bl_status encoder_of(bl_engine *g, const char *dir, bl_encoder **out, bl_err *e)
{
    bl_status st = BL_OK;
    struct bl_near_encoder *x;
    for (x = g->encoder; x; x = x->next)
        if (!strcmp(x->dir, dir)) {
            *out = x->x;
            return BL_OK;
        }
    if (!(x = bl_new(1, sizeof *x, e))) return BL_E_NOMEM;
    x->next = g->encoder;
    g->encoder = x; /* the engine frees it, whatever happens */
    if (!(x->dir = bl_strdup(dir, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_encoder_open(dir, g->m->be, &x->x, e));
    *out = x->x;
out:
    if (st != BL_OK) {
        g->encoder = x->next;
        bl_free(x->dir);
        bl_free(x);
    }
    return st;
}

/* ---- vectors ---- */
static bl_status encoder_vectors(bl_encoder *x, const char *const *text, int64_t n, float *out, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < n && st == BL_OK; i += TOGETHER)
        st = bl_interrupted() ? bl_fail(e, BL_E_INTERRUPTED, "interrupted")
                              : bl_encoder_embed(x, text + i, BL_MIN(n - i, TOGETHER), out + i * bl_encoder_dim(x), e);
    return st;
}

/* The file that has the vectors of these texts by this encoder on such a device; NULL: there is no place for one. */
static char *kept_path(const bl_engine *g, const bl_encoder *x, const bl_near_texts *t, bl_hash *hash, bl_err *e)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bl_hasher *h = bl_hasher_new(e);
    char hex[33];
    if (!h) return NULL;
    bl_hash_of(h, bl_encoder_hash(x));
    bl_hash_text(h, bl_backend_numerics(g->m->be));
    for (int64_t i = 0; i < t->n; i++) bl_hash_text(h, t->text[i]);
    *hash = bl_hasher_end(h);
    bl_hash_hex(*hash, hex);
    if (cache && *cache == '/') return bl_format_text(e, "%s/bitladder/vectors/%s.h5", cache, hex);
    return home && *home ? bl_format_text(e, "%s/.cache/bitladder/vectors/%s.h5", home, hex) : NULL;
}

/* A file that does not check, or cannot be written, is as good as none. */
static void keep(const char *path, const bl_near_texts *t, int64_t dim, const float *row, bl_hash hash)
{
    bl_err e = {0};
    char *dir = bl_strdup(path, NULL), *slash = dir ? strrchr(dir, '/') : NULL;
    const bl_vectors v = {t->n, dim, row, t->text, t->encoder, "text", hash};
    if (slash) {
        *slash = 0;
        if (bl_make_dirs(dir, &e) != BL_OK || bl_vectors_write(path, &v, &e) != BL_OK)
            bl_log(BL_LOG_INFO, "vectors=%s said=\"%s\"", path, e.text);
    }
    bl_free(dir);
}

static bool kept(const char *path, bl_arena *a, int64_t n, int64_t dim, bl_hash hash, bl_vectors *v)
{
    return bl_exists(path) && bl_vectors_read(path, a, v, NULL) == BL_OK && v->n == n && v->dim == dim &&
           bl_hash_equal(v->hash, hash);
}

static bl_status encoded(const bl_engine *g, bl_encoder *x, const bl_near_texts *t, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t dim = bl_encoder_dim(x);
    bl_hash hash = {0};
    bl_arena *a = NULL;
    bl_vectors v;
    float *made = NULL;
    const float *row;
    char *path = t->kept ? kept_path(g, x, t, &hash, NULL) : NULL;

    BL_TRY(bl_arena_new(&a, e));
    if (path && kept(path, a, t->n, dim, hash, &v)) {
        row = v.row;
    } else {
        if (!(made = bl_new((size_t)(t->n * dim), sizeof *made, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(encoder_vectors(x, t->text, t->n, made, e));
        if (path) keep(path, t, dim, made, hash);
        row = made;
    }
    for (int64_t i = 0; i < t->n * dim; i++) out[i] = row[i];
out:
    bl_free(path);
    bl_free(made);
    bl_arena_free(a);
    return st;
}

static bl_status store_new(bl_engine *g, const bl_near_texts *t, bl_encoder *x, int64_t dim, struct bl_near_store **out,
                           bl_err *e)
{
    bl_status st = BL_OK;
    struct bl_near_store *s = bl_new(1, sizeof *s, e);
    size_t values = (size_t)(t->n * dim);
    if (!s || !(s->row = bl_new(values, sizeof *s->row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    s->of = t;
    BL_TRY(x ? encoded(g, x, t, s->row, e) : bl_engine_embed(g, t->text, t->n, s->row, e));
    for (int k = 0; k < BL_NEAR_RULES; k++) {
        if (!(s->level[k] = bl_new(values, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        for (int64_t i = 0; i < t->n; i++)
            bl_qim_levels(s->row + i * dim, dim, bl_near_levels[k], s->level[k] + i * dim);
    }
    *out = s;
    s = NULL;
out:
    store_free(s);
    return st;
}

/* Of texts that are asked about again it is the engine's, else the caller's. */
static bl_status store_of(bl_engine *g, const bl_near_texts *t, bl_encoder *x, int64_t dim, struct bl_near_store **out,
                          bl_err *e)
{
    bl_status st;
    struct bl_near_store *s = g->near;
    while (s && s->of != t) s = s->next;
    if (s) {
        *out = s;
        return BL_OK;
    }
    if ((st = store_new(g, t, x, dim, &s, e)) != BL_OK) return st;
    if (t->kept) {
        s->next = g->near;
        g->near = s;
    }
    *out = s;
    return BL_OK;
}

/* How near the texts of a request are to its query, which is row `at` of q. */
static bl_status answer(bl_engine *g, const bl_request *r, bl_encoder *x, int64_t dim, const struct bl_near_store *q,
                        int64_t at, bl_reply *out, bl_err *e)
{
    bl_status st = BL_OK;
    struct bl_near_store *s = NULL;
    const double *query = q->row + at * dim;

    BL_TRY(store_of(g, r->near, x, dim, &s, e));
    for (int64_t i = 0; i < r->near->n; i++) {
        out->cosine[i] = bl_cosine(query, s->row + i * dim, dim);
        if (!isfinite(out->cosine[i])) {
            st = bl_fail(e, BL_E_NUMERIC, "the vector of a text is not finite");
            goto out;
        }
        for (int k = 0; k < BL_NEAR_RULES; k++)
            out->qim[k][i] =
                bl_qim_of_levels(q->level[k] + at * dim, s->level[k] + i * dim, dim, bl_near_levels[k]).value;
    }
out:
    if (s && !r->near->kept) store_free(s);
    return st;
}

static bool same_maker(const bl_request *a, const bl_request *b)
{
    const char *x = a->near->encoder, *y = b->near->encoder;
    return !x || !y ? x == y : !strcmp(x, y);
}

/* The n requests whose numbers are at[]: all by one maker, so that the vectors of their queries are made together.
 * *done of them are answered, whatever happens. */
static bl_status answer_all(bl_engine *g, const bl_request *req, const int64_t *at, int64_t n, bl_reply *out,
                            int64_t *done, bl_err *e)
{
    bl_status st = BL_OK;
    bl_encoder *x = NULL;
    struct bl_near_store *q = NULL;
    const char *encoder = req[at[0]].near->encoder, **query = bl_new((size_t)n, sizeof *query, e);

    *done = 0;
    if (!query) return BL_E_NOMEM;
    for (int64_t k = 0; k < n; k++) query[k] = req[at[k]].query;
    if (encoder) BL_TRY(encoder_of(g, encoder, &x, e));
    int64_t dim = x ? bl_encoder_dim(x) : g->m->config.dim;
    BL_TRY(store_new(g, &(bl_near_texts){.text = query, .n = n}, x, dim, &q, e));
    for (; *done < n; ++*done) BL_TRY(answer(g, &req[at[*done]], x, dim, q, *done, &out[at[*done]], e));
out:
    store_free(q);
    bl_free(query);
    return st;
}

bl_status bl_engine_near(bl_engine *g, const bl_request *req, int64_t n, bl_reply *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t *at = bl_new((size_t)n, sizeof *at, e), some = 0, done;

    if (!at) return BL_E_NOMEM;
    for (int64_t i = 0; i <= n; i++) {
        if (i < n && req[i].kind != BL_ASK_NEAR) continue;
        if (some && (i == n || !same_maker(&req[at[0]], &req[i]))) {
            done = 0;
            if (st == BL_OK) st = answer_all(g, req, at, some, out, &done, e);
            if (st != BL_OK && st != BL_E_INTERRUPTED) {
                bl_within(e, "request %lld", (long long)at[done]);
                break;
            }
            for (; done < some; done++) out[at[done]].kind = BL_ASK_DONE;
            some = 0;
        }
        if (i < n) at[some++] = i;
    }
    bl_free(at);
    return st;
}
