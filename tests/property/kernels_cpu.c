/* What a score must not depend on: rows in the call, their offset, threads; and how much memory a packed product takes.
 */
#include "test.h"
#include "kernels/dense.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include <errno.h>
#include <math.h>

static bl_err e;
static bl_backend *one, *two, *other,
    *plain;                    /* one thread, AVX2 at most; two, the best there is; two, plain C; the reference */
static bl_backend *between[2]; /* one thread, AVX-VNNI and AVX-512 at most: less than the best, more than AVX2 */

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1, .isa = BL_ISA_AVX2}, &one, &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &two, &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2, .isa = BL_ISA_PLAIN}, &other, &e) !=
               BL_OK ||
           bl_backend_open(&(bl_backend_opts){.device = "cpu", .reference = true}, &plain, &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 1, .isa = BL_ISA_AVXVNNI}, &between[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 1, .isa = BL_ISA_AVX512}, &between[1], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(one);
    bl_backend_close(two);
    bl_backend_close(other);
    bl_backend_close(plain);
    bl_backend_close(between[0]);
    bl_backend_close(between[1]);
    return 0;
}

static bl_tensor numbers(int64_t rows, int64_t cols, uint64_t seed)
{
    bl_buffer *b;
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_cpu", 0), 0);
    assert_ok(one->ops->buffer_new(one, (uint64_t)(rows * cols) * 4, &b, &e));
    for (int64_t i = 0; i < rows * cols; i++) ((float *)b->data)[i] = (float)(bl_rng_uniform(&r) * 2 - 1);
    return bl_tensor_2d(b, 0, BL_F32, rows, cols);
}
static void drop(bl_tensor t) { one->ops->buffer_free(t.buf); }
static float *row_of(bl_tensor t, int64_t r) { return (float *)t.buf->data + r * t.stride[0]; }

static bl_shape geometry(const bl_format *f, int64_t out, int64_t in, int64_t group)
{
    bl_shape g = {.out = out, .in = in, .scale = BL_F16};
    if (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE || f->kind == BL_FMT_CODES) g.group = group;
    if (f->kind == BL_FMT_INT && f->bits > 1)
        g.zero = in == 1216 ? BL_ZERO_FLOAT : in == 172 ? BL_ZERO_MIDDLE : BL_ZERO_PACKED;
    return g;
}
static void pack(const bl_format *f, bl_shape g, bl_tensor dense, bl_weight *w)
{
    assert_ok(bl_weight_new(one, f, &g, w, &e));
    assert_ok(
        one->ops->pack(one, &(bl_pack_args){.x = dense, .w = w, .rule = f->pack ? BL_RANGE_OWN : BL_RANGE_LEAST}, &e));
}
static void assert_same(bl_tensor a, int64_t row, bl_tensor b, int64_t row_b, int64_t rows, const char *what)
{
    for (int64_t r = 0; r < rows; r++)
        if (memcmp(row_of(a, row + r), row_of(b, row_b + r), (size_t)a.dim[1] * 4) != 0)
            fail_msg("%s: bits of row %d differ", what, (int)(row + r));
}

/* On one memory nothing moves, but pages are looked for and the system is asked. Some systems refuse. */
static void weights_that_come_to_their_readers_keep_their_bits(void **state)
{
    static const char *const formats[] = {"int4", "q4_k", "q4_1", "fp32", "nf4"};
    bl_cpu *c = two->own;
    const int nodes = c->nodes;
    (void)state;
    for (size_t i = 0; i < BL_COUNT(formats); i++) {
        enum { OUT = 256, IN = 2048 };
        const bl_format *f = bl_format_find(formats[i]);
        bl_shape g = geometry(f, OUT, IN, 64);
        bl_tensor dense = numbers(OUT, IN, 1), x = numbers(1, IN, 2), y = numbers(1, OUT, 3), z = numbers(1, OUT, 4);
        bl_weight w, p;
        pack(f, g, dense, &w);
        pack(f, g, dense, &p);
        c->nodes = 2;
        assert_ok(two->ops->prepare(two, &p, &e));
        c->nodes = nodes;
        assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}}, &e));
        assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&p}, .y = {z}}, &e));
        assert_same(y, 0, z, 0, 1, formats[i]);
        bl_weight_free(&w);
        bl_weight_free(&p);
        drop(dense);
        drop(x);
        drop(y);
        drop(z);
    }
    assert_true(c->refused == 0 || c->refused == EPERM || c->refused == ENOSYS);
}

/* A product of 40 rows against the same rows in pieces of 1, 2, 3, 8 and 30 from odd places, on one thread and on two,
 * with AVX-512, AVX-VNNI, AVX2 and plain C. */
