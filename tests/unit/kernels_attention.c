/* Attention and the cache of keys and values, on every backend of a CPU and on the reference: examples small enough for
 * paper, equal bits. */
#include "ops_fixture.h"

static bl_attention_args attention_of(bl_tensor q, bl_tensor k, bl_tensor v, bl_tensor y, int64_t heads, int64_t kv,
                                      int64_t dim)
{
    return (bl_attention_args){.q = q,
                               .kv = {.rows = k.dim[0], .heads = kv, .head_dim = dim, .k = k, .v = v},
                               .y = y,
                               .heads = heads,
                               .scale = 1 / sqrt((double)dim)};
}

static void attention_is_a_weighted_mean_of_what_came_before(void **state)
{
    bl_tensor q = with(2, 2, (float[]){1, 0, 1, 0}), k = with(2, 2, (float[]){0, 7, 2, 7}),
              v = with(2, 2, (float[]){1, 2, 3, 4}), y = make(BL_F32, 2, 2);
    double p = 1 / (1 + exp(2 / sqrt(2))); /* share of the first key in the second row */
    (void)state;
    EACH(be)
    {
        bl_attention_args a = attention_of(q, k, v, y, 1, 1, 2);
        a.n_seq = 1;
        a.start = I32(0, 2);
        a.past = I32(0);
        a.seg = SEGMENTS(0, 2);
        a.seg_start = I32(0, 1);
        assert_ok(be->ops->attention(be, &a, &e));
        assert_true(f32(y)[0] == 1 && f32(y)[1] == 2);
        assert_true(fabs(f32(y)[2] - (p + 3 * (1 - p))) < 1e-6 && fabs(f32(y)[3] - (2 * p + 4 * (1 - p))) < 1e-6);
        a.seg = SEGMENTS(1, 2);
        assert_refused(be->ops->attention(be, &a, &e), BL_E_INTERNAL, "outside");
        a.seg = SEGMENTS(0, 1);
        assert_refused(be->ops->attention(be, &a, &e), BL_E_INTERNAL, "segments hold 1 positions, 2 expected");
    }
    drop(q);
    drop(k);
    drop(v);
    drop(y);
}

static void keys_and_values_go_to_their_rows_of_the_cache(void **state)
{
    bl_tensor k = with(2, 2, (float[]){1, 2, 3, 4}), v = with(2, 2, (float[]){5, 6, 7, 8});
    (void)state;
    EACH(be)
    {
        bl_kv_view cache = {.rows = 3, .heads = 1, .head_dim = 2, .k = make(BL_F32, 3, 2), .v = make(BL_F32, 3, 2)};
        bl_kv_append_args a = {.kv = cache, .k = k, .v = v, .to = I64(2, 0)};
        assert_ok(be->ops->kv_append(be, &a, &e));
        assert_memory_equal(f32(cache.k), ((float[]){3, 4, 0, 0, 1, 2}), 24);
        assert_memory_equal(f32(cache.v), ((float[]){7, 8, 0, 0, 5, 6}), 24);
        a.to = I64(2, 3);
        assert_refused(be->ops->kv_append(be, &a, &e), BL_E_INTERNAL, "row 3 is outside the cache of 3");
        a.to = I64(2);
        assert_refused(be->ops->kv_append(be, &a, &e), BL_E_INTERNAL, "another shape");
        drop(cache.k);
        drop(cache.v);
    }
    drop(k);
    drop(v);
}

static bl_kv_view cache_of(bl_backend *be, bl_kv_format f, int64_t rows, int64_t slots, int64_t heads, int64_t dim)
{
    const bl_kv_shape shape = {f, rows, slots, heads, dim};
    uint64_t bytes = bl_kv_view_bytes(be, &shape);
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, bytes, &b, &e));
    memset(b->data, 0xff, bytes); /* no number in any type */
    return bl_kv_view_at(b, 0, &shape);
}
static void *at(const bl_tensor *t) { return (char *)t->buf->data + t->offset; }

