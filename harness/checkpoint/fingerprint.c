/* fingerprint.c - the hash of all weights, and whether they are all finite.
 *
 * Both read every byte once, so both are kept under $XDG_CACHE_HOME/bitladder, in a file named after what identifies
 * the checkpoint's files (path, device, inode, size, time). A file there that does not check is as good as none.
 *
 * Looking for values that are not finite is done on what could make them so: exponent bits of 16- and 32-bit weights,
 * scales of packed ones. Only a row that looks suspicious is decoded, which also finds the first bad value.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { VERSION = 1 };

/* ---- the cache ---- */
static char *cache_dir(bl_err *e)
{
    const char *v;
    if ((v = getenv("XDG_CACHE_HOME")) && *v == '/') return bl_join(v, "bitladder", e);
    if ((v = getenv("HOME")) && *v) return bl_join(v, ".cache/bitladder", e);
    return NULL;
}

/* What a weight is besides its bytes. */
static void hash_shape(bl_hasher *h, const bl_stored *t)
{
    bl_hash_text(h, t->name);
    bl_hash_text(h, t->format->name);
    const int64_t v[] = {t->shape.out,
                         t->shape.in,
                         t->shape.group,
                         t->shape.zero,
                         t->shape.group ? (int64_t)t->shape.scale : 0,
                         t->shape.double_quant,
                         t->rotary_heads,
                         t->act.bits,
                         t->act.symmetric,
                         t->act.unit,
                         t->act.group};
    bl_hash_add(h, v, sizeof v);
    if (t->shape.salient) bl_hash_u64(h, (uint64_t)t->shape.salient);
    if (t->shape.scale_bits || t->shape.scale_group) {
        bl_hash_u64(h, (uint64_t)t->shape.scale_bits);
        bl_hash_u64(h, (uint64_t)t->shape.scale_group);
    }
    const float s[] = {t->act.scale, t->act.zero};
    bl_hash_add(h, s, sizeof s);
    for (int i = 0; i < t->n_transforms + t->n_after; i++) {
        const bl_transform *x = &t->transform[i].t;
        const int64_t kind[] = {x->kind, x->in, x->out, x->data.ndim, x->data.dim[0], x->data.dim[1], x->data.dim[2]};
        bl_hash_text(h, i < t->n_transforms ? "transform" : "after");
        bl_hash_add(h, kind, sizeof kind);
    }
    for (int i = 0; i < t->n_adapters; i++) {
        bl_hash_text(h, "adapter");
        bl_hash_u64(h, (uint64_t)t->adapter[i].rank);
        bl_hash_add(h, &t->adapter[i].scale, sizeof t->adapter[i].scale);
        for (int k = 0; t->adapter[i].packed && k < 2; k++) hash_shape(h, &t->adapter[i].packed[k]);
    }
}

/* Extent `i` of everything that is stored of it: parts, data of transforms, adapters. False after the last. */
static bool extent_at(const bl_stored *t, int i, bl_extent *out)
{
    int transforms = t->n_transforms + t->n_after;
    if (i < t->n_parts) *out = t->part[i];
    else if ((i -= t->n_parts) < transforms) *out = t->transform[i].extent;
    else {
        i -= transforms;
        for (int k = 0; k < 2 * t->n_adapters; k++) {
            const bl_stored_adapter *a = &t->adapter[k / 2];
            const bl_stored *packed = a->packed ? &a->packed[k % 2] : NULL;
            const int n = packed ? packed->n_parts : 1;
            if (i < n) {
                *out = packed ? packed->part[i] : k % 2 ? a->b : a->a;
                return true;
            }
            i -= n;
        }
        return false;
    }
    return true;
}

