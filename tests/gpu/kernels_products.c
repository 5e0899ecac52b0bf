/* Products, transforms and packed weights of the CUDA backend: every kernel row and every format, over awkward shapes.
 */
#include "gpu.h"
#include "kernels/hadamard.h"

static const bl_kernel_shape shapes[] = {
    /* rows, out, in, group, act_group: odd rows, N = 1024, K = 11008 and 576, ragged groups, widths that are no whole
       vectors */
    {1, 33, 64, 32, 0},
    {2, 6, 576, 64, 0},
    {3, 40, 172, 172, 0},
    {5, 1024, 11008, 128, 0},
    {17, 1024, 576, 64, 0},
    {7, 9, 341, 0, 0},
    {31, 130, 1184, 16, 0},
    {1, 5, 256, 4, 0},
    {16, 77, 1536, 96, 0},
    {129, 257, 512, 512, 0},
    {4, 576, 1536, 64, 0},
    {9, 48, 2048, 0, 0},
    {300, 64, 256, 128, 0},
    /* few rows and groups of 128: outputs that are no whole tiles, k that one block or several share */
    {1, 40, 512, 128, 0},
    {2, 33, 768, 128, 0},
    {3, 2130, 256, 128, 0},
    {8, 77, 4096, 128, 0},
    {16, 21, 14336, 128, 0},
    /* many rows: outputs that are no whole tiles, k that many blocks share, every group, odd numbers of chunks */
    {64, 300, 4096, 128, 0},
    {33, 1024, 11008, 64, 0},
    {129, 257, 896, 32, 0},
    {256, 130, 640, 0, 0},
    {17, 4100, 1024, 256, 0},
    {100, 31, 128, 128, 0},
};

static void every_kernel_stays_within_its_limit(void **state)
{
    const bl_kernel *k;
    int ran = 0;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++)
        for (size_t s = 0; s < BL_COUNT(shapes); s++) {
            bl_kernel_case c;
            double nmse;
            if (!bl_kernel_takes(k, gpu, &shapes[s]) || gpu_left_out()) continue;
            assert_ok(bl_kernel_prepare(k, gpu, &shapes[s], &c, &e));
            if (s == 0) {
                assert_ok(bl_kernel_check(gpu, &c, &nmse, &e));
                if (nmse <= k->family->nmse_limit) fail_msg("%s: a poisoned output passes", k->name);
            }
            assert_ok(bl_kernel_run(k, gpu, &c, &e));
            assert_ok(bl_kernel_check(gpu, &c, &nmse, &e));
            if (!(nmse <= k->family->nmse_limit))
                fail_msg("%s, %d x %d x %d: error %g, limit %g", k->name, (int)shapes[s].rows, (int)shapes[s].out,
                         (int)shapes[s].in, nmse, k->family->nmse_limit);
            bl_kernel_release(gpu, &c);
            ran++;
        }
    assert_true(ran > (getenv("BITLADDER_TESTS_EVERY") ? 0 : 100));
}

static void a_family_takes_the_formats_of_its_rows_and_no_others(void **state)
{
    const bl_kernel *k, *other;
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++)
        for (size_t n = 0; !k->family->any && (f = bl_format_at(n)) != NULL; n++) {
            bl_kernel form = {.name = k->name, .family = k->family, .format = f, .abits = k->abits};
            bl_kernel_shape s = {.rows = 1, .out = 8, .in = 256, .group = 128}, whole = s;
            bool listed = false;
            whole.group = 0; /* some take scales of whole rows alone */
            if (strcmp(k->family->backend, "cuda") != 0) break;
            for (size_t j = 0; (other = bl_kernel_at(j)) != NULL; j++)
                listed = listed || (other->family == k->family && other->format == f);
            if ((bl_kernel_takes(&form, gpu, &s) || bl_kernel_takes(&form, gpu, &whole)) != listed)
                fail_msg("%s and format %s", k->name, f->name);
        }
}

/* y, bias, accumulation and several weights of one input, for every format, at few rows and at many, and none. */
static void products_of_every_format_are_those_of_plain_c(void **state)
{
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++)
        for (int64_t rows = 0; rows < 130; rows = 4 * rows + 1) {
            bl_shape s = both_shape(f, 24, 512, 64), s2 = both_shape(f, 40, 512, 128);
            both_weight w = both_weight_new(f, &s, n), w2 = both_weight_new(f, &s2, n + 1);
            both x = both_random(true, rows, 512, 3, 1), y = both_new(BL_F32, true, rows, 24),
                 z = both_new(BL_F32, false, rows, 40), bias = both_flat(both_random(false, 1, 24, 4, 1));
            both old = both_random(true, rows, 24, 5, 1);
            bl_linear_args a = {.x = x.c, .w = {&w.c, &w2.c}, .bias = {bias.c}, .y = {y.c, z.c}}, b = a;
            b.x = x.g;
            b.w[0] = &w.g;
            b.w[1] = &w2.g;
            b.bias[0] = bias.g;
            b.y[0] = y.g;
            b.y[1] = z.g;
            assert_ok(cpu->ops->linear(cpu, &a, &e));
            assert_ok(gpu->ops->linear(gpu, &b, &e));
            double d = both_nmse(y), d2 = both_nmse(z);
            if (!(d <= 4e-5 && d2 <= 4e-5)) fail_msg("%s, %d rows: errors %g and %g", f->name, (int)rows, d, d2);
            a.w[1] = b.w[1] = NULL;
            a.accumulate = b.accumulate = true;
            a.y[0] = old.c;
            b.y[0] = old.g;
            assert_ok(cpu->ops->linear(cpu, &a, &e));
            assert_ok(gpu->ops->linear(gpu, &b, &e));
            d = both_nmse(old);
            if (!(d <= 1e-4)) fail_msg("%s, %d rows, accumulated: error %g", f->name, (int)rows, d);
            both_drop(x);
            both_drop(y);
            both_drop(z);
            both_drop(bias);
            both_drop(old);
            both_weight_drop(&w);
            both_weight_drop(&w2);
        }
}

