/* export.c - writes a checkpoint as a Hugging Face directory: config.json, one model.safetensors, the tokenizer.
 *
 * All tensors are listed first, so that the header is known; then they are written one after another. All goes to
 * DIR.tmp.<pid>; renaming that directory is the commit.
 */
#include "export.h"
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <unistd.h>

enum { CHUNK = 4 << 20 };

typedef struct writing {
    bl_checkpoint *c;
    const bl_export_how *how;
    bl_packing p;
    bl_writer *w;
} writing;

static bool is_packed(const writing *x, const bl_stored *t)
{
    return x->p.kind && bl_roles[t->role].kind == BL_KIND_LINEAR;
}

/* Of a dense parameter: the type asked for, beside packed linears that in which it is stored. */
static bl_dtype type_of(const writing *x, const bl_stored *t)
{
    bl_part_spec spec[BL_MAX_PARTS];
    if (!x->p.kind) return x->how->type;
    t->format->parts(t->format, &t->shape, spec);
    return spec[0].dtype;
}

static const char *torch_type(bl_dtype t) { return t == BL_F32 ? "float32" : t == BL_F16 ? "float16" : "bfloat16"; }

/* A dense directory has nothing but weights. */
static bl_status check_dense(const bl_checkpoint *c, bool without, bl_err *e)
{
    for (size_t i = 0; i < c->n; i++) {
        const bl_stored *t = &c->stored[i];
        const bool lengths = t->n_after == 1 && t->transform[t->n_transforms].t.kind == BL_T_SCALE; /* of DoRA */
        bl_stored rest = *t;
        if (without && t->n_adapters && lengths) rest.n_after = 0;
        const char *what = t->act.bits                 ? "its inputs are quantized"
                           : t->n_adapters && !without ? "it has an adapter"
                                                       : bl_export_transformed(&rest, true);
        if (what)
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: %s; a dense checkpoint has no place for that", t->name, what);
    }
    return BL_OK;
}

/* ---- the header ---- */
static void put_entry(bl_json_out *j, const char *name, const bl_export_tensor *x, uint64_t *at)
{
    bl_json_object(j, name);
    bl_json_add_str(j, "dtype", x->dtype);
    bl_json_array(j, "shape");
    for (int d = 0; d < x->ndim; d++) bl_json_add_int(j, NULL, x->dim[d]);
    bl_json_end(j);
    bl_json_array(j, "data_offsets");
    bl_json_add_int(j, NULL, (int64_t)*at);
    bl_json_add_int(j, NULL, (int64_t)(*at += x->bytes));
    bl_json_end(j);
    bl_json_end(j);
}

static void put_header(const writing *x, bl_text *h)
{
    uint64_t at = 0;
    char name[160];
    bl_json_out j = {.t = h, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_object(&j, "__metadata__");
    bl_json_add_str(&j, "format", "pt");
    bl_json_end(&j);
    for (size_t i = 0; i < x->c->n; i++) {
        const bl_stored *t = &x->c->stored[i];
        bl_export_tensor part[BL_EXPORT_TENSORS];
        if (!is_packed(x, t)) {
            bl_dtype type = type_of(x, t);
            part[0] = (bl_export_tensor){.dtype = bl_dtype_name(type), .ndim = t->vector ? 1 : 2};
            part[0].dim[0] = t->vector ? t->shape.in : t->shape.out;
            part[0].dim[1] = t->shape.in;
            part[0].bytes = (uint64_t)t->shape.out * (uint64_t)t->shape.in * bl_dtype_bytes(type);
            put_entry(&j, t->name, &part[0], &at);
            continue;
        }
        int n = bl_export_tensors(&x->p, t, part);
        for (int k = 0; k < n; k++) {
            snprintf(name, sizeof name, "%.*s%s", (int)(strlen(t->name) - strlen("weight")), t->name, part[k].part);
            put_entry(&j, name, &part[k], &at);
        }
    }
    bl_json_end(&j);
    for (size_t pad = (64 - (h->n + 8) % 64) % 64; pad > 0; pad--) bl_text_add(h, " ");
}

/* ---- bytes ---- */
static bl_status write_dense(writing *x, const bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_dtype type = type_of(x, t);
    const bl_format *f = bl_format_find(type == BL_F32 ? "fp32" : type == BL_F16 ? "fp16" : "bf16");
    int64_t in = t->shape.in, step = BL_MAX(CHUNK / (4 * in), 1);
    float *v = bl_new((size_t)(BL_MIN(step, t->shape.out) * in), sizeof *v, e);
    float *row = bl_new((size_t)in, sizeof *row, e);
    uint8_t *packed = bl_new((size_t)(BL_MIN(step, t->shape.out) * in), 4, e);
    int32_t *order = NULL;
    if (!v || !row || !packed) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_export_order(x->c, t, &order, e));
    for (int64_t r = 0; r < t->shape.out; r += step) {
        int64_t n = BL_MIN(step, t->shape.out - r);
        BL_TRY(bl_checkpoint_dense(x->c, t, r, n, v, e));
        for (int64_t k = 0; order && k < n; k++) { /* inputs where they were */
            memcpy(row, v + k * in, (size_t)in * sizeof *row);
            for (int64_t i = 0; i < in; i++) v[k * in + order[i]] = row[i];
        }
        void *part = packed;
        BL_TRY(f->pack(f, &(bl_shape){.out = n, .in = in}, v, &part, e));
        BL_TRY(bl_writer_add(x->w, packed, (size_t)(n * in) * bl_dtype_bytes(type), e));
    }
out:
    if (st != BL_OK) bl_within(e, "writing %s", t->name);
    bl_free(order);
    bl_free(packed);
    bl_free(row);
    bl_free(v);
    return st;
}

