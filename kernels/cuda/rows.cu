/* rows.cu - what works row by row: norm, rotary positions, gate, sums, copies, keys and values in int8, sums over
 * columns. In f32; bf16 is rounded once, when it is written. */
#include "device.cuh"

bool bl_cu_early(void)
{
    static int of = -1, major; /* of the device that was asked last */
    int device = 0;
    cudaGetDevice(&device);
    if (device != of) cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, of = device);
    return major >= 9;
}

static bool whole(const void *p, int64_t ld) { return (uintptr_t)p % 16 == 0 && ld % 8 == 0; }

/* One block a row; the sum of squares goes over the threads in a fixed tree. */
__global__ void rmsnorm_rows(const uint16_t *x, int64_t ldx, const float *w, uint16_t *y, int64_t ldy, int64_t dim,
                             float eps)
{
    __shared__ float tmp[33];
    const uint16_t *xr = x + blockIdx.x * ldx;
    uint16_t *yr = y + blockIdx.x * ldy;
    float sum = 0;
    take_turn();
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
        float v = from_bf16(xr[i]);
        sum = fmaf(v, v, sum);
    }
    float scale = 1.0f / sqrtf(block_sum(sum, tmp) / (float)dim + eps);
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) yr[i] = to_bf16(from_bf16(xr[i]) * scale * w[i]);
}

/* Brings what will be read into the cache, whatever is there by then. */
static __device__ __forceinline__ void ahead(const void *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

/* The same where rows are whole vectors: each is read once, and the weight once for all rows of a block. */
enum { NORM_BLOCKS = 1056 }; /* eight for each multiprocessor of a Hopper */
template <int EACH>
__global__ void rmsnorm_vectors(const uint4 *x, int64_t ldx, const float4 *w, uint4 *y, int64_t ldy, int64_t rows,
                                int vectors, float dim, float eps)
{
    __shared__ float tmp[33];
    float f[EACH][8];
    for (int k = threadIdx.x; k < vectors; k += blockDim.x) ahead(w + 2 * k);
    take_turn();
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int k = min((int)(threadIdx.x + i * blockDim.x), vectors - 1);
        *(float4 *)f[i] = w[2 * k];
        *(float4 *)(f[i] + 4) = w[2 * k + 1];
    }
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        uint4 v[EACH];
        float sum = 0;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int k = threadIdx.x + i * blockDim.x;
            v[i] = k < vectors ? x[row * ldx + k] : make_uint4(0, 0, 0, 0);
            const uint16_t *h = (const uint16_t *)&v[i];
#pragma unroll
            for (int j = 0; j < 8; j++) sum = fmaf(from_bf16(h[j]), from_bf16(h[j]), sum);
        }
        float scale = 1.0f / sqrtf(block_sum(sum, tmp) / dim + eps);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int k = threadIdx.x + i * blockDim.x;
            if (k >= vectors) break;
            uint16_t *h = (uint16_t *)&v[i];
#pragma unroll
            for (int j = 0; j < 8; j++) h[j] = to_bf16(from_bf16(h[j]) * scale * f[i][j]);
            y[row * ldy + k] = v[i];
        }
    }
}

/* The same for short rows, the heads of a query: a warp each. */
__global__ void rmsnorm_heads(const uint16_t *x, int64_t ldx, const float *w, uint16_t *y, int64_t ldy, int64_t rows,
                              int64_t dim, float eps)
{
    int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP;
    take_turn();
    if (row >= rows) return;
    const uint16_t *xr = x + row * ldx;
    uint16_t *yr = y + row * ldy;
    float sum = 0;
    for (int64_t i = lane; i < dim; i += WARP) {
        float v = from_bf16(xr[i]);
        sum = fmaf(v, v, sum);
    }
    float scale = 1.0f / sqrtf(warp_sum(sum) / (float)dim + eps);
    for (int64_t i = lane; i < dim; i += WARP) yr[i] = to_bf16(from_bf16(xr[i]) * scale * w[i]);
}

