/* solve.cu - the solving and searching ops beside their products: permutations, diagonals, reversals, the column sweep,
 * scales, errors, clipping. */
#include "fit.cuh"

template <typename T>
__global__ void permute_all(const T *x, int64_t ldx, T *y, int64_t ldy, const int32_t *rows, const int32_t *cols,
                            int64_t n_rows, int64_t n_cols)
{
    EACH(i, n_rows * n_cols)
    {
        int64_t r = i / n_cols, c = i % n_cols;
        y[r * ldy + c] = x[(rows ? rows[r] : r) * ldx + (cols ? cols[c] : c)];
    }
}
void bl_cu_permute(bl_stream s, const void *x, int64_t ldx, void *y, int64_t ldy, bool f64, const int32_t *rows,
                   const int32_t *cols, int64_t n_rows, int64_t n_cols)
{
    unsigned b = blocks_for(n_rows * n_cols, 256);
    if (!(n_rows * n_cols)) return;
    if (f64) permute_all<<<b, 256, 0, s>>>((const double *)x, ldx, (double *)y, ldy, rows, cols, n_rows, n_cols);
    else permute_all<<<b, 256, 0, s>>>((const float *)x, ldx, (float *)y, ldy, rows, cols, n_rows, n_cols);
}

__global__ void diagonal_of(const double *x, double *y, int64_t n) { EACH(i, n) y[i] = x[i * n + i]; }
void bl_cu_diagonal(bl_stream s, const double *x, double *y, int64_t n)
{
    diagonal_of<<<blocks_for(n, 256), 256, 0, s>>>(x, y, n);
}

/* Squares of a matrix, those on and above the diagonal: the others' blocks end at once. */
enum { SIDE = 32, SIDE_ROWS = 8 };
static dim3 squares(int64_t n) { return dim3((unsigned)((n + SIDE - 1) / SIDE), (unsigned)((n + SIDE - 1) / SIDE)); }

__global__ void add_upper(double *h, const float *sum, int64_t n, double alpha)
{
    int64_t c = blockIdx.x * (int64_t)SIDE + threadIdx.x, r0 = blockIdx.y * (int64_t)SIDE;
    if (blockIdx.x < blockIdx.y || c >= n) return;
    for (int64_t r = r0 + threadIdx.y; r < min(r0 + SIDE, c + 1); r += SIDE_ROWS)
        h[r * n + c] += alpha * (double)sum[r * n + c];
}
void bl_cu_add_upper(bl_stream s, double *h, const float *sum, int64_t n, double alpha)
{
    add_upper<<<squares(n), dim3(SIDE, SIDE_ROWS), 0, s>>>(h, sum, n, alpha);
}

/* The lower triangle is the upper one. */
__global__ void mirror(double *h, int64_t n)
{
    __shared__ double square[SIDE][SIDE + 1];
    int64_t r0 = blockIdx.y * (int64_t)SIDE, c0 = blockIdx.x * (int64_t)SIDE;
    if (c0 < r0) return;
    for (int64_t k = threadIdx.y; k < SIDE; k += SIDE_ROWS)
        if (r0 + k < n && c0 + threadIdx.x < n) square[k][threadIdx.x] = h[(r0 + k) * n + c0 + threadIdx.x];
    __syncthreads();
    for (int64_t k = threadIdx.y; k < SIDE; k += SIDE_ROWS)
        if (c0 + k < n && r0 + threadIdx.x < c0 + k) h[(c0 + k) * n + r0 + threadIdx.x] = square[threadIdx.x][k];
}
void bl_cu_mirror(bl_stream s, double *h, int64_t n) { mirror<<<squares(n), dim3(SIDE, SIDE_ROWS), 0, s>>>(h, n); }

__global__ void add_f32(double *c, const float *sum, int64_t n, double alpha)
{
    EACH(i, n * n) c[i] += alpha * (double)sum[i];
}
void bl_cu_add_f32(bl_stream s, double *c, const float *sum, int64_t n, double alpha)
{
    add_f32<<<blocks_for(n * n, 256), 256, 0, s>>>(c, sum, n, alpha);
}

__global__ void strict(double *x, int64_t n) { EACH(i, n * n) if (i % n <= i / n) x[i] = 0; }
void bl_cu_strict(bl_stream s, double *x, int64_t n) { strict<<<blocks_for(n * n, 256), 256, 0, s>>>(x, n); }
__global__ void put_strict(const double *x, float *u, int64_t n)
{
    EACH(i, n * n) if (i % n > i / n) u[i] = (float)x[i];
}
void bl_cu_put_strict(bl_stream s, const double *x, float *u, int64_t n)
{
    put_strict<<<blocks_for(n * n, 256), 256, 0, s>>>(x, u, n);
}
__global__ void from_f64(const double *x, float *y, int64_t n) { EACH(i, n) y[i] = (float)x[i]; }
void bl_cu_from_f64(bl_stream s, const double *x, float *y, int64_t n)
{
    if (n) from_f64<<<blocks_for(n, 256), 256, 0, s>>>(x, y, n);
}