static void products_do_not_depend_on_batch_offset_threads_or_instructions(void **state)
{
    enum { ROWS = 40, OUT = 21 };
    static const struct {
        int64_t row, n;
    } piece[] = {{0, 1}, {17, 1}, {38, 2}, {5, 3}, {11, 8}, {7, 30}, {3, 4}, {0, 40}};
    static const int64_t in[] = {576, 1216, 172, 200}, group[] = {64, 64, 172, 48};
    static const bl_actq acts[] = {{0},
                                   {.bits = 8, .symmetric = true},
                                   {.bits = 8},
                                   {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32}};
    const bl_format *f;
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++)
        for (size_t n = 0; n < BL_COUNT(in); n++)
            for (size_t q = 0; q < BL_COUNT(acts); q++) {
                const bl_actq act = acts[q];
                bl_shape g = geometry(f, OUT, in[n], group[n]);
                bl_weight w;
                if (!f->pack || f->check(f, &g, NULL) != BL_OK) continue;
                bl_tensor dense = numbers(OUT, in[n], 1), x = numbers(ROWS, in[n], 2), y = numbers(ROWS, OUT, 3),
                          z = numbers(ROWS, OUT, 4);
                pack(f, g, dense, &w);
                assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}, .act = act}, &e));
                for (size_t p = 0; p < BL_COUNT(piece); p++) {
                    bl_backend *const all[] = {one, two, other, between[0], between[1]}, *be = all[p % BL_COUNT(all)];
                    assert_ok(be->ops->linear(be,
                                              &(bl_linear_args){.x = bl_tensor_rows(x, piece[p].row, piece[p].n),
                                                                .w = {&w},
                                                                .y = {bl_tensor_rows(z, piece[p].row, piece[p].n)},
                                                                .act = act},
                                              &e));
                    assert_same(y, piece[p].row, z, piece[p].row, piece[p].n, f->name);
                }
                bl_weight_free(&w);
                drop(dense);
                drop(x);
                drop(y);
                drop(z);
            }
}

/* Three weights of one input by sixteen threads: tasks of all rows and of some of them, more rows than are staged at a
 * time, anew and onto what is there; against plain C. */
static void many_rows_do_not_depend_on_how_they_are_shared_out(void **state)
{
    static const struct {
        int64_t rows, in, out[3];
        bl_actq act;
    } shape[] = {{300, 96, {288, 32, 48}, {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32}},
                 {270, 96, {336, 16, 0}, {.bits = 8}},
                 {150, 96, {48, 304, 32}, {0}},
                 {90, 32768, {16, 0, 0}, {.bits = 8, .symmetric = true}},
                 {40, 20004, {16, 0, 0}, {0}}};
    bl_backend *many[3];
    const bl_isa isa[] = {BL_ISA_AVX2, BL_ISA_AVX512, BL_ISA_BEST};
    (void)state;
    for (size_t b = 0; b < BL_COUNT(many); b++)
        assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 16, .isa = isa[b]}, &many[b], &e));
    for (size_t s = 0; s < BL_COUNT(shape); s++) {
        const int64_t rows = shape[s].rows, in = shape[s].in;
        const int n = shape[s].out[1] ? shape[s].out[2] ? 3 : 2 : 1;
        bl_tensor x = numbers(rows, in, 1), y[3], z[3];
        bl_weight w[3];
        bl_linear_args a = {.x = x, .act = shape[s].act, .accumulate = n == 2};
        for (int i = 0; i < n; i++) {
            const bl_format *f = bl_format_find("int4");
            const int64_t out = shape[s].out[i];
            bl_tensor dense = numbers(out, in, 2 + (uint64_t)i);
            pack(f, (bl_shape){.out = out, .in = in, .group = BL_MIN(in, 32), .scale = BL_F16}, dense, &w[i]);
            y[i] = numbers(rows, out, 9);
            z[i] = numbers(rows, out, 9);
            a.w[i] = &w[i];
            a.y[i] = y[i];
            drop(dense);
        }
        assert_ok(plain->ops->linear(plain, &a, &e));
        for (size_t b = 0; b < BL_COUNT(many); b++) {
            for (int i = 0; i < n; i++) {
                bl_tensor before = numbers(rows, shape[s].out[i], 9);
                memcpy(z[i].buf->data, before.buf->data, (size_t)(rows * shape[s].out[i]) * 4);
                drop(before);
                a.y[i] = z[i];
            }
            assert_ok(many[b]->ops->linear(many[b], &a, &e));
            for (int i = 0; i < n; i++) assert_same(y[i], 0, z[i], 0, rows, "int4");
        }
        for (int i = 0; i < n; i++) {
            bl_weight_free(&w[i]);
            drop(y[i]);
            drop(z[i]);
        }
        drop(x);
    }
    for (size_t b = 0; b < BL_COUNT(many); b++) bl_backend_close(many[b]);
}

/* Where the backend makes x of what it is given while it quantizes rows, the bits are those of the ops one by one; it
 * says that it does not where x stays in floats, has one range for all rows, or is transformed. */
static void a_norm_and_a_gate_on_the_way_have_the_bits_of_their_ops(void **state)
{
    enum { ROWS = 21, IN = 96, OUT = 48 };
    static const bl_actq acts[] = {{.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32},
                                   {.bits = 8},
                                   {0},
                                   {.bits = 8, .unit = BL_ACT_TENSOR}};
    bl_backend *const all[] = {one, two, between[0], between[1]};
    const bl_format *f = bl_format_find("int4");
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), gate = numbers(ROWS, IN, 3),
              norm = numbers(1, IN, 4), h = numbers(ROWS, IN, 5), y = numbers(ROWS, OUT, 6), z = numbers(ROWS, OUT, 7);
    bl_weight w;
    (void)state;
    norm = bl_tensor_1d(norm.buf, 0, BL_F32, IN);
    pack(f, (bl_shape){.out = OUT, .in = IN, .group = 32, .scale = BL_F16}, dense, &w);
    for (size_t b = 0; b < BL_COUNT(all); b++)
        for (size_t q = 0; q < BL_COUNT(acts); q++)
            for (int with_gate = 0; with_gate < 2; with_gate++) {
                bl_backend *be = all[b];
                const bl_linear_args after = {.x = h, .w = {&w}, .y = {y}, .act = acts[q]};
                bl_linear_args a = {.x = x, .w = {&w}, .y = {z}, .act = acts[q], .eps = 1e-5};
                if (!be->ops->linear_prepares) continue;
                if (with_gate) {
                    a.gate = gate;
                    assert_ok(be->ops->swiglu(be, &(bl_swiglu_args){.gate = gate, .up = x, .y = h}, &e));
                } else {
                    a.norm = norm;
                    assert_ok(
                        be->ops->rmsnorm(be, &(bl_rmsnorm_args){.x = x, .weight = norm, .y = h, .eps = 1e-5}, &e));
                }
                assert_int_equal(be->ops->linear_prepares(be, &a), q < 2);
                if (q >= 2) {
                    assert_int_equal(be->ops->linear(be, &a, &e), BL_E_UNSUPPORTED);
                    continue;
                }
                assert_ok(be->ops->linear(be, &after, &e));
                assert_ok(be->ops->linear(be, &a, &e));
                assert_same(y, 0, z, 0, ROWS, with_gate ? "gate" : "norm");
            }
    bl_weight_free(&w);
    bl_tensor const mine[] = {dense, x, gate, norm, h, y, z};
    for (size_t i = 0; i < BL_COUNT(mine); i++) drop(mine[i]);
}