static bl_status files_key(const bl_checkpoint *c, char hex[33], bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_text(h, "checkpoint files");
    bl_hash_u64(h, VERSION);
    bl_hash_text(h, c->path);
    for (size_t i = 0; i < c->n; i++) { /* a changed config.json or bitladder.json reads the same bytes differently */
        const bl_stored *t = &c->stored[i];
        bl_extent x;
        hash_shape(h, t);
        for (int k = 0; extent_at(t, k, &x); k++) {
            bl_hash_u64(h, (uint64_t)(int64_t)x.file);
            bl_hash_u64(h, x.offset);
            bl_hash_u64(h, x.bytes);
        }
    }
    for (size_t i = 0; i < c->n_given; i++) {
        const bl_map *m = &c->map[i];
        bl_hash_text(h, m->path);
        bl_hash_u64(h, m->dev);
        bl_hash_u64(h, m->inode);
        bl_hash_u64(h, m->size);
        bl_hash_u64(h, m->mtime_ns);
    }
    bl_hash_hex(bl_hasher_end(h), hex);
    return BL_OK;
}

/* "bitladder fingerprint 1 KEY HI LO FINITE CHECK\n", CHECK the hash of what stands before it. */
static int entry(char *out, size_t n, const char key[33], bl_hash weights, bool finite)
{
    char check[33];
    int k = snprintf(out, n, "bitladder fingerprint %d %s %016" PRIx64 " %016" PRIx64 " %d ", VERSION, key, weights.hi,
                     weights.lo, finite);
    bl_hash_hex(bl_hash_bytes(out, (size_t)k), check);
    return k + snprintf(out + k, n - (size_t)k, "%s\n", check);
}

static char *cache_file(const char key[33], bool make, bl_err *e)
{
    char *dir = cache_dir(e), *path = NULL;
    char name[64];
    snprintf(name, sizeof name, "fingerprint-%s", key);
    if (dir && (!make || bl_make_dirs(dir, e) == BL_OK)) path = bl_join(dir, name, e);
    bl_free(dir);
    return path;
}

bl_status bl_cache_load(const bl_checkpoint *c, bl_hash *weights, bool *finite, bl_err *e)
{
    char key[33], want[256], *path = NULL, *s = NULL;
    size_t n = 0;
    int flag = 0;
    bl_hash h;
    bl_status st = files_key(c, key, e);
    if (st != BL_OK) return st;
    if ((path = cache_file(key, false, NULL)) && bl_exists(path) && bl_read_file(path, 4096, &s, &n, NULL) == BL_OK &&
        sscanf(s, "bitladder fingerprint %*d %*32s %16" SCNx64 " %16" SCNx64 " %1d", &h.hi, &h.lo, &flag) == 3 &&
        (size_t)entry(want, sizeof want, key, h, flag == 1) == n && !memcmp(want, s, n)) {
        *weights = h;
        *finite = flag == 1;
    } else {
        st = BL_E_MISSING;
    }
    bl_free(s);
    bl_free(path);
    return st == BL_E_MISSING ? bl_fail(e, st, "%s: no cached fingerprint", c->path) : st;
}

void bl_cache_save(const bl_checkpoint *c, bl_hash weights, bool finite)
{
    char key[33], text[256];
    if (files_key(c, key, NULL) != BL_OK) return;
    char *path = cache_file(key, true, NULL);
    if (!path) return;
    int n = entry(text, sizeof text, key, weights, finite);
    bl_err e = {0};
    if (bl_write_file(path, text, (size_t)n, &e) != BL_OK) bl_log(BL_LOG_INFO, "fingerprint not cached: %s", e.text);
    bl_free(path);
}

/* ---- the hash ---- */
static int by_name(const void *a, const void *b)
{
    return strcmp((*(const bl_stored *const *)a)->name, (*(const bl_stored *const *)b)->name);
}