/* Zeros and scales of both kinds, y that is f32, bf16, added to; what is in a row of x, NaN included, stays in its row
 * of y; a second run gives the same bits. Kind: bit 0 the longer k, bit 1 bf16 scales, bit 2 no zeros. */
static void a_family_is_exact(const char *stem, const char *format, int64_t rows, const int64_t in[2], int64_t group,
                              int kind, double limit)
{
    enum { OUT = 53 };
    char name[64];
    snprintf(name, sizeof name, "%s_%s_cuda", stem, format);
    const bl_kernel *k = bl_kernel_find(name);
    assert_non_null(k);
    bl_shape s = both_shape(k->format, OUT, in[kind & 1], group);
    s.scale = kind & 2 ? BL_BF16 : BL_F16;
    if (kind & 4) s.zero = BL_ZERO_NONE;
    both_weight w = both_weight_new(k->format, &s, (size_t)rows);
    both x = both_random(true, rows, s.in, 3, 1), y = both_new(BL_F32, false, rows, OUT),
         old = both_random(true, rows, OUT, 5, 1);
    both_f32(x)[0] = 30; /* an outlier: what it shares a group with has fewer bits */
    both_send(x);
    bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}}, b = {.x = x.g, .w = {&w.g}, .y = {y.g}};
    assert_true(k->family->applicable(gpu, &b, &w.g));
    assert_ok(cpu->ops->linear(cpu, &a, &e));
    assert_ok(k->family->run(k->family, gpu, &b, &e));
    double d = both_nmse(y);
    if (!(d <= limit)) fail_msg("%s, %d rows, group %d, kind %d: error %g", name, (int)rows, (int)group, kind, d);
    float *first = both_got(y), *got;
    assert_ok(k->family->run(k->family, gpu, &b, &e));
    got = both_got(y);
    assert_memory_equal(first, got, (size_t)(rows * OUT) * sizeof *got);
    free(got);
    a.y[0] = old.c;
    b.y[0] = old.g;
    a.accumulate = b.accumulate = true;
    assert_ok(cpu->ops->linear(cpu, &a, &e));
    assert_ok(k->family->run(k->family, gpu, &b, &e));
    ASSERT_NEAR(old, 3e-5);
    both_f32(x)[(rows - 1) * s.in + 100] = NAN;
    both_send(x);
    b.accumulate = false;
    b.y[0] = y.g;
    assert_ok(k->family->run(k->family, gpu, &b, &e));
    got = both_got(y);
    assert_memory_equal(first, got, (size_t)((rows - 1) * OUT) * sizeof *got);
    for (int o = 0; o < OUT; o++) assert_true(isnan(got[(rows - 1) * OUT + o]));
    free(first);
    free(got);
    both_drop(x);
    both_drop(y);
    both_drop(old);
    both_weight_drop(&w);
}

static const char *const streamed[] = {"int8", "int4", "int3", "int2", "int1", "nf4", "fp4"};

/* Every number of rows that has its own arrangement. */
static void few_rows_are_streamed_exactly(void **state)
{
    static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 15, 16}, in[] = {256, 4352};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; n < BL_COUNT(streamed); n++)
        for (size_t r = 0; r < BL_COUNT(rows); r++)
            for (int kind = 0; kind < 8; kind++)
                if (!gpu_left_out())
                    a_family_is_exact("stream", streamed[n], rows[r], in, 128, kind, n >= 5 ? 2e-5 : 1e-8);
}

/* Both ends of every tile of rows, every size of a group. */
static void many_rows_are_those_of_plain_c(void **state)
{
    static const int64_t rows[] = {1, 16, 17, 32, 33, 64, 65, 128, 129, 256}, in[] = {384, 4352},
                         group[] = {128, 32, 64, 256, 4352};
    const bl_kernel_shape one = {64, 64, 256, 128, 0};
    (void)state;
    BL_NEEDS_GPU;
    if (!bl_kernel_takes(bl_kernel_find("mid_int4_cuda"), gpu, &one)) {
        print_message("not Hopper: no product of many rows of its own\n");
        skip();
    }
    for (size_t n = 0; n < BL_COUNT(streamed); n++)
        for (size_t r = 0; r < BL_COUNT(rows); r++)
            for (size_t i = 0; i < BL_COUNT(group); i++)
                for (int kind = (int)(3 * r + i) % 4; kind < 8; kind += 4)
                    if (!gpu_left_out())
                        a_family_is_exact("mid", streamed[n], rows[r], in, BL_MIN(group[i], in[kind & 1]), kind, 2e-5);
}

