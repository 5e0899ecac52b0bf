/* config.c - bounds of a model's shape. */
#include "config.h"
#include <inttypes.h>
#include <math.h>

/* Limits far above any model, and low enough that no product of a few of them leaves 64 bits. */
static bl_status within(const char *file, const char *what, int64_t v, int64_t lo, int64_t hi, bl_err *e)
{
    if (v >= lo && v <= hi) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "%s: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, file, what, v, lo, hi);
}

bl_status bl_config_check(const bl_config *c, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const struct {
        const char *what;
        int64_t v, lo, hi;
    } rows[] = {
        {"hidden_size", c->dim, 1, 1 << 18},
        {"intermediate_size", c->ffn_dim, 1, 1 << 22},
        {"num_hidden_layers", c->n_layers, 1, 10000},
        {"num_attention_heads", c->n_heads, 1, 1 << 14},
        {"num_key_value_heads", c->n_kv_heads, 1, 1 << 14},
        {"head_dim", c->head_dim, 1, 1 << 14},
        {"vocab_size", c->vocab, 1, 1 << 26},
        {"max_position_embeddings", c->max_len, 1, INT32_MAX},
        {"bos_token_id", c->bos, -1, INT32_MAX},
        {"eos_token_id", c->eos, -1, INT32_MAX},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        BL_TRY(within(file, rows[i].what, rows[i].v, rows[i].lo, rows[i].hi, e));
    if (c->dim % c->n_heads)
        return bl_fail(e, BL_E_FORMAT, "%s: hidden_size %" PRId64 " is not a multiple of num_attention_heads %" PRId64,
                       file, c->dim, c->n_heads);
    if (c->n_heads % c->n_kv_heads)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: num_attention_heads %" PRId64 " is not a multiple of num_key_value_heads %" PRId64, file,
                       c->n_heads, c->n_kv_heads);
    if (c->head_dim % 2)
        return bl_fail(e, BL_E_FORMAT, "%s: head_dim %" PRId64 " is odd; rotary embedding turns pairs", file,
                       c->head_dim);
    if (c->n_heads * c->head_dim > 1 << 20)
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " heads of %" PRId64 " are more than 2^20 columns", file,
                       c->n_heads, c->head_dim);
    if (!isfinite(c->eps) || c->eps <= 0 || c->eps > 1)
        return bl_fail(e, BL_E_FORMAT, "%s: rms_norm_eps is %g, expected above 0 and at most 1", file, c->eps);
    if (!isfinite(c->rope_theta) || c->rope_theta <= 1 || c->rope_theta > 1e15)
        return bl_fail(e, BL_E_FORMAT, "%s: rope_theta is %g, expected above 1 and at most 1e15", file, c->rope_theta);
    if (c->rope != BL_ROPE_PLAIN && (!isfinite(c->rope_factor) || c->rope_factor < 1 || c->rope_factor > 1e6))
        return bl_fail(e, BL_E_FORMAT, "%s: rope scaling factor is %g, expected 1 to 1e6", file, c->rope_factor);
    if (c->rope == BL_ROPE_LLAMA3) {
        if (!isfinite(c->rope_low) || !isfinite(c->rope_high) || c->rope_low <= 0 || c->rope_high <= c->rope_low)
            return bl_fail(e, BL_E_FORMAT,
                           "%s: rope low_freq_factor %g and high_freq_factor %g, expected 0 < low < high", file,
                           c->rope_low, c->rope_high);
        BL_TRY(within(file, "rope original_max_position_embeddings", c->rope_original, 1, INT32_MAX, e));
    }
out:
    return st;
}

int64_t bl_config_linear_params(const bl_config *c)
{
    int64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    return c->n_layers * (2 * q * c->dim + 2 * kv * c->dim + 3 * c->ffn_dim * c->dim);
}

int64_t bl_config_params(const bl_config *c)
{
    return bl_config_linear_params(c) + c->vocab * c->dim * (c->tied ? 1 : 2) + (2 * c->n_layers + 1) * c->dim;
}
