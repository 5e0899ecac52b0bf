/* ref_backward.c - gradients of the computing ops (ops_train.h) as their formulas say. */
#include "cpu.h"

bl_status bl_ref_weight_grad(bl_backend *be, const bl_weight_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_weight_grad(be, a, e);
    float alpha = (float)a->alpha, *db = bl_cpu_at(&a->db);
    if (st != BL_OK) return st;
    bl_cpu_anew(a);
    for (int64_t r0 = 0; r0 < a->x.dim[0]; r0 += BL_GRAD_ROWS) {
        int64_t end = BL_MIN(r0 + BL_GRAD_ROWS, a->x.dim[0]);
        for (int64_t o = 0; o < a->dy.dim[1]; o++) {
            for (int64_t i = 0; a->dw.buf && i < a->x.dim[1]; i++) {
                float sum = 0, *dw = bl_cpu_row(&a->dw, o) + i;
                for (int64_t r = r0; r < end; r++) sum = fmaf(bl_cpu_row(&a->dy, r)[o], bl_cpu_row(&a->x, r)[i], sum);
                *dw = fmaf(alpha, sum, *dw);
            }
            float sum = 0;
            for (int64_t r = r0; db && r < end; r++) sum += bl_cpu_row(&a->dy, r)[o];
            if (db) db[o] = fmaf(alpha, sum, db[o]);
        }
    }
    return BL_OK;
}

bl_status bl_ref_rmsnorm_grad(bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_rmsnorm_grad(be, a, e);
    const float *w = bl_cpu_at(&a->weight);
    float *dw = bl_cpu_at(&a->dweight);
    int64_t n = a->x.dim[1];
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r), *dy = bl_cpu_row(&a->dy, r);
        double sum[8] = {0}, dot[8] = {0};
        for (int64_t i = 0; i < n; i++) {
            sum[i % 8] += (double)x[i] * x[i];
            dot[i % 8] += (double)x[i] * ((double)w[i] * dy[i]);
        }
        double s = 1 / sqrt(bl_tree8d(sum) / (double)n + a->eps);
        const float scale = (float)s, back = (float)(s * s * s / (double)n * bl_tree8d(dot));
        for (int64_t i = 0; i < n; i++) {
            float d = fmaf(-back, x[i], scale * (w[i] * dy[i])), *dx = a->dx.buf ? bl_cpu_row(&a->dx, r) + i : NULL;
            if (dw) dw[i] = fmaf(scale * x[i], dy[i], dw[i]);
            if (dx) *dx = a->accumulate ? *dx + d : d;
        }
    }
    return BL_OK;
}

bl_status bl_ref_rope_grad(bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_rope(be, a, e);
    int64_t half = a->head_dim / 2;
    const int32_t *pos = bl_cpu_at(&a->pos);
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *c = bl_cpu_row(&a->cos, pos[r]), *s = bl_cpu_row(&a->sin, pos[r]);
        for (int64_t h = 0; h < a->x.dim[1]; h += a->head_dim) {
            float *x = bl_cpu_row(&a->x, r) + h;
            for (int64_t i = 0; i < half; i++) {
                float lo = x[i], hi = x[i + half];
                x[i] = lo * c[i] + hi * s[i];
                x[i + half] = hi * c[i] - lo * s[i];
            }
        }
    }
    return BL_OK;
}

/* One query and head: its scores again, then what each key gives and takes. */
static void attention_row(const bl_attention_grad_args *a, int64_t first, int64_t row, int64_t head, float *p)
{
    int64_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads) * dim, n = row - first + 1;
    const float *q = bl_cpu_row(&a->q, row) + head * dim, *y = bl_cpu_row(&a->y, row) + head * dim,
                *dy = bl_cpu_row(&a->dy, row) + head * dim, scale = (float)a->scale;
    float *dq = bl_cpu_row(&a->dq, row) + head * dim, top = -INFINITY, given = 0;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const float *k = bl_cpu_row(&a->k, first + j) + kv;
        p[j] = 0;
        for (int64_t d = 0; d < dim; d++) p[j] = fmaf(q[d], k[d], p[j]);
        p[j] *= scale;
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j < n; j++) sum += p[j] = bl_exp(p[j] - top);
    for (int64_t d = 0; d < dim; d++) {
        given = fmaf(dy[d], y[d], given);
        dq[d] = 0;
    }
    for (int64_t j = 0; j < n; j++) {
        const float *k = bl_cpu_row(&a->k, first + j) + kv, *v = bl_cpu_row(&a->v, first + j) + kv;
        float *dk = bl_cpu_row(&a->dk, first + j) + kv, *dv = bl_cpu_row(&a->dv, first + j) + kv, dp = 0,
              prob = (float)(p[j] / sum);
        for (int64_t d = 0; d < dim; d++) dp = fmaf(dy[d], v[d], dp);
        float ds = prob * (dp - given) * scale;
        for (int64_t d = 0; d < dim; d++) {
            dq[d] = fmaf(ds, k[d], dq[d]);
            dk[d] = fmaf(ds, q[d], dk[d]);
            dv[d] = fmaf(prob, dy[d], dv[d]);
        }
    }
}

