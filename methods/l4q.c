/* l4q.c - adapters that are part of the weight before it is rounded, with learned steps and offsets (Jeon et al. 2024).
 *
 *     y = x Wqt,  Wq = round(clamp((W + s B A - o) / d, low, high)) d + o,  low = -2^(b-1), high = 2^(b-1) - 1
 *
 * A, B, and d and o of each group are learned; what is kept is the integers, d and o, the weight of the last step bit
 * for bit: no adapter is left. d and o begin so that the codes span the group, as round-to-nearest has them; or, as in
 * the paper, d as the larger of min / low and max / high, and o at 0.
 */
#include "harness/method.h"
#include "harness/train/effective.h"

typedef struct opts {
    int64_t wbits, group, rank;
    double alpha, rate;
    int scale, init;
} opts;
static const char *const scales[] = {"fp16", "fp32", NULL};
static const char *const inits[] = {"span", "cover", "least", NULL};
enum { SPAN, COVER, LEAST };
static const bl_opt rows[] = {{"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits),
                               .arg = "2..8", .doc = "bits of a weight"},
                              {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group),
                               .arg = "N", .doc = "weights that share a step; -1: one step a row"},
                              {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 4, .at = offsetof(opts, rank),
                               .arg = "N", .doc = "of A and B"},
                              {"alpha", BL_OPT_REAL, .min = 1e-6, .max = 65536, .def.r = 4, .at = offsetof(opts, alpha),
                               .arg = "X", .doc = "B A is scaled by alpha / rank"},
                              {"scale-rate", BL_OPT_REAL, .min = 1e-9, .max = 1e6, .def.r = 1,
                               .at = offsetof(opts, rate), .arg = "X",
                               .doc = "learning rate of steps and offsets, as a share of that of A and B"},
                              {"scale", BL_OPT_CHOICE, .choices = scales, .at = offsetof(opts, scale),
                               .doc = "type that steps and zeros are rounded to, in training too"},
                              {"init", BL_OPT_CHOICE, .choices = inits, .at = offsetof(opts, init),
                               .doc = "steps and offsets that span a group, steps that cover it about 0 (the "
                                      "paper's), or the part of its span that loses least: the one for 2 bits"},
                              {0}};

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    return bl_train_grid(
        t,
        &(bl_grid_learned){
            .grid = {.kind = BL_GRID_OFFSET, .bits = (int)o->wbits, .group = o->group, .half = o->scale == 0},
            .rate = o->rate,
            .rank = o->rank,
            .alpha = o->alpha,
            .seed = r->seed,
            .span = o->init == SPAN,
            .least = o->init == LEAST},
        e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    char name[8];
    snprintf(name, sizeof name, "int%d", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = lin->out,
                        .in = lin->in,
                        .group = o->group > 0 ? o->group : lin->in,
                        .zero = BL_ZERO_FLOAT,
                        .scale = o->scale ? BL_F32 : BL_F16};
    return true;
}

const bl_method bl_method_l4q = {
    .name = "l4q",
    .version = 3,
    .title = "Adapters merged before rounding",
    .cite = "Jeon et al. 2024, arXiv 2402.04902",
    .doc = "Low-rank factors are added to the weight, the sum is rounded to a grid whose steps and offsets are learned "
           "with them; integers, steps and zeros are kept, exactly what was trained, and no adapter.",
    .deviates =
        "init=cover is the paper's: at 2 bits, of which it has no numbers, its steps are as large as the largest "
        "weight above 0, most weights begin as 0, and training does not bring back what that loses\n"
        "the gradients of steps and offsets are divided by sqrt(weights of a group * largest code), where the "
        "paper does not say of how many weights\n"
        "steps and zeros are rounded to fp16 in training too, so that what is stored is what was trained",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .learns = learns,
    .predict = predict,
};