static bl_status write_packed(writing *x, const bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    uint8_t *bytes = NULL;
    uint64_t all = 0;
    bl_export_tensor part[BL_EXPORT_TENSORS];
    int n = bl_export_tensors(&x->p, t, part);
    for (int k = 0; k < n; k++) all += part[k].bytes;
    BL_TRY(bl_export_bytes(x->c, &x->p, t, &bytes, e));
    BL_TRY(bl_writer_add(x->w, bytes, all, e));
out:
    bl_free(bytes);
    return st;
}

static bl_status write_weights(writing *x, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text h = {0};
    put_header(x, &h);
    BL_TRY(bl_text_check(&h, e));
    BL_TRY(bl_writer_open(path, &x->w, e));
    BL_TRY(bl_writer_add(x->w, &(uint64_t){h.n}, 8, e));
    BL_TRY(bl_writer_add(x->w, h.s, h.n, e));
    for (size_t i = 0; i < x->c->n; i++) {
        const bl_stored *t = &x->c->stored[i];
        BL_TRY(is_packed(x, t) ? write_packed(x, t, e) : write_dense(x, t, e));
    }
    BL_TRY(bl_writer_commit(x->w, e));
    x->w = NULL;
out:
    bl_writer_drop(x->w);
    bl_text_free(&h);
    return st;
}

bl_status bl_export(bl_checkpoint *c, const bl_export_how *how, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    writing x = {.c = c, .how = how};
    bl_text config = {0};
    char *temp = NULL, *json = NULL, *weights = NULL;
    bool begun = false;

    if (bl_exists(dir)) return bl_fail(e, BL_E_CONFIG, "output path %s exists already", dir);
    if (how->kind) BL_TRY(bl_export_packing(c, how->kind, &x.p, e));
    else BL_TRY(check_dense(c, how->without, e));
    BL_TRY(bl_export_config(c, &x.p, torch_type(type_of(&x, &c->stored[0])), &config, e));
    if (!(temp = bl_format_text(e, "%s.tmp.%ld", dir, (long)getpid())) || !(json = bl_join(temp, "config.json", e)) ||
        !(weights = bl_join(temp, "model.safetensors", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_clean_beside(dir, ".tmp.");
    BL_TRY(bl_remove_tree(temp, e));
    begun = true;
    BL_TRY(bl_make_dirs(temp, e));
    BL_TRY(bl_write_file(json, config.s, config.n, e));
    BL_TRY(write_weights(&x, weights, e));
    BL_TRY(bl_checkpoint_copy_tokenizer(c, temp, e));
    BL_TRY(bl_checkpoint_unchanged(c, e));
    BL_TRY(bl_rename(temp, dir, e));
    begun = false;
out:
    if (begun) (void)bl_remove_tree(temp, NULL);
    bl_text_free(&config);
    bl_free(weights);
    bl_free(json);
    bl_free(temp);
    return st;
}
