/* lq_lora_grid.c - the configurations, and which one to expect. */
#include "lq_lora.h"
#include <stdlib.h>

size_t bl_lq_grid(bool whole, bl_lq_config out[BL_LQ_CONFIGS])
{
    static const int bits[] = {2, 3, 4}, scale_bits[2][3] = {{2, 4, 8}, {2, 3, 4}};
    static const bl_dtype scales[] = {BL_BF16, BL_F16, BL_F32};
    static const int64_t groups[] = {16, 32, 64}, scale_groups[] = {256, 64, 16};
    const size_t others = whole ? 3 : 1;
    size_t n = 0;
    for (size_t a = 0; a < 3; a++)
        for (size_t b = 0; b < 3; b++)
            for (size_t c = 0; c < others; c++)
                for (size_t d = 0; d < 3; d++)
                    for (size_t f = 0; f < others; f++)
                        out[n++] = (bl_lq_config){bits[a], scale_bits[whole][b], scales[c], groups[d], scale_groups[f]};
    return n;
}

const bl_format *bl_lq_format(const bl_lq_config *c)
{
    char name[16];
    snprintf(name, sizeof name, "nf%d_lq", c->bits);
    return bl_format_find(name);
}

bl_shape bl_lq_shape(const bl_lq_config *c, const bl_linear *l)
{
    return (bl_shape){.out = l->out,
                      .in = l->in,
                      .group = BL_MIN(c->group, l->in),
                      .scale = c->scale,
                      .scale_bits = c->scale_bits,
                      .scale_group = c->scale_group};
}

double bl_lq_size(const bl_lq_config *c, const bl_linear *l)
{
    const bl_shape g = bl_lq_shape(c, l);
    return 8 * (double)bl_format_bytes(bl_lq_format(c), &g);
}

/* ---- what to expect ---- */
static int by_bits(const void *a, const void *b)
{
    const bl_lq_config *x = *(const bl_lq_config *const *)a, *y = *(const bl_lq_config *const *)b;
    const bl_linear wide = {.out = 4096, .in = 4096};
    const double l = bl_lq_size(x, &wide), r = bl_lq_size(y, &wide);
    if (l != r) return l < r ? -1 : 1;
    return x < y ? -1 : x > y;
}

const bl_lq_config *bl_lq_guess(const bl_model *m, const bl_linear *l, double bits, const bl_lq_config *grid, size_t n)
{
    const bl_lq_config *list[BL_LQ_CONFIGS];
    double budget = 0, sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) list[i] = &grid[i];
    qsort(list, n, sizeof *list, by_bits);
    for (size_t i = 0; i < m->n_linears; i++) {
        budget += bits * (double)m->linears[i].out * (double)m->linears[i].in;
        sum += bl_lq_size(list[0], &m->linears[i]);
    }
    while (at + 1 < n) { /* all of them one step further */
        double next = 0;
        for (size_t i = 0; i < m->n_linears; i++) next += bl_lq_size(list[at + 1], &m->linears[i]);
        if (next > budget) break;
        sum = next;
        at++;
    }
    for (size_t i = 0; at + 1 < n && i < m->n_linears; i++) { /* and as many as there is room for */
        const bl_linear *x = &m->linears[i];
        const double more = bl_lq_size(list[at + 1], x) - bl_lq_size(list[at], x);
        if (sum + more > budget) break;
        sum += more;
        if (x == l) return list[at + 1];
    }
    return list[at];
}
