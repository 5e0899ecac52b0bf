/* synth.c - weights of well-known shapes, made up as they are read: for memory and speed work, never resident as a
 * whole.
 *
 *     synth:llama3-8b        bf16, normal with deviation 0.02
 *     synth:llama3-8b:int4   random codes in groups of 64, fp16 scales and packed zero points; embedding and head
 *                            stay bf16
 *     synth:llama3-70b@2     its first two blocks alone: what a block takes of a model that would take hours
 *
 * Byte b of a part follows from the name of its weight and b alone: block b / 16 of Philox, keyed by the name. Dense
 * weights turn 16 random bits into a quantile of the normal distribution by table, so any slice costs the same and
 * nothing depends on order.
 */
#include "checkpoint_impl.h"
#include "kernels/base/rng.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

enum { VERSION = 1, GROUP = 64, QUANTILES = 65536 };
static const double deviation = 0.02;

static const struct shape {
    const char *name, *arch;
    uint32_t optional; /* roles that this model of the architecture has */
    bl_config c;
} shapes[] = {
#define PLAIN     .rope = BL_ROPE_PLAIN
#define LLAMA3(f) .rope = BL_ROPE_LLAMA3, .rope_factor = f, .rope_low = 1, .rope_high = 4, .rope_original = 8192
    {"llama3-8b",
     "llama",
     0,
     {4096, 14336, 32, 32, 8, 128, 128256, 8192, 1e-5, 500000, PLAIN, .tied = false, .bos = 128000, .eos = 128001}},
    {"llama3-70b",
     "llama",
     0,
     {8192, 28672, 80, 64, 8, 128, 128256, 8192, 1e-5, 500000, PLAIN, .tied = false, .bos = 128000, .eos = 128001}},
    {"llama3.1-8b",
     "llama",
     0,
     {4096, 14336, 32, 32, 8, 128, 128256, 131072, 1e-5, 500000, LLAMA3(8), .tied = false, .bos = 128000,
      .eos = 128001}},
    {"llama3.1-70b",
     "llama",
     0,
     {8192, 28672, 80, 64, 8, 128, 128256, 131072, 1e-5, 500000, LLAMA3(8), .tied = false, .bos = 128000,
      .eos = 128001}},
    {"llama3.1-405b",
     "llama",
     0,
     {16384, 53248, 126, 128, 8, 128, 128256, 131072, 1e-5, 500000, LLAMA3(8), .tied = false, .bos = 128000,
      .eos = 128001}},
    {"llama3.2-1b",
     "llama",
     0,
     {2048, 8192, 16, 32, 8, 64, 128256, 131072, 1e-5, 500000, LLAMA3(32), .tied = true, .bos = 128000, .eos = 128001}},
    {"llama3.2-3b",
     "llama",
     0,
     {3072, 8192, 28, 24, 8, 128, 128256, 131072, 1e-5, 500000, LLAMA3(32), .tied = true, .bos = 128000,
      .eos = 128001}},
    {"llama-65b",
     "llama",
     0,
     {8192, 22016, 80, 64, 64, 128, 32000, 2048, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"llama2-7b",
     "llama",
     0,
     {4096, 11008, 32, 32, 32, 128, 32000, 4096, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"llama2-13b",
     "llama",
     0,
     {5120, 13824, 40, 40, 40, 128, 32000, 4096, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"llama2-70b",
     "llama",
     0,
     {8192, 28672, 80, 64, 8, 128, 32000, 4096, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"tinyllama-1.1b",
     "llama",
     0,
     {2048, 5632, 22, 32, 4, 64, 32000, 2048, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"smollm2-135m",
     "llama",
     0,
     {576, 1536, 30, 9, 3, 64, 49152, 8192, 1e-5, 100000, PLAIN, .tied = true, .bos = 1, .eos = 2}},
    {"smollm2-360m",
     "llama",
     0,
     {960, 2560, 32, 15, 5, 64, 49152, 8192, 1e-5, 100000, PLAIN, .tied = true, .bos = 1, .eos = 2}},
    {"smollm2-1.7b",
     "llama",
     0,
     {2048, 8192, 24, 32, 32, 64, 49152, 8192, 1e-5, 130000, PLAIN, .tied = true, .bos = 1, .eos = 2}},
    {"mistral-7b-v0.1",
     "mistral",
     0,
     {4096, 14336, 32, 32, 8, 128, 32000, 32768, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2,
      .window = 4096}},
    {"mistral-7b-v0.3",
     "mistral",
     0,
     {4096, 14336, 32, 32, 8, 128, 32768, 32768, 1e-5, 1e6, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"qwen2.5-0.5b",
     "qwen2",
     0,
     {896, 4864, 24, 14, 2, 64, 151936, 32768, 1e-6, 1e6, PLAIN, .tied = true, .bos = 151643, .eos = 151643}},
    {"qwen3-0.6b",
     "qwen3",
     0,
     {1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e-6, 1e6, PLAIN, .tied = true, .bos = 151643, .eos = 151645}},
    /* of our own: characters as tokens, see pretrain */
    {"lessons-5m",
     "llama",
     0,
     {256, 768, 6, 4, 2, 64, 128, 1024, 1e-5, 10000, PLAIN, .tied = true, .bos = 0, .eos = 0}},
    {"lessons-tiny",
     "llama",
     0,
     {64, 192, 2, 4, 2, 16, 128, 1024, 1e-5, 10000, PLAIN, .tied = true, .bos = 0, .eos = 0}},
    {"tiny", "llama", 0, {64, 176, 2, 4, 2, 16, 512, 512, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"tiny-biases",
     "llama",
     BL_ROLES_ATTENTION_BIAS | BL_ROLES_MLP_BIAS,
     {64, 176, 2, 4, 2, 16, 512, 512, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2}},
    {"tiny-mistral",
     "mistral",
     0,
     {64, 176, 2, 4, 2, 16, 512, 512, 1e-5, 10000, PLAIN, .tied = false, .bos = 1, .eos = 2, .window = 256}},
    {"tiny-qwen2", "qwen2", 0, {64, 176, 2, 4, 2, 16, 512, 512, 1e-6, 1e6, PLAIN, .tied = true, .bos = 1, .eos = 2}},
    {"tiny-qwen3", "qwen3", 0, {64, 176, 2, 4, 2, 32, 512, 512, 1e-6, 1e6, PLAIN, .tied = true, .bos = 1, .eos = 2}},
#undef PLAIN
#undef LLAMA3
};
static const struct {
    const char *name, *format;
} types[] = {{"f32", "fp32"}, {"f16", "fp16"}}; /* else the format's own name */

struct bl_synth {
    const char *text;
    float quantile[QUANTILES]; /* of 0.02 times a normal number */
    uint16_t f16[QUANTILES], bf16[QUANTILES];
};

/* Normal quantile by Acklam's rational approximation (relative error below 1.2e-9), 0 < p < 1. */
static double normal_quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                               1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                               6.680131188771972e+01, -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                               -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    if (p > 0.5) return -normal_quantile(1 - p);
    if (p < 0.02425) {
        double q = sqrt(-2 * log(p));
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    }
    double q = p - 0.5, r = q * q;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

void bl_synth_free(bl_synth *s) { bl_free(s); }

bl_status bl_synth_hash(const bl_synth *s, bl_hash *out, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_text(h, s->text);
    bl_hash_u64(h, VERSION);
    *out = bl_hasher_end(h);
    return BL_OK;
}

/* ---- bytes ---- */
typedef struct stream {
    uint32_t key[2];
    uint64_t block;
    uint8_t buf[16];
} stream;

static stream stream_of(const bl_stored *t, int part)
{
    uint64_t k = bl_rng_key(t->name, (uint64_t)part);
    return (stream){.key = {(uint32_t)k, (uint32_t)(k >> 32)}, .block = UINT64_MAX};
}

static const uint8_t *block(stream *s, uint64_t b)
{
    if (b != s->block) {
        uint32_t out[4];
        bl_philox((uint32_t[4]){(uint32_t)b, (uint32_t)(b >> 32), 0, VERSION}, s->key, out);
        memcpy(s->buf, out, sizeof s->buf);
        s->block = b;
    }
    return s->buf;
}

static void random_bytes(stream *s, uint64_t from, uint64_t n, uint8_t *dst)
{
    while (n > 0) {
        uint64_t skip = from % 16, m = BL_MIN(16 - skip, n);
        memcpy(dst, block(s, from / 16) + skip, m);
        dst += m;
        from += m;
        n -= m;
    }
}

/* Eight quantiles a block, `size` bytes each. */
static void quantiles(const void *table, uint64_t size, const uint8_t *random, uint8_t *out)
{
    uint16_t bits[8];
    memcpy(bits, random, sizeof bits);
    if (size == 2)
        for (int k = 0; k < 8; k++) memcpy(out + 2 * k, (const uint8_t *)table + 2 * bits[k], 2);
    else
        for (int k = 0; k < 8; k++) memcpy(out + 4 * k, (const uint8_t *)table + 4 * (size_t)bits[k], 4);
}

static void dense_bytes(stream *s, const void *table, uint64_t size, uint64_t from, uint64_t n, uint8_t *dst)
{
    uint64_t per = 8 * size, b = from / per, skip = from % per;
    uint8_t out[8 * 4];
    while (n > 0) {
        uint64_t m = BL_MIN(per - skip, n);
        if (m == per) {
            quantiles(table, size, block(s, b), dst);
        } else {
            quantiles(table, size, block(s, b), out);
            memcpy(dst, out + skip, m);
        }
        dst += m;
        n -= m;
        skip = 0;
        b++;
    }
}

/* The same element over and over. */
static void constant_bytes(const void *element, uint64_t size, uint64_t from, uint64_t n, uint8_t *dst)
{
    for (uint64_t i = 0; i < n; i++) dst[i] = ((const uint8_t *)element)[(from + i) % size];
}

static void constant(bl_dtype t, float v, uint64_t from, uint64_t n, uint8_t *dst)
{
    uint16_t half = t == BL_F16 ? bl_f32_to_f16(v) : bl_f32_to_bf16(v);
    if (t == BL_F32) constant_bytes(&v, 4, from, n, dst);
    else constant_bytes(&half, 2, from, n, dst);
}

/* Rows of b-bit fields that all hold 2^(b-1): only the top bit of each is set. */
static void middle_zeros(int bits, uint64_t row_bytes, uint64_t from, uint64_t n, uint8_t *dst)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t bit0 = (from + i) % row_bytes * 8;
        dst[i] = 0;
        for (unsigned k = 0; k < 8; k++) dst[i] |= (uint8_t)(((bit0 + k) % (uint64_t)bits == (uint64_t)bits - 1) << k);
    }
}

/* Scale that gives random codes the deviation of the dense weights. */
static float code_scale(const bl_format *f)
{
    double mean = 0, sq = 0;
    if (f->bits == 1) return (float)deviation;
    if (f->kind == BL_FMT_INT) return (float)(deviation * sqrt(12) / (1 << f->bits));
    for (int i = 0; i < 1 << f->bits; i++) {
        mean += f->table[i];
        sq += (double)f->table[i] * f->table[i];
    }
    mean /= 1 << f->bits;
    return (float)(deviation / sqrt(sq / (1 << f->bits) - mean * mean));
}

static void bytes(const bl_synth *y, const bl_stored *t, int i, uint64_t from, uint64_t n, void *dst)
{
    bl_part_spec spec[BL_MAX_PARTS];
    const bl_format *f = t->format;
    stream s = stream_of(t, i);
    f->parts(f, &t->shape, spec);
    if (f->kind == BL_FMT_DENSE) {
        bl_dtype d = spec[i].dtype;
        if (bl_roles[t->role].kind == BL_KIND_NORM) constant(d, 1, from, n, dst);
        else
            dense_bytes(&s,
                        d == BL_F32   ? (const void *)y->quantile
                        : d == BL_F16 ? y->f16
                                      : y->bf16,
                        bl_dtype_bytes(d), from, n, dst);
    } else if (!strcmp(spec[i].name, "codes")) {
        random_bytes(&s, from, n, dst);
    } else if (!strcmp(spec[i].name, "scales")) {
        constant(spec[i].dtype, code_scale(f), from, n, dst);
    } else {
        middle_zeros(f->bits, (uint64_t)spec[i].cols, from, n, dst);
    }
}

/* Pieces of a long stretch on all threads. */
void bl_synth_bytes(const bl_synth *y, const bl_stored *t, int i, uint64_t from, uint64_t n, void *dst)
{
    enum { PIECE = 1 << 16 };
    const int64_t pieces = (int64_t)((n + PIECE - 1) / PIECE);
#pragma omp parallel for schedule(static) if (pieces > 4)
    for (int64_t k = 0; k < pieces; k++) {
        const uint64_t at = (uint64_t)k * PIECE;
        bytes(y, t, i, from + at, BL_MIN(n - at, (uint64_t)PIECE), (uint8_t *)dst + at);
    }
}

const char *bl_synth_at(size_t i, const char **arch, bl_config *out)
{
    if (i >= BL_COUNT(shapes)) return NULL;
    *arch = shapes[i].arch;
    *out = shapes[i].c;
    out->arch = bl_arch_find(shapes[i].arch);
    out->roles = out->arch->has | shapes[i].optional;
    return shapes[i].name;
}

/* ---- opening ---- */
/* After '@' how many blocks there are. */
static bl_status few_blocks(const char *spec, const struct shape *s, int64_t *out, bl_err *e)
{
    const char *at = strchr(spec, '@');
    char *end;
    *out = s->c.n_layers;
    if (!at) return BL_OK;
    const long n = isdigit((unsigned char)at[1]) ? strtol(at + 1, &end, 10) : 0;
    if (n < 1 || n > *out || (*end && *end != ':'))
        return bl_fail(e, BL_E_CONFIG, "synth:%s: after @ comes how many of the %lld blocks of %s there are", spec,
                       (long long)s->c.n_layers, s->name);
    *out = n;
    return BL_OK;
}

static bl_status find_shape(const char *spec, const struct shape **out, bl_err *e)
{
    size_t n = strcspn(spec, "@:");
    const char *names[BL_COUNT(shapes) + 1] = {0};
    for (size_t i = 0; i < BL_COUNT(shapes); i++) {
        if (strlen(shapes[i].name) == n && !strncmp(shapes[i].name, spec, n)) {
            *out = &shapes[i];
            return BL_OK;
        }
        names[i] = shapes[i].name;
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)BL_MIN(n, sizeof word - 1), spec);
    const char *near = bl_nearest(word, names);
    return bl_fail(e, BL_E_CONFIG, "no synthetic shape '%s'; %s%s%s", word,
                   near ? "did you mean " : "see: bitladder list shapes", near ? near : "", near ? "?" : "");
}

static bl_status find_type(const char *name, const bl_format **out, bl_err *e)
{
    for (size_t i = 0; i < BL_COUNT(types); i++)
        if (!strcmp(name, types[i].name)) name = types[i].format;
    const bl_format *f = bl_format_find(name);
    bool fits = f && f->kind != BL_FMT_BLOCK;
    for (int i = 0; fits && f->kind == BL_FMT_TABLE && i < 1 << f->bits; i++) fits = isfinite(f->table[i]);
    if (!fits)
        return bl_fail(e, BL_E_CONFIG,
                       "no synthetic weights of type '%s'; f32, f16, bf16, int1 to int8 and nf2 to nf8 are made", name);
    *out = f;
    return BL_OK;
}

static void fill_tables(bl_synth *y)
{
    for (int i = 0; i < QUANTILES; i++) {
        y->quantile[i] = (float)(deviation * normal_quantile((i + 0.5) / QUANTILES));
        y->f16[i] = bl_f32_to_f16(y->quantile[i]);
        y->bf16[i] = bl_f32_to_bf16(y->quantile[i]);
    }
}

bl_status bl_read_synth(bl_checkpoint *c, const char *spec, bl_err *e)
{
    bl_status st = BL_OK;
    const char *colon = strchr(spec, ':');
    const struct shape *shape = NULL;
    const bl_format *f = NULL;
    char *text = NULL, few[24] = "";
    int64_t layers = 0;
    bl_param s;

    BL_TRY(find_shape(spec, &shape, e));
    BL_TRY(few_blocks(spec, shape, &layers, e));
    BL_TRY(find_type(colon ? colon + 1 : "bf16", &f, e));
    if (!(c->synth = bl_new(1, sizeof *c->synth, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    fill_tables(c->synth);
    bool plain = !strcmp(f->name, "bf16");
    if (layers < shape->c.n_layers) snprintf(few, sizeof few, "@%lld", (long long)layers);
    if (!(text = bl_format_text(e, "synth:%s%s%s%s", shape->name, few, plain ? "" : ":", plain ? "" : f->name))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!(c->name = c->path = bl_arena_str(c->arena, text, strlen(text), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    c->synth->text = c->name;
    c->config = shape->c;
    c->config.n_layers = layers;
    c->config.arch = bl_arch_find(shape->arch);
    c->config.roles = c->config.arch->has | shape->optional;
    for (size_t i = 0; bl_param_at(&c->config, i, &s); i++) {
        const bl_format *g = f->kind == BL_FMT_DENSE || bl_roles[s.role].kind == BL_KIND_LINEAR
                                 ? f
                                 : bl_format_find("bf16");
        bl_part_spec parts[BL_MAX_PARTS];
        bl_stored t = bl_stored_whole(&s, g, -1, 0, 0);
        if (g->kind != BL_FMT_DENSE)
            t.shape = (bl_shape){.out = s.out,
                                 .in = s.in,
                                 .group = BL_MIN(GROUP, s.in),
                                 .scale = BL_F16,
                                 .zero = g->kind == BL_FMT_INT && g->bits > 1 ? BL_ZERO_PACKED : BL_ZERO_NONE};
        t.n_parts = g->parts(g, &t.shape, parts);
        for (int p = 0; p < t.n_parts; p++)
            t.part[p] = (bl_extent){-1, 0,
                                    (uint64_t)parts[p].rows * (uint64_t)parts[p].cols * bl_dtype_bytes(parts[p].dtype)};
        BL_TRY(bl_checkpoint_put(c, &t, e));
    }
out:
    bl_free(text);
    return st;
}
