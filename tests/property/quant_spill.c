/* quant_spill.c - calibration keeps to the memory it is given, and gives the same bits whatever that is. */
#include "model_fixture.h"
#include "harness/quant/calibrate.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"
#include <errno.h>

enum { WINDOWS = 60, LEN = 512, TOKENS = WINDOWS * LEN };

static int32_t ids[TOKENS];
static bl_calib_windows windows(const fixture *f)
{
    bl_rng r = bl_rng_at(5, 3, 0);
    for (int i = 0; i < TOKENS; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)f->m->config.vocab);
    return (bl_calib_windows){.ids = ids, .n = WINDOWS, .seqlen = LEN};
}

enum { WANTS = BL_CALIB_HESSIAN | BL_CALIB_CHANNELS | BL_CALIB_INPUTS };
static const bl_role roles[] = {BL_ROLE_Q, BL_ROLE_O, BL_ROLE_GATE, BL_ROLE_DOWN};

/* All statistics of both blocks, one after another. */
static bl_status statistics(const fixture *f, const char *beside, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calib_windows w = windows(f);
    bl_calibration *c = NULL;
    uint32_t every = 0;

    for (size_t i = 0; i < BL_COUNT(roles); i++) every |= BL_ROLE_BIT(roles[i]);
    BL_TRY(bl_calib_begin(f->m, NULL, &w, WANTS, beside, &c, e));
    for (int64_t b = 0; b < 2; b++) {
        BL_TRY((b == 0 ? bl_calib_gather_advance : bl_calib_gather)(c, every, e));
        for (size_t i = 0; i < BL_COUNT(roles); i++) {
            const bl_linear *l = bl_model_linear(f->m, b, roles[i]);
            bl_tensor h, x;
            bl_calib_channels ch;
            BL_TRY(bl_calib_hessian(c, l, &h, e));
            BL_TRY(bl_calib_inputs(c, l, &x, e));
            BL_TRY(bl_calib_channel(c, l, &ch, e));
            void *p = malloc(bl_tensor_bytes(&h) + bl_tensor_bytes(&x));
            BL_TRY(f->be->ops->download(f->be, &h, p, e));
            BL_TRY(f->be->ops->download(f->be, &x, (char *)p + bl_tensor_bytes(&h), e));
            for (size_t k = 0; k < (bl_tensor_bytes(&h) + bl_tensor_bytes(&x)) / 4; k++)
                bl_text_addf(out, "%08x ", ((const uint32_t *)p)[k]);
            for (int64_t k = 0; k < l->in; k++)
                bl_text_addf(out, "%a %a %a ", ch.max_abs[k], ch.mean_abs[k], ch.mean_sq[k]);
            free(p);
        }
    }
out:
    bl_calib_end(c);
    return st;
}

static void less_memory_than_the_text_takes_changes_no_bit(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 2, false);
    bl_calib_size size;
    bl_text all = {0}, spilled = {0}, none = {0};
    char beside[4200];
    uint64_t now, peak;

    snprintf(beside, sizeof beside, "%s/variant", test_dir());
    uint64_t writes = bl_fs_count();
    assert_ok(statistics(&f, beside, &all, &e));
    assert_int_equal(bl_fs_count(), writes); /* it fits */
    bl_calib_size_of(&f.m->config, WINDOWS, LEN, WANTS, &size);
    assert_int_equal(size.stream, (uint64_t)TOKENS * 64 * sizeof(float));
    f.be->ops->memory(f.be, &now, &peak);
    f.be->opts.memory_limit = now + size.beside + size.stream / 2;
    assert_true(size.beside < size.stream);
    assert_ok(statistics(&f, beside, &spilled, &e)); /* the backend refuses what is above its limit */
    assert_true(bl_fs_count() > writes);
    assert_string_equal(all.s, spilled.s);
    assert_int_equal(statistics(&f, NULL, &none, &e), BL_E_DEVMEM); /* nowhere to go */
    bl_text_free(&all);
    bl_text_free(&spilled);
    bl_text_free(&none);
    fixture_close(&f);
}

/* Twice the windows take twice the file, and no more memory. */
static void memory_does_not_grow_with_the_text(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 2, false);
    uint64_t most[2], now, peak;
    char beside[4200];

    snprintf(beside, sizeof beside, "%s/variant", test_dir());
    for (int k = 0; k < 2; k++) {
        bl_calib_windows w = windows(&f);
        bl_calibration *c;
        bl_calib_size size;
        w.n = k ? WINDOWS : WINDOWS / 2;
        bl_calib_size_of(&f.m->config, w.n, LEN, BL_CALIB_HESSIAN, &size);
        f.be->ops->memory(f.be, &now, &peak);
        f.be->opts.memory_limit = now + size.beside;
        bl_alloc_watch_reset();
        uint64_t before = bl_alloc_live();
        assert_ok(bl_calib_begin(f.m, NULL, &w, BL_CALIB_HESSIAN, beside, &c, &e));
        assert_ok(bl_calib_gather(c, BL_ROLE_BIT(BL_ROLE_DOWN), &e));
        assert_ok(bl_calib_advance(c, &e));
        bl_calib_end(c);
        most[k] = bl_alloc_peak() - before;
        assert_true(most[k] < size.stream + size.beside);
    }
    assert_true(most[1] < most[0] + 4096); /* host copies and all */
    fixture_close(&f);
}

static void a_disk_that_is_full_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    bl_err e = {0};
    fixture f = fixture_open("synth:tiny", "", 1, false);
    bl_text t = {0};
    bl_calib_size size;
    uint64_t now, peak;
    char beside[4200];

    snprintf(beside, sizeof beside, "%s/variant", test_dir());
    bl_calib_size_of(&f.m->config, WINDOWS, LEN, WANTS, &size);
    f.be->ops->memory(f.be, &now, &peak);
    f.be->opts.memory_limit = now + size.beside;
    bl_fs_fail_at(14, ENOSPC, false); /* while outputs go back */
    bl_status st = statistics(&f, beside, &t, &e);
    bl_fs_fail_at(0, 0, false);
    assert_refused(st, BL_E_DISK, "disk full at 7.");
    bl_text_free(&t);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(less_memory_than_the_text_takes_changes_no_bit),
        cmocka_unit_test(memory_does_not_grow_with_the_text),
        cmocka_unit_test(a_disk_that_is_full_is_an_error_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