/* scale = max |x| / 127; 2 of 4 is code 63.5, which is 64 as the even one of its neighbours. */
static void an_int8_cache_holds_codes_and_a_scale_for_the_values_of_every_row_and_head(void **state)
{
    bl_tensor v = with(2, 4, (float[]){4, -2, 0, 0, 1, 127, 1e-44f, 0.5f}),
              odd = with(2, 4, (float[]){1, NAN, 1, 3, 1, 2, 3, INFINITY});
    (void)state;
    EACH(be)
    {
        bl_kv_view c = cache_of(be, BL_KV_INT8, 3, 1, 2, 2);
        assert_ok(be->ops->kv_append(be, &(bl_kv_append_args){.kv = c, .v = v, .to = I64(2, 0)}, &e));
        const int8_t *codes = at(&c.v);
        const float *scale = at(&c.v_scale);
        assert_memory_equal(codes, ((int8_t[]){1, 127, 0, 127}), 4);
        assert_memory_equal(codes + 8, ((int8_t[]){127, -64, 0, 0}), 4);
        assert_true(scale[0] == 1 && scale[1] == 0.5f / 127 && scale[4] == 4.0f / 127 && scale[5] == 1);
        assert_ok(be->ops->kv_append(be, &(bl_kv_append_args){.kv = c, .v = odd, .to = I64(2, 0)}, &e));
        assert_true(isnan(scale[4]) && scale[5] == 3.0f / 127 && scale[0] == 2.0f / 127 && isnan(scale[1]));
        be->ops->buffer_free(c.k.buf);
    }
    drop(v);
    drop(odd);
}

/* Decoded here, a bit at a time. */
static int code_in(const uint8_t *p, int bits, int64_t i)
{
    int q = 0;
    for (int b = 0; b < bits; b++) q |= (p[(i * bits + b) / 8] >> (i * bits + b) % 8 & 1) << b;
    return q;
}

/* 8.5 of a step of 1 goes to the even one. What fp16 cannot hold makes the step NaN. */
static void a_cache_of_few_bits_holds_a_step_and_the_least_of_every_32_values(void **state)
{
    /* fp16 has 2048 and no 2049: the step leads from there to the largest */
    bl_tensor v = with(3, 4, (float[]){0, 15, 7, 8.5f, 1, 1e6f, 0, 0, 2049, 2064, 2058, 2049});
    (void)state;
    EACH(be)
    {
        bl_kv_view c = cache_of(be, BL_KV_INT4, 3, 1, 1, 4);
        assert_ok(be->ops->kv_append(be, &(bl_kv_append_args){.kv = c, .v = v, .to = I64(0, 1, 2)}, &e));
        const uint8_t *codes = at(&c.v);
        const uint16_t *step = at(&c.v_scale);
        assert_true(codes[0] == (0 | 15 << 4) && codes[1] == (7 | 8 << 4));
        assert_true(bl_f16_to_f32(step[0]) == 1 && bl_f16_to_f32(step[1]) == 0 && isnan(bl_f16_to_f32(step[2])));
        assert_true(fabsf(bl_f16_to_f32(step[4]) - 16 / 15.0f) < 1e-3f && bl_f16_to_f32(step[5]) == 2048);
        assert_true(code_in(codes + 2 * c.v.stride[0], 4, 0) == 1 && code_in(codes + 2 * c.v.stride[0], 4, 2) == 9);
        be->ops->buffer_free(c.k.buf);
    }
    drop(v);
}

/* Two bits from 1 to 2.5 are a step of 1/2. Codes come with the last of 32 positions, whichever call brings the others;
 * a channel that is one number has codes 0, one with a number that fp16 has not has no step. */
