/* peft.c - the configuration and the tensors of a LoRA adapter, read and written. */
#include "peft.h"
#include "arch.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include "safetensors.h"
#include "safetensors_write.h"
#include <inttypes.h>
#include <string.h>

static const char prefix[] = "base_model.model.", suffix[] = ".weight", lengths[] = ".lora_magnitude_vector";

uint32_t bl_linear_named(const char *part, size_t n)
{
    for (int r = 0; r < BL_N_ROLES; r++)
        if (bl_roles[r].block && bl_roles[r].kind == BL_KIND_LINEAR && strlen(bl_roles[r].part) == n &&
            strncmp(bl_roles[r].part, part, n) == 0)
            return BL_ROLE_BIT(r);
    return 0;
}

/* ---- the configuration ---- */
/* Fields that say nothing of what the adapter computes. */
static const char *const silent[] = {"auto_mapping",   "base_model_name_or_path",
                                     "inference_mode", "megatron_core",
                                     "peft_version",   "qalora_group_size",
                                     "revision",       "task_type",
                                     "loftq_config",   NULL};

static bool listed(const char *const *list, const char *s)
{
    while (*list && strcmp(*list, s) != 0) list++;
    return *list != NULL;
}

static bool is_off(const bl_json *v)
{
    bool b = true;
    switch (bl_json_kind(v)) {
    case BL_JSON_NULL: return true;
    case BL_JSON_BOOL: return bl_json_bool(v, &b, NULL) == BL_OK && !b;
    case BL_JSON_ARRAY:
    case BL_JSON_OBJECT: return bl_json_size(v) == 0;
    default: return false;
    }
}

static bl_status word(const bl_json *v, const char *file, const char *want, bl_err *e)
{
    const char *s;
    bl_status st = bl_json_str(v, &s, e);
    if (st == BL_OK && strcmp(s, want) != 0)
        st = bl_fail(e, BL_E_UNSUPPORTED, "%s: %s is '%s'; only '%s' is read", file, bl_json_key(v), s, want);
    return st;
}

/* How A and B began does not matter once they are there, but some ways change the base as well. */
static bl_status initialization(const bl_json *v, const char *file, bl_err *e)
{
    return bl_json_kind(v) == BL_JSON_BOOL ? BL_OK : word(v, file, "gaussian", e);
}

static bl_status targets(const bl_json *v, const char *file, uint32_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    if (bl_json_kind(v) != BL_JSON_ARRAY || !bl_json_size(v))
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: target_modules is not a list of names like [\"q_proj\", \"v_proj\"]",
                       file);
    for (const bl_json *j = bl_json_first(v); j; j = bl_json_next(j)) {
        BL_TRY(bl_json_str(j, &s, e));
        uint32_t bit = bl_linear_named(s, strlen(s));
        if (!bit)
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: target_modules: no linear of a block is called '%s'", file, s);
        *out |= bit;
    }
out:
    return st;
}

static bl_status one_field(const bl_json *v, const char *file, bl_peft_config *c, bl_err *e)
{
    const char *key = bl_json_key(v);
    if (!strcmp(key, "peft_type")) return word(v, file, "LORA", e);
    if (!strcmp(key, "r")) return bl_json_int(v, &c->rank, e);
    if (!strcmp(key, "lora_alpha")) return bl_json_real(v, &c->alpha, e);
    if (!strcmp(key, "lora_dropout")) return bl_json_real(v, &c->dropout, e);
    if (!strcmp(key, "use_rslora")) return bl_json_bool(v, &c->rank_stabilized, e);
    if (!strcmp(key, "use_dora")) return bl_json_bool(v, &c->dora, e);
    if (!strcmp(key, "bias")) return word(v, file, "none", e);
    if (!strcmp(key, "init_lora_weights")) return initialization(v, file, e);
    if (!strcmp(key, "target_modules")) return targets(v, file, &c->targets, e);
    if (listed(silent, key) || is_off(v)) return BL_OK;
    return bl_fail(e, BL_E_UNSUPPORTED, "%s: the field '%s' is not supported", file, key);
}

static bl_status read_config(const char *dir, bl_peft_config *c, bl_err *e)
{
    static const char *const must[] = {"peft_type", "r", "lora_alpha", "target_modules"};
    bl_status st = BL_OK;
    bl_json *j = NULL;
    const bl_json *v;
    char *file = bl_join(dir, "adapter_config.json", e);
    if (!file) return BL_E_NOMEM;
    BL_TRY(bl_json_read(file, 1 << 20, BL_JSON_PLAIN, &j, e));
    for (size_t i = 0; i < BL_COUNT(must); i++) BL_TRY(bl_json_need(j, must[i], &v, e));
    for (v = bl_json_first(j); v; v = bl_json_next(v)) BL_TRY(one_field(v, file, c, e));
    if (c->rank < 1 || c->rank > 65536)
        st = bl_fail(e, BL_E_FORMAT, "%s: r is %" PRId64 ", expected 1 to 65536", file, c->rank);
    else if (!(c->dropout >= 0 && c->dropout < 1))
        st = bl_fail(e, BL_E_FORMAT, "%s: lora_dropout is %g, expected at least 0 and below 1", file, c->dropout);
out:
    bl_json_free(j);
    bl_free(file);
    return st;
}

