/* rng.c - Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * counter = { counter low, counter high, stream low, stream high }, key = { seed low, seed high }
 */
#include "rng.h"
#include <math.h>
#include <string.h>
#include <xxhash.h>

__extension__ typedef unsigned __int128 wide;

void bl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xd2511f53) * c0, b = UINT64_C(0xcd9e8d57) * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u; /* the golden ratio and sqrt(3) - 1, as in the paper */
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

bl_rng bl_rng_at(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (bl_rng){.seed = seed, .stream = stream, .counter = counter};
}

uint64_t bl_rng_key(const char *name, uint64_t n) { return XXH3_64bits_withSeed(name, strlen(name), n); }

uint32_t bl_rng_u32(bl_rng *r)
{
    if (r->left == 0) {
        const uint32_t counter[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32), (uint32_t)r->stream,
                                     (uint32_t)(r->stream >> 32)};
        const uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
        bl_philox(counter, key, r->buf);
        r->counter++;
        r->left = 4;
    }
    return r->buf[4 - r->left--];
}

static uint64_t u64(bl_rng *r)
{
    uint64_t low = bl_rng_u32(r);
    return (uint64_t)bl_rng_u32(r) << 32 | low;
}

double bl_rng_uniform(bl_rng *r) { return (double)(u64(r) >> 11) * 0x1p-53; }

double bl_rng_normal(bl_rng *r)
{
    double radius = sqrt(-2 * log(1 - bl_rng_uniform(r))); /* 1 - u is never zero */
    return radius * cos(6.283185307179586 * bl_rng_uniform(r));
}

/* Lemire 2019: the high half of a product is the number, the low half says when to draw again. */
uint64_t bl_rng_below(bl_rng *r, uint64_t n)
{
    if (n == 0) return 0;
    wide m = (wide)u64(r) * n;
    if ((uint64_t)m < n)
        for (uint64_t least = (0 - n) % n; (uint64_t)m < least;) m = (wide)u64(r) * n;
    return (uint64_t)(m >> 64);
}
