/* What makes a weight out of what is learned, and gives its gradient back, on the CUDA backend against plain C: grids,
 * factors, scales of rows and columns, bands. */
#include "gpu.h"

static void learned_grids_round_and_go_back(void **state)
{
    enum { OUT = 11, IN = 100 };
    (void)state;
    BL_NEEDS_GPU;
    for (bl_grid_kind kind = BL_GRID_STEP; kind <= BL_GRID_INSIDE; kind++)
        for (int bits = 2; bits <= 8; bits += 3)
            for (int64_t group = 32; group <= IN; group += IN - 32) {
                const bool offsets = kind == BL_GRID_AFFINE || kind == BL_GRID_OFFSET, half = kind != BL_GRID_STEP;
                const bl_grid grid = {.kind = kind, .bits = bits, .group = group, .half = half && bits < 8};
                const bl_tensor none = {0};
                int64_t groups = (IN + group - 1) / group;
                both w = both_random(false, OUT, IN, 1, kind == BL_GRID_INSIDE ? (float)(1 << (bits - 1)) : 0.1f),
                     s = both_random(false, OUT, groups, 2, 1), o = both_random(false, OUT, groups, 7, 0.02f),
                     y = both_new(BL_F32, false, OUT, IN), dy = both_random(false, OUT, IN, 3, 1),
                     dw = both_random(false, OUT, IN, 4, 1), ds = both_random(false, OUT, groups, 5, 1),
                     d_o = both_random(false, OUT, groups, 6, 1);
                for (int64_t i = 0; i < OUT * groups; i++) {
                    both_f32(s)[i] = 0.1f / (float)(1 << (bits - 1)) * (1 + fabsf(both_f32(s)[i]));
                    if (kind == BL_GRID_AFFINE) both_f32(o)[i] = (float)(1 << (bits - 1)) + 100 * both_f32(o)[i];
                }
                both_send(s);
                both_send(o);
                RUN(grid, (&(bl_grid_args){w.c, s.c, offsets ? o.c : none, y.c, grid}),
                    (&(bl_grid_args){w.g, s.g, offsets ? o.g : none, y.g, grid}));
                both_equal(y);
                RUN(grid_grad,
                    (&(bl_grid_grad_args){w.c, s.c, offsets ? o.c : none, dy.c, dw.c, ds.c, offsets ? d_o.c : none, 0.5,
                                          grid}),
                    (&(bl_grid_grad_args){w.g, s.g, offsets ? o.g : none, dy.g, dw.g, ds.g, offsets ? d_o.g : none, 0.5,
                                          grid}));
                both_equal(dw);
                ASSERT_NEAR(ds, 1e-13);
                ASSERT_NEAR(d_o, 1e-13);
                both all[] = {w, s, o, y, dy, dw, ds, d_o};
                for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
            }
}