/* Sums of integers have no order: the bits of plain C, whatever the rows, zeros, groups and tails of k; NaN stays in
 * its row; y in bf16 is that rounded, accumulated it is added once. */
static void bytes_are_multiplied_to_the_bits_of_plain_c(void **state)
{
    static const struct {
        const char *format;
        int64_t rows, out, in, group;
        bool zeros, bf16;
    } cases[] = {
        {"int8", 1, 205, 96, 96, false, false},      {"int8", 32, 205, 576, 576, true, true},
        {"int8", 33, 205, 4352, 4352, false, false}, {"int8", 256, 205, 1184, 1184, true, false},
        {"int8", 257, 205, 640, 640, false, true},   {"int8", 31, 205, 11008, 128, false, false},
        {"int8", 128, 205, 1040, 1040, true, false}, {"int8", 129, 205, 1536, 256, false, true},
        {"int4", 1, 205, 14336, 14336, true, false}, {"int4", 300, 205, 576, 576, false, false},
        {"int4", 5, 205, 4352, 128, false, true},    {"int4", 128, 205, 11008, 128, false, false},
        {"int4", 131, 205, 1024, 512, false, false}, {"int4", 64, 205, 4096, 4096, true, true},
        {"int8", 300, 9000, 272, 272, true, false},  {"int4", 513, 8900, 416, 416, true, false},
        {"int4", 200, 17000, 384, 128, false, true},
    };
    const bl_kernel_shape one = {64, 64, 256, 0, 0};
    (void)state;
    BL_NEEDS_GPU;
    if (!bl_kernel_takes(bl_kernel_find("whole_w4a8_cuda"), gpu, &one)) {
        print_message("not Hopper: no product of bytes\n");
        skip();
    }
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        const int64_t rows = cases[i].rows, in = cases[i].in, out = cases[i].out;
        const bl_format *f = bl_format_find(cases[i].format);
        bl_shape s = both_shape(f, out, in, cases[i].group);
        s.scale = cases[i].bf16 ? BL_BF16 : BL_F16;
        s.zero = cases[i].zeros ? BL_ZERO_PACKED : BL_ZERO_NONE;
        both_weight w = both_weight_new(f, &s, i);
        both x = both_random(true, rows, in, 3, 1), y = both_new(BL_F32, false, rows, out),
             narrow = both_new(BL_F32, true, rows, out), old = both_random(false, rows, out, 5, 1);
        both_f32(x)[rows * in - 1] = 40;
        if (rows > 4) both_f32(x)[4 * in + 7] = NAN;
        both_send(x);
        bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}, .act = {.bits = 8, .symmetric = true}}, b = a;
        b.x = x.g;
        b.w[0] = &w.g;
        b.y[0] = y.g;
        assert_true(gpu->ops->linear_is_integer(gpu, &b));
        assert_ptr_equal(bl_kernel_pick(gpu, &b, &w.g)->family, bl_kernel_find("whole_w8a8_cuda")->family);
        assert_ok(cpu->ops->linear(cpu, &a, &e));
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *got = both_got(y), *want = both_f32(y);
        for (int64_t k = 0; k < rows * out; k++)
            if (memcmp(&got[k], &want[k], sizeof *got) != 0 && !(isnan(got[k]) && isnan(want[k])))
                fail_msg("%s, %d x %d x %d, group %d: [%d, %d] is %.9g, not %.9g", f->name, (int)rows, (int)out,
                         (int)in, (int)cases[i].group, (int)(k / out), (int)(k % out), got[k], want[k]);
        b.y[0] = narrow.g;
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *short_ones = both_got(narrow);
        for (int64_t k = 0; k < rows * out; k++)
            if (!isnan(got[k]) && short_ones[k] != bl_bf16_to_f32(bl_f32_to_bf16(got[k])))
                fail_msg("%s, case %d: [%d, %d] in bf16 is %g of %g", f->name, (int)i, (int)(k / out), (int)(k % out),
                         short_ones[k], got[k]);
        b.y[0] = old.g;
        b.accumulate = true;
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *more = both_got(old);
        for (int64_t k = 0; k < rows * out; k++)
            if (!isnan(got[k])) assert_true(more[k] == both_f32(old)[k] + got[k]);
        free(got);
        free(short_ones);
        free(more);
        both_drop(x);
        both_drop(y);
        both_drop(narrow);
        both_drop(old);
        both_weight_drop(&w);
    }
}

/* Products of 8-bit floats, many tiles of outputs and of rows too: plain C's but for what a sum of 128 products loses
 * in the tensor cores; of positive numbers that is a share of the sum which does not grow with k. A row's bits depend
 * on no other row, and NaN stays in its row. */
