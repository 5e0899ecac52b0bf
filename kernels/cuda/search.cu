/* search.cu - searches over a whole weight (ops_fit.h): zero points by half-quadratic splitting, greedy rounding, the
 * ranges of SliM-LLM. The operations of kernels/cpu/fit.c one by one; where their order differs they are in double. */
#include "fit.cuh"
#include "search.h"

/* ---- half-quadratic splitting: a warp a group of neighbours, a thread a group whose weights are far apart ---- */
struct hqq_group {
    const float *w;
    int64_t n, stride;
};

static __device__ hqq_group hqq_group_at(const bl_cu_hqq &a, int64_t i)
{
    if (a.down) return {a.w + i, (a.out * a.in - i + a.all - 1) / a.all, a.all};
    const int64_t k = i % a.groups * a.group;
    return {a.w + i / a.groups * a.in + k, min(a.group, a.in - k), 1};
}

template <int LANES> static __device__ int64_t group_of_thread()
{
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
}

template <int LANES> __global__ void hqq_begin(bl_cu_hqq a)
{
    const int64_t i = group_of_thread<LANES>();
    if (i >= a.all) return;
    const hqq_group g = hqq_group_at(a, i);
    float lo = g.w[0], hi = lo;
    for (int64_t k = threadIdx.x % LANES; k < g.n; k += LANES) {
        lo = fminf(lo, g.w[k * g.stride]);
        hi = fmaxf(hi, g.w[k * g.stride]);
    }
    if (LANES > 1) {
        lo = -warp_max(-lo);
        hi = warp_max(hi);
    }
    if (threadIdx.x % LANES) return;
    float by = hi - lo > 1e-4f ? a.qmax / (hi - lo) : 1;
    by = fminf(by, 2e4f);
    if (by * fabsf(lo) > 3e4f) by = 3e4f / fabsf(lo);
    a.scale[i] = by; /* 1 / s until the end */
    a.zero[i] = a.round_zero ? rintf(-lo * by) : -lo * by;
}

static __device__ float shrink(const bl_cu_hqq &a, float x)
{
    const float m = fabsf(x);
    if (m <= a.least) return 0;
    return copysignf(fmaxf(m - powf(m, a.p - 1) / a.beta, 0), x);
}

template <int LANES> __global__ void hqq_step(bl_cu_hqq a)
{
    const int64_t i = group_of_thread<LANES>();
    if (i >= a.all) return;
    const hqq_group g = hqq_group_at(a, i);
    const float by = a.scale[i], z = a.zero[i];
    double error = 0, sum = 0;
    for (int64_t k = threadIdx.x % LANES; k < g.n; k += LANES) {
        const float w = g.w[k * g.stride], q = fminf(fmaxf(rintf(w * by + z), 0), a.qmax), d = w - (q - z) / by;
        error += fabsf(d);
        sum += q - (w - shrink(a, d)) * by;
    }
    if (LANES > 1) {
        error = warp_sum(error);
        sum = warp_sum(sum);
    }
    if (threadIdx.x % LANES) return;
    a.error[i] = error;
    a.next[i] = (float)(sum / (double)g.n);
}

__global__ void invert(float *x, int64_t n) { EACH(i, n) x[i] = 1 / x[i]; }

void bl_cu_hqq_begin(bl_stream s, const bl_cu_hqq *a)
{
    if (a->down) hqq_begin<1><<<(unsigned)((a->all + 255) / 256), 256, 0, s>>>(*a);
    else hqq_begin<WARP><<<(unsigned)((a->all + 7) / 8), 256, 0, s>>>(*a);
}
void bl_cu_hqq_step(bl_stream s, const bl_cu_hqq *a)
{
    if (a->down) hqq_step<1><<<(unsigned)((a->all + 255) / 256), 256, 0, s>>>(*a);
    else hqq_step<WARP><<<(unsigned)((a->all + 7) / 8), 256, 0, s>>>(*a);
}
void bl_cu_hqq_end(bl_stream s, const bl_cu_hqq *a)
{
    invert<<<blocks_for(a->all, 256), 256, 0, s>>>(a->scale, a->all);
}

/* ---- greedy rounding ---- */
static __device__ float on_grid(float v, float scale, float zero) { return (rintf(v / scale + zero) - zero) * scale; }

/* A block a row. g = (w - target) H follows what moves, so that a column that stays costs no sum. */
__global__ void greedy_rows(bl_cu_greedy a)
{
    float *w = a.w + (int64_t)blockIdx.x * a.in;
    double *g = a.g + (int64_t)blockIdx.x * a.in;
    const float scale = a.scale[blockIdx.x], zero = a.zero[blockIdx.x], lo = -zero * scale,
                hi = ((float)((1 << a.bits) - 1) - zero) * scale;
    for (int pass = 0; pass < a.passes; pass++) {
        bool moved = false;
        for (int64_t k = 0; k < a.in; k++) {
            const int64_t i = a.order[k];
            const double *h = a.h + i * a.in;
            const float was = w[i], v = on_grid((float)(was - g[i] / h[i]), scale, zero);
            if (v == was) continue; /* every thread has read the same */
            moved = true;
            __syncthreads();
            for (int64_t j = threadIdx.x; j < a.in; j += blockDim.x) g[j] += ((double)v - was) * h[j];
            if (threadIdx.x == 0) w[i] = v;
            __syncthreads();
        }
        __syncthreads();
        for (int64_t j = threadIdx.x; j < a.in; j += blockDim.x) w[j] = fminf(fmaxf(w[j], lo), hi);
        __syncthreads();
        if (!moved) break;
    }
}
void bl_cu_greedy_rows(bl_stream s, const bl_cu_greedy *a)
{
    if (a->out) greedy_rows<<<(unsigned)a->out, a->in <= 128 ? 64 : 256, 0, s>>>(*a);
}

