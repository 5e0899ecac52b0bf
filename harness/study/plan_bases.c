/* plan_bases.c - which cell each cell is compared with, and what has to be made again so that no comparison is lost. */
#include "plan_impl.h"
#include "results/cell.h"

/* A study that keeps keys and values in few bits says what that costs too: its bases, as they are, become variants
 * p->n_variants to n - 1, with a cell for each base cell that is asked for. */
static bl_status plan_references(bl_plan *p, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    size_t asked = p->n_cells;

    for (; p->n_variants < n; p->n_variants++) {
        bl_plan_variant *v = &p->variant[p->n_variants];
        v->first = p->n_cells;
        for (size_t t = 0; t < s->n_tasks; t++) {
            bl_plan_cell *c = &p->cell[p->n_cells];
            bool any = false;
            for (size_t i = 0; i < asked && !any; i++)
                any = p->cell[i].method == v->method && p->cell[i].task == t && p->cell[i].model == v->model &&
                      p->cell[i].seed == v->seed && p->cell[i].state != BL_CELL_NA;
            if (!any) continue;
            *c = (bl_plan_cell){.model = v->model,
                                .method = v->method,
                                .task = t,
                                .seed = v->seed,
                                .variant = p->n_variants,
                                .planned = true};
            BL_TRY(bl_plan_name_cell(p, c, e));
            BL_TRY(bl_plan_state(p, c, e));
            p->n_cells++;
        }
        v->n_cells = p->n_cells - v->first;
    }
out:
    return st;
}

/* The variant of each model and seed that others are compared with: of the study, or of a method that it does not ask
 * for, after all others. out [models][seeds], SIZE_MAX: none. */
static bl_status base_variants(bl_plan *p, size_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    size_t base = 0, more = p->n_variants;

    while (base < s->n_methods && !bl_chain_as_stored(&s->method[base])) base++;
    for (size_t m = 0; m < s->n_models; m++)
        for (size_t d = 0; d < s->n_seeds; d++) {
            size_t *at = &out[m * s->n_seeds + d];
            if (base < s->n_methods) *at = (m * s->n_methods + base) * s->n_seeds + d;
            else if (s->base_after) BL_TRY(bl_plan_make_variant(p, m, base, s->seed[d], &p->variant[ *at = more++], e));
            else {
                *at = SIZE_MAX;
                continue;
            }
            if (s->kv == BL_KV_ACT) continue;
            if (base < s->n_methods) {
                p->variant[more] = p->variant[*at];
                *at = more++;
            }
            p->variant[*at].kv = BL_KV_ACT;
        }
    if (base < s->n_methods && s->kv != BL_KV_ACT) BL_TRY(plan_references(p, more, e));
out:
    return st;
}

/* A base cell that is no cell of the plan. */
static bl_status other_base(bl_plan *p, size_t variant, size_t task, bl_plan_cell **out, bl_err *e)
{
    bl_status st;
    const bl_plan_variant *v = &p->variant[variant];
    bl_plan_cell *c = bl_alloc(p->arena, 1, sizeof *c, e);

    if (!c) return BL_E_NOMEM;
    *c = (bl_plan_cell){.model = v->model, .method = v->method, .task = task, .seed = v->seed, .variant = variant};
    BL_TRY(bl_plan_name_cell(p, c, e));
    c->state = bl_plan_look(p, c, NULL);
    *out = c;
out:
    return st;
}

static void reopen(bl_plan *p)
{
    for (size_t i = 0; i < p->n_cells; i++) {
        bl_plan_cell *c = &p->cell[i], *b = c->base;
        if (!b || b->state == BL_CELL_NA) continue;
        if (c->state == BL_CELL_DONE && (b->state == BL_CELL_DONE || b->planned) && !bl_plan_is_compared(p, c))
            c->state = BL_CELL_OPEN;
        if (c->state != BL_CELL_OPEN && c->state != BL_CELL_FAILED) continue;
        b->needed = true;
        if (b->state == BL_CELL_DONE) b->state = bl_plan_look(p, b, NULL);
    }
}

/* Bases that are not asked for, were done, and have lost the states that are needed become cells of the plan. `at`
 * [models][seeds][tasks]: the base cells. */
static void plan_lost_bases(bl_plan *p, const size_t *variant, bl_plan_cell **at)
{
    const bl_spec *s = p->spec;
    for (size_t g = 0; g < s->n_models * s->n_seeds; g++) {
        bl_plan_variant *v = NULL;
        for (size_t t = 0; t < s->n_tasks; t++) {
            bl_plan_cell *b = at[g * s->n_tasks + t], *c;
            if (!b || b->planned || !b->needed || b->state != BL_CELL_OPEN || !bl_plan_has_shard(p, b)) continue;
            if (!v) {
                v = &p->variant[p->n_variants];
                *v = p->variant[variant[g]];
                v->first = p->n_cells;
                v->n_cells = 0;
            }
            c = &p->cell[p->n_cells++];
            *c = *b;
            c->planned = true;
            c->variant = p->n_variants;
            v->n_cells++;
            for (size_t i = 0; i < p->n_cells; i++)
                if (p->cell[i].base == b) p->cell[i].base = c;
        }
        p->n_variants += v != NULL;
    }
}

bl_status bl_plan_find_bases(bl_plan *p, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = p->spec;
    size_t groups = s->n_models * s->n_seeds, *variant = bl_new(groups, sizeof *variant, e);
    bl_plan_cell **at = bl_new(groups * s->n_tasks, sizeof *at, e);

    if (!at || !variant) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(base_variants(p, variant, e));
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < p->n_cells; i++) {
            bl_plan_cell *c = &p->cell[i];
            size_t group = c->model * s->n_seeds + c->variant % s->n_seeds;
            bl_plan_cell **b = &at[group * s->n_tasks + c->task];
            if (pass == 0 && c->variant == variant[group]) *b = c;
            if (pass == 0 || bl_plan_is_reference(&p->variant[c->variant]) || variant[group] == SIZE_MAX) continue;
            if (!*b) BL_TRY(other_base(p, variant[group], c->task, b, e));
            if (!s->base_after || (*b)->state == BL_CELL_DONE) c->base = *b;
        }
    reopen(p);
    plan_lost_bases(p, variant, at);
out:
    bl_free(variant);
    bl_free(at);
    return st;
}