/* Sums of the ends' gradients are in another order; all else is the same bits. */
static void rounding_by_signs_goes_back_and_steps(void **state)
{
    enum { OUT = 21, IN = 100 };
    (void)state;
    BL_NEEDS_GPU;
    for (int bits = 1; bits <= 8; bits++)
        for (int kind = 0; kind < 8; kind++) {
            static const int64_t sizes[] = {32, IN};
            const int64_t group = sizes[kind >> 2 & 1], groups = (IN + group - 1) / group;
            const bl_sign_grid grid = {
                .bits = bits, .group = group, .symmetric = kind & 1, .scale = kind & 2 ? BL_F32 : BL_F16};
            both w = both_random(false, OUT, IN, 1, 0.1f), v = both_random(false, OUT, IN, 2, 0.3f),
                 a = both_random(false, OUT, groups, 3, 1), c = both_random(false, OUT, groups, 4, 1),
                 y = both_new(BL_F32, false, OUT, IN), s = both_new(BL_F32, false, OUT, groups),
                 z = both_new(BL_F32, false, OUT, groups), dy = both_random(false, OUT, IN, 5, 1),
                 da = both_new(BL_F32, false, OUT, groups), dc = both_new(BL_F32, false, OUT, groups);
            for (int64_t i = 0; i < OUT * groups; i++) { /* one with no range, others narrower */
                both_f32(a)[i] = i ? 1 - 0.2f * fabsf(both_f32(a)[i]) : 0;
                both_f32(c)[i] = i ? 1 - 0.2f * fabsf(both_f32(c)[i]) : 0;
            }
            both_send(a);
            both_send(c);
            RUN(sign_round, (&(bl_sign_round_args){w.c, v.c, a.c, c.c, y.c, s.c, z.c, grid}),
                (&(bl_sign_round_args){w.g, v.g, a.g, c.g, y.g, s.g, z.g, grid}));
            both_equal(y);
            both_equal(s);
            both_equal(z);
            RUN(sign_round_grad, (&(bl_sign_round_grad_args){w.c, v.c, a.c, c.c, dy.c, da.c, dc.c, grid}),
                (&(bl_sign_round_grad_args){w.g, v.g, a.g, c.g, dy.g, da.g, dc.g, grid}));
            both_equal(dy);
            ASSERT_NEAR(da, 1e-13);
            ASSERT_NEAR(dc, 1e-13);
            both_send(da);
            RUN(sign_step, (&(bl_sign_step_args){v.c, dy.c, 0.01, -INFINITY, INFINITY}),
                (&(bl_sign_step_args){v.g, dy.g, 0.01, -INFINITY, INFINITY}));
            RUN(sign_step, (&(bl_sign_step_args){a.c, da.c, 0.3, 0, 1}), (&(bl_sign_step_args){a.g, da.g, 0.3, 0, 1}));
            both_equal(v);
            both_equal(a);
            both all[] = {w, v, a, c, y, s, z, dy, da, dc};
            for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
        }
}

/* Exponentials differ in the last place: a code in a thousand may be the next one. */
static void grids_that_look_at_ends_round_and_go_back(void **state)
{
    enum { OUT = 11, IN = 100 };
    static const bl_grid_kind kinds[] = {BL_GRID_CLIP, BL_GRID_LARGEST, BL_GRID_PLANES};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t kind = 0; kind < BL_COUNT(kinds); kind++)
        for (int bits = 2; bits <= (kinds[kind] == BL_GRID_PLANES ? 2 : 8); bits += 3)
            for (int64_t group = 32; group <= IN; group += IN - 32) {
                const bl_grid grid = {.kind = kinds[kind], .bits = bits, .group = group, .half = bits < 8};
                const bool has_scale = bl_grid_has_scale(grid.kind), has_offset = bl_grid_has_offset(grid.kind);
                const bl_tensor none = {0};
                int64_t groups = (IN + group - 1) / group;
                both w = both_random(false, OUT, IN, 1, 0.1f), s = both_random(false, OUT, groups, 2, 2),
                     o = both_random(false, OUT, groups, 7, 2), y = both_new(BL_F32, false, OUT, IN),
                     dy = both_random(false, OUT, IN, 3, 1), dw = both_random(false, OUT, IN, 4, 1),
                     ds = both_random(false, OUT, groups, 5, 1), d_o = both_random(false, OUT, groups, 6, 1);
                for (int64_t i = 0; i < OUT * groups && grid.kind == BL_GRID_PLANES; i++) {
                    both_f32(s)[i] = 0.05f + 0.01f * fabsf(both_f32(s)[i]);
                    both_f32(o)[i] = -0.02f - 0.01f * fabsf(both_f32(o)[i]);
                }
                both_send(s);
                both_send(o);
                RUN(grid, (&(bl_grid_args){w.c, has_scale ? s.c : none, has_offset ? o.c : none, y.c, grid}),
                    (&(bl_grid_args){w.g, has_scale ? s.g : none, has_offset ? o.g : none, y.g, grid}));
                ASSERT_NEAR(y, 1e-5);
                RUN(grid_grad,
                    (&(bl_grid_grad_args){w.c, has_scale ? s.c : none, has_offset ? o.c : none, dy.c, dw.c,
                                          has_scale ? ds.c : none, has_offset ? d_o.c : none, 0.5, grid}),
                    (&(bl_grid_grad_args){w.g, has_scale ? s.g : none, has_offset ? o.g : none, dy.g, dw.g,
                                          has_scale ? ds.g : none, has_offset ? d_o.g : none, 0.5, grid}));
                ASSERT_NEAR(dw, 1e-5);
                ASSERT_NEAR(ds, 1e-5);
                ASSERT_NEAR(d_o, 1e-5);
                both all[] = {w, s, o, y, dy, dw, ds, d_o};
                for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
            }
}