/* What `prepare` makes of a weight has the values of what is stored, and its products the bits, in all backends, with
 * zeros of every kind and scales of every type. */
static void a_prepared_weight_has_the_bits_of_the_stored_one(void **state)
{
    enum { ROWS = 30, OUT = 32 };
    static const struct {
        int64_t in, group;
        bl_zero zero;
        bl_dtype scale;
    } shape[] = {{192, 32, BL_ZERO_NONE, BL_F16},    {320, 64, BL_ZERO_PACKED, BL_F32},
                 {96, 96, BL_ZERO_I16, BL_BF16},     {160, 64, BL_ZERO_FLOAT, BL_F16},
                 {224, 32, BL_ZERO_MIDDLE, BL_F32},  {96, 48, BL_ZERO_PACKED, BL_F16},
                 {608, 32, BL_ZERO_PACKED, BL_BF16}, {100, 100, BL_ZERO_NONE, BL_F16},
                 {512, 64, BL_ZERO_NONE, BL_F16},    {256, 128, BL_ZERO_PACKED, BL_F16}};
    static const bl_actq acts[] = {{0},
                                   {.bits = 8, .symmetric = true},
                                   {.bits = 8},
                                   {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32},
                                   {.bits = 4, .symmetric = true, .unit = BL_ACT_GROUP, .group = 16}};
    static const int64_t rows[] = {1, 2, 3, 5, 8, 9, 30};
    const bl_format *f;
    int turned = 0, blocks = 0;
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++)
        for (size_t n = 0; n < BL_COUNT(shape); n++) {
            const int64_t in = shape[n].in;
            bl_shape g = {.out = OUT, .in = in, .scale = shape[n].scale};
            bl_weight w, p;
            if (f->kind != BL_FMT_DENSE && f->kind != BL_FMT_BLOCK) g.group = shape[n].group;
            if (f->kind == BL_FMT_INT) g.zero = shape[n].zero;
            const bool block = f->kind == BL_FMT_BLOCK && (f->pack || f->pack_least) && strncmp(f->name, "iq", 2) != 0;
            if ((f->kind != BL_FMT_INT && f->kind != BL_FMT_TABLE && !block) || f->check(f, &g, NULL) != BL_OK)
                continue;
            bl_tensor dense = numbers(OUT, in, 1), x = numbers(ROWS, in, 2), y = numbers(ROWS, OUT, 3),
                      z = numbers(ROWS, OUT, 3), u = numbers(OUT, in, 4), v = numbers(OUT, in, 5),
                      back = numbers(ROWS, in, 6), forth = numbers(ROWS, in, 6), up = numbers(ROWS, OUT, 7);
            pack(f, g, dense, &w);
            pack(f, g, dense, &p);
            assert_ok(two->ops->prepare(two, &p, &e));
            turned += p.layout != 0;
            blocks += block && p.layout != 0;
            bl_backend *const all[] = {plain, one, two, other, between[(i + n) % 2]};
            for (size_t b = 0; b < BL_COUNT(all); b++) {
                bl_backend *be = all[b];
                assert_ok(plain->ops->unpack(plain, &(bl_unpack_args){.w = &w, .rows = OUT, .y = u}, &e));
                assert_ok(be->ops->unpack(be, &(bl_unpack_args){.w = &p, .rows = OUT, .y = v}, &e));
                assert_same(u, 0, v, 0, OUT, f->name);
                for (size_t q = 0; q < BL_COUNT(acts); q++)
                    for (size_t r = 0; r < BL_COUNT(rows); r++) {
                        if (b % 3 == 0 ? rows[r] != 2 : !p.layout) continue;
                        bl_linear_args a = {.x = bl_tensor_rows(x, 0, rows[r]),
                                            .w = {&w},
                                            .y = {bl_tensor_rows(y, 0, rows[r])},
                                            .act = acts[q],
                                            .accumulate = q % 2};
                        memcpy(row_of(y, 0), row_of(up, 0), ROWS * OUT * 4);
                        memcpy(row_of(z, 0), row_of(up, 0), ROWS * OUT * 4);
                        assert_ok(be->ops->linear(be, &a, &e));
                        a.w[0] = &p;
                        a.y[0] = bl_tensor_rows(z, 0, rows[r]);
                        assert_ok(be->ops->linear(be, &a, &e));
                        assert_same(y, 0, z, 0, rows[r], f->name);
                    }
                bl_linear_args a = {.x = up, .w = {&w}, .y = {back}, .transpose = true};
                assert_ok(be->ops->linear(be, &a, &e));
                a.w[0] = &p;
                a.y[0] = forth;
                assert_ok(be->ops->linear(be, &a, &e));
                assert_same(back, 0, forth, 0, ROWS, f->name);
            }
            bl_weight_free(&w);
            bl_weight_free(&p);
            const bl_tensor space[] = {dense, x, y, z, u, v, back, forth, up};
            for (size_t b = 0; b < BL_COUNT(space); b++) drop(space[b]);
        }
    bl_device_info info;
    two->ops->device_info(two, &info);
    assert_true((turned > blocks && blocks > 0) || strcmp(info.simd, "plain") == 0);
}

