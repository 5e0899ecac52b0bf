/* variant_read.c - the reader of a saved model: bitladder.json says what each parameter is, the safetensors files hold
 * the parts. */
#include "variant_parts.h"
#include "checkpoint_impl.h"
#include "safetensors.h"
#include <inttypes.h>
#include <math.h>

typedef struct tensor_file {
    bl_safetensors *f;
    int map; /* of the checkpoint */
} tensor_file;
typedef struct reading {
    bl_checkpoint *c;
    const char *dir, *list; /* list: path of bitladder.json, opens the sentences */
    tensor_file ends, block;
    int64_t at;           /* which block `block` is of; -1: none yet */
    const tensor_file *f; /* of the parameter at hand */
    const bl_json *sums;  /* list of the tensors' hashes */
    const bl_json *sum;   /* where the last one was found: tensors are mostly asked in the order of the list */
} reading;

static bl_status choice(const bl_json *o, const char *key, const char *const *names, int *out, const char *file,
                        bl_err *e)
{
    const char *s;
    bl_status st = bl_json_get_str(o, key, &s, e);
    if (st != BL_OK) return st;
    for (*out = 0; names[*out]; ++*out)
        if (!strcmp(names[*out], s)) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "%s: '%s' is '%s'", file, key, s);
}

/* ---- the stages ---- */
static bl_status keep(bl_arena *a, const char *s, size_t n, const char **out, bl_err *e)
{
    *out = bl_arena_str(a, s, n, e);
    return *out ? BL_OK : BL_E_NOMEM;
}

static bl_status keep_if_there(bl_checkpoint *c, const bl_json *o, const char *key, const char **out, bl_err *e)
{
    const char *s;
    bl_status st = bl_json_get(o, key) ? bl_json_get_str(o, key, &s, e) : BL_OK;
    return st == BL_OK && bl_json_get(o, key) ? keep(c->arena, s, strlen(s), out, e) : st;
}

static bl_status read_stage(bl_checkpoint *c, const bl_json *o, bl_stage *out, bl_text *method, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const bl_json *v;
    const char *s;
    BL_TRY(bl_json_get_str(o, "text", &s, e));
    BL_TRY(keep(c->arena, s, strlen(s), &out->text, e));
    bl_text_add(method, method->n ? "+" : "");
    bl_text_add(method, s);
    BL_TRY(bl_json_need(o, "hash", &v, e));
    if (bl_json_kind(v) != BL_JSON_NULL) {
        BL_TRY(bl_json_str(v, &s, e));
        BL_TRY(keep(c->arena, s, strlen(s), &out->hash, e));
    }
    BL_TRY(bl_json_need(o, "options", &v, e));
    bl_json_put_node(&t, v);
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(keep(c->arena, t.s, t.n, &out->options, e));
    BL_TRY(keep_if_there(c, o, "note", &out->note, e));
    BL_TRY(keep_if_there(c, o, "calibration", &out->calibration, e));
    BL_TRY(keep_if_there(c, o, "calibration_text", &out->calibration_text, e));
out:
    bl_text_free(&t);
    return st;
}

static bl_status read_stages(bl_checkpoint *c, const bl_json *j, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text method = {0};
    const bl_json *all;
    const char *source;
    BL_TRY(bl_json_get_str(j, "source", &source, e));
    BL_TRY(keep(c->arena, source, strlen(source), &c->source, e));
    BL_TRY(bl_json_need(j, "stages", &all, e));
    if (bl_json_kind(all) != BL_JSON_ARRAY || !bl_json_size(all) || bl_json_size(all) > 1024)
        return bl_fail(e, BL_E_FORMAT, "%s: 'stages' is no list of 1 to 1024", file);
    if (!(c->stage = bl_alloc(c->arena, bl_json_size(all), sizeof *c->stage, e))) return BL_E_NOMEM;
    for (const bl_json *o = bl_json_first(all); o; o = bl_json_next(o))
        BL_TRY(read_stage(c, o, &c->stage[c->n_stages++], &method, e));
    BL_TRY(bl_text_check(&method, e));
    BL_TRY(keep(c->arena, method.s, method.n, &c->method, e));
out:
    bl_text_free(&method);
    return st;
}

