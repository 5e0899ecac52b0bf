/* pack_between.cu - weights into dense types, and into integer codes whose zero points may be between codes, with
 * scales and zero points that are given. The same bits as kernels/fmt_dense.c, fmt_int.c and fmt_down.c. */
#include "fit.cuh"
#include "pack.h"

/* What a block has lost of its row. */
static __device__ void keep_sums(double lost, double there, double *sums, int64_t rows)
{
    __shared__ double tmp[33];
    lost = block_sum(lost, tmp);
    there = block_sum(there, tmp);
    if (threadIdx.x) return;
    sums[blockIdx.x] = lost;
    sums[rows + blockIdx.x] = there;
}

/* A block a row. */
__global__ void dense_rows(const float *x, bl_cu_weight w, double *sums, unsigned *bad)
{
    const int64_t from = blockIdx.x * w.in;
    double lost = 0, there = 0;
    for (int64_t i = from + threadIdx.x; i < from + w.in; i += blockDim.x) {
        const uint16_t h = w.bits == 16 ? to_f16(x[i]) : to_bf16(x[i]);
        const float back = w.bits == 32 ? x[i] : w.bits == 16 ? from_f16(h) : from_bf16(h);
        if (!isfinite(back)) *bad = 1;
        if (w.bits == 32) ((float *)w.codes)[i] = back;
        else ((uint16_t *)w.codes)[i] = h;
        const double d = (double)x[i] - back;
        lost += d * d;
        there += (double)x[i] * x[i];
    }
    keep_sums(lost, there, sums, w.out);
}
void bl_cu_pack_dense(bl_stream s, const float *x, const bl_cu_weight *w, double *lost, unsigned *bad)
{
    if (w->out) dense_rows<<<(unsigned)w->out, 256, 0, s>>>(x, *w, lost, bad);
}

static __device__ void put_number(const void *part, int type, int64_t i, float v)
{
    if (type == 0) ((float *)part)[i] = v;
    else ((uint16_t *)part)[i] = type == 1 ? to_f16(v) : to_bf16(v);
}

__global__ void put_groups(bl_cu_between a)
{
    EACH(i, a.groups)
    {
        const float s = stored(a.scale[i], a.w.scale_type), middle = (float)((1 << a.w.bits) - 1) / 2;
        const bool fixed = a.w.kind == BL_CODES_MIDDLE;
        const float z = fixed ? middle : rounded(a.zero[i], a.w.scale_type);
        a.s[i] = s == 0 ? __uint_as_float(1) : s; /* f32: it is divided by */
        a.z[i] = z;
        put_number(a.w.part[1], a.w.scale_type, i, a.s[i]);
        if (!fixed) put_number(a.w.part[2], a.w.scale_type, i, z);
        if (!isfinite(a.s[i]) || !isfinite(z) || (fixed && a.zero && a.zero[i] != middle)) *a.bad = 1;
    }
}

/* A block a row, eight codes a thread. */
__global__ void between_rows(bl_cu_between a)
{
    const int64_t row = blockIdx.x, in = a.w.in, each = (in + a.w.group - 1) / a.w.group;
    const bool down = a.w.kind == BL_CODES_DOWN;
    const int bits = a.w.bits;
    const float *x = a.x + row * in, top = (float)((1 << bits) - 1);
    uint8_t *codes = (uint8_t *)a.w.part[0] + row * (in / 8 * bits + (in % 8 * bits + 7) / 8);
    double lost = 0, there = 0;
    for (int64_t c = threadIdx.x; c < (in + 7) / 8; c += blockDim.x) {
        const int n = (int)min((int64_t)8, in - 8 * c);
        uint64_t v = 0;
        for (int j = 0; j < n; j++) {
            const int64_t k = 8 * c + j, at = down ? (row * in + k) % a.groups : row * each + k / a.w.group;
            const float w = x[k], s = a.s[at], z = a.z[at], q = rintf(fminf(fmaxf(w / s + z, 0), top));
            if (!isfinite(w)) *a.bad = 1;
            v |= (uint64_t)q << j * bits;
            const double d = (double)w - (q - z) * s;
            lost += d * d;
            there += (double)w * w;
        }
        for (int j = 0; j < (n * bits + 7) / 8; j++) codes[c * bits + j] = (uint8_t)(v >> 8 * j);
    }
    keep_sums(lost, there, a.lost, a.w.out);
}
void bl_cu_pack_between(bl_stream s, const bl_cu_between *a)
{
    if (!a->groups) return;
    put_groups<<<blocks_for(a->groups, 256), 256, 0, s>>>(*a);
    between_rows<<<(unsigned)a->w.out, 128, 0, s>>>(*a);
}
