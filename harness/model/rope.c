/* rope.c - rotary tables as transformers 5.24 computes them: inverse frequencies, angles, cosines and sines in float32.
 *
 *     plain      f[i] = 1 / theta^(2i / head_dim)
 *     linear     f / factor
 *     LLaMA 3.1  long waves (over original / low) / factor, short ones (under original / high) as they are, and a
 *                blend of the two between
 *     YaRN       the same blend, by a ramp over i instead of over the wavelength: dimension
 *                d(t) = head_dim * ln(original / (2 pi t)) / (2 ln theta) turns t times in `original` positions; kept
 *                below d(high), / factor above d(low); cosines and sines are multiplied by the attention factor
 *                (Peng et al. 2023, arXiv:2309.00071)
 *     dynamic    plain with theta * (factor * n / original - (factor - 1))^(head_dim / (head_dim - 2)) for a sequence
 *                of n > original positions
 *
 * angle[p, i] = p * f[i].
 *
 * Dynamic scaling makes the tables a matter of the sequence: every row is turned by the table of the length that its
 * sequence has after the batch it comes in. Keys that are in the cache already keep the turn they got when they came,
 * which is what transformers does with a cache too; a sequence that is fed in one batch is turned as in one forward
 * pass.
 */
#include "model_impl.h"
#include <math.h>

static const double pi = 3.14159265358979323846;

static float llama3(const bl_config *c, float f)
{
    float factor = (float)c->rope_factor, low = (float)c->rope_low, high = (float)c->rope_high,
          original = (float)c->rope_original;
    float wavelen = (float)(2 * pi) / f;

    if (wavelen < original / high) return f;
    if (wavelen > original / low) return f / factor;
    float smooth = (original / wavelen - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
}

/* Dimension (of head_dim) that turns `turns` times in the original length. */
static double dimension(const bl_config *c, double turns)
{
    return (double)c->head_dim * log((double)c->rope_original / (turns * 2 * pi)) / (2 * log(c->rope_theta));
}

static void yarn(const bl_config *c, float *f)
{
    double low = dimension(c, c->rope_high), high = dimension(c, c->rope_low);
    if (!c->rope_exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = BL_MAX(low, 0);
    high = BL_MIN(high, (double)(c->head_dim - 1));
    if (low == high) high += 0.001;
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        float power = (float)pow((double)(float)c->rope_theta, (double)((float)(2 * i) / (float)c->head_dim));
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float kept = 1 - BL_MIN(BL_MAX(ramp, 0.0f), 1.0f);
        f[i] = 1.0f / ((float)c->rope_factor * power) * (1 - kept) + 1.0f / power * kept;
    }
}

static float dynamic_theta(const bl_config *c, int64_t length)
{
    float factor = (float)c->rope_factor, n = (float)BL_MAX(length, c->rope_original);
    float stretch = factor * n / (float)c->rope_original - (float)(c->rope_factor - 1);
    double power = (double)c->head_dim / (double)(c->head_dim - 2);
    return (float)c->rope_theta * (float)pow((double)stretch, (double)(float)power);
}

void bl_rope_frequencies(const bl_config *c, int64_t length, float *inv_freq)
{
    float theta = c->rope == BL_ROPE_DYNAMIC ? dynamic_theta(c, length) : (float)c->rope_theta;
    if (c->rope == BL_ROPE_YARN) {
        yarn(c, inv_freq);
        return;
    }
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        float f = 1.0f / (float)pow((double)theta, (double)((float)(2 * i) / (float)c->head_dim));
        if (c->rope == BL_ROPE_LINEAR) f /= (float)c->rope_factor;
        if (c->rope == BL_ROPE_LLAMA3) f = llama3(c, f);
        inv_freq[i] = f;
    }
}