static void a_packed_product_allocates_at_most_a_mebibyte_for_each_thread(void **state)
{
    static const char *const names[] = {"int4", "int8", "nf4", "q8_0", "q6_k", "fp16", "fp32"};
    static const struct {
        int64_t rows, out, in;
    } shape[] = {{1, 2048, 1536}, {70, 1024, 1536}, {300, 512, 1536}, {5, 64, 14336}, {40, 512, 172}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(names); i++)
        for (size_t s = 0; s < BL_COUNT(shape); s++)
            for (int bits = 0; bits <= 8; bits += 8) {
                const bl_format *f = bl_format_find(names[i]);
                bl_shape g;
                bl_weight w;
                bl_backend *be;
                if (!f) continue;
                g = geometry(f, shape[s].out, shape[s].in, shape[s].in == 172 ? 172 : 64);
                if (f->check(f, &g, NULL) != BL_OK) continue;
                assert_ok(bl_weight_new(one, f, &g, &w, &e));
                memset(w.owned->data, 0, w.owned->bytes);
                bl_tensor x = numbers(shape[s].rows, shape[s].in, 1), y = numbers(shape[s].rows, shape[s].out, 2);
                bl_alloc_watch_reset(); /* the backend's own scratch counts */
                const uint64_t before = bl_alloc_live();
                assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &be, &e));
                assert_ok(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}, .act.bits = bits}, &e));
                bl_device_info info;
                be->ops->device_info(be, &info);
                if (bl_alloc_peak() - before > 2 << 20 && strcmp(info.simd, "plain") != 0)
                    fail_msg("%s, shape %zu: two threads allocated %llu bytes", names[i], s,
                             (unsigned long long)(bl_alloc_peak() - before));
                bl_backend_close(be);
                bl_weight_free(&w);
                drop(x);
                drop(y);
            }
}

/* Transforms, quantized activations, adapters and accumulation, in all backends. */
static void a_whole_linear_has_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 37, IN = 64, OUT = 18, RANK = 5 };
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), a = numbers(RANK, IN, 3),
              b = numbers(OUT, RANK, 4), first = numbers(ROWS, OUT, 5), y = numbers(ROWS, OUT, 5),
              z = numbers(ROWS, OUT, 5), factor = numbers(1, IN, 6), turn = numbers(4 * 16, 16, 7),
              order = numbers(1, IN, 8), sums = numbers(4, 3, 11), a2 = numbers(RANK + 6, IN, 9),
              b2 = numbers(OUT, RANK + 6, 10);
    const bl_lowrank low[] = {{a, b, 0.5f}, {a2, b2, -1.5f}};
    bl_weight w;
    (void)state;
    for (int i = 0; i < IN; i++) ((int32_t *)order.buf->data)[i] = i * 5 % IN;
    order = bl_tensor_1d(order.buf, 0, BL_I32, IN);
    sums.dtype = BL_I32;
    memcpy(sums.buf->data, (const int32_t[12]){2, 2, 2, 2, 9, 2, 9, 30, 3, 17, 30, 3}, 48);
    turn.ndim = 3;
    turn.dim[0] = 4;
    turn.dim[1] = turn.dim[2] = 16;
    turn.stride[0] = 256;
    turn.stride[1] = 16;
    turn.stride[2] = 1;
    bl_tensor few = bl_tensor_1d(factor.buf, factor.offset, BL_F32, 16);
    const bl_transform t[] = {
        {BL_T_SCALE, IN, IN, factor}, {BL_T_PERMUTE, IN, IN, order}, {BL_T_HADAMARD, IN, IN, factor},
        {BL_T_ROTATE, IN, IN, turn},  {BL_T_HADAMARD, IN, IN, few},  {BL_T_PERMUTE, IN, IN, sums},
    };
    static const bl_actq acts[] = {
        {0},
        {.bits = 8},
        {.bits = 8, .symmetric = true},
        {.bits = 4, .unit = BL_ACT_TENSOR},
        {.bits = 8, .unit = BL_ACT_TENSOR, .scale = 0.02f, .zero = 100},
        {.bits = 6, .unit = BL_ACT_GROUP, .group = 16},
        {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 64},
        {.bits = 8, .unit = BL_ACT_GROUP, .group = 24},
        {.bits = 4, .unit = BL_ACT_MXFP4},
        {.bits = 4, .unit = BL_ACT_NVFP4},
        {.bits = 8, .unit = BL_ACT_FP8},
    };
    static const char *const names[] = {"fp32", "int8", "int4", "int3", "int1", "nf4", "fp8_e4m3", "q5_1"};
    for (size_t n = 0; n < BL_COUNT(names); n++) {
        const bl_format *f = bl_format_find(names[n]);
        pack(f, geometry(f, OUT, IN, 32), dense, &w);
        for (int n_t = 0; n_t <= (int)BL_COUNT(t); n_t++)
            for (size_t q = 0; q < BL_COUNT(acts); q++)
                for (int mode = 0; mode < 6; mode++) {
                    bl_linear_args args = {.x = x,
                                           .w = {&w},
                                           .t = t,
                                           .n_t = n_t,
                                           .act = acts[q],
                                           .adapter = low,
                                           .n_adapters = mode / 2,
                                           .accumulate = mode % 2};
                    memcpy(y.buf->data, first.buf->data, y.buf->bytes);
                    args.y[0] = y;
                    assert_ok(plain->ops->linear(plain, &args, &e));
                    args.y[0] = z;
                    for (int i = 0; i < 4; i++) {
                        bl_backend *be = i == 0 ? one : i == 1 ? two : i == 2 ? other : between[mode % 2];
                        memcpy(z.buf->data, first.buf->data, z.buf->bytes);
                        assert_ok(be->ops->linear(be, &args, &e));
                        assert_same(y, 0, z, 0, ROWS, names[n]);
                    }
                    assert_true(plain->ops->linear_is_integer(plain, &args) == two->ops->linear_is_integer(two, &args));
                }
        bl_weight_free(&w);
    }
    drop(dense);
    drop(x);
    drop(a);
    drop(b);
    drop(a2);
    drop(b2);
    drop(first);
    drop(y);
    drop(z);
    drop(factor);
    drop(turn);
    drop(order);
    drop(sums);
}

