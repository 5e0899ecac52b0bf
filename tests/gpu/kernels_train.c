/* The training ops of the CUDA backend against plain C: within the rounding of bf16 where they write activations, the
 * same bits where they go element by element in f32. */
#include "gpu.h"

/* ---- products ---- */
static void a_weight_takes_the_gradient_of_its_product_onto_what_is_there(void **state)
{
    static const struct {
        int64_t rows, in, out;
    } shapes[] = {{1, 1, 1}, {7, 21, 10}, {64, 64, 128}, {513, 100, 36}, {1030, 576, 192}, {0, 8, 8}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(shapes); k++)
        for (int f32 = 0; f32 < 2; f32++) {
            int64_t rows = shapes[k].rows, in = shapes[k].in, out = shapes[k].out;
            both x = both_random(true, rows, in, 1, 1), dy = both_random(!f32, rows, out, 2, 1),
                 dw = both_random(false, out, in, 3, 1), narrow = both_random(true, out, in, 3, 1),
                 db = both_flat(both_random(false, 1, out, 4, 1));
            bl_weight_grad_args a = {.x = x.c, .dy = dy.c, .dw = dw.c, .db = db.c, .alpha = 0.5},
                                b = {.x = x.g, .dy = dy.g, .dw = dw.g, .db = db.g, .alpha = 0.5};
            RUN(weight_grad, &a, &b);
            ASSERT_NEAR(dw, f32 ? BF16_ROUNDED : 1e-10); /* dy in f32 is rounded for the product */
            ASSERT_NEAR(db, 1e-10);
            a.anew = b.anew = true;
            RUN(weight_grad, &a, &b);
            ASSERT_NEAR(dw, f32 ? BF16_ROUNDED : 1e-10);
            a.dw = narrow.c, b.dw = narrow.g;
            RUN(weight_grad, &a, &b);
            ASSERT_NEAR(narrow, 2 * BF16_ROUNDED);
            a.dw = b.dw = (bl_tensor){0}; /* the bias alone */
            RUN(weight_grad, &a, &b);
            ASSERT_NEAR(db, 1e-10);
            both_drop(x);
            both_drop(dy);
            both_drop(dw);
            both_drop(narrow);
            both_drop(db);
        }
}

/* y = x W with W in every kind of format: what goes back through a product. */
static void an_input_takes_the_gradient_of_its_product_with_a_packed_weight(void **state)
{
    static const char *const formats[] = {"fp32", "bf16", "int8", "int4", "int3", "int2", "int1", "nf4", "fp4", "q4_0"};
    static const int64_t rows[] = {1, 17, 300};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t f = 0; f < BL_COUNT(formats); f++)
        for (size_t k = 0; k < BL_COUNT(rows); k++) {
            enum { OUT = 70, IN = 192 };
            const bl_format *format = bl_format_find(formats[f]);
            bl_shape shape = both_shape(format, OUT, IN, 64);
            both_weight w = both_weight_new(format, &shape, 5);
            both dy = both_random(true, rows[k], OUT, 6, 1), dx = both_random(true, rows[k], IN, 7, 1);
            for (int onto = 0; onto < 2; onto++) {
                RUN(linear,
                    (&(bl_linear_args){
                        .x = dy.c, .w = {&w.c}, .y = {dx.c}, .transpose = true, .accumulate = onto != 0}),
                    (&(bl_linear_args){
                        .x = dy.g, .w = {&w.g}, .y = {dx.g}, .transpose = true, .accumulate = onto != 0}));
                double d = both_nmse(dx);
                if (!(d <= 4 * BF16_ROUNDED)) fail_msg("%s, %d rows: error %g", formats[f], (int)rows[k], d);
                both_send(dx);
            }
            both_drop(dy);
            both_drop(dx);
            both_weight_drop(&w);
        }
}

