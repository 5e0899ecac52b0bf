/* find.c - where data sets are: --data, BITLADDER_DATA, what ships with the program.
 *
 * What ships is in share/bitladder/data beside the bin/ that holds the running program, so an installation can be
 * moved; a program in a build folder uses the source tree it was built from.
 */
#include "reader.h"
#include "parquet.h"
#include "bl_build.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct dirs {
    const char **dir;
    size_t n, cap;
} dirs;

static bl_status add(dirs *d, bl_arena *a, const char *s, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    const char *dir;

    while (n > 1 && s[n - 1] == '/') n--;
    if (n == 0) goto out;
    for (size_t i = 0; i < d->n; i++)
        if (strlen(d->dir[i]) == n && !memcmp(d->dir[i], s, n)) goto out;
    BL_TRY(bl_grow(&d->dir, &d->cap, d->n + 1, sizeof *d->dir, e));
    if (!(dir = bl_arena_str(a, s, n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    d->dir[d->n++] = dir;
out:
    return st;
}

static bl_status add_shipped(dirs *d, bl_arena *a, bl_err *e)
{
    char exe[4096], dir[4200];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    if (n > 0) {
        exe[n] = 0;
        for (int up = 0; up < 2; up++) {
            char *slash = strrchr(exe, '/');
            if (slash) *slash = 0;
        }
        snprintf(dir, sizeof dir, "%s/share/bitladder/data", exe);
        if (bl_is_dir(dir)) return add(d, a, dir, strlen(dir), e);
    }
    if (bl_is_dir(BL_SOURCE_DATA_DIR)) return add(d, a, BL_SOURCE_DATA_DIR, strlen(BL_SOURCE_DATA_DIR), e);
    return add(d, a, BL_SHARE_DIR "/data", strlen(BL_SHARE_DIR "/data"), e);
}

static bl_status list(const bl_data_dirs *given, bl_arena *a, dirs *d, bl_err *e)
{
    bl_status st = BL_OK;
    const char *env = getenv("BITLADDER_DATA");

    for (size_t i = 0; given && i < given->n; i++) BL_TRY(add(d, a, given->dir[i], strlen(given->dir[i]), e));
    while (env && *env) {
        size_t n = strcspn(env, ":");
        BL_TRY(add(d, a, env, n, e));
        env += n + (env[n] == ':');
    }
    BL_TRY(add_shipped(d, a, e));
out:
    return st;
}

bl_status bl_data_find(const bl_data_dirs *given, const char *const *names, const char *where_to_get, bl_arena *a,
                       const char **path, int *which, bl_err *e)
{
    bl_status st = BL_OK;
    dirs d = {0};
    bl_text p = {0}, looked = {0}, beside = {0}, line = {0};

    BL_TRY(list(given, a, &d, e));
    for (size_t j = 0; j < d.n; j++)
        for (int i = 0; names[i]; i++)
            for (int gz = 0; gz < 2; gz++) {
                p.n = 0;
                bl_text_addf(&p, "%s/%s%s", d.dir[j], names[i], gz ? ".gz" : "");
                BL_TRY(bl_text_check(&p, e));
                if (!bl_exists(p.s) || bl_is_dir(p.s)) continue;
                if (!(*path = bl_arena_str(a, p.s, p.n, e))) {
                    st = BL_E_NOMEM;
                    goto out;
                }
                if (which) *which = i;
                goto out;
            }
    for (size_t j = 0; j < d.n; j++)
        for (int i = 0; names[i]; i++) {
            p.n = 0;
            bl_text_addf(&p, "%s/%s", d.dir[j], names[i]);
            BL_TRY(bl_text_check(&p, e));
            BL_TRY(bl_parquet_beside(p.s, &beside, &line, e));
            if (!beside.n) continue;
            st = bl_fail(e, BL_E_MISSING, "not found: %s, but %s, a parquet file; convert it: %s", names[i], beside.s,
                         line.s);
            goto out;
        }
    for (int i = 0; names[i]; i++) bl_text_addf(&looked, "%s%s", i ? ", " : "", names[i]);
    bl_text_add(&looked, " (plain or .gz) in ");
    for (size_t j = 0; j < d.n; j++) bl_text_addf(&looked, "%s%s", j ? ", " : "", d.dir[j]);
    BL_TRY(bl_text_check(&looked, e));
    st = bl_fail(e, BL_E_MISSING, "not found: %s; source: %s; name its directory with --data or BITLADDER_DATA",
                 looked.s, where_to_get);
out:
    bl_text_free(&line);
    bl_text_free(&beside);
    bl_text_free(&looked);
    bl_text_free(&p);
    bl_free(d.dir);
    return st;
}
