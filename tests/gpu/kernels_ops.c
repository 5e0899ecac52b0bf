/* The ops of the CUDA backend against plain C, over ragged and awkward shapes: within the rounding of bf16. */
#include "gpu.h"

static const int64_t widths[] = {1, 7, 64, 100, 576, 1024, 1536, 4097};
#define EACH(v, list)                                                                                                  \
    for (size_t i_##v = 0; i_##v < BL_COUNT(list); i_##v++)                                                            \
        for (int64_t v = (list)[i_##v], once_##v = 1; once_##v; once_##v = 0)

static void every_op_is_there(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    for (size_t op[2] = {BL_OP(linear), 0}; op[0] < sizeof(bl_ops); op[0] += sizeof(void (*)(void)))
        assert_ok(bl_check_ops(gpu, op, &e));
}

/* ---- memory ---- */
static void copies_fills_and_limits(void **state)
{
    bl_backend *be;
    bl_buffer *a, *b;
    uint64_t now, peak;
    static uint32_t big[3 << 20], back[3 << 20]; /* more than a pinned piece */
    (void)state;
    BL_NEEDS_GPU;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cuda:0", .memory_limit = 1 << 24}, &be, &e));
    be->ops->memory(be, &now, NULL);
    assert_int_equal(now, 0);
    assert_ok(be->ops->buffer_new(be, sizeof big, &a, &e));
    assert_refused(be->ops->buffer_new(be, 5 << 20, &b, &e), BL_E_DEVMEM, "do not fit");
    for (size_t i = 0; i < BL_COUNT(big); i++) big[i] = (uint32_t)i * 2654435761u;
    bl_tensor t = bl_tensor_1d(a, 0, BL_I32, BL_COUNT(big));
    assert_ok(be->ops->upload(be, &t, big, &e));
    memset(big, 0, 4); /* it has been read */
    assert_ok(be->ops->download(be, &t, back, &e));
    assert_memory_equal(big + 1, back + 1, sizeof big - 4);
    assert_int_equal(back[0], 0);
    t = bl_tensor_1d(a, 8, BL_F64, 3);
    assert_ok(be->ops->fill(be, &t, -2.5, &e));
    double d[3];
    assert_ok(be->ops->download(be, &t, d, &e));
    assert_true(d[0] == -2.5 && d[2] == -2.5);
    be->ops->buffer_free(a);
    be->ops->memory(be, &now, &peak);
    assert_true(now == 0 && peak == sizeof big);
    assert_string_equal(bl_backend_numerics(be), "cuda-bf16");
    bl_device_info f;
    be->ops->device_info(be, &f);
    assert_true(f.name[0] && f.simd[0] && f.threads > 0 && f.memory_bytes > 0 && !f.deterministic);
    bl_backend_close(be);
    assert_refused(bl_backend_open(&(bl_backend_opts){.device = "cuda:99"}, &be, &e), BL_E_UNSUPPORTED, "cuda:0, ");
}

static void graphs_do_again_what_was_recorded_on_what_is_there_then(void **state)
{
    bl_graph *g;
    bl_event *from, *to;
    double s = -1;
    (void)state;
    BL_NEEDS_GPU;
    both x = both_random(true, 5, 64, 1, 1), y = both_new(BL_F32, true, 5, 64),
         w = both_flat(both_random(false, 1, 64, 2, 1));
    bl_rmsnorm_args a = {x.g, w.g, y.g, 1e-5};
    assert_ok(gpu->ops->rmsnorm(gpu, &a, &e));
    assert_ok(gpu->ops->graph_begin(gpu, &e));
    assert_ok(gpu->ops->rmsnorm(gpu, &a, &e));
    assert_ok(gpu->ops->add(gpu, &(bl_add_args){x.g, y.g}, &e));
    assert_ok(gpu->ops->graph_end(gpu, &g, &e));
    for (int i = 0; i < 320; i++) both_f32(x)[i] = (float)i / 64 - 2;
    both_send(x);
    assert_ok(gpu->ops->event_new(gpu, &from, &e));
    assert_ok(gpu->ops->event_new(gpu, &to, &e));
    assert_refused(gpu->ops->event_seconds(from, to, &s, &e), BL_E_INTERNAL, "not recorded");
    assert_ok(gpu->ops->event_record(gpu, from, &e));
    assert_ok(gpu->ops->graph_replay(gpu, g, &e));
    assert_ok(gpu->ops->event_record(gpu, to, &e));
    assert_ok(gpu->ops->event_seconds(from, to, &s, &e));
    assert_true(s > 0);
    assert_ok(cpu->ops->rmsnorm(cpu, &(bl_rmsnorm_args){x.c, w.c, y.c, 1e-5}, &e));
    assert_ok(cpu->ops->add(cpu, &(bl_add_args){x.c, y.c}, &e));
    ASSERT_NEAR(y, 2 * BF16_ROUNDED);
    gpu->ops->graph_free(g);
    gpu->ops->event_free(from);
    gpu->ops->event_free(to);
    both_drop(x);
    both_drop(y);
    both_drop(w);
}

/* The factors of two orders (12 and 20) are both there: what ran between does not reach into a recorded op. */
static void a_recorded_rotation_keeps_the_factor_of_its_order(void **state)
{
    bl_graph *g;
    (void)state;
    BL_NEEDS_GPU;
    both x = both_random(true, 5, 12, 1, 1), y = both_new(BL_F32, true, 5, 12), u = both_random(true, 5, 20, 2, 1),
         v = both_new(BL_F32, true, 5, 20);
    const bl_transform t12 = {BL_T_HADAMARD, 12, 12, {0}}, t20 = {BL_T_HADAMARD, 20, 20, {0}};
    RUN(transform, (&(bl_transform_args){u.c, v.c, &t20, 1}), (&(bl_transform_args){u.g, v.g, &t20, 1}));
    RUN(transform, (&(bl_transform_args){x.c, y.c, &t12, 1}), (&(bl_transform_args){x.g, y.g, &t12, 1}));
    assert_ok(gpu->ops->graph_begin(gpu, &e));
    assert_ok(gpu->ops->transform(gpu, &(bl_transform_args){x.g, y.g, &t12, 1}, &e));
    assert_ok(gpu->ops->graph_end(gpu, &g, &e));
    assert_ok(gpu->ops->transform(gpu, &(bl_transform_args){u.g, v.g, &t20, 1}, &e));
    assert_ok(gpu->ops->fill(gpu, &y.g, 0, &e));
    assert_ok(gpu->ops->graph_replay(gpu, g, &e));
    ASSERT_NEAR(v, BF16_ROUNDED);
    ASSERT_NEAR(y, BF16_ROUNDED);
    gpu->ops->graph_free(g);
    both_drop(x);
    both_drop(y);
    both_drop(u);
    both_drop(v);
}

static void a_second_stream_waits_for_an_event_of_the_first(void **state)
{
    bl_device_stream *s;
    bl_event *v;
    float back[64];
    (void)state;
    BL_NEEDS_GPU;
    both x = both_random(false, 1, 64, 1, 1);
    assert_ok(gpu->ops->stream_new(gpu, &s, &e));
    assert_ok(gpu->ops->event_new(gpu, &v, &e));
    for (int i = 0; i < 20; i++) assert_ok(gpu->ops->fill(gpu, &x.g, i, &e));
    assert_ok(gpu->ops->event_record(gpu, v, &e));
    assert_ok(gpu->ops->stream_use(gpu, s, &e));
    assert_ok(gpu->ops->event_wait(gpu, v, &e));
    assert_ok(gpu->ops->download(gpu, &x.g, back, &e));
    assert_ok(gpu->ops->stream_use(gpu, NULL, &e));
    assert_true(back[0] == 19 && back[63] == 19);
    gpu->ops->event_free(v);
    gpu->ops->stream_free(s);
    both_drop(x);
}

/* ---- rows ---- */
static void norm_gate_sum_and_copies_of_rows(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    EACH(n, widths)
    for (int64_t rows = 0; rows < 40; rows = 2 * rows + 3) {
        both x = both_random(true, rows, n, 1, 3), u = both_random(true, rows, n, 2, 1),
             y = both_new(BL_F32, true, rows, n);
        both w = both_flat(both_random(false, 1, n, 3, 1));
        RUN(rmsnorm, (&(bl_rmsnorm_args){x.c, w.c, y.c, 1e-5}), (&(bl_rmsnorm_args){x.g, w.g, y.g, 1e-5}));
        ASSERT_NEAR(y, BF16_ROUNDED);
        RUN(swiglu, (&(bl_swiglu_args){x.c, u.c, y.c}), (&(bl_swiglu_args){x.g, u.g, y.g}));
        ASSERT_NEAR(y, BF16_ROUNDED);
        both_send(u);
        RUN(add, (&(bl_add_args){x.c, u.c}), (&(bl_add_args){x.g, u.g}));
        ASSERT_NEAR(u, BF16_ROUNDED);
        int64_t from[3] = {rows - 1, 0, rows - 1}, to[3] = {0, rows - 1, 0};
        if (rows > 1) {
            both f = both_list(BL_I64, from, 2), t = both_list(BL_I64, to, 2);
            RUN(gather, (&(bl_gather_args){.src = x.c, .dst = y.c, .from = f.c, .to = t.c, .n = 2}),
                (&(bl_gather_args){.src = x.g, .dst = y.g, .from = f.g, .to = t.g, .n = 2}));
            both some = y;
            some.c = bl_tensor_rows(y.c, 0, 1);
            some.g = bl_tensor_rows(y.g, 0, 1);
            ASSERT_NEAR(some, 0);
            both_drop(f);
            both_drop(t);
        }
        both_drop(x);
        both_drop(u);
        both_drop(y);
        both_drop(w);
    }
}

static void norms_and_gates_of_encoders(void **state)
{
    static const int64_t counts[] = {1, 3, 200};
    (void)state;
    BL_NEEDS_GPU;
    EACH(rows, counts)
    EACH(n, widths)
    {
        both x = both_random(true, rows, n, 1, 3), w = both_flat(both_random(false, 1, n, 2, 1)),
             b = both_flat(both_random(false, 1, n, 3, 1)), y = both_new(BL_F32, true, rows, n);
        bl_layernorm_args norm = {.x = x.c, .weight = w.c, .bias = b.c, .y = y.c, .eps = 1e-12},
                          there = {.x = x.g, .weight = w.g, .bias = b.g, .y = y.g, .eps = 1e-12};
        RUN(layernorm, &norm, &there);
        ASSERT_NEAR(y, BF16_ROUNDED);
        RUN(gelu, (&(bl_gelu_args){x.c, y.c}), (&(bl_gelu_args){x.g, y.g}));
        ASSERT_NEAR(y, BF16_ROUNDED);
        RUN(gelu, (&(bl_gelu_args){x.c, x.c}), (&(bl_gelu_args){x.g, x.g})); /* in place */
        ASSERT_NEAR(x, BF16_ROUNDED);
        both_send(x);
        norm.y = x.c;
        there.y = x.g;
        RUN(layernorm, &norm, &there);
        ASSERT_NEAR(x, BF16_ROUNDED);
        both_drop(x);
        both_drop(w);
        both_drop(b);
        both_drop(y);
    }
}

static void rotary_positions_of_heads(void **state)
{
    static const int64_t heads[] = {2, 6, 16, 64, 128};
    (void)state;
    BL_NEEDS_GPU;
    EACH(head, heads)
    {
        const int32_t pos[] = {0, 3, 1, 7, 7};
        both x = both_random(true, 5, 3 * head, 1, 1), c = both_random(false, 8, head / 2, 2, 1),
             s = both_random(false, 8, head / 2, 3, 1), p = both_list(BL_I32, pos, 5);
        RUN(rope, (&(bl_rope_args){x.c, head, p.c, c.c, s.c}), (&(bl_rope_args){x.g, head, p.g, c.g, s.g}));
        ASSERT_NEAR(x, BF16_ROUNDED);
        both_drop(x);
        both_drop(c);
        both_drop(s);
        both_drop(p);
    }
}

static void statistics_of_channels_are_the_same_numbers(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    both x = both_random(true, 37, 100, 1, 2), most = both_flat(both_random(false, 1, 100, 2, 1)),
         sum = both_flat(both_new(BL_F64, false, 1, 100)), sq = both_flat(both_new(BL_F64, false, 1, 100));
    for (int i = 0; i < 2; i++)
        RUN(channel_stats, (&(bl_channel_stats_args){x.c, most.c, sum.c, sq.c}),
            (&(bl_channel_stats_args){x.g, most.g, sum.g, sq.g}));
    both_equal(most);
    double *a = (double *)both_got(sum), *b = (double *)both_got(sq);
    for (int i = 0; i < 100; i++) {
        assert_true(fabs(a[i] - ((double *)sum.c.buf->data)[i]) <= 1e-12 * a[i]);
        assert_true(fabs(b[i] - ((double *)sq.c.buf->data)[i]) <= 1e-12 * b[i]);
    }
    free(a);
    free(b);
    both_drop(x);
    both_drop(most);
    both_drop(sum);
    both_drop(sq);
}

/* ---- attention ---- */
typedef struct lists {
    int32_t n_seq, start[8], past[8], seg_start[8];
    int64_t seg[32];
    int64_t n_seg, rows, cache;
} lists;

static void attend(int64_t heads, int64_t kv_heads, int64_t dim, const lists *l)
{
    bl_kv_view kc, kg;
    bl_buffer *bc, *bg;
    const bl_kv_shape shape = {BL_KV_ACT, l->cache, 0, kv_heads, dim};
    both q = both_random(true, l->rows, heads * dim, 1, 1), y = both_new(BL_F32, true, l->rows, heads * dim);
    both k = both_random(true, l->cache, kv_heads * dim, 2, 1), v = both_random(true, l->cache, kv_heads * dim, 3, 1);
    int64_t to[512];
    assert_ok(cpu->ops->buffer_new(cpu, bl_kv_view_bytes(cpu, &shape), &bc, &e));
    assert_ok(gpu->ops->buffer_new(gpu, bl_kv_view_bytes(gpu, &shape), &bg, &e));
    kc = bl_kv_view_at(bc, 0, &shape);
    kg = bl_kv_view_at(bg, 0, &shape);
    for (int64_t i = 0; i < l->cache; i++) to[i] = (i * 7 + 3) % l->cache; /* 7 does not divide it */
    both t = both_list(BL_I64, to, l->cache), start = both_list(BL_I32, l->start, l->n_seq + 1),
         past = both_list(BL_I32, l->past, l->n_seq), ss = both_list(BL_I32, l->seg_start, l->n_seq + 1),
         seg = both_list(BL_I64, l->seg, 2 * l->n_seg);
    RUN(kv_append, (&(bl_kv_append_args){.kv = kc, .k = k.c, .v = v.c, .to = t.c}),
        (&(bl_kv_append_args){.kv = kg, .k = k.g, .v = v.g, .to = t.g}));
    bl_attention_args a = {.q = q.c,
                           .kv = kc,
                           .y = y.c,
                           .heads = heads,
                           .scale = 1 / sqrt((double)dim),
                           .n_seq = l->n_seq,
                           .start = start.c,
                           .past = past.c,
                           .seg = bl_tensor_2d(seg.c.buf, 0, BL_I64, l->n_seg, 2),
                           .seg_start = ss.c},
                      b = a;
    b.q = q.g;
    b.kv = kg;
    b.y = y.g;
    b.start = start.g;
    b.past = past.g;
    b.seg = bl_tensor_2d(seg.g.buf, 0, BL_I64, l->n_seg, 2);
    b.seg_start = ss.g;
    RUN(attention, &a, &b);
    double d = both_nmse(y);
    if (!(d <= 6e-5)) /* probabilities are rounded too */
        fail_msg("%d heads of %d, %d of keys, %d rows: error %g", (int)heads, (int)dim, (int)kv_heads, (int)l->rows, d);
    both_drop(q);
    both_drop(y);
    both_drop(k);
    both_drop(v);
    both_drop(t);
    both_drop(start);
    both_drop(past);
    both_drop(ss);
    both_drop(seg);
    cpu->ops->buffer_free(bc);
    gpu->ops->buffer_free(bg);
}

static void attention_over_segments_of_ragged_sequences(void **state)
{
    static const struct {
        int64_t heads, kv, dim;
    } shapes[] = {{1, 1, 8},  {4, 4, 16}, {9, 3, 64},  {8, 1, 64}, {4, 2, 128},
                  {2, 1, 36}, {3, 3, 5},  {2, 2, 256}, {14, 2, 64}};
    static const lists all[] = {
        /* prompts of 1, 65, 0 and 130 rows, the second after 70 positions in two segments */
        {4,
         {0, 1, 66, 66, 196},
         {0, 70, 0, 0},
         {0, 1, 4, 4, 5},
         {400, 1, 0, 40, 100, 30, 200, 65, 270, 130},
         5,
         196,
         401},
        /* decoding: a row each after 0, 300 and 17 */
        {3, {0, 1, 2, 3}, {0, 300, 17}, {0, 1, 3, 4}, {400, 1, 0, 290, 390, 11, 350, 18}, 4, 3, 401},
        /* the same in a cache that is not cut into parts */
        {2, {0, 1, 2}, {0, 60}, {0, 1, 2}, {100, 1, 20, 61}, 2, 2, 120},
        /* two rows of one, none of another, one that nobody asked for */
        {2, {0, 2, 2}, {129, 0}, {0, 1, 1}, {5, 131}, 1, 3, 401},
        /* nothing */
        {0, {0}, {0}, {0}, {0, 1}, 1, 0, 401},
    };
    (void)state;
    BL_NEEDS_GPU;
    for (size_t s = 0; s < BL_COUNT(shapes); s++)
        for (size_t l = 0; l < BL_COUNT(all); l++) attend(shapes[s].heads, shapes[s].kv, shapes[s].dim, &all[l]);
}

/* What the attention has left of a row is not made again, and the gradient of scores is kept for queries; of the long
 * sequence there is room for one head of keys at a time. */
static void go_back(int64_t heads, int64_t kv_heads, int64_t dim, int32_t n, const int32_t *starts)
{
    const int64_t rows = starts[n], q_dim = heads * dim, kv_dim = kv_heads * dim;
    both q = both_random(true, rows, q_dim, 1, 1), k = both_random(true, rows, kv_dim, 2, 1),
         v = both_random(true, rows, kv_dim, 3, 1), y = both_new(BL_F32, true, rows, q_dim),
         dy = both_random(true, rows, q_dim, 5, 1), sums = both_random(false, heads, rows, 6, 1);
    both d[] = {both_random(true, rows, q_dim, 7, 1), both_random(true, rows, kv_dim, 8, 1),
                both_random(true, rows, kv_dim, 9, 1)};
    int32_t past[8] = {0}, seg_start[9];
    int64_t seg[16], longest = 0;
    for (int32_t i = 0; i <= n; i++) seg_start[i] = i;
    for (int32_t i = 0; i < n; i++) {
        seg[2 * i] = starts[i];
        seg[2 * i + 1] = starts[i + 1] - starts[i];
        longest = BL_MAX(longest, seg[2 * i + 1]);
    }
    both start = both_list(BL_I32, starts, n + 1), before = both_list(BL_I32, past, n),
         at = both_list(BL_I32, seg_start, n + 1), segs = both_list(BL_I64, seg, 2 * n);
    const double scale = 1 / sqrt((double)dim);
    assert_ok(gpu->ops->attention(
        gpu,
        &(bl_attention_args){
            .q = q.g,
            .kv = {.format = BL_KV_ACT, .rows = rows, .heads = kv_heads, .head_dim = dim, .k = k.g, .v = v.g},
            .y = y.g,
            .heads = heads,
            .scale = scale,
            .n_seq = n,
            .start = start.g,
            .past = before.g,
            .seg = bl_tensor_2d(segs.g.buf, 0, BL_I64, n, 2),
            .seg_start = at.g,
            .sums = sums.g},
        &e));
    float *made = both_got(y);
    memcpy(both_f32(y), made, (size_t)(rows * q_dim) * sizeof *made);
    free(made);
    bl_attention_grad_args a = {.q = q.c,
                                .k = k.c,
                                .v = v.c,
                                .y = y.c,
                                .dy = dy.c,
                                .dq = d[0].c,
                                .dk = d[1].c,
                                .dv = d[2].c,
                                .heads = heads,
                                .kv_heads = kv_heads,
                                .head_dim = dim,
                                .scale = scale,
                                .n_seq = n,
                                .start = start.c},
                           b = a;
    bl_tensor *on_gpu[] = {&b.q, &b.k, &b.v, &b.y, &b.dy, &b.dq, &b.dk, &b.dv};
    const both *of[] = {&q, &k, &v, &y, &dy, d, d + 1, d + 2};
    for (int i = 0; i < 8; i++) *on_gpu[i] = of[i]->g;
    b.start = start.g;
    b.sums = sums.g;
    b.longest = longest;
    RUN(attention_grad, &a, &b);
    for (int i = 0; i < 3; i++) {
        double off = both_nmse(d[i]);
        if (!(off <= 1e-4)) /* probabilities and their gradients are rounded too */
            fail_msg("%d heads of %d, %d of keys, %d rows: d%c is off by %g", (int)heads, (int)dim, (int)kv_heads,
                     (int)rows, "qkv"[i], off);
    }
    for (int i = 0; i < 8; i++) both_drop(*of[i]);
    both_drop(sums);
    both_drop(start);
    both_drop(before);
    both_drop(at);
    both_drop(segs);
}

static void a_gradient_begins_with_what_attention_has_left(void **state)
{
    static const struct {
        int64_t heads, kv, dim;
    } shapes[] = {{4, 2, 128}, {4, 1, 96}, {3, 3, 128}, {4, 2, 64}, {2, 1, 36}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t s = 0; s < BL_COUNT(shapes); s++) {
        go_back(shapes[s].heads, shapes[s].kv, shapes[s].dim, 1, (const int32_t[]){0, 200});
        go_back(shapes[s].heads, shapes[s].kv, shapes[s].dim, 1, (const int32_t[]){0, 1});
        go_back(shapes[s].heads, shapes[s].kv, shapes[s].dim, 4, (const int32_t[]){0, 1, 130, 130, 322});
    }
    go_back(2, 2, 128, 1, (const int32_t[]){0, 1500});
}

/* A part of a cache of codes: the same bytes. */
static void same_bytes(const bl_tensor *c, const bl_tensor *g)
{
    void *bytes = malloc(bl_tensor_bytes(g));
    assert_int_equal(bl_tensor_bytes(c), bl_tensor_bytes(g));
    assert_ok(gpu->ops->download(gpu, g, bytes, &e));
    assert_memory_equal(bytes, (char *)c->buf->data + c->offset, bl_tensor_bytes(c));
    free(bytes);
}

/* Three sequences in four calls: prompts, prompts that go on inside a group of keys, and two steps of decoding, the
 * first of which ends a group. */
static void attend_codes(int64_t heads, int64_t kv_heads, int64_t dim, bl_kv_format f)
{
    enum { SEQS = 3, LONG = 192 };
    static const int32_t more[][SEQS] = {{70, 0, 17}, {89, 130, 14}, {1, 1, 1}, {1, 1, 1}};
    const bl_kv_shape shape = {f, SEQS * LONG, SEQS, kv_heads, dim};
    int32_t past[SEQS] = {0};
    bl_buffer *bc, *bg;
    assert_ok(cpu->ops->buffer_new(cpu, bl_kv_view_bytes(cpu, &shape), &bc, &e));
    assert_ok(gpu->ops->buffer_new(gpu, bl_kv_view_bytes(gpu, &shape), &bg, &e));
    memset(bc->data, 0, bc->bytes);
    bl_tensor all = bl_tensor_1d(bg, 0, BL_U8, (int64_t)bg->bytes);
    assert_ok(gpu->ops->upload(gpu, &all, bc->data, &e));
    const bl_kv_view kc = bl_kv_view_at(bc, 0, &shape), kg = bl_kv_view_at(bg, 0, &shape);
    for (size_t call = 0; call < BL_COUNT(more); call++) {
        int64_t to[SEQS * LONG], tail[SEQS * LONG], from[SEQS * 32], keep[SEQS * 32], seg[2 * SEQS], n_keep = 0;
        int32_t start[SEQS + 1] = {0}, seg_start[SEQS + 1] = {0};
        bl_kv_own own[SEQS];
        for (int s = 0; s < SEQS; s++) {
            int32_t n = more[call][s], row = start[s], last = past[s] + n - 1;
            own[s] = (bl_kv_own){s * 32, past[s], row};
            for (int32_t i = 0; i < n; i++) {
                to[row + i] = s * LONG + past[s] + i;
                tail[row + i] = s * 32 + (past[s] + i) % 32;
                if ((past[s] + i) / 32 != last / 32) continue;
                from[n_keep] = row + i;
                keep[n_keep++] = tail[row + i];
            }
            start[s + 1] = row + n;
            seg_start[s + 1] = s + 1;
            seg[2 * s] = s * LONG;
            seg[2 * s + 1] = past[s] + n;
        }
        int64_t rows = start[SEQS];
        both q = both_random(true, rows, heads * dim, 4 * call + 1, 1), y = both_new(BL_F32, true, rows, heads * dim),
             k = both_random(true, rows, kv_heads * dim, 4 * call + 2, 1),
             v = both_random(true, rows, kv_heads * dim, 4 * call + 3, 1), t = both_list(BL_I64, to, rows),
             tl = both_list(BL_I64, tail, rows), st = both_list(BL_I32, start, SEQS + 1),
             pa = both_list(BL_I32, past, SEQS), ss = both_list(BL_I32, seg_start, SEQS + 1),
             sg = both_list(BL_I64, seg, 2 * SEQS), ow = both_list(BL_I64, own, 3 * SEQS),
             fr = both_list(BL_I64, from, n_keep), ke = both_list(BL_I64, keep, n_keep);
        RUN(kv_append, (&(bl_kv_append_args){kc, k.c, v.c, t.c, tl.c}),
            (&(bl_kv_append_args){kg, k.g, v.g, t.g, tl.g}));
        same_bytes(&kc.k, &kg.k);
        same_bytes(&kc.v, &kg.v);
        same_bytes(&kc.k_scale, &kg.k_scale);
        same_bytes(&kc.v_scale, &kg.v_scale);
        bl_attention_args a = {.q = q.c,
                               .kv = kc,
                               .y = y.c,
                               .heads = heads,
                               .scale = 1 / sqrt((double)dim),
                               .n_seq = SEQS,
                               .start = st.c,
                               .past = pa.c,
                               .seg = bl_tensor_2d(sg.c.buf, 0, BL_I64, SEQS, 2),
                               .seg_start = ss.c,
                               .fresh = k.c,
                               .own = bl_tensor_2d(ow.c.buf, 0, BL_I64, SEQS, 3)},
                          b = a;
        b.q = q.g;
        b.kv = kg;
        b.y = y.g;
        b.start = st.g;
        b.past = pa.g;
        b.seg = bl_tensor_2d(sg.g.buf, 0, BL_I64, SEQS, 2);
        b.seg_start = ss.g;
        b.fresh = k.g;
        b.own = bl_tensor_2d(ow.g.buf, 0, BL_I64, SEQS, 3);
        RUN(attention, &a, &b);
        double d = both_nmse(y);
        if (!(d <= 6e-5))
            fail_msg("%d heads of %d, %d of keys, format %d, call %d: error %g", (int)heads, (int)dim, (int)kv_heads,
                     (int)f, (int)call, d);
        RUN(gather, (&(bl_gather_args){k.c, kc.k_tail, fr.c, ke.c, n_keep}),
            (&(bl_gather_args){k.g, kg.k_tail, fr.g, ke.g, n_keep}));
        for (int s = 0; s < SEQS; s++) past[s] += more[call][s];
        both drop[] = {q, y, k, v, t, tl, st, pa, ss, sg, ow, fr, ke};
        for (size_t i = 0; i < BL_COUNT(drop); i++) both_drop(drop[i]);
    }
    cpu->ops->buffer_free(bc);
    gpu->ops->buffer_free(bg);
}

static void attention_over_codes_of_sequences_that_go_on(void **state)
{
    static const struct {
        int64_t heads, kv, dim;
    } shapes[] = {{1, 1, 8}, {9, 3, 64}, {4, 2, 128}, {2, 1, 36}, {3, 3, 5}, {2, 2, 256}, {14, 2, 64}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t s = 0; s < BL_COUNT(shapes); s++)
        for (int f = BL_KV_INT8; bl_kv_formats[f]; f++)
            attend_codes(shapes[s].heads, shapes[s].kv, shapes[s].dim, (bl_kv_format)f);
}

/* ---- logits ---- */
static void losses_and_divergences_are_those_of_plain_c(void **state)
{
    static const int64_t vocabs[] = {1, 5, 512, 1000, 49152};
    (void)state;
    BL_NEEDS_GPU;
    EACH(n, vocabs)
    {
        enum { ROWS = 6 };
        both p = both_random(false, ROWS, n, 1, 4), q = both_random(false, ROWS, n, 2, 4);
        int32_t target[ROWS] = {0, (int32_t)n - 1, -1, (int32_t)n / 2, 0, (int32_t)n / 3};
        both_f32(p)[4 * n + n / 2] = NAN;
        both_f32(q)[5 * n] = both_f32(q)[5 * n + n / 2] = 50; /* a tie: the first */
        both_send(p);
        both_send(q);
        both t = both_list(BL_I32, target, ROWS), nll = both_flat(both_new(BL_F64, false, 1, ROWS)),
             top = both_flat(both_new(BL_I32, false, 1, ROWS)), dp = both_flat(both_new(BL_F64, false, 1, ROWS));
        both of[2] = {p, q};
        for (int k = 0; k < 4; k++) { /* the last two: no token is asked for */
            const bl_tensor none = {0};
            RUN(loss, (&(bl_loss_args){of[k % 2].c, n, k < 2 ? t.c : none, nll.c, top.c}),
                (&(bl_loss_args){of[k % 2].g, n, k < 2 ? t.g : none, nll.g, top.g}));
            double *a = nll.c.buf->data, *b = (double *)both_got(nll);
            int32_t *ta = top.c.buf->data, *tb = (int32_t *)both_got(top);
            for (int i = 0; i < ROWS; i++) {
                if (isnan(a[i])) assert_true(isnan(b[i]));
                else assert_true(fabs(a[i] - b[i]) <= 1e-6 * (1 + fabs(a[i])));
                if (!isnan(a[i])) assert_int_equal(ta[i], tb[i]);
            }
            free(b);
            free(tb);
        }
        target[2] = 0;
        memcpy(t.c.buf->data, target, sizeof target);
        both_send(t);
        RUN(kl_div, (&(bl_kl_div_args){p.c, q.c, n, t.c, nll.c, dp.c, top.c, 0}),
            (&(bl_kl_div_args){p.g, q.g, n, t.g, nll.g, dp.g, top.g, 0}));
        both floored = both_flat(both_new(BL_F64, false, 1, ROWS));
        RUN(kl_div, (&(bl_kl_div_args){p.c, q.c, n, t.c, floored.c, dp.c, top.c, 1e-6}),
            (&(bl_kl_div_args){p.g, q.g, n, t.g, floored.g, dp.g, top.g, 1e-6}));
        double *kl = (double *)both_got(floored), *plain = floored.c.buf->data;
        for (int64_t i = 0; i < ROWS; i++)
            assert_true(isnan(kl[i]) == isnan(plain[i]) && !(fabs(kl[i] - plain[i]) > 1e-5 * (1 + fabs(plain[i]))));
        free(kl);
        both_drop(floored);
        double *a = nll.c.buf->data, *b = (double *)both_got(nll), *c = dp.c.buf->data, *d = (double *)both_got(dp);
        int32_t *ta = top.c.buf->data, *tb = (int32_t *)both_got(top);
        for (int i = 0; i < ROWS; i++) {
            assert_true(isnan(a[i]) == isnan(b[i]) && isnan(c[i]) == isnan(d[i]));
            if (isnan(a[i])) continue;
            assert_true(fabs(a[i] - b[i]) <= 1e-5 * (1 + fabs(a[i])) && fabs(c[i] - d[i]) <= 1e-6);
            assert_int_equal(ta[i], tb[i]);
        }
        free(b);
        free(d);
        free(tb);
        both_drop(p);
        both_drop(q);
        both_drop(t);
        both_drop(nll);
        both_drop(top);
        both_drop(dp);
    }
}

/* Without top_p a draw goes by id on both; with it the device keeps the same tokens, in another order. */
static void draws_come_from_the_same_distribution(void **state)
{
    enum { VOCAB = 300, DRAWS = 4000 };
    (void)state;
    BL_NEEDS_GPU;
    both one = both_random(false, 1, VOCAB, 1, 2), x = both_new(BL_F32, false, DRAWS, VOCAB);
    for (int64_t i = 0; i < DRAWS; i++) memcpy(both_f32(x) + i * VOCAB, both_f32(one), VOCAB * sizeof(float));
    both_send(x);
    double u[DRAWS];
    for (int i = 0; i < DRAWS; i++) u[i] = (i + 0.5) / DRAWS;
    both us = both_list(BL_F64, u, DRAWS), ids = both_flat(both_new(BL_I32, false, 1, DRAWS));
    static const double tops[] = {0, 1, 0.9, 0.3, 1e-9};
    for (size_t k = 0; k < BL_COUNT(tops); k++) {
        int count[2][VOCAB] = {{0}};
        RUN(sample, (&(bl_sample_args){x.c, VOCAB, 0.7, tops[k], us.c, ids.c}),
            (&(bl_sample_args){x.g, VOCAB, 0.7, tops[k], us.g, ids.g}));
        int32_t *b = (int32_t *)both_got(ids), *a = ids.c.buf->data;
        for (int i = 0; i < DRAWS; i++) {
            assert_true(b[i] >= 0 && b[i] < VOCAB);
            count[0][a[i]]++;
            count[1][b[i]]++;
        }
        for (int i = 0; i < VOCAB; i++) /* u is evenly spaced: a token gets its share within one at each end */
            if (abs(count[0][i] - count[1][i]) > 2)
                fail_msg("top_p %g: token %d is drawn %d times, by plain C %d", tops[k], i, count[1][i], count[0][i]);
        free(b);
    }
    RUN(sample, (&(bl_sample_args){.logits = x.c, .vocab = VOCAB, .ids = ids.c}),
        (&(bl_sample_args){.logits = x.g, .vocab = VOCAB, .ids = ids.g}));
    both_equal(ids);
    both_drop(one);
    both_drop(x);
    both_drop(us);
    both_drop(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_there),
        cmocka_unit_test(copies_fills_and_limits),
        cmocka_unit_test(graphs_do_again_what_was_recorded_on_what_is_there_then),
        cmocka_unit_test(a_recorded_rotation_keeps_the_factor_of_its_order),
        cmocka_unit_test(a_second_stream_waits_for_an_event_of_the_first),
        cmocka_unit_test(norm_gate_sum_and_copies_of_rows),
        cmocka_unit_test(norms_and_gates_of_encoders),
        cmocka_unit_test(rotary_positions_of_heads),
        cmocka_unit_test(statistics_of_channels_are_the_same_numbers),
        cmocka_unit_test(attention_over_segments_of_ragged_sequences),
        cmocka_unit_test(attention_over_codes_of_sequences_that_go_on),
        cmocka_unit_test(a_gradient_begins_with_what_attention_has_left),
        cmocka_unit_test(losses_and_divergences_are_those_of_plain_c),
        cmocka_unit_test(draws_come_from_the_same_distribution),
    };
    return gpu_run_tests("gpu_ops", tests);
}
