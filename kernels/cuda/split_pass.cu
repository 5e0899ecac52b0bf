/* split_pass.cu - normal floats of few values whose scales are codes (fmt_lq.c), without codes: the largest of each
 * group, the scales as they are read, and what is kept of each weight, as plain C has them to the bit.
 */
#include "device.cuh"

enum { TOPS_THREADS = 256, RESTS_BLOCKS = 2048, RESTS_THREADS = 256 };

/* A thread a group: the largest |x|, and the least of those of all groups; bits of floats without a sign are in their
 * order. least[1]: one of them is no number. */
__global__ void tops(const float *x, int64_t rows, int64_t in, int64_t group, int64_t groups, float *s, uint32_t *least)
{
    const int64_t at = (int64_t)blockIdx.x * TOPS_THREADS + threadIdx.x;
    uint32_t top = 0, low = 0x7f800000;
    if (at < rows * groups) {
        const int64_t k0 = at % groups * group, n = k0 + group < in ? group : in - k0;
        const float *p = x + at / groups * in + k0;
        if (n % 4 == 0 && (uintptr_t)p % 16 == 0)
            for (int64_t i = 0; i < n / 4; i++) {
                const float4 v = ((const float4 *)p)[i];
                top = max(max(top, __float_as_uint(v.x) & INT32_MAX), __float_as_uint(v.y) & INT32_MAX);
                top = max(max(top, __float_as_uint(v.z) & INT32_MAX), __float_as_uint(v.w) & INT32_MAX);
            }
        else
            for (int64_t i = 0; i < n; i++) top = max(top, __float_as_uint(p[i]) & INT32_MAX);
        s[at] = __uint_as_float(top);
        low = top;
        if (top >= 0x7f800000) least[1] = 1;
    }
    low = __reduce_min_sync(0xffffffff, low);
    if (threadIdx.x % WARP == 0) atomicMin(least, low);
}

/* A warp a block of scales: its largest above the least is kept in a type, each scale as a code of that; s becomes what
 * is read. least[2]: the largest does not fit its type. */
__global__ void codes_of_scales(float *s, int64_t all, int64_t each, int bits, int type, uint32_t *least)
{
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP * each;
    const float low = __uint_as_float(least[0]), most = (float)((1 << bits) - 1);
    const int64_t end = at + each < all ? at + each : all;
    float top = 0;
    if (at >= all) return;
    for (int64_t i = at + threadIdx.x % WARP; i < end; i += WARP) top = fmaxf(top, s[i] - low);
    top = warp_max(top);
    float stored = top;
    if (type == 0) {
        if (top == 0) stored = 0;
    } else {
        uint16_t h = type == 1 ? to_f16(top) : to_bf16(top);
        if (top > 0 && (h & 0x7fff) == 0) h |= 1;
        stored = type == 1 ? from_f16(h) : from_bf16(h);
    }
    if (!isfinite(stored)) least[2] = 1;
    const float by = most / stored, unit = stored * (1 / most);
    for (int64_t i = at + threadIdx.x % WARP; i < end; i += WARP) {
        const float above = s[i] - low, k = isinf(by) ? above / stored * most : above * by;
        const float code = stored > 0 ? fminf(rintf(k), most) : 0;
        s[i] = __fadd_rn(__fmul_rn(code, unit), low);
    }
}

/* The sum over a block's part of f (x - q)^2, q what is kept of x; then x = (w - q) rows cols. */
template <int M> __global__ void __launch_bounds__(RESTS_THREADS) rests(bl_cu_rests m)
{
    __shared__ double tmp[WARP + 1];
    double sum = 0;
    const int64_t n = m.rows * m.in;
    for (int64_t i = (int64_t)blockIdx.x * RESTS_THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * RESTS_THREADS) {
        const int64_t row = i / m.in, col = i - row * m.in;
        float q = 0;
        const float x = m.x[i];
        if (M) {
            const float scale = m.s[row * m.groups + col / m.group];
            const float v = x / scale;
            float at = m.value[0];
#pragma unroll
            for (int k = 0; k + 1 < M; k++) at = m.bound[k] < v ? m.value[k + 1] : at;
            q = scale > 0 ? __fmul_rn(at, scale) : m.zero * scale + -0.0f;
        }
        const double d = (double)x - q;
        sum += (m.importance ? (double)m.importance[i] : 1) * d * d;
        if (!m.w) continue;
        const float r = m.w[i] - q;
        m.x[i] = m.d_row ? r * (m.d_row[row] * m.d_col[col]) : r;
    }
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) m.sums[blockIdx.x] = sum;
}

int bl_cu_rests_sums(void) { return RESTS_BLOCKS; }

void bl_cu_lq_scales(bl_stream s, const float *x, int64_t rows, int64_t in, int64_t group, int64_t each, int bits,
                     int type, float *scale, uint32_t *least)
{
    const int64_t groups = (in + group - 1) / group, all = rows * groups, blocks = (all + each - 1) / each;
    cudaMemsetAsync(least, 0x7f, sizeof *least, s); /* above every number */
    cudaMemsetAsync(least + 1, 0, 2 * sizeof *least, s);
    tops<<<(unsigned)((all + TOPS_THREADS - 1) / TOPS_THREADS), TOPS_THREADS, 0, s>>>(x, rows, in, group, groups, scale,
                                                                                      least);
    codes_of_scales<<<(unsigned)((blocks + 7) / 8), 256, 0, s>>>(scale, all, each, bits, type, least);
}

void bl_cu_lq_rests(bl_stream s, const bl_cu_rests *m)
{
    switch (m->values) {
    case 4: rests<4><<<RESTS_BLOCKS, RESTS_THREADS, 0, s>>>(*m); break;
    case 8: rests<8><<<RESTS_BLOCKS, RESTS_THREADS, 0, s>>>(*m); break;
    case 16: rests<16><<<RESTS_BLOCKS, RESTS_THREADS, 0, s>>>(*m); break;
    default: rests<0><<<RESTS_BLOCKS, RESTS_THREADS, 0, s>>>(*m); break;
    }
}
