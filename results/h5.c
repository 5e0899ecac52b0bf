/* h5.c - the head of a shard, error sentences out of HDF5, text that HDF5 and JSON both accept. */
#include "shard_impl.h"
#include "kernels/base/utf8.h"

#include <string.h>

static const uint8_t magic[8] = {0x89, 'B', 'L', 'D', '\r', '\n', 0x1a, '\n'}; /* text-mode transfer would change it */
enum { AT_SCHEMA = 8, AT_LENGTH = 16, AT_SUM = 24, AT_CELL = 40, AT_KEY = 56, AT_TEXT = 72 };

static void put_le(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void put_hash(uint8_t *p, bl_hash h)
{
    put_le(p, h.hi, 8);
    put_le(p + 8, h.lo, 8);
}

static bl_hash get_hash(const uint8_t *p) { return (bl_hash){get_le(p, 8), get_le(p + 8, 8)}; }

void bl_shard_head_put(uint8_t head[BL_SHARD_HEAD], const bl_shard_head *h, const char *key)
{
    size_t n = strlen(key);

    memset(head, 0, BL_SHARD_HEAD);
    memcpy(head, magic, sizeof magic);
    put_le(head + AT_SCHEMA, h->schema, 4);
    put_le(head + AT_LENGTH, h->length, 8);
    put_hash(head + AT_SUM, h->sum);
    put_hash(head + AT_CELL, h->cell);
    put_hash(head + AT_KEY, h->key);
    memcpy(head + AT_TEXT, key, BL_MIN(n, (size_t)(BL_SHARD_HEAD - AT_TEXT - 1)));
}

bl_status bl_shard_sum(const uint8_t head[BL_SHARD_HEAD], const uint8_t *rest, size_t n, bl_hash *out, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);

    if (!h) return BL_E_NOMEM;
    bl_hash_add(h, head, AT_SUM);
    bl_hash_add(h, head + AT_CELL, BL_SHARD_HEAD - AT_CELL);
    bl_hash_add(h, rest, n);
    *out = bl_hasher_end(h);
    return BL_OK;
}

bl_status bl_shard_verify(const uint8_t *p, size_t n, const char *name, bl_shard_head *out, bl_err *e)
{
    static const uint8_t hdf5[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    bl_shard_head h;
    bl_hash sum;
    bl_status st;

    if (n >= sizeof hdf5 && !memcmp(p, hdf5, sizeof hdf5))
        return bl_fail(e, BL_E_CORRUPT,
                       "%s: an HDF5 file, but not a shard of bitladder: the 512 bytes in front are missing", name);
    if (n < BL_SHARD_HEAD)
        return bl_fail(e, BL_E_CORRUPT, "%s: %zu bytes, expected at least the %d of a shard's head", name, n,
                       BL_SHARD_HEAD);
    if (memcmp(p, magic, sizeof magic))
        return bl_fail(e, BL_E_CORRUPT, "%s: not a shard of bitladder: it begins with other bytes", name);
    h = (bl_shard_head){.schema = (uint32_t)get_le(p + AT_SCHEMA, 4),
                        .length = get_le(p + AT_LENGTH, 8),
                        .sum = get_hash(p + AT_SUM),
                        .cell = get_hash(p + AT_CELL),
                        .key = get_hash(p + AT_KEY)};
    if (h.length != n)
        return bl_fail(e, BL_E_CORRUPT, "%s: %zu bytes, but its head says %llu: truncated or changed", name, n,
                       (unsigned long long)h.length);
    if ((st = bl_shard_sum(p, p + BL_SHARD_HEAD, n - BL_SHARD_HEAD, &sum, e)) != BL_OK) return st;
    if (!bl_hash_equal(sum, h.sum))
        return bl_fail(e, BL_E_CORRUPT, "%s: its bytes do not match its hash: changed after it was written", name);
    if (h.schema > BL_SHARD_SCHEMA)
        return bl_fail(e, BL_E_NEWER, "%s: newer schema %u, this program reads up to %d", name, (unsigned)h.schema,
                       BL_SHARD_SCHEMA);
    if (h.schema < 1) return bl_fail(e, BL_E_CORRUPT, "%s: schema %u does not exist", name, (unsigned)h.schema);
    if (h.schema < BL_SHARD_SCHEMA)
        return bl_fail(e, BL_E_UNSUPPORTED,
                       "%s: schema %u, written by an earlier bitladder; this one reads %d: run the study again", name,
                       (unsigned)h.schema, BL_SHARD_SCHEMA);
    *out = h;
    return BL_OK;
}

void bl_h5_init(void)
{
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* The innermost entry says what happened, the outermost which call we made. */
typedef struct stack {
    char outer[160], inner[160];
} stack;
static herr_t visit(unsigned n, const H5E_error2_t *entry, void *data)
{
    stack *s = data;
    if (n == 0) snprintf(s->outer, sizeof s->outer, "%s", entry->func_name ? entry->func_name : "HDF5");
    snprintf(s->inner, sizeof s->inner, "%s", entry->desc ? entry->desc : "no description");
    return 0;
}

bl_status bl_h5_fail(bl_err *e, bl_status st, const char *fmt, ...)
{
    char text[1024];
    stack s = {"", ""};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, visit, &s); /* from the API function down to where it went wrong */
    H5Eclear2(H5E_DEFAULT);
    if (!s.inner[0]) return bl_fail(e, st, "%s", text);
    return bl_fail(e, st, "%s: HDF5 says: %s (%s)", text, s.inner, s.outer);
}

hid_t bl_h5_text_type(void)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    if (t >= 0 && (H5Tset_size(t, H5T_VARIABLE) < 0 || H5Tset_cset(t, H5T_CSET_UTF8) < 0)) {
        H5Tclose(t);
        t = H5I_INVALID_HID;
    }
    return t;
}

char *bl_valid_text(const char *s, bl_err *e) { return bl_utf8_repaired(s, strlen(s), e); }

bl_status bl_where_split(const char *where, char **group, const char **name, bl_err *e)
{
    const char *slash = strrchr(where, '/');
    *name = slash ? slash + 1 : where;
    *group = slash ? bl_strndup(where, (size_t)(slash - where), e) : bl_strdup("/", e);
    return *group ? BL_OK : BL_E_NOMEM;
}

const char *bl_hdf5_version(void)
{
    static char text[32];
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    return text;
}