/* ---- rows ---- */
static void norm_and_gate_go_back(void **state)
{
    static const int64_t widths[] = {1, 7, 64, 256, 576, 960, 1030, 4096};
    static const int64_t heights[] = {0, 1, 9, 600};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(widths); i++)
        for (size_t k = 0; k < BL_COUNT(heights); k++) {
            int64_t n = widths[i], rows = heights[k];
            both x = both_random(true, rows, n, 1, 2), dy = both_random(true, rows, n, 2, 1),
                 dx = both_random(true, rows, n, 3, 1), w = both_flat(both_random(false, 1, n, 4, 1)),
                 dw = both_flat(both_random(false, 1, n, 5, 1));
            bl_rmsnorm_grad_args a = {x.c, w.c, dy.c, dx.c, dw.c, 1e-5, true},
                                 b = {x.g, w.g, dy.g, dx.g, dw.g, 1e-5, true};
            RUN(rmsnorm_grad, &a, &b);
            ASSERT_NEAR(dw, 1e-9);
            ASSERT_NEAR(dx, n == 1 ? 1e-3 : 2 * BF16_ROUNDED); /* of one number it is what rounding leaves of 0 */
            a.dx = dy.c;                                       /* in the place of dy, and nothing of the weight */
            b.dx = dy.g;
            a.dweight = b.dweight = (bl_tensor){0};
            a.accumulate = b.accumulate = false;
            if (n > 1) {
                RUN(rmsnorm_grad, &a, &b);
                ASSERT_NEAR(dy, 2 * BF16_ROUNDED);
                both_send(dy);
            }
            both up = both_random(true, rows, n, 6, 1), dup = both_new(BL_F32, true, rows, n);
            RUN(swiglu_grad, (&(bl_swiglu_grad_args){x.c, up.c, dy.c, dy.c, dup.c}),
                (&(bl_swiglu_grad_args){x.g, up.g, dy.g, dy.g, dup.g}));
            ASSERT_NEAR(dy, BF16_ROUNDED);
            ASSERT_NEAR(dup, BF16_ROUNDED);
            both_drop(x);
            both_drop(dy);
            both_drop(dx);
            both_drop(w);
            both_drop(dw);
            both_drop(up);
            both_drop(dup);
        }
}

static void the_rotary_turn_goes_back(void **state)
{
    static const int64_t heads[] = {2, 6, 64, 128};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(heads); k++) {
        const int32_t pos[] = {0, 3, 1, 7, 7};
        both x = both_random(true, 5, 3 * heads[k], 1, 1), c = both_random(false, 8, heads[k] / 2, 2, 1),
             s = both_random(false, 8, heads[k] / 2, 3, 1), p = both_list(BL_I32, pos, 5);
        RUN(rope_grad, (&(bl_rope_args){x.c, heads[k], p.c, c.c, s.c}),
            (&(bl_rope_args){x.g, heads[k], p.g, c.g, s.g}));
        ASSERT_NEAR(x, BF16_ROUNDED);
        both_drop(x);
        both_drop(c);
        both_drop(s);
        both_drop(p);
    }
}