/* ---- tensors ---- */
static bl_status open_file(const reading *r, int64_t i, tensor_file *out, bl_err *e)
{
    bl_status st = BL_OK;
    char name[64], *path = NULL;
    bl_variant_file_name(i, r->c->config.n_layers, name);
    if (!(path = bl_join(r->dir, name, e))) return BL_E_NOMEM;
    BL_TRY(bl_checkpoint_map(r->c, path, &out->map, e));
    BL_TRY(bl_safetensors_parse(r->c->map[out->map].data, r->c->map[out->map].size, path, &out->f, e));
out:
    bl_free(path);
    return st;
}

/* Everything in it was taken. */
static bl_status close_file(const reading *r, tensor_file *t, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t k = 0; st == BL_OK && t->f && k < bl_safetensors_count(t->f); k++)
        if (!bl_safetensors_at(t->f, k)->used)
            st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is not listed in bitladder.json", r->c->map[t->map].path,
                         bl_safetensors_at(t->f, k)->name);
    bl_safetensors_close(t->f);
    t->f = NULL;
    return st;
}

/* The file that holds the parameters of that block, -1: of none. */
static bl_status file_of(reading *r, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    r->f = block < 0 ? &r->ends : &r->block;
    if (block < 0 || block == r->at) return BL_OK;
    BL_TRY(close_file(r, &r->block, e));
    BL_TRY(open_file(r, block, &r->block, e));
    r->at = block;
out:
    return st;
}

static void dims_text(const int64_t *dim, int n, char out[96])
{
    size_t k = 0;
    out[0] = 0;
    for (int d = 0; d < n && k < 80; d++) k += (size_t)snprintf(out + k, 96 - k, "%s%" PRId64, d ? ", " : "", dim[d]);
}

/* What the list says about the bytes of a tensor. */
static bl_status take_sum(reading *r, const char *name, const bl_extent *x, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *first = r->sum ? r->sum : bl_json_first(r->sums), *o = first;
    const char *s = "", *hex;
    bl_hash hash;

    do {
        if (o) BL_TRY(bl_json_get_str(o, "name", &s, e));
        if (o && !strcmp(s, name)) break;
        if (!(o = o ? bl_json_next(o) : NULL)) o = bl_json_first(r->sums);
    } while (o && o != first);
    if (!o || strcmp(s, name)) return bl_fail(e, BL_E_FORMAT, "%s: no hash of tensor '%s'", r->list, name);
    BL_TRY(bl_json_get_str(o, "hash", &hex, e));
    if (strlen(hex) != 32 || sscanf(hex, "%16" SCNx64 "%16" SCNx64, &hash.hi, &hash.lo) != 2)
        return bl_fail(e, BL_E_FORMAT, "%s: '%s', the hash of tensor '%s', is no hash", r->list, hex, name);
    r->sum = bl_json_next(o);
    st = bl_sum_put(r->c, x, name, hash, e);
out:
    return st;
}

/* A tensor of exactly that type and shape, which belongs to nothing else. */
static bl_status take(reading *r, const char *name, bl_dtype type, const int64_t *dim, int ndim, bl_extent *out,
                      bl_err *e)
{
    const char *file = r->c->map[r->f->map].path;
    bl_st_tensor *s = bl_safetensors_find(r->f->f, name);
    if (!s) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", file, name);
    bool fits = s->dtype == type && s->ndim == ndim;
    for (int d = 0; fits && d < ndim; d++) fits = s->dim[d] == dim[d];
    if (!fits) {
        char is[96], wanted[96];
        dims_text(s->dim, s->ndim, is);
        dims_text(dim, ndim, wanted);
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is %s [%s], expected %s [%s]", file, name, s->dtype_name, is,
                       bl_dtype_name(type), wanted);
    }
    if (s->used) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' belongs to two parameters", file, name);
    s->used = true;
    *out = (bl_extent){r->f->map, s->offset, s->bytes};
    return take_sum(r, name, out, e);
}

