/* lr_qat.c - low-rank factors inside the rounding, on the integer grid (Bondarenko et al. 2024).
 *
 *     y = x Wqt,  Wq = s clamp(round(P + alpha / rank B A), low, high),  P = phi(W / s0), low = -2^(b-1), high = -low -
 * 1
 *
 * P is frozen, kept in eight bits as fixed point (phi=fixed8: b bits before the point, 8 - b after it, clamped to the
 * grid), as whole steps, or in a float type; A, B and the scales s, which begin as s0, are learned. What is kept is the
 * integers and s, the weight of the last step bit for bit. (The paper's letters A and B are swapped here, so that they
 * are those of LoRA.)
 */
#include "harness/method.h"
#include "harness/train/effective.h"

typedef struct opts {
    int64_t wbits, group, rank;
    double alpha, rate;
    int scale, phi;
} opts;
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {{"wbits", BL_OPT_INT, .min = 2, .max = 7, .def.i = 4, .at = offsetof(opts, wbits),
                               .arg = "2..7", .doc = "bits of a weight"},
                              {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group),
                               .arg = "N", .doc = "weights that share a scale; -1: one scale a row"},
                              {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 32, .at = offsetof(opts, rank),
                               .arg = "N", .doc = "of A and B"},
                              {"alpha", BL_OPT_REAL, .min = 1e-6, .max = 65536, .def.r = 1, .at = offsetof(opts, alpha),
                               .arg = "X", .doc = "B A is scaled by alpha / rank"},
                              {"scale-rate", BL_OPT_REAL, .min = 1e-9, .max = 1e6, .def.r = 0.01,
                               .at = offsetof(opts, rate), .arg = "X",
                               .doc = "learning rate of scales, as a share of that of A and B"},
                              {"phi", BL_OPT_CHOICE, .choices = bl_phis, .at = offsetof(opts, phi),
                               .doc = "how the frozen weight is kept in training: eight bits in fixed point, whole "
                                      "steps of the grid, floats"},
                              {"scale", BL_OPT_CHOICE, .choices = scales, .at = offsetof(opts, scale),
                               .doc = "type that scales are rounded to, in training too"},
                              {0}};

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    return bl_train_grid(
        t,
        &(bl_grid_learned){
            .grid = {.kind = BL_GRID_INSIDE, .bits = (int)o->wbits, .group = o->group, .half = o->scale == 0},
            .rate = o->rate,
            .rank = o->rank,
            .alpha = o->alpha,
            .seed = r->seed,
            .phi = (bl_phi)o->phi},
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
                        .scale = o->scale ? BL_F32 : BL_F16};
    return true;
}

const bl_method bl_method_lr_qat = {
    .name = "lr-qat",
    .version = 2,
    .title = "Low-rank factors inside the rounding",
    .cite = "Bondarenko et al. 2024, arXiv 2406.06385",
    .doc = "What is learned is a low-rank change of the weight in steps of its integer grid, before it is rounded, and "
           "the scales; the weight itself is frozen in eight bits or fewer. Integers and scales are kept, exactly what "
           "was trained, and no adapter.",
    .deviates = "grids are symmetric at 2 bits too, where the paper has asymmetric ones\n"
                "scales are rounded to fp16 in training too, so that what is stored is what was trained\n"
                "integers of phi=int take as many bits as the grid\n"
                "activations and the cache are not quantized",
    .wbits = 0xfc, /* 2..7 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .learns = learns,
    .predict = predict,
};