static void transforms_go_back(void **state)
{
    enum { ROWS = 9, IN = 96 };
    (void)state;
    BL_NEEDS_GPU;
    int32_t from[IN + 4];
    for (int i = 0; i < IN + 4; i++) from[i] = (i * 7 + 5) % IN; /* four of them twice */
    both scale = both_flat(both_random(false, 1, IN, 1, 1)), order = both_list(BL_I32, from, IN + 4),
         sums = both_list(BL_I32, (const int32_t[]){2, 2, 2, 2, 9, 2, 9, 30, 3, 17, 30, 3, 20, 30, 3}, 15),
         blocks = both_random(false, IN, 8, 2, 1);
    bl_tensor rc = {.buf = blocks.c.buf, .dtype = BL_F32, .ndim = 3, .dim = {IN / 8, 8, 8}, .stride = {64, 8, 1}},
              rg = rc;
    rg.buf = blocks.g.buf;
    const bl_transform c[] = {
        {BL_T_SCALE, IN, IN, scale.c},      {BL_T_ROTATE, IN, IN, rc},
        {BL_T_HADAMARD, IN, IN, {0}}, /* of order 12 */
        {BL_T_HADAMARD, IN, IN, scale.c},   {BL_T_PERMUTE, IN, IN, bl_tensor_2d(sums.c.buf, 0, BL_I32, 5, 3)},
        {BL_T_PERMUTE, IN, IN + 4, order.c}};
    bl_transform g[BL_COUNT(c)];
    memcpy(g, c, sizeof g);
    g[4].data.buf = sums.g.buf;
    g[0].data = g[3].data = scale.g;
    g[1].data = rg;
    g[5].data = order.g;
    for (size_t first = 0; first < BL_COUNT(c); first++)
        for (size_t n = 1; first + n <= BL_COUNT(c); n++) {
            both dy = both_random(true, ROWS, c[first + n - 1].out, 3, 1), dx = both_random(true, ROWS, IN, 4, 1);
            bool onto = (first + n) % 2;
            RUN(transform_grad, (&(bl_transform_grad_args){dy.c, dx.c, c + first, (int)n, onto}),
                (&(bl_transform_grad_args){dy.g, dx.g, g + first, (int)n, onto}));
            ASSERT_NEAR(dx, BF16_ROUNDED);
            both_drop(dy);
            both_drop(dx);
        }
    both_drop(scale);
    both_drop(order);
    both_drop(sums);
    both_drop(blocks);
}

/* ---- attention ---- */
static void attention_of_ragged_sequences_goes_back(void **state)
{
    static const struct {
        int64_t heads, kv, dim;
    } shapes[] = {{1, 1, 8}, {4, 2, 16},  {4, 2, 64}, {9, 3, 64}, {6, 1, 36},
                  {3, 3, 5}, {4, 2, 128}, {4, 1, 96}, {2, 1, 256}};
    static const struct {
        int32_t n, start[6];
    } all[] = {{1, {0, 1}}, {1, {0, 200}}, {4, {0, 1, 66, 66, 196}}, {2, {3, 67, 131}}, {0, {0}}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t s = 0; s < BL_COUNT(shapes); s++)
        for (size_t l = 0; l < BL_COUNT(all); l++) {
            int64_t rows = all[l].start[all[l].n] + 2, q = shapes[s].heads * shapes[s].dim,
                    kv = shapes[s].kv * shapes[s].dim;
            both t[] = {both_random(true, rows, q, 1, 1),  both_random(true, rows, kv, 2, 1),
                        both_random(true, rows, kv, 3, 1), both_random(true, rows, q, 4, 0.3f),
                        both_random(true, rows, q, 5, 1),  both_random(true, rows, q, 6, 1),
                        both_random(true, rows, kv, 7, 1), both_random(true, rows, kv, 8, 1)};
            both start = both_list(BL_I32, all[l].start, all[l].n + 1);
            bl_attention_grad_args a = {.q = t[0].c,
                                        .k = t[1].c,
                                        .v = t[2].c,
                                        .y = t[3].c,
                                        .dy = t[4].c,
                                        .dq = t[5].c,
                                        .dk = t[6].c,
                                        .dv = t[7].c,
                                        .heads = shapes[s].heads,
                                        .kv_heads = shapes[s].kv,
                                        .head_dim = shapes[s].dim,
                                        .scale = 1 / sqrt((double)shapes[s].dim),
                                        .n_seq = all[l].n,
                                        .start = start.c},
                                   b = a;
            bl_tensor *on_gpu[] = {&b.q, &b.k, &b.v, &b.y, &b.dy, &b.dq, &b.dk, &b.dv};
            for (int i = 0; i < 8; i++) *on_gpu[i] = t[i].g;
            b.start = start.g;
            RUN(attention_grad, &a, &b);
            for (int i = 5; i < 8; i++) {
                double d = both_nmse(t[i]);
                if (!(d <= 1e-4)) /* probabilities and their gradients are rounded too */
                    fail_msg("%d heads of %d, %d of keys, %d rows: d%c is off by %g", (int)a.heads, (int)a.head_dim,
                             (int)a.kv_heads, (int)rows, "qkv"[i - 5], d);
            }
            for (int i = 0; i < 8; i++) both_drop(t[i]);
            both_drop(start);
        }
}

