/* tiny_model.h - made-up llama2.c checkpoints and a tokenizer of bytes, written where a test wants them.
 *
 * Token ids: 0 unknown, 1 begin, 2 end, 3 + b the byte b, then `pieces`. The table model knows one successor for each
 * token: it gives it probability p, and the rest to all others alike.
 */
#ifndef BL_TESTS_TINY_MODEL_H
#define BL_TESTS_TINY_MODEL_H
#include "test.h"
#include "kernels/base/rng.h"
#include <math.h>

enum { TINY_BYTES = 259, TINY_VOCAB = 264 };

static inline void tiny_put(FILE *f, const void *p, size_t n)
{
    if (fwrite(p, 1, n, f) != n) fail_msg("fwrite");
}
static inline void tiny_piece(FILE *f, const char *s, float score)
{
    int32_t n = (int32_t)strlen(s);
    tiny_put(f, &score, 4);
    tiny_put(f, &n, 4);
    tiny_put(f, s, (size_t)n);
}

/* pieces: NULL-terminated, single characters first; a later one is merged before an earlier one. */
static inline void tiny_tokenizer(const char *path, const char *const *pieces)
{
    FILE *f = fopen(path, "wb");
    int32_t longest = 16;
    char s[16];
    if (!f) fail_msg("%s", path);
    tiny_put(f, &longest, 4);
    tiny_piece(f, "<unk>", 0);
    tiny_piece(f, "\n<s>\n", 0);
    tiny_piece(f, "\n</s>\n", 0);
    for (int b = 0; b < 256; b++) {
        snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
        tiny_piece(f, s, 0);
    }
    for (int i = 0; pieces && pieces[i]; i++) tiny_piece(f, pieces[i], (float)(i + 1));
    fclose(f);
}

typedef struct tiny {
    int32_t dim, hidden, layers, heads, kv_heads, vocab, max_len;
} tiny;
static const tiny tiny_bytes = {
    .dim = 264, .hidden = 8, .layers = 2, .heads = 4, .kv_heads = 2, .vocab = TINY_VOCAB, .max_len = 64};

/* Floats of `n` weights: what(i) for i = 0 .. n-1. */
typedef float tiny_weight(const void *ctx, int64_t i);
static inline void tiny_fill(FILE *f, int64_t n, tiny_weight *what, const void *ctx)
{
    float buf[1024];
    for (int64_t i = 0; i < n;) {
        int64_t k = 0;
        for (; k < 1024 && i < n; k++, i++) buf[k] = what ? what(ctx, i) : 0;
        tiny_put(f, buf, (size_t)k * sizeof *buf);
    }
}
static inline float tiny_one(const void *ctx, int64_t i)
{
    (void)ctx;
    (void)i;
    return 1;
}
static inline float tiny_random(const void *ctx, int64_t i)
{
    bl_rng r = bl_rng_at(*(const uint64_t *)ctx, 7, (uint64_t)i);
    return (float)(bl_rng_normal(&r) * 0.08);
}
static inline float tiny_identity(const void *ctx, int64_t i)
{
    int32_t dim = *(const int32_t *)ctx;
    return i / dim == i % dim;
}

typedef struct tiny_table {
    const tiny *t;
    int32_t next[TINY_VOCAB];
    float strength;
} tiny_table;
static inline float tiny_next(const void *ctx, int64_t i)
{
    const tiny_table *k = ctx;
    int64_t v = i / k->t->dim, t = i % k->t->dim;
    return t < k->t->vocab && k->next[t] == v ? k->strength : 0;
}

/* The blocks' weights come from `block` (NULL: zero), the head from `head`. */
static inline void tiny_write(const char *path, const tiny *t, tiny_weight *embed, const void *embed_ctx,
                              tiny_weight *block, tiny_weight *head, const void *head_ctx)
{
    FILE *f = fopen(path, "wb");
    tiny h = *t;
    uint64_t seed = 1;
    int64_t d = t->dim, kv = d / t->heads * t->kv_heads, L = t->layers;
    if (!f) fail_msg("%s", path);
    h.vocab = -h.vocab; /* a head of its own */
    tiny_put(f, &h, sizeof h);
    tiny_fill(f, t->vocab * d, embed, embed_ctx);
    tiny_fill(f, L * d, tiny_one, NULL);
    const int64_t attention[] = {d * d, kv * d, kv * d, d * d};
    for (int i = 0; i < 4; i++, seed++) tiny_fill(f, L * attention[i], block, &seed);
    tiny_fill(f, L * d, tiny_one, NULL);
    for (int i = 0; i < 3; i++, seed++) tiny_fill(f, L * d * t->hidden, block, &seed);
    tiny_fill(f, d, tiny_one, NULL);
    tiny_fill(f, t->max_len * (d / t->heads), NULL, NULL);
    tiny_fill(f, t->vocab * d, head, head_ctx);
    fclose(f);
}

/* All logits are 0. */
static inline void tiny_uniform(const char *path)
{
    tiny_write(path, &tiny_bytes, tiny_identity, &tiny_bytes.dim, tiny_random, NULL, NULL);
}

/* next[t] follows t with probability p. */
static inline void tiny_oracle(const char *path, const int32_t next[TINY_VOCAB], double p)
{
    tiny_table k = {.t = &tiny_bytes};
    double d = tiny_bytes.dim, out = 1 / sqrt(1 / d + 1e-5); /* what the final norm makes of a 1 among zeros */
    memcpy(k.next, next, sizeof k.next);
    k.strength = (float)(log(p / (1 - p) * (TINY_VOCAB - 1)) / out);
    tiny_write(path, &tiny_bytes, tiny_identity, &tiny_bytes.dim, NULL, tiny_next, &k);
}

/* a follows the begin, b follows a, …, a follows z; the rest is followed by the end. */
static inline void tiny_alphabet(int32_t next[TINY_VOCAB])
{
    for (int i = 0; i < TINY_VOCAB; i++) next[i] = 2;
    next[1] = 3 + 'a';
    for (int c = 'a'; c <= 'z'; c++) next[3 + c] = 3 + (c == 'z' ? 'a' : c + 1);
}

/* A model with random weights everywhere; heads 4, key heads 2, widths that no vector divides. */
static inline void tiny_noise(const char *path)
{
    static const tiny t = {
        .dim = 72, .hidden = 100, .layers = 3, .heads = 4, .kv_heads = 2, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    tiny_write(path, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
}
#endif
