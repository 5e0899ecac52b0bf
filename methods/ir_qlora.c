/* ir_qlora.c - QLoRA whose codes and adapters keep more of what the weights and inputs tell (Qin et al. 2024,
 * arXiv 2402.05445): each group of weights is shifted so that its codes have the largest entropy (kernels/fmt_shift.c),
 * and short cuts go past both matrices of the adapter (harness/train/shortcut.c).
 */
#include "shared_lora.h"

typedef struct opts {
    bl_lora_opts lora;
    int64_t wbits;
} opts;
static const bl_opt rows[] = {{"wbits", BL_OPT_INT, .min = 2, .max = 4, .def.i = 4, .at = offsetof(opts, wbits),
                               .arg = "2|3|4", .doc = "bits of a weight"},
                              BL_LORA_ROWS_OF(opts, lora, 64, 16),
                              {0}};

static const bl_format *format_of(const opts *o)
{
    char name[16];
    snprintf(name, sizeof name, "nf%d_shift", (int)o->wbits);
    return bl_format_find(name);
}

static bl_shape shape_of(const void *options, const bl_linear *l)
{
    (void)options;
    return (bl_shape){.out = l->out, .in = bl_linear_width(l), .group = 64, .scale = BL_F32};
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_lora_check(r, &((const opts *)r->opts)->lora, e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    const bl_lora_base base = {.format = format_of(o), .shape = shape_of, .opts = o, .rule = BL_RANGE_OWN};
    bl_status st = bl_lora_learns(r, &o->lora, &base, t, e);
    return st == BL_OK ? bl_train_shortcuts(t, e) : st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    *format = format_of(o);
    *shape = shape_of(o, lin);
    bl_lora_predict(&o->lora, lin);
    return true;
}

const bl_method bl_method_ir_qlora = {
    .name = "ir-qlora",
    .version = 1,
    .title = "QLoRA that keeps more information",
    .cite = "Qin et al. 2024, arXiv 2402.05445",
    .doc =
        "Weights in normal floats about a shift of each block of 64 that makes the entropy of its codes largest among "
        "shifts near the block's median (so never below that of the codes about the median), and "
        "adapters with short cuts past A and B, whose factors are trained; in the end A and B have them in them, "
        "and so have the files of peft, whose base is these weights (export --without-adapters).",
    .deviates = "adapters and gradients are fp32, moments fp32 or 8 bits; dropout acts on the inputs of the short cut "
                "past A too",
    .wbits = 0x1c, /* 2, 3, 4 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .predict = predict,
};
