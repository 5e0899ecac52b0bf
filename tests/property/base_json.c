/* base_json.c - what is written is read back as it was; sentences are always printable. */
#include "test.h"
#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include <math.h>

static void doubles_come_back_with_the_same_bits(void **state)
{
    (void)state;
    bl_err e;
    bl_rng r = bl_rng_at(3, bl_rng_key("doubles", 0), 0);
    bl_text t = {0};
    enum { N = 50000 };
    double *want = bl_new(N, sizeof *want, &e);
    bl_text_add(&t, "[");
    for (int i = 0; i < N; i++) {
        uint64_t bits = (uint64_t)bl_rng_u32(&r) << 32 | bl_rng_u32(&r);
        do memcpy(&want[i], &bits, sizeof bits);
        while (!isfinite(want[i]) && (bits ^= UINT64_C(1) << 62, true));
        if (i % 3 == 0) want[i] = (double)bl_rng_below(&r, 1000) / 10; /* 0.1 + 0.2 and friends */
        if (i % 7 == 0) want[i] = (double)(int64_t)bl_rng_below(&r, UINT64_C(1) << 54);
        bl_text_add(&t, i ? "," : "");
        bl_json_put_real(&t, want[i]);
    }
    bl_text_add(&t, "]");
    bl_json *j;
    assert_ok(bl_text_check(&t, &e));
    assert_ok(bl_json_parse(t.s, t.n, "numbers", BL_JSON_PLAIN, &j, &e));
    const bl_json *v = bl_json_first(j);
    for (int i = 0; i < N; i++, v = bl_json_next(v)) {
        double got;
        assert_ok(bl_json_real(v, &got, &e));
        assert_memory_equal(&got, &want[i], sizeof got);
    }
    assert_null(v);
    bl_json_free(j);
    bl_free(want);
    bl_text_free(&t);
}

static void random_value(bl_rng *r, bl_text *t, int depth)
{
    uint64_t kind = bl_rng_below(r, depth > 0 ? 7 : 5), n = bl_rng_below(r, 12);
    char s[32];
    if (kind == 0) bl_text_add(t, "null");
    if (kind == 1) bl_text_add(t, n % 2 ? "true" : "false");
    if (kind == 2) bl_text_addf(t, "%lld", (long long)bl_rng_below(r, UINT64_C(1) << 53));
    if (kind == 3) bl_json_put_real(t, bl_rng_normal(r));
    if (kind == 4) {
        for (uint64_t i = 0; i < n; i++) s[i] = (char)bl_rng_u32(r);
        bl_json_put_str(t, s, n);
    }
    if (kind < 5) return;
    bl_text_add(t, kind == 5 ? "[" : "{");
    for (uint64_t i = 0; i < n; i++) {
        bl_text_addf(t, "%s", i ? "," : "");
        if (kind == 6) bl_text_addf(t, "\"k%d\":", (int)i);
        random_value(r, t, depth - 1);
    }
    bl_text_add(t, kind == 5 ? "]" : "}");
}

static void a_written_tree_is_a_fixed_point(void **state)
{
    (void)state;
    bl_err e;
    for (uint64_t k = 0; k < 300; k++) {
        bl_rng r = bl_rng_at(4, k, 0);
        bl_text a = {0}, b = {0};
        bl_json *j;
        random_value(&r, &a, 6);
        assert_ok(bl_json_parse(a.s, a.n, "a", BL_JSON_PLAIN, &j, &e));
        bl_json_put_node(&b, j);
        assert_string_equal(a.s, b.s);
        bl_json_free(j);
        bl_text_free(&a);
        bl_text_free(&b);
    }
}

/* Valid UTF-8 by the plainest definition, and nothing that moves the cursor. */
static bool is_printable_utf8(const char *s)
{
    for (const uint8_t *p = (const uint8_t *)s; *p;) {
        int n = *p < 0x80                 ? 1
                : *p >= 0xc2 && *p < 0xe0 ? 2
                : *p >= 0xe0 && *p < 0xf0 ? 3
                : *p >= 0xf0 && *p < 0xf5 ? 4
                                          : 0;
        if (n == 0 || *p < 0x20 || *p == 0x7f) return false;
        for (int i = 1; i < n; i++)
            if ((p[i] & 0xc0) != 0x80) return false;
        p += n;
    }
    return true;
}

static void every_sentence_is_one_printable_line(void **state)
{
    (void)state;
    static const char *const pieces[] = {"\xc3\xa9", "\xf0\x9f\x98\x80", "\xff",    "\n", " ", "\x1b[2J",
                                         "word",     "\xe2\x80\xae",     "\xe2\x82"};
    bl_rng r = bl_rng_at(5, 0, 0);
    for (int k = 0; k < 400; k++) {
        bl_text t = {0};
        uint64_t n = bl_rng_below(&r, 3000), few = 1 + bl_rng_below(&r, BL_COUNT(pieces));
        bl_text_add(&t, "x");
        for (uint64_t i = 0; i < n; i++) bl_text_add(&t, pieces[bl_rng_below(&r, few)]);
        bl_err e;
        bl_fail(&e, BL_E_FORMAT, "%s: tail", t.s);
        assert_true(is_printable_utf8(e.text));
        assert_non_null(strstr(e.text, "tail"));
        bl_within(&e, "%s", t.s);
        assert_true(is_printable_utf8(e.text));
        assert_non_null(strstr(e.text, "tail"));
        bl_text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_come_back_with_the_same_bits),
        cmocka_unit_test(a_written_tree_is_a_fixed_point),
        cmocka_unit_test(every_sentence_is_one_printable_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
