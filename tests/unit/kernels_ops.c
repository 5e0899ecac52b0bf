/* The ops one by one, on the fast backend and on the reference: examples small enough for paper, limits, refusals,
 * equal bits. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "lists.h"

static bl_err e;
static bl_backend *backends[4]; /* fast, plain C on two threads, reference, AVX2 */
#define EACH(be) for (bl_backend * be, **at_ = backends; at_ < backends + 4 && (be = *at_) != NULL; at_++)

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_PLAIN}, &backends[1], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[2], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_AVX2}, &backends[3], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(backends[0]);
    bl_backend_close(backends[1]);
    bl_backend_close(backends[2]);
    bl_backend_close(backends[3]);
    return 0;
}

static bl_tensor make(bl_dtype t, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(backends[0]->ops->buffer_new(backends[0], (uint64_t)(rows * cols) * bl_dtype_bytes(t), &b, &e));
    memset(b->data, 0, b->bytes);
    return rows == 1 && t != BL_F32 ? bl_tensor_1d(b, 0, t, cols) : bl_tensor_2d(b, 0, t, rows, cols);
}
static bl_tensor random_f32(int64_t rows, int64_t cols, uint64_t seed, float by)
{
    bl_tensor t = make(BL_F32, rows, cols);
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_ops", 0), 0);
    for (int64_t i = 0; i < rows * cols; i++) ((float *)t.buf->data)[i] = by * (float)(bl_rng_uniform(&r) * 2 - 1);
    return t;
}
static bl_tensor with(int64_t rows, int64_t cols, const float *v)
{
    bl_tensor t = make(BL_F32, rows, cols);
    memcpy(t.buf->data, v, t.buf->bytes);
    return t;
}
static float *f32(bl_tensor t) { return t.buf->data; }
static double *f64(bl_tensor t) { return t.buf->data; }
static int32_t *i32(bl_tensor t) { return t.buf->data; }
static void drop(bl_tensor t) { backends[0]->ops->buffer_free(t.buf); }
static bl_tensor flat(bl_tensor t) { return bl_tensor_1d(t.buf, 0, t.dtype, t.dim[0] * (t.ndim > 1 ? t.dim[1] : 1)); }
static void assert_equal_bits(bl_tensor a, bl_tensor b) { assert_memory_equal(a.buf->data, b.buf->data, a.buf->bytes); }

/* ---- memory ---- */
static void buffers_are_counted_and_limited(void **state)
{
    bl_backend *be;
    bl_buffer *a, *b, *c;
    uint64_t now, peak;
    (void)state;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1, .memory_limit = 1000}, &be, &e));
    assert_ok(be->ops->buffer_new(be, 600, &a, &e));
    assert_ok(be->ops->buffer_new(be, 400, &b, &e));
    assert_refused(be->ops->buffer_new(be, 1, &c, &e), BL_E_DEVMEM, "1000 of 1000");
    be->ops->buffer_free(a);
    be->ops->memory(be, &now, &peak);
    assert_int_equal(now, 400);
    assert_int_equal(peak, 1000);
    assert_refused(be->ops->buffer_new(be, UINT64_MAX, &c, &e), BL_E_DEVMEM, "do not fit");
    be->ops->buffer_free(b);
    be->ops->buffer_free(NULL);
    be->ops->memory(be, &now, NULL);
    assert_int_equal(now, 0);
    bl_backend_close(be);
    bl_backend_close(NULL);
}

static void a_device_that_is_not_there_is_refused_with_those_that_are(void **state)
{
    bl_backend *be = NULL;
    (void)state;
    assert_refused(bl_backend_open(&(bl_backend_opts){.device = "tpu:0"}, &be, &e), BL_E_UNSUPPORTED, "there are: ");
    assert_refused(bl_backend_open(&(bl_backend_opts){.threads = -1}, &be, &e), BL_E_CONFIG, "threads");
    assert_null(be);
    assert_refused(bl_device_check("cuda:999", &e), BL_E_UNSUPPORTED, "no device 'cuda:999'; there are: ");
    assert_ok(bl_device_check("cpu", &e));
    assert_ok(bl_device_check(NULL, &e));
    assert_null(bl_device_numerics("cuda:999", false));
    assert_string_equal(bl_device_numerics("cpu", false), "cpu-f32");
    EACH(open) assert_string_equal(bl_backend_numerics(open), "cpu-f32");
}

static void opening_survives_the_failure_of_every_allocation(void **state)
{
    bl_backend *be = NULL;
    bl_status st = BL_E_NOMEM;
    (void)state;
    for (uint64_t n = 1; st != BL_OK && n < 100; n++) {
        bl_alloc_fail_at(n, false);
        st = bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e);
        bl_alloc_fail_at(0, false);
        assert_true(st == BL_OK || st == BL_E_NOMEM);
    }
    assert_int_equal(st, BL_OK);
    bl_backend_close(be);
}