static void activations_round_and_go_back(void **state)
{
    static const int64_t widths[] = {1, 7, 64, 576, 1030};
    static const bl_actq acts[] = {
        {.bits = 4}, {.bits = 8, .symmetric = true}, {.bits = 5, .unit = BL_ACT_GROUP, .group = 48}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(widths); i++)
        for (size_t k = 0; k < BL_COUNT(acts); k++) {
            const int64_t n = widths[i], rows = 9;
            both x = both_random(true, rows, n, 1, 2), y = both_new(BL_F32, true, rows, n),
                 dy = both_random(true, rows, n, 2, 1), dx = both_random(true, rows, n, 3, 1);
            RUN(act_round, (&(bl_act_round_args){x.c, y.c, acts[k]}), (&(bl_act_round_args){x.g, y.g, acts[k]}));
            ASSERT_NEAR(y, BF16_ROUNDED);
            for (int onto = 0; onto < 2; onto++) {
                RUN(act_round_grad, (&(bl_act_round_grad_args){x.c, dy.c, dx.c, acts[k], true, onto ? 1.5 : 0, onto}),
                    (&(bl_act_round_grad_args){x.g, dy.g, dx.g, acts[k], true, onto ? 1.5 : 0, onto}));
                ASSERT_NEAR(dx, 4 * BF16_ROUNDED);
            }
            both all[] = {x, y, dy, dx};
            for (size_t j = 0; j < BL_COUNT(all); j++) both_drop(all[j]);
        }
}

/* Weights as they are stored, whole numbers with and without zeros; ranks and sides that fill no tile; groups of eight,
 * that end short, of a tile, of a row. */
static void a_weight_and_factors_reach_their_grid_at_once(void **state)
{
    static const char *const formats[] = {"fp32", "bf16", "fp16", "int8", "int4", "int3"};
    static const int64_t ranks[] = {1, 4, 33, 40}, groups[] = {8, 48, 128, 1000};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t f = 0; f < BL_COUNT(formats); f++)
        for (size_t k = 0; k < BL_COUNT(ranks); k++)
            for (size_t i = 0; i < BL_COUNT(groups); i++) {
                enum { OUT = 77, IN = 264 };
                const bl_grid grid = {.kind = (f + k) % 2 ? BL_GRID_OFFSET : BL_GRID_INSIDE,
                                      .bits = 2 + (int)k,
                                      .group = groups[i],
                                      .half = i == 1};
                const bool offsets = grid.kind == BL_GRID_OFFSET;
                const int64_t rank = ranks[k], n = (IN + groups[i] - 1) / groups[i];
                const bl_format *format = bl_format_find(formats[f]);
                bl_shape shape = both_shape(format, OUT, IN, f == 4 ? 64 : IN);
                const bl_tensor none = {0};
                if (f == 3) {
                    shape.zero = BL_ZERO_NONE;
                    shape.scale = BL_F32;
                }
                both_weight w = both_weight_new(format, &shape, 7);
                both a = both_random(false, rank, IN, 1, 0.1f), b = both_random(false, OUT, rank, 2, 0.1f),
                     s = both_random(false, OUT, n, 3, 1), o = both_random(false, OUT, n, 4, 0.02f),
                     y = both_new(BL_F32, true, OUT, IN), wide = both_new(BL_F32, false, OUT, IN),
                     dy = both_random(true, OUT, IN, 5, 1), ds = both_random(false, OUT, n, 6, 1),
                     d_o = both_random(false, OUT, n, 7, 1);
                for (int64_t j = 0; j < OUT * n; j++) both_f32(s)[j] = 0.03f * (1 + fabsf(both_f32(s)[j]));
                both_send(s);
                bl_merged_grid_args c = {&w.c, a.c, b.c,  1.5,  s.c, offsets ? o.c : none,
                                         none, y.c, none, none, 0,   grid},
                                    g = {&w.g, a.g, b.g,  1.5,  s.g, offsets ? o.g : none,
                                         none, y.g, none, none, 0,   grid};
                RUN(merged_grid, &c, &g);
                ASSERT_NEAR(y, 1e-4); /* one of these weights on the other side of a rounding is some 1e-5 */
                c.y = wide.c, g.y = wide.g;
                RUN(merged_grid, &c, &g);
                ASSERT_NEAR(wide, 1e-4);
                c.y = y.c, g.y = y.g;
                c.dy = dy.c, c.dscale = ds.c, c.doffset = offsets ? d_o.c : none, c.alpha = 0.5;
                g.dy = dy.g, g.dscale = ds.g, g.doffset = offsets ? d_o.g : none, g.alpha = 0.5;
                RUN(merged_grid, &c, &g);
                ASSERT_NEAR(y, 1e-3);
                ASSERT_NEAR(ds, 1e-3);
                ASSERT_NEAR(d_o, 1e-3);
                c.y = dy.c, g.y = dy.g; /* in the place of what it comes of */
                RUN(merged_grid, &c, &g);
                ASSERT_NEAR(dy, 1e-3);
                both all[] = {a, b, s, o, y, wide, dy, ds, d_o};
                for (size_t j = 0; j < BL_COUNT(all); j++) both_drop(all[j]);
                both_weight_drop(&w);
            }
}

