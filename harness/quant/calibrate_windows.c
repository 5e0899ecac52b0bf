/* calibrate_windows.c - which text is calibrated on, and the windows that are drawn from it. */
#include "calibrate.h"
#include "harness/data/windows.h"
#include <stdlib.h>
#include <string.h>

enum {
    SEQLEN = 2048, /* as nearly all published calibration sets have it */
    SPARE = 2      /* tokens that take no byte of the text: BOS, a space in front */
};

bl_status bl_calib_for(const bl_calib_choice *c, const char *method, const bl_checkpoint *model, bl_calib_choice *out,
                       bl_err *e)
{
    const bl_config *config = bl_checkpoint_config(model);
    int64_t reach = bl_config_reach(config);
    if (config->window) reach = BL_MIN(reach, config->window); /* what is longer is not computed */
    if (!c->data)
        return bl_fail(e, BL_E_CONFIG,
                       "method %s looks at calibration text; give --calib NAME, e.g. wikitext2:train; see: bitladder "
                       "list texts",
                       method);
    if (c->seqlen > reach)
        return bl_fail(e, BL_E_CONFIG,
                       "%s: calibration windows of %lld tokens are longer than the model's %lld positions; give "
                       "--calib-seqlen",
                       bl_checkpoint_name(model), (long long)c->seqlen, (long long)reach);
    *out = *c;
    if (c->seqlen == 0) out->seqlen = BL_MIN(reach, SEQLEN);
    return BL_OK;
}

void bl_calib_text(const bl_calib_choice *c, char out[BL_CALIB_TEXT])
{
    snprintf(out, BL_CALIB_TEXT, "%s %lldx%lld seed %lld", c->data, (long long)c->n, (long long)c->seqlen,
             (long long)c->seed);
}

static bl_status load(const bl_calib_choice *c, const bl_data_dirs *dirs, bl_arena *a, bl_source_text *out, bl_err *e)
{
    const char *own = bl_source_own_path(c->data);
    const bl_source *source = NULL;
    bl_status st = own ? BL_OK : bl_source_for_calibration(c->data, &source, e);
    if (st != BL_OK) return st;
    if (own && !*own) return bl_fail(e, BL_E_CONFIG, "calibration text '%s' names no file", c->data);
    st = own ? bl_source_own(own, a, out, e) : source->load(dirs, a, out, e);
    if (st != BL_OK) bl_within(e, "calibration text %s", own ? "of your own" : source->id);
    return st;
}

bl_status bl_calib_hash(const bl_calib_choice *c, const bl_data_dirs *dirs, bl_hash *out, uint64_t *bytes, bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text text = {0};
    bl_arena *a = NULL;
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(load(c, dirs, a, &text, e));
    *out = text.hash;
    *bytes = text.n_stream;
out:
    bl_arena_free(a);
    return st;
}

bl_status bl_calib_fits(const bl_calib_choice *c, uint64_t bytes, bl_err *e)
{
    if (bytes + SPARE >= (uint64_t)c->seqlen) return BL_OK;
    return bl_fail(e, BL_E_CONFIG,
                   "calibration text %s: %llu bytes hold fewer than the %lld tokens of a calibration window", c->data,
                   (unsigned long long)bytes, (long long)c->seqlen);
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Places that at least one window covers; sorts where they begin. */
static int64_t covered(int64_t *first, int64_t n, int64_t len)
{
    int64_t sum = 0;
    qsort(first, (size_t)n, sizeof *first, by_value);
    for (int64_t i = 0; i < n; i++) sum += i + 1 < n ? BL_MIN(first[i + 1] - first[i], len) : len;
    return sum;
}

static bl_status count_kinds(const int32_t *ids, size_t n, int64_t *out, bl_err *e)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) most = BL_MAX(most, ids[i]);
    uint8_t *seen = bl_new((size_t)most + 1, 1, e);
    if (!seen) return BL_E_NOMEM;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        *out += !seen[ids[i]];
        seen[ids[i]] = 1;
    }
    bl_free(seen);
    return BL_OK;
}

enum { MOST_TOKENS = 1 << 26 }; /* of all windows, which are held as ids: 256 MiB, eight times 4096 x 2048 */

bl_status bl_calib_draw(const bl_calib_choice *c, const bl_data_dirs *dirs, const bl_tokenizer *t, bl_arena *a,
                        bl_calib_windows *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_source_text text = {0};
    bl_ids ids = {0};
    bl_py_random random;
    int64_t *first = NULL;

    if (c->n < 1) return bl_fail(e, BL_E_CONFIG, "calibration needs at least 1 window");
    if (c->n > MOST_TOKENS / BL_MAX(c->seqlen, 1))
        return bl_fail(e, BL_E_CONFIG, "%lld calibration windows of %lld tokens, expected at most %d tokens in all",
                       (long long)c->n, (long long)c->seqlen, MOST_TOKENS);
    BL_TRY(load(c, dirs, a, &text, e));
    BL_TRY(bl_encode(t, text.stream, text.n_stream, BL_ENCODE_BOS | BL_ENCODE_PLAIN, &ids, e));
    if ((int64_t)ids.n < c->seqlen + 1) {
        st = bl_fail(e, BL_E_CONFIG, "%s: %zu tokens, a calibration window of %lld needs one more than that", text.path,
                     ids.n, (long long)c->seqlen);
        goto out;
    }
    *out = (bl_calib_windows){.n = c->n, .seqlen = c->seqlen, .note = text.note, .text = text.hash};
    if (!(out->ids = bl_alloc(a, (size_t)(c->n * c->seqlen), sizeof *out->ids, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!(first = bl_new((size_t)c->n, sizeof *first, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_py_seed(&random, (uint64_t)c->seed);
    for (int64_t i = 0; i < c->n; i++) {
        first[i] = bl_py_randint(&random, 0, (int64_t)ids.n - c->seqlen - 1);
        memcpy(out->ids + i * c->seqlen, ids.id + first[i], (size_t)c->seqlen * sizeof *out->ids);
    }
    out->distinct = covered(first, c->n, c->seqlen);
    BL_TRY(count_kinds(out->ids, (size_t)(c->n * c->seqlen), &out->kinds, e));
out:
    bl_ids_free(&ids);
    bl_free(first);
    return st;
}