/* Sums of at most eight numbers, as those of an adapter are, with a bias and an adapter after it. */
static void products_over_few_inputs_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 61, OUT = 70 };
    (void)state;
    for (int64_t in = 3; in <= 16; in += in < 8 ? 5 : 8)
        for (int64_t rank = 3; rank <= 8; rank += 5)
            for (int mode = 0; mode < 4; mode++) {
                bl_tensor x = numbers(ROWS, in, 1), dense = numbers(OUT, in, 2), bias = numbers(1, OUT, 3),
                          y = numbers(ROWS, OUT, 4), z = numbers(ROWS, OUT, 4);
                const bl_lowrank low = {numbers(rank, in, 5), numbers(OUT, rank, 6), 0.7f};
                const bl_weight w = bl_weight_of(dense);
                bl_backend *const all[] = {one, two, other, between[0]};
                bl_linear_args a = {.x = x,
                                    .w = {&w},
                                    .bias = {bl_tensor_1d(bias.buf, 0, BL_F32, OUT)},
                                    .y = {y},
                                    .adapter = &low,
                                    .n_adapters = mode / 2,
                                    .accumulate = mode % 2};
                assert_ok(plain->ops->linear(plain, &a, &e));
                a.y[0] = z;
                for (size_t b = 0; b < BL_COUNT(all); b++) {
                    bl_tensor fresh = numbers(ROWS, OUT, 4);
                    memcpy(z.buf->data, fresh.buf->data, z.buf->bytes);
                    assert_ok(all[b]->ops->linear(all[b], &a, &e));
                    assert_same(y, 0, z, 0, ROWS, "few inputs");
                    drop(fresh);
                }
                drop(x), drop(dense), drop(bias), drop(y), drop(z), drop(low.a), drop(low.b);
            }
}

/* q, k and v, or gate and up, with one call: weights of several formats, some of which multiply in integers, with and
 * without a bias. */
static void several_weights_of_one_input_have_the_bits_of_single_calls(void **state)
{
    enum { ROWS = 37, IN = 192 };
    static const int64_t out[] = {21, 8, 13};
    static const char *const names[][3] = {{"int4", "int4", "int4"}, {"int4", "nf4", "fp32"}, {"q5_1", "fp16", "int2"}};
    static const int64_t rows[] = {1, 2, 5, ROWS};
    bl_tensor x = numbers(ROWS, IN, 1), dense[3], bias[3], y[3], z[3];
    bl_backend *const all[] = {plain, one, two, other, between[0], between[1]};
    (void)state;
    for (int i = 0; i < 3; i++) {
        dense[i] = numbers(out[i], IN, 2 + (uint64_t)i);
        bias[i] = numbers(1, out[i], 12 + (uint64_t)i);
        y[i] = numbers(ROWS, out[i], 22);
        z[i] = numbers(ROWS, out[i], 22);
    }
    for (size_t n = 0; n < BL_COUNT(names); n++) {
        bl_weight w[3];
        for (int i = 0; i < 3; i++) {
            const bl_format *f = bl_format_find(names[n][i]);
            pack(f, geometry(f, out[i], IN, i == 1 ? 64 : 32), dense[i], &w[i]);
        }
        for (size_t b = 0; b < BL_COUNT(all); b++)
            for (size_t r = 0; r < BL_COUNT(rows); r++)
                for (int mode = 0; mode < 4; mode++) {
                    bl_linear_args a = {.x = bl_tensor_rows(x, 0, rows[r]), .act.bits = mode & 1 ? 8 : 0};
                    for (int i = 0; i < 3; i++) {
                        a.w[0] = &w[i];
                        a.y[0] = bl_tensor_rows(y[i], 0, rows[r]);
                        a.bias[0] = mode & 2 && i != 1 ? bias[i] : (bl_tensor){0};
                        assert_ok(all[b]->ops->linear(all[b], &a, &e));
                    }
                    for (int i = 0; i < 3; i++) {
                        a.w[i] = &w[i];
                        a.y[i] = bl_tensor_rows(z[i], 0, rows[r]);
                        a.bias[i] = mode & 2 && i != 1 ? bias[i] : (bl_tensor){0};
                    }
                    assert_ok(all[b]->ops->linear(all[b], &a, &e));
                    for (int i = 0; i < 3; i++) assert_same(y[i], 0, z[i], 0, rows[r], names[n][i]);
                }
        for (int i = 0; i < 3; i++) bl_weight_free(&w[i]);
    }
    drop(x);
    for (int i = 0; i < 3; i++) {
        drop(dense[i]);
        drop(bias[i]);
        drop(y[i]);
        drop(z[i]);
    }
}

