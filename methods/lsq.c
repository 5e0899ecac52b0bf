/* lsq.c - learned step sizes: quantization-aware training in which each scale has a gradient (Esser et al. 2020). */
#include "harness/method.h"
#include "harness/train/effective.h"

typedef struct opts {
    int64_t wbits, group;
} opts;
static const bl_opt rows[] = {{"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits),
                               .arg = "2..8", .doc = "bits of a weight"},
                              {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group),
                               .arg = "N", .doc = "weights that share a scale; -1: one scale a row"},
                              {0}};

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    return bl_train_grid(
        t, &(bl_grid_learned){.grid = {.kind = BL_GRID_STEP, .bits = (int)o->wbits, .group = o->group}}, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    char name[8];
    snprintf(name, sizeof name, "int%d", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = lin->out, .in = lin->in, .group = o->group > 0 ? o->group : lin->in, .scale = BL_F32};
    return true;
}

const bl_method bl_method_lsq = {
    .name = "lsq",
    .version = 1,
    .title = "Learned step sizes",
    .cite = "Esser et al. 2020, arXiv 1902.08153",
    .doc = "Weights of the blocks and a scale for each group of them are trained by straight-through gradients and "
           "kept as "
           "symmetric integers.",
    .deviates = "activations are not quantized",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .learns = learns,
    .predict = predict,
};