void bl_cu_rmsnorm(bl_stream s, const uint16_t *x, int64_t ldx, const float *w, uint16_t *y, int64_t ldy, int64_t rows,
                   int64_t dim, float eps)
{
    if (!rows) return;
    int vectors = (int)(dim / 8);
    bool fast = dim % 8 == 0 && dim <= 8192 && whole(x, ldx) && whole(y, ldy) && (uintptr_t)w % 16 == 0;
    if (dim <= 256)
        launch_early(rmsnorm_heads, dim3((unsigned)((rows + 7) / 8)), 256, 0, s, x, ldx, w, y, ldy, rows, dim, eps);
    else if (fast) {
        const dim3 grid((unsigned)(rows < NORM_BLOCKS ? rows : NORM_BLOCKS));
        const unsigned threads = vectors < 256 ? (unsigned)(vectors + 31) / 32 * 32 : 256;
        auto *kernel = vectors <= 256 ? rmsnorm_vectors<1> : vectors <= 512 ? rmsnorm_vectors<2> : rmsnorm_vectors<4>;
        launch_early(kernel, grid, threads, 0, s, (const uint4 *)x, ldx / 8, (const float4 *)w, (uint4 *)y, ldy / 8,
                     rows, vectors, (float)dim, eps);
    } else launch_early(rmsnorm_rows, dim3((unsigned)rows), dim <= 1024 ? 128 : 256, 0, s, x, ldx, w, y, ldy, dim, eps);
}

__global__ void rope_pairs(uint16_t *x, int64_t ldx, int64_t rows, int64_t width, int64_t head_dim, const int32_t *pos,
                           const float *cos, const float *sin, int64_t ldt, float side)
{
    int64_t half = head_dim / 2, pairs = width / 2;
    EACH(i, rows * pairs)
    {
        int64_t r = i / pairs, k = i % pairs, h = k / half, j = k % half;
        uint16_t *p = x + r * ldx + h * head_dim + j;
        float lo = from_bf16(p[0]), hi = from_bf16(p[half]), c = cos[pos[r] * ldt + j],
              n = side * sin[pos[r] * ldt + j];
        p[0] = to_bf16(lo * c - hi * n);
        p[half] = to_bf16(hi * c + lo * n);
    }
}