/* Cosines and sines of positions p .. p + n into rows `at` .. of a table [2, rows, head_dim / 2]. */
static void turn(const bl_config *c, const float *inv_freq, int64_t p, int64_t n, float *table, int64_t rows,
                 int64_t at)
{
    int64_t half = c->head_dim / 2;
    float by = c->rope == BL_ROPE_YARN ? (float)c->rope_attention : 1;
    float *cosine = table + at * half, *sine = table + (rows + at) * half;
    for (int64_t k = 0; k < n * half; k++) {
        float angle = (float)(p + k / half) * inv_freq[k % half];
        cosine[k] = (float)cos((double)angle) * by;
        sine[k] = (float)sin((double)angle) * by;
    }
}

/* The model's tables from now on: `rows` rows, of which `fixed` hold positions 0 .. fixed-1. */
static bl_status replace(bl_model *m, const float *table, int64_t rows, int64_t fixed, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *fresh = NULL;
    int64_t n = 2 * rows * (m->config.head_dim / 2);

    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)n * sizeof *table, &fresh, e));
    BL_TRY(m->be->ops->upload(m->be, &(bl_tensor[]){bl_tensor_1d(fresh, 0, BL_F32, n)}[0], table, e));
    BL_TRY(m->be->ops->sync(m->be, e));
    m->be->ops->buffer_free(m->own->rope);
    m->own->rope = fresh;
    m->own->rope_len = rows;
    m->own->rope_fixed = fixed;
    fresh = NULL;
out:
    m->be->ops->buffer_free(fresh);
    return st;
}

/* Rows for positions 0 .. n-1: as many as there are, or twice that, until they suffice. */
static int64_t room(const bl_model *m, int64_t n)
{
    int64_t len = BL_MAX(m->own->rope_fixed, 256);
    while (len < n) len *= 2;
    return BL_MAX(BL_MIN(len, m->own->max_len), n);
}

bl_status bl_rope_prepare(bl_model *m, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    float *table;
    int64_t len = room(m, n);

    if (n <= m->own->rope_len) return BL_OK;
    if (!(table = bl_new((size_t)(2 * len), (size_t)(m->config.head_dim / 2) * sizeof *table, e))) return BL_E_NOMEM;
    turn(&m->config, m->own->inv_freq, 0, len, table, len, 0);
    st = replace(m, table, len, len, e);
    bl_free(table);
    return st;
}

/* Whether a sequence of that length needs a table of its own. */
static bool stretched(const bl_config *c, int64_t length)
{
    return c->rope == BL_ROPE_DYNAMIC && length > c->rope_original;
}

bl_status bl_rope_sequences(bl_model *m, const bl_batch *b, bl_pass_plan *p, bl_err *e)
{
    const bl_config *c = &m->config;
    int64_t n = 0, own = 0, half = c->head_dim / 2;
    bl_status st = BL_OK;
    float *table = NULL, *inv_freq = NULL;

    for (int32_t s = 0; s < b->n_seq; s++) {
        int64_t rows = b->start[s + 1] - b->start[s], length = b->past[s] + rows;
        if (stretched(c, length)) own += rows;
        else n = BL_MAX(n, length);
    }
    if (c->rope != BL_ROPE_DYNAMIC || (own == 0 && n <= m->own->rope_fixed)) return BL_OK;
    int64_t fixed = room(m, n), rows = fixed + own, at = fixed;
    if (!(table = bl_new((size_t)(2 * rows), (size_t)half * sizeof *table, e)) ||
        !(inv_freq = bl_new((size_t)half, sizeof *inv_freq, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    turn(c, m->own->inv_freq, 0, fixed, table, rows, 0);
    for (int32_t s = 0; s < b->n_seq; s++) {
        int64_t length = b->start[s + 1] - b->start[s], past = b->past[s];
        if (!stretched(c, past + length)) continue;
        bl_rope_frequencies(c, past + length, inv_freq);
        turn(c, inv_freq, past, length, table, rows, at);
        for (int64_t r = 0; r < length; r++, at++) p->pos[b->start[s] + r] = (int32_t)at;
    }
    for (int64_t i = 0; i < b->n_want; i++) p->want_pos[i] = p->pos[b->want[i]];
    BL_TRY(replace(m, table, rows, fixed, e));
out:
    bl_free(inv_freq);
    bl_free(table);
    return st;
}