static void fill_upload_and_download_agree(void **state)
{
    static const bl_dtype types[] = {BL_F32, BL_F16, BL_BF16, BL_F64, BL_U8, BL_I8, BL_I16, BL_I32, BL_I64};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(types); i++) {
        unsigned char host[5 * 8], again[5 * 8];
        bl_tensor t = make(types[i], 1, 5);
        bl_tensor u = make(types[i], 1, 5);
        EACH(be)
        {
            assert_ok(be->ops->fill(be, &t, 3, &e));
            assert_ok(be->ops->download(be, &t, host, &e));
            assert_ok(be->ops->upload(be, &u, host, &e));
            assert_ok(be->ops->download(be, &u, again, &e));
            assert_ok(be->ops->sync(be, &e));
            assert_memory_equal(host, again, 5 * bl_dtype_bytes(types[i]));
        }
        if (types[i] == BL_I16) assert_int_equal(((int16_t *)t.buf->data)[4], 3);
        if (types[i] == BL_F16) assert_true(bl_f16_to_f32(((uint16_t *)t.buf->data)[0]) == 3);
        drop(t);
        drop(u);
    }
    bl_tensor t = make(BL_F32, 4, 6), half = t;
    half.dim[1] = 3;
    assert_refused(backends[0]->ops->fill(backends[0], &half, 0, &e), BL_E_INTERNAL, "contiguous");
    drop(t);
}

static void an_element_of_every_type_takes_a_value(void **state)
{
    static const struct {
        bl_dtype type;
        double value;
        unsigned char bytes[8]; /* IEEE 754 and two's complement, the low byte first */
    } rows[] = {{BL_F32, -0.15625, {0, 0, 0x20, 0xbe}},
                {BL_F64, -0.15625, {0, 0, 0, 0, 0, 0, 0xc4, 0xbf}},
                {BL_F16, -0.15625, {0, 0xb1}},
                {BL_BF16, -0.15625, {0x20, 0xbe}},
                {BL_U8, 200, {200}},
                {BL_I8, -100, {0x9c}},
                {BL_BOOL, 256, {1}},
                {BL_BOOL, 0, {0}},
                {BL_I16, -300, {0xd4, 0xfe}},
                {BL_I32, -70000, {0x90, 0xee, 0xfe, 0xff}},
                {BL_I64, -5e9, {0, 0x0e, 0xfa, 0xd5, 0xfe, 0xff, 0xff, 0xff}}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        size_t n = bl_dtype_bytes(rows[i].type);
        unsigned char got[9];
        memset(got, 0xa5, sizeof got);
        bl_dtype_put(rows[i].type, rows[i].value, got);
        if (memcmp(got, rows[i].bytes, n) != 0 || got[n] != 0xa5)
            fail_msg("%s: %g has other bytes", bl_dtype_name(rows[i].type), rows[i].value);
    }
}

static void facts_name_the_machine(void **state)
{
    (void)state;
    EACH(be)
    {
        bl_device_info f;
        be->ops->device_info(be, &f);
        assert_true(f.name[0] && f.simd[0] && f.threads >= 1 && f.memory_bytes > 0 && f.deterministic);
        assert_string_equal(be->ops->name, "cpu");
    }
}

static void events_are_times_in_the_order_they_were_recorded(void **state)
{
    (void)state;
    EACH(be)
    {
        bl_event *a, *b;
        double t = -1, start = bl_now(), all;
        assert_ok(be->ops->event_new(be, &a, &e));
        assert_ok(be->ops->event_new(be, &b, &e));
        assert_refused(be->ops->event_seconds(a, b, &t, &e), BL_E_INTERNAL, "not recorded");
        assert_ok(be->ops->event_record(be, a, &e));
        assert_ok(be->ops->flush(be, &e));
        assert_ok(be->ops->event_record(be, b, &e));
        assert_ok(be->ops->event_seconds(a, b, &t, &e));
        all = bl_now() - start;
        assert_true(t > 0 && t <= all);
        be->ops->event_free(a);
        be->ops->event_free(b);
        be->ops->event_free(NULL);
    }
}

static void an_op_that_a_backend_lacks_is_refused_by_name(void **state)
{
    (void)state;
    EACH(be)
    {
        assert_ok(bl_check_op(be, be->ops->linear, "linear", &e));
        assert_refused(bl_check_op(be, be->ops->graph_begin, "graph_begin", &e), BL_E_UNSUPPORTED,
                       "backend cpu has no graph_begin");
        assert_false(be->ops->graph_end || be->ops->graph_replay || be->ops->graph_free || be->ops->stream_new);
    }
}