/* Pairs k .. k + 7 of a row at x, of heads of 2 half numbers, to a row at y; cos and sin are those of its position. */
static __device__ __forceinline__ void rope_eight(const uint16_t *x, uint16_t *y, int k, int half, const float *cos,
                                                  const float *sin, float side)
{
    const int j = k % half, at = k / half * 2 * half + j;
    uint4 a = *(const uint4 *)(x + at), b = *(const uint4 *)(x + at + half);
    uint16_t *lo = (uint16_t *)&a, *hi = (uint16_t *)&b;
    const float4 *pc = (const float4 *)(cos + j), *ps = (const float4 *)(sin + j);
    const float4 c0 = pc[0], c1 = pc[1], s0 = ps[0], s1 = ps[1];
    const float c[8] = {c0.x, c0.y, c0.z, c0.w, c1.x, c1.y, c1.z, c1.w},
                n[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
#pragma unroll
    for (int t = 0; t < 8; t++) {
        float l = from_bf16(lo[t]), h = from_bf16(hi[t]), sn = side * n[t];
        lo[t] = to_bf16(l * c[t] - h * sn);
        hi[t] = to_bf16(h * c[t] + l * sn);
    }
    *(uint4 *)(y + at) = a;
    *(uint4 *)(y + at + half) = b;
}

/* Eight pairs a thread where halves of heads are whole vectors. */
__global__ void rope_vectors(uint16_t *x, int64_t ldx, int64_t rows, int width, int half, const int32_t *pos,
                             const float *cos, const float *sin, int64_t ldt, float side)
{
    int each = width / 16;
    take_turn();
    EACH(i, rows * each)
    {
        int64_t r = i / each;
        uint16_t *row = x + r * ldx;
        rope_eight(row, row, (int)(i % each) * 8, half, cos + pos[r] * ldt, sin + pos[r] * ldt, side);
    }
}

void bl_cu_rope(bl_stream s, uint16_t *x, int64_t ldx, int64_t rows, int64_t width, int64_t head_dim,
                const int32_t *pos, const float *cos, const float *sin, int64_t ldt, bool back)
{
    float side = back ? -1.0f : 1.0f;
    if (!rows) return;
    if (head_dim % 16 == 0 && ldt % 4 == 0 && whole(x, ldx) && ((uintptr_t)cos | (uintptr_t)sin) % 16 == 0)
        launch_early(rope_vectors, dim3(blocks_for(rows * width / 16, 256)), 256, 0, s, x, ldx, rows, (int)width,
                     (int)head_dim / 2, pos, cos, sin, ldt, side);
    else
        rope_pairs<<<blocks_for(rows * width / 2, 256), 256, 0, s>>>(x, ldx, rows, width, head_dim, pos, cos, sin, ldt,
                                                                     side);
}

/* Eight numbers at once where rows are whole vectors. */
__global__ void swiglu_vectors(const uint4 *gate, int64_t ldg, const uint4 *up, int64_t ldu, uint4 *y, int64_t ldy,
                               int64_t rows, int64_t n)
{
    take_turn();
    EACH(i, rows * n)
    {
        int64_t r = i / n, k = i % n;
        uint4 g = gate[r * ldg + k], u = up[r * ldu + k];
        uint16_t *gp = (uint16_t *)&g, *up8 = (uint16_t *)&u;
#pragma unroll
        for (int j = 0; j < 8; j++) gp[j] = to_bf16(silu(from_bf16(gp[j])) * from_bf16(up8[j]));
        y[r * ldy + k] = g;
    }
}

__global__ void swiglu_single(const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu, uint16_t *y,
                              int64_t ldy, int64_t rows, int64_t n)
{
    EACH(i, rows * n)
    {
        int64_t r = i / n, k = i % n;
        y[r * ldy + k] = to_bf16(silu(from_bf16(gate[r * ldg + k])) * from_bf16(up[r * ldu + k]));
    }
}

void bl_cu_swiglu(bl_stream s, const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu, uint16_t *y,
                  int64_t ldy, int64_t rows, int64_t n)
{
    if (!rows) return;
    if (n % 8 == 0 && whole(gate, ldg) && whole(up, ldu) && whole(y, ldy))
        launch_early(swiglu_vectors, dim3(blocks_for(rows * n / 8, 128)), 128, 0, s, (const uint4 *)gate, ldg / 8,
                     (const uint4 *)up, ldu / 8, (uint4 *)y, ldy / 8, rows, n / 8);
    else swiglu_single<<<blocks_for(rows * n, 256), 256, 0, s>>>(gate, ldg, up, ldu, y, ldy, rows, n);
}

__global__ void add_rows(const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n)
{
    EACH(i, rows * n)
    {
        uint16_t *p = y + i / n * ldy + i % n;
        *p = to_bf16(from_bf16(*p) + from_bf16(x[i / n * ldx + i % n]));
    }
}

__global__ void add_vectors(const uint4 *x, int64_t ldx, uint4 *y, int64_t ldy, int64_t rows, int64_t n)
{
    EACH(i, rows * n)
    {
        uint4 v = x[i / n * ldx + i % n], *to = y + i / n * ldy + i % n, u = *to;
        const uint16_t *h = (const uint16_t *)&v;
        uint16_t *k = (uint16_t *)&u;
#pragma unroll
        for (int j = 0; j < 8; j++) k[j] = to_bf16(from_bf16(k[j]) + from_bf16(h[j]));
        *to = u;
    }
}

void bl_cu_add(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n)
{
    if (!rows) return;
    if (n % 8 == 0 && whole(x, ldx) && whole(y, ldy))
        add_vectors<<<blocks_for(rows * n / 8, 256), 256, 0, s>>>((const uint4 *)x, ldx / 8, (uint4 *)y, ldy / 8, rows,
                                                                  n / 8);
    else add_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, n);
}

