/* base_rng.c - Philox against the vectors of Random123 (examples/kat_vectors), and the hash against itself. */
#include "test.h"
#include "kernels/base/hash.h"
#include "kernels/base/rng.h"

static const struct {
    uint32_t counter[4], key[2], want[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(known); i++) {
        uint32_t got[4];
        bl_philox(known[i].counter, known[i].key, got);
        assert_memory_equal(got, known[i].want, sizeof got);
    }
}

static void a_stream_is_its_counter(void **state)
{
    (void)state;
    bl_rng r = bl_rng_at(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88);
    for (int i = 0; i < 4; i++) assert_int_equal(bl_rng_u32(&r), known[2].want[i]);
    bl_rng far = bl_rng_at(7, 8, 1000), near = bl_rng_at(7, 8, 0);
    for (int i = 0; i < 4000; i++) bl_rng_u32(&near);
    for (int i = 0; i < 9; i++) assert_int_equal(bl_rng_u32(&near), bl_rng_u32(&far));
}

static void streams_have_names(void **state)
{
    (void)state;
    assert_true(bl_rng_key("rtn", 1) == bl_rng_key("rtn", 1));
    assert_true(bl_rng_key("rtn", 1) != bl_rng_key("rtn", 2));
    assert_true(bl_rng_key("rtn", 1) != bl_rng_key("rtm", 1));
}

static void below_stays_below(void **state)
{
    (void)state;
    bl_rng r = bl_rng_at(1, 2, 3);
    assert_int_equal(bl_rng_below(&r, 0), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(bl_rng_below(&r, 1), 0);
        assert_true(bl_rng_below(&r, 3) < 3);
        assert_true(bl_rng_below(&r, UINT64_MAX) < UINT64_MAX);
        double u = bl_rng_uniform(&r);
        assert_true(u >= 0 && u < 1);
    }
}

static void the_hash_of_nothing_is_the_published_one(void **state)
{
    (void)state;
    char hex[33];
    bl_hash_hex(bl_hash_bytes("", 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f"); /* xxHash's own documentation of XXH3-128 */
    bl_hash_hex(bl_hasher_end(bl_hasher_new(NULL)), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
}

static void parts_hash_like_the_whole(void **state)
{
    (void)state;
    uint8_t p[3000];
    bl_rng r = bl_rng_at(5, 5, 5);
    for (size_t i = 0; i < sizeof p; i++) p[i] = (uint8_t)bl_rng_u32(&r);
    for (size_t cut = 0; cut <= sizeof p; cut += 97) {
        bl_hasher *h = bl_hasher_new(NULL);
        bl_hash_add(h, p, cut);
        bl_hash_add(h, p + cut, sizeof p - cut);
        assert_true(bl_hash_equal(bl_hasher_end(h), bl_hash_bytes(p, sizeof p)));
    }
}

static bl_hash of_texts(const char *a, const char *b)
{
    bl_hasher *h = bl_hasher_new(NULL);
    bl_hash_text(h, a);
    bl_hash_text(h, b);
    return bl_hasher_end(h);
}

static void texts_do_not_run_together(void **state)
{
    (void)state;
    assert_false(bl_hash_equal(of_texts("ab", "c"), of_texts("a", "bc")));
    assert_false(bl_hash_equal(of_texts("", "a"), of_texts(NULL, "a")));
    assert_true(bl_hash_equal(of_texts("x", NULL), of_texts("x", NULL)));
    bl_hasher *h = bl_hasher_new(NULL), *g = bl_hasher_new(NULL);
    const uint8_t le[16] = {8, 7, 6, 5, 4, 3, 2, 1, 1};
    bl_hash_of(h, (bl_hash){.hi = 0x0102030405060708, .lo = 1});
    bl_hash_add(g, le, sizeof le);
    assert_true(bl_hash_equal(bl_hasher_end(h), bl_hasher_end(g)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(a_stream_is_its_counter),
        cmocka_unit_test(streams_have_names),
        cmocka_unit_test(below_stays_below),
        cmocka_unit_test(the_hash_of_nothing_is_the_published_one),
        cmocka_unit_test(parts_hash_like_the_whole),
        cmocka_unit_test(texts_do_not_run_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