/* ---- ends ---- */
static void tokens_take_their_rows_of_the_gradient(void **state)
{
    static const struct {
        int64_t vocab, dim, rows;
    } shapes[] = {{5, 7, 3000}, {128, 256, 2047}, {1000, 576, 10}, {3, 300, 0}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(shapes); k++) {
        int64_t rows = shapes[k].rows;
        int32_t *ids = malloc((size_t)rows * sizeof *ids + 4);
        for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)(i * i % shapes[k].vocab);
        both t = both_list(BL_I32, ids, rows), dy = both_random(true, rows, shapes[k].dim, 1, 1),
             dw = both_random(false, shapes[k].vocab, shapes[k].dim, 2, 1);
        RUN(embed_grad, (&(bl_embed_grad_args){t.c, dy.c, dw.c}), (&(bl_embed_grad_args){t.g, dy.g, dw.g}));
        both_equal(dw); /* in the order of the rows */
        both_drop(t);
        both_drop(dy);
        both_drop(dw);
        free(ids);
    }
}

static void the_loss_goes_back_into_its_logits(void **state)
{
    static const int64_t vocabs[] = {1, 5, 97, 1000, 49152};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(vocabs); k++) {
        enum { ROWS = 5 };
        int64_t n = vocabs[k], wide = n + 7;
        int32_t target[ROWS] = {0, (int32_t)n - 1, -1, (int32_t)n / 2, (int32_t)n / 3};
        both x = both_random(false, ROWS, wide, 1, 3), t = both_list(BL_I32, target, ROWS),
             nll = both_flat(both_new(BL_F64, false, 1, ROWS));
        both_f32(x)[4 * wide + n / 2] = INFINITY;
        both_send(x);
        for (int narrow = 1; narrow >= 0; narrow--) { /* as activations, then in the place of the logits */
            both grad = narrow ? both_new(BL_F32, true, ROWS, wide) : x;
            RUN(loss_grad,
                (&(bl_loss_grad_args){
                    .logits = x.c, .vocab = n, .target = t.c, .scale = 0.25, .grad = grad.c, .nll = nll.c}),
                (&(bl_loss_grad_args){
                    .logits = x.g, .vocab = n, .target = t.g, .scale = 0.25, .grad = grad.g, .nll = nll.g}));
            ASSERT_NEAR(grad, narrow ? BF16_ROUNDED : 1e-11);
            double *a = nll.c.buf->data, *b = (double *)both_got(nll);
            for (int i = 0; i < ROWS; i++)
                assert_true(isnan(a[i]) ? isnan(b[i]) : fabs(a[i] - b[i]) <= 1e-6 * (1 + fabs(a[i])));
            free(b);
            if (narrow) both_drop(grad);
        }
        both kl = both_flat(both_new(BL_F64, false, 1, ROWS));
        for (int narrow = 1; narrow >= 0; narrow--) { /* beside a model that is followed */
            both y = both_random(false, ROWS, wide, 1, 3), p = both_random(false, ROWS, wide, 2, 3);
            both grad = narrow ? both_new(BL_F32, true, ROWS, wide) : y;
            RUN(loss_grad, (&(bl_loss_grad_args){y.c, n, t.c, 0.25, grad.c, nll.c, p.c, 0.5, kl.c}),
                (&(bl_loss_grad_args){y.g, n, t.g, 0.25, grad.g, nll.g, p.g, 0.5, kl.g}));
            ASSERT_NEAR(grad, narrow ? BF16_ROUNDED : 1e-11);
            double *b = (double *)both_got(kl);
            for (int i = 0; i < ROWS; i++)
                assert_true(fabs(((double *)kl.c.buf->data)[i] - b[i]) <= 1e-6 * (1 + fabs(b[i])));
            free(b);
            both_drop(y), both_drop(p);
            if (narrow) both_drop(grad);
        }
        both_drop(kl);
        both_drop(x);
        both_drop(t);
        both_drop(nll);
    }
}