/* ---- ranges of SliM-LLM ---- */
static __device__ double salience(float w, float u) { return (double)w * w / ((double)u * u); }

/* The least that is more than two standard deviations (of a sample) from the mean of all; infinity: none. One block. */
__global__ void salient_from(bl_cu_ranges a)
{
    __shared__ double tmp[33];
    __shared__ unsigned long long least; /* numbers that are not negative are in the order of their bits */
    const int64_t count = a.out * a.n;
    double mean = 0, var = 0;
    if (threadIdx.x == 0) least = __double_as_longlong(CUDART_INF);
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) mean += salience(a.w[i], a.u[i % a.n]);
    mean = block_sum(mean, tmp) / (double)count;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const double d = salience(a.w[i], a.u[i % a.n]) - mean;
        var += d * d;
    }
    var = block_sum(var, tmp) / (double)max(count - 1, (int64_t)1);
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const double v = salience(a.w[i], a.u[i % a.n]);
        if (fabs(v - mean) > 2 * sqrt(var)) atomicMin(&least, (unsigned long long)__double_as_longlong(v));
    }
    __syncthreads();
    if (threadIdx.x == 0) *a.salient = __longlong_as_double((long long)least);
}

/* sum |w^ - w|^2.4 in units of 1 / unit, as bl_fit_error. */
static __device__ float plain_error(const float *w, int64_t n, float s, float z, float qmax, float unit)
{
    const float magic = 12582912.0f, least = -z, top = qmax - z;
    float acc[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float x = w[i + j] / s;
            x = x > least ? x : least;
            x = x < top ? x : top;
            x = (x + magic) - magic;
            acc[j] += power24((x * s - w[i + j]) * unit);
        }
    for (; i < n; i++) {
        const float x = rintf(fminf(fmaxf(w[i] / s, least), top));
        acc[0] += power24((x * s - w[i]) * unit);
    }
    return ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
}

static __device__ float weighted_error(const bl_cu_ranges &a, const float *w, float s, float z, float qmax, float unit)
{
    const double salient = *a.salient;
    float sum = 0;
    for (int64_t i = 0; i < a.n; i++) {
        const float v = (fminf(fmaxf(rintf(w[i] / s) + z, 0), qmax) - z) * s, d = powf(fabsf(v - w[i]) * unit, 2.4f);
        sum += salience(w[i], a.u[i]) >= salient ? a.lambda * d : d;
    }
    return sum;
}

enum { RANGE_STEPS = 50 };
static __device__ void range_at(const bl_cu_ranges &a, int k, float lo, float hi, float *s, float *z)
{
    const float p = (float)(k <= RANGE_STEPS ? 1 + k / 500.0 : 1 - (k - RANGE_STEPS) / 500.0);
    fit_ends(BL_CU_ZERO, p * lo, p * hi, (1 << a.bits) - 1, s, z);
    *s = stored(*s, a.scale_type);
}

/* A warp a row, a lane a range. */
__global__ void search_ranges(bl_cu_ranges a)
{
    const int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    const int lane = threadIdx.x % WARP;
    if (row >= a.out) return;
    const float *w = a.w + row * a.n, qmax = (float)((1 << a.bits) - 1);
    float lo = 0, hi = 0, best = 0, s, z;
    int chosen = lane;
    for (int64_t i = lane; i < a.n; i += WARP) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    lo = -warp_max(-lo);
    hi = warp_max(hi);
    const float most = fmaxf(-lo, hi), unit = most > 0 ? 1 / most : 1;
    for (int k = lane; k <= 2 * RANGE_STEPS; k += WARP) {
        range_at(a, k, lo, hi, &s, &z);
        const float error = a.salient ? weighted_error(a, w, s, z, qmax, unit) : plain_error(w, a.n, s, z, qmax, unit);
        if (k != lane && !(error < best)) continue;
        best = error;
        chosen = k;
    }
    least_of_lanes(1, &best, &chosen);
    range_at(a, chosen, lo, hi, &s, &z);
    if (lane) return;
    a.scale[row] = s;
    a.zero[row] = z;
}
void bl_cu_range_search(bl_stream s, const bl_cu_ranges *a)
{
    if (!a->out) return;
    if (a->salient) salient_from<<<1, 1024, 0, s>>>(*a);
    search_ranges<<<(unsigned)((a->out + 3) / 4), 128, 0, s>>>(*a);
}
