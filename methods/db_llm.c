/* db_llm.c - two planes of bits, each times a learned number of its group, trained towards the model as it was where
 * both are unsure (after Chen et al. 2024, arXiv 2402.11960; there is no published code).
 *
 *     w^ = a b1 + c b2, b1 = [w >= (a + c) / 2], b2 = [w - a b1 <= c / 2]      (PLANES of ops_train.h)
 *     L = sum over tokens of ((h_P h_Q)^power + even) KL(P | Q) / sequences    (bl_train_unsure)
 *
 * a = 2 s, c = -s at first: integers of 2 bits.
 */
#include "harness/method.h"
#include "harness/train/effective.h"
#include "shared_weight.h"

typedef struct opts {
    int64_t wbits, group;
    double power, even, rate;
    bool latent;
} opts;
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 2, .def.i = 2, .at = offsetof(opts, wbits), .arg = "2",
     .doc = "bits of a weight: a plane each"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 64, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share both numbers; -1: those of a row"},
    {"latent", BL_OPT_BOOL, .at = offsetof(opts, latent), .doc = "weights learn too, not only the numbers of groups"},
    {"rate", BL_OPT_REAL, .min = 1e-6, .max = 1e6, .def.r = 1, .at = offsetof(opts, rate), .arg = "X",
     .doc = "learning rate of the numbers of groups, as a share of the run's"},
    {"power", BL_OPT_REAL, .min = 0, .max = 10, .def.r = 0.5, .at = offsetof(opts, power), .arg = "X",
     .doc = "of the product of both entropies, how much a token counts"},
    {"even", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 0.1, .at = offsetof(opts, even), .arg = "X",
     .doc = "how much every token counts beside it"},
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_plain_linears(r, 0, "db-llm trains plain weights", e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    bl_status st = BL_OK;
    BL_TRY(
        bl_train_grid(t,
                      &(bl_grid_learned){.grid = {.kind = BL_GRID_PLANES, .bits = 2, .group = o->group, .half = true},
                                         .rate = o->rate,
                                         .frozen = !o->latent},
                      e));
    BL_TRY(bl_train_taught(t, r->model->ckpt, 1, 0, e));
    BL_TRY(bl_train_unsure(t, o->power, o->even, e));
out:
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (lin->block < 0) return false;
    *format = bl_format_find("planes");
    *shape = (bl_shape){.out = lin->out, .in = lin->in, .group = o->group > 0 ? o->group : lin->in, .scale = BL_F16};
    return true;
}

const bl_method bl_method_db_llm = {
    .name = "db-llm",
    .version = 1,
    .title = "Dual binarization (our re-implementation)",
    .cite = "after Chen et al. 2024, arXiv 2402.11960",
    .doc = "A weight is the sum of two bits, each times a learned number of its group, trained towards the model as it "
           "was, "
           "which is computed beside, where both are unsure. Its authors published no code; this is made from what the "
           "paper says.",
    .deviates =
        "how much a token counts, the first numbers of a group and whether weights learn are not known of the "
        "paper: here ((h_P h_Q)^power + even) with entropies over ln of the vocabulary, the least squared error "
        "of 40 tries, and as `latent` says\n"
        "a group whose negative side is the larger has all of it mirrored\n"
        "on text that is given, not written by the model itself",
    .wbits = 0x4, /* 2 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .predict = predict,
};