static void keys_of_32_positions_have_a_step_and_the_least_of_every_channel(void **state)
{
    static const float some[] = {1, 2.5f, 1.5f, 2.2f};
    static const uint8_t code[] = {0, 3, 1, 2};
    bl_tensor k = make(BL_F32, 40, 4);
    int64_t to[40], tail[40], other[40];
    (void)state;
    for (int i = 0; i < 40; i++) {
        to[i] = i < 32 ? 32 + i : i - 32; /* the second group of the cache, then the first */
        tail[i] = 32 + i % 32;            /* the second slot */
        memcpy(f32(k) + 4 * i, ((float[]){some[i % 4], -3, i == 5 ? NAN : 1, i == 6 ? 1e6f : 1}), 16);
    }
    EACH(be)
    for (int whole = 0; whole < 3; whole++) { /* in two calls, in one, in two with another sequence before the rest */
        bl_kv_view c = cache_of(be, BL_KV_INT2, 70, 2, 1, 4);
        const uint8_t *codes = at(&c.k);
        const uint16_t *step = (uint16_t *)at(&c.k_scale) + 8;
        int64_t n = whole == 1 ? 40 : 21;
        bl_kv_append_args a = {
            .kv = c, .k = bl_tensor_rows(k, 0, n), .to = VIEW_OF(to, BL_I64, n), .tail = VIEW_OF(tail, BL_I64, n)};
        assert_ok(be->ops->kv_append(be, &a, &e));
        if (whole == 2) {
            bl_tensor mixed = make(BL_F32, 19, 4);
            const int64_t where[] = {0, 1, 2, 3, 4, 5, 6, 7, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63},
                          last[] = {0, 1, 2, 3, 4, 5, 6, 7, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
            memcpy(bl_cpu_row(&c.k_tail, 32), f32(k), 21 * 16);
            for (int i = 0; i < 8; i++) memcpy(f32(mixed) + 4 * i, (float[]){9, 9, 9, 9}, 16);
            memcpy(f32(mixed) + 4 * 8, f32(k) + 4 * 21, 11 * 16);
            bl_kv_append_args rest = a;
            rest.k = mixed;
            rest.to = VIEW_OF(where, BL_I64, 19);
            rest.tail = VIEW_OF(last, BL_I64, 19);
            assert_ok(be->ops->kv_append(be, &rest, &e));
            drop(mixed);
        }
        if (!whole) {
            assert_int_equal(step[0], 0xffff); /* nothing yet */
            memcpy(bl_cpu_row(&c.k_tail, 32), f32(k), 21 * 16);
            bl_kv_append_args rest = a;
            rest.k = bl_tensor_rows(k, 21, 19);
            rest.to = VIEW_OF(to + 21, BL_I64, 19);
            rest.tail = VIEW_OF(tail + 21, BL_I64, 19);
            assert_ok(be->ops->kv_append(be, &rest, &e));
        }
        for (int i = 0; i < 32; i++) assert_int_equal(codes[32 + i], code[i % 4]);
        assert_true(bl_f16_to_f32(step[0]) == 0.5f && bl_f16_to_f32(step[4]) == 1);
        assert_true(bl_f16_to_f32(step[1]) == 1 && bl_f16_to_f32(step[5]) == -3);
        assert_true(isnan(bl_f16_to_f32(step[2])) && isnan(bl_f16_to_f32(step[3])));
        assert_true(codes[0] == 0xff && step[-8] == 0xffff); /* a group that is not full */
        for (int i = 0; i < 40; i++) other[i] = 40;
        a.tail = VIEW_OF(other, BL_I64, bl_tensor_count(&a.to));
        assert_refused(be->ops->kv_append(be, &a, &e), BL_E_INTERNAL, "of the last keys is not that of cache row");
        be->ops->buffer_free(c.k.buf);
    }
    drop(k);
}

static float key_in(const bl_kv_view *c, int64_t row, int64_t head, int64_t d)
{
    int bits = bl_kv_bits(c->format);
    const uint16_t *s = (uint16_t *)at(&c->k_scale) + row / 32 * c->k_scale.stride[0] + head * 2 * c->head_dim + d;
    const uint8_t *p = (uint8_t *)at(&c->k) + row * c->k.stride[0] + head * ((c->head_dim * bits + 7) / 8);
    return (float)code_in(p, bits, d) * bl_f16_to_f32(s[0]) + bl_f16_to_f32(s[c->head_dim]);
}
static float value_in(const bl_kv_view *c, int64_t row, int64_t head, int64_t d)
{
    int bits = bl_kv_bits(c->format);
    if (bits == 8)
        return (float)((int8_t *)at(&c->v))[row * c->v.stride[0] + head * c->head_dim + d] *
               ((float *)at(&c->v_scale))[row * c->heads + head];
    const uint16_t *s = (uint16_t *)at(&c->v_scale) + row * c->v_scale.stride[0] +
                        head * ((c->head_dim + 31) / 32 * 2) + d / 32 * 2;
    const uint8_t *p = (uint8_t *)at(&c->v) + row * c->v.stride[0] + head * ((c->head_dim * bits + 7) / 8);
    return (float)code_in(p, bits, d) * bl_f16_to_f32(s[0]) + bl_f16_to_f32(s[1]);
}

/* Attention over codes has the bits of attention over what they stand for, where each query sees the keys of its own 32
 * positions as they came; in one call and in two, which part a group. */
static void attention_over_codes_is_that_over_their_values(void **state)
{
    enum { N = 150, ROWS = 160, FIRST = 40 };
    static const struct {
        int64_t heads, kv, dim;
    } shape[] = {{9, 3, 64}, {2, 1, 20}, {3, 1, 34}, {5, 1, 128}};
    static const double most[] = {[BL_KV_INT8] = 3e-5, [BL_KV_INT4] = 0.01, [BL_KV_INT3] = 0.05, [BL_KV_INT2] = 0.2};
    static const int64_t group[] = {3, 0, 4, 1, 2};
    int64_t row[N], tail[N];
    bl_kv_seg seg[5];
    (void)state;
    for (int i = 0; i < N; i++) {
        row[i] = group[i / 32] * 32 + i % 32;
        tail[i] = 32 + i % 32;
    }
    for (int i = 0; i < 5; i++) seg[i] = (bl_kv_seg){group[i] * 32, BL_MIN(N - i * 32, 32)};
    for (size_t s = 0; s < BL_COUNT(shape); s++)
        for (int f = BL_KV_INT8; f <= BL_KV_INT2; f++) {
            int64_t h = shape[s].heads, kv = shape[s].kv, d = shape[s].dim;
            bl_tensor q = random_f32(N, h * d, 1, 2), k = random_f32(N, kv * d, 2, 2), v = random_f32(N, kv * d, 3, 2),
                      ku = make(BL_F32, ROWS, kv * d), vu = make(BL_F32, ROWS, kv * d), y = make(BL_F32, N, h * d),
                      z = make(BL_F32, N, h * d);
            EACH(be)
            {
                double far = 0, power = 0;
                bl_kv_view c = cache_of(be, (bl_kv_format)f, ROWS, 2, kv, d);
                for (int calls = 1; calls <= 2; calls++) {
                    bl_kv_seg *list = seg;
                    for (int call = 0; call < calls; call++) {
                        int64_t from = call ? FIRST : 0, to = calls == 1 || call ? N : FIRST, n = to - from;
                        bl_kv_seg first[] = {seg[0], {seg[1].row, FIRST - 32}};
                        if (to == FIRST) list = first;
                        else list = seg;
                        assert_ok(be->ops->kv_append(be,
                                                     &(bl_kv_append_args){.kv = c,
                                                                          .k = bl_tensor_rows(k, from, n),
                                                                          .v = bl_tensor_rows(v, from, n),
                                                                          .to = VIEW_OF(row + from, BL_I64, n),
                                                                          .tail = VIEW_OF(tail + from, BL_I64, n)},
                                                     &e));
                        bl_attention_args a = attention_of(bl_tensor_rows(q, from, n), ku, vu,
                                                           bl_tensor_rows(z, from, n), h, kv, d);
                        bl_kv_own own = {32, from, 0};
                        int64_t n_seg = to == FIRST ? 2 : 5;
                        a.kv = c;
                        a.n_seq = 1;
                        a.start = I32(0, (int32_t)n);
                        a.past = I32((int32_t)from);
                        a.seg = VIEW_OF(list, BL_I64, 2 * n_seg);
                        a.seg = bl_tensor_2d(a.seg.buf, 0, BL_I64, n_seg, 2);
                        a.seg_start = I32(0, (int32_t)n_seg);
                        a.fresh = bl_tensor_rows(k, from, n);
                        a.own = VIEW_OF(&own, BL_I64, 3);
                        a.own = bl_tensor_2d(a.own.buf, 0, BL_I64, 1, 3);
                        assert_ok(be->ops->attention(be, &a, &e));
                        for (int64_t i = 32; i < FIRST && to == FIRST; i++)
                            memcpy(bl_cpu_row(&c.k_tail, tail[i]), bl_cpu_row(&k, i), (size_t)(kv * d) * 4);
                        own.first = from + 1;
                        assert_refused(be->ops->attention(be, &a, &e), BL_E_INTERNAL, "its last keys are not there");
                        own = (bl_kv_own){33, from, 0};
                        assert_refused(be->ops->attention(be, &a, &e), BL_E_INTERNAL, "its last keys are not there");
                    }
                    for (int64_t g = 0; g < 5; g++) { /* queries of one group together */
                        int64_t n = seg[g].len;
                        for (int64_t i = 0; i < N; i++)
                            for (int64_t x = 0; x < kv * d; x++) {
                                float was = f32(k)[i * kv * d + x],
                                      key = i < 32 * g ? key_in(&c, row[i], x / d, x % d) : was;
                                f32(ku)[row[i] * kv * d + x] = key;
                                f32(vu)[row[i] * kv * d + x] = value_in(&c, row[i], x / d, x % d);
                                if (g < 4) continue;
                                far += (double)(key - was) * (key - was);
                                power += (double)was * was;
                            }
                        bl_attention_args a = attention_of(bl_tensor_rows(q, 32 * g, n), ku, vu,
                                                           bl_tensor_rows(y, 32 * g, n), h, kv, d);
                        a.n_seq = 1;
                        a.start = I32(0, (int32_t)n);
                        a.past = I32((int32_t)(32 * g));
                        a.seg = VIEW_OF(seg, BL_I64, 2 * (g + 1));
                        a.seg = bl_tensor_2d(a.seg.buf, 0, BL_I64, g + 1, 2);
                        a.seg_start = I32(0, (int32_t)g + 1);
                        assert_ok(be->ops->attention(be, &a, &e));
                    }
                    assert_equal_bits(y, z);
                    assert_true(far > 0 && far / power < most[f]);
                }
                bl_attention_args a = attention_of(q, ku, vu, z, h, kv, d);
                bl_ops less = *be->ops;
                const bl_ops *all_ops = be->ops;
                a.kv = c;
                less.kv_low = false;
                be->ops = &less;
                bl_status st = less.attention(be, &a, &e);
                be->ops = all_ops;
                if (f != BL_KV_INT8) assert_refused(st, BL_E_UNSUPPORTED, "bits are not there on cpu");
                be->ops->buffer_free(c.k.buf);
            }
            bl_tensor all[] = {q, k, v, ku, vu, y, z};
            for (size_t i = 0; i < BL_COUNT(all); i++) drop(all[i]);
        }
}

/* What a recorded sequence of ops rests on: the same arguments follow what their lists hold, and a drawn id is embedded
 * from where it was written. */
static void the_same_arguments_follow_what_their_lists_hold(void **state)
{
    bl_tensor c = with(2, 1, (float[]){1, 0}), s = with(2, 1, (float[]){0, 1}), pos = make(BL_I32, 1, 1),
              ids = make(BL_I32, 1, 1), table = with(3, 2, (float[]){1, 2, 3, 4, 5, 6}), logits = make(BL_F32, 1, 3),
              x = make(BL_F32, 1, 2), y = make(BL_F32, 1, 2);
    static const float turned[2][2] = {{5, 6}, {-4, 3}}; /* row 2 at position 0; row 1 a quarter turn on, at 1 */
    (void)state;
    EACH(be)
    {
        bl_weight w;
        assert_ok(bl_weight_new(be, bl_format_find("fp32"), &(bl_shape){.out = 3, .in = 2}, &w, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = table, .w = &w}, &e));
        const bl_sample_args draw = {.logits = logits, .vocab = 3, .ids = ids};
        const bl_embed_args embed = {&w, ids, x};
        const bl_gather_args copy = {.src = x, .dst = y, .n = 1};
        const bl_rope_args rope = {y, 2, pos, c, s};
        for (int32_t i = 0; i < 2; i++) {
            assert_ok(be->ops->upload(be, &pos, &i, &e));
            assert_ok(be->ops->upload(be, &logits, (const float[2][3]){{0, 0, 1}, {0, 2, 1}}[i], &e));
            assert_ok(be->ops->sample(be, &draw, &e));
            assert_ok(be->ops->embed(be, &embed, &e));
            assert_ok(be->ops->gather(be, &copy, &e));
            assert_ok(be->ops->rope(be, &rope, &e));
            assert_memory_equal(y.buf->data, turned[i], sizeof turned[i]);
        }
        bl_weight_free(&w);
    }
    bl_tensor all[] = {c, s, pos, ids, table, logits, x, y};
    for (size_t i = 0; i < BL_COUNT(all); i++) drop(all[i]);
}

