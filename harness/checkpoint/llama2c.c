/* llama2c.c - llama2.c checkpoints: v0 (no magic) and v1 ("ak42"), both float32.
 *
 *     v0  i32 dim ffn_dim layers heads kv_heads vocab max_len | embedding, att norms, wq, wk, wv, wo, ffn norms,
 *         w1, w2, w3, norm, rotary cos and sin [max_len, head / 2] each (skipped) | head when vocab is negative
 *     v1  u32 0x616b3432, i32 1, the same seven, u8 shared head, zeros up to byte 256 | att norms, ffn norms, norm,
 *         embedding, wq, wk, wv, wo, w1, w2, w3 | head when not shared
 *
 * Each kind of weight is stored together for all layers. Rotary rows are in adjacent pairs; epsilon is 1e-5 and theta
 * 10000, as that program has it.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>

enum { V1_DATA = 256, V0_DATA = 28, MAGIC = 0x616b3432 };

static const bl_role order_v0[] = {BL_ROLE_EMBED, BL_ROLE_ATTN_NORM, BL_ROLE_Q,        BL_ROLE_K,
                                   BL_ROLE_V,     BL_ROLE_O,         BL_ROLE_MLP_NORM, BL_ROLE_GATE,
                                   BL_ROLE_DOWN,  BL_ROLE_UP,        BL_ROLE_NORM,     BL_N_ROLES /* rotary tables */,
                                   BL_ROLE_HEAD};
static const bl_role order_v1[] = {BL_ROLE_ATTN_NORM, BL_ROLE_MLP_NORM, BL_ROLE_NORM, BL_ROLE_EMBED,
                                   BL_ROLE_Q,         BL_ROLE_K,        BL_ROLE_V,    BL_ROLE_O,
                                   BL_ROLE_GATE,      BL_ROLE_DOWN,     BL_ROLE_UP,   BL_ROLE_HEAD};

/* Floats of one role in all blocks; BL_N_ROLES: of the rotary tables. The bounds of bl_config_check keep this inside 64
 * bits. */
static uint64_t role_floats(const bl_config *c, bl_role r)
{
    bl_param p;
    if (r == BL_N_ROLES) return (uint64_t)(c->max_len * c->head_dim); /* cos and sin, head_dim / 2 each */
    int64_t blocks = bl_roles[r].block ? c->n_layers : 1;
    return bl_param_of(c, r, bl_roles[r].block ? 0 : -1, &p) ? (uint64_t)(blocks * p.out * p.in) : 0;
}

bl_status bl_llama2c_parse(const uint8_t *p, uint64_t n, const char *file, bl_config *out, bool *v1, uint64_t *data,
                           bl_err *e)
{
    bl_status st = BL_OK;
    bl_config c = {.arch = bl_arch_find("llama"), .eps = 1e-5, .rope_theta = 10000, .bos = 1, .eos = 2};
    int32_t h[7];
    static const char *const names[] = {"dim",        "hidden_dim", "n_layers",   "n_heads",
                                        "n_kv_heads", "vocab_size", "max_seq_len"};

    bool magic = n >= 4 && bl_u32_at(p) == MAGIC;
    if (n < (magic ? V1_DATA : V0_DATA))
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes, a llama2.c header has %d", file, n,
                       magic ? V1_DATA : V0_DATA);
    if (magic && bl_u32_at(p + 4) != 1)
        return bl_fail(e, BL_E_FORMAT, "%s: llama2.c version %" PRId32 ", expected 0 or 1 (int8 files are not read)",
                       file, (int32_t)bl_u32_at(p + 4));
    memcpy(h, p + (magic ? 8 : 0), sizeof h);
    if (magic) {
        if (p[36] > 1) return bl_fail(e, BL_E_FORMAT, "%s: shared_classifier is %d, expected 0 or 1", file, p[36]);
        for (int i = 37; i < V1_DATA; i++)
            if (p[i]) return bl_fail(e, BL_E_FORMAT, "%s: header byte %d is %d, expected 0", file, i, p[i]);
        c.tied = p[36];
    } else {
        c.tied = h[5] > 0;
        if (h[5] < 0 && h[5] != INT32_MIN) h[5] = -h[5];
    }
    for (int i = 0; i < 7; i++)
        if (h[i] <= 0)
            return bl_fail(e, BL_E_FORMAT,
                           "%s: read as a llama2.c checkpoint (it is not GGUF), %s is %" PRId32 ", expected above 0",
                           file, names[i], h[i]);
    c.roles = c.arch->has;
    c.dim = h[0];
    c.ffn_dim = h[1];
    c.n_layers = h[2];
    c.n_heads = h[3];
    c.n_kv_heads = h[4];
    c.vocab = h[5];
    c.max_len = h[6];
    c.head_dim = c.dim / c.n_heads ? c.dim / c.n_heads : 1;
    if ((st = bl_config_check(&c, file, e)) != BL_OK) {
        bl_within(e, "read as a llama2.c checkpoint");
        return st;
    }

    uint64_t floats = 0, from = magic ? V1_DATA : V0_DATA;
    for (int r = 0; r < BL_N_ROLES; r++) floats += role_floats(&c, (bl_role)r);
    if (!magic) floats += role_floats(&c, BL_N_ROLES);
    if (n - from != floats * 4)
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes, a llama2.c v%d checkpoint of this shape has %" PRIu64,
                       file, n, magic, from + floats * 4);
    *out = c;
    *v1 = magic;
    *data = from;
    return BL_OK;
}

bl_status bl_read_llama2c(bl_checkpoint *c, bl_err *e)
{
    bl_status st = BL_OK;
    bool v1;
    uint64_t at, begin[BL_N_ROLES + 1] = {0};
    const bl_format *f = bl_format_find("fp32");
    bl_param s;

    BL_TRY(bl_llama2c_parse(c->map[0].data, c->map[0].size, c->map[0].path, &c->config, &v1, &at, e));
    const bl_role *order = v1 ? order_v1 : order_v0;
    for (size_t i = 0; i < (v1 ? BL_COUNT(order_v1) : BL_COUNT(order_v0)); i++) {
        begin[order[i]] = at;
        at += 4 * role_floats(&c->config, order[i]);
    }
    for (size_t i = 0; bl_param_at(&c->config, i, &s); i++) {
        uint64_t bytes = 4 * (uint64_t)s.out * (uint64_t)s.in;
        bl_stored t = bl_stored_whole(&s, f, 0, begin[s.role], bytes);
        begin[s.role] += bytes;
        t.rotary_heads = s.rotary_heads; /* its rows are in adjacent pairs */
        BL_TRY(bl_checkpoint_put(c, &t, e));
    }
out:
    return st;
}