/* The table of ops is pointers, one after another: each from linear on is named, but the one that only answers. */
static void every_op_that_computes_has_a_name(void **state)
{
    (void)state;
    size_t slots = (sizeof(bl_ops) - offsetof(bl_ops, linear)) / sizeof(void (*)(void)), n = 0;
    while (bl_op_at(n)) {
        for (size_t k = 0; k < n; k++) assert_string_not_equal(bl_op_at(n), bl_op_at(k));
        n++;
    }
    assert_string_equal(bl_op_at(0), "linear");
    if (n != slots - 1) /* linear_is_integer */
        fail_msg("%zu ops compute, %zu have a name; op_names is in kernels/ops.c", slots - 1, n);
}

/* ---- rows ---- */
static void norm_divides_by_the_root_mean_square(void **state)
{
    bl_tensor x = with(1, 2, (float[]){3, 4}), w = with(1, 2, (float[]){1, 2}), y = make(BL_F32, 1, 2);
    (void)state;
    EACH(be)
    { /* sqrt((9 + 16) / 2) = 3.5355 */
        assert_ok(be->ops->rmsnorm(be, &(bl_rmsnorm_args){x, flat(w), y, 0}, &e));
        assert_true(fabs(f32(y)[0] - 3 / 3.5355339) < 1e-6 && fabs(f32(y)[1] - 8 / 3.5355339) < 1e-6);
    }
    drop(x);
    drop(w);
    drop(y);
}

static void layernorm_and_gelu_follow_their_formulas(void **state)
{
    bl_tensor x = with(2, 4, (float[]){1, 3, 5, 7, 2, 2, 2, 2}), w = with(1, 4, (float[]){1, 1, 2, 1}),
              b = with(1, 4, (float[]){0, 10, 0, 0}), y = make(BL_F32, 2, 4), g = with(1, 4, (float[]){0, 1, -2, 30});
    (void)state;
    EACH(be)
    { /* mean 4, variance 5 */
        assert_ok(be->ops->layernorm(be, &(bl_layernorm_args){x, flat(w), flat(b), y, 0.0001}, &e));
        const double want[] = {-3 / 2.23609034, 10 - 1 / 2.23609034, 2 / 2.23609034, 3 / 2.23609034, 0, 10, 0, 0};
        for (int i = 0; i < 8; i++) assert_true(fabs(f32(y)[i] - want[i]) < 1e-6);
        bl_tensor to = with(1, 4, (float[]){9, 9, 9, 9});
        assert_ok(be->ops->gelu(be, &(bl_gelu_args){g, to}, &e)); /* x times the normal distribution's share below it */
        const double gelu[] = {0, 0.8413447461, -2 * 0.0227501319, 30};
        for (int i = 0; i < 4; i++) assert_true(fabs(f32(to)[i] - gelu[i]) < 1e-6);
        assert_refused(be->ops->layernorm(be, &(bl_layernorm_args){x, flat(g), flat(to), to, 0}, &e), BL_E_INTERNAL,
                       "layernorm: shapes");
        assert_refused(be->ops->gelu(be, &(bl_gelu_args){x, to}, &e), BL_E_INTERNAL, "gelu: shapes");
        drop(to);
    }
    drop(x);
    drop(w);
    drop(b);
    drop(y);
    drop(g);
}

static void rope_turns_pairs_that_are_half_a_head_apart(void **state)
{
    bl_tensor c = with(2, 2, (float[]){1, 1, 0, 1}), s = with(2, 2, (float[]){0, 0, 1, 0});
    bl_tensor pos = I32(1, 0), wrong = I32(2, 0);
    (void)state;
    EACH(be)
    { /* at position 1 a quarter turn of the first pair */
        bl_tensor x = with(2, 4, (float[]){1, 2, 3, 4, 5, 6, 7, 8});
        assert_ok(be->ops->rope(be, &(bl_rope_args){x, 4, pos, c, s}, &e));
        assert_memory_equal(x.buf->data, ((float[]){-3, 2, 1, 4, 5, 6, 7, 8}), 32);
        assert_refused(be->ops->rope(be, &(bl_rope_args){x, 4, wrong, c, s}, &e), BL_E_INTERNAL,
                       "position 2 is not in 0..1");
        drop(x);
    }
    drop(c);
    drop(s);
}

static void gate_and_add_follow_their_formulas(void **state)
{
    bl_tensor g = with(1, 3, (float[]){0, 1, -200}), u = with(1, 3, (float[]){5, 2, 3}), y = make(BL_F32, 1, 3);
    (void)state;
    EACH(be)
    {
        assert_ok(be->ops->swiglu(be, &(bl_swiglu_args){g, u, y}, &e));
        assert_true(f32(y)[0] == 0 && fabs(f32(y)[1] - 2 * 0.7310585786) < 1e-6 && fabs(f32(y)[2]) < 1e-30);
        assert_ok(be->ops->add(be, &(bl_add_args){u, y}, &e));
        assert_true(f32(y)[0] == 5 && f32(y)[2] == 3);
    }
    drop(g);
    drop(u);
    drop(y);
}

