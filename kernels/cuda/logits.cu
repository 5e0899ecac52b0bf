/* logits.cu - what is read off logits: negative log-likelihood, argmax, the divergence between two models, a draw. One
 * block a row; sums in double, in an order that depends on the vocabulary alone. */
#include "device.cuh"
#include <cooperative_groups.h>

enum { THREADS = 1024, AT_ONCE = 16 }; /* numbers of a thread that are on their way together */
struct top {
    float value;
    int at;
    int bad; /* some value is not finite */
};

static __device__ __forceinline__ bool above(float a, int i, float b, int j) { return a > b || (a == b && i < j); }

/* Numbers i, i + THREADS, ... of n; 0 past the end. */
static __device__ __forceinline__ void read_some(float v[AT_ONCE], const float *x, int64_t i, int64_t n)
{
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) v[k] = i + k * THREADS < n ? x[i + k * THREADS] : 0;
}

/* Of x[0..n); at is NOWHERE where nothing is but NaN. */
enum { NOWHERE = 0x7fffffff };
static __device__ struct top part_top(const float *x, int64_t n)
{
    __shared__ float value[THREADS / WARP];
    __shared__ int at[THREADS / WARP], bad[THREADS / WARP];
    struct top t = {-CUDART_INF_F, NOWHERE, 0};
    for (int64_t i = threadIdx.x; i < n; i += AT_ONCE * THREADS) {
        float v[AT_ONCE];
        read_some(v, x, i, n);
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int at = (int)i + k * THREADS;
            if (at >= n) break;
            if (!isfinite(v[k])) t.bad = 1;
            if (above(v[k], at, t.value, t.at)) {
                t.value = v[k];
                t.at = at;
            }
        }
    }
    for (int o = 16; o; o /= 2) {
        float v = __shfl_xor_sync(0xffffffffu, t.value, o);
        int a = __shfl_xor_sync(0xffffffffu, t.at, o);
        t.bad |= __shfl_xor_sync(0xffffffffu, t.bad, o);
        if (above(v, a, t.value, t.at)) {
            t.value = v;
            t.at = a;
        }
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        value[threadIdx.x / WARP] = t.value;
        at[threadIdx.x / WARP] = t.at;
        bad[threadIdx.x / WARP] = t.bad;
    }
    __syncthreads();
    for (int w = 0; w < THREADS / WARP; w++) {
        t.bad |= bad[w];
        if (above(value[w], at[w], t.value, t.at)) {
            t.value = value[w];
            t.at = at[w];
        }
    }
    return t;
}
static __device__ struct top block_top(const float *x, int64_t n)
{
    struct top t = part_top(x, n);
    if (t.at == NOWHERE) t.at = 0;
    return t;
}

/* Every thread adds its exponentials in f32 runs of 64, those in double. */
static __device__ double block_sum_exp(const float *x, int64_t n, float most, double *tmp)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n;) {
        float run = 0;
        for (int k = 0; k < 64 && i < n; k += AT_ONCE, i += AT_ONCE * THREADS) {
            float v[AT_ONCE];
            read_some(v, x, i, n);
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++)
                if (i + j * THREADS < n) run += expf(v[j] - most);
        }
        sum += run;
    }
    return block_sum(sum, tmp);
}

