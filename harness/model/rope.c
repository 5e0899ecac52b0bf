/* rope.c - rotary tables as transformers computes them: inverse frequencies, angles, cosines and sines in float32.
 *
 *     inv_freq[i] = 1 / theta^(2i / head_dim)              plain
 *                   the same / factor                      linear
 *     LLaMA-3.1     long waves (over original / low) / factor, short ones (under original / high) as they are,
 *                   and a blend of the two between
 *     angle[p, i] = p * inv_freq[i]
 */
#include "model_impl.h"
#include <math.h>

static float llama3(const bl_config *c, float f)
{
    float factor = (float)c->rope_factor, low = (float)c->rope_low, high = (float)c->rope_high,
          original = (float)c->rope_original;
    float wavelen = (float)(2 * 3.14159265358979323846) / f;

    if (wavelen < original / high) return f;
    if (wavelen > original / low) return f / factor;
    float smooth = (original / wavelen - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
}

void bl_rope_frequencies(const bl_config *c, float *inv_freq)
{
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        float f = 1.0f / (float)pow((double)(float)c->rope_theta, (double)((float)(2 * i) / (float)c->head_dim));
        if (c->rope == BL_ROPE_LINEAR) f /= (float)c->rope_factor;
        if (c->rope == BL_ROPE_LLAMA3) f = llama3(c, f);
        inv_freq[i] = f;
    }
}

bl_status bl_rope_prepare(bl_model *m, int64_t n, bl_err *e)
{
    bl_model_own *o = m->own;
    int64_t half = m->config.head_dim / 2, len = BL_MAX(o->rope_len, 256);
    bl_status st = BL_OK;
    bl_buffer *fresh = NULL;
    float *table = NULL;

    if (n <= o->rope_len) return BL_OK;
    while (len < n) len *= 2;
    len = BL_MIN(len, o->max_len);
    if (!(table = bl_new((size_t)(2 * len * half), sizeof *table, e))) return BL_E_NOMEM;
    for (int64_t p = 0; p < len; p++)
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)p * o->inv_freq[i];
            table[p * half + i] = (float)cos((double)angle);
            table[(len + p) * half + i] = (float)sin((double)angle);
        }
    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)(2 * len * half) * sizeof *table, &fresh, e));
    BL_TRY(m->be->ops->upload(m->be, &(bl_tensor[]){bl_tensor_1d(fresh, 0, BL_F32, 2 * len * half)}[0], table, e));
    BL_TRY(m->be->ops->sync(m->be, e));
    m->be->ops->buffer_free(o->rope);
    o->rope = fresh;
    o->rope_len = len;
    fresh = NULL;
out:
    m->be->ops->buffer_free(fresh);
    bl_free(table);
    return st;
}
