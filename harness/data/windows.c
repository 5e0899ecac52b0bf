/* windows.c - CPython's random.seed and random.randint. */
#include "windows.h"

enum { N = 624, M = 397 };

static uint32_t next(bl_py_random *r)
{
    uint32_t y;
    if (r->at >= N) {
        for (int k = 0; k < N; k++) {
            y = (r->state[k] & 0x80000000u) | (r->state[(k + 1) % N] & 0x7fffffffu);
            r->state[k] = r->state[(k + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->at = 0;
    }
    y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* init_by_array with the seed's 32-bit digits as the key. */
void bl_py_seed(bl_py_random *r, uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    int n = key[1] ? 2 : 1, i = 1, j = 0;

    r->state[0] = 19650218u;
    for (int k = 1; k < N; k++) r->state[k] = 1812433253u * (r->state[k - 1] ^ (r->state[k - 1] >> 30)) + (uint32_t)k;
    for (int k = 0; k < N; k++) {
        r->state[i] = (r->state[i] ^ ((r->state[i - 1] ^ (r->state[i - 1] >> 30)) * 1664525u)) + key[j] + (uint32_t)j;
        if (++i == N) {
            r->state[0] = r->state[N - 1];
            i = 1;
        }
        if (++j == n) j = 0;
    }
    for (int k = 0; k < N - 1; k++) {
        r->state[i] = (r->state[i] ^ ((r->state[i - 1] ^ (r->state[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        if (++i == N) {
            r->state[0] = r->state[N - 1];
            i = 1;
        }
    }
    r->state[0] = 0x80000000u;
    r->at = N;
}

static uint64_t bits(bl_py_random *r, int n)
{
    uint64_t low;
    if (n <= 32) return next(r) >> (32 - n);
    low = next(r);
    return low | (uint64_t)(next(r) >> (64 - n)) << 32;
}

int64_t bl_py_randint(bl_py_random *r, int64_t lowest, int64_t highest)
{
    uint64_t width = (uint64_t)(highest - lowest) + 1, v;
    int n = 64 - __builtin_clzll(width);
    do v = bits(r, n);
    while (v >= width);
    return lowest + (int64_t)v;
}