/* ---- parameters ---- */
static bl_status read_shape(const bl_json *o, bl_stored *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    int zero, scale;
    int64_t out, scale_bits = 0;
    BL_TRY(bl_json_get_int(o, "out", &out, e));
    BL_TRY(bl_json_get_int(o, "in", &t->shape.in, e));
    BL_TRY(bl_json_get_int(o, "group", &t->shape.group, e));
    BL_TRY(choice(o, "zero", bl_zero_names, &zero, file, e));
    BL_TRY(choice(o, "scale", bl_scale_names, &scale, file, e));
    BL_TRY(bl_json_get_bool(o, "double_quant", &t->shape.double_quant, e));
    if (bl_json_get(o, "salient")) BL_TRY(bl_json_get_int(o, "salient", &t->shape.salient, e));
    if (bl_json_get(o, "scale_bits")) BL_TRY(bl_json_get_int(o, "scale_bits", &scale_bits, e));
    if (bl_json_get(o, "scale_group")) BL_TRY(bl_json_get_int(o, "scale_group", &t->shape.scale_group, e));
    t->shape.scale_bits = scale_bits < 0 || scale_bits > 8 ? -1 : (int)scale_bits; /* refused with the shape */
    t->shape.zero = (bl_zero)zero;
    t->shape.scale = (bl_dtype)scale;
    if (out != t->shape.out)
        st = bl_fail(e, BL_E_FORMAT, "%s: 'out' is %" PRId64 ", expected %" PRId64, file, out, t->shape.out);
out:
    return st;
}

static bl_status read_act(const bl_json *a, bl_actq *out, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t bits;
    int unit;
    double scale, zero;
    if (!a) return BL_OK;
    BL_TRY(bl_json_get_int(a, "bits", &bits, e));
    BL_TRY(choice(a, "unit", bl_unit_names, &unit, file, e));
    BL_TRY(bl_json_get_bool(a, "symmetric", &out->symmetric, e));
    BL_TRY(bl_json_get_int(a, "group", &out->group, e));
    BL_TRY(bl_json_get_real(a, "scale", &scale, e));
    BL_TRY(bl_json_get_real(a, "zero", &zero, e));
    out->scale = (float)scale;
    out->zero = (float)zero;
    out->unit = (bl_act_unit)unit;
    if (bits < 2 || bits > 8 || out->group < (out->unit == BL_ACT_GROUP))
        return bl_fail(e, BL_E_FORMAT, "%s: activations of %" PRId64 " bits in groups of %" PRId64, file, bits,
                       out->group);
    if (!isfinite(out->scale) || !isfinite(out->zero) || out->scale < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: activations have scale %g and zero %g", file, scale, zero);
    out->bits = (int)bits;
out:
    return st;
}

static bl_status list_of(const bl_json *o, const char *key, const bl_json **first, int *n, const char *file, bl_err *e)
{
    const bl_json *all = bl_json_get(o, key);
    *n = 0;
    if (!all) return BL_OK;
    if (bl_json_kind(all) != BL_JSON_ARRAY || bl_json_size(all) > BL_MOST_EXTRAS)
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' is no list of at most %d", file, key, BL_MOST_EXTRAS);
    *n = (int)bl_json_size(all);
    *first = bl_json_first(all);
    return BL_OK;
}

/* One transform of an input of `width`. */
static bl_status read_transform(reading *r, const bl_json *o, const char *name, int i, int64_t width,
                                bl_stored_transform *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_transform *t = &out->t;
    const bl_json *shape;
    int kind;
    int64_t count = 1;
    char tensor[192];
    BL_TRY(choice(o, "kind", bl_transform_names, &kind, r->list, e));
    t->kind = (bl_transform_kind)kind;
    BL_TRY(bl_json_get_int(o, "in", &t->in, e));
    BL_TRY(bl_json_get_int(o, "out", &t->out, e));
    BL_TRY(bl_json_need(o, "shape", &shape, e));
    t->data.dtype = kind == BL_T_PERMUTE ? BL_I32 : BL_F32;
    for (const bl_json *v = bl_json_first(shape); v && t->data.ndim < 4; v = bl_json_next(v)) {
        int64_t *d = &t->data.dim[t->data.ndim++];
        BL_TRY(bl_json_int(v, d, e));
        if (*d < 1 || __builtin_mul_overflow(count, *d, &count))
            return bl_fail(e, BL_E_FORMAT, "%s: transform %d has a dimension of %" PRId64, r->list, i, *d);
    }
    if (t->in != width || t->data.ndim > 3 || !bl_transform_fits(t))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: transform %d, %s of %" PRId64 " to %" PRId64 ", does not fit a width of %" PRId64
                       " or its data",
                       r->list, i, bl_transform_names[kind], t->in, t->out, width);
    if (!t->data.ndim) return BL_OK;
    for (int d = t->data.ndim - 1; d >= 0; d--)
        t->data.stride[d] = d == t->data.ndim - 1 ? 1 : t->data.stride[d + 1] * t->data.dim[d + 1];
    bl_extra_name(name, "transform", i, "", tensor, sizeof tensor);
    st = take(r, tensor, t->data.dtype, t->data.dim, t->data.ndim, &out->extent, e);
out:
    return st;
}