static void a_bias_is_one_addition_to_the_finished_product(void **state)
{
    enum { ROWS = 14, IN = 192, OUT = 21 };
    static const char *const names[] = {"int4", "nf3", "fp32", "q6_k"};
    bl_tensor x = numbers(ROWS, IN, 1), dense = numbers(OUT, IN, 2), bias = numbers(1, OUT, 3),
              y = numbers(ROWS, OUT, 4), z = numbers(ROWS, OUT, 4);
    bl_backend *const all[] = {plain, one, two, other, between[0], between[1]};
    (void)state;
    for (size_t n = 0; n < BL_COUNT(names); n++) {
        const bl_format *f = bl_format_find(names[n]);
        bl_shape g = geometry(f, OUT, IN, 64);
        bl_weight w;
        if (!f->pack || f->check(f, &g, NULL) != BL_OK) continue;
        pack(f, g, dense, &w);
        for (size_t b = 0; b < BL_COUNT(all); b++)
            for (int64_t rows = 1; rows <= ROWS; rows += rows < 3 ? 1 : 11)
                for (int bits = 0; bits <= 8; bits += 8) {
                    bl_linear_args a = {.x = bl_tensor_rows(x, 0, rows),
                                        .w = {&w},
                                        .y = {bl_tensor_rows(y, 0, rows)},
                                        .act.bits = bits};
                    assert_ok(all[b]->ops->linear(all[b], &a, &e));
                    for (int64_t i = 0; i < rows * OUT; i++) row_of(y, 0)[i] += row_of(bias, 0)[i % OUT];
                    a.y[0] = bl_tensor_rows(z, 0, rows);
                    a.bias[0] = bias;
                    assert_ok(all[b]->ops->linear(all[b], &a, &e));
                    assert_same(y, 0, z, 0, rows, names[n]);
                }
        bl_weight_free(&w);
    }
    drop(x);
    drop(dense);
    drop(bias);
    drop(y);
    drop(z);
}

/* The gradient's product: x W is the product of x with the weight turned by hand, to the bit. */
static void assert_transposed(int64_t rows, int64_t in, int64_t out, const char *name)
{
    const bl_format *fp32 = bl_format_find("fp32"), *f = bl_format_find(name);
    bl_tensor x = numbers(rows, out, 1), dense = numbers(out, in, 2), y = numbers(rows, in, 4),
              z = numbers(rows, in, 4), flat = numbers(out, in, 5), turned = numbers(in, out, 6);
    bl_backend *const all[] = {plain, one, two, other, between[0], between[1]};
    bl_weight w, wt;
    row_of(x, 1)[0] = INFINITY; /* nothing of it comes to the row before */
    pack(f, geometry(f, out, in, 64), dense, &w);
    assert_ok(plain->ops->unpack(plain, &(bl_unpack_args){.w = &w, .rows = out, .y = flat}, &e));
    for (int64_t i = 0; i < out * in; i++) row_of(turned, i % in)[i / in] = row_of(flat, 0)[i];
    pack(fp32, geometry(fp32, in, out, 0), turned, &wt);
    for (int add = 0; add < 2; add++) {
        bl_linear_args a = {.x = x, .w = {&wt}, .y = {y}, .accumulate = add};
        assert_ok(plain->ops->linear(plain, &a, &e));
        for (size_t b = 0; b < BL_COUNT(all); b++) {
            bl_tensor to = numbers(rows, in, 4);
            if (add) assert_ok(plain->ops->gather(plain, &(bl_gather_args){.src = z, .dst = to, .n = rows}, &e));
            a = (bl_linear_args){.x = x, .w = {&w}, .y = {to}, .accumulate = add, .transpose = true};
            assert_ok(all[b]->ops->linear(all[b], &a, &e));
            assert_same(y, 0, to, 0, rows, name);
            a.act.bits = 8;
            assert_refused(all[b]->ops->linear(all[b], &a, &e), BL_E_INTERNAL, "nothing else");
            drop(to);
        }
        if (!add) assert_ok(plain->ops->gather(plain, &(bl_gather_args){.src = y, .dst = z, .n = rows}, &e));
    }
    bl_weight_free(&w);
    bl_weight_free(&wt);
    drop(x);
    drop(dense);
    drop(y);
    drop(z);
    drop(flat);
    drop(turned);
}

/* The last two: a rest of outputs and of columns, more rows than a task takes; and more outputs than a panel holds. */
static void a_transposed_product_is_that_of_the_transposed_weight(void **state)
{
    static const char *const names[] = {"int4", "nf4", "fp32", "q8_0"};
    (void)state;
    for (size_t n = 0; n < BL_COUNT(names); n++) assert_transposed(11, 192, 37, names[n]);
    assert_transposed(400, 67, 13, "fp32");
    assert_transposed(100, 601, 5, "fp32");
    assert_transposed(30, 48, 8, "fp32");
    assert_transposed(261, 24, 1541, "fp32");
}