/* One sequence of 150 positions whole; by sixteen threads, in smaller tiles; in chunks; after a shared prefix in two
 * segments; beside others; fast and plain: the same bits. */
static void attention_does_not_depend_on_chunks_segments_or_neighbours(void **state)
{
    enum { N = 150 };
    static const struct {
        int64_t heads, kv, dim;
    } shape[] = {{9, 3, 64}, {8, 4, 8}, {2, 1, 20}, {4, 4, 16}, {5, 1, 128}};
    bl_backend *many;
    (void)state;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 16}, &many, &e));
    for (size_t s = 0; s < BL_COUNT(shape); s++) {
        int64_t h = shape[s].heads, kv = shape[s].kv, d = shape[s].dim;
        bl_tensor q = random_f32(N, h * d, 1, 2), k = random_f32(2 * N, kv * d, 2, 2),
                  v = random_f32(2 * N, kv * d, 3, 2), y[4];
        for (int i = 0; i < 4; i++) y[i] = make(BL_F32, N, h * d);
        bl_attention_args a = attention_of(q, k, v, y[0], h, kv, d);
        a.n_seq = 1;
        a.start = I32(0, N);
        a.past = I32(0);
        a.seg = SEGMENTS(0, N);
        a.seg_start = I32(0, 1);
        assert_ok(backends[0]->ops->attention(backends[0], &a, &e));
        a.y = y[1];
        for (size_t i = 1; i < BL_COUNT(backends); i++) {
            assert_ok(backends[i]->ops->fill(backends[i], &y[1], 1e30, &e));
            assert_ok(backends[i]->ops->attention(backends[i], &a, &e));
            assert_equal_bits(y[0], y[1]);
        }
        assert_ok(many->ops->fill(many, &y[1], 1e30, &e));
        assert_ok(many->ops->attention(many, &a, &e));
        assert_equal_bits(y[0], y[1]);

        for (int32_t at = 0, n; at < N; at += n) { /* chunks of odd lengths */
            n = BL_MIN(1 + at * 7 % 50, N - at);
            a.q = bl_tensor_rows(q, at, n);
            a.y = bl_tensor_rows(y[2], at, n);
            a.start = I32(0, n);
            a.past = I32(at);
            a.seg = SEGMENTS(0, at + n);
            assert_ok(backends[0]->ops->attention(backends[0], &a, &e));
        }
        assert_equal_bits(y[0], y[2]);

        /* positions 0..99 stay, 100.. are moved to the end; two sequences share the prefix, the second asks for its
         * last 50
         */
        bl_gather_args move = {.src = k, .dst = k, .n = 50};
        int64_t from[50], to[50];
        for (int i = 0; i < 50; i++) {
            from[i] = 100 + i;
            to[i] = 237 + i;
        }
        move.from = VIEW_OF(from, BL_I64, 50);
        move.to = VIEW_OF(to, BL_I64, 50);
        assert_ok(backends[0]->ops->gather(backends[0], &move, &e));
        move.src = move.dst = v;
        assert_ok(backends[0]->ops->gather(backends[0], &move, &e));
        a.q = q;
        a.y = y[3];
        a.n_seq = 2;
        a.start = I32(0, 100, N);
        a.past = I32(0, 100);
        a.seg = SEGMENTS(0, 70, 70, 30, 0, 30, 30, 0, 30, 70, 237, 50);
        a.seg_start = I32(0, 2, 6);
        assert_ok(backends[0]->ops->attention(backends[0], &a, &e));
        assert_equal_bits(y[0], y[3]);

        /* each of 21 late queries as a sequence of its own, several times, so that they fill tiles of the fast way; all
         * have the first 100 keys in common; every fifth reads them in pieces, every seventh has the next query as well
         */
        enum { LATE = 21, ONES = 3 * LATE };
        int32_t start[ONES + 1] = {0}, past[ONES], seg_start[ONES + 1] = {0};
        bl_kv_seg seg[3 * ONES];
        int32_t n_seg = 0, row[2 * ONES];
        for (int32_t i = 0; i < ONES; i++) {
            int32_t at = 128 + i % LATE, two = i % 7 == 0;
            past[i] = at;
            for (int32_t r = 0; r <= two; r++) row[start[i] + r] = at + r;
            start[i + 1] = start[i] + 1 + two;
            if (i % 5 == 0) seg[n_seg++] = (bl_kv_seg){0, 80};
            seg[n_seg++] = i % 5 ? (bl_kv_seg){0, 100} : (bl_kv_seg){80, 20};
            seg[n_seg++] = (bl_kv_seg){237, at + 1 + two - 100};
            seg_start[i + 1] = n_seg;
        }
        a.n_seq = ONES;
        a.start = VIEW_OF(start, BL_I32, ONES + 1);
        a.past = VIEW_OF(past, BL_I32, ONES);
        a.seg = bl_tensor_2d(&(bl_buffer){.data = seg}, 0, BL_I64, n_seg, 2);
        a.seg_start = VIEW_OF(seg_start, BL_I32, ONES + 1);
        a.q = make(BL_F32, start[ONES], h * d);
        a.y = make(BL_F32, start[ONES], h * d);
        for (int32_t r = 0; r < start[ONES]; r++)
            memcpy(f32(a.q) + r * h * d, f32(q) + row[r] * h * d, (size_t)(h * d) * sizeof(float));
        for (size_t i = 0; i < BL_COUNT(backends); i++) {
            assert_ok(backends[i]->ops->fill(backends[i], &a.y, 1e30, &e));
            assert_ok(backends[i]->ops->attention(backends[i], &a, &e));
            for (int32_t r = 0; r < start[ONES]; r++)
                assert_memory_equal(f32(a.y) + r * h * d, f32(y[0]) + row[r] * h * d, (size_t)(h * d) * sizeof(float));
        }
        drop(a.q);
        drop(a.y);
        for (int i = 0; i < 4; i++) drop(y[i]);
        drop(q);
        drop(k);
        drop(v);
    }
    bl_backend_close(many);
}