static void eight_bit_floats_are_multiplied_as_they_are(void **state)
{
    static const struct {
        int64_t rows, out, in, group;
        bl_dtype scale;
    } cases[] = {
        {1, 205, 96, 96, BL_F32},       {32, 130, 576, 576, BL_F16},   {33, 205, 4352, 4352, BL_BF16},
        {257, 300, 1040, 1040, BL_F32}, {31, 205, 11008, 128, BL_F16}, {129, 512, 1536, 256, BL_F32},
        {300, 9000, 272, 272, BL_F32},  {513, 8900, 400, 128, BL_F16},
    };
    const bl_kernel_shape one = {64, 64, 256, 0, 0};
    (void)state;
    BL_NEEDS_GPU;
    const bool hopper = bl_kernel_takes(bl_kernel_find("whole_fp8a8_cuda"), gpu, &one);
    if (!hopper) print_message("not Hopper: products of 8-bit floats are simulated\n");
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        const int64_t rows = cases[i].rows, in = cases[i].in, out = cases[i].out;
        const bl_format *f = bl_format_find("fp8_e4m3");
        bl_shape s = both_shape(f, out, in, cases[i].group);
        s.scale = cases[i].scale;
        both_weight w = both_weight_new(f, &s, i);
        both x = both_random(true, rows, in, 3, 1), y = both_new(BL_F32, false, rows, out),
             narrow = both_new(BL_F32, true, rows, out), few = both_new(BL_F32, false, 1, out);
        both_f32(x)[rows * in - 1] = 40;
        if (rows > 4) both_f32(x)[4 * in + 7] = NAN;
        both_send(x);
        bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}, .act = {.bits = 8, .unit = BL_ACT_FP8}}, b = a;
        b.x = x.g;
        b.w[0] = &w.g;
        b.y[0] = y.g;
        assert_true(gpu->ops->linear_is_integer(gpu, &b) == hopper);
        assert_ok(cpu->ops->linear(cpu, &a, &e));
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *got = both_got(y), *want = both_f32(y);
        double error = 0, power = 0;
        for (int64_t k = 0; k < rows * out; k++) {
            if (isnan(got[k]) != isnan(want[k]))
                fail_msg("case %d: [%d, %d] is %g, not %g", (int)i, (int)(k / out), (int)(k % out), got[k], want[k]);
            if (isnan(want[k])) continue;
            error += pow((double)got[k] - want[k], 2);
            power += (double)want[k] * want[k];
        }
        if (!(error <= (hopper ? 2e-7 : 2e-5) * power)) fail_msg("case %d: error %g", (int)i, error / power);
        b.y[0] = narrow.g;
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *short_ones = both_got(narrow);
        for (int64_t k = 0; k < rows * out; k++)
            if (!isnan(got[k]) && short_ones[k] != bl_bf16_to_f32(bl_f32_to_bf16(got[k])))
                fail_msg("case %d: [%d, %d] in bf16 is %g of %g", (int)i, (int)(k / out), (int)(k % out), short_ones[k],
                         got[k]);
        b.x = bl_tensor_rows(x.g, rows - 1, 1);
        b.y[0] = few.g;
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *last = both_got(few);
        if (hopper) assert_memory_equal(last, got + (rows - 1) * out, (size_t)out * sizeof *last);
        free(got);
        free(short_ones);
        free(last);
        both_drop(x);
        both_drop(y);
        both_drop(narrow);
        both_drop(few);
        both_weight_drop(&w);
    }
}

/* All positive, what is lost has one sign: a constant share, whatever the length of the sum. */
static void sums_of_eight_bit_floats_do_not_drift(void **state)
{
    enum { ROWS = 40, OUT = 64 };
    const bl_kernel_shape one = {64, 64, 256, 0, 0};
    (void)state;
    BL_NEEDS_GPU;
    if (!bl_kernel_takes(bl_kernel_find("whole_fp8a8_cuda"), gpu, &one)) skip();
    for (int64_t in = 512; in <= 14336; in = in == 512 ? 4096 : in == 4096 ? 14336 : 14337) {
        const bl_format *f = bl_format_find("fp8_e4m3");
        bl_shape s = both_shape(f, OUT, in, in);
        both_weight w = both_weight_new(f, &s, 1);
        both x = both_random(true, ROWS, in, 3, 1), y = both_new(BL_F32, false, ROWS, OUT),
             dense = both_random(false, OUT, in, 4, 1);
        for (int64_t k = 0; k < ROWS * in; k++) both_f32(x)[k] = 0.75f + 0.5f * fmodf(fabsf(both_f32(x)[k]), 1);
        for (int64_t k = 0; k < OUT * in; k++) both_f32(dense)[k] = 0.75f + 0.5f * fmodf(fabsf(both_f32(dense)[k]), 1);
        both_send(x);
        both_send(dense);
        assert_ok(cpu->ops->pack(cpu, &(bl_pack_args){.x = dense.c, .w = &w.c}, &e));
        assert_ok(gpu->ops->pack(gpu, &(bl_pack_args){.x = dense.g, .w = &w.g}, &e));
        bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}, .act = {.bits = 8, .unit = BL_ACT_FP8}}, b = a;
        b.x = x.g;
        b.w[0] = &w.g;
        b.y[0] = y.g;
        assert_ok(cpu->ops->linear(cpu, &a, &e));
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        float *got = both_got(y), *want = both_f32(y);
        double off = 0;
        for (int k = 0; k < ROWS * OUT; k++) off += got[k] / want[k] - 1;
        off /= ROWS * OUT;
        if (!(fabs(off) < 5e-4)) fail_msg("sums of %d products are off by %g of themselves", (int)in, off);
        free(got);
        both_drop(x);
        both_drop(y);
        both_drop(dense);
        both_weight_drop(&w);
    }
}