static bl_status hash_bytes(const bl_checkpoint *c, bl_hash *out, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    const bl_stored **t = bl_new(c->n, sizeof *t, e);
    if (!h || !t) {
        if (h) bl_hasher_end(h);
        bl_free(t);
        return BL_E_NOMEM;
    }
    for (size_t i = 0; i < c->n; i++) t[i] = &c->stored[i];
    qsort(t, c->n, sizeof *t, by_name);
    for (size_t i = 0; i < c->n; i++) {
        bl_extent x;
        hash_shape(h, t[i]);
        for (int k = 0; extent_at(t[i], k, &x); k++) {
            if (!x.bytes) continue;
            bl_hash_of(h, bl_hash_bytes(c->map[x.file].data + x.offset, x.bytes));
            bl_map_drop(&c->map[x.file], x.offset, x.bytes);
        }
    }
    *out = bl_hasher_end(h);
    bl_free(t);
    return BL_OK;
}

bl_status bl_checkpoint_unchanged(bl_checkpoint *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash now;
    const char *path = NULL;

    for (size_t i = 0; i < c->n_maps; i++) {
        bool touched;
        st = bl_map_check(&c->map[i], &touched, e);
        if (st != BL_OK && !(touched && c->hashed)) {
            bl_within(e, "checkpoint changed");
            return st;
        }
        if (touched) path = c->map[i].path;
    }
    if (!path) return BL_OK;
    for (size_t i = 0; i < c->n_maps; i++) bl_map_accept(&c->map[i]); /* what comes after is seen the next time */
    BL_TRY(hash_bytes(c, &now, e));
    if (!bl_hash_equal(now, c->weights)) {
        c->hashed = false; /* from now on nothing is what it was */
        for (size_t i = 0; i < c->n_maps; i++) c->map[i].mtime_ns = 0;
        st = bl_fail(e, BL_E_FORMAT, "checkpoint changed: %s was written again while it was used, with other weights",
                     path);
    }
out:
    return st;
}

static void keep(bl_checkpoint *c, bl_hash weights)
{
    c->weights = weights;
    c->hashed = true;
}

static bl_status hash_weights(bl_checkpoint *c, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(hash_bytes(c, out, e));
    keep(c, *out);
    BL_TRY(bl_checkpoint_unchanged(c, e));
out:
    return st;
}

static void hash_config(bl_hasher *h, const bl_config *c)
{
    const int64_t whole[] = {c->dim,      c->ffn_dim, c->n_layers, c->n_heads, c->n_kv_heads,
                             c->head_dim, c->vocab,   c->max_len,  c->rope,    c->tied};
    const double real[] = {c->eps, c->rope_theta};
    const double scaling[] = {c->rope_factor, c->rope_low, c->rope_high, (double)c->rope_original};
    bl_hash_add(h, whole, sizeof whole);
    bl_hash_add(h, real, sizeof real);
    if (c->rope == BL_ROPE_LINEAR) bl_hash_add(h, scaling, sizeof *scaling);
    if (c->rope == BL_ROPE_LLAMA3) bl_hash_add(h, scaling, sizeof scaling);
    if (c->rope >= BL_ROPE_YARN) {
        bl_hash_add(h, scaling, sizeof scaling);
        bl_hash_add(h, (double[]){c->rope_attention, c->rope_exact}, 2 * sizeof(double));
    }
    if (c->window) bl_hash_u64(h, (uint64_t)c->window);
    if (c->arch != bl_arch_at(0) || c->roles != c->arch->has) {
        bl_hash_text(h, c->arch->name);
        bl_hash_u64(h, c->roles);
    }
}

bl_status bl_checkpoint_fingerprint(bl_checkpoint *c, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash weights;
    bool finite;
    bl_hasher *h = NULL;
    if (c->synth) {
        BL_TRY(bl_synth_hash(c->synth, &weights, e));
    } else if (bl_cache_load(c, &weights, &finite, NULL) == BL_OK) {
        keep(c, weights);
    } else {
        BL_TRY(hash_weights(c, &weights, e));
        bl_cache_save(c, weights, false);
    }
    if (!(h = bl_hasher_new(e))) return BL_E_NOMEM;
    bl_hash_text(h, "checkpoint");
    bl_hash_of(h, weights);
    hash_config(h, &c->config);
    *out = bl_hasher_end(h);
out:
    return st;
}

