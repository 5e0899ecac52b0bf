/* sign.cu - rounding that is learned by signs of gradients (ops_sign.h): a warp a group, the operations of
 * kernels/cpu/sign.c but for the order of sums in f64. */
#include "device.cuh"
#include "kernels/sign_both.h"
#include "sign.h"

struct group_place {
    int64_t k, at, n; /* of all groups; its first weight, and how many */
};

/* The group of this warp; n 0: there is none. */
static __device__ group_place group_of_warp(const bl_cu_sign &a)
{
    const int64_t k = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, first = k % a.groups * a.group;
    if (k >= a.out * a.groups) return {0, 0, 0};
    return {k, k / a.groups * a.in + first, min(a.group, a.in - first)};
}

static __device__ bl_sign_group grid_of(const bl_cu_sign &a, const group_place &p)
{
    float lo = 0, hi = 0;
    for (int64_t j = threadIdx.x % WARP; j < p.n; j += WARP) {
        lo = fminf(lo, a.w[p.at + j]);
        hi = fmaxf(hi, a.w[p.at + j]);
    }
    return bl_sign_between(a.bits, a.symmetric, a.half, -warp_max(-lo), warp_max(hi), a.a[p.k], a.c[p.k]);
}

__global__ void sign_round(bl_cu_sign a)
{
    const group_place p = group_of_warp(a);
    if (!p.n) return;
    const bl_sign_group g = grid_of(a, p);
    for (int64_t j = p.at + threadIdx.x % WARP; j < p.at + p.n; j += WARP) a.y[j] = bl_sign_value(&g, a.w[j], a.v[j]);
    if (threadIdx.x % WARP) return;
    if (a.scale) a.scale[p.k] = g.s;
    if (a.zero) a.zero[p.k] = g.z;
}

__global__ void sign_round_back(bl_cu_sign a)
{
    const group_place p = group_of_warp(a);
    if (!p.n) return;
    const bl_sign_group g = grid_of(a, p);
    double ds = 0, dz = 0;
    for (int64_t j = p.at + threadIdx.x % WARP; j < p.at + p.n; j += WARP)
        a.dy[j] = bl_sign_slopes(&g, a.w[j], a.v[j], a.dy[j], &ds, &dz);
    ds = warp_sum(ds);
    dz = warp_sum(dz);
    if (threadIdx.x % WARP == 0) bl_sign_ends(&g, a.symmetric, a.c[p.k], ds, dz, a.da + p.k, a.dc + p.k);
}

__global__ void sign_step(float *p, const float *grad, int64_t n, float step, float low, float high)
{
    EACH(i, n) p[i] = bl_sign_moved(p[i], grad[i], step, low, high);
}

static unsigned blocks_of(const bl_cu_sign *a) { return (unsigned)((a->out * a->groups + 7) / 8); }
void bl_cu_sign_round(bl_stream s, const bl_cu_sign *a)
{
    if (a->out * a->in) sign_round<<<blocks_of(a), 8 * WARP, 0, s>>>(*a);
}
void bl_cu_sign_round_back(bl_stream s, const bl_cu_sign *a)
{
    if (a->out * a->in) sign_round_back<<<blocks_of(a), 8 * WARP, 0, s>>>(*a);
}
void bl_cu_sign_step(bl_stream s, float *p, const float *grad, int64_t n, float step, float low, float high)
{
    if (n) sign_step<<<blocks_for(n, 256), 256, 0, s>>>(p, grad, n, step, low, high);
}
