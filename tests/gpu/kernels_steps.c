/* A step of decoding on the CUDA device: what is one launch there against the ops that it stands for, and ops that
 * begin before those before them have ended. */
#include "gpu.h"

/* Queries, keys and values; gate and up: widths that are no whole tiles, and one weight that is not like the others. */
static void few_rows_of_several_weights_are_those_of_plain_c(void **state)
{
    static const char *const formats[] = {"int8", "int4", "int3", "int2", "int1", "nf4", "fp4"};
    static const int64_t rows[] = {1, 2, 4, 9, 16}, wide[] = {205, 48, 17}, in[] = {256, 4352};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t f = 0; f < BL_COUNT(formats); f++)
        for (size_t r = 0; r < BL_COUNT(rows); r++)
            for (int kind = 0; kind < 8; kind++) { /* bit 0 the longer k, bit 1 two weights, bit 2 the last is int8 */
                const int n = kind & 2 ? 2 : 3;
                const bool narrow = r % 2;
                both_weight w[BL_LINEAR_MOST];
                both y[BL_LINEAR_MOST], x = both_random(true, rows[r], in[kind & 1], 3, 1),
                                        bias = both_flat(both_random(false, 1, wide[1], 4, 1));
                bl_linear_args a = {.x = x.c}, b = {.x = x.g};
                for (int i = 0; i < n; i++) {
                    const char *name = kind & 4 && i == n - 1 ? "int8" : formats[f];
                    const bl_format *of = bl_format_find(name);
                    bl_shape s = both_shape(of, wide[i], in[kind & 1], 128);
                    w[i] = both_weight_new(of, &s, (size_t)i);
                    y[i] = both_new(BL_F32, narrow, rows[r], wide[i]);
                    a.w[i] = &w[i].c;
                    b.w[i] = &w[i].g;
                    a.y[i] = y[i].c;
                    b.y[i] = y[i].g;
                }
                a.bias[1] = bias.c;
                b.bias[1] = bias.g;
                const bl_kernel_family *k = bl_kernel_find("stream_int4_cuda")->family;
                assert_ok(cpu->ops->linear(cpu, &a, &e));
                assert_ok(k->run(k, gpu, &b, &e));
                for (int i = 0; i < n; i++) {
                    double d = both_nmse(y[i]), limit = narrow || f >= 5 ? 2e-5 : 1e-8;
                    if (!(d <= limit))
                        fail_msg("%s, %d rows, kind %d, weight %d: error %g", formats[f], (int)rows[r], kind, i, d);
                    both_drop(y[i]);
                    both_weight_drop(&w[i]);
                }
                both_drop(x);
                both_drop(bias);
            }
}

static void same_numbers(const bl_tensor *a, const bl_tensor *b, double limit, const char *what, int64_t head)
{
    const int64_t n = bl_tensor_count(a);
    uint16_t *u = malloc((size_t)n * 2), *v = malloc((size_t)n * 2);
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    assert_ok(gpu->ops->download(gpu, a, u, &e));
    assert_ok(gpu->ops->download(gpu, b, v, &e));
    for (int64_t i = 0; i < n; i++) {
        x[i] = bl_bf16_to_f32(u[i]);
        y[i] = bl_bf16_to_f32(v[i]);
    }
    const double d = distance(x, y, n);
    if (!(d <= limit)) fail_msg("%s, heads of %d: error %g", what, (int)head, d);
    free(u);
    free(v);
    free(x);
    free(y);
}

/* One launch against four: heads of every width, keys in segments, a cache that is cut into parts and one that is not;
 * three query heads to a head of keys, and five. */
