/* pack.cu - weights into integer codes: a warp fits and encodes a group, a second kernel writes bits, eight codes a
 * thread, and counts what was lost. The same bits as bl_int_encode. */
#include "fit.cuh"
#include "weight.cuh"

static __device__ void refuse(const bl_cu_pack &a, int64_t place)
{
    atomicMax(a.bad, ~0ull - (unsigned long long)place);
}

/* Scales, and zeros where they have 16 bits; packed zeros need whole bytes: bytes of `zeros` are written by the second
 * kernel from the floats kept here. */
__global__ void fit_all(bl_cu_pack a, float *scale, float *zero)
{
    int64_t i = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = i / a.w.groups,
            g = i % a.w.groups, k0 = g * a.w.group, n = min(a.w.group, a.w.in - k0);
    int lane = threadIdx.x % WARP, qmax = (1 << a.w.bits) - 1;
    if (row >= a.w.out) return;
    const float *x = a.x + row * a.w.in + k0;
    float s = 1, z = (float)(1 << (a.w.bits - 1));
    bool finite = true;
    for (int64_t k = lane; k < n; k += WARP) finite = finite && isfinite(x[k]);
    finite = __all_sync(0xffffffffu, finite);
    if (!a.scale) fit_group([x](int64_t k) { return x[k]; }, n, a.rule, a.mse, qmax, &s, &z);
    else s = a.scale[i];
    if (a.zero) z = a.zero[i];
    if (lane) return;
    float kept = a.w.bits > 1 ? stored(s, a.w.scale_type) : rounded(s, a.w.scale_type);
    if (a.w.bits > 1 && kept == 0) kept = __uint_as_float(1); /* f32: it is divided by */
    float lo = a.w.zero_type == 2 ? -32768.0f : 0, hi = a.w.zero_type == 2 ? 32767.0f : (float)qmax;
    bool fits = a.w.bits == 1 ||
                (a.w.zero_type == 0 ? z == (float)(1 << (a.w.bits - 1)) : z >= lo && z <= hi && z == rintf(z));
    if (!finite || !isfinite(kept) || !fits) refuse(a, i);
    scale[i] = kept;
    zero[i] = z;
    if (a.w.scale_type == 0) ((float *)a.w.scales)[i] = kept;
    else ((uint16_t *)a.w.scales)[i] = a.w.scale_type == 1 ? __half_as_ushort(__float2half_rn(kept)) : to_bf16(kept);
    if (a.w.zero_type == 2) ((int16_t *)a.w.zeros)[i] = (int16_t)z;
}

/* A block a row. */
__global__ void encode_rows(bl_cu_pack a, const float *scale, const float *zero)
{
    __shared__ double tmp[33];
    int64_t row = blockIdx.x, chunks = (a.w.in + 7) / 8;
    const float *x = a.x + row * a.w.in;
    uint8_t *codes = (uint8_t *)a.w.codes + row * a.w.row_bytes;
    int bits = a.w.bits;
    double lost = 0, there = 0;
    for (int64_t c = threadIdx.x; c < chunks; c += blockDim.x) {
        int n = (int)min((int64_t)8, a.w.in - 8 * c);
        uint64_t v = 0;
        for (int j = 0; j < n; j++) {
            int64_t k = 8 * c + j, at = row * a.w.groups + k / a.w.group;
            float s = scale[at], z = zero[at], w = x[k], back;
            int q;
            if (bits == 1) {
                q = w >= 0;
                back = (float)(2 * q - 1) * s;
            } else {
                q = (int)rintf(fminf(fmaxf(w / s, -z), (float)((1 << bits) - 1) - z)) + (int)z;
                back = (float)(q - (int)z) * s;
            }
            v |= (uint64_t)(q & ((1 << bits) - 1)) << j * bits;
            double d = (double)w - back;
            lost += d * d;
            there += (double)w * w;
        }
        for (int j = 0; j < (n * bits + 7) / 8; j++) codes[c * bits + j] = (uint8_t)(v >> 8 * j);
    }
    if (a.w.zero_type == 1)
        for (int64_t b = threadIdx.x; b < a.w.zero_bytes; b += blockDim.x) {
            unsigned v = 0;
            for (int j = 0; j < 8; j++) {
                int64_t bit = 8 * b + j, g = bit / bits;
                if (g < a.w.groups) v |= ((unsigned)(int)zero[row * a.w.groups + g] >> bit % bits & 1u) << j;
            }
            ((uint8_t *)a.w.zeros)[row * a.w.zero_bytes + b] = (uint8_t)v;
        }
    lost = block_sum(lost, tmp);
    there = block_sum(there, tmp);
    if (threadIdx.x == 0) {
        a.lost[row] = lost;
        a.lost[a.w.out + row] = there;
    }
}

void bl_cu_pack_int(bl_stream s, const bl_cu_pack *a)
{
    float *kept = (float *)(a->lost + 2 * a->w.out); /* scale and zero of every group, after the sums */
    int64_t groups = a->w.out * a->w.groups;
    if (!groups) return;
    fit_all<<<(unsigned)((groups + 3) / 4), 128, 0, s>>>(*a, kept, kept + groups);
    encode_rows<<<(unsigned)a->w.out, 128, 0, s>>>(*a, kept, kept + groups);
}
