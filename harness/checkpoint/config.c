/* config.c - bounds of a model's shape, what follows from it, and its form as JSON. */
#include "config.h"
#include "kernels/hadamard.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *const bl_rope_names[BL_N_ROPES] = {"plain", "linear", "llama3", "yarn", "dynamic"};

/* ---- bounds: limits far above any model, and low enough that no product of a few of them leaves 64 bits ---- */
static bl_status within(const char *file, const char *what, int64_t v, int64_t lo, int64_t hi, bl_err *e)
{
    if (v >= lo && v <= hi) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "%s: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, file, what, v, lo, hi);
}

static bl_status check_rope(const bl_config *c, const char *file, bl_err *e)
{
    if (!isfinite(c->rope_theta) || c->rope_theta <= 1 || c->rope_theta > 1e15)
        return bl_fail(e, BL_E_FORMAT, "%s: rope_theta is %g, expected above 1", file, c->rope_theta);
    if (c->rope == BL_ROPE_PLAIN) return BL_OK;
    if (!isfinite(c->rope_factor) || c->rope_factor < 1 || c->rope_factor > 1e6)
        return bl_fail(e, BL_E_FORMAT, "%s: rope scaling factor is %g, expected 1 to 1e6", file, c->rope_factor);
    if (c->rope == BL_ROPE_LINEAR) return BL_OK;
    if (c->rope == BL_ROPE_DYNAMIC && c->head_dim < 4)
        return bl_fail(e, BL_E_FORMAT, "%s: dynamic rope scaling with a head_dim of %" PRId64 ", expected 4 or more",
                       file, c->head_dim);
    if (c->rope != BL_ROPE_DYNAMIC && (!isfinite(c->rope_low) || !isfinite(c->rope_high) || c->rope_low <= 0 ||
                                       c->rope_high <= c->rope_low || c->rope_high > 1e6))
        return bl_fail(e, BL_E_FORMAT, "%s: rope %s %g and %s %g, expected 0 < low < high", file,
                       c->rope == BL_ROPE_YARN ? "beta_slow" : "low_freq_factor", c->rope_low,
                       c->rope == BL_ROPE_YARN ? "beta_fast" : "high_freq_factor", c->rope_high);
    if (c->rope == BL_ROPE_YARN && (!isfinite(c->rope_attention) || c->rope_attention <= 0 || c->rope_attention > 1e6))
        return bl_fail(e, BL_E_FORMAT, "%s: rope attention_factor is %g, expected above 0", file, c->rope_attention);
    return within(file, "rope original_max_position_embeddings", c->rope_original, 1, INT32_MAX, e);
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
        {"sliding_window", c->window, 0, INT32_MAX},
        {"bos_token_id", c->bos, -1, INT32_MAX},
        {"eos_token_id", c->eos, -1, INT32_MAX},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        BL_TRY(within(file, rows[i].what, rows[i].v, rows[i].lo, rows[i].hi, e));
    if (c->dim % c->n_heads && BL_MAX(c->dim / c->n_heads, 1) == c->head_dim)
        return bl_fail(e, BL_E_FORMAT, "%s: hidden_size %" PRId64 " is not a multiple of num_attention_heads %" PRId64,
                       file, c->dim, c->n_heads);
    if (c->n_heads % c->n_kv_heads)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: num_attention_heads %" PRId64 " is not a multiple of num_key_value_heads %" PRId64, file,
                       c->n_heads, c->n_kv_heads);
    if (c->head_dim % 2)
        return bl_fail(e, BL_E_FORMAT, "%s: head_dim %" PRId64 " is odd; rotary embedding turns pairs", file,
                       c->head_dim);
    if (c->turned_keys && !bl_hadamard_order(c->head_dim))
        return bl_fail(e, BL_E_FORMAT, "%s: keys are turned, and a head_dim of %" PRId64 " has no Hadamard matrix",
                       file, c->head_dim);
    if (c->n_heads * c->head_dim > 1 << 20)
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " heads of %" PRId64 " are more than 2^20 columns", file,
                       c->n_heads, c->head_dim);
    if (!isfinite(c->eps) || c->eps <= 0 || c->eps > 1)
        return bl_fail(e, BL_E_FORMAT, "%s: rms_norm_eps is %g, expected above 0 and at most 1", file, c->eps);
    BL_TRY(check_rope(c, file, e));
out:
    return st;
}

/* ---- what follows ---- */
static int64_t params(const bl_config *c, bool linears)
{
    int64_t n = 0;
    for (int r = 0; r < BL_N_ROLES; r++) {
        bl_param p;
        const bl_role_row *row = &bl_roles[r];
        if (linears && row->kind != BL_KIND_LINEAR) continue;
        if (bl_param_of(c, (bl_role)r, row->block ? 0 : -1, &p)) n += (row->block ? c->n_layers : 1) * p.out * p.in;
    }
    return n;
}

int64_t bl_config_linear_params(const bl_config *c) { return params(c, true); }
int64_t bl_config_params(const bl_config *c) { return params(c, false); }

