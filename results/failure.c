/* failure.c - names of cells on disk, and the note that a failed or unavailable cell leaves. */
#include "cell.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 180, SCHEMA = 1 }; /* with hash, ending and ".tmp.<pid>" still below the 255 of a file system */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._-+:=,@", c));
}

/* A key that is too long is cut: the hash at the end still tells cells apart. */
char *bl_cell_file(const char *key, bl_hash hash, bl_err *e)
{
    bl_text t = {0};
    char hex[33], one[4];

    for (const char *c = key; *c; c++) {
        if (*c == '/') snprintf(one, sizeof one, "__");
        else if (is_plain(*c) && !(c == key && *c == '.')) snprintf(one, sizeof one, "%c", *c);
        else snprintf(one, sizeof one, "%%%02X", (unsigned)(unsigned char)*c);
        if (t.n + strlen(one) > NAME_BYTES) break;
        bl_text_add(&t, one);
    }
    bl_hash_hex(hash, hex);
    bl_text_addf(&t, "--%.12s", hex);
    if (bl_text_check(&t, e) != BL_OK) {
        bl_text_free(&t);
        return NULL;
    }
    return t.s;
}

/* ---- failure notes ------------------------------------------------------------------------------ */
static const struct {
    const char *key;
    size_t at;
} texts[] = {
    {"key", offsetof(bl_cell_failure, key)},
    {"hash", offsetof(bl_cell_failure, hash)},
    {"status", offsetof(bl_cell_failure, status)},
    {"reason", offsetof(bl_cell_failure, reason)},
    {"time", offsetof(bl_cell_failure, time)},
    {"model", offsetof(bl_cell_failure, model)},
    {"stored_as", offsetof(bl_cell_failure, stored_as)},
    {"method", offsetof(bl_cell_failure, method)},
    {"task", offsetof(bl_cell_failure, task)},
    {"group_text", offsetof(bl_cell_failure, group_text)},
};
static const struct {
    const char *key;
    size_t at;
} numbers[] = {
    {"wbits", offsetof(bl_cell_failure, wbits)},
    {"seed", offsetof(bl_cell_failure, seed)},
    {"limit", offsetof(bl_cell_failure, limit)},
    {"sample", offsetof(bl_cell_failure, sample)},
    {"task_version", offsetof(bl_cell_failure, task_version)},
};

/* "DIR/<file>.failed.json"; bl_free. */
static char *note_path(const char *dir, const char *file, bl_err *e)
{
    char *name = bl_format_text(e, "%s.failed.json", file), *path = name ? bl_join(dir, name, e) : NULL;
    bl_free(name);
    return path;
}

bl_status bl_failure_write(const char *dir, const char *file, const bl_cell_failure *f, bl_err *e)
{
    bl_status st;
    bl_text t = {0};
    bl_json_out o = {.t = &t};
    char *path = note_path(dir, file, e);

    if (!path) return BL_E_NOMEM;
    bl_json_object(&o, NULL);
    bl_json_add_int(&o, "schema", SCHEMA);
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        const char *v = *(const char *const *)((const char *)f + texts[i].at);
        bl_json_add_str(&o, texts[i].key, v ? v : "");
    }
    for (size_t i = 0; i < BL_COUNT(numbers); i++)
        bl_json_add_int(&o, numbers[i].key, *(const int64_t *)((const char *)f + numbers[i].at));
    bl_json_end(&o);
    bl_text_add(&t, "\n");
    BL_TRY(bl_text_check(&t, e));
    st = bl_write_file(path, t.s, t.n, e);
out:
    bl_text_free(&t);
    bl_free(path);
    return st;
}

bl_status bl_failure_read(const char *path, bl_arena *a, bl_cell_failure *out, bl_err *e)
{
    bl_status st;
    bl_json *j = NULL;
    bl_cell_failure f = {0};
    int64_t schema;

    BL_TRY(bl_json_read(path, 1 << 20, BL_JSON_PLAIN, &j, e));
    BL_TRY(bl_json_get_int(j, "schema", &schema, e));
    if (schema > SCHEMA) {
        st = bl_fail(e, BL_E_NEWER, "%s: newer schema %" PRId64 ", this program reads up to %d", path, schema, SCHEMA);
        goto out;
    }
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        const char *v;
        BL_TRY(bl_json_get_str(j, texts[i].key, &v, e));
        if (!(*(const char **)((char *)&f + texts[i].at) = bl_arena_str(a, v, strlen(v), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    for (size_t i = 0; i < BL_COUNT(numbers); i++)
        BL_TRY(bl_json_get_int(j, numbers[i].key, (int64_t *)((char *)&f + numbers[i].at), e));
    if (strcmp(f.status, "failed") && strcmp(f.status, "n/a")) {
        st = bl_fail(e, BL_E_FORMAT, "%s: status '%s' is neither failed nor n/a", path, f.status);
        goto out;
    }
    *out = f;
out:
    bl_json_free(j);
    return st;
}

bl_status bl_failure_remove(const char *dir, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = note_path(dir, file, e);

    if (!path) return BL_E_NOMEM;
    if (unlink(path) != 0 && errno != ENOENT)
        st = bl_fail(e, BL_E_DISK, "%s: cannot be removed: %s", path, strerror(errno));
    bl_free(path);
    return st;
}