/* Transforms of an input of `in`, *width is what they make of it; the last `after` keep the width of the output. */
static bl_status read_transforms(reading *r, const bl_json *o, const char *name, bl_stored *t, int64_t in,
                                 int64_t *width, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v;
    int n;
    int64_t after = 0;
    *width = in;
    BL_TRY(list_of(o, "transforms", &v, &n, r->list, e));
    if (bl_json_get(o, "after")) BL_TRY(bl_json_get_int(o, "after", &after, e));
    if (after < 0 || after > n)
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " of %d transforms are of the output", r->list, after, n);
    if (!n) return BL_OK;
    bl_stored_transform *all = bl_alloc(r->c->arena, (size_t)n, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    t->transform = all;
    t->n_after = (int)after;
    t->n_transforms = n - t->n_after;
    for (int i = 0; i < n; i++, v = bl_json_next(v)) {
        bool of_input = i < t->n_transforms;
        BL_TRY(read_transform(r, v, name, i, of_input ? *width : t->shape.out, &all[i], e));
        if (of_input) *width = all[i].t.out;
        else if (all[i].t.out != t->shape.out)
            return bl_fail(e, BL_E_FORMAT, "%s: transform %d gives %" PRId64 " outputs, expected %" PRId64, r->list, i,
                           all[i].t.out, t->shape.out);
    }
out:
    return st;
}

/* The parts of one weight, each of exactly the dtype and shape that format and geometry give. */
static bl_status read_parts(reading *r, bl_stored *t, bl_err *e)
{
    bl_status st = t->format->check(t->format, &t->shape, e);
    bl_part_spec spec[BL_MAX_PARTS];
    char name[192];
    if (st != BL_OK) return BL_E_FORMAT;
    t->n_parts = t->format->parts(t->format, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) {
        const int64_t *dim = t->vector ? &spec[i].cols : (int64_t[]){spec[i].rows, spec[i].cols};
        bl_part_name(t->name, t->format, &spec[i], name, sizeof name);
        BL_TRY(take(r, name, spec[i].dtype, dim, t->vector ? 1 : 2, &t->part[i], e));
    }
out:
    return st;
}

/* A or B of `n` numbers, as a matrix of so many in some format. */
static bl_status read_packed_one(reading *r, const bl_json *o, const char *tensor, int64_t n, bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    const char *format;
    int64_t count;
    *t = (bl_stored){.role = BL_N_ROLES, .block = -1};
    BL_TRY(bl_json_get_str(o, "format", &format, e));
    if (!(t->format = bl_format_find(format)))
        return bl_fail(e, BL_E_FORMAT, "%s: %s: unknown format '%s'", r->list, tensor, format);
    if (!(t->name = bl_arena_str(r->c->arena, tensor, strlen(tensor), e))) return BL_E_NOMEM;
    BL_TRY(bl_json_get_int(o, "out", &t->shape.out, e));
    BL_TRY(read_shape(o, t, r->list, e));
    if (t->shape.out < 1 || t->shape.in < 1 || __builtin_mul_overflow(t->shape.out, t->shape.in, &count) || count != n)
        return bl_fail(e, BL_E_FORMAT, "%s: %s is [%" PRId64 ", %" PRId64 "], expected %" PRId64 " numbers", r->list,
                       tensor, t->shape.out, t->shape.in, n);
    st = read_parts(r, t, e);
out:
    return st;
}

