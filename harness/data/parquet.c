/* parquet.c - see parquet.h. */
#include "parquet.h"
#include "kernels/base/fs.h"
#include <string.h>

static const char ending[] = ".parquet";

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

static void say_line(const char *from, const char *to, size_t n_to, bl_text *out)
{
    bool csv = n_to > 4 && !strncmp(to + n_to - 4, ".csv", 4);
    bl_text_addf(out, "python3 -c \"import pandas; pandas.read_parquet('%s').%s('%.*s', %s)\"", from,
                 csv ? "to_csv" : "to_json", (int)n_to, to, csv ? "index=False" : "orient='records', lines=True");
}

bl_status bl_parquet_refuse(const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text to = {0}, line = {0};
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');

    if (!dot || (slash && dot < slash)) dot = path + strlen(path);
    if (ends_in(path, ending)) bl_text_addf(&to, "%.*s.jsonl", (int)(dot - path), path);
    else bl_text_addf(&to, "%.*s.text%s", (int)(dot - path), path, *dot ? dot : ".jsonl"); /* not onto itself */
    BL_TRY(bl_text_check(&to, e));
    say_line(path, to.s, to.n, &line);
    BL_TRY(bl_text_check(&line, e));
    st = bl_fail(e, BL_E_FORMAT, "%s: a parquet file, expected text; convert it: %s", path, line.s);
out:
    bl_text_free(&to);
    bl_text_free(&line);
    return st;
}

static size_t alike(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n]) n++;
    return n;
}

/* The name in `dir` that has most of the beginning of `base`; NULL: none has enough. */
static bl_status nearest(const char *dir, const char *base, char **out, bl_err *e)
{
    enum { LEAST = 3 }; /* letters that a split is told by: "val" of "validation", not "t" of "train" */
    bl_status st = BL_OK;
    char **names = NULL;
    size_t n = 0, best = LEAST - 1;

    if (!bl_is_dir(dir)) return BL_OK;
    BL_TRY(bl_dir_list(dir, &names, &n, e));
    for (size_t i = 0; i < n; i++) {
        size_t same = ends_in(names[i], ending) ? alike(names[i], base) : 0;
        if (same <= best) continue;
        best = same;
        bl_free(*out);
        if (!(*out = bl_strdup(names[i], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
out:
    bl_list_free(names, n);
    return st;
}

bl_status bl_parquet_beside(const char *wanted, bl_text *found, bl_text *line, bl_err *e)
{
    static const char *const texts[] = {".jsonl", ".json", ".csv"}, *const folders[] = {"", "/data"};
    bl_status st = BL_OK;
    const char *base = strrchr(wanted, '/') + 1;
    char *name = NULL;
    bl_text dir = {0};
    bool text = false;

    for (size_t k = 0; k < BL_COUNT(texts); k++) text = text || ends_in(wanted, texts[k]);
    for (size_t k = 0; k < BL_COUNT(folders) && text && !name; k++) {
        dir.n = 0;
        bl_text_addf(&dir, "%.*s%s", (int)(base - 1 - wanted), wanted, folders[k]);
        BL_TRY(bl_text_check(&dir, e));
        BL_TRY(nearest(dir.s, base, &name, e));
    }
    if (!name) goto out;
    bl_text_addf(found, "%s/%s", dir.s, name);
    BL_TRY(bl_text_check(found, e));
    say_line(found->s, wanted, strlen(wanted), line);
    BL_TRY(bl_text_check(line, e));
out:
    bl_text_free(&dir);
    bl_free(name);
    return st;
}