/* ---- finite? ---- */
/* Where 16-bit scales stand in a block; -1 ends the list. A block type that is not here is decoded. */
static const struct {
    const char *format;
    int at[2];
} half_scales[] = {
    {"q4_0", {0, -1}},    {"q4_1", {0, 2}},    {"q5_0", {0, -1}},   {"q5_1", {0, 2}},     {"q8_0", {0, -1}},
    {"iq4_nl", {0, -1}},  {"q2_k", {80, 82}},  {"q3_k", {108, -1}}, {"q4_k", {0, 2}},     {"q5_k", {0, 2}},
    {"q6_k", {208, -1}},  {"iq4_xs", {0, -1}}, {"tq1_0", {52, -1}}, {"tq2_0", {64, -1}},  {"iq3_s", {0, -1}},
    {"iq3_xxs", {0, -1}}, {"iq2_s", {0, -1}},  {"iq2_xs", {0, -1}}, {"iq2_xxs", {0, -1}}, {"iq1_s", {0, -1}},
    {"q1_0", {0, -1}},    {"q2_0", {0, -1}},   {"nvfp4", {-1, -1}},
};

static uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* Any of n numbers whose exponent is full; for f32 also those near the top, where scale times code could overflow. */
static bool suspicious(bl_dtype t, const uint8_t *p, uint64_t n, bool scale)
{
    uint32_t bad = 0;
    if (t == BL_F32) {
        uint32_t limit = scale ? 0x77800000 : 0x7f800000;
        for (uint64_t i = 0; i < n; i++) bad |= (bl_u32_at(p + 4 * i) & 0x7f800000) >= limit;
    } else if (t == BL_F16 || t == BL_BF16) {
        uint32_t mask = t == BL_F16 ? 0x7c00 : 0x7f80, limit = t == BL_BF16 && scale ? 0x7780 : mask;
        for (uint64_t i = 0; i < n; i++) bad |= (u16_at(p + 2 * i) & mask) >= limit;
    }
    return bad;
}

static bool suspicious_blocks(const bl_format *f, const uint8_t *p, uint64_t bytes)
{
    size_t k = 0;
    while (k < BL_COUNT(half_scales) && strcmp(half_scales[k].format, f->name)) k++;
    if (k == BL_COUNT(half_scales)) return true;
    uint32_t bad = 0;
    for (int s = 0; s < 2 && half_scales[k].at[s] >= 0; s++)
        for (uint64_t b = (uint64_t)half_scales[k].at[s]; b < bytes; b += (uint64_t)f->block_bytes)
            bad |= (u16_at(p + b) & 0x7c00) == 0x7c00;
    return bad;
}

static bool table_is_finite(const bl_format *f)
{
    for (int i = 0; i < 1 << f->bits; i++)
        if (!isfinite(f->table[i])) return false;
    return true;
}

/* Could rows of this part, `bytes` of them at p, decode to something that is not finite? */
static bool part_suspicious(const bl_stored *t, const bl_part_spec *spec, const uint8_t *p, uint64_t bytes)
{
    const bl_format *f = t->format;
    if (f->kind == BL_FMT_BLOCK) return suspicious_blocks(f, p, bytes);
    if (f->kind == BL_FMT_TABLE && !strcmp(spec->name, "codes")) return !table_is_finite(f);
    return suspicious(spec->dtype, p, bytes / bl_dtype_bytes(spec->dtype), f->kind != BL_FMT_DENSE);
}