__global__ void add_bias(void *y, bool f32, int64_t ldy, const float *bias, int64_t rows, int64_t n)
{
    EACH(i, rows * n)
    {
        int64_t at = i / n * ldy + i % n;
        if (f32) ((float *)y)[at] += bias[i % n];
        else ((uint16_t *)y)[at] = to_bf16(from_bf16(((uint16_t *)y)[at]) + bias[i % n]);
    }
}

void bl_cu_add_bias(bl_stream s, void *y, bool f32, int64_t ldy, const float *bias, int64_t rows, int64_t n)
{
    if (rows) add_bias<<<blocks_for(rows * n, 256), 256, 0, s>>>(y, f32, ldy, bias, rows, n);
}

template <typename T>
__global__ void gather_rows(const char *src, int64_t lds, char *dst, int64_t ldd, int64_t width, const int64_t *from,
                            const int64_t *to, int64_t n)
{
    int64_t each = width / (int64_t)sizeof(T);
    take_turn();
    EACH(i, n * each)
    {
        int64_t r = i / each, k = i % each, f = from ? from[r] : r, t = to ? to[r] : r;
        ((T *)(dst + t * ldd))[k] = ((const T *)(src + f * lds))[k];
    }
}

void bl_cu_gather(bl_stream s, const void *src, int64_t lds, void *dst, int64_t ldd, int64_t width, const int64_t *from,
                  const int64_t *to, int64_t n)
{
    uint64_t all = (uintptr_t)src | (uintptr_t)dst | (uint64_t)lds | (uint64_t)ldd | (uint64_t)width;
    const char *a = (const char *)src;
    char *b = (char *)dst;
    if (!n || !width) return;
    if (all % 16 == 0)
        launch_early(gather_rows<uint4>, dim3(blocks_for(n * width / 16, 256)), 256, 0, s, a, lds, b, ldd, width, from,
                     to, n);
    else if (all % 4 == 0)
        launch_early(gather_rows<uint32_t>, dim3(blocks_for(n * width / 4, 256)), 256, 0, s, a, lds, b, ldd, width,
                     from, to, n);
    else
        launch_early(gather_rows<uint8_t>, dim3(blocks_for(n * width, 256)), 256, 0, s, a, lds, b, ldd, width, from, to,
                     n);
}

template <typename T> __global__ void fill_all(T *p, T v, int64_t n) { EACH(i, n) p[i] = v; }

void bl_cu_fill(bl_stream s, void *p, int size, uint64_t bits, int64_t n)
{
    unsigned b = blocks_for(n, 256);
    if (!n) return;
    switch (size) {
    case 1: fill_all<<<b, 256, 0, s>>>((uint8_t *)p, (uint8_t)bits, n); break;
    case 2: fill_all<<<b, 256, 0, s>>>((uint16_t *)p, (uint16_t)bits, n); break;
    case 4: fill_all<<<b, 256, 0, s>>>((uint32_t *)p, (uint32_t)bits, n); break;
    default: fill_all<<<b, 256, 0, s>>>((uint64_t *)p, bits, n); break;
    }
}

/* A warp for each row and head. */
__global__ void kv_int8(const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim, int8_t *codes,
                        int64_t ldc, float *scale, int64_t lds, const int64_t *to)
{
    int64_t i = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = i / heads, h = i % heads;
    int lane = threadIdx.x % WARP;
    if (row >= rows) return;
    const uint16_t *xr = x + row * ldx + h * dim;
    int8_t *c = codes + to[row] * ldc + h * dim;
    float most = 0;
    bool finite = true;
    for (int64_t d = lane; d < dim; d += WARP) {
        float v = fabsf(from_bf16(xr[d]));
        finite = finite && isfinite(v);
        most = fmaxf(most, v);
    }
    finite = __all_sync(0xffffffffu, finite);
    most = warp_max(most) / 127;
    if (!(most > 0)) most = 1;
    if (lane == 0) scale[to[row] * lds + h] = finite ? most : CUDART_NAN_F;
    for (int64_t d = lane; d < dim; d += WARP)
        c[d] = finite ? (int8_t)rintf(fmaxf(fminf(from_bf16(xr[d]) / most, 127), -127)) : 0;
}