/* Weights of one input that take their rows of codes in different orders, transforms before them, S after. */
static void codes_of_one_input_serve_several_weights(void **state)
{
    enum { ROWS = 70, IN = 512 };
    static const char *const formats[BL_LINEAR_MOST] = {"int8", "int4", "int3"};
    (void)state;
    BL_NEEDS_GPU;
    both_weight w[BL_LINEAR_MOST];
    both y[BL_LINEAR_MOST], x = both_random(true, ROWS, IN, 3, 1), by = both_flat(both_random(false, 1, IN, 9, 1));
    bl_transform t = {.kind = BL_T_SCALE, .data = by.c, .in = IN, .out = IN}, tg = t;
    bl_linear_args a = {.x = x.c, .t = &t, .n_t = 1, .act = {.bits = 8, .symmetric = true}}, b = a;
    tg.data = by.g;
    b.t = &tg;
    b.x = x.g;
    for (int i = 0; i < BL_LINEAR_MOST; i++) {
        const bl_format *f = bl_format_find(formats[i]);
        bl_shape s = both_shape(f, 40, IN, i == 1 ? 128 : IN);
        s.zero = BL_ZERO_NONE;
        w[i] = both_weight_new(f, &s, (size_t)i);
        y[i] = both_new(BL_F32, false, ROWS, 40);
        a.w[i] = &w[i].c;
        b.w[i] = &w[i].g;
        a.y[i] = y[i].c;
        b.y[i] = y[i].g;
    }
    assert_ok(cpu->ops->linear(cpu, &a, &e));
    assert_ok(gpu->ops->linear(gpu, &b, &e));
    for (int i = 0; i < BL_LINEAR_MOST; i++) {
        double d = both_nmse(y[i]);
        if (!(d <= 3e-5)) fail_msg("%s: error %g", formats[i], d);
        both_drop(y[i]);
        both_weight_drop(&w[i]);
    }
    both_drop(x);
    both_drop(by);
}

static void transposed_products_of_every_format(void **state)
{
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++) {
        bl_shape s = both_shape(f, 72, 256, 64);
        both_weight w = both_weight_new(f, &s, n);
        both x = both_random(true, 5, 72, 3, 1), y = both_new(BL_F32, false, 5, 256);
        bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}, .transpose = true}, b = a;
        b.x = x.g;
        b.w[0] = &w.g;
        b.y[0] = y.g;
        assert_ok(cpu->ops->linear(cpu, &a, &e));
        assert_ok(gpu->ops->linear(gpu, &b, &e));
        double d = both_nmse(y);
        if (!(d <= 2e-5)) fail_msg("%s: error %g", f->name, d);
        both_drop(x);
        both_drop(y);
        both_weight_drop(&w);
    }
}

/* ---- transforms, quantized activations ---- */
static void inputs_are_transformed_and_quantized_as_plain_c_does(void **state)
{
    enum { ROWS = 21, IN = 240, OUT = 50 };
    static const bl_actq acts[] = {
        {0},
        {.bits = 8, .symmetric = true, .unit = BL_ACT_TOKEN},
        {.bits = 4, .unit = BL_ACT_TOKEN},
        {.bits = 8, .unit = BL_ACT_TENSOR},
        {.bits = 8, .symmetric = true, .unit = BL_ACT_TENSOR, .scale = 0.03f},
        {.bits = 6, .symmetric = true, .unit = BL_ACT_GROUP, .group = 36},
        {.bits = 8, .unit = BL_ACT_FP8},
    };
    int32_t order[IN];
    (void)state;
    BL_NEEDS_GPU;
    for (int i = 0; i < IN; i++) order[i] = (i * 7 + 5) % IN;
    both scale = both_flat(both_random(false, 1, IN, 1, 1)), from = both_list(BL_I32, order, IN),
         sums = both_list(BL_I32, (const int32_t[]){2, 2, 2, 2, 9, 2, 9, 30, 3, 17, 30, 3, 20, 30, 3}, 15),
         blocks = both_random(false, IN, 16, 2, 0.3f);
    bl_tensor bc = {.buf = blocks.c.buf, .dtype = BL_F32, .ndim = 3, .dim = {15, 16, 16}, .stride = {256, 16, 1}},
              bg = bc;
    bg.buf = blocks.g.buf;
    const bl_transform
        tc[] = {{BL_T_SCALE, IN, IN, scale.c},    {BL_T_PERMUTE, IN, IN, from.c},
                {BL_T_HADAMARD, IN, IN, {0}},     {BL_T_ROTATE, IN, IN, bc},
                {BL_T_HADAMARD, IN, IN, scale.c}, {BL_T_PERMUTE, IN, IN, bl_tensor_2d(sums.c.buf, 0, BL_I32, 5, 3)}},
        tg[] = {{BL_T_SCALE, IN, IN, scale.g},    {BL_T_PERMUTE, IN, IN, from.g},
                {BL_T_HADAMARD, IN, IN, {0}},     {BL_T_ROTATE, IN, IN, bg},
                {BL_T_HADAMARD, IN, IN, scale.g}, {BL_T_PERMUTE, IN, IN, bl_tensor_2d(sums.g.buf, 0, BL_I32, 5, 3)}};
    const bl_format *f = bl_format_find("bf16");
    bl_shape s = both_shape(f, OUT, IN, 0);
    both_weight w = both_weight_new(f, &s, 1);
    for (int n = 1; n <= 6; n++)
        for (int first = 0; first + n <= 6; first++) {
            both x = both_random(true, ROWS, IN, 3, 1), y = both_new(BL_F32, true, ROWS, IN);
            assert_ok(cpu->ops->transform(cpu, &(bl_transform_args){x.c, y.c, tc + first, n}, &e));
            assert_ok(gpu->ops->transform(gpu, &(bl_transform_args){x.g, y.g, tg + first, n}, &e));
            ASSERT_NEAR(y, BF16_ROUNDED);
            both_drop(x);
            both_drop(y);
        }
    for (size_t k = 0; k < BL_COUNT(acts); k++)
        for (int n = 0; n <= 6; n += 6) {
            both x = both_random(true, ROWS, IN, 3, 1), y = both_new(BL_F32, false, ROWS, OUT);
            bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {y.c}, .t = tc, .n_t = n, .act = acts[k]}, b = a;
            b.x = x.g;
            b.w[0] = &w.g;
            b.y[0] = y.g;
            b.t = tg;
            assert_false(gpu->ops->linear_is_integer(gpu, &b));
            assert_ok(cpu->ops->linear(cpu, &a, &e));
            assert_ok(gpu->ops->linear(gpu, &b, &e));
            double d = both_nmse(y); /* a code that falls to the other side now and then is half a step of few */
            if (!(d <= 1e-4)) fail_msg("activations %d, %d transforms: error %g", (int)k, n, d);
            both_drop(x);
            both_drop(y);
        }
    both_drop(scale);
    both_drop(from);
    both_drop(sums);
    both_drop(blocks);
    both_weight_drop(&w);
}