int64_t bl_config_reach(const bl_config *c)
{
    if (c->rope != BL_ROPE_DYNAMIC) return c->max_len;
    return (int64_t)BL_MIN((double)c->max_len * c->rope_factor, (double)INT32_MAX);
}

/* ---- as JSON ---- */
/* Whole numbers and reals by key. */
static const struct field {
    const char *key;
    size_t at;
    bool real;
} fields[] = {
    {"dim", offsetof(bl_config, dim), false},
    {"ffn_dim", offsetof(bl_config, ffn_dim), false},
    {"layers", offsetof(bl_config, n_layers), false},
    {"heads", offsetof(bl_config, n_heads), false},
    {"kv_heads", offsetof(bl_config, n_kv_heads), false},
    {"head_dim", offsetof(bl_config, head_dim), false},
    {"vocab", offsetof(bl_config, vocab), false},
    {"max_len", offsetof(bl_config, max_len), false},
    {"window", offsetof(bl_config, window), false},
    {"rope_original", offsetof(bl_config, rope_original), false},
    {"bos", offsetof(bl_config, bos), false},
    {"eos", offsetof(bl_config, eos), false},
    {"eps", offsetof(bl_config, eps), true},
    {"rope_theta", offsetof(bl_config, rope_theta), true},
    {"rope_factor", offsetof(bl_config, rope_factor), true},
    {"rope_low", offsetof(bl_config, rope_low), true},
    {"rope_high", offsetof(bl_config, rope_high), true},
    {"rope_attention", offsetof(bl_config, rope_attention), true},
};

void bl_config_put(bl_text *t, const bl_config *c)
{
    bl_json_out j = {.t = t, .compact = true}, *o = &j;
    bl_json_object(o, NULL);
    bl_json_add_str(o, "arch", c->arch->name);
    bl_json_array(o, "optional");
    for (int r = 0; r < BL_N_ROLES; r++)
        if (c->roles & ~c->arch->has & BL_ROLE_BIT(r)) bl_json_add_str(o, NULL, bl_roles[r].hf);
    bl_json_end(o);
    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        const void *p = (const char *)c + fields[i].at;
        if (fields[i].real) bl_json_add_real(o, fields[i].key, *(const double *)p);
        else bl_json_add_int(o, fields[i].key, *(const int64_t *)p);
    }
    bl_json_add_int(o, "rope", (int64_t)c->rope);
    bl_json_add_bool(o, "rope_exact", c->rope_exact);
    bl_json_add_bool(o, "tied", c->tied);
    bl_json_add_bool(o, "turned_keys", c->turned_keys);
    bl_json_end(o);
}

/* A stage may give a bias to a linear whose architecture knows none. */
static bool may_have(const bl_arch *a, int role)
{
    return a->may & BL_ROLE_BIT(role) || (bl_roles[role].kind == BL_KIND_BIAS && !(a->has & BL_ROLE_BIT(role)));
}

/* Optional parameters by their name in a block. */
static bl_status get_roles(const bl_json *list, bl_config *c, bl_err *e)
{
    bl_status st = BL_OK;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v)) {
        const char *name;
        int r = 0;
        BL_TRY(bl_json_str(v, &name, e));
        while (r < BL_N_ROLES && (!may_have(c->arch, r) || strcmp(bl_roles[r].hf, name))) r++;
        if (r == BL_N_ROLES)
            return bl_fail(e, BL_E_FORMAT, "bitladder.json: config: a model of kind %s has no '%s'", c->arch->name,
                           name);
        c->roles |= BL_ROLE_BIT(r);
    }
out:
    return st;
}

bl_status bl_config_get(const bl_json *o, bl_config *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config c = {0};
    const char *name;
    const bl_json *optional;
    int64_t rope;
    BL_TRY(bl_json_get_str(o, "arch", &name, e));
    if (!(c.arch = bl_arch_find(name)))
        return bl_fail(e, BL_E_FORMAT, "bitladder.json: config: architecture '%s' is not known", name);
    c.roles = c.arch->has;
    BL_TRY(bl_json_need(o, "optional", &optional, e));
    BL_TRY(get_roles(optional, &c, e));
    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        void *p = (char *)&c + fields[i].at;
        BL_TRY(fields[i].real ? bl_json_get_real(o, fields[i].key, p, e) : bl_json_get_int(o, fields[i].key, p, e));
    }
    BL_TRY(bl_json_get_int(o, "rope", &rope, e));
    if (rope < 0 || rope >= BL_N_ROPES) return bl_fail(e, BL_E_FORMAT, "bitladder.json: config.rope is %" PRId64, rope);
    c.rope = (bl_rope_scaling)rope;
    BL_TRY(bl_json_get_bool(o, "rope_exact", &c.rope_exact, e));
    BL_TRY(bl_json_get_bool(o, "tied", &c.tied, e));
    BL_TRY(bl_json_get_bool(o, "turned_keys", &c.turned_keys, e));
    *out = c;
out:
    return st;
}
