/* ref_loss.c - what is read off logits: negative log-likelihood, argmax, and the divergence between two models. */
#include "cpu.h"

/* Largest of x[0..n) and the first place it is at; false when a value is not finite. */
static bool top_of(const float *x, int64_t n, float *top, int32_t *at)
{
    bool finite = true;
    *top = x[0];
    *at = 0;
    for (int64_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        if (x[i] > *top) {
            *top = x[i];
            *at = (int32_t)i;
        }
    }
    return finite;
}

static double sum_exp(const float *x, int64_t n, float top)
{
    double sum[8] = {0};
    for (int64_t i = 0; i < n; i++) sum[i % 8] += bl_exp(x[i] - top);
    return bl_tree8d(sum);
}

bl_status bl_ref_loss(bl_backend *be, const bl_loss_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    double *nll = bl_cpu_at(&a->nll);
    int32_t *argmax = bl_cpu_at(&a->argmax);
    const int32_t *targets = bl_cpu_at(&a->target);
    BL_TRY(bl_cpu_check_loss(be, a, e));
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, 4 * (double)a->logits.dim[0] * (double)a->vocab))
    for (int64_t r = 0; r < a->logits.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->logits, r);
        int32_t at, target = targets ? targets[r] : -1;
        float top;
        bool finite = top_of(x, a->vocab, &top, &at);
        if (argmax) argmax[r] = at;
        if (nll) nll[r] = !finite ? NAN : target < 0 ? 0 : log(sum_exp(x, a->vocab, top)) + ((double)top - x[target]);
    }
out:
    return st;
}

/* sum P (log P - log Q), neither below a->least. */
static double floored(const bl_kl_div_args *a, const float *p, const float *q, float topp, float topq, double zp,
                      double zq)
{
    double sum[8] = {0};
    for (int64_t i = 0; i < a->vocab; i++) {
        double u = fmax(bl_exp(p[i] - topp) / zp, a->least), v = fmax(bl_exp(q[i] - topq) / zq, a->least);
        sum[i % 8] += u * log(u / v);
    }
    return bl_tree8d(sum);
}

/* KL(P, Q) = sum P (p - q) - log Zp + log Zq with logits p, q and P = e^p / Zp. */
bl_status bl_ref_kl_div(bl_backend *be, const bl_kl_div_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    double *kl = bl_cpu_at(&a->kl), *dp = bl_cpu_at(&a->dp);
    int32_t *same = bl_cpu_at(&a->same);
    const int32_t *targets = bl_cpu_at(&a->target);
    BL_TRY(bl_cpu_check_kl_div(be, a, e));
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, 8 * (double)a->p.dim[0] * (double)a->vocab))
    for (int64_t r = 0; r < a->p.dim[0]; r++) {
        const float *p = bl_cpu_row(&a->p, r), *q = bl_cpu_row(&a->q, r);
        int32_t atp, atq, t = targets[r];
        float topp, topq;
        bool finite = top_of(p, a->vocab, &topp, &atp);
        finite = top_of(q, a->vocab, &topq, &atq) && finite;
        same[r] = atp == atq;
        if (!finite) {
            kl[r] = dp[r] = NAN;
            continue;
        }
        double zp = sum_exp(p, a->vocab, topp), zq = sum_exp(q, a->vocab, topq), sum[8] = {0};
        dp[r] = exp((double)q[t] - topq) / zq - exp((double)p[t] - topp) / zp;
        if (a->least > 0) {
            kl[r] = floored(a, p, q, topp, topq, zp, zq);
            continue;
        }
        for (int64_t i = 0; i < a->vocab; i++) sum[i % 8] += (double)bl_exp(p[i] - topp) * ((double)p[i] - q[i]);
        kl[r] = bl_tree8d(sum) / zp - (topp + log(zp)) + (topq + log(zq));
    }
out:
    return st;
}