void bl_cu_kv_int8(bl_stream s, const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim, int8_t *codes,
                   int64_t ldc, float *scale, int64_t lds, const int64_t *to)
{
    if (rows)
        kv_int8<<<(unsigned)((rows * heads + 7) / 8), 256, 0, s>>>(x, ldx, rows, heads, dim, codes, ldc, scale, lds,
                                                                   to);
}

/* Step and least value of the numbers between lo and hi; false: there are none. */
static __device__ __forceinline__ bool kv_steps(float lo, float hi, bool finite, int bits, float *step, float *least)
{
    *least = finite ? from_f16(to_f16(lo)) : CUDART_NAN_F;
    *step = from_f16(to_f16((hi - *least) / (float)((1 << bits) - 1)));
    if (!(*step > 0)) *step = 1;
    return isfinite(*least) && isfinite(*step);
}
static __device__ __forceinline__ uint32_t kv_code(float x, float step, float least, int bits)
{
    return (uint32_t)fminf(fmaxf(rintf((x - least) / step), 0), (float)((1 << bits) - 1));
}
/* As f16; not known: not a number and 0. */
static __device__ __forceinline__ void kv_put(uint16_t *step_at, uint16_t *least_at, bool known, float step,
                                              float least)
{
    *step_at = known ? to_f16(step) : 0x7e00;
    *least_at = known ? to_f16(least) : 0;
}

/* A thread for each group of a row and head: whole bytes, of any width. */
__global__ void kv_low(int bits, const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim,
                       uint8_t *codes, int64_t ldc, uint16_t *steps, int64_t lds, const int64_t *to)
{
    const int64_t groups = (dim + BL_CU_KV_GROUP - 1) / BL_CU_KV_GROUP, bytes = (dim * bits + 7) / 8;
    EACH(i, rows * heads * groups)
    {
        int64_t g = i % groups, h = i / groups % heads, row = i / groups / heads, first = g * BL_CU_KV_GROUP;
        int n = (int)min(dim - first, (int64_t)BL_CU_KV_GROUP);
        const uint16_t *xr = x + row * ldx + h * dim + first;
        float lo = from_bf16(xr[0]), hi = lo, step, least;
        bool finite = true;
        for (int d = 0; d < n; d++) {
            float v = from_bf16(xr[d]);
            finite = finite && isfinite(v);
            lo = v < lo ? v : lo;
            hi = v > hi ? v : hi;
        }
        bool known = kv_steps(lo, hi, finite, bits, &step, &least);
        uint16_t *s = steps + to[row] * lds + (h * groups + g) * 2;
        kv_put(s, s + 1, known, step, least);
        uint8_t *c = codes + to[row] * ldc + h * bytes + first / 8 * bits;
        uint32_t word = 0;
        int held = 0;
        for (int d = 0; d < n; d++) {
            word |= (known ? kv_code(from_bf16(xr[d]), step, least, bits) : 0) << held;
            for (held += bits; held >= 8; held -= 8, word >>= 8) *c++ = (uint8_t)word;
        }
        if (held) *c = (uint8_t)word;
    }
}
void bl_cu_kv_low(bl_stream s, int bits, const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim,
                  uint8_t *codes, int64_t ldc, uint16_t *steps, int64_t lds, const int64_t *to)
{
    int64_t n = rows * heads * ((dim + BL_CU_KV_GROUP - 1) / BL_CU_KV_GROUP);
    if (n) kv_low<<<blocks_for(n, 256), 256, 0, s>>>(bits, x, ldx, rows, heads, dim, codes, ldc, steps, lds, to);
}