/* ---- element by element ---- */
static void dropout_draws_what_plain_c_draws(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    for (int64_t row0 = 0; row0 < 12; row0 += 5) {
        both x = both_random(true, 37, 101, 1, 1), y = both_new(BL_F32, true, 37, 101);
        bl_dropout_args a = {.x = x.c, .y = y.c, .p = 0.25, .key = {3, 9}, .stream = {1, 2}, .row0 = row0}, b = a;
        b.x = x.g;
        b.y = y.g;
        RUN(dropout, &a, &b);
        float *got = both_got(y);
        int dropped = 0;
        for (int64_t i = 0; i < 37 * 101; i++) {
            assert_true((got[i] == 0) == (both_f32(y)[i] == 0));
            dropped += got[i] == 0;
        }
        assert_true(dropped > 700 && dropped < 1200); /* of 3,737 a quarter */
        free(got);
        ASSERT_NEAR(y, BF16_ROUNDED);
        both_send(y);
        a.accumulate = b.accumulate = true;
        RUN(dropout, &a, &b);
        ASSERT_NEAR(y, BF16_ROUNDED);
        both_drop(x);
        both_drop(y);
    }
}

static void rounding_by_chance_draws_what_plain_c_draws(void **state)
{
    static const bl_dtype types[] = {BL_F32, BL_F16, BL_BF16};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(types); k++) {
        enum { OUT = 37, IN = 203 };
        const bl_format *f = bl_format_find("int8");
        bl_shape s = both_shape(f, OUT, IN, 64);
        s.zero = BL_ZERO_PACKED;
        s.scale = types[k];
        both_weight w = both_weight_new(f, &s, 5);
        both x = both_random(false, OUT, IN, 6, 0.05f);
        bl_round_random_args a = {.x = x.c, .w = &w.c, .key = {3, 9}, .stream = {1, 2}}, b = a;
        b.x = x.g;
        b.w = &w.g;
        RUN(round_random, &a, &b);
        both_equal((both){.c = w.c.part[0], .g = w.g.part[0]});
        both_drop(x);
        both_weight_drop(&w);
    }
}

static void optimizer_steps_are_the_same_bits(void **state)
{
    static const int64_t sizes[] = {1, 255, 256, 5000};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(sizes); k++) {
        int64_t n = sizes[k], blocks = (n + 255) / 256;
        float table[2][256];
        bl_moment_table(true, table[0]);
        bl_moment_table(false, table[1]);
        both p = both_flat(both_random(false, 1, n, 1, 1)), p8 = both_flat(both_random(false, 1, n, 2, 1)),
             m = both_flat(both_new(BL_F32, false, 1, n)), v = both_flat(both_new(BL_F32, false, 1, n)),
             m8 = both_flat(both_new(BL_U8, false, 1, n)), v8 = both_flat(both_new(BL_U8, false, 1, n)),
             mm = both_flat(both_new(BL_F32, false, 1, blocks)), vm = both_flat(both_new(BL_F32, false, 1, blocks)),
             mt = both_list(BL_F32, table[0], 256), vt = both_list(BL_F32, table[1], 256);
        for (int64_t step = 1; step <= 4; step++) {
            both g = both_flat(both_random(false, 1, n, 10 + (uint64_t)step, 0.1f));
            bl_adamw_args a = {.p = p.c,
                               .grad = g.c,
                               .m = m.c,
                               .v = v.c,
                               .lr = 1e-2,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .decay = 0.1,
                               .grad_scale = 0.7,
                               .step = step},
                          b = a;
            b.p = p.g;
            b.grad = g.g;
            b.m = m.g;
            b.v = v.g;
            RUN(adamw, &a, &b);
            both_equal(p);
            both_equal(m);
            both_equal(v);
            bl_adamw8_one c8 = {.how = {.p = p8.c,
                                        .grad = g.c,
                                        .m = m8.c,
                                        .v = v8.c,
                                        .lr = 1e-2,
                                        .beta1 = 0.9,
                                        .beta2 = 0.95,
                                        .eps = 1e-8,
                                        .decay = 0.1,
                                        .grad_scale = 1,
                                        .step = step},
                                .m_max = mm.c,
                                .v_max = vm.c},
                          d8 = c8;
            d8.how.p = p8.g;
            d8.how.grad = g.g;
            d8.how.m = m8.g;
            d8.how.v = v8.g;
            d8.m_max = mm.g;
            d8.v_max = vm.g;
            bl_adamw8_args c = {.of = &c8, .n = 1, .m_table = mt.c, .v_table = vt.c},
                           d = {.of = &d8, .n = 1, .m_table = mt.g, .v_table = vt.g};
            RUN(adamw8, &c, &d);
            both_equal(p8);
            both_equal(m8);
            both_equal(v8);
            both_equal(mm);
            both_equal(vm);
            both_drop(g);
        }
        both all[] = {p, p8, m, v, m8, v8, mm, vm, mt, vt};
        for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
    }
}