static void a_position_does_not_see_what_comes_later(void **state)
{
    enum { N = 70, D = 16 };
    bl_tensor q = random_f32(N, D, 1, 1), k = random_f32(N, D, 2, 1), v = random_f32(N, D, 3, 1),
              y = make(BL_F32, N, D), z = make(BL_F32, N, D);
    bl_attention_args a = attention_of(q, k, v, y, 1, 1, D);
    (void)state;
    a.n_seq = 1;
    a.start = I32(0, N);
    a.past = I32(0);
    a.seg = SEGMENTS(0, N);
    a.seg_start = I32(0, 1);
    EACH(be)
    {
        a.y = y;
        assert_ok(be->ops->attention(be, &a, &e));
        float kept = f32(v)[40 * D];
        f32(v)[40 * D] = NAN;
        a.y = z;
        assert_ok(be->ops->attention(be, &a, &e));
        f32(v)[40 * D] = kept;
        assert_memory_equal(f32(y), f32(z), 40 * D * 4);
        assert_true(isnan(f32(z)[40 * D]) && isnan(f32(z)[69 * D]));
    }
    drop(q);
    drop(k);
    drop(v);
    drop(y);
    drop(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_a_weighted_mean_of_what_came_before),
        cmocka_unit_test(keys_and_values_go_to_their_rows_of_the_cache),
        cmocka_unit_test(an_int8_cache_holds_codes_and_a_scale_for_the_values_of_every_row_and_head),
        cmocka_unit_test(keys_of_32_positions_have_a_step_and_the_least_of_every_channel),
        cmocka_unit_test(a_cache_of_few_bits_holds_a_step_and_the_least_of_every_32_values),
        cmocka_unit_test(attention_over_codes_is_that_over_their_values),
        cmocka_unit_test(the_same_arguments_follow_what_their_lists_hold),
        cmocka_unit_test(attention_does_not_depend_on_chunks_segments_or_neighbours),
        cmocka_unit_test(a_position_does_not_see_what_comes_later),
    };
    return cmocka_run_group_tests(tests, ops_open, ops_close);
}