static void a_step_is_what_its_ops_are(void **state)
{
    enum { ROWS = 3, KV = 2 };
    static const int64_t heads[] = {16, 64, 128, 256}, rooms[] = {96, 700};
    static const int32_t start[] = {0, 1, 2, 3}, seg_start[] = {0, 1, 3, 4};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t one = 0; one < BL_COUNT(heads) * BL_COUNT(rooms) * 2; one++) {
        const int64_t head = heads[one % 4], room = rooms[one / 4 % 2], of_kv = one / 8 ? 5 : 3;
        const int32_t past[] = {0, (int32_t)(room / 2), 29};
        /* sequences: row 5; rows 40 .. and 8 .. 17; rows 60 .. */
        const int64_t seg[] = {5, 1, 40 - 8 * (room < 100), room / 2 - 9, 8, 10, room - 30, 30},
                      to[] = {5, 17, room - 1};
        bl_buffer *b[2];
        bl_kv_view kv[2];
        const bl_kv_shape shape = {BL_KV_ACT, room, 0, KV, head};
        both c = both_random(false, (int64_t)room, head / 2, 2, 1),
             n = both_random(false, (int64_t)room, head / 2, 3, 1), p = both_list(BL_I32, past, ROWS),
             places = both_list(BL_I64, to, ROWS), st = both_list(BL_I32, start, ROWS + 1),
             ss = both_list(BL_I32, seg_start, ROWS + 1), sg = both_list(BL_I64, seg, 8),
             old_k = both_random(true, room, KV * head, 8, 1), old_v = both_random(true, room, KV * head, 9, 1), q[2],
             k[2], v[2], y[2];
        int64_t all[700];
        for (int64_t i = 0; i < room; i++) all[i] = i;
        both every = both_list(BL_I64, all, room);
        for (int i = 0; i < 2; i++) {
            q[i] = both_random(true, ROWS, KV * of_kv * head, 1, 1);
            k[i] = both_random(true, ROWS, KV * head, 4, 1);
            v[i] = both_random(true, ROWS, KV * head, 5, 1);
            y[i] = both_new(BL_F32, true, ROWS, KV * of_kv * head);
            assert_ok(gpu->ops->buffer_new(gpu, bl_kv_view_bytes(gpu, &shape), &b[i], &e));
            kv[i] = bl_kv_view_at(b[i], 0, &shape);
            const bl_kv_append_args before = {.kv = kv[i], .k = old_k.g, .v = old_v.g, .to = every.g},
                                    append = {.kv = kv[i], .k = k[i].g, .v = v[i].g, .to = places.g};
            const bl_rope_args of_q = {q[i].g, head, p.g, c.g, n.g}, of_k = {k[i].g, head, p.g, c.g, n.g};
            const bl_attention_args a = {.q = q[i].g,
                                         .kv = kv[i],
                                         .y = y[i].g,
                                         .heads = KV * of_kv,
                                         .scale = 1 / sqrt((double)head),
                                         .n_seq = ROWS,
                                         .start = st.g,
                                         .past = p.g,
                                         .seg = bl_tensor_2d(sg.g.buf, 0, BL_I64, 4, 2),
                                         .seg_start = ss.g};
            assert_ok(gpu->ops->kv_append(gpu, &before, &e));
            assert_ok(gpu->ops->sync(gpu, &e));
            if (i) {
                assert_ok(gpu->ops->step(gpu, &(bl_step_args){of_q, append, a}, &e));
                continue;
            }
            assert_ok(gpu->ops->rope(gpu, &of_q, &e));
            assert_ok(gpu->ops->rope(gpu, &of_k, &e));
            assert_ok(gpu->ops->kv_append(gpu, &append, &e));
            assert_ok(gpu->ops->attention(gpu, &a, &e));
        }
        same_numbers(&y[0].g, &y[1].g, 1e-6, "y", head);
        same_numbers(&kv[0].k, &kv[1].k, 1e-8, "keys", head);
        same_numbers(&kv[0].v, &kv[1].v, 0, "values", head);
        for (int i = 0; i < 2; i++) {
            gpu->ops->buffer_free(b[i]);
            both_drop(q[i]);
            both_drop(k[i]);
            both_drop(v[i]);
            both_drop(y[i]);
        }
        const both rest[] = {c, n, p, places, st, ss, sg, old_k, old_v, every};
        for (size_t i = 0; i < BL_COUNT(rest); i++) both_drop(rest[i]);
    }
}

/* The norm and the gate of x on the way into products of few rows, of every arrangement of x; what takes no norm says
 * so. */