__global__ void turn(const double *h, double *r, double *one, double shift, int64_t n)
{
    EACH(i, n * n)
    {
        int64_t a = i / n, b = i % n;
        double v = h[(n - 1 - a) * n + n - 1 - b];
        r[i] = a == b ? (v == 0 ? 1 : v) + shift : v;
        one[i] = a == b;
    }
}
void bl_cu_turn(bl_stream s, const double *h, double *r, double *one, double shift, int64_t n)
{
    turn<<<blocks_for(n * n, 256), 256, 0, s>>>(h, r, one, shift, n);
}
template <typename T> __global__ void turn_back(const double *x, T *u, int64_t n)
{
    EACH(i, n * n)
    {
        int64_t a = i / n, b = i % n;
        u[i] = b < a ? (T)0 : (T)x[(n - 1 - a) * n + n - 1 - b];
    }
}
void bl_cu_turn_back(bl_stream s, const double *x, void *u, bool f64, int64_t n)
{
    if (f64) turn_back<<<blocks_for(n * n, 256), 256, 0, s>>>(x, (double *)u, n);
    else turn_back<<<blocks_for(n * n, 256), 256, 0, s>>>(x, (float *)u, n);
}

__global__ void to_f64(const float *x, int64_t ldx, const float *less, int64_t ldl, double *y, int64_t rows, int64_t n)
{
    EACH(i, rows * n) y[i] = (double)x[i / n * ldx + i % n] - (less ? (double)less[i / n * ldl + i % n] : 0);
}
void bl_cu_to_f64(bl_stream s, const float *x, int64_t ldx, const float *less, int64_t ldl, double *y, int64_t rows,
                  int64_t n)
{
    if (rows * n) to_f64<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, less, ldl, y, rows, n);
}

template <typename T>
__global__ void gather_f64(const T *x, int64_t sr, int64_t sc, const float *by, double *y, int64_t rows, int64_t n)
{
    EACH(i, rows * n) y[i] = (by ? (double)by[i % n] : 1) * (double)x[i / n * sr + i % n * sc];
}
void bl_cu_gather_f64(bl_stream s, const void *x, bool f64, int64_t sr, int64_t sc, const float *by, double *y,
                      int64_t rows, int64_t n)
{
    unsigned b = blocks_for(rows * n, 256);
    if (!(rows * n)) return;
    if (f64) gather_f64<<<b, 256, 0, s>>>((const double *)x, sr, sc, by, y, rows, n);
    else gather_f64<<<b, 256, 0, s>>>((const float *)x, sr, sc, by, y, rows, n);
}
template <typename T>
__global__ void scatter_f64(const double *x, const float *by, T *y, int64_t sr, int64_t sc, int64_t rows, int64_t n)
{
    EACH(i, rows * n) y[i / n * sr + i % n * sc] = (T)((by ? (double)by[i % n] : 1) * x[i]);
}
void bl_cu_scatter_f64(bl_stream s, const double *x, const float *by, void *y, bool f64, int64_t sr, int64_t sc,
                       int64_t rows, int64_t n)
{
    unsigned b = blocks_for(rows * n, 256);
    if (!(rows * n)) return;
    if (f64) scatter_f64<<<b, 256, 0, s>>>(x, by, (double *)y, sr, sc, rows, n);
    else scatter_f64<<<b, 256, 0, s>>>(x, by, (float *)y, sr, sc, rows, n);
}

/* ---- the column sweep ---- */
static __device__ int64_t group_at(const bl_cu_sweep &a, int64_t column)
{
    return a.group_of ? a.group_of[column] : column / a.group;
}

/* Group k of a row, fitted to n of its columns. */
template <typename At> static __device__ void fit_to(const bl_cu_sweep &a, int64_t row, int64_t k, At at, int64_t n)
{
    float s, z;
    fit_group(at, n, a.rule, a.mse, (1 << a.bits) - 1, &s, &z);
    if (threadIdx.x % WARP == 0) {
        a.scale[row * a.groups + k] = stored(s, a.scale_type);
        a.zero[row * a.groups + k] = z;
    }
}

/* Columns of a group need not be neighbours: they are found one after another. */
struct nth_of_group {
    const bl_cu_sweep &a;
    const float *w;
    int64_t k;
    __device__ float operator()(int64_t i) const
    {
        if (!a.group_of) return w[k * a.group + i];
        int64_t c = 0;
        for (;; c++)
            if (a.group_of[c] == k && i-- == 0) return w[c];
    }
};