bl_status bl_peft_config_text(const bl_peft_config *c, bl_text *out, bl_err *e)
{
    bl_json_out j = {.t = out};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "peft_type", "LORA");
    bl_json_add_str(&j, "task_type", "CAUSAL_LM");
    bl_json_add_str(&j, "base_model_name_or_path", c->base);
    bl_json_add_bool(&j, "inference_mode", true);
    bl_json_add_int(&j, "r", c->rank);
    bl_json_add_real(&j, "lora_alpha", c->alpha);
    bl_json_add_real(&j, "lora_dropout", c->dropout);
    bl_json_add_bool(&j, "use_rslora", c->rank_stabilized);
    bl_json_add_bool(&j, "use_dora", c->dora);
    bl_json_add_str(&j, "bias", "none");
    bl_json_add_bool(&j, "fan_in_fan_out", false);
    bl_json_add_bool(&j, "init_lora_weights", true);
    bl_json_array(&j, "target_modules");
    for (int r = 0; r < BL_N_ROLES; r++)
        if (c->targets & BL_ROLE_BIT(r)) bl_json_add_str(&j, NULL, bl_roles[r].part);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
    return bl_text_check(out, e);
}

/* ---- the tensors ---- */
/* Element i, in the byte order of the file. */
static float element(const bl_st_tensor *t, const uint8_t *p, int64_t i)
{
    uint16_t h;
    float f;
    if (t->dtype == BL_F32) {
        memcpy(&f, p + i * 4, 4);
        return f;
    }
    memcpy(&h, p + i * 2, 2);
    return t->dtype == BL_F16 ? bl_f16_to_f32(h) : bl_bf16_to_f32(h);
}

static bool ends(const char *s, const char *with)
{
    const size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}

static bl_status one_tensor(const bl_st_tensor *t, const bl_map *m, const char *file, bl_peft_tensor *out, bl_err *e)
{
    const bool is_length = ends(t->name, lengths); /* peft leaves the suffix out of these */
    size_t n = strlen(t->name), head = sizeof prefix - 1, tail = is_length ? 0 : sizeof suffix - 1;
    if (n <= head + tail || strncmp(t->name, prefix, head) != 0 || (!is_length && !ends(t->name, suffix)) ||
        n - head - tail >= sizeof out->name)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: '%s' is not the name of an adapter's tensor, %s…%s", file, t->name,
                       prefix, suffix);
    snprintf(out->name, sizeof out->name, "%.*s", (int)(n - head - tail), t->name + head);
    if (t->dtype != BL_F32 && t->dtype != BL_F16 && t->dtype != BL_BF16)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: '%s' is %s, expected F32, F16 or BF16", file, t->name, t->dtype_name);
    if (t->ndim != (is_length ? 1 : 2))
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' has %d dimensions, expected %d", file, t->name, t->ndim,
                       is_length ? 1 : 2);
    out->rows = is_length ? 1 : t->dim[0];
    out->cols = t->dim[t->ndim - 1];
    int64_t count = out->rows * out->cols;
    if (!(out->value = bl_new((size_t)count, sizeof *out->value, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        out->value[i] = element(t, m->data + t->offset, i);
        if (!(out->value[i] - out->value[i] == 0))
            return bl_fail(e, BL_E_FORMAT, "%s: '%s'[%" PRId64 "] is not finite", file, t->name, i);
    }
    return BL_OK;
}

static bl_status read_tensors(const char *dir, bl_peft *p, bl_err *e)
{
    bl_status st = BL_OK;
    bl_map m = {0};
    bl_safetensors *s = NULL;
    char *file = bl_join(dir, "adapter_model.safetensors", e);
    if (!file) return BL_E_NOMEM;
    BL_TRY(bl_map_open(file, &m, e));
    BL_TRY(bl_safetensors_parse(m.data, m.size, file, &s, e));
    size_t n = bl_safetensors_count(s);
    if (!(p->tensor = bl_new(n, sizeof *p->tensor, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        p->n++;
        BL_TRY(one_tensor(bl_safetensors_at(s, i), &m, file, &p->tensor[i], e));
    }
    BL_TRY(bl_map_check(&m, NULL, e));
out:
    bl_safetensors_close(s);
    if (m.path) bl_map_close(&m);
    bl_free(file);
    return st;
}

bl_status bl_peft_read(const char *dir, bl_peft **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_peft *p = bl_new(1, sizeof *p, e);
    if (!p) return BL_E_NOMEM;
    BL_TRY(read_config(dir, &p->config, e));
    BL_TRY(read_tensors(dir, p, e));
    *out = p;
    p = NULL;
out:
    bl_peft_free(p);
    return st;
}

void bl_peft_free(bl_peft *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) bl_free(p->tensor[i].value);
    bl_free(p->tensor);
    bl_free(p);
}

const bl_peft_tensor *bl_peft_find(const bl_peft *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->tensor[i].name, name) == 0) return &p->tensor[i];
    return NULL;
}

bl_status bl_peft_weights(const bl_peft_source *t, size_t n, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_st_source *x = bl_new(n, sizeof *x, e);
    char(*name)[160] = bl_new(n, sizeof *name, e);
    if (!x || !name) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(name[i], sizeof name[i], "%s%s%s", prefix, t[i].name, ends(t[i].name, lengths) ? "" : suffix);
        x[i] = (bl_st_source){.name = name[i], .tensor = t[i].value};
    }
    BL_TRY(bl_safetensors_put(x, n, out, e));
out:
    bl_free(name);
    bl_free(x);
    return st;
}
