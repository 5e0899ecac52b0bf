/* own_text.c - texts that a model writes without being asked anything. */
#include "own_text.h"
#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include <string.h>

enum { BATCH = 256, LENGTHS = 3, SHORTEST = 3 }; /* of what begins a text: 3, 4 or 5 tokens */

/* Tokens that a text may begin with, in an order of the seed. */
static bl_status beginnings(const bl_model *m, const bl_tokenizer *t, uint64_t seed, int32_t **out, int64_t *n,
                            bl_err *e)
{
    const int64_t vocab = BL_MIN(m->config.vocab, t ? bl_tokenizer_vocab(t) : m->config.vocab);
    bl_rng r = bl_rng_at(seed, bl_rng_key("beginnings", 0), 0);
    int32_t *id = bl_new((size_t)vocab, sizeof *id, e);
    if (!id) return BL_E_NOMEM;
    *n = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (!t || !bl_tokenizer_is_special(t, (int32_t)i)) id[(*n)++] = (int32_t)i;
    for (int64_t i = *n - 1; i > 0; i--) {
        const int64_t k = (int64_t)bl_rng_below(&r, (uint64_t)i + 1);
        const int32_t keep = id[i];
        id[i] = id[k];
        id[k] = keep;
    }
    *out = id;
    return *n ? BL_OK : bl_fail(e, BL_E_FORMAT, "all tokens of the vocabulary are special: no text can begin");
}

static void put(const int32_t *ids, int64_t n, bl_text *out)
{
    bl_text_add(out, "{\"ids\": [");
    for (int64_t i = 0; i < n; i++) bl_text_addf(out, "%s%d", i ? ", " : "", ids[i]);
    bl_text_add(out, "]}\n");
}

/* Texts first .. first + n. */
static bl_status batch(bl_model *m, const bl_tokenizer *t, const bl_own_text *o, const int32_t *begin, int64_t n_begin,
                       int64_t first, int64_t n, bl_arena *a, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_gen_request *req = bl_alloc(a, (size_t)n, sizeof *req, e);
    bl_gen_reply *start = bl_alloc(a, (size_t)n, sizeof *start, e), *rest = bl_alloc(a, (size_t)n, sizeof *rest, e);
    int32_t *ids = bl_alloc(a, (size_t)(n * o->length), sizeof *ids, e);
    if (!req || !start || !rest || !ids) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        int32_t *at = ids + i * o->length;
        at[0] = begin[(first + i) / LENGTHS % n_begin];
        req[i] = (bl_gen_request){
            .ids = at, .n = 1, .max_new = BL_MIN(SHORTEST + (first + i) % LENGTHS, o->length) - 1, .ignore_end = true};
    }
    BL_TRY(bl_generate(m, t, req, n, n * o->length, false, a, start, e));
    for (int64_t i = 0; i < n; i++) {
        memcpy(ids + i * o->length + 1, start[i].ids, (size_t)start[i].n * sizeof *ids);
        req[i].n = 1 + start[i].n;
        req[i].max_new = o->length - req[i].n;
        req[i].ignore_end = false;
        req[i].temperature = o->temperature;
        req[i].top_p = o->top_p;
        req[i].seed = bl_rng_key("own text", o->seed) + (uint64_t)(first + i);
    }
    if (o->length > SHORTEST + LENGTHS) BL_TRY(bl_generate(m, t, req, n, n * o->length, false, a, rest, e));
    for (int64_t i = 0; i < n; i++) {
        int32_t *at = ids + i * o->length;
        if (rest[i].n) memcpy(at + req[i].n, rest[i].ids, (size_t)rest[i].n * sizeof *ids);
        put(at, req[i].n + rest[i].n, out);
    }
    st = bl_text_check(out, e);
out:
    return st;
}

bl_status bl_own_texts(bl_model *m, const bl_tokenizer *t, const bl_own_text *o, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    int32_t *begin = NULL;
    int64_t n_begin;
    bl_arena *a = NULL;

    if (o->length < SHORTEST || o->length > bl_model_max_len(m))
        return bl_fail(e, BL_E_CONFIG, "a text of %lld tokens; of this model's one has %d to %lld",
                       (long long)o->length, SHORTEST, (long long)bl_model_max_len(m));
    BL_TRY(beginnings(m, t, o->seed, &begin, &n_begin, e));
    for (int64_t i = 0; i < o->n; i += BATCH) {
        bl_arena_free(a);
        a = NULL;
        BL_TRY(bl_arena_new(&a, e));
        BL_TRY(batch(m, t, o, begin, n_begin, i, BL_MIN(BATCH, o->n - i), a, out, e));
    }
out:
    bl_arena_free(a);
    bl_free(begin);
    return st;
}
