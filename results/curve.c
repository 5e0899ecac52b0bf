/* curve.c - curves of training as files. */
#include "curve.h"
#include "kernels/base/fs.h"
#include "record.h"
#include <stddef.h>
#include <string.h>

static const struct text {
    const char *where;
    size_t at;
    bool later; /* files from before it have none */
} texts[] = {
    {"train/method", offsetof(bl_curve, method), false},      {"train/model", offsetof(bl_curve, model), false},
    {"train/stored_as", offsetof(bl_curve, stored_as), true}, {"train/data", offsetof(bl_curve, data), true},
    {"train/data_hash", offsetof(bl_curve, data_hash), true}, {"env/device", offsetof(bl_curve, device), true},
    {"env/commit", offsetof(bl_curve, commit), true},         {"created", offsetof(bl_curve, created), true},
    {"env/numerics", offsetof(bl_curve, numerics), true},
};
static const struct series {
    const char *where, *unit, *meaning;
    size_t at;
} series[] = {
    {"train/loss", "nat", "mean nll of the tokens of a step that count", offsetof(bl_curve, loss)},
    {"train/lr", "1", "learning rate of a step", offsetof(bl_curve, lr)},
    {"train/grad_norm", "1", "norm of all gradients before they are clipped", offsetof(bl_curve, grad_norm)},
};

bl_status bl_curve_write(const char *path, bl_hash identity, const bl_curve *given, bl_err *e)
{
    bl_status st = BL_OK;
    bl_record *r = NULL;
    char now[32];
    bl_curve c = *given;

    bl_utc(now);
    c.created = now;
    BL_TRY(bl_record_begin(path, c.method, identity, &r, e));
    for (size_t i = 0; i < BL_COUNT(texts); i++)
        BL_TRY(bl_record_text(r, texts[i].where, *(const char **)((char *)&c + texts[i].at), e));
    BL_TRY(bl_record_int(r, "env/threads", c.threads, "1", e));
    for (size_t i = 0; i < BL_COUNT(series); i++)
        BL_TRY(bl_record_reals(
            r, series[i].where, *(const double **)((char *)&c + series[i].at), c.n, c.block ? "1" : series[i].unit,
            c.block && !i ? "mean squared difference of a block's output to the original" : series[i].meaning, e));
    if (c.block) BL_TRY(bl_record_reals(r, "train/block", c.block, c.n, "1", "that a step is of, from 0", e));
    if (c.n_valid) {
        BL_TRY(bl_record_reals(r, "train/valid_step", c.valid_step, c.n_valid, "1", "step that was made before", e));
        BL_TRY(bl_record_reals(r, "train/valid_loss", c.valid, c.n_valid, "nat",
                               "mean nll of the tokens of the validation text that count", e));
    }
    BL_TRY(bl_record_commit(r, e));
    r = NULL;
out:
    bl_record_drop(r);
    return st;
}

static bl_status read_valid(bl_shard *s, bl_arena *a, bl_curve *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = 0;
    double *step = NULL, *loss = NULL;
    if (!bl_shard_has(s, "train/valid_step")) return BL_OK;
    BL_TRY(bl_shard_reals(s, "train/valid_step", a, &step, &n, e));
    BL_TRY(bl_shard_reals(s, "train/valid_loss", a, &loss, &out->n_valid, e));
    if (n != out->n_valid)
        st = bl_fail(e, BL_E_CORRUPT, "%lld losses of a validation text after %lld steps", (long long)out->n_valid,
                     (long long)n);
    out->valid_step = step;
    out->valid = loss;
out:
    return st;
}

bool bl_is_curve(const char *path)
{
    size_t n = strlen(path), k = strlen(BL_CURVE_ENDING);
    return n > k && !strcmp(path + n - k, BL_CURVE_ENDING);
}

bl_status bl_curve_read(const char *path, bl_arena *a, bl_curve *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_shard *s = NULL;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name) - (bl_is_curve(path) ? strlen(BL_CURVE_ENDING) : 0);

    *out = (bl_curve){.name = bl_arena_str(a, name, n, e)};
    if (!out->name) return BL_E_NOMEM;
    BL_TRY(bl_shard_open(path, &s, e));
    for (size_t i = 0; i < BL_COUNT(texts) && st == BL_OK; i++) {
        const char **to = (const char **)((char *)out + texts[i].at);
        *to = "";
        if (!texts[i].later || bl_shard_has(s, texts[i].where)) st = bl_shard_text(s, texts[i].where, a, to, e);
    }
    if (st == BL_OK && bl_shard_has(s, "env/threads")) st = bl_shard_int(s, "env/threads", &out->threads, e);
    for (size_t i = 0; i < BL_COUNT(series) && st == BL_OK; i++) {
        double *v = NULL;
        int64_t steps;
        st = bl_shard_reals(s, series[i].where, a, &v, &steps, e);
        if (st == BL_OK && i && steps != out->n)
            st = bl_fail(e, BL_E_CORRUPT, "%lld numbers in %s, %lld in %s", (long long)steps, series[i].where,
                         (long long)out->n, series[0].where);
        out->n = steps;
        *(const double **)((char *)out + series[i].at) = v;
    }
    if (st == BL_OK && bl_shard_has(s, "train/block")) {
        double *v = NULL;
        int64_t steps;
        st = bl_shard_reals(s, "train/block", a, &v, &steps, e);
        if (st == BL_OK && steps != out->n)
            st = bl_fail(e, BL_E_CORRUPT, "%lld numbers in train/block, %lld in %s", (long long)steps,
                         (long long)out->n, series[0].where);
        out->block = v;
    }
    if (st == BL_OK) st = read_valid(s, a, out, e);
    if (st == BL_E_MISSING && e) st = e->status = BL_E_CORRUPT;
    if (st != BL_OK) bl_within(e, "%s: not a curve of training", path);
out:
    bl_shard_close(s);
    return st;
}

bl_status bl_curves_read(const char *path, bl_arena *a, bl_curve **out, size_t *n, bl_text *skipped, bl_err *e)
{
    bl_status st = BL_OK;
    char **names = NULL, *file = NULL;
    size_t n_names = 0;
    bool is_dir = bl_is_dir(path);

    *n = 0;
    *out = NULL;
    if (is_dir) BL_TRY(bl_dir_list(path, &names, &n_names, e));
    else if (!bl_is_curve(path)) return BL_OK;
    if (!(*out = bl_alloc(a, is_dir ? n_names : 1, sizeof **out, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < (is_dir ? n_names : 1); i++) {
        bl_err why = {0};
        if (is_dir && (names[i][0] == '.' || !bl_is_curve(names[i]))) continue;
        bl_free(file);
        if (!(file = is_dir ? bl_join(path, names[i], e) : bl_strdup(path, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        bl_status s = bl_curve_read(file, a, &(*out)[*n], &why);
        if (s == BL_E_NOMEM) {
            st = bl_fail(e, s, "%s", why.text);
            goto out;
        }
        if (s == BL_OK) ++*n;
        else bl_text_addf(skipped, "%s\n", why.text);
    }
    st = bl_text_check(skipped, e);
out:
    bl_free(file);
    bl_list_free(names, n_names);
    return st;
}