/* More lists than a launch takes, of less than a piece and of several, whole vectors and not. */
static void parameters_step_together(void **state)
{
    enum { LISTS = 150 };
    (void)state;
    BL_NEEDS_GPU;
    both p[LISTS], g[LISTS], m[LISTS], v[LISTS], sums = both_flat(both_new(BL_F64, false, 1, LISTS));
    both m8[LISTS], v8[LISTS], mm[LISTS], vm[LISTS], mt, vt;
    bl_adamw_args on_cpu[LISTS], on_gpu[LISTS];
    bl_adamw8_one of[2][LISTS];
    bl_tensor x[2][LISTS];
    float table[2][256];
    for (int k = 0; k < 2; k++) bl_moment_table(!k, table[k]);
    mt = both_list(BL_F32, table[0], 256);
    vt = both_list(BL_F32, table[1], 256);
    for (int i = 0; i < LISTS; i++) {
        const int64_t n = i % 3 == 0 ? 9000 + i : 1 + 7 * i;
        p[i] = both_flat(both_random(false, 1, n, (uint64_t)(1 + i), 1));
        g[i] = both_flat(both_random(false, 1, n, (uint64_t)(1000 + i), 0.1f));
        m[i] = both_flat(both_new(BL_F32, false, 1, n));
        v[i] = both_flat(both_new(BL_F32, false, 1, n));
        x[0][i] = g[i].c;
        x[1][i] = g[i].g;
        on_cpu[i] = (bl_adamw_args){.p = p[i].c,
                                    .grad = g[i].c,
                                    .m = m[i].c,
                                    .v = v[i].c,
                                    .lr = 1e-3 * (i + 1),
                                    .beta1 = 0.9,
                                    .beta2 = 0.95,
                                    .eps = 1e-8,
                                    .decay = 0.1,
                                    .grad_scale = 0.7,
                                    .step = 1};
        on_gpu[i] = on_cpu[i];
        on_gpu[i].p = p[i].g;
        on_gpu[i].grad = g[i].g;
        on_gpu[i].m = m[i].g;
        on_gpu[i].v = v[i].g;
        m8[i] = both_flat(both_new(BL_U8, false, 1, n));
        v8[i] = both_flat(both_new(BL_U8, false, 1, n));
        mm[i] = both_flat(both_new(BL_F32, false, 1, (n + 255) / 256));
        vm[i] = both_flat(both_new(BL_F32, false, 1, (n + 255) / 256));
        of[0][i] = (bl_adamw8_one){.how = on_cpu[i], .m_max = mm[i].c, .v_max = vm[i].c};
        of[1][i] = (bl_adamw8_one){.how = on_gpu[i], .m_max = mm[i].g, .v_max = vm[i].g};
        of[0][i].how.m = m8[i].c;
        of[0][i].how.v = v8[i].c;
        of[1][i].how.m = m8[i].g;
        of[1][i].how.v = v8[i].g;
    }
    double sum[2][LISTS];
    RUN(sq_sums, (&(bl_sq_sums_args){x[0], LISTS, sums.c}), (&(bl_sq_sums_args){x[1], LISTS, sums.g}));
    assert_ok(cpu->ops->download(cpu, &sums.c, sum[0], &e));
    assert_ok(gpu->ops->download(gpu, &sums.g, sum[1], &e));
    for (int i = 0; i < LISTS; i++) assert_true(sum[0][i] > 0 && fabs(sum[0][i] - sum[1][i]) <= 1e-12 * sum[0][i]);
    for (int step = 0; step < 2; step++)
        RUN(adamw8, (&(bl_adamw8_args){of[0], LISTS, mt.c, vt.c, false}),
            (&(bl_adamw8_args){of[1], LISTS, mt.g, vt.g, false}));
    RUN(adamw_all, (&(bl_adamw_all_args){on_cpu, LISTS, true}), (&(bl_adamw_all_args){on_gpu, LISTS, true}));
    for (int i = 0; i < LISTS; i++) {
        both all[] = {p[i], m[i], v[i], g[i], m8[i], v8[i], mm[i], vm[i]};
        for (size_t k = 0; k < BL_COUNT(all); k++) {
            both_equal(all[k]);
            both_drop(all[k]);
        }
    }
    both ends[] = {sums, mt, vt};
    for (size_t k = 0; k < BL_COUNT(ends); k++) both_drop(ends[k]);
}

