/* assign.c - steps along convex hulls, and GLPK. */
#include "assign.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if BL_HAVE_GLPK
#include <glpk.h>
#endif

typedef struct point {
    double size, cost;
    int choice;
} point;
typedef struct step { /* of thing i, from point `to` - 1 of its hull to the next */
    double saved, size;
    size_t i;
    int to;
} step;

static int by_size(const void *a, const void *b)
{
    const point *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return x->choice - y->choice;
}

/* What saves more for its size first. */
static int by_worth(const void *a, const void *b)
{
    const step *x = a, *y = b;
    const double l = x->saved * y->size, r = y->saved * x->size;
    if (l != r) return l > r ? -1 : 1;
    return x->i != y->i ? (x->i < y->i ? -1 : 1) : x->to - y->to;
}

/* The lower convex hull of p [m], from the least size to the least cost, in its place; how many points. */
static int hull(point *p, size_t m)
{
    int n = 0;
    qsort(p, m, sizeof *p, by_size);
    for (size_t k = 0; k < m; k++) {
        if (n && p[k].cost >= p[n - 1].cost) continue;
        while (n > 1 && (p[n - 2].cost - p[n - 1].cost) * (p[k].size - p[n - 2].size) <=
                            (p[n - 2].cost - p[k].cost) * (p[n - 1].size - p[n - 2].size))
            n--;
        p[n++] = p[k];
    }
    return n;
}

static bl_status too_small(double budget, double least, bl_err *e)
{
    return bl_fail(e, BL_E_CONFIG, "the least sizes sum to %g, the budget is %g", least, budget);
}

/* Takes steps in their order; `at` [n]: the point of its hull that each thing is at. */
static void take(const step *s, size_t n_steps, double left, int *at, bl_assign_done *d)
{
    bool full = false;
    for (size_t k = 0; k < n_steps; k++) {
        if (!full) { /* the relaxation takes a part of the first that does not fit, and no more */
            d->bound -= s[k].size <= left ? s[k].saved : s[k].saved * left / s[k].size;
            full = s[k].size > left;
        }
        if (at[s[k].i] != s[k].to - 1 || s[k].size > left) continue;
        at[s[k].i] = s[k].to;
        left -= s[k].size;
        d->cost -= s[k].saved;
        d->size += s[k].size;
    }
}

bl_status bl_assign(const double *cost, const double *size, size_t n, size_t m, double budget, int *choice,
                    bl_assign_done *out, bl_err *e)
{
    bl_status st = BL_OK;
    point *p = bl_new(n * m, sizeof *p, e);
    step *s = bl_new(n * m, sizeof *s, e);
    int *at = bl_new(n, sizeof *at, e);
    size_t steps = 0;
    bl_assign_done d = {0};

    if (!p || !s || !at) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        point *mine = p + i * m;
        for (size_t c = 0; c < m; c++) mine[c] = (point){size[i * m + c], cost[i * m + c], (int)c};
        const int corners = hull(mine, m);
        for (int k = 1; k < corners; k++) {
            s[steps++] = (step){mine[k - 1].cost - mine[k].cost, mine[k].size - mine[k - 1].size, i, k};
            d.step = fmax(d.step, s[steps - 1].saved);
        }
        at[i] = 0;
        d.cost += mine[0].cost;
        d.size += mine[0].size;
    }
    d.bound = d.cost;
    if (d.size > budget) {
        st = too_small(budget, d.size, e);
        goto out;
    }
    qsort(s, steps, sizeof *s, by_worth);
    take(s, steps, budget - d.size, at, &d);
    for (size_t i = 0; i < n; i++) choice[i] = p[i * m + (size_t)at[i]].choice;
    *out = d;
out:
    bl_free(at);
    bl_free(s);
    bl_free(p);
    return st;
}

#if BL_HAVE_GLPK
/* Columns i m + c + 1 are whether thing i takes choice c; row i + 1 says that it takes one, the last is the budget.
 * Both sides are scaled to about 1: solvers have absolute tolerances. */
static void describe(glp_prob *g, const double *cost, const double *size, size_t n, size_t m, double budget,
                     double by_cost)
{
    const int all = (int)(n * m);
    glp_set_obj_dir(g, GLP_MIN);
    glp_add_rows(g, (int)n + 1);
    glp_add_cols(g, all);
    for (size_t i = 0; i < n; i++) glp_set_row_bnds(g, (int)i + 1, GLP_FX, 1, 1);
    glp_set_row_bnds(g, (int)n + 1, GLP_UP, 0, 1);
    for (int j = 1; j <= all; j++) {
        const int row[] = {0, (j - 1) / (int)m + 1, (int)n + 1};
        const double value[] = {0, 1, size[j - 1] / budget};
        glp_set_col_kind(g, j, GLP_BV);
        glp_set_obj_coef(g, j, cost[j - 1] * by_cost);
        glp_set_mat_col(g, j, 2, row, value);
    }
}

bl_status bl_assign_exact(const double *cost, const double *size, size_t n, size_t m, double budget, int *choice,
                          bl_assign_done *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_assign_done d;
    glp_iocp how;
    glp_prob *g = NULL;

    BL_TRY(bl_assign(cost, size, n, m, budget, choice, &d, e));
    glp_term_out(GLP_OFF);
    g = glp_create_prob();
    describe(g, cost, size, n, m, budget, d.cost > 0 ? 1 / d.cost : 1);
    glp_init_iocp(&how);
    how.presolve = GLP_ON;
    how.mip_gap = 1e-6;
    int bad = glp_intopt(g, &how);
    if ((bad && bad != GLP_EMIPGAP) || (glp_mip_status(g) != GLP_OPT && glp_mip_status(g) != GLP_FEAS)) {
        st = bl_fail(e, BL_E_NUMERIC, "GLPK found no choice (%d)", bad);
        goto out;
    }
    double sum = 0, bytes = 0;
    int *chosen = bl_new(n, sizeof *chosen, e);
    if (!chosen) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < m; c++)
            if (glp_mip_col_val(g, (int)(i * m + c) + 1) > 0.5) {
                chosen[i] = (int)c;
                sum += cost[i * m + c];
                bytes += size[i * m + c];
            }
    if (bytes <= budget && sum < d.cost) { /* within the solver's tolerance it may be beyond the budget */
        memcpy(choice, chosen, n * sizeof *choice);
        d.cost = sum;
        d.size = bytes;
    }
    bl_free(chosen);
    *out = d;
out:
    if (g) glp_delete_prob(g);
    glp_free_env();
    return st;
}
#else
bl_status bl_assign_exact(const double *cost, const double *size, size_t n, size_t m, double budget, int *choice,
                          bl_assign_done *out, bl_err *e)
{
    (void)cost;
    (void)size;
    (void)n;
    (void)m;
    (void)budget;
    (void)choice;
    (void)out;
    return bl_fail(e, BL_E_UNSUPPORTED, "this program was built without GLPK; the Lagrangian relaxation needs none");
}
#endif