/* Decodes rows row0 .. row0+rows and refuses the first bad value. */
static bl_status decode_rows(bl_checkpoint *c, const bl_stored *t, int64_t row0, int64_t rows, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t in = t->shape.in;
    float *w = bl_new((size_t)in, sizeof *w, e);
    if (!w) return BL_E_NOMEM;
    for (int64_t r = row0; r < row0 + rows; r++) {
        BL_TRY(bl_checkpoint_dense(c, t, r, 1, w, e));
        for (int64_t k = 0; k < in; k++) {
            if (isfinite(w[k])) continue;
            const char *what = isnan(w[k]) ? "not a number" : w[k] > 0 ? "infinity" : "-infinity";
            if (t->vector)
                st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': element [%" PRId64 "] is %s", c->path, t->name, k, what);
            else
                st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': element [%" PRId64 ", %" PRId64 "] is %s", c->path,
                             t->name, r, k, what);
            goto out;
        }
    }
out:
    bl_free(w);
    return st;
}

/* f32 numbers beside a weight: data of transforms, adapters. */
static bl_status verify_extra(const bl_checkpoint *c, const bl_stored *t, const char *what, int which,
                              const bl_extent *x, bl_err *e)
{
    const uint8_t *p = c->map[x->file].data + x->offset;
    if (!suspicious(BL_F32, p, x->bytes / 4, false)) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': %s %d has a value that is not finite", c->path, t->name, what,
                   which);
}

static bl_status verify_weight(bl_checkpoint *c, const bl_stored *t, bl_err *e)
{
    bl_part_spec spec[BL_MAX_PARTS];
    int64_t first = t->shape.out, last = -1; /* rows to decode, in HF order */
    t->format->parts(t->format, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) {
        const bl_extent *x = &t->part[i];
        const uint8_t *p = c->map[x->file].data + x->offset;
        if (!part_suspicious(t, &spec[i], p, x->bytes)) continue;
        if (spec[i].rows != t->shape.out) {
            first = 0;
            last = t->shape.out - 1;
            break;
        }
        uint64_t row_bytes = x->bytes / (uint64_t)spec[i].rows;
        for (int64_t r = 0; r < t->shape.out; r++) {
            if (!part_suspicious(t, &spec[i], p + (uint64_t)bl_rotary_row(t, r) * row_bytes, row_bytes)) continue;
            first = BL_MIN(first, r);
            last = BL_MAX(last, r);
        }
    }
    bl_status st = first <= last ? decode_rows(c, t, first, last - first + 1, e) : BL_OK;
    for (int i = 0; i < t->n_parts; i++) bl_map_drop(&c->map[t->part[i].file], t->part[i].offset, t->part[i].bytes);
    return st;
}

static bl_status verify_extras(bl_checkpoint *c, const bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < t->n_transforms + t->n_after; i++)
        if (t->transform[i].t.data.ndim && t->transform[i].t.data.dtype == BL_F32)
            BL_TRY(verify_extra(c, t, "transform", i, &t->transform[i].extent, e));
    for (int i = 0; i < t->n_adapters; i++) {
        const bl_stored_adapter *a = &t->adapter[i];
        for (int k = 0; k < 2; k++)
            BL_TRY(a->packed ? verify_weight(c, &a->packed[k], e)
                             : verify_extra(c, t, "adapter", i, k ? &a->b : &a->a, e));
    }
out:
    return st;
}

bl_status bl_checkpoint_verify(bl_checkpoint *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash weights = {0};
    bool finite = false;
    if (c->opts.allow_nonfinite || c->synth) return BL_OK;
    uint64_t read = c->bytes_read;
    bool known = bl_cache_load(c, &weights, &finite, NULL) == BL_OK;
    if (known) keep(c, weights);
    if (known && finite) return BL_OK;
    BL_TRY(bl_checkpoint_check(c, e));
    for (size_t i = 0; i < c->n; i++) {
        BL_TRY(verify_weight(c, &c->stored[i], e));
        BL_TRY(verify_extras(c, &c->stored[i], e));
    }
    if (!known) BL_TRY(hash_weights(c, &weights, e));
    bl_cache_save(c, weights, true);
out:
    c->bytes_read = read; /* counts what load and dense were asked for */
    return st;
}
