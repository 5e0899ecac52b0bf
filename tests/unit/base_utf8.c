/* base_utf8.c - what is UTF-8: tables 3-7 and 3-8 of the Unicode standard, and all code points there and back. */
#include "test.h"
#include "kernels/base/utf8.h"

static void every_code_point_comes_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char s[4];
        uint32_t back;
        if (c >= 0xd800 && c < 0xe000) continue;
        size_t n = bl_utf8_put(c, s);
        assert_int_equal(n, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(bl_utf8_get(s, n, &back), n);
        assert_int_equal(back, c);
        assert_int_equal(bl_utf8_get(s, n - 1, &back), 0); /* cut off */
    }
}

/* Table 3-7: which pairs of first bytes begin a well-formed sequence, completed with 0x80. */
static bool well_formed(unsigned a, unsigned b)
{
    static const unsigned char rows[][4] = {
        {0xc2, 0xdf, 0x80, 0xbf}, {0xe0, 0xe0, 0xa0, 0xbf}, {0xe1, 0xec, 0x80, 0xbf}, {0xed, 0xed, 0x80, 0x9f},
        {0xee, 0xef, 0x80, 0xbf}, {0xf0, 0xf0, 0x90, 0xbf}, {0xf1, 0xf3, 0x80, 0xbf}, {0xf4, 0xf4, 0x80, 0x8f}};
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        if (a >= rows[i][0] && a <= rows[i][1]) return b >= rows[i][2] && b <= rows[i][3];
    return false;
}

static void only_well_formed_sequences_are_read(void **state)
{
    (void)state;
    for (unsigned a = 0x80; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++) {
            char s[4] = {(char)a, (char)b, '\x80', '\x80'};
            uint32_t c;
            size_t n = a >= 0xf0 ? 4 : a >= 0xe0 ? 3 : 2;
            assert_int_equal(bl_utf8_get(s, 4, &c), well_formed(a, b) ? n : 0);
            for (size_t i = 2; well_formed(a, b) && i < n; i++) { /* a later byte that does not continue */
                char t[4];
                memcpy(t, s, 4);
                t[i] = 'x';
                assert_int_equal(bl_utf8_get(t, 4, &c), 0);
                assert_int_equal(bl_utf8_skip(t, 4), i);
            }
        }
}

/* Table 3-8: one U+FFFD for a maximal subpart. */
static void what_is_not_utf8_is_skipped_by_maximal_subparts(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t want;
    } rows[] = {
        {"\xc0\xaf", 1},     {"\xe0\x80\xbf", 1},     {"\xf0\x81\x82", 1}, {"\xed\xa0\x80", 1}, {"\xf4\x91\x92\x93", 1},
        {"\xe1\x80\xe2", 2}, {"\xf0\x91\x92\xf1", 3}, {"\xe2\x82", 2},     {"\xff", 1},         {"\x80", 1},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_int_equal(bl_utf8_skip(rows[i].s, strlen(rows[i].s)), rows[i].want);
}

static void code_points_are_counted(void **state)
{
    (void)state;
    assert_int_equal(bl_utf8_count("", 0), 0);
    assert_int_equal(bl_utf8_count("h\xc3\xa9 \xf0\x9f\x98\x80\xe2\x82\xac", 11), 5);
    assert_int_equal(bl_utf8_count("h\xc3\xa9 \xf0\x9f\x98\x80", 3), 2);
}

static void the_first_bad_byte_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t want;
        const char *repaired;
    } rows[] = {
        {"", 0, ""},
        {"plain text of many bytes", 24, "plain text of many bytes"},
        {"eight by\xff", 8, "eight by\xef\xbf\xbd"},
        {"h\xc3\xa9 \xf0\x9f\x98\x80", 8, "h\xc3\xa9 \xf0\x9f\x98\x80"},
        {"ab\xe2\x82", 2, "ab\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80z", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e;
        char *t = bl_utf8_repaired(rows[i].s, strlen(rows[i].s), &e);
        assert_int_equal(bl_utf8_bad(rows[i].s, strlen(rows[i].s)), rows[i].want);
        assert_string_equal(t, rows[i].repaired);
        bl_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(only_well_formed_sequences_are_read),
        cmocka_unit_test(what_is_not_utf8_is_skipped_by_maximal_subparts),
        cmocka_unit_test(code_points_are_counted),
        cmocka_unit_test(the_first_bad_byte_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