static void rows_are_gathered_and_scattered(void **state)
{
    bl_tensor src = with(3, 2, (float[]){1, 2, 3, 4, 5, 6});
    (void)state;
    EACH(be)
    {
        bl_tensor dst = make(BL_F32, 4, 2);
        bl_tensor from = I64(2, 0), to = I64(0, 3), wrong = I64(0, 4), none = {0};
        assert_ok(be->ops->gather(be, &(bl_gather_args){src, dst, from, to, 2}, &e));
        assert_memory_equal(dst.buf->data, ((float[]){5, 6, 0, 0, 0, 0, 1, 2}), 32);
        assert_ok(be->ops->gather(be, &(bl_gather_args){src, dst, none, none, 1}, &e));
        assert_true(f32(dst)[0] == 1);
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, from, wrong, 2}, &e), BL_E_INTERNAL,
                       "out of range");
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, none, none, 4}, &e), BL_E_INTERNAL, "too short");
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, I32(2, 0), to, 2}, &e), BL_E_INTERNAL,
                       "another type");
        drop(dst);
    }
    drop(src);
}

static void embed_unpacks_the_rows_of_the_ids(void **state)
{
    const bl_format *f = bl_format_find("int8");
    bl_shape g = {.out = 5, .in = 64, .group = 32, .zero = BL_ZERO_PACKED, .scale = BL_F16};
    bl_tensor dense = random_f32(5, 64, 1, 1), y = make(BL_F32, 3, 64), all = make(BL_F32, 5, 64);
    bl_tensor ids = I32(4, 0, 4), wrong = I32(4, 5, 0);
    bl_weight w;
    double d2, x2;
    (void)state;
    EACH(be)
    {
        assert_ok(bl_weight_new(be, f, &g, &w, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &w, .sq_error = &d2, .sq_weight = &x2}, &e));
        assert_true(d2 > 0 && d2 / x2 < 1e-4);
        assert_ok(be->ops->unpack(be, &(bl_unpack_args){&w, 0, 5, all}, &e));
        assert_ok(be->ops->embed(be, &(bl_embed_args){&w, ids, y}, &e));
        for (int r = 0; r < 3; r++) assert_memory_equal(f32(y) + 64 * r, f32(all) + 64 * i32(ids)[r], 256);
        assert_refused(be->ops->embed(be, &(bl_embed_args){&w, wrong, y}, &e), BL_E_INTERNAL,
                       "token id 5 is not in 0..4");
        bl_weight_free(&w);
    }
    drop(dense);
    drop(y);
    drop(all);
}

static void packing_does_not_depend_on_threads_and_says_what_it_lost(void **state)
{
    enum { OUT = 150, IN = 172 };
    const bl_format *f;
    bl_tensor dense = random_f32(OUT, IN, 3, 1);
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++) {
        bl_shape g = {.out = OUT, .in = IN, .scale = BL_F16};
        bl_weight w[2];
        double d2[2], x2[2];
        if (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE) g.group = 64;
        if (f->kind == BL_FMT_TABLE) g.double_quant = i % 2;
        if (!f->pack || f->check(f, &g, NULL) != BL_OK) continue;
        for (int b = 0; b < 2; b++) {
            assert_ok(bl_weight_new(backends[b], f, &g, &w[b], &e));
            memset(w[b].owned->data, 0, w[b].owned->bytes);
            assert_ok(backends[b]->ops->pack(
                backends[b], &(bl_pack_args){.x = dense, .w = &w[b], .sq_error = &d2[b], .sq_weight = &x2[b]}, &e));
        }
        assert_memory_equal(w[0].owned->data, w[1].owned->data, w[0].owned->bytes);
        assert_true(d2[0] == d2[1] && x2[0] == x2[1] && x2[0] > 0);
        bl_weight_free(&w[0]);
        bl_weight_free(&w[1]);
    }
    drop(dense);
}

static void a_weight_that_is_not_finite_is_refused_with_its_place(void **state)
{
    const bl_format *f = bl_format_find("int4");
    bl_shape g = {.out = 200, .in = 64, .group = 64, .scale = BL_F16};
    bl_tensor dense = random_f32(200, 64, 3, 1);
    bl_weight w;
    (void)state;
    f32(dense)[130 * 64 + 7] = INFINITY;
    EACH(be)
    {
        assert_ok(bl_weight_new(be, f, &g, &w, &e));
        bl_status st = be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &w}, &e);
        assert_true(st != BL_OK);
        assert_non_null(strstr(e.text, "row 130"));
        bl_weight_free(&w);
    }
    drop(dense);
}