static void differences_and_first_steps_are_those_of_plain_c(void **state)
{
    static const int64_t widths[] = {1, 70, 300, 5000}, groups[] = {1, 64, 300, 5000};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(widths); i++) {
        const int64_t n = widths[i], m = 9;
        both x = both_random(true, m, n, 1, 1), y = both_random(true, m, n, 2, 1),
             sum = both_flat(both_new(BL_F64, false, 1, 1)), w = both_random(false, m, n, 3, 1),
             s = both_new(BL_F32, false, m, (n + groups[i] - 1) / groups[i]);
        for (int back = 0; back < 2; back++) {
            RUN(differ, (&(bl_differ_args){x.c, y.c, sum.c, back}), (&(bl_differ_args){x.g, y.g, sum.g, back}));
            double *got = (double *)both_got(sum), want = *(const double *)sum.c.buf->data;
            assert_true(fabs(*got - want) <= 1e-12 * want);
            free(got);
            ASSERT_NEAR(x, BF16_ROUNDED);
        }
        RUN(step_search, (&(bl_step_search_args){w.c, s.c, 4, groups[i], i % 2}),
            (&(bl_step_search_args){w.g, s.g, 4, groups[i], i % 2}));
        ASSERT_NEAR(s, 0);
        ASSERT_NEAR(w, 0);
        both all[] = {x, y, sum, w, s};
        for (size_t j = 0; j < BL_COUNT(all); j++) both_drop(all[j]);
    }
}

static void scales_of_rows_and_columns_take_their_gradients(void **state)
{
    static const struct {
        int64_t m, n;
    } shapes[] = {{1, 1}, {9, 70}, {300, 1030}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(shapes); i++) {
        const int64_t m = shapes[i].m, n = shapes[i].n;
        both x = both_random(false, m, n, 1, 1), dy = both_random(false, m, n, 2, 1),
             rows = both_flat(both_random(false, 1, m, 3, 1)), cols = both_flat(both_random(false, 1, n, 4, 1)),
             dr = both_flat(both_random(false, 1, m, 5, 1)), dc = both_flat(both_random(false, 1, n, 6, 1));
        RUN(scale_grad, (&(bl_scale_grad_args){x.c, dy.c, rows.c, cols.c, dr.c, dc.c}),
            (&(bl_scale_grad_args){x.g, dy.g, rows.g, cols.g, dr.g, dc.g}));
        ASSERT_NEAR(dr, 1e-12);
        ASSERT_NEAR(dc, 1e-12);
        both all[] = {x, dy, rows, cols, dr, dc};
        for (size_t j = 0; j < BL_COUNT(all); j++) both_drop(all[j]);
    }
}