/* A Hadamard transform and a permutation keep lengths, and the product of a transformed x with the transformed weight
 * is the product. */
static void an_orthogonal_transform_on_both_sides_changes_nothing(void **state)
{
    enum { IN = 64, ROWS = 3, OUT = 5 };
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), y = numbers(ROWS, OUT, 3),
              z = numbers(ROWS, OUT, 4), turned = numbers(OUT, IN, 5), unit = numbers(IN, IN, 6);
    bl_transform h = {.kind = BL_T_HADAMARD, .in = IN, .out = IN};
    const bl_format *f = bl_format_find("fp32");
    bl_weight w, wi, wt;
    (void)state;
    for (int i = 0; i < IN * IN; i++) ((float *)unit.buf->data)[i] = i / IN == i % IN;
    pack(f, geometry(f, OUT, IN, 0), dense, &w);
    pack(f, geometry(f, IN, IN, 0), unit, &wi);
    assert_ok(two->ops->linear(two, &(bl_linear_args){.x = dense, .w = {&wi}, .y = {turned}, .t = &h, .n_t = 1}, &e));
    pack(f, geometry(f, OUT, IN, 0), turned, &wt);
    assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}}, &e));
    assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&wt}, .y = {z}, .t = &h, .n_t = 1}, &e));
    for (int i = 0; i < ROWS * OUT; i++) assert_true(fabsf(row_of(y, 0)[i] - row_of(z, 0)[i]) < 1e-5f);
    bl_weight_free(&w);
    bl_weight_free(&wi);
    bl_weight_free(&wt);
    drop(dense);
    drop(x);
    drop(y);
    drop(z);
    drop(turned);
    drop(unit);
}

static void integer_products_are_near_those_of_the_dequantized_values(void **state)
{
    enum { ROWS = 9, IN = 512, OUT = 16 };
    static const char *const names[] = {"int8", "q4_0", "q5_0", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
    static const bl_actq acts[] = {{.bits = 8},
                                   {.bits = 8, .symmetric = true},
                                   {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32},
                                   {.bits = 8, .unit = BL_ACT_GROUP, .group = 16},
                                   {.bits = 8, .unit = BL_ACT_GROUP, .group = 256}};
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), y = numbers(ROWS, OUT, 3),
              z = numbers(ROWS, OUT, 4);
    (void)state;
    for (size_t n = 0; n < BL_COUNT(names); n++)
        for (size_t q = 0; q < BL_COUNT(acts); q++)
            for (int prepared = 0; prepared < 2; prepared++) {
                const bl_format *f = bl_format_find(names[n]);
                double d2 = 0, y2 = 0;
                bl_weight w;
                pack(f, geometry(f, OUT, IN, 64), dense, &w);
                bl_linear_args a = {.x = x, .w = {&w}, .y = {y}};
                assert_false(two->ops->linear_is_integer(two, &a));
                assert_ok(two->ops->linear(two, &a, &e));
                if (prepared) assert_ok(two->ops->prepare(two, &w, &e));
                a.act = acts[q];
                a.y[0] = z;
                assert_true(two->ops->linear_is_integer(two, &a));
                assert_ok(two->ops->linear(two, &a, &e));
                for (int i = 0; i < ROWS * OUT; i++) {
                    double d = (double)row_of(y, 0)[i] - row_of(z, 0)[i];
                    d2 += d * d;
                    y2 += (double)row_of(y, 0)[i] * row_of(y, 0)[i];
                }
                /* 8 bits: about 2^-16 of the range, squared and summed */
                if (!(d2 > 0 && d2 / y2 < 1e-4)) fail_msg("%s, activations %zu: error %g", names[n], q, d2 / y2);
                bl_weight_free(&w);
            }
    drop(dense);
    drop(x);
    drop(y);
    drop(z);
}

static void a_value_that_is_not_finite_stays_in_its_row(void **state)
{
    enum { ROWS = 6, IN = 64, OUT = 9 };
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), y = numbers(ROWS, OUT, 3);
    bl_weight w;
    const bl_format *f = bl_format_find("int4");
    (void)state;
    pack(f, geometry(f, OUT, IN, 32), dense, &w);
    row_of(x, 2)[5] = NAN;
    for (int bits = 0; bits <= 8; bits += 8) {
        assert_ok(two->ops->linear(two, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}, .act.bits = bits}, &e));
        for (int r = 0; r < ROWS; r++)
            for (int o = 0; o < OUT; o++) assert_true((bool)isnan(row_of(y, r)[o]) == (r == 2));
    }
    bl_weight_free(&w);
    drop(dense);
    drop(x);
    drop(y);
}

/* Groups of activations with the bits of the reference whatever they hold: nothing but zeros, halves that are rounded
 * to even, numbers too small to divide, an infinity. */