/* ---- logits ---- */
static void loss_is_the_negative_log_of_the_softmax(void **state)
{
    bl_tensor l = with(3, 4, (float[]){0, 0, 0, 99, 1, 3, 3, 99, 0, NAN, 0, 99}), nll = make(BL_F64, 1, 3),
              top = make(BL_I32, 1, 3);
    bl_tensor target = I32(1, -1, 0);
    (void)state;
    EACH(be)
    { /* the fourth column is padding */
        assert_ok(be->ops->loss(
            be, &(bl_loss_args){.logits = l, .vocab = 3, .target = target, .nll = nll, .argmax = top}, &e));
        assert_true(fabs(f64(nll)[0] - log(3)) < 1e-7 && f64(nll)[1] == 0 && isnan(f64(nll)[2]));
        assert_true(i32(top)[0] == 0 && i32(top)[1] == 1); /* first of equals */
        assert_refused(be->ops->loss(be, &(bl_loss_args){.logits = l, .vocab = 5, .nll = nll}, &e), BL_E_INTERNAL,
                       "vocab");
        bl_loss_args wrong = {.logits = l, .vocab = 3, .target = I32(1, 3, 0), .nll = nll};
        assert_refused(be->ops->loss(be, &wrong, &e), BL_E_INTERNAL, "a target is out of range");
    }
    drop(l);
    drop(nll);
    drop(top);
}

static void fast_losses_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 5, VOCAB = 1003 };
    bl_tensor p = random_f32(ROWS, VOCAB + 5, 1, 20), q = random_f32(ROWS, VOCAB + 5, 2, 20), d[2][3], i[2][2];
    const int32_t target[] = {0, 1002, 500, 7, 9};
    bl_tensor targets = VIEW_OF(target, BL_I32, ROWS);
    (void)state;
    memcpy(f32(q), f32(p), (VOCAB + 5) * 4); /* the first row is the same in both */
    for (int b = 0; b < 2; b++) {
        for (int n = 0; n < 3; n++) d[b][n] = make(BL_F64, 1, ROWS);
        for (int n = 0; n < 2; n++) i[b][n] = make(BL_I32, 1, ROWS);
        assert_ok(backends[b]->ops->loss(backends[b], &(bl_loss_args){p, VOCAB, targets, d[b][0], i[b][0]}, &e));
        assert_ok(backends[b]->ops->kl_div(backends[b],
                                           &(bl_kl_div_args){p, q, VOCAB, targets, d[b][1], d[b][2], i[b][1], 0}, &e));
    }
    for (int n = 0; n < 3; n++) assert_equal_bits(d[0][n], d[1][n]);
    for (int n = 0; n < 2; n++) assert_equal_bits(i[0][n], i[1][n]);
    assert_true(f64(d[0][1])[0] == 0 && f64(d[0][2])[0] == 0 && i32(i[0][1])[0] == 1);
    for (int r = 1; r < ROWS; r++) { /* against libm in double */
        double zp = 0, zq = 0, kl = 0;
        const float *a = f32(p) + r * (VOCAB + 5), *b = f32(q) + r * (VOCAB + 5);
        for (int k = 0; k < VOCAB; k++) {
            zp += exp(a[k]);
            zq += exp(b[k]);
        }
        for (int k = 0; k < VOCAB; k++) kl += exp(a[k]) / zp * (a[k] - log(zp) - b[k] + log(zq));
        assert_true(fabs(f64(d[0][1])[r] - kl) < 1e-6 * kl);
        assert_true(fabs(f64(d[0][0])[r] - (log(zp) - a[target[r]])) < 1e-6);
        assert_true(fabs(f64(d[0][2])[r] - (exp(b[target[r]]) / zq - exp(a[target[r]]) / zp)) < 1e-7);
    }
    for (int b = 0; b < 2; b++) {
        for (int n = 0; n < 3; n++) drop(d[b][n]);
        for (int n = 0; n < 2; n++) drop(i[b][n]);
    }
    drop(p);
    drop(q);
}

static void samples_follow_temperature_and_top_p(void **state)
{
    /* probabilities 1/2, 1/4, 1/8, 1/8 in the order 1, 3, 0, 2 */
    float x[] = {logf(1), logf(4), logf(1), logf(2)};
    bl_tensor l = with(1, 4, x), ids = make(BL_I32, 1, 1);
    static const struct {
        double temperature, top_p, u;
        int32_t want;
    } row[] = {
        {0, 0, 0.99, 1},   {1, 0, 0.01, 0},   {1, 0, 0.2, 1},     {1, 1, 0.7, 2},     {1, 0, 0.99, 3},
        {1, 0.7, 0.66, 1}, {1, 0.7, 0.67, 3}, {1, 0.7, 0.999, 3}, {1, 0.3, 0.999, 1}, {0.01, 0, 0.5, 1},
    };
    (void)state;
    EACH(be)
    for (size_t i = 0; i < BL_COUNT(row); i++) {
        assert_ok(
            be->ops->sample(be, &(bl_sample_args){l, 4, row[i].temperature, row[i].top_p, F64(row[i].u), ids}, &e));
        if (i32(ids)[0] != row[i].want) fail_msg("row %zu: %d, wanted %d", i, (int)i32(ids)[0], (int)row[i].want);
    }
    drop(l);
    drop(ids);
}

