/* pack_table.cu - weights into codes of a table of values: a warp finds the scale of a group, a block encodes a row and
 * counts what was lost. Scales that are coded themselves get their mean from one block and their codes from a block for
 * every 256. The same bits as kernels/fmt_table.c: its sum of scales, in f64, is exact in any order as long as the
 * largest is below 2^9 times the smallest.
 */
#include "fit.cuh"
#include "weight.cuh"

enum { BLOCK2 = 256, SUM_THREADS = 1024 };

static __device__ void refuse(const bl_cu_pack_codes &a, int64_t place)
{
    atomicMax(a.bad, ~0ull - (unsigned long long)place);
}

/* Code of the value nearest to x / scale; bound and code: those of the book. */
static __device__ __forceinline__ uint8_t nearest(const bl_cu_codebook &book, const float *bound, const uint8_t *code,
                                                  float x, float scale)
{
    if (scale == 0) return book.coarse ? 0 : book.zero;
    float inverse = 1 / scale;
    x = isinf(inverse) ? x / scale : x * inverse;
    if (book.coarse) x = 2 * truncf(fmaf((fminf(fmaxf(x, -1), 1) + 1) * 0.5f, 65535, 0.5f)) / 65535 - 1;
    int at = 0;
    for (int half = book.span / 2; half > 0; half /= 2) at += bound[at + half - 1] < x ? half : 0;
    return code[at];
}

static __device__ void open_book(const bl_cu_codebook &book, float *bound, uint8_t *code)
{
    for (int i = threadIdx.x; i < book.span; i += blockDim.x) {
        bound[i] = book.bound[i];
        code[i] = book.code[i];
    }
    __syncthreads();
}

__global__ void table_scales(bl_cu_pack_codes a)
{
    int64_t i = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = i / a.w.groups,
            k0 = i % a.w.groups * a.w.group, n = min(a.w.group, a.w.in - k0);
    if (row >= a.w.out) return;
    const float *x = a.x + row * a.w.in + k0;
    float most = 0;
    bool finite = true;
    for (int64_t k = threadIdx.x % WARP; k < n; k += WARP) {
        finite = finite && isfinite(x[k]);
        most = fmaxf(most, fabsf(x[k]));
    }
    finite = __all_sync(0xffffffffu, finite);
    most = warp_max(most);
    if (threadIdx.x % WARP) return;
    float s = most / a.top;
    if (a.w.scale_type != 3) {
        s = s > 0 ? stored(s, a.w.scale_type) : rounded(s, a.w.scale_type);
        if (a.w.scale_type == 0) ((float *)a.w.scales)[i] = s;
        else ((uint16_t *)a.w.scales)[i] = a.w.scale_type == 1 ? __half_as_ushort(__float2half_rn(s)) : to_bf16(s);
    }
    if (!finite || !isfinite(s)) refuse(a, i);
    a.exact[i] = s;
}

__global__ void mean_of_scales(bl_cu_pack_codes a, int64_t n)
{
    __shared__ double tmp[33];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += SUM_THREADS) sum += a.exact[i];
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) *(float *)a.w.offset = (float)(sum / (double)n);
}

__global__ void codes_of_scales(bl_cu_pack_codes a, int64_t n)
{
    __shared__ float tmp[33], bound[256];
    __shared__ uint8_t code[256];
    int64_t i = (int64_t)blockIdx.x * BLOCK2 + threadIdx.x;
    open_book(a.map, bound, code);
    float s = i < n ? a.exact[i] - a.w.offset[0] : 0, top = block_max(fabsf(s), tmp);
    if (i < n) ((uint8_t *)a.w.scales)[i] = nearest(a.map, bound, code, s, top);
    if (threadIdx.x == 0) ((float *)a.w.scales2)[blockIdx.x] = top;
}

__global__ void encode_table(bl_cu_pack_codes a)
{
    __shared__ double tmp[33];
    __shared__ float bound[256];
    __shared__ uint8_t code[256];
    int64_t row = blockIdx.x;
    int in = (int)a.w.in, group = (int)min(a.w.group, a.w.in), bits = a.w.bits;
    const float *x = a.x + row * in, *exact = a.exact + row * a.w.groups;
    uint8_t *codes = (uint8_t *)a.w.codes + row * a.w.row_bytes;
    double lost = 0, there = 0;
    open_book(a.book, bound, code);
    for (int c = threadIdx.x; c < (in + 7) / 8; c += blockDim.x) {
        int n = min(8, in - 8 * c), last = -1;
        uint64_t v = 0;
        float s = 0, read = 0;
        for (int j = 0; j < n; j++) {
            int k = 8 * c + j, g = k / group;
            if (g != last) {
                last = g;
                s = exact[g];
                read = stored_scale(a.w, row, g);
            }
            float w = x[k];
            /* where the scale that is read need not be 0 the code is that of 0 */
            uint8_t q = a.w.scale_type == 3 && s == 0 ? a.book.zero : nearest(a.book, bound, code, w, s);
            v |= (uint64_t)q << j * bits;
            double d = (double)w - a.w.table[q] * read;
            lost += d * d;
            there += (double)w * w;
        }
        for (int j = 0; j < (n * bits + 7) / 8; j++) codes[c * bits + j] = (uint8_t)(v >> 8 * j);
    }
    lost = block_sum(lost, tmp);
    there = block_sum(there, tmp);
    if (threadIdx.x == 0) {
        a.lost[row] = lost;
        a.lost[a.w.out + row] = there;
    }
}

void bl_cu_pack_table(bl_stream s, const bl_cu_pack_codes *a)
{
    int64_t groups = a->w.out * a->w.groups;
    if (!groups) return;
    table_scales<<<(unsigned)((groups + 3) / 4), 128, 0, s>>>(*a);
    if (a->w.scale_type == 3) {
        mean_of_scales<<<1, SUM_THREADS, 0, s>>>(*a, groups);
        codes_of_scales<<<(unsigned)((groups + BLOCK2 - 1) / BLOCK2), BLOCK2, 0, s>>>(*a, groups);
    }
    encode_table<<<(unsigned)a->w.out, 128, 0, s>>>(*a);
}
