/* variant_read.c - a directory written by `quantize`: bitladder.json says what each weight is, model.safetensors holds
 * the parts. */
#include "variant_parts.h"
#include "checkpoint_impl.h"
#include "safetensors.h"
#include <inttypes.h>

static bl_status number(const bl_json *o, const char *key, int64_t *out, bl_err *e)
{
    return bl_json_get_int(o, key, out, e);
}

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

static bl_status read_geom(const bl_json *o, bl_stored *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    int zero, scale;
    const bl_json *a;
    int64_t bits;
    double v;
    BL_TRY(number(o, "group", &t->shape.group, e));
    BL_TRY(choice(o, "zero", bl_zero_names, &zero, file, e));
    BL_TRY(choice(o, "scale", bl_scale_names, &scale, file, e));
    BL_TRY(bl_json_get_bool(o, "double_quant", &t->shape.double_quant, e));
    t->shape.zero = (bl_zero)zero;
    t->shape.scale = (bl_dtype)scale;
    if (!(a = bl_json_get(o, "act"))) return BL_OK;
    BL_TRY(number(a, "bits", &bits, e));
    BL_TRY(choice(a, "unit", bl_unit_names, &zero, file, e));
    BL_TRY(bl_json_get_bool(a, "symmetric", &t->act.symmetric, e));
    BL_TRY(number(a, "group", &t->act.group, e));
    if (bits < 2 || bits > 8 || t->act.group < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: activations of %" PRId64 " bits in groups of %" PRId64, file, bits,
                       t->act.group);
    t->act.bits = (int)bits;
    t->act.unit = (bl_act_unit)zero;
    BL_TRY(bl_json_get_real(a, "scale", &v, e));
    t->act.scale = (float)v;
    BL_TRY(bl_json_get_real(a, "zero", &v, e));
    t->act.zero = (float)v;
out:
    return st;
}

/* The parts of one weight, each of exactly the dtype and shape that format and geometry give. */
static bl_status read_parts(bl_checkpoint *c, bl_safetensors *f, bl_stored *t, bl_err *e)
{
    bl_status st = t->format->check(t->format, &t->shape, e);
    bl_part_spec spec[BL_MAX_PARTS];
    char name[192];
    if (st != BL_OK) {
        bl_within(e, "%s: %s", c->path, t->name);
        return BL_E_FORMAT;
    }
    t->n_parts = t->format->parts(t->format, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) {
        bl_part_name(t, &spec[i], name, sizeof name);
        bl_st_tensor *s = bl_safetensors_find(f, name);
        if (!s) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", c->map[0].path, name);
        bool fits = t->vector ? s->ndim == 1 && s->dim[0] == t->shape.in
                              : s->ndim == 2 && s->dim[0] == spec[i].rows && s->dim[1] == spec[i].cols;
        if (!fits || s->dtype != spec[i].dtype)
            return bl_fail(e, BL_E_FORMAT,
                           "%s: tensor '%s' is %s [%" PRId64 ", %" PRId64 "], expected %s [%" PRId64 ", %" PRId64 "]",
                           c->map[0].path, name, s->dtype_name, s->ndim > 0 ? s->dim[0] : 1,
                           s->ndim > 1 ? s->dim[1] : 1, bl_dtype_name(spec[i].dtype), spec[i].rows, spec[i].cols);
        if (s->used) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' belongs to two weights", c->map[0].path, name);
        s->used = true;
        t->part[i] = (bl_extent){0, s->offset, s->bytes};
    }
    return BL_OK;
}

static bl_status read_weights(bl_checkpoint *c, const bl_json *j, bl_safetensors *f, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *all, *o;
    bl_param s;
    size_t i = 0;
    BL_TRY(bl_json_need(j, "weights", &all, e));
    for (o = bl_json_first(all); bl_param_at(&c->config, i, &s); i++, o = bl_json_next(o)) {
        const char *name, *format;
        if (!o) return bl_fail(e, BL_E_FORMAT, "%s: weight '%s' is missing", file, s.name);
        BL_TRY(bl_json_get_str(o, "name", &name, e));
        if (strcmp(name, s.name))
            return bl_fail(e, BL_E_FORMAT, "%s: weight %zu is '%s', expected '%s'", file, i, name, s.name);
        BL_TRY(bl_json_get_str(o, "format", &format, e));
        const bl_format *fmt = bl_format_find(format);
        if (!fmt) return bl_fail(e, BL_E_FORMAT, "%s: weight '%s' has unknown format '%s'", file, name, format);
        if (s.vector && fmt->kind != BL_FMT_DENSE)
            return bl_fail(e, BL_E_FORMAT, "%s: vector '%s' has format '%s'", file, name, format);
        bl_stored t = bl_stored_whole(&s, fmt, 0, 0, 0);
        if ((st = read_geom(o, &t, file, e)) != BL_OK) {
            bl_within(e, "%s: weight '%s'", file, name);
            goto out;
        }
        BL_TRY(read_parts(c, f, &t, e));
        BL_TRY(bl_checkpoint_put(c, &t, e));
    }
    if (o) return bl_fail(e, BL_E_FORMAT, "%s: more than the %zu weights of this shape", file, i);
    for (size_t k = 0; k < bl_safetensors_count(f); k++)
        if (!bl_safetensors_at(f, k)->used)
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is not listed in bitladder.json", c->map[0].path,
                           bl_safetensors_at(f, k)->name);
out:
    return st;
}

static bl_status keep(bl_checkpoint *c, const bl_json *j, const char *key, const char **out, bl_err *e)
{
    const char *s;
    bl_status st = bl_json_get_str(j, key, &s, e);
    if (st == BL_OK && !(*out = bl_arena_str(c->arena, s, strlen(s), e))) st = BL_E_NOMEM;
    return st;
}

bl_status bl_read_variant(bl_checkpoint *c, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    int file;
    int64_t version;
    bl_json *j = NULL;
    const bl_json *config;
    bl_safetensors *f = NULL;
    const char *schema;
    char *list = bl_join(dir, "bitladder.json", e), *data = bl_join(dir, "model.safetensors", e);
    if (!list || !data) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_json_read(list, 64 << 20, BL_JSON_PLAIN, &j, e));
    BL_TRY(bl_json_get_str(j, "schema", &schema, e));
    if (strcmp(schema, BL_VARIANT_SCHEMA)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: schema '%s', expected '%s'", list, schema, BL_VARIANT_SCHEMA);
        goto out;
    }
    BL_TRY(number(j, "schema_version", &version, e));
    if (version > BL_VARIANT_VERSION) {
        st = bl_fail(e, BL_E_NEWER, "%s: schema version %" PRId64 " is newer than this program's %d", list, version,
                     BL_VARIANT_VERSION);
        goto out;
    }
    BL_TRY(keep(c, j, "method", &c->method, e));
    BL_TRY(keep(c, j, "source", &c->source, e));
    BL_TRY(bl_json_need(j, "config", &config, e));
    BL_TRY(bl_config_get(config, &c->config, e));
    BL_TRY(bl_config_check(&c->config, list, e));
    BL_TRY(bl_checkpoint_map(c, data, &file, e));
    BL_TRY(bl_safetensors_parse(c->map[file].data, c->map[file].size, data, &f, e));
    BL_TRY(read_weights(c, j, f, list, e));
out:
    bl_safetensors_close(f);
    bl_json_free(j);
    bl_free(data);
    bl_free(list);
    return st;
}
