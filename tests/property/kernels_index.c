/* kernels_index.c - the index of vectors answers as looking at all of them does, whatever they are; with and without
 * AVX2, on any threads, bit for bit. */
#include "test.h"
#include "kernels/index.h"
#include "kernels/base/rng.h"
#include <math.h>

static bl_err e;

static bl_backend *cpu(int threads, bl_isa isa)
{
    bl_backend *be;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = threads, .isa = isa}, &be, &e));
    return be;
}

typedef enum kind { ROUND, OUTLIERS, EQUAL, SPARSE, TINY, N_KINDS } kind;
static void fill(float *x, int64_t n, int64_t dim, kind k, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_index", (uint64_t)k), 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < dim; d++) {
            float v = (float)bl_rng_normal(&r);
            if (k == OUTLIERS && d % 97 == 3) v = 300 + v; /* as hidden states of language models have */
            if (k == EQUAL) v = (float)(d % 3) - 1 + (float)(i % 4) * 0.25f;
            if (k == SPARSE) v = i % 5 && d % 7 == i % 7 ? v : 0;
            if (k == TINY) v *= 1e-30f;
            x[i * dim + d] = v;
        }
}

/* In long double, whose sums are off by less than any two different scores here. */
static int64_t best_row(const float *x, int64_t n, int64_t dim, const float *q, bool *clear)
{
    long double best = -INFINITY, second = -INFINITY;
    int64_t at = -1;
    for (int64_t i = 0; i < n; i++) {
        long double s = 0;
        for (int64_t d = 0; d < dim; d++) s += (long double)x[i * dim + d] * q[d];
        if (s > best) {
            second = best;
            best = s;
            at = i;
        } else if (s > second) second = s;
    }
    *clear = best - second > 1e-9L * fabsl(best);
    return at;
}

static void answers_are_those_of_looking_at_all(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {5, 7}, {4097, 17}, {3000, 384}, {2500, 100}};
    enum { QUERIES = 11, K = 12 };
    bl_backend *be[] = {cpu(2, BL_ISA_BEST), cpu(1, BL_ISA_PLAIN)};
    (void)state;
    for (size_t s = 0; s < BL_COUNT(sizes); s++)
        for (kind k = 0; k < N_KINDS; k++) {
            int64_t n = sizes[s][0], dim = sizes[s][1], whole;
            bl_near found[2][QUERIES * K], all[QUERIES * K];
            float *x = bl_new((size_t)(n * dim), sizeof *x, &e), *q = bl_new(QUERIES * (size_t)dim, sizeof *q, &e);
            fill(x, n, dim, k, 1);
            fill(q, QUERIES, dim, k == TINY ? ROUND : k, 2);
            memcpy(q, x, (size_t)dim * sizeof *q); /* a row itself */
            for (int b = 0; b < 2; b++) {
                bl_index *index;
                assert_ok(bl_index_new(be[b], x, n, dim, &index, &e));
                assert_ok(bl_index_find(index, q, QUERIES, K, found[b], &whole, &e));
                assert_ok(bl_index_scan(index, q, QUERIES, K, all, &e));
                assert_memory_equal(found[b], all, sizeof all);
                if (k == ROUND && n == 3000) assert_true(whole < QUERIES * n / 10);
                bl_index_free(index);
            }
            assert_memory_equal(found[0], found[1], sizeof all);
            for (int64_t i = 0; i < QUERIES; i++) {
                bool clear;
                int64_t best = best_row(x, n, dim, q + i * dim, &clear);
                if (clear) assert_int_equal(all[i * K].row, best);
                for (int64_t j = 1; j < K;
                     j++) { /* in order; of equal ones the first; none twice; -1 beyond the rows */
                    bl_near a = all[i * K + j - 1], b = all[i * K + j];
                    if (j >= n) assert_int_equal(b.row, -1);
                    else assert_true(a.score > b.score || (a.score == b.score && a.row < b.row));
                }
            }
            bl_free(x);
            bl_free(q);
        }
    bl_backend_close(be[0]);
    bl_backend_close(be[1]);
}

static void what_is_not_finite_is_refused(void **state)
{
    bl_backend *be = cpu(2, BL_ISA_BEST);
    bl_index *index = NULL;
    bl_near found;
    float x[3 * 9] = {0};
    (void)state;
    x[9 + 8] = NAN;
    assert_refused(bl_index_new(be, x, 3, 9, &index, &e), BL_E_NUMERIC, "vector 1 holds a value that is not finite");
    x[9 + 8] = 1;
    assert_ok(bl_index_new(be, x, 3, 9, &index, &e));
    assert_ok(bl_index_find(index, x + 9, 1, 1, &found, NULL, &e));
    assert_int_equal(found.row, 1);
    x[9 + 8] = INFINITY;
    assert_refused(bl_index_find(index, x + 9, 1, 1, &found, NULL, &e), BL_E_NUMERIC, "query 0 holds a value");
    bl_index_free(index);
    assert_ok(bl_index_new(be, NULL, 0, 9, &index, &e));
    assert_ok(bl_index_find(index, x, 1, 1, &found, NULL, &e));
    assert_int_equal(found.row, -1);
    bl_index_free(index);
    bl_backend_close(be);
}

static void making_and_finding_survive_the_failure_of_every_allocation(void **state)
{
    bl_backend *be = cpu(1, BL_ISA_BEST);
    float x[40 * 8];
    (void)state;
    fill(x, 40, 8, ROUND, 3);
    bl_status st = BL_E_NOMEM;
    for (uint64_t n = 1; st != BL_OK && n < 100; n++) {
        bl_index *index = NULL;
        bl_near found;
        bl_alloc_fail_at(n, false);
        st = bl_index_new(be, x, 40, 8, &index, &e);
        if (st == BL_OK) st = bl_index_find(index, x, 1, 1, &found, NULL, &e);
        bl_alloc_fail_at(0, false);
        assert_true(st == BL_OK || st == BL_E_NOMEM);
        bl_index_free(index);
    }
    assert_int_equal(st, BL_OK);
    bl_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_looking_at_all),
        cmocka_unit_test(what_is_not_finite_is_refused),
        cmocka_unit_test(making_and_finding_survive_the_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