bl_status bl_ref_attention_grad(bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_attention_grad(be, a, e);
    const int32_t *start = bl_cpu_at(&a->start);
    size_t width = (size_t)(a->kv_heads * a->head_dim) * sizeof(float);
    int64_t longest = 0;
    float *p;
    if (st != BL_OK) return st;
    for (int32_t s = 0; s < a->n_seq; s++) longest = BL_MAX(longest, start[s + 1] - start[s]);
    if (!(p = bl_new((size_t)longest, sizeof *p, e))) return BL_E_NOMEM;
    for (int32_t s = 0; s < a->n_seq; s++) {
        for (int64_t r = start[s]; r < start[s + 1]; r++) {
            memset(bl_cpu_row(&a->dk, r), 0, width);
            memset(bl_cpu_row(&a->dv, r), 0, width);
        }
        for (int64_t r = start[s]; r < start[s + 1]; r++)
            for (int64_t h = 0; h < a->heads; h++) attention_row(a, start[s], r, h, p);
    }
    bl_free(p);
    return BL_OK;
}

bl_status bl_ref_swiglu_grad(bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu_grad(be, a, e);
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->gate.dim[0]; r++) {
        const float *g = bl_cpu_row(&a->gate, r), *u = bl_cpu_row(&a->up, r), *dy = bl_cpu_row(&a->dy, r);
        float *dg = bl_cpu_row(&a->dgate, r), *du = bl_cpu_row(&a->dup, r);
        for (int64_t i = 0; i < a->gate.dim[1]; i++) {
            float gi = g[i], ui = u[i], d = dy[i], s = 1.0f / (1.0f + bl_exp(-gi));
            du[i] = gi * s * d;
            dg[i] = ui * s * fmaf(gi, 1.0f - s, 1.0f) * d;
        }
    }
    return BL_OK;
}

bl_status bl_ref_embed_grad(bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_embed_grad(be, a, e);
    const int32_t *ids = bl_cpu_at(&a->ids);
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->dy.dim[0]; r++) {
        const float *dy = bl_cpu_row(&a->dy, r);
        float *dw = bl_cpu_row(&a->dw, ids[r]);
        for (int64_t i = 0; i < a->dy.dim[1]; i++) dw[i] += dy[i];
    }
    return BL_OK;
}

static bool top_of(const float *x, int64_t n, float *top)
{
    bool finite = true;
    *top = x[0];
    for (int64_t i = 0; i < n; i++) {
        *top = x[i] > *top ? x[i] : *top;
        finite = finite && isfinite(x[i]);
    }
    return finite;
}

void bl_cpu_followed(const bl_loss_grad_args *a, int64_t r, int32_t target, bl_followed *f)
{
    double *nll = bl_cpu_at(&a->nll), *kl = bl_cpu_at(&a->kl), by = target < 0 ? 0 : a->scale + a->toward,
           less = target < 0 ? 0 : a->toward;
    const double *z = f->sum;
    if (nll) nll[r] = !f->finite ? NAN : target < 0 ? 0 : log(z[0]) + ((double)f->topx - f->aim);
    kl[r] = !f->finite ? NAN : target < 0 ? 0 : z[2] / z[1] - (f->topt + log(z[1])) + (f->topx + log(z[0]));
    f->ours = f->finite ? (float)(by / z[0]) : NAN;
    f->theirs = f->finite ? (float)(less / z[1]) : NAN;
}

/* A row that follows another model. */
static void follow(const bl_loss_grad_args *a, int64_t r, int32_t target)
{
    const float *x = bl_cpu_row(&a->logits, r), aim = target < 0 ? 0 : x[target];
    float *g = bl_cpu_row(&a->grad, r), *t = bl_cpu_row(&a->theirs, r), topx, topt;
    double sum[3][8] = {0};
    bool finite = top_of(x, a->vocab, &topx);
    finite = top_of(t, a->vocab, &topt) && finite;
    for (int64_t i = 0; i < a->vocab; i++) {
        const float apart = t[i] - x[i];
        g[i] = bl_exp(x[i] - topx);
        t[i] = bl_exp(t[i] - topt);
        sum[0][i % 8] += g[i];
        sum[1][i % 8] += t[i];
        sum[2][i % 8] += (double)t[i] * apart;
    }
    bl_followed f = {.finite = finite,
                     .topx = topx,
                     .topt = topt,
                     .aim = aim,
                     .sum = {bl_tree8d(sum[0]), bl_tree8d(sum[1]), bl_tree8d(sum[2])}};
    bl_cpu_followed(a, r, target, &f);
    for (int64_t i = 0; i < a->vocab; i++) g[i] = g[i] * f.ours - t[i] * f.theirs;
    for (int64_t i = a->vocab; i < a->grad.dim[1]; i++) g[i] = 0;
    if (target >= 0) g[target] -= (float)a->scale;
}

bl_status bl_ref_loss_grad(bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_loss_grad(be, a, e);
    const int32_t *targets = bl_cpu_at(&a->target);
    double *nll = bl_cpu_at(&a->nll);
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->logits.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->logits, r);
        float *g = bl_cpu_row(&a->grad, r), top;
        double sum[8] = {0};
        if (a->theirs.buf) {
            follow(a, r, targets[r]);
            continue;
        }
        const bool finite = top_of(x, a->vocab, &top);
        for (int64_t i = 0; i < a->vocab; i++) sum[i % 8] += bl_exp(x[i] - top);
        double z = bl_tree8d(sum), by = targets[r] < 0 ? 0 : a->scale;
        if (nll) nll[r] = !finite ? NAN : targets[r] < 0 ? 0 : log(z) + ((double)top - x[targets[r]]);
        const float factor = finite ? (float)(by / z) : NAN;
        for (int64_t i = 0; i < a->vocab; i++) g[i] = bl_exp(x[i] - top) * factor;
        for (int64_t i = a->vocab; i < a->grad.dim[1]; i++) g[i] = 0;
        if (targets[r] >= 0) g[targets[r]] -= (float)by;
    }
    return BL_OK;
}