/* A length's gradient is of what the linear put out without its bias, which activations were rounded with: where that
 * is 100 times as large, a fifth of it is by chance. */
static void a_large_bias_leaves_a_length_its_gradient(void **state)
{
    enum { ROWS = 700, OUT = 136 };
    static const float large[] = {1, 10, 100};
    const bl_tensor none = {0};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(large); i++) {
        both x = both_random(true, ROWS, OUT, 1, 1), y = both_new(BL_F32, true, ROWS, OUT),
             dy = both_random(true, ROWS, OUT, 2, 1), of_b = both_random(false, OUT, 1, 3, 1),
             db = both_random(false, OUT, 1, 4, 1), m = both_flat(both_random(false, 1, OUT, 5, 1)),
             by = both_flat(both_random(false, 1, OUT, 6, 1)),
             bias = both_flat(both_random(false, 1, OUT, 7, large[i])),
             dm = both_flat(both_random(false, 1, OUT, 8, 1e-3f));
        for (int64_t k = 0; k < OUT; k++) both_f32(m)[k] = 1 + fabsf(both_f32(m)[k]);
        for (int64_t k = 0; k < ROWS * OUT; k++) both_f32(y)[k] = both_f32(x)[k] + both_f32(bias)[k % OUT];
        both_send(m);
        both_send(y); /* rounded for both */
        RUN(dora_grad, (&(bl_dora_grad_args){x.c, dy.c, none, m.c, by.c, of_b.c, db.c, dm.c}),
            (&(bl_dora_grad_args){y.g, dy.g, bias.g, m.g, by.g, of_b.g, db.g, dm.g}));
        const double off = both_nmse(dm), most = 1e-5 * large[i] * large[i];
        print_message("bias %g times as large: dm is off by %.3g of itself\n", (double)large[i], sqrt(off));
        if (!(off <= most + 1e-5)) fail_msg("bias %g: %g, at most %g", (double)large[i], off, most);
        both all[] = {x, y, dy, of_b, db, m, by, bias, dm};
        for (size_t k = 0; k < BL_COUNT(all); k++) both_drop(all[k]);
    }
}