__global__ void loss_rows(const float *logits, int64_t ld, int64_t vocab, const int32_t *target, double *nll,
                          int32_t *argmax)
{
    __shared__ double tmp[33];
    const float *x = logits + blockIdx.x * ld;
    struct top t = block_top(x, vocab);
    int32_t goal = target ? target[blockIdx.x] : -1;
    if (argmax && threadIdx.x == 0) argmax[blockIdx.x] = t.at;
    if (!nll) return;
    double sum = goal < 0 || t.bad ? 1 : block_sum_exp(x, vocab, t.value, tmp);
    if (threadIdx.x == 0)
        nll[blockIdx.x] = t.bad ? CUDART_NAN : goal < 0 ? 0 : log(sum) + ((double)t.value - x[goal < vocab ? goal : 0]);
}
/* Where no token is asked for, in few rows: PARTS blocks share a row. */
enum { PARTS = 8, FEW_ROWS = 16 };
__global__ void few_tops(const float *logits, int64_t ld, int64_t vocab, double *nll, int32_t *argmax)
{
#if __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    const cg::cluster_group all = cg::this_cluster();
    __shared__ struct top mine;
    const int64_t each = (vocab + PARTS - 1) / PARTS, from = blockIdx.x * each,
                  n = max((int64_t)0, min(each, vocab - from));
    struct top t = part_top(logits + blockIdx.y * ld + from, n);
    if (t.at != NOWHERE) t.at += (int)from;
    if (threadIdx.x == 0) mine = t;
    all.sync();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        for (int i = 1; i < PARTS; i++) {
            const struct top *its = all.map_shared_rank(&mine, i);
            t.bad |= its->bad;
            if (above(its->value, its->at, t.value, t.at)) {
                t.value = its->value;
                t.at = its->at;
            }
        }
        if (argmax) argmax[blockIdx.y] = t.at == NOWHERE ? 0 : t.at;
        if (nll) nll[blockIdx.y] = t.bad ? CUDART_NAN : 0;
    }
    all.sync();
#endif
}

static void launch_tops(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, double *nll,
                        int32_t *argmax)
{
    cudaLaunchAttribute set = {};
    cudaLaunchConfig_t c = {};
    set.id = cudaLaunchAttributeClusterDimension;
    set.val.clusterDim = {PARTS, 1, 1};
    c.gridDim = dim3(PARTS, (unsigned)rows);
    c.blockDim = dim3(THREADS);
    c.stream = s;
    c.attrs = &set;
    c.numAttrs = 1;
    cudaLaunchKernelEx(&c, few_tops, logits, ld, vocab, nll, argmax);
}

void bl_cu_loss(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, const int32_t *target,
                double *nll, int32_t *argmax)
{
    if (rows && rows <= FEW_ROWS && !target && bl_cu_early()) launch_tops(s, logits, ld, rows, vocab, nll, argmax);
    else if (rows) loss_rows<<<(unsigned)rows, THREADS, 0, s>>>(logits, ld, vocab, target, nll, argmax);
}

/* With `least` above 0 no probability is below it: sum P (log P - log Q) term by term. */
__global__ void kl_rows(const float *p, int64_t ldp, const float *q, int64_t ldq, int64_t vocab, double least,
                        const int32_t *target, double *kl, double *dp, int32_t *same)
{
    __shared__ double tmp[33];
    const float *a = p + blockIdx.x * ldp, *b = q + blockIdx.x * ldq;
    struct top ta = block_top(a, vocab), tb = block_top(b, vocab);
    int32_t goal = target[blockIdx.x];
    if (threadIdx.x == 0) same[blockIdx.x] = ta.at == tb.at;
    if (ta.bad || tb.bad) {
        if (threadIdx.x == 0) kl[blockIdx.x] = dp[blockIdx.x] = CUDART_NAN;
        return;
    }
    double za = block_sum_exp(a, vocab, ta.value, tmp), zb = block_sum_exp(b, vocab, tb.value, tmp), sum = 0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) {
        double u = expf(a[i] - ta.value);
        if (least > 0) {
            u = fmax(u / za, least);
            sum += u * log(u / fmax(expf(b[i] - tb.value) / zb, least));
        } else sum += u * ((double)a[i] - b[i]);
    }
    sum = block_sum(sum, tmp);
    if (threadIdx.x) return;
    if (goal < 0 || goal >= vocab) goal = 0;
    kl[blockIdx.x] = least > 0 ? sum : sum / za - (ta.value + log(za)) + (tb.value + log(zb));
    dp[blockIdx.x] = exp((double)b[goal] - tb.value) / zb - exp((double)a[goal] - ta.value) / za;
}
void bl_cu_kl_div(bl_stream s, const float *p, int64_t ldp, const float *q, int64_t ldq, int64_t rows, int64_t vocab,
                  double least, const int32_t *target, double *kl, double *dp, int32_t *same)
{
    if (rows) kl_rows<<<(unsigned)rows, THREADS, 0, s>>>(p, ldp, q, ldq, vocab, least, target, kl, dp, same);
}

