/* safetensors_write.c - header and bytes of a list of tensors. */
#include "safetensors_write.h"
#include "kernels/base/json.h"

enum { CHUNK = 4 << 20 };

/* Padded with spaces, so that tensor bytes begin at a multiple of 64. */
static void header(const bl_st_source *x, size_t n, bl_text *h)
{
    uint64_t at = 0;
    bl_json_out j = {.t = h, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_object(&j, "__metadata__");
    bl_json_add_str(&j, "format", "pt"); /* transformers and peft ask for it */
    bl_json_end(&j);
    for (size_t i = 0; i < n; i++) {
        const bl_tensor *t = x[i].tensor;
        bl_json_object(&j, x[i].name);
        bl_json_add_str(&j, "dtype", bl_dtype_name(t->dtype));
        bl_json_array(&j, "shape");
        for (int d = 0; d < t->ndim; d++) bl_json_add_int(&j, NULL, t->dim[d]);
        bl_json_end(&j);
        bl_json_array(&j, "data_offsets");
        bl_json_add_int(&j, NULL, (int64_t)at);
        bl_json_add_int(&j, NULL, (int64_t)(at += bl_tensor_bytes(t)));
        bl_json_end(&j);
        bl_json_end(&j);
    }
    bl_json_end(&j);
    for (size_t pad = (64 - (h->n + 8) % 64) % 64; pad > 0; pad--) bl_text_add(h, " ");
}

static bl_status put_bytes(const bl_tensor *t, char *buf, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = t->buf->backend;
    int64_t n = bl_tensor_count(t), step = CHUNK / (int64_t)bl_dtype_bytes(t->dtype);
    bl_tensor flat = bl_tensor_1d(t->buf, t->offset, t->dtype, n);
    for (int64_t i = 0; i < n; i += step) {
        bl_tensor some = bl_tensor_part(flat, i, BL_MIN(step, n - i));
        BL_TRY(be->ops->download(be, &some, buf, e));
        bl_text_addn(out, buf, bl_tensor_bytes(&some));
    }
out:
    return st;
}

bl_status bl_safetensors_put(const bl_st_source *x, size_t n, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text h = {0};
    uint64_t bytes;
    char *buf = bl_new(CHUNK, 1, e);
    if (!buf) return BL_E_NOMEM;
    header(x, n, &h);
    BL_TRY(bl_text_check(&h, e));
    bytes = h.n;
    bl_text_addn(out, (const char *)&bytes, sizeof bytes);
    bl_text_addn(out, h.s, h.n);
    for (size_t i = 0; i < n; i++) BL_TRY(put_bytes(x[i].tensor, buf, out, e));
    st = bl_text_check(out, e);
out:
    bl_text_free(&h);
    bl_free(buf);
    return st;
}
