/* Every kernel row: against double sums, against plain C where it promises the bits, and as the dispatch. */
#include "test.h"
#include "kernels/kernel.h"
#include <math.h>

static bl_err e;
static bl_backend *fast, *plain;

static const bl_kernel_shape shapes[] = {
    /* rows, out, in, group, act_group; the last ones: more rows, more outputs than a transposed product does at once */
    {1, 33, 64, 32, 0},     {2, 6, 576, 64, 0},     {3, 40, 172, 172, 0}, {4, 13, 1536, 128, 0}, {5, 7, 256, 64, 0},
    {7, 9, 341, 0, 0},      {1, 48, 64, 32, 0},     {2, 16, 576, 64, 0},  {7, 32, 1536, 0, 0},   {30, 17, 192, 64, 0},
    {100, 11, 1184, 16, 0}, {1, 5, 256, 4, 0},      {200, 34, 72, 8, 0},  {7, 520, 40, 8, 0},    {5, 16, 512, 128, 0},
    {3, 32, 384, 64, 32},   {140, 160, 96, 32, 32},
};

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &fast, &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.device = "cpu", .reference = true}, &plain, &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(fast);
    bl_backend_close(plain);
    return 0;
}

static void judge(const bl_kernel *k, const bl_kernel_shape *s, bool *ran)
{
    size_t bytes = (size_t)(s->rows * (k->family->transpose ? s->in : s->out)) * sizeof(float);
    float *want = malloc(bytes), *got = malloc(bytes);
    bl_kernel_case c;
    double nmse;
    assert_ok(bl_kernel_prepare(k, fast, s, &c, &e));
    assert_ok(bl_kernel_check(fast, &c, &nmse, &e));
    if (nmse <= k->family->nmse_limit) fail_msg("%s: a poisoned output passes", k->name);
    assert_ok(bl_kernel_run(k, fast, &c, &e));
    assert_ok(bl_kernel_check(fast, &c, &nmse, &e));
    if (!(nmse <= k->family->nmse_limit))
        fail_msg("%s, format %s, %d rows: error %g, limit %g", k->name, k->format->name, (int)s->rows, nmse,
                 k->family->nmse_limit);
    if (k->family->bitwise) {
        bl_linear_args a = {.x = c.x, .w = {&c.w}, .y = {c.y}, .act = c.act, .transpose = c.transpose};
        assert_ok(fast->ops->download(fast, &c.y, got, &e));
        assert_ok(plain->ops->linear(plain, &a, &e));
        assert_ok(fast->ops->download(fast, &c.y, want, &e));
        if (memcmp(want, got, bytes) != 0)
            fail_msg("%s, format %s, %d rows: bits differ from plain C", k->name, k->format->name, (int)s->rows);
        a.accumulate = true; /* onto what is there */
        assert_ok(k->family->run(k->family, fast, &a, &e));
        assert_ok(fast->ops->download(fast, &c.y, got, &e));
        assert_ok(fast->ops->upload(fast, &c.y, want, &e));
        assert_ok(plain->ops->linear(plain, &a, &e));
        assert_ok(fast->ops->download(fast, &c.y, want, &e));
        if (memcmp(want, got, bytes) != 0)
            fail_msg("%s, format %s, %d rows: accumulated bits differ", k->name, k->format->name, (int)s->rows);
    }
    bl_kernel_release(fast, &c);
    free(want);
    free(got);
    *ran = true;
}

static void every_kernel_stays_within_its_limit_and_gives_the_bits_it_promises(void **state)
{
    const bl_kernel *k;
    bl_device_info here;
    (void)state;
    fast->ops->device_info(fast, &here);
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++) {
        const char *isa = strrchr(k->name, '_') + 1;
        bool ran = false;
        for (size_t s = 0; s < BL_COUNT(shapes); s++)
            if (bl_kernel_takes(k, fast, &shapes[s])) judge(k, &shapes[s], &ran);
        if (!ran && strcmp(isa, "ref") != 0 && !strstr(here.simd, isa))
            print_message("%s: not for this processor\n", k->name);
        else if (!ran) fail_msg("%s: none of the shapes", k->name);
    }
}

static void a_family_that_takes_every_format_does(void **state)
{
    const bl_kernel *k;
    const bl_kernel_family *last = NULL;
    const bl_kernel_shape few[] = {{1, 5, 256, 4, 0}, {4, 7, 256, 64, 0}};
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++) {
        bl_kernel form = {.name = k->name, .family = k->family, .abits = k->abits};
        bool ran = false;
        if (!k->family->any || k->family == last) continue;
        last = k->family;
        for (size_t n = 0; (form.format = bl_format_at(n)) != NULL; n++)
            for (size_t s = 0; s < BL_COUNT(few); s++)
                if (bl_kernel_takes(&form, fast, &few[s])) judge(&form, &few[s], &ran);
    }
}

/* A row of a family that names its formats takes exactly these, so that nothing is faster or slower than `list kernels`
 * tells. */
static void a_family_takes_the_formats_of_its_rows_and_no_others(void **state)
{
    const bl_kernel *k;
    const bl_format *f;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++) {
        if (k->family->any) continue;
        for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++) {
            bl_kernel form = {.name = k->name, .family = k->family, .format = f, .abits = k->abits};
            bl_kernel_shape s = {.rows = 1, .out = 8, .in = 256, .group = 64};
            bool listed = false, takes = false;
            const bl_kernel *other;
            for (size_t j = 0; (other = bl_kernel_at(j)) != NULL; j++)
                listed = listed || (other->family == k->family && other->format == f);
            for (s.rows = 1; s.rows <= 4; s.rows += 3) takes = takes || bl_kernel_takes(&form, fast, &s);
            if (takes && !listed) fail_msg("the family of %s takes %s, which has no row", k->name, f->name);
            s.rows = 4;
            if (listed && !takes && bl_kernel_takes(k, fast, &s))
                fail_msg("the family of %s does not take %s, which has a row", k->name, f->name);
        }
    }
}