/* A thread for each eight channels of a row and head; those of the last row of a group do the group. */
__global__ void kv_keys(bl_cu_kv_keys k)
{
    const int64_t eights = (k.dim + 7) / 8, bytes = (k.dim * k.bits + 7) / 8;
    EACH(i, k.rows * k.heads * eights)
    {
        int64_t d0 = i % eights * 8, h = i / eights % k.heads, row = i / eights / k.heads, last = k.to[row];
        if (last % BL_CU_KV_GROUP != BL_CU_KV_GROUP - 1) continue;
        const int n = (int)min(k.dim - d0, (int64_t)8);
        const uint16_t *here = k.x + h * k.dim + d0, *tail = k.tail + h * k.dim + d0;
        float lo[8], hi[8], step[8], least[8];
        bool finite[8], known[8];
        int64_t own = 0; /* rows of the group that are rows of x */
        while (own < BL_CU_KV_GROUP && own <= row && k.to[row - own] == last - own) own++;
        for (int64_t j = 0; j < BL_CU_KV_GROUP; j++) {
            const uint16_t *x = j < own ? here + (row - j) * k.ldx : tail + (k.tail_row[row] - j) * k.ldt;
#pragma unroll
            for (int d = 0; d < 8; d++) {
                float v = d < n ? from_bf16(x[d]) : 0;
                finite[d] = (j == 0 || finite[d]) && isfinite(v);
                lo[d] = j == 0 || v < lo[d] ? v : lo[d];
                hi[d] = j == 0 || v > hi[d] ? v : hi[d];
            }
        }
        uint16_t *s = k.steps + last / BL_CU_KV_GROUP * k.lds + h * 2 * k.dim + d0;
#pragma unroll
        for (int d = 0; d < 8; d++) {
            known[d] = kv_steps(lo[d], hi[d], finite[d], k.bits, &step[d], &least[d]);
            if (d < n) kv_put(s + d, s + k.dim + d, known[d], step[d], least[d]);
        }
        for (int64_t j = 0; j < BL_CU_KV_GROUP; j++) {
            const uint16_t *x = j < own ? here + (row - j) * k.ldx : tail + (k.tail_row[row] - j) * k.ldt;
            uint8_t *c = k.codes + (last - j) * k.ldc + h * bytes + d0 / 8 * k.bits;
            uint64_t word = 0;
#pragma unroll
            for (int d = 0; d < 8; d++)
                if (d < n && known[d])
                    word |= (uint64_t)kv_code(from_bf16(x[d]), step[d], least[d], k.bits) << d * k.bits;
            for (int b = 0; b < (n * k.bits + 7) / 8; b++) c[b] = (uint8_t)(word >> 8 * b);
        }
    }
}
void bl_cu_kv_keys_low(bl_stream s, const bl_cu_kv_keys *k)
{
    int64_t n = k->rows * k->heads * ((k->dim + 7) / 8);
    if (n) kv_keys<<<blocks_for(n, 256), 256, 0, s>>>(*k);
}

__global__ void f32_to_bf16(const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n, float by)
{
    EACH(i, rows * n) y[i / n * ldy + i % n] = to_bf16(x[i / n * ldx + i % n] * by);
}
/* Rows of whole fours, which are aligned; some in turn, four neighbours a thread. */
__global__ void f32_to_bf16_fours(const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                                  float by)
{
    const int64_t k = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (k >= n) return;
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        const float4 v = *(const float4 *)(x + r * ldx + k);
        *(ushort4 *)(y + r * ldy + k) = make_ushort4(to_bf16(v.x * by), to_bf16(v.y * by), to_bf16(v.z * by),
                                                     to_bf16(v.w * by));
    }
}
__global__ void bf16_to_f32(const uint16_t *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t n)
{
    EACH(i, rows * n) y[i / n * ldy + i % n] = from_bf16(x[i / n * ldx + i % n]);
}
void bl_cu_to_bf16(bl_stream s, const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                   float by)
{
    const int64_t some = (rows + 3) / 4;
    const dim3 fours((unsigned)((n / 4 + 255) / 256), (unsigned)(some < MOST_BLOCKS ? some : MOST_BLOCKS));
    const bool whole = n % 4 == 0 && ldx % 4 == 0 && ldy % 4 == 0 && (uintptr_t)x % 16 == 0 && (uintptr_t)y % 8 == 0;
    if (rows * n && whole) f32_to_bf16_fours<<<fours, 256, 0, s>>>(x, ldx, y, ldy, rows, n, by);
    else if (rows * n) f32_to_bf16<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, n, by);
}

