/* vectors.c - see vectors.h. */
#include "vectors.h"
#include "record.h"
#include <string.h>

static const char key[] = "vectors";

bl_status bl_vectors_write(const char *path, const bl_vectors *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_record *r = NULL;
    char hex[33];

    bl_hash_hex(v->hash, hex);
    BL_TRY(bl_record_begin(path, key, v->hash, &r, e));
    BL_TRY(bl_record_text(r, "made/by", v->by, e));
    BL_TRY(bl_record_text(r, "made/hash", hex, e));
    BL_TRY(bl_record_text(r, "made/field", v->field, e));
    BL_TRY(bl_record_floats(r, "vectors", v->row, v->n, v->dim, "vectors of unit length, a row for each entry", e));
    BL_TRY(bl_record_texts(r, "entries", v->entry, v->n, "what each vector is of, as JSON", e));
    BL_TRY(bl_record_commit(r, e));
    r = NULL;
out:
    bl_record_drop(r);
    return st;
}

static bool from_hex(const char *s, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = 0;
    for (int i = 0; i < 16; i++) {
        const char *at = s[i] ? strchr(digits, s[i]) : NULL;
        if (!at) return false;
        *out = *out << 4 | (uint64_t)(at - digits);
    }
    return true;
}

bl_status bl_vectors_read(const char *path, bl_arena *a, bl_vectors *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_shard *s = NULL;
    bl_vectors v = {0};
    const char *hex, **entry;
    float *row;
    int64_t n;

    BL_TRY(bl_shard_open(path, &s, e));
    if (!bl_shard_has(s, "vectors") || !bl_shard_has(s, "entries")) {
        st = bl_fail(e, BL_E_FORMAT, "%s: holds no vectors of texts; index makes such files", path);
        goto out;
    }
    BL_TRY(bl_shard_text(s, "made/by", a, &v.by, e));
    BL_TRY(bl_shard_text(s, "made/hash", a, &hex, e));
    BL_TRY(bl_shard_text(s, "made/field", a, &v.field, e));
    BL_TRY(bl_shard_floats(s, "vectors", a, &row, &v.n, &v.dim, e));
    BL_TRY(bl_shard_texts(s, "entries", a, &entry, &n, e));
    if (n != v.n || strlen(hex) != 32 || !from_hex(hex, &v.hash.hi) || !from_hex(hex + 16, &v.hash.lo)) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: %lld vectors of %lld entries, made by '%s'", path, (long long)v.n,
                     (long long)n, hex);
        goto out;
    }
    v.row = row;
    v.entry = entry;
    *out = v;
out:
    bl_shard_close(s);
    return st;
}