/* ---- attention ---- */
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

/* 8.5 of a step of 1 goes to the even one. What fp16 cannot hold makes the step NaN. */
static void a_cache_of_few_bits_holds_a_step_and_the_least_of_every_32_values(void **state)
{
    bl_tensor v = with(2, 4, (float[]){0, 15, 7, 8.5f, 1, 1e6f, 0, 0});
    (void)state;
    EACH(be)
    {
        bl_kv_view c = cache_of(be, BL_KV_INT4, 2, 1, 1, 4);
        assert_ok(be->ops->kv_append(be, &(bl_kv_append_args){.kv = c, .v = v, .to = I64(0, 1)}, &e));
        const uint8_t *codes = at(&c.v);
        const uint16_t *step = at(&c.v_scale);
        assert_true(codes[0] == (0 | 15 << 4) && codes[1] == (7 | 8 << 4));
        assert_true(bl_f16_to_f32(step[0]) == 1 && bl_f16_to_f32(step[1]) == 0 && isnan(bl_f16_to_f32(step[2])));
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
    for (int whole = 0; whole < 2; whole++) {
        bl_kv_view c = cache_of(be, BL_KV_INT2, 70, 2, 1, 4);
        const uint8_t *codes = at(&c.k);
        const uint16_t *step = (uint16_t *)at(&c.k_scale) + 8;
        int64_t n = whole ? 40 : 21;
        bl_kv_append_args a = {
            .kv = c, .k = bl_tensor_rows(k, 0, n), .to = VIEW_OF(to, BL_I64, n), .tail = VIEW_OF(tail, BL_I64, n)};
        assert_ok(be->ops->kv_append(be, &a, &e));
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

/* Decoded here, a bit at a time. */
static int code_in(const uint8_t *p, int bits, int64_t i)
{
    int q = 0;
    for (int b = 0; b < bits; b++) q |= (p[(i * bits + b) / 8] >> (i * bits + b) % 8 & 1) << b;
    return q;
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

/* One sequence of 150 positions whole; in chunks; after a shared prefix in two segments; beside others; fast and
 * plain: the same bits. */
static void attention_does_not_depend_on_chunks_segments_or_neighbours(void **state)
{
    enum { N = 150 };
    static const struct {
        int64_t heads, kv, dim;
    } shape[] = {{9, 3, 64}, {8, 4, 8}, {2, 1, 20}, {4, 4, 16}, {5, 1, 128}};
    (void)state;
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

static void fast_rows_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 7, DIM = 91 };
    bl_tensor x = random_f32(ROWS, DIM, 1, 100), u = random_f32(ROWS, DIM, 2, 1), w = random_f32(1, DIM, 3, 1),
              y = make(BL_F32, ROWS, DIM), z = make(BL_F32, ROWS, DIM);
    bl_tensor c = random_f32(9, 13, 4, 1), s = random_f32(9, 13, 5, 1), r = random_f32(ROWS, 78, 6, 1),
              t = make(BL_F32, ROWS, 78);
    bl_tensor pos = I32(0, 8, 3, 3, 1, 2, 5);
    (void)state;
    for (int b = 0; b < 2; b++) {
        bl_tensor to = b ? z : y, turned = b ? t : r;
        if (b == 0) memcpy(t.buf->data, r.buf->data, r.buf->bytes);
        assert_ok(backends[b]->ops->swiglu(backends[b], &(bl_swiglu_args){x, u, to}, &e));
        assert_ok(backends[b]->ops->add(backends[b], &(bl_add_args){x, to}, &e));
        assert_ok(backends[b]->ops->rmsnorm(backends[b], &(bl_rmsnorm_args){to, flat(w), to, 1e-5}, &e));
        assert_ok(backends[b]->ops->rope(backends[b], &(bl_rope_args){turned, 26, pos, c, s}, &e));
    }
    assert_equal_bits(y, z);
    assert_equal_bits(r, t);
    drop(x);
    drop(u);
    drop(w);
    drop(y);
    drop(z);
    drop(c);
    drop(s);
    drop(r);
    drop(t);
}

static void the_exponential_is_within_one_unit_in_the_last_place(void **state)
{
    union {
        float f;
        uint32_t u;
    } v;
    (void)state;
    for (int sign = 0; sign < 2; sign++)
        for (v.f = 0; v.f < 88; v.u += 10007) {
            float x = sign ? -v.f : v.f, y = bl_exp(x);
            double want = exp((double)x), unit = (double)nextafterf((float)want, INFINITY) - (double)(float)want;
            if (x >= BL_EXP_LOW && fabs(y - want) > unit)
                fail_msg("e^%.9g = %.9g, wanted %.9g", (double)x, (double)y, want);
        }
    assert_true(bl_exp(0) == 1 && bl_exp(-0.0f) == 1 && bl_exp(-INFINITY) == 0 && bl_exp(-100) == 0 &&
                isnan(bl_exp(NAN)));
    assert_true(bl_exp(INFINITY) == bl_exp(88) && isfinite(bl_exp(88)));
}

static void product_calls_are_counted_by_their_rows(void **state)
{
    static const int64_t rows[] = {1, 2, 8, 9, 64, 65, 300};
    const bl_format *f = bl_format_find("fp32");
    bl_shape g = {.out = 4, .in = 8};
    bl_tensor dense = random_f32(4, 8, 1, 1), some = flat(random_f32(1, 4, 3, 1));
    (void)state;
    EACH(be)
    {
        uint64_t before[4], *after = be->products;
        bl_weight w;
        const bl_transform s = {BL_T_SCALE, 4, 4, some};
        assert_ok(bl_weight_new(be, f, &g, &w, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &w}, &e));
        memcpy(before, be->products, sizeof before);
        for (size_t i = 0; i < BL_COUNT(rows); i++) {
            bl_tensor x = random_f32(rows[i], 8, 2, 1), y = make(BL_F32, rows[i], 4);
            assert_ok(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}}, &e));
            drop(x);
            drop(y);
        }
        bl_tensor x = random_f32(300, 8, 2, 1), y = make(BL_F32, 300, 4); /* one product, however it is cut */
        assert_ok(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}, .s = &s, .n_s = 1}, &e));
        drop(x);
        drop(y);
        assert_true(after[0] - before[0] == 1 && after[1] - before[1] == 2 && after[2] - before[2] == 2 &&
                    after[3] - before[3] == 3);
        bl_weight_free(&w);
    }
    drop(dense);
    drop(some);
}

