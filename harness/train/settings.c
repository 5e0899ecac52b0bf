/* settings.c - settings of a run of training: checked, printed, hashed. */
#include "settings.h"
#include "samples.h"
#include "kernels/base/fs.h"
#include <stdlib.h>
#include <string.h>

typedef struct whole { /* what offsets of the rows are of */
    bl_train_settings s;
} whole;
const char *const bl_narrow_types[] = {"fp32", "bf16", NULL};
const bl_opt bl_train_rows[] = {BL_TRAIN_ROWS(whole, s), {0}};

static bool parse_betas(const char *text, double *first, double *second)
{
    char *end;
    *first = strtod(text, &end);
    if (end == text || *end != ':') return false;
    const char *at = end + 1;
    *second = strtod(at, &end);
    return end != at && !*end && *first >= 0 && *first < 1 && *second >= 0 && *second < 1;
}

/* What is said and would change nothing. */
static bl_status all_of_use(const bl_train_settings *s, bl_err *e)
{
    const bl_schedule_kind k = (bl_schedule_kind)s->schedule;
    const struct {
        bool idle;
        const char *name, *is_for;
    } rows[] = {
        {s->warmup > 0 && k == BL_SCHEDULE_CONSTANT, "warmup", "every other schedule, constant_with_warmup for one"},
        {s->cycles != 1 && k != BL_SCHEDULE_COSINE_RESTART, "cycles", "schedule cosine_with_restarts"},
        {s->least > 0 && k != BL_SCHEDULE_COSINE_MIN, "least", "schedule cosine_with_min_lr"},
    };
    if (s->valid_every > 0 && !s->valid)
        return bl_fail(e, BL_E_CONFIG, "valid-every does nothing without a validation text (valid)");
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        if (rows[i].idle)
            return bl_fail(e, BL_E_CONFIG, "%s does nothing with schedule %s; it is for %s", rows[i].name,
                           bl_schedule_names[k], rows[i].is_for);
    return BL_OK;
}

bl_status bl_train_settings_check(const bl_train_settings *s, bl_err *e)
{
    double b1, b2;
    if (!s->data) return bl_fail(e, BL_E_CONFIG, "data is missing, expected the file to train on");
    if (!parse_betas(s->betas, &b1, &b2))
        return bl_fail(e, BL_E_CONFIG,
                       "betas: found '%s', expected two numbers from 0 on and below 1 as one string, like 0.9:0.999",
                       s->betas);
    if (all_of_use(s, e) != BL_OK) return BL_E_CONFIG;
    if (s->batch % s->accumulate)
        return bl_fail(e, BL_E_CONFIG, "a step of %lld sequences cannot be spread over %lld passes",
                       (long long)s->batch, (long long)s->accumulate);
    return BL_OK;
}

void bl_train_settings_adamw(const bl_train_settings *s, bl_adamw *out)
{
    *out = (bl_adamw){.eps = s->eps, .decay = s->decay, .clip = s->clip, .eight_bits = s->eight_bits};
    (void)parse_betas(s->betas, &out->beta1, &out->beta2);
}

bl_schedule bl_train_settings_schedule(const bl_train_settings *s)
{
    return (bl_schedule){.kind = (bl_schedule_kind)s->schedule,
                         .warmup = s->warmup,
                         .steps = s->steps,
                         .cycles = s->cycles,
                         .least = s->least};
}

int64_t bl_train_settings_tokens(const bl_train_settings *s)
{
    return s->steps * s->batch * (s->seqlen ? s->seqlen : BL_SAMPLES_LENGTH);
}

bl_status bl_train_settings_put_said(const bl_train_settings *s, uint64_t said, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text value = {0};
    char key[64];
    bl_json_out j = {.t = out, .compact = true};
    bl_json_object(&j, NULL);
    for (const bl_opt *row = bl_train_rows; row->type != BL_OPT_END; row++) {
        const bool said_so = said >> (row - bl_train_rows) & 1;
        if (bl_opt_is_default(row, s) && !said_so) continue;
        bl_text_free(&value);
        BL_TRY(bl_opt_print(row, s, &value));
        BL_TRY(bl_text_check(&value, e));
        snprintf(key, sizeof key, "%s", row->name);
        for (char *c = key; *c; c++)
            if (*c == '-') *c = '_';
        if (row->type == BL_OPT_CHOICE || row->type == BL_OPT_TEXT) bl_json_add_str(&j, key, value.s);
        else bl_json_add_text(&j, key, value.s);
    }
    bl_json_end(&j);
    st = bl_text_check(out, e);
out:
    bl_text_free(&value);
    return st;
}

bl_status bl_train_settings_put(const bl_train_settings *s, bl_text *out, bl_err *e)
{
    return bl_train_settings_put_said(s, 0, out, e);
}

static bl_status add_file(bl_hasher *h, const char *path, bl_err *e)
{
    bl_map m = {.fd = -1};
    bl_status st = bl_map_open(path, &m, e);
    if (st != BL_OK) return st;
    bl_hash_of(h, bl_hash_bytes(m.data, m.size));
    bl_map_close(&m);
    return BL_OK;
}

static bl_status add_adapter(bl_hasher *h, const char *dir, bl_err *e)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(files) && st == BL_OK; i++) {
        char *path = bl_join(dir, files[i], e);
        if (!path) return BL_E_NOMEM;
        st = add_file(h, path, e);
        bl_free(path);
    }
    return st;
}

bl_status bl_train_settings_hash(const bl_train_settings *s, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text text = {0};
    bl_train_settings told = *s;
    bl_hasher *h = NULL;

    told.data = told.init_adapter = NULL; /* their bytes say which */
    told.valid = NULL;                    /* nothing depends on it, nor on when it is looked at */
    told.save_every = told.valid_every = 0;
    told.keep_activations = false; /* the same numbers */
    BL_TRY(bl_train_settings_put(&told, &text, e));
    if (!(h = bl_hasher_new(e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_hash_text(h, text.s);
    BL_TRY(add_file(h, s->data, e));
    if (s->init_adapter) BL_TRY(add_adapter(h, s->init_adapter, e));
    *out = bl_hasher_end(h);
    h = NULL;
out:
    if (h) (void)bl_hasher_end(h);
    bl_text_free(&text);
    return st;
}