static void groups_of_activations_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 11, IN = 160, OUT = 16, GROUP = 32 };
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), y = numbers(ROWS, OUT, 3),
              z = numbers(ROWS, OUT, 4);
    const bl_format *f = bl_format_find("int4");
    bl_weight w;
    (void)state;
    pack(f, geometry(f, OUT, IN, GROUP), dense, &w);
    memset(row_of(x, 1), 0, GROUP * sizeof(float));
    for (int i = 0; i < GROUP; i++) row_of(x, 2)[GROUP + i] = i == 7 ? -127 : (float)i - 15.5f;
    for (int i = 0; i < GROUP; i++) row_of(x, 3)[i] = i % 2 ? -1e-45f : 3e-44f;
    for (int i = 0; i < GROUP; i++) row_of(x, 4)[i] = i % 3 ? -3e38f : 1e38f;
    row_of(x, 5)[IN - 1] = -INFINITY;
    row_of(x, 6)[0] = NAN;
    for (int bits = 4; bits <= 8; bits += 4)
        for (int64_t rows = 1; rows <= ROWS; rows += ROWS - 1) {
            bl_linear_args a = {.x = x, .w = {&w}, .y = {y}, .act = {bits, true, BL_ACT_GROUP, GROUP, 0, 0}};
            a.x.dim[0] = a.y[0].dim[0] = rows;
            assert_ok(plain->ops->linear(plain, &a, &e));
            a.y[0] = z;
            a.y[0].dim[0] = rows;
            bl_backend *const all[] = {one, two, between[0], between[1]};
            for (size_t b = 0; b < BL_COUNT(all); b++) {
                assert_ok(all[b]->ops->linear(all[b], &a, &e));
                for (int64_t r = 0; r < rows; r++) {
                    for (int o = 0; o < OUT; o++) assert_true((bool)isnan(row_of(y, r)[o]) == (r == 5 || r == 6));
                    if (r == 5 || r == 6)
                        for (int o = 0; o < OUT; o++) assert_true(isnan(row_of(z, r)[o]));
                    else assert_same(z, r, y, r, 1, "groups");
                }
            }
        }
    bl_weight_free(&w);
    drop(dense);
    drop(x);
    drop(y);
    drop(z);
}

/* Codes and activations at their ends are what sums of few bits have to hold: all at the same end, and by turns. */
static void products_of_codes_at_their_ends_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 9, IN = 128, OUT = 16 };
    static const bl_actq acts[] = {
        {.bits = 8, .symmetric = true}, {.bits = 8}, {.bits = 8, .symmetric = true, .unit = BL_ACT_GROUP, .group = 32}};
    static const unsigned char fill[] = {0x00, 0xff, 0x0f};
    bl_tensor dense = numbers(OUT, IN, 1), x = numbers(ROWS, IN, 2), y = numbers(ROWS, OUT, 3),
              z = numbers(ROWS, OUT, 4);
    (void)state;
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < IN; i++) row_of(x, r)[i] = r % 3 == 0 ? 1 : r % 3 == 1 ? -1 : i % 2 ? 1 : -1;
    for (int bits = 1; bits <= 8; bits++)
        for (size_t n = 0; n < BL_COUNT(fill) * 2; n++) {
            char name[8];
            bl_weight w;
            snprintf(name, sizeof name, "int%d", bits);
            const bl_format *f = bl_format_find(name);
            pack(f, geometry(f, OUT, IN, 64), dense, &w);
            memset((char *)w.part[0].buf->data + w.part[0].offset, fill[n / 2], bl_tensor_bytes(&w.part[0]));
            if (n % 2) assert_ok(two->ops->prepare(two, &w, &e)); /* the same codes everywhere have no order */
            for (size_t q = 0; q < BL_COUNT(acts); q++)
                for (int64_t rows = 1; rows <= ROWS; rows += 4) {
                    bl_linear_args a = {
                        .x = bl_tensor_rows(x, 0, rows), .w = {&w}, .y = {bl_tensor_rows(y, 0, rows)}, .act = acts[q]};
                    assert_ok(plain->ops->linear(plain, &a, &e));
                    a.y[0] = bl_tensor_rows(z, 0, rows);
                    bl_backend *const all[] = {one, two, between[0], between[1]};
                    for (size_t b = 0; b < BL_COUNT(all); b++) {
                        assert_ok(all[b]->ops->linear(all[b], &a, &e));
                        assert_same(z, 0, y, 0, rows, name);
                    }
                }
            bl_weight_free(&w);
        }
    drop(dense);
    drop(x);
    drop(y);
    drop(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_do_not_depend_on_batch_offset_threads_or_instructions),
        cmocka_unit_test(many_rows_do_not_depend_on_how_they_are_shared_out),
        cmocka_unit_test(a_norm_and_a_gate_on_the_way_have_the_bits_of_their_ops),
        cmocka_unit_test(a_prepared_weight_has_the_bits_of_the_stored_one),
        cmocka_unit_test(weights_that_come_to_their_readers_keep_their_bits),
        cmocka_unit_test(a_packed_product_allocates_at_most_a_mebibyte_for_each_thread),
        cmocka_unit_test(a_whole_linear_has_the_bits_of_the_reference),
        cmocka_unit_test(products_over_few_inputs_have_the_bits_of_the_reference),
        cmocka_unit_test(several_weights_of_one_input_have_the_bits_of_single_calls),
        cmocka_unit_test(a_bias_is_one_addition_to_the_finished_product),
        cmocka_unit_test(a_transposed_product_is_that_of_the_transposed_weight),
        cmocka_unit_test(an_orthogonal_transform_on_both_sides_changes_nothing),
        cmocka_unit_test(integer_products_are_near_those_of_the_dequantized_values),
        cmocka_unit_test(a_value_that_is_not_finite_stays_in_its_row),
        cmocka_unit_test(groups_of_activations_have_the_bits_of_the_reference),
        cmocka_unit_test(products_of_codes_at_their_ends_have_the_bits_of_the_reference),
    };
    return cmocka_run_group_tests_name("kernels_cpu", tests, set_up, tear_down);
}
