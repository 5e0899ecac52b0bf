/* hash.c - XXH3-128, streamed. Numbers go in as little-endian bytes, texts with their length in front. */
#include "hash.h"
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

struct bl_hasher {
    XXH3_state_t state;
};

static bl_hash from(XXH128_hash_t h) { return (bl_hash){h.high64, h.low64}; }

bl_hasher *bl_hasher_new(bl_err *e)
{
    bl_hasher *h = bl_new(1, sizeof *h, e); /* 64-byte aligned, as the state wants it */
    if (h) XXH3_128bits_reset(&h->state);
    return h;
}

void bl_hash_add(bl_hasher *h, const void *p, size_t n)
{
    if (n) XXH3_128bits_update(&h->state, p, n);
}

void bl_hash_u64(bl_hasher *h, uint64_t v)
{
    uint8_t le[8];
    for (int i = 0; i < 8; i++) le[i] = (uint8_t)(v >> 8 * i);
    bl_hash_add(h, le, sizeof le);
}

void bl_hash_text(bl_hasher *h, const char *s)
{
    bl_hash_u64(h, s ? strlen(s) : UINT64_MAX);
    if (s) bl_hash_add(h, s, strlen(s));
}

void bl_hash_of(bl_hasher *h, bl_hash v)
{
    bl_hash_u64(h, v.hi);
    bl_hash_u64(h, v.lo);
}

bl_hash bl_hasher_end(bl_hasher *h)
{
    bl_hash out = from(XXH3_128bits_digest(&h->state));
    bl_free(h);
    return out;
}

bl_hash bl_hash_bytes(const void *p, size_t n) { return from(XXH3_128bits(p, n)); }
bool bl_hash_equal(bl_hash a, bl_hash b) { return a.hi == b.hi && a.lo == b.lo; }

void bl_hash_hex(bl_hash h, char out[33])
{
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

const char *bl_hash_version(void)
{
    static char text[32];
    unsigned v = XXH_versionNumber();
    snprintf(text, sizeof text, "xxHash %u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return text;
}
