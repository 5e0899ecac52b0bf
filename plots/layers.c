/* layers.c - the weight error of every linear layer: a panel for each method, a curve for each role over the blocks. */
#include "figures.h"
#include "picks.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "model.layers.3.mlp.up_proj": block 3, role "up_proj"; block -1: in none. */
static const char *role_of(const char *name, int64_t *block)
{
    const char *dot = strrchr(name, '.');
    *block = -1;
    for (const char *s = name; (s = strchr(s, '.')) != NULL;) {
        char *end;
        s++;
        if (!isdigit((unsigned char)*s)) continue;
        long long v = strtoll(s, &end, 10);
        if (*end != '.') continue;
        *block = v;
        break;
    }
    return dot ? dot + 1 : name;
}

typedef struct roles {
    const char *name[32];
    size_t n;
} roles;
static size_t role_index(roles *r, const char *name)
{
    size_t k = 0;
    while (k < r->n && strcmp(r->name[k], name) != 0) k++;
    if (k == r->n && r->n < BL_COUNT(r->name)) r->name[r->n++] = name;
    return k;
}

/* One cell of each variant that has layers; sorted by bits, the most first. */
static int by_bits(const void *x, const void *y)
{
    const bl_cell *a = *(const bl_cell *const *)x, *b = *(const bl_cell *const *)y;
    if (a->bits_per_weight != b->bits_per_weight) return a->bits_per_weight > b->bits_per_weight ? -1 : 1;
    int order = strcmp(a->model, b->model);
    return order ? order : strcmp(a->method, b->method);
}

static size_t variants(const bl_plot_input *in, const bl_cell **out)
{
    size_t n = 0;
    for (size_t i = 0; in->table && in->whole && i < in->table->n; i++) {
        const bl_cell *c = in->whole[i];
        size_t k = 0, drawn = 0;
        if (!c) continue;
        for (int64_t m = 0; m < c->n_layers; m++) {
            int64_t block;
            role_of(c->layer[m].name, &block);
            drawn += block >= 0 && c->layer[m].nmse > 0 && isfinite(c->layer[m].nmse);
        }
        if (!drawn) continue;
        while (k < n && (strcmp(out[k]->model, c->model) != 0 || strcmp(out[k]->method, c->method) != 0)) k++;
        if (k == n) out[n++] = c;
    }
    if (n) qsort(out, n, sizeof(const bl_cell *), by_bits);
    return n;
}

static void put_layers(const bl_cell *c, size_t panel, roles *r, bl_page *page)
{
    double lo = INFINITY, hi = 0;
    for (int64_t m = 0; m < c->n_layers; m++) {
        const bl_layer_stat *s = &c->layer[m];
        int64_t block;
        const char *role = role_of(s->name, &block);
        if (block < 0 || !(s->nmse > 0) || !isfinite(s->nmse)) continue;
        bl_text_addf(&page->csv, "%zu,", panel + 1);
        bl_put_field(&page->csv, c->method);
        bl_text_addf(&page->csv, ",%zu,", role_index(r, role) + 1);
        bl_put_field(&page->csv, role);
        bl_text_addf(&page->csv, ",%lld,", (long long)block);
        bl_put_number(&page->csv, s->nmse);
        bl_text_add(&page->csv, "\n");
        page->n_points++;
        lo = fmin(lo, s->nmse);
        hi = fmax(hi, s->nmse);
    }
    double room = fmax(1, 3 / (hi / lo)); /* at least a factor of three: what is flat looks flat */
    bl_ruler y = bl_ruler_log(lo / sqrt(room), hi * sqrt(room));
    bl_page_axis(page, panel, "y", &y);
}

bl_status bl_figure_layers(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_text about = {0};
    const bl_cell **v;
    roles r = {.n = 0};
    double last = 0;
    size_t outside = 0;
    bool models = false;

    BL_TRY(bl_arena_new(&a, e));
    if (!(v = bl_alloc(a, in->table ? in->table->n : 0, sizeof *v, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    size_t n = variants(in, v);
    if (!n) goto out;
    for (size_t i = 0; i < n; i++) {
        models = models || strcmp(v[i]->model, v[0]->model) != 0;
        for (int64_t m = 0; m < v[i]->n_layers; m++) {
            int64_t block;
            double nmse = v[i]->layer[m].nmse;
            const char *role = role_of(v[i]->layer[m].name, &block);
            outside += block < 0;
            if (block < 0 || !(nmse > 0) || !isfinite(nmse)) continue;
            role_index(&r, role);
            last = fmax(last, (double)block);
        }
    }
    bl_page_heading(page, "Weight error of every layer");
    for (size_t k = 0; k < r.n; k++) BL_TRY(bl_page_legend(page, (int)k + 1, r.name[k], e));
    bl_about_cells(v, n, &about);
    bl_page_about(page, about.s ? about.s : "");
    bl_page_note(page, "NMSE: mean squared error of a weight over its mean square; every panel has its own axis.");
    if (outside) bl_page_note(page, "Layers outside the blocks (lm_head) are in the tables only.");
    BL_TRY(bl_page_grid(page, n, page->text ? 180 : n > 2 ? 105 : 150, e));
    bl_ruler x = bl_ruler_count(last + 1);
    bl_text_add(&page->csv, "panel,method,style,role,block,nmse\n");
    for (size_t i = 0; i < n; i++) {
        char title[256];
        snprintf(title, sizeof title, "%.80s%s%.120s, %.2f bits", models ? v[i]->model : "", models ? " " : "",
                 v[i]->method, v[i]->bits_per_weight);
        bl_page_panel(page, i, title, "block", "weight error (NMSE)");
        bl_page_axis(page, i, "x", &x);
        put_layers(v[i], i, &r, page);
    }
    BL_TRY(bl_page_finish(page, e));
    bl_text_addf(&page->script, "n_roles = %zu\n", r.n);
    st = bl_text_check(&about, e);
out:
    bl_text_free(&about);
    bl_arena_free(a);
    return st;
}