static void what_adapters_are_made_of_is_what_plain_c_makes(void **state)
{
    static const struct {
        int64_t rows, out, in, rank, group;
    } shapes[] = {{1, 1, 1, 1, 1}, {9, 70, 96, 8, 32}, {300, 130, 100, 48, 24}, {700, 136, 64, 16, 32}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(shapes); i++) {
        const int64_t out = shapes[i].out, in = shapes[i].in, rank = shapes[i].rank, group = shapes[i].group;
        const int64_t groups = (in + group - 1) / group;
        both b = both_random(false, out, rank, 1, 0.1f), cross = both_random(false, rank, out, 2, 1),
             gram = both_random(false, rank, rank, 3, 1), y = both_new(BL_F32, false, out, rank),
             dy = both_random(false, out, rank, 4, 1), db = both_random(false, out, rank, 5, 1);
        both sq = both_flat(both_random(false, 1, out, 6, 1)), m = both_flat(both_random(false, 1, out, 7, 1)),
             norm = both_flat(both_new(BL_F32, false, 1, out)), by = both_flat(both_new(BL_F32, false, 1, out)),
             bias = both_flat(both_random(false, 1, out, 15, 1)), dm = both_flat(both_random(false, 1, out, 8, 1)),
             beta = both_flat(both_random(false, 1, 1, 9, 1));
        both z = both_random(true, shapes[i].rows, out, 10, 1), dz = both_random(true, shapes[i].rows, out, 11, 1),
             x = both_random(false, rank, groups, 12, 1), wide = both_new(BL_F32, false, rank, in),
             dwide = both_random(false, rank, in, 13, 1), dx = both_random(false, rank, groups, 14, 1);
        for (int64_t k = 0; k < out; k++) both_f32(sq)[k] = 10 + fabsf(both_f32(sq)[k]);
        both_send(sq);
        RUN(dora, (&(bl_dora_args){sq.c, m.c, cross.c, gram.c, b.c, norm.c, by.c, y.c, 0.5}),
            (&(bl_dora_args){sq.g, m.g, cross.g, gram.g, b.g, norm.g, by.g, y.g, 0.5}));
        ASSERT_NEAR(norm, 1e-12);
        ASSERT_NEAR(y, 1e-12);
        if (i == 1) both_f32(m)[0] = 0, both_send(m); /* a length of 0: what comes of it is as small */
        const bl_tensor none = {0};
        RUN(dora_grad, (&(bl_dora_grad_args){z.c, dz.c, i % 2 ? none : bias.c, m.c, by.c, dy.c, db.c, dm.c}),
            (&(bl_dora_grad_args){z.g, dz.g, i % 2 ? none : bias.g, m.g, by.g, dy.g, db.g, dm.g}));
        ASSERT_NEAR(db, 1e-12);
        ASSERT_NEAR(dm, 1e-10);
        RUN(pool, (&(bl_pool_args){x.c, wide.c, group, 0.25}), (&(bl_pool_args){x.g, wide.g, group, 0.25}));
        both_equal(wide);
        RUN(pool_grad, (&(bl_pool_grad_args){dwide.c, dx.c, group, 0.25}),
            (&(bl_pool_grad_args){dwide.g, dx.g, group, 0.25}));
        ASSERT_NEAR(dx, 1e-12);
        for (int tall = 0; tall < 2; tall++) {
            RUN(band, (&(bl_band_args){dwide.c, wide.c, beta.c, group, 0.25, tall != 0}),
                (&(bl_band_args){dwide.g, wide.g, beta.g, group, 0.25, tall != 0}));
            both_equal(wide);
            RUN(band_grad, (&(bl_band_grad_args){dwide.c, wide.c, beta.c, group, 0.25, tall != 0}),
                (&(bl_band_grad_args){dwide.g, wide.g, beta.g, group, 0.25, tall != 0}));
            both_equal(wide);
            ASSERT_NEAR(beta, 1e-10);
        }
        both all[] = {b, cross, gram, y, dy, db, sq, m, norm, by, bias, dm, beta, z, dz, x, wide, dwide, dx};
        for (size_t k = 0; k < BL_COUNT(all); k++) both_drop(all[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learned_grids_round_and_go_back),
        cmocka_unit_test(grids_that_look_at_ends_round_and_go_back),
        cmocka_unit_test(rounding_by_signs_goes_back_and_steps),
        cmocka_unit_test(activations_round_and_go_back),
        cmocka_unit_test(scales_of_rows_and_columns_take_their_gradients),
        cmocka_unit_test(differences_and_first_steps_are_those_of_plain_c),
        cmocka_unit_test(a_weight_and_factors_reach_their_grid_at_once),
        cmocka_unit_test(what_adapters_are_made_of_is_what_plain_c_makes),
    };
    return gpu_run_tests("gpu_grids", tests);
}