/* Tiles of every number of rows, blocks alone and in sets, edges of each; rows that tensor maps do not take. */
static void a_deterministic_product_does_not_depend_on_the_rows_beside(void **state)
{
    static const struct {
        const char *format;
        int64_t rows, out, in;
    } c[] = {{"bf16", 200, 200, 576},  {"int4", 200, 200, 576}, {"fp32", 200, 200, 576},  {"q4_0", 200, 200, 576},
             {"bf16", 513, 5632, 200}, {"bf16", 700, 5740, 72}, {"bf16", 150, 333, 1000}, {"bf16", 140, 130, 75}};
    bl_backend *be;
    (void)state;
    BL_NEEDS_GPU;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cuda", .deterministic = true}, &be, &e));
    assert_string_equal(bl_backend_numerics(be), "cuda-bf16-deterministic");
    for (size_t k = 0; k < BL_COUNT(c); k++) {
        const int64_t rows = c[k].rows, out = c[k].out;
        const bl_format *f = bl_format_find(c[k].format);
        bl_shape s = both_shape(f, out, c[k].in, 64);
        both_weight w = both_weight_new(f, &s, 1);
        both x = both_random(true, rows, c[k].in, 1, 1), all = both_new(BL_F32, false, rows, out),
             some = both_new(BL_F32, false, rows, out);
        bl_linear_args a = {.x = x.c, .w = {&w.c}, .y = {all.c}};
        assert_ok(cpu->ops->linear(cpu, &a, &e));
        a = (bl_linear_args){.x = x.g, .w = {&w.g}, .y = {all.g}};
        assert_ok(be->ops->linear(be, &a, &e));
        for (int64_t r = 0, n; r < rows; r += n) {
            n = BL_MIN(r % 2 ? 37 : r + 1, rows - r);
            a.x = bl_tensor_rows(x.g, r, n);
            a.y[0] = bl_tensor_rows(some.g, r, n);
            assert_ok(be->ops->linear(be, &a, &e));
        }
        assert_ok(be->ops->sync(be, &e));
        ASSERT_NEAR(all, 2e-5);
        float *u = both_got(all), *v = both_got(some);
        assert_memory_equal(u, v, (size_t)(rows * out) * sizeof *u);
        free(u);
        free(v);
        both_drop(x);
        both_drop(all);
        both_drop(some);
        both_weight_drop(&w);
    }
    bl_backend_close(be);
}