/* Eight neighbours a thread where rows are whole vectors. */
static_assert(BL_CU_NARROW_PIECE == 8 * 256, "a piece is eight numbers of each thread");
__global__ void __launch_bounds__(256) several_to_bf16(const __grid_constant__ bl_cu_narrow a)
{
    int k = 0;
    while (k + 1 < a.count && a.of[k + 1].first <= blockIdx.x) k++;
    const float *x = a.of[k].x;
    uint16_t *y = a.of[k].y;
    const int64_t n = a.of[k].n, ldx = a.of[k].ldx, ldy = a.of[k].ldy;
    const unsigned piece = blockIdx.x - a.of[k].first, rows = (unsigned)a.of[k].rows, all = (unsigned)a.of[k].all;
    const float by = a.of[k].by;
    if (n % 8 == 0 && ldx % 4 == 0 && ldy % 8 == 0 && ((uintptr_t)x | (uintptr_t)y) % 16 == 0) {
        const unsigned wide = (unsigned)(n / 8), i = piece * 256 + threadIdx.x, r = i / wide, j = i % wide * 8;
        if (r >= all) return;
        uint4 out = make_uint4(0, 0, 0, 0);
        uint16_t *h = (uint16_t *)&out;
        if (r < rows) {
            const float4 v = *(const float4 *)(x + r * ldx + j), w = *(const float4 *)(x + r * ldx + j + 4);
            const float f[8] = {v.x, v.y, v.z, v.w, w.x, w.y, w.z, w.w};
#pragma unroll
            for (int c = 0; c < 8; c++) h[c] = to_bf16(f[c] * by);
        }
        *(uint4 *)(y + r * ldy + j) = out;
        return;
    }
    const int64_t end = all * n, from = (int64_t)piece * BL_CU_NARROW_PIECE,
                  stop = from + BL_CU_NARROW_PIECE < end ? from + BL_CU_NARROW_PIECE : end;
    for (int64_t i = from + threadIdx.x; i < stop; i += 256) {
        const int64_t r = i / n, j = i % n;
        y[r * ldy + j] = r < rows ? to_bf16(x[r * ldx + j] * by) : 0;
    }
}
void bl_cu_narrow_add(bl_cu_narrow *to, const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows,
                      int64_t all, int64_t n, float by)
{
    const int k = to->count++;
    to->of[k] = {x, y, ldx, ldy, rows, all, n, by, to->blocks};
    to->blocks += (unsigned)((all * n + BL_CU_NARROW_PIECE - 1) / BL_CU_NARROW_PIECE);
}
void bl_cu_to_bf16_all(bl_stream s, const bl_cu_narrow *a)
{
    if (a->blocks) several_to_bf16<<<a->blocks, 256, 0, s>>>(*a);
}

void bl_cu_to_f32(bl_stream s, const uint16_t *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t n)
{
    if (rows * n) bf16_to_f32<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, n);
}

/* Rows in order, so that the sums do not depend on how many threads there are: a column each. */
__global__ void channel_stats(const uint16_t *x, int64_t ldx, int64_t rows, int64_t n, float *most, double *sum,
                              double *sq)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float top = most[i];
    double s = sum[i], q = sq[i];
    for (int64_t r = 0; r < rows; r++) {
        float v = fabsf(from_bf16(x[r * ldx + i]));
        top = v > top ? v : top;
        s += v;
        q += (double)v * v;
    }
    most[i] = top;
    sum[i] = s;
    sq[i] = q;
}

void bl_cu_channel_stats(bl_stream s, const uint16_t *x, int64_t ldx, int64_t rows, int64_t n, float *most, double *sum,
                         double *sq)
{
    channel_stats<<<(unsigned)((n + 63) / 64), 64, 0, s>>>(x, ldx, rows, n, most, sum, sq);
}
