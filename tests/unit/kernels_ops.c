/* What is promised of a backend and of all its ops: memory, copies, types, facts, events, names, counts; and where
 * transforms of outputs come in a product. */
#include "ops_fixture.h"

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

/* The table of ops is pointers, one after another: each from linear on is named, but those that only answer and a step,
 * which is ops that have names. */
static void every_op_that_computes_has_a_name(void **state)
{
    (void)state;
    size_t slots = (sizeof(bl_ops) - offsetof(bl_ops, linear)) / sizeof(void (*)(void)), n = 0;
    while (bl_op_at(n)) {
        for (size_t k = 0; k < n; k++) assert_string_not_equal(bl_op_at(n), bl_op_at(k));
        n++;
    }
    assert_string_equal(bl_op_at(0), "linear");
    if (n != slots - 4) /* linear_is_integer, linear_joins, linear_prepares, step */
        fail_msg("%zu ops compute, %zu have a name; op_names is in kernels/ops.c", slots - 4, n);
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
    const bl_transform turns[] = {{.kind = BL_T_PERMUTE, .in = OUT, .out = OUT, .data = flat(back)},
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
        cmocka_unit_test(product_calls_are_counted_by_their_rows),
    };
    return cmocka_run_group_tests(tests, ops_open, ops_close);
}
