/* e2e_qp.c - the scales of integers that stay as they are, trained end to end (Chen et al. 2024, section 3.3; of
 * weights rounded to nearest: PEQA, Kim et al. 2023).
 *
 *     y = x Wqt,  Wq = (c - z) s:  ds = sum over the group of dL/dWq (c - z)
 *
 * Codes and zeros are those that the model has, of whatever stage made them; the scales are f32 while they are trained
 * and then have their type again.
 */
#include "harness/method.h"
#include "harness/train/effective.h"

static bl_status check(const bl_method_run *r, bl_err *e)
{
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (l->weight.format->kind != BL_FMT_INT)
            return bl_fail(e, BL_E_CONFIG, "%s is %s; e2e-qp follows what makes integers, like rtn or efficientqat",
                           l->name, l->weight.format->name);
    }
    return BL_OK;
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    (void)r;
    return bl_train_scales(t, e);
}

const bl_method bl_method_e2e_qp = {
    .name = "e2e-qp",
    .version = 1,
    .title = "Scales trained end to end",
    .cite = "Chen et al. 2024, arXiv 2407.11062, section 3.3; Kim et al. 2023, arXiv 2305.14152 (PEQA)",
    .doc =
        "Integers and zeros stay, the scale of each group is trained: efficientqat:w2g64+e2e-qp is EfficientQAT with "
        "both of its phases, rtn:w4g64+e2e-qp is PEQA.",
    .needs = BL_NEED_TRAINING,
    .check = check,
    .learns = learns,
};