static void norms_and_gates_are_made_on_the_way(void **state)
{
    static const char *const formats[] = {"int8", "int4", "int3", "int2", "int1", "nf4"};
    static const int64_t rows[] = {1, 2, 3, 8, 16}, in[] = {256, 4352};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t f = 0; f < BL_COUNT(formats); f++)
        for (size_t r = 0; r < BL_COUNT(rows); r++)
            for (int kind = 0; kind < 4; kind++) { /* bit 0 the longer k, bit 1 a gate */
                const int64_t wide = in[kind & 1];
                const bl_format *of = bl_format_find(formats[f]);
                bl_shape s = both_shape(of, 133, wide, 128);
                both_weight w = both_weight_new(of, &s, f);
                both x = both_random(true, rows[r], wide, 3, 2), h = both_new(BL_F32, true, rows[r], wide),
                     gate = both_random(true, rows[r], wide, 6, 1), y = both_new(BL_F32, false, rows[r], 133),
                     by = both_flat(both_random(false, 1, wide, 4, 1));
                bl_linear_args a = {.x = h.c, .w = {&w.c}, .y = {y.c}},
                               b = {.x = x.g, .w = {&w.g}, .y = {y.g}, .eps = 1e-5};
                if (kind & 2) {
                    b.gate = gate.g;
                    assert_ok(cpu->ops->swiglu(cpu, &(bl_swiglu_args){gate.c, x.c, h.c}, &e));
                } else {
                    b.norm = by.g;
                    assert_ok(cpu->ops->rmsnorm(cpu, &(bl_rmsnorm_args){x.c, by.c, h.c, 1e-5}, &e));
                }
                if (gpu->ops->linear_prepares(gpu, &b)) {
                    assert_ok(cpu->ops->linear(cpu, &a, &e));
                    assert_ok(gpu->ops->linear(gpu, &b, &e));
                    const double d = both_nmse(y);
                    if (!(d <= 4e-5)) fail_msg("%s, %d rows, kind %d: error %g", formats[f], (int)rows[r], kind, d);
                } else assert_true(rows[r] > 2); /* another kernel may be faster from there on */
                b.act = (bl_actq){.bits = 8};
                assert_false(gpu->ops->linear_prepares(gpu, &b));
                assert_refused(gpu->ops->linear(gpu, &b, &e), BL_E_UNSUPPORTED, "no norm and no gate");
                const both all[] = {x, h, gate, y, by};
                for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
                both_weight_drop(&w);
            }
}

/* What the kernels before it in a graph write is there when a product reads it. */
static void products_of_a_graph_wait_for_each_other(void **state)
{
    enum { N = 1024, STEPS = 40 };
    const bl_format *f = bl_format_find("int4");
    bl_shape s = both_shape(f, N, N, 128);
    bl_graph *g;
    (void)state;
    BL_NEEDS_GPU;
    both_weight w = both_weight_new(f, &s, 1);
    both x = both_random(true, 1, N, 3, 1), y = both_new(BL_F32, true, 1, N), z = both_new(BL_F32, true, 1, N);
    bl_linear_args there = {.x = x.g, .w = {&w.g}, .y = {y.g}}, on = {.x = y.g, .w = {&w.g}, .y = {z.g}},
                   back = {.x = z.g, .w = {&w.g}, .y = {y.g}};
    assert_ok(gpu->ops->linear(gpu, &there, &e));
    for (int i = 0; i < STEPS; i++) {
        assert_ok(gpu->ops->sync(gpu, &e));
        assert_ok(gpu->ops->linear(gpu, i % 2 ? &back : &on, &e));
    }
    float *want = both_got(y);
    assert_ok(gpu->ops->graph_begin(gpu, &e));
    assert_ok(gpu->ops->linear(gpu, &there, &e));
    for (int i = 0; i < STEPS; i++) assert_ok(gpu->ops->linear(gpu, i % 2 ? &back : &on, &e));
    assert_ok(gpu->ops->graph_end(gpu, &g, &e));
    for (int i = 0; i < 20; i++) {
        assert_ok(gpu->ops->fill(gpu, &y.g, 1, &e));
        assert_ok(gpu->ops->fill(gpu, &z.g, 1, &e));
        assert_ok(gpu->ops->graph_replay(gpu, g, &e));
        float *got = both_got(y);
        assert_memory_equal(want, got, N * sizeof *got);
        free(got);
    }
    gpu->ops->graph_free(g);
    free(want);
    both_drop(x);
    both_drop(y);
    both_drop(z);
    both_weight_drop(&w);
}