static bl_status read_packed(reading *r, const bl_json *list, const char *name, int i, bl_stored_adapter *a, int64_t in,
                             int64_t out, bl_err *e)
{
    bl_status st = BL_OK;
    char tensor[192];
    bl_stored *both = bl_alloc(r->c->arena, 2, sizeof *both, e);
    if (!both) return BL_E_NOMEM;
    if (bl_json_kind(list) != BL_JSON_ARRAY || bl_json_size(list) != 2)
        return bl_fail(e, BL_E_FORMAT, "%s: 'packed' of an adapter is no list of A and B", r->list);
    const bl_json *v = bl_json_first(list);
    for (int k = 0; k < 2; k++, v = bl_json_next(v)) {
        bl_extra_name(name, "adapter", i, k ? ".b" : ".a", tensor, sizeof tensor);
        BL_TRY(read_packed_one(r, v, tensor, a->rank * (k ? out : in), &both[k], e));
    }
    a->packed = both;
    a->a.file = a->b.file = -1; /* nothing lies there */
out:
    return st;
}

static bl_status read_adapters(reading *r, const bl_json *o, const char *name, bl_stored *t, int64_t in, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v;
    char tensor[192];
    BL_TRY(list_of(o, "adapters", &v, &t->n_adapters, r->list, e));
    if (!t->n_adapters) return BL_OK;
    bl_stored_adapter *all = bl_alloc(r->c->arena, (size_t)t->n_adapters, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    t->adapter = all;
    for (int i = 0; i < t->n_adapters; i++, v = bl_json_next(v)) {
        bl_stored_adapter *a = &all[i];
        double scale;
        BL_TRY(bl_json_get_int(v, "rank", &a->rank, e));
        BL_TRY(bl_json_get_real(v, "scale", &scale, e));
        a->scale = (float)scale;
        if (a->rank < 1 || a->rank > 1 << 20 || !isfinite(a->scale))
            return bl_fail(e, BL_E_FORMAT, "%s: an adapter of rank %" PRId64 " and scale %g", r->list, a->rank, scale);
        if (bl_json_get(v, "packed")) {
            BL_TRY(read_packed(r, bl_json_get(v, "packed"), name, i, a, in, t->shape.out, e));
            continue;
        }
        bl_extra_name(name, "adapter", i, ".a", tensor, sizeof tensor);
        BL_TRY(take(r, tensor, BL_F32, (int64_t[]){a->rank, in}, 2, &a->a, e));
        bl_extra_name(name, "adapter", i, ".b", tensor, sizeof tensor);
        BL_TRY(take(r, tensor, BL_F32, (int64_t[]){t->shape.out, a->rank}, 2, &a->b, e));
    }
out:
    return st;
}

/* A vector has nothing but its values, and the embedding nothing but its weight. */
static bl_status nothing_more(const bl_json *o, const char *file, bl_err *e)
{
    static const char *const of_linears[] = {"act", "transforms", "adapters"};
    for (size_t i = 0; i < BL_COUNT(of_linears); i++)
        if (bl_json_get(o, of_linears[i]))
            return bl_fail(e, BL_E_FORMAT, "%s: has '%s', expected in linears alone", file, of_linears[i]);
    return BL_OK;
}

static bl_status read_parameter(reading *r, const bl_json *o, const bl_param *p, bl_err *e)
{
    bl_status st = BL_OK;
    const char *format;
    int64_t width = p->in;
    BL_TRY(bl_json_get_str(o, "format", &format, e));
    const bl_format *f = bl_format_find(format);
    if (!f) return bl_fail(e, BL_E_FORMAT, "%s: unknown format '%s'", r->list, format);
    if (p->vector && f->kind != BL_FMT_DENSE)
        return bl_fail(e, BL_E_FORMAT, "%s: a vector has format '%s'", r->list, format);
    bl_stored t = bl_stored_whole(p, f, 0, 0, 0);
    BL_TRY(read_shape(o, &t, r->list, e));
    if (!p->vector && p->role != BL_ROLE_EMBED) {
        BL_TRY(read_act(bl_json_get(o, "act"), &t.act, r->list, e));
        BL_TRY(read_transforms(r, o, p->name, &t, p->in, &width, e));
        BL_TRY(read_adapters(r, o, p->name, &t, p->in, e));
    } else {
        BL_TRY(nothing_more(o, r->list, e));
    }
    if (t.shape.in != width)
        return bl_fail(e, BL_E_FORMAT, "%s: 'in' is %" PRId64 ", expected %" PRId64, r->list, t.shape.in, width);
    BL_TRY(read_parts(r, &t, e));
    BL_TRY(bl_checkpoint_put(r->c, &t, e));
out:
    return st;
}

/* In the order of bl_param_at; a bias may be absent, since not every block needs one that some have. */
static bl_status read_parameters(reading *r, const bl_json *j, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *all, *o;
    bl_param p;
    size_t i = 0, found = 0;
    BL_TRY(bl_json_need(j, "parameters", &all, e));
    BL_TRY(open_file(r, r->c->config.n_layers, &r->ends, e));
    for (o = bl_json_first(all); bl_param_at(&r->c->config, i, &p); i++) {
        const char *name = "nothing";
        bool bias = bl_roles[p.role].kind == BL_KIND_BIAS;
        if (o) BL_TRY(bl_json_get_str(o, "name", &name, e));
        if (!o || strcmp(name, p.name)) {
            if (bias) continue;
            return bl_fail(e, BL_E_FORMAT, "%s: parameter %zu is '%s', expected '%s'", r->list, found, name, p.name);
        }
        BL_TRY(file_of(r, p.block, e));
        if ((st = read_parameter(r, o, &p, e)) != BL_OK) {
            bl_within(e, "%s", p.name);
            goto out;
        }
        o = bl_json_next(o);
        found++;
    }
    if (o) return bl_fail(e, BL_E_FORMAT, "%s: more than the %zu parameters of this configuration", r->list, found);
    BL_TRY(close_file(r, &r->block, e));
    BL_TRY(close_file(r, &r->ends, e));
out:
    return st;
}

bl_status bl_read_variant(bl_checkpoint *c, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t version;
    bl_json *j = NULL;
    const bl_json *config;
    const char *schema;
    size_t n;
    char *text = NULL, *list = bl_join(dir, "bitladder.json", e);
    reading r = {.c = c, .dir = dir, .list = list, .at = -1};
    if (!list) return BL_E_NOMEM;
    BL_TRY(bl_read_file(list, 256 << 20, &text, &n, e));
    BL_TRY(bl_json_parse(text, n, list, BL_JSON_PLAIN, &j, e));
    BL_TRY(bl_json_get_str(j, "schema", &schema, e));
    if (strcmp(schema, BL_VARIANT_SCHEMA)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: schema '%s', expected '%s'", list, schema, BL_VARIANT_SCHEMA);
        goto out;
    }
    BL_TRY(bl_json_get_int(j, "schema_version", &version, e));
    if (version > BL_VARIANT_VERSION) {
        st = bl_fail(e, BL_E_NEWER, "%s: schema version %" PRId64 " is newer than this program's %d", list, version,
                     BL_VARIANT_VERSION);
        goto out;
    }
    if (version < BL_VARIANT_VERSION) {
        st = bl_fail(e, BL_E_FORMAT,
                     "%s: schema version %" PRId64
                     " is older than this program's %d; write the model again with quantize",
                     list, version, BL_VARIANT_VERSION);
        goto out;
    }
    BL_TRY(read_stages(c, j, list, e));
    BL_TRY(bl_json_need(j, "config", &config, e));
    BL_TRY(bl_config_get(config, &c->config, e));
    BL_TRY(bl_config_check(&c->config, list, e));
    BL_TRY(bl_json_need(j, "tensors", &r.sums, e));
    if (bl_json_kind(r.sums) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "%s: 'tensors' is no list", list);
        goto out;
    }
    BL_TRY(read_parameters(&r, j, e));
    BL_TRY(bl_variant_seal_check(text, n, list, e)); /* last: what does not fit has a sentence of its own */
    bl_sums_sort(c);
out:
    bl_safetensors_close(r.block.f);
    bl_safetensors_close(r.ends.f);
    bl_json_free(j);
    bl_free(text);
    bl_free(list);
    return st;
}
