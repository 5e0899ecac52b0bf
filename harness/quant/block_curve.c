/* block_curve.c - the curve of blocks that learn one after another. */
#include "block_curve.h"
#include "bl_build.h"
#include "results/curve.h"

void bl_block_curve_put(const bl_calibration *c, int64_t block, bl_json_out *o)
{
    const bl_calib_step *s;
    int64_t n;
    bool any = false;
    bl_calib_steps(c, &s, &n);
    for (int64_t i = 0; i < n; i++) {
        if (s[i].block != block) continue;
        if (!any) bl_json_array(o, NULL);
        any = true;
        bl_json_add_real(o, NULL, s[i].loss);
        bl_json_add_real(o, NULL, s[i].lr);
        bl_json_add_real(o, NULL, s[i].grad_norm);
    }
    if (any) bl_json_end(o);
}

bl_status bl_block_curve_take(bl_calibration *c, int64_t block, const bl_json *list, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calib_step s = {.block = block};
    double *const to[] = {&s.loss, &s.lr, &s.grad_norm};
    int at = 0;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v)) {
        BL_TRY(bl_json_real(v, to[at], e));
        at = (at + 1) % 3;
        if (!at) BL_TRY(bl_calib_say_step(c, &s, e));
    }
out:
    return st;
}

bl_status bl_block_curve_write(const bl_calibration *c, const char *dir, bl_hash identity, const char *method,
                               const bl_model *m, const char *data, bl_hash text, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_calib_step *s;
    bl_device_info info;
    int64_t n;
    char hash[33], *path = NULL;
    double *loss = NULL, *lr, *norm, *block;
    bl_calib_steps(c, &s, &n);
    if (!n) return BL_OK;
    if (!(path = bl_format_text(e, "%s%s", dir, BL_CURVE_ENDING)) || !(loss = bl_new((size_t)n * 4, sizeof *loss, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    lr = loss + n;
    norm = lr + n;
    block = norm + n;
    for (int64_t i = 0; i < n; i++) {
        loss[i] = s[i].loss;
        lr[i] = s[i].lr;
        norm[i] = s[i].grad_norm;
        block[i] = (double)s[i].block;
    }
    m->be->ops->device_info(m->be, &info);
    bl_hash_hex(text, hash);
    st = bl_curve_write(path, identity,
                        &(bl_curve){.method = method,
                                    .model = bl_checkpoint_began(m->ckpt),
                                    .stored_as = bl_checkpoint_stored_as(m->ckpt),
                                    .data = data,
                                    .data_hash = hash,
                                    .device = info.name,
                                    .numerics = bl_backend_numerics(m->be),
                                    .threads = info.threads,
                                    .commit = BL_BUILD_COMMIT,
                                    .n = n,
                                    .loss = loss,
                                    .lr = lr,
                                    .grad_norm = norm,
                                    .block = block},
                        e);
out:
    bl_free(loss);
    bl_free(path);
    return st;
}
