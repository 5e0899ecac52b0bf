/* curve_out.c - the curve of a run of training as a record and as JSON lines. */
#include "curve_out.h"
#include "bl_build.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <errno.h>
#include <math.h>
#include <string.h>

bl_status bl_curve_record(const char *out, bl_hash identity, bl_backend *be, const bl_checkpoint *ckpt,
                          const bl_curve *what, const bl_train_point *point, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_device_info info;
    char *path = bl_format_text(e, "%s%s", out, BL_CURVE_ENDING);
    double *loss = bl_new((size_t)n * 4, sizeof *loss, e), *lr = loss + n, *norm = lr + n, *valid = norm + n;
    double *step = bl_new((size_t)n, sizeof *step, e);
    bl_curve c = *what;

    if (!path || !loss || !step) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        loss[i] = point[i].loss;
        lr[i] = point[i].lr;
        norm[i] = point[i].grad_norm;
        if (!isfinite(point[i].valid)) continue;
        valid[c.n_valid] = point[i].valid;
        step[c.n_valid++] = (double)(i + 1);
    }
    be->ops->device_info(be, &info);
    c.model = bl_checkpoint_began(ckpt);
    c.stored_as = bl_checkpoint_stored_as(ckpt);
    c.device = info.name;
    c.numerics = bl_backend_numerics(be);
    c.threads = info.threads;
    c.commit = BL_BUILD_COMMIT;
    c.n = n;
    c.loss = loss;
    c.lr = lr;
    c.grad_norm = norm;
    c.valid_step = step;
    c.valid = valid;
    st = bl_curve_write(path, identity, &c, e);
out:
    bl_free(loss);
    bl_free(step);
    bl_free(path);
    return st;
}

bl_status bl_curve_place(const char *path, bl_err *e)
{
    bl_writer *w = NULL;
    if (!path || strcmp(path, "-") == 0) return BL_OK;
    if (bl_is_dir(path)) return bl_fail(e, BL_E_CONFIG, "%s is a directory, expected a file to write", path);
    bl_status st = bl_writer_open(path, &w, e);
    bl_writer_drop(w);
    return st;
}

bl_status bl_curve_lines(const char *path, const bl_train_point *point, int64_t n, bl_err *e)
{
    bl_text t = {0};
    for (int64_t i = 0; i < n; i++) {
        bl_json_out j = {.t = &t};
        bl_json_object(&j, NULL);
        bl_json_add_int(&j, "step", i + 1);
        bl_json_add_real(&j, "loss", point[i].loss);
        bl_json_add_real(&j, "lr", point[i].lr);
        bl_json_add_real(&j, "grad_norm", point[i].grad_norm);
        if (isfinite(point[i].valid)) bl_json_add_real(&j, "valid", point[i].valid);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    }
    bl_status st = bl_text_check(&t, e);
    if (st == BL_OK && strcmp(path, "-") != 0) st = bl_write_file(path, t.s ? t.s : "", t.n, e);
    else if (st == BL_OK && fwrite(t.s, 1, t.n, stdout) != t.n)
        st = bl_fail(e, BL_E_DISK, "standard output could not be written: %s", strerror(errno));
    bl_text_free(&t);
    return st;
}