__global__ void sweep_fit_first(bl_cu_sweep a)
{
    int64_t i = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = i / a.groups, k = i % a.groups;
    int64_t n = 0;
    if (row >= a.out) return;
    for (int64_t c = threadIdx.x % WARP; c < a.in; c += WARP) n += group_at(a, c) == k;
    for (int o = 16; o; o /= 2) n += __shfl_xor_sync(0xffffffffu, n, o);
    nth_of_group at = {a, a.w + row * a.in, k};
    if (n) fit_to(a, row, k, at, n);
}
void bl_cu_sweep_fit_first(bl_stream s, const bl_cu_sweep *a)
{
    sweep_fit_first<<<(unsigned)((a->out * a->groups + 3) / 4), 128, 0, s>>>(*a);
}

/* The nearest value of the grid, whose zero may be between codes; SIGN: the scale with the sign of x (0 counts as +).
 */
static __device__ float nearest(int rule, float x, float s, float z, float qmax)
{
    if (rule == BL_CU_SIGN) return x >= 0 ? s : -s;
    float whole = rintf(z), q = rintf(x / s + (z - whole)) + whole;
    q = q < 0 ? 0 : q;
    q = q > qmax ? qmax : q;
    return (q - z) * s;
}

/* A warp a row: lane l holds columns i1 + l, i1 + l + 32, … of the block. */
enum { PER_LANE = BL_CU_SWEEP_MOST / WARP };
__global__ void sweep_block(bl_cu_sweep a, int64_t i1, int64_t i2)
{
    int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP, n = (int)(i2 - i1);
    if (row >= a.out) return;
    float *w = a.w + row * a.in, *err = a.err + row * a.block, w1[PER_LANE], qmax = (float)((1 << a.bits) - 1);
    double loss = 0;
#pragma unroll
    for (int p = 0; p < PER_LANE; p++) w1[p] = p * WARP + lane < n ? w[i1 + p * WARP + lane] : 0;
    int64_t before = i1 > a.first ? group_at(a, i1 - 1) : -1;
    float s = 1, z = 0;
    for (int i = 0; i < n; i++) {
        int64_t k = group_at(a, i1 + i);
        if (k != before || i == 0) {
            if (k != before && !a.fit_first && a.rule != BL_CU_GIVEN) { /* w, not w1: as the block began */
                int64_t m = 1;
                while (i1 + i + m < a.in && group_at(a, i1 + i + m) == k) m++;
                const float *from = w + i1 + i;
                fit_to(
                    a, row, k, [from](int64_t j) { return from[j]; }, m);
                __syncwarp();
            }
            s = a.scale[row * a.groups + k];
            z = a.zero[row * a.groups + k];
            before = k;
        }
        const float *u = a.u + (i1 + i) * a.in + i1;
        float x = 0;
#pragma unroll
        for (int p = 0; p < PER_LANE; p++)
            if (p == i / WARP) x = w1[p];
        x = __shfl_sync(0xffffffffu, x, i % WARP);
        float v = nearest(a.rule, x, s, z, qmax), e = (x - v) / u[i];
        loss += (double)e * e;
#pragma unroll
        for (int p = 0; p < PER_LANE; p++) {
            int j = p * WARP + lane;
            if (j > i && j < n) w1[p] = fmaf(-e, u[j], w1[p]);
            if (j == i) {
                w1[p] = v;
                err[i] = e;
            }
        }
    }
    __syncwarp();
#pragma unroll
    for (int p = 0; p < PER_LANE; p++)
        if (p * WARP + lane < n) w[i1 + p * WARP + lane] = w1[p];
    if (lane == 0) a.loss[row] += loss / 2;
}
void bl_cu_sweep_block(bl_stream s, const bl_cu_sweep *a, int64_t i1, int64_t i2)
{
    sweep_block<<<(unsigned)((a->out + 3) / 4), 128, 0, s>>>(*a, i1, i2);
}

