/* weight.cuh - codes, scales and zeros of a packed weight, read as format.h lays them out. */
#ifndef BL_KERNELS_CUDA_WEIGHT_CUH
#define BL_KERNELS_CUDA_WEIGHT_CUH
#include "device.cuh"
#include <type_traits>

static __device__ __forceinline__ float stored_scale(const bl_cu_weight &w, int64_t row, int64_t group)
{
    int64_t i = row * w.groups + group;
    switch (w.scale_type) {
    case 0: return ((const float *)w.scales)[i];
    case 1: return from_f16(((const uint16_t *)w.scales)[i]);
    case 2: return from_bf16(((const uint16_t *)w.scales)[i]);
    default: return w.map[((const uint8_t *)w.scales)[i]] * w.scales2[i / 256] + w.offset[0];
    }
}

static __device__ __forceinline__ int code_at(const uint8_t *row, int b, int64_t i)
{
    int64_t bit = i * b;
    int at = (int)(bit & 7);
    unsigned v = row[bit >> 3] >> at;
    if (at + b > 8) v |= (unsigned)row[(bit >> 3) + 1] << (8 - at);
    return (int)(v & ((1u << b) - 1));
}

/* Code i of 32 that begin with a word; i is known when compiling. */
template <int BITS> static __device__ __forceinline__ uint32_t code_of_run(const uint32_t v[BITS], int i)
{
    const int bit = i * BITS, at = bit % 32, word = bit / 32;
    uint32_t q = v[word] >> at;
    if (at + BITS > 32) q |= v[word + 1 < BITS ? word + 1 : word] << (32 - at);
    return q & ((1u << BITS) - 1);
}

/* Eight codes of b bits, those of lane t of a run of 32 that begins at p. */
template <int BITS> struct codes_of {
    typedef typename std::conditional<(BITS <= 4), uint32_t, uint64_t>::type word;
};
template <int BITS>
static __device__ __forceinline__ typename codes_of<BITS>::word eight_codes(const uint32_t *p, int t)
{
    if (BITS == 4) return p[t];
    if (BITS <= 2) return p[t * BITS / 4] >> t * 8 * BITS % 32;
    if (BITS == 3) return __funnelshift_r(p[t * 24 / 32], p[t < 2 ? 1 : 2], t * 24 % 32);
    const int bit = t * 8 * BITS, i = bit / 32, at = bit % 32;
    uint32_t lo = p[i], hi = i + 1 < BITS ? p[i + 1] : 0;
    uint64_t v = ((uint64_t)hi << 32 | lo) >> at;
    if (BITS == 7 && at > 8) v |= (uint64_t)p[i + 2] << (64 - at); /* 56 bits that begin late */
    return v;
}

static __device__ __forceinline__ int stored_zero(const bl_cu_weight &w, int64_t row, int64_t group)
{
    switch (w.zero_type) {
    case 0: return 1 << (w.bits - 1);
    case 1: return code_at((const uint8_t *)w.zeros + row * w.zero_bytes, w.bits, group);
    default: return ((const int16_t *)w.zeros)[row * w.groups + group];
    }
}

static __device__ __forceinline__ void put8(uint16_t *y, const float f[8])
{
    uint4 v;
    uint16_t *h = (uint16_t *)&v;
#pragma unroll
    for (int j = 0; j < 8; j++) h[j] = to_bf16(f[j]);
    *(uint4 *)y = v;
}
#endif