/* Small ops begin before those before them have ended: a block's worth of them, over and over, by graph. */
static void ops_of_a_graph_wait_for_each_other(void **state)
{
    enum { N = 1024, ROWS = 3, STEPS = 12 };
    const bl_format *f = bl_format_find("int2");
    bl_shape s = both_shape(f, N, N, 128);
    bl_graph *g;
    float *want = NULL;
    const int32_t pos[ROWS] = {0, 3, 1};
    const int64_t place[ROWS] = {1, 0, 2};
    (void)state;
    BL_NEEDS_GPU;
    both_weight w = both_weight_new(f, &s, 1), u = both_weight_new(f, &s, 2);
    both x = both_random(true, ROWS, N, 3, 1), h = both_new(BL_F32, true, ROWS, N), y = both_new(BL_F32, true, ROWS, N),
         z = both_new(BL_F32, true, ROWS, N), by = both_flat(both_random(false, 1, N, 4, 1)),
         c = both_random(false, 8, 32, 2, 1), n = both_random(false, 8, 32, 5, 1), p = both_list(BL_I32, pos, ROWS),
         to = both_list(BL_I64, place, ROWS), start = both_random(true, ROWS, N, 3, 1);
    for (int by_graph = 0; by_graph < 20; by_graph++) {
        if (by_graph != 1)
            assert_ok(gpu->ops->gather(gpu, &(bl_gather_args){.src = start.g, .dst = x.g, .n = ROWS}, &e));
        if (by_graph == 1) assert_ok(gpu->ops->graph_begin(gpu, &e));
        for (int i = 0; i < STEPS && by_graph < 2; i++) {
            const bl_linear_args both = {.x = h.g, .w = {&w.g, &u.g}, .y = {y.g, z.g}};
            const bl_linear_args on = {.x = h.g, .w = {&u.g}, .y = {x.g}, .accumulate = true};
            assert_ok(gpu->ops->rmsnorm(gpu, &(bl_rmsnorm_args){x.g, by.g, h.g, 1e-5}, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
            assert_ok(gpu->ops->linear(gpu, &both, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
            assert_ok(gpu->ops->rope(gpu, &(bl_rope_args){y.g, 64, p.g, c.g, n.g}, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
            assert_ok(gpu->ops->swiglu(gpu, &(bl_swiglu_args){y.g, z.g, y.g}, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
            assert_ok(gpu->ops->gather(gpu, &(bl_gather_args){.src = y.g, .dst = h.g, .to = to.g, .n = ROWS}, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
            assert_ok(gpu->ops->linear(gpu, &on, &e));
            if (!by_graph) assert_ok(gpu->ops->sync(gpu, &e));
        }
        if (by_graph == 1) {
            assert_ok(gpu->ops->graph_end(gpu, &g, &e));
            continue;
        }
        if (by_graph) assert_ok(gpu->ops->graph_replay(gpu, g, &e));
        float *got = both_got(x);
        for (int i = 0; i < ROWS * N; i++) assert_true(isfinite(got[i]));
        if (want) {
            assert_memory_equal(want, got, ROWS * N * sizeof *got);
            free(got);
        } else want = got;
    }
    gpu->ops->graph_free(g);
    free(want);
    const both all[] = {x, h, y, z, by, c, n, p, to, start};
    for (size_t i = 0; i < BL_COUNT(all); i++) both_drop(all[i]);
    both_weight_drop(&w);
    both_weight_drop(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_of_several_weights_are_those_of_plain_c),
        cmocka_unit_test(a_step_is_what_its_ops_are),
        cmocka_unit_test(norms_and_gates_are_made_on_the_way),
        cmocka_unit_test(products_of_a_graph_wait_for_each_other),
        cmocka_unit_test(ops_of_a_graph_wait_for_each_other),
    };
    return gpu_run_tests("gpu_steps", tests);
}