/* f32 numbers that bf16 has, so that a sum of few large and opposite ones is not the rounding of its parts. */
static both short_numbers(int64_t rows, int64_t cols, uint64_t seed)
{
    both b = both_random(false, rows, cols, seed, 1);
    for (int64_t i = 0; i < rows * cols; i++) both_f32(b)[i] = bl_bf16_to_f32(bl_f32_to_bf16(both_f32(b)[i]));
    both_send(b);
    return b;
}

static void adapters_that_read_one_input_go_back(void **state)
{
    static const int64_t rows[] = {1, 40, 1030}, ranks[][3] = {{1, 0, 0}, {8, 5, 0}, {64, 64, 64}};
    static const int64_t outs[] = {130, 36, 64};
    enum { IN = 100 };
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(rows); k++)
        for (size_t m = 0; m < BL_COUNT(ranks); m++) {
            both x = both_random(true, rows[k], IN, 1, 1), dx = both_random(true, rows[k], IN, 2, 1), all[15];
            bl_lowrank_grad_args c = {.x = x.c, .dx = dx.c, .accumulate = k == 1}, g = c;
            size_t n = 0;
            int64_t width = 0;
            g.x = x.g;
            g.dx = dx.g;
            for (int i = 0; i < 3 && ranks[m][i]; i++) {
                const int64_t rank = ranks[m][i];
                both *b = all + n;
                all[n++] = short_numbers(rank, IN, 3);
                all[n++] = short_numbers(outs[i], rank, 4);
                all[n++] = both_random(false, rank, IN, 5, 1);
                all[n++] = both_random(false, outs[i], rank, 6, 1);
                all[n++] = both_random(true, rows[k], outs[i], 7, 1);
                c.of[i].a = b[0].c, c.of[i].b = b[1].c, c.of[i].da = b[2].c, c.of[i].db = b[3].c, c.of[i].dy = b[4].c;
                g.of[i].a = b[0].g, g.of[i].b = b[1].g, g.of[i].da = b[2].g, g.of[i].db = b[3].g, g.of[i].dy = b[4].g;
                c.of[i].scale = g.of[i].scale = i < 2 ? 0.5 * (i + 1) : 2;
                c.n = g.n = i + 1;
                width += bl_lowrank_width(rank);
            }
            both work = both_new(BL_F32, true, rows[k], width);
            c.work = work.c;
            g.work = work.g;
            RUN(lowrank_grad, &c, &g);
            ASSERT_NEAR(dx, 4 * BF16_ROUNDED);
            for (size_t i = 0; i < n; i += 5) {
                ASSERT_NEAR(all[i + 2], 4 * BF16_ROUNDED);
                ASSERT_NEAR(all[i + 3], 4 * BF16_ROUNDED);
            }
            both_drop(x), both_drop(dx), both_drop(work);
            for (size_t i = 0; i < n; i++) both_drop(all[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_takes_the_gradient_of_its_product_onto_what_is_there),
        cmocka_unit_test(an_input_takes_the_gradient_of_its_product_with_a_packed_weight),
        cmocka_unit_test(norm_and_gate_go_back),
        cmocka_unit_test(the_rotary_turn_goes_back),
        cmocka_unit_test(transforms_go_back),
        cmocka_unit_test(attention_of_ragged_sequences_goes_back),
        cmocka_unit_test(tokens_take_their_rows_of_the_gradient),
        cmocka_unit_test(the_loss_goes_back_into_its_logits),
        cmocka_unit_test(dropout_draws_what_plain_c_draws),
        cmocka_unit_test(rounding_by_chance_draws_what_plain_c_draws),
        cmocka_unit_test(optimizer_steps_are_the_same_bits),
        cmocka_unit_test(parameters_step_together),
        cmocka_unit_test(a_large_bias_leaves_a_length_its_gradient),
        cmocka_unit_test(adapters_that_read_one_input_go_back),
    };
    return gpu_run_tests("gpu_train", tests);
}
