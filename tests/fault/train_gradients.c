/* Training when memory is out at any moment: a sentence, nothing lost. */
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "model_fixture.h"

enum { FULL, LORA, LSQ, SCHEMES };

static bl_status train(const fixture *f, int scheme, bl_err *e)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6}, start[] = {0, 5, 8};
    bl_train_batch b = {.ids = ids, .n_seq = 2, .start = start};
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    bl_trainable *t = NULL;
    double nll, norm;
    bl_status st = BL_OK;
    BL_TRY(bl_trainable_new(f->m, &t, e));
    if (scheme == FULL) BL_TRY(bl_train_full(t, e));
    if (scheme == LORA) BL_TRY(bl_train_lora(t, &(bl_lora){.rank = 2, .alpha = 2, .dropout = 0.1}, e));
    if (scheme == LSQ)
        BL_TRY(bl_train_grid(t, &(bl_grid_learned){.grid = {.kind = BL_GRID_STEP, .bits = 4, .group = 32}}, e));
    BL_TRY(bl_gradients(t, &b, 0.1, &nll, e));
    BL_TRY(bl_adamw_step(&o, t, 1e-3, &norm, e));
    BL_TRY(bl_trainable_store(t, e));
out:
    bl_trainable_free(t);
    return st;
}

static void training_survives_the_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    bool reached = true;
    for (int scheme = 0; scheme < SCHEMES; scheme++, reached = true)
        for (uint64_t n = 1; reached; n += 1 + n / 8) { /* every one at first, then some */
            uint64_t live = bl_alloc_live();
            fixture f = fixture_open("synth:tiny", "", 1, false);
            bl_alloc_fail_at(n, n % 2);
            bl_status st = train(&f, scheme, &e);
            reached = bl_alloc_count() >= n;
            bl_alloc_fail_at(0, false);
            if (st != (reached ? BL_E_NOMEM : BL_OK))
                fail_msg("allocation %d: %s %s", (int)n, bl_status_name(st), e.text);
            fixture_close(&f);
            if (bl_alloc_live() != live)
                fail_msg("scheme %d, allocation %d: %lld bytes are lost", scheme, (int)n,
                         (long long)(bl_alloc_live() - live));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(training_survives_the_failure_of_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