/* ---- transforms of outputs ---- */
/* y = S(x Wt) + bias + adapters, S in order: reversed, then scaled. */
static void outputs_are_transformed_before_bias_and_adapters(void **state)
{
    enum { ROWS = 300, IN = 40, OUT = 24 };
    (void)state;
    bl_tensor x = random_f32(ROWS, IN, 1, 1), w = random_f32(OUT, IN, 2, 1), bias = flat(random_f32(1, OUT, 3, 1)),
              a = random_f32(2, IN, 4, 1), b = random_f32(OUT, 2, 5, 1), s = flat(random_f32(1, OUT, 6, 1)),
              plain = make(BL_F32, ROWS, OUT), y = make(BL_F32, ROWS, OUT), first = make(BL_F32, ROWS, OUT),
              back = make(BL_I32, 1, OUT);
    bl_weight weight;
    const bl_lowrank adapter = {.a = a, .b = b, .scale = 0.5f};
    for (int i = 0; i < OUT; i++) i32(back)[i] = OUT - 1 - i;
    const bl_transform turns[] = {{.kind = BL_T_PERMUTE, .in = OUT, .out = OUT, .data = back},
                                  {.kind = BL_T_SCALE, .in = OUT, .out = OUT, .data = s}};
    assert_ok(bl_weight_new(backends[0], bl_format_find("fp32"), &(bl_shape){.out = OUT, .in = IN}, &weight, &e));
    assert_ok(backends[0]->ops->upload(backends[0], &weight.part[0], f32(w), &e));
    EACH(be)
    {
        bl_linear_args args = {.x = x, .w = {&weight}, .y = {plain}};
        assert_ok(be->ops->linear(be, &args, &e));
        args = (bl_linear_args){.x = x,
                                .w = {&weight},
                                .bias = {bias},
                                .y = {y},
                                .s = turns,
                                .n_s = 2,
                                .adapter = &adapter,
                                .n_adapters = 1};
        assert_ok(be->ops->linear(be, &args, &e));
        for (int r = 0; r < ROWS; r++)
            for (int o = 0; o < OUT; o++) {
                double want = (double)f32(plain)[r * OUT + OUT - 1 - o] * f32(s)[o] + f32(bias)[o];
                for (int k = 0; k < 2; k++) {
                    double low = 0;
                    for (int i = 0; i < IN; i++) low += (double)f32(x)[r * IN + i] * f32(a)[k * IN + i];
                    want += 0.5 * low * f32(b)[o * 2 + k];
                }
                assert_true(fabs(f32(y)[r * OUT + o] - want) < 1e-4);
            }
        if (be == backends[0]) memcpy(f32(first), f32(y), y.buf->bytes);
        assert_equal_bits(first, y);
        bl_tensor one = bl_tensor_rows(plain, 7, 1); /* a row alone has the same bits */
        args.x = bl_tensor_rows(x, 7, 1);
        args.y[0] = one;
        assert_ok(be->ops->linear(be, &args, &e));
        assert_memory_equal(f32(plain) + 7 * OUT, f32(y) + 7 * OUT, OUT * sizeof(float));
        args.accumulate = true;
        assert_ok(be->ops->linear(be, &args, &e));
        for (int o = 0; o < OUT; o++) assert_true(fabsf(f32(plain)[7 * OUT + o] - 2 * f32(y)[7 * OUT + o]) < 1e-5f);
        args.w[1] = &weight;
        args.y[1] = one;
        args.n_adapters = 0;
        assert_refused(be->ops->linear(be, &args, &e), BL_E_INTERNAL, "belong to one weight");
    }
    bl_weight_free(&weight);
    drop(x);
    drop(w);
    drop(bias);
    drop(a);
    drop(b);
    drop(s);
    drop(plain);
    drop(y);
    drop(first);
    drop(back);
}