/* ---- formats ---- */
static void every_format_is_decoded_to_the_same_bits(void **state)
{
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++)
        for (int64_t group = 16; group <= 256; group *= 4)
            for (int scale = 0; scale < 4; scale++)
                for (int zero = 0; zero <= BL_ZERO_MIDDLE; zero++) {
                    static const bl_dtype types[] = {BL_F32, BL_F16, BL_BF16, BL_F32};
                    bl_shape s = both_shape(f, 21, f->kind == BL_FMT_BLOCK ? 512 : 331, group);
                    s.scale = types[scale];
                    s.double_quant = scale == 3;
                    if (f->kind == BL_FMT_INT && f->bits > 1) s.zero = (bl_zero)zero;
                    else if (zero) continue;
                    if (f->check(f, &s, NULL) != BL_OK || (!s.group && (group > 16 || scale))) continue;
                    both_weight w = both_weight_new(f, &s, n);
                    both y = both_new(BL_F32, false, 19, s.in), z = both_new(BL_F32, true, 3, s.in);
                    assert_ok(cpu->ops->unpack(cpu, &(bl_unpack_args){&w.c, 2, 19, y.c}, &e));
                    assert_ok(gpu->ops->unpack(gpu, &(bl_unpack_args){&w.g, 2, 19, y.g}, &e));
                    float *got = both_got(y);
                    if (memcmp(got, both_f32(y), (size_t)(19 * s.in) * sizeof *got) != 0)
                        fail_msg("%s, group %d, scales %d, zeros %d: other bits", f->name, (int)s.group, scale, zero);
                    free(got);
                    both ids = both_list(BL_I32, (int32_t[]){20, 0, 7}, 3);
                    assert_ok(cpu->ops->embed(cpu, &(bl_embed_args){&w.c, ids.c, z.c}, &e));
                    assert_ok(gpu->ops->embed(gpu, &(bl_embed_args){&w.g, ids.g, z.g}, &e));
                    ASSERT_NEAR(z, BF16_ROUNDED);
                    both_drop(ids);
                    both_drop(y);
                    both_drop(z);
                    both_weight_drop(&w);
                }
}

/* -1: none. */
static int part_that_differs(const both_weight *w)
{
    int part = -1;
    for (int i = 0; i < w->c.n_parts && part < 0; i++) {
        uint64_t bytes = bl_tensor_bytes(&w->c.part[i]);
        unsigned char *got = malloc(bytes + 1);
        assert_ok(gpu->ops->download(gpu, &w->g.part[i], got, &e));
        if (memcmp(got, (char *)w->c.part[i].buf->data + w->c.part[i].offset, bytes) != 0) part = i;
        free(got);
    }
    return part;
}

static void weights_are_packed_to_the_same_bits(void **state)
{
    static const bl_range_rule rules[] = {BL_RANGE_OWN,       BL_RANGE_ZERO, BL_RANGE_MINMAX, BL_RANGE_CLIP,
                                          BL_RANGE_SYMMETRIC, BL_RANGE_FULL, BL_RANGE_SIGN};
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++)
        for (size_t k = 0; k < BL_COUNT(rules); k++)
            for (int mse = 0; mse < 2; mse++)
                for (int zero = 0; zero < 3; zero++) {
                    bl_range_rule rule = rules[k];
                    bool own = rule == BL_RANGE_OWN, sign = rule == BL_RANGE_SIGN,
                         symmetric = rule == BL_RANGE_SYMMETRIC || rule == BL_RANGE_FULL;
                    bool table = f->kind == BL_FMT_TABLE;
                    int64_t rows = table ? 200 : 9; /* more scales than share one of their own */
                    bl_shape s = both_shape(f, rows, f->kind == BL_FMT_BLOCK ? 256 : 150, 64);
                    double lost[2], there[2];
                    if (f->kind == BL_FMT_INT && f->bits > 1) s.zero = (bl_zero)zero;
                    else if (table && zero < 2) s.double_quant = zero;
                    else if (zero) continue;
                    if (!f->pack || (f->kind != BL_FMT_INT && !own) || (mse && (own || sign)) ||
                        (f->bits == 1 ? !own && !sign : sign) ||
                        (f->bits > 1 && !own && symmetric != (s.zero == BL_ZERO_NONE)) ||
                        (rule == BL_RANGE_MINMAX && s.zero != BL_ZERO_I16) || f->check(f, &s, NULL) != BL_OK)
                        continue;
                    both x = both_random(false, rows, s.in, n + 7, 0.05f);
                    if (table) { /* a group of zeros */
                        memset(both_f32(x) + 3 * s.in, 0, 64 * sizeof(float));
                        both_send(x);
                    }
                    both_weight w = both_weight_new(f, &s, 99);
                    bl_pack_args a = {
                        .x = x.c, .w = &w.c, .rule = rule, .mse = mse, .sq_error = &lost[0], .sq_weight = &there[0]};
                    assert_ok(cpu->ops->pack(cpu, &a, &e));
                    a = (bl_pack_args){
                        .x = x.g, .w = &w.g, .rule = rule, .mse = mse, .sq_error = &lost[1], .sq_weight = &there[1]};
                    assert_ok(gpu->ops->pack(gpu, &a, &e));
                    assert_true(fabs(lost[0] - lost[1]) <= 1e-9 * there[0] &&
                                fabs(there[0] - there[1]) <= 1e-9 * there[0]);
                    int part = part_that_differs(&w);
                    if (part >= 0)
                        fail_msg("%s, rule %d, mse %d, zeros %d: part %d differs", f->name, (int)rule, mse, zero, part);
                    both_drop(x);
                    both_weight_drop(&w);
                }
}

