/* shared_lora.c - from the options of adapters to adapters. */
#include "shared_lora.h"
#include "harness/checkpoint/peft.h"
#include <string.h>

static bl_status targets_of(const bl_lora_opts *o, uint32_t *out, bl_err *e)
{
    *out = 0;
    if (!strcmp(o->targets, "all")) return BL_OK;
    for (const char *at = o->targets; *at;) {
        size_t n = strcspn(at, ":");
        uint32_t bit = bl_linear_named(at, n);
        if (!bit || *out & bit)
            return bl_fail(e, BL_E_CONFIG, "targets: '%.*s' is no linear of a block, or comes twice", (int)n, at);
        *out |= bit;
        at += n + (at[n] == ':');
    }
    return BL_OK;
}

bl_status bl_lora_check(const bl_lora_opts *o, bl_err *e)
{
    uint32_t targets;
    return targets_of(o, &targets, e);
}

void bl_lora_predict(const bl_lora_opts *o, bl_linear *lin)
{
    uint32_t targets = 0;
    const bl_lowrank a = {.a = bl_tensor_2d(NULL, 0, BL_F32, o->rank, lin->in),
                          .b = bl_tensor_2d(NULL, 0, BL_F32, lin->out, o->rank)};
    if (targets_of(o, &targets, NULL) == BL_OK && (!targets || targets & BL_ROLE_BIT(lin->role)))
        (void)bl_linear_add_adapter(lin, &a, NULL); /* without memory a plan says less */
}

bl_status bl_lora_learns(const bl_method_run *r, const bl_lora_opts *o, bl_trainable *t, bl_err *e)
{
    bl_lora l = {
        .rank = o->rank, .alpha = o->alpha, .rank_stabilized = o->rslora, .dropout = o->dropout, .seed = r->seed};
    bl_status st = targets_of(o, &l.targets, e);
    return st == BL_OK ? bl_train_lora(t, &l, e) : st;
}