/* ---- a draw ----
 * The share of the most likely tokens that top_p keeps is found by bisection over a threshold on probability, as bits
 * of a float, so that nothing is sorted: the least set of tokens above a threshold whose weight reaches top_p. Tokens
 * of equal probability at the edge come in the order of their ids. The draw then goes over the kept tokens by id, not
 * by probability: another token for the same u than plain C, from the same distribution. */
static __device__ float weight_of(float x, float most, double temperature)
{
    return (float)exp(((double)x - most) / temperature);
}

static __device__ double block_above(const float *x, int64_t n, float most, double temperature, float least,
                                     double *tmp)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        float w = weight_of(x[i], most, temperature);
        if (w >= least) sum += w;
    }
    return block_sum(sum, tmp);
}

__global__ void sample_rows(const float *logits, int64_t ld, int64_t vocab, double temperature, double top_p,
                            const double *u, int32_t *ids)
{
    __shared__ double tmp[33], part[THREADS];
    const float *x = logits + blockIdx.x * ld;
    struct top t = block_top(x, vocab);
    float least = 0;
    double sum;
    if (temperature == 0 || t.bad) {
        if (threadIdx.x == 0) ids[blockIdx.x] = t.at;
        return;
    }
    sum = block_above(x, vocab, t.value, temperature, 0, tmp);
    if (top_p > 0 && top_p < 1) {
        uint32_t low = 0, high = __float_as_uint(1.0f); /* the largest threshold whose set reaches the share */
        while (low < high) {
            uint32_t mid = low + (high - low + 1) / 2;
            if (block_above(x, vocab, t.value, temperature, __uint_as_float(mid), tmp) >= top_p * sum) low = mid;
            else high = mid - 1;
        }
        least = __uint_as_float(low);
    }
    /* Runs of ids, a thread each. Those at the threshold are kept, first ids first, until the share is reached. */
    double above_edge = block_above(x, vocab, t.value, temperature, __uint_as_float(__float_as_uint(least) + 1), tmp);
    int64_t edge = least > 0 ? (int64_t)ceil((top_p * sum - above_edge) / least) : vocab;
    if (least > 0 && edge < 1) edge = 1;
    int64_t each = (vocab + THREADS - 1) / THREADS, i0 = threadIdx.x * each, i1 = i0 + each < vocab ? i0 + each : vocab;
    int64_t before = 0, seen = 0;
    for (int64_t i = i0; i < i1; i++) seen += weight_of(x[i], t.value, temperature) == least;
    part[threadIdx.x] = (double)seen;
    __syncthreads();
    for (unsigned k = 0; k < threadIdx.x; k++) before += (int64_t)part[k];
    double own = 0;
    seen = before;
    for (int64_t i = i0; i < i1; i++) {
        float w = weight_of(x[i], t.value, temperature);
        if (w > least || (w == least && seen++ < edge)) own += w;
    }
    __syncthreads();
    part[threadIdx.x] = own;
    __syncthreads();
    double all = 0, at = 0;
    for (int k = 0; k < THREADS; k++) {
        if ((unsigned)k < threadIdx.x) at += part[k];
        all += part[k];
    }
    if (!(all > 0) || !isfinite(all)) {
        if (threadIdx.x == 0) ids[blockIdx.x] = t.at;
        return;
    }
    double goal = u[blockIdx.x] * all;
    if (threadIdx.x == 0) ids[blockIdx.x] = t.at; /* where rounding leaves nobody */
    __syncthreads();
    if (at <= goal && goal < at + own) {
        int32_t last = t.at;
        seen = before;
        for (int64_t i = i0; i < i1; i++) {
            float w = weight_of(x[i], t.value, temperature);
            if (!(w > least || (w == least && seen++ < edge)) || w == 0) continue;
            last = (int32_t)i;
            at += w;
            if (at > goal) break;
        }
        ids[blockIdx.x] = last;
    }
}
void bl_cu_sample(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, double temperature,
                  double top_p, const double *u, int32_t *ids)
{
    if (rows) sample_rows<<<(unsigned)rows, THREADS, 0, s>>>(logits, ld, vocab, temperature, top_p, u, ids);
}