/* Zero points between codes, given as hqq and quip give them. */
static void given_zero_points_are_packed_to_the_same_bits(void **state)
{
    static const bl_dtype types[] = {BL_F32, BL_F16, BL_BF16};
    const bl_format *f;
    (void)state;
    BL_NEEDS_GPU;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++)
        for (int kind = 0; kind < 6; kind++) {
            const bool down = f->kind == BL_FMT_CODES && f->codes == BL_CODES_DOWN, middle = kind >= 3;
            bl_shape g = {.out = 9, .in = 150, .group = 64, .scale = types[kind % 3]};
            if (down ? middle : f->kind != BL_FMT_INT) continue;
            if (!down) g.zero = middle ? BL_ZERO_MIDDLE : BL_ZERO_FLOAT;
            if (f->check(f, &g, NULL) != BL_OK) continue;
            bl_part_spec spec[BL_MAX_PARTS];
            f->parts(f, &g, spec);
            const int64_t groups = spec[1].rows * spec[1].cols;
            both x = both_random(false, g.out, g.in, n + 7, 0.05f),
                 s = both_new(BL_F32, false, spec[1].rows, spec[1].cols),
                 z = both_new(BL_F32, false, spec[1].rows, spec[1].cols);
            for (int64_t i = 0; i < groups; i++) {
                both_f32(s)[i] = i == 1 ? 0 : 0.2f / (float)(1 << f->bits) * (1 + 0.1f * (float)(i % 5));
                both_f32(z)[i] = (float)((1 << f->bits) - 1) / 2 + (middle ? 0 : 0.37f * (float)(i % 3));
            }
            both_send(s);
            both_send(z);
            both_weight w;
            double lost[2], there[2];
            assert_ok(bl_weight_new(cpu, f, &g, &w.c, &e));
            assert_ok(bl_weight_new(gpu, f, &g, &w.g, &e));
            bl_pack_args a = {.x = x.c,
                              .w = &w.c,
                              .rule = BL_RANGE_GIVEN,
                              .scale = s.c,
                              .zero = z.c,
                              .sq_error = &lost[0],
                              .sq_weight = &there[0]},
                         b = {.x = x.g,
                              .w = &w.g,
                              .rule = BL_RANGE_GIVEN,
                              .scale = s.g,
                              .zero = z.g,
                              .sq_error = &lost[1],
                              .sq_weight = &there[1]};
            RUN(pack, &a, &b);
            assert_true(fabs(lost[0] - lost[1]) <= 1e-9 * (there[0] + lost[0]) &&
                        fabs(there[0] - there[1]) <= 1e-9 * there[0]);
            int part = part_that_differs(&w);
            if (part >= 0) fail_msg("%s, kind %d: part %d differs", f->name, kind, part);
            both_f32(x)[7 * 150 + 3] = NAN;
            both_send(x);
            assert_refused(gpu->ops->pack(gpu, &b, &e), BL_E_NUMERIC, "row 7");
            both_drop(x);
            both_drop(s);
            both_drop(z);
            both_weight_drop(&w);
        }
}

static void a_weight_that_cannot_be_stored_is_refused_by_row(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    const bl_format *f = bl_format_find("int4");
    bl_shape s = both_shape(f, 9, 64, 64);
    both x = both_random(false, 9, 64, 1, 1);
    both_weight w = both_weight_new(f, &s, 1);
    both_f32(x)[7 * 64 + 3] = INFINITY;
    both_send(x);
    assert_refused(gpu->ops->pack(gpu, &(bl_pack_args){.x = x.g, .w = &w.g}, &e), BL_E_NUMERIC, "row 7");
    s.zero = BL_ZERO_NONE;
    both_weight t = both_weight_new(bl_format_find("nf4"), &s, 1);
    assert_refused(gpu->ops->pack(gpu, &(bl_pack_args){.x = x.g, .w = &t.g}, &e), BL_E_NUMERIC, "row 7");
    both_weight_drop(&t);
    both_f32(x)[7 * 64 + 3] = 1e9f;
    both_send(x);
    assert_refused(gpu->ops->pack(gpu, &(bl_pack_args){.x = x.g, .w = &w.g}, &e), BL_E_NUMERIC, "row 7");
    both_drop(x);
    both_weight_drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_stays_within_its_limit),
        cmocka_unit_test(a_family_takes_the_formats_of_its_rows_and_no_others),
        cmocka_unit_test(products_of_every_format_are_those_of_plain_c),
        cmocka_unit_test(few_rows_are_streamed_exactly),
        cmocka_unit_test(many_rows_are_those_of_plain_c),
        cmocka_unit_test(bytes_are_multiplied_to_the_bits_of_plain_c),
        cmocka_unit_test(eight_bit_floats_are_multiplied_as_they_are),
        cmocka_unit_test(sums_of_eight_bit_floats_do_not_drift),
        cmocka_unit_test(codes_of_one_input_serve_several_weights),
        cmocka_unit_test(transposed_products_of_every_format),
        cmocka_unit_test(inputs_are_transformed_and_quantized_as_plain_c_does),
        cmocka_unit_test(a_deterministic_product_does_not_depend_on_the_rows_beside),
        cmocka_unit_test(every_format_is_decoded_to_the_same_bits),
        cmocka_unit_test(weights_are_packed_to_the_same_bits),
        cmocka_unit_test(given_zero_points_are_packed_to_the_same_bits),
        cmocka_unit_test(a_weight_that_cannot_be_stored_is_refused_by_row),
    };
    return gpu_run_tests("gpu_products", tests);
}