/* ---- searching ---- */
static __device__ __forceinline__ void put(double *y, double v) { *y = v; }
static __device__ __forceinline__ void put(float *y, float v) { *y = v; }
static __device__ __forceinline__ void put(uint16_t *y, float v) { *y = to_bf16(v); }
template <typename T, typename Y>
__global__ void scale_all(const T *x, int64_t ldx, Y *y, int64_t ldy, const float *rows, const float *cols, int64_t m,
                          int64_t n)
{
    EACH(i, m * n)
    {
        int64_t r = i / n, c = i % n;
        put(&y[r * ldy + c], x[r * ldx + c] * (T)(rows ? rows[r] : 1) * (T)(cols ? cols[c] : 1));
    }
}
void bl_cu_scale(bl_stream s, const void *x, int64_t ldx, void *y, int64_t ldy, bool f64, bool narrow,
                 const float *rows, const float *cols, int64_t m, int64_t n)
{
    unsigned b = blocks_for(m * n, 256);
    if (!(m * n)) return;
    if (narrow) scale_all<<<b, 256, 0, s>>>((const float *)x, ldx, (uint16_t *)y, ldy, rows, cols, m, n);
    else if (f64) scale_all<<<b, 256, 0, s>>>((const double *)x, ldx, (double *)y, ldy, rows, cols, m, n);
    else scale_all<<<b, 256, 0, s>>>((const float *)x, ldx, (float *)y, ldy, rows, cols, m, n);
}

static __device__ __forceinline__ double number(const void *x, bool f32, int64_t i)
{
    return f32 ? ((const float *)x)[i] : from_bf16(((const uint16_t *)x)[i]);
}
__global__ void sq_error_rows(const void *x, bool x32, int64_t ldx, const void *y, bool y32, int64_t ldy, double *sum,
                              int64_t n)
{
    __shared__ double tmp[33];
    double all = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        double d = number(x, x32, blockIdx.x * ldx + i) - (y ? number(y, y32, blockIdx.x * ldy + i) : 0);
        all += d * d;
    }
    all = block_sum(all, tmp);
    if (threadIdx.x == 0) sum[blockIdx.x] = all;
}
void bl_cu_sq_error(bl_stream s, const void *x, bool x32, int64_t ldx, const void *y, bool y32, int64_t ldy,
                    double *sum, int64_t rows, int64_t n)
{
    if (rows) sq_error_rows<<<(unsigned)rows, 256, 0, s>>>(x, x32, ldx, y, y32, ldy, sum, n);
}

__global__ void sum_all(const double *x, int64_t n, double *sum)
{
    __shared__ double tmp[33];
    double all = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) all += x[i];
    all = block_sum(all, tmp);
    if (threadIdx.x == 0) *sum = all;
}
void bl_cu_sum(bl_stream s, const double *x, int64_t n, double *sum)
{
    sum_all<<<1, n <= 256 ? 256 : 1024, 0, s>>>(x, n, sum);
}

/* A block a row and group. t = d H in f32, a column a thread, in order; t dt in double. */
__global__ void clip_groups(bl_cu_clip a)
{
    extern __shared__ float clipped[]; /* the group, clipped, then d */
    __shared__ double tmp[33];
    __shared__ float grid[2];
    int64_t k0 = blockIdx.y * a.group, n = min(a.group, a.in - k0);
    float *w = a.w + (int64_t)blockIdx.x * a.in + k0, top = 0, best, qmax = (float)((1 << a.bits) - 1);
    double least = CUDART_INF;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) top = fmaxf(top, fabsf(w[i]));
    top = block_max(top, (float *)tmp);
    best = top;
    for (int t = 0; t < a.tries; t++) {
        float m = top * (1 - (float)t / (float)a.steps);
        __syncthreads();
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) clipped[i] = fminf(fmaxf(w[i], -m), m);
        __syncthreads();
        if (threadIdx.x < WARP) {
            float s, z;
            fit_group([](int64_t i) { return clipped[i]; }, n, a.rule, false, (int)qmax, &s, &z);
            grid[0] = stored(s, a.scale_type);
            grid[1] = z;
        }
        __syncthreads();
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            float q = rintf(clipped[i] / grid[0]) + grid[1];
            clipped[i] = (fminf(fmaxf(q, 0), qmax) - grid[1]) * grid[0] - w[i];
        }
        __syncthreads();
        double sum = 0;
        for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
            const double *h = a.h + k0 * a.in + k0 + j;
            float p = 0;
            for (int64_t i = 0; i < n; i++) p += clipped[i] * (float)h[i * a.in];
            sum += (double)p * clipped[j];
        }
        sum = block_sum(sum, tmp);
        if (!(sum < least)) continue;
        least = sum;
        best = m;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) w[i] = fminf(fmaxf(w[i], -best), best);
    if (a.limit && threadIdx.x == 0) a.limit[blockIdx.x * a.groups + blockIdx.y] = best;
}
void bl_cu_clip_search(bl_stream s, const bl_cu_clip *a)
{
    int64_t n = a->group < a->in ? a->group : a->in;
    if (!a->out) return;
    cudaFuncSetAttribute(clip_groups, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         BL_CU_CLIP_MOST * (int)sizeof(float));
    clip_groups<<<dim3((unsigned)a->out, (unsigned)a->groups), 128, (size_t)n * sizeof(float), s>>>(*a);
}