static void the_product_takes_the_cheapest_row_that_is_applicable(void **state)
{
    const bl_format *f;
    (void)state;
    for (size_t n = 0; (f = bl_format_at(n)) != NULL; n++)
        for (int64_t rows = 1; rows < 200; rows = 3 * rows + 1)
            for (int bits = 0; bits <= 8; bits += 8) {
                bool grouped = f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE;
                bl_weight w = {.format = f,
                               .shape = {.out = 24, .in = 256, .group = grouped ? 64 : 0, .scale = BL_F16}};
                bl_linear_args a = {
                    .x = bl_tensor_2d(NULL, 0, BL_F32, rows, 256), .w = {&w}, .act = {.bits = bits, .symmetric = true}};
                a.transpose = bits == 0 && rows % 2 == 0;
                if (a.transpose) a.x.dim[1] = 24;
                const bl_kernel *got = bl_kernel_pick(fast, &a, &w), *other;
                assert_non_null(got);
                assert_true(got->family->any || got->format == f);
                assert_true(got->family->applicable(fast, &a, &w));
                for (size_t i = 0; (other = bl_kernel_at(i)) != NULL; i++)
                    if ((other->family->any || other->format == f) && strcmp(other->family->backend, "cpu") == 0 &&
                        other->family->applicable(fast, &a, &w) &&
                        bl_kernel_cost(other->family, &a, &w) < bl_kernel_cost(got->family, &a, &w))
                        fail_msg("%s with %d rows: %s is taken, %s costs less", f->name, (int)rows, got->name,
                                 other->name);
                assert_string_equal(bl_kernel_pick(plain, &a, &w)->family->doc, "plain C");
            }
}

static void kernels_are_found_by_their_names(void **state)
{
    const bl_kernel *k, *other;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++) {
        for (size_t j = 0; j < i; j++) {
            other = bl_kernel_at(j);
            if (strcmp(other->name, k->name) == 0) fail_msg("two kernels are called %s", k->name);
        }
        assert_ptr_equal(bl_kernel_find(k->name), k);
        assert_true(k->family->nmse_limit > 0 && k->family->decode_ns > 0 && k->family->product_ns > 0);
    }
    assert_null(bl_kernel_find("gemm_int9_avx2"));
}

static void bytes_are_those_of_the_packed_weight_and_the_activations(void **state)
{
    (void)state;
    /* 4 x 64 codes of 4 bits, two groups of a fp16 scale and a packed zero (one byte a row); x 1 x 64, y 1 x 4 */
    bl_kernel_shape s = {1, 4, 64, 32, 0};
    assert_true(bl_kernel_bytes(bl_kernel_find("linear_int4_ref"), &s) == 4 * (32 + 4 + 1) + 4 * 68);
    assert_true(bl_kernel_flops(&(bl_kernel_shape){3, 5, 7, 0, 0}) == 2 * 105);
}

static void outputs_in_bf16_are_as_exact_as_their_rounding(void **state)
{
    enum { ROWS = 7, OUT = 33, N = ROWS * OUT };
    const bl_kernel *k = bl_kernel_find("linear_fp32_ref");
    bl_kernel_case c;
    float y[N];
    uint16_t narrow[4][N]; /* rounded; cut off; one that is off; one that was not written */
    int top = 0;
    double nmse;
    (void)state;
    assert_ok(bl_kernel_prepare(k, plain, &(bl_kernel_shape){ROWS, OUT, 64, 0, 0}, &c, &e));
    assert_ok(bl_kernel_run(k, plain, &c, &e));
    assert_ok(plain->ops->download(plain, &c.y, y, &e));
    assert_true(bl_kernel_limit(k, &c) == k->family->nmse_limit);
    for (int i = 0; i < N; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], sizeof bits);
        narrow[0][i] = narrow[2][i] = narrow[3][i] = bl_f32_to_bf16(y[i]);
        narrow[1][i] = (uint16_t)(bits >> 16);
        if (fabsf(y[i]) > fabsf(y[top])) top = i;
    }
    narrow[2][top] = bl_f32_to_bf16(1.03f * y[top]);
    narrow[3][0] = bl_f32_to_bf16(NAN);
    c.y = bl_tensor_2d(c.y.buf, 0, BL_BF16, ROWS, OUT);
    for (int i = 0; i < 4; i++) {
        assert_ok(plain->ops->upload(plain, &c.y, narrow[i], &e));
        assert_ok(bl_kernel_check(plain, &c, &nmse, &e));
        if ((nmse <= bl_kernel_limit(k, &c)) != (i == 0))
            fail_msg("outputs %d: error %g, limit %g", i, nmse, bl_kernel_limit(k, &c));
    }
    bl_kernel_release(plain, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_stays_within_its_limit_and_gives_the_bits_it_promises),
        cmocka_unit_test(outputs_in_bf16_are_as_exact_as_their_rounding),
        cmocka_unit_test(a_family_that_takes_every_format_does),
        cmocka_unit_test(a_family_takes_the_formats_of_its_rows_and_no_others),
        cmocka_unit_test(the_product_takes_the_cheapest_row_that_is_applicable),
        cmocka_unit_test(kernels_are_found_by_their_names),
        cmocka_unit_test(bytes_are_those_of_the_packed_weight_and_the_activations),
    };
    return cmocka_run_group_tests_name("kernels_registry", tests, set_up, tear_down);
}