/* The share of the most likely ones, the first of equal ones before the others, found here one by one. */
static void samples_of_many_follow_the_order_of_their_probabilities(void **state)
{
    enum { VOCAB = 1000, DRAWS = 40 };
    const double top_p = 0.6;
    double p[VOCAB], sum = 0, share = 0;
    int order[VOCAB], n = 0;
    bool taken[VOCAB] = {false};
    bl_tensor l = make(BL_F32, 1, VOCAB), ids = make(BL_I32, 1, 1);
    (void)state;
    for (int i = 0; i < VOCAB; i++) f32(l)[i] = (float)(i * 7919 % 97) / 16; /* each about ten times */
    for (int i = 0; i < VOCAB; i++) sum += p[i] = exp((double)f32(l)[i] - 96.0 / 16);
    while (share < top_p * sum) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!taken[i] && (best < 0 || p[i] > p[best])) best = i;
        taken[order[n++] = best] = true;
        share += p[best];
    }
    assert_true(n > 50 && n < VOCAB / 2);
    EACH(be)
    for (int d = 0; d < DRAWS; d++) {
        const double u = (d + 0.5) / DRAWS;
        double at = 0;
        int want = 0;
        while ((at += p[order[want]]) <= u * share) want++;
        assert_ok(be->ops->sample(be, &(bl_sample_args){l, VOCAB, 1, top_p, F64(u), ids}, &e));
        assert_int_equal(i32(ids)[0], order[want]);
    }
    drop(l);
    drop(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_counted_and_limited),
        cmocka_unit_test(a_device_that_is_not_there_is_refused_with_those_that_are),
        cmocka_unit_test(opening_survives_the_failure_of_every_allocation),
        cmocka_unit_test(fill_upload_and_download_agree),
        cmocka_unit_test(an_element_of_every_type_takes_a_value),
        cmocka_unit_test(facts_name_the_machine),
        cmocka_unit_test(events_are_times_in_the_order_they_were_recorded),
        cmocka_unit_test(an_op_that_a_backend_lacks_is_refused_by_name),
        cmocka_unit_test(every_op_that_computes_has_a_name),
        cmocka_unit_test(outputs_are_transformed_before_bias_and_adapters),
        cmocka_unit_test(norm_divides_by_the_root_mean_square),
        cmocka_unit_test(layernorm_and_gelu_follow_their_formulas),
        cmocka_unit_test(rope_turns_pairs_that_are_half_a_head_apart),
        cmocka_unit_test(gate_and_add_follow_their_formulas),
        cmocka_unit_test(rows_are_gathered_and_scattered),
        cmocka_unit_test(embed_unpacks_the_rows_of_the_ids),
        cmocka_unit_test(packing_does_not_depend_on_threads_and_says_what_it_lost),
        cmocka_unit_test(a_weight_that_is_not_finite_is_refused_with_its_place),
        cmocka_unit_test(loss_is_the_negative_log_of_the_softmax),
        cmocka_unit_test(fast_losses_have_the_bits_of_the_reference),
        cmocka_unit_test(samples_follow_temperature_and_top_p),
        cmocka_unit_test(samples_of_many_follow_the_order_of_their_probabilities),
        cmocka_unit_test(attention_is_a_weighted_mean_of_what_came_before),
        cmocka_unit_test(keys_and_values_go_to_their_rows_of_the_cache),
        cmocka_unit_test(an_int8_cache_holds_codes_and_a_scale_for_the_values_of_every_row_and_head),
        cmocka_unit_test(keys_of_32_positions_have_a_step_and_the_least_of_every_channel),
        cmocka_unit_test(a_cache_of_few_bits_holds_a_step_and_the_least_of_every_32_values),
        cmocka_unit_test(attention_over_codes_is_that_over_their_values),
        cmocka_unit_test(the_same_arguments_follow_what_their_lists_hold),
        cmocka_unit_test(attention_does_not_depend_on_chunks_segments_or_neighbours),
        cmocka_unit_test(a_position_does_not_see_what_comes_later),
        cmocka_unit_test(fast_rows_have_the_bits_of_the_reference),
        cmocka_unit_test(the_exponential_is_within_one_unit_in_the_last_place),
        cmocka_unit_test(product_calls_are_counted_by_their_rows),
    };
    return cmocka_run_group_tests_name("kernels_ops", tests, set_up, tear_down);
}
