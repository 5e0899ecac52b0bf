/* rows.c - names of methods, as users write them and as results have them. */
#include "rows.h"
#include "kernels/base/fs.h"
#include "results/timing.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* The canonical text of a method in out; false when it is no method. */
static bool canonical(const bl_program *p, const char *text, char *out, size_t n)
{
    bl_method_chain c = {0};
    if (bl_chain_parse(p->methods, text, &c, NULL) != BL_OK) return false;
    snprintf(out, n, "%s", c.text);
    bl_chain_free(&c);
    return true;
}

bool bl_method_fits(const bl_program *p, const char *wanted, const char *method)
{
    char text[512];
    return fnmatch(wanted, method, 0) == 0 || (canonical(p, wanted, text, sizeof text) && strcmp(text, method) == 0);
}

bl_status bl_method_of_rows(const bl_program *p, const bl_table *t, const char *text, char *out, size_t n, bl_err *e)
{
    bl_status st;
    bl_text list = {0};
    char own[512] = "";

    canonical(p, text, own, sizeof own);
    for (size_t i = 0; i < t->n; i++) {
        const char *method = t->row[i].cell->method;
        if (strcmp(method, text) && strcmp(method, own)) continue;
        snprintf(out, n, "%s", method);
        return BL_OK;
    }
    for (size_t i = 0; i < t->n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) seen = !strcmp(t->row[k].cell->method, t->row[i].cell->method);
        if (!seen) bl_text_addf(&list, "%s%s", list.n ? ", " : "", t->row[i].cell->method);
    }
    st = bl_text_check(&list, e);
    if (st == BL_OK)
        st = bl_fail(e, BL_E_CONFIG, "no result has the method '%s'; there are: %s", text, list.n ? list.s : "none");
    bl_text_free(&list);
    return st;
}

bl_status bl_cells_read(const char *dir, bl_arena *a, bl_cell **out, size_t *n, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    char **name = NULL;
    size_t n_names = 0;
    bl_cell *all;

    *n = 0;
    if (!bl_exists(dir)) return bl_fail(e, BL_E_MISSING, "%s: there is no such directory", dir);
    BL_TRY(bl_dir_list(dir, &name, &n_names, e));
    if (!(all = bl_alloc(a, n_names, sizeof *all, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n_names; i++) {
        size_t len = strlen(name[i]);
        bl_err why = {0};
        if (len < 3 || strcmp(name[i] + len - 3, ".h5") != 0 || bl_is_timings(name[i])) continue;
        char *path = bl_join(dir, name[i], e);
        if (!path) {
            st = BL_E_NOMEM;
            goto out;
        }
        bl_status s = bl_cell_read(path, true, a, &all[*n], &why);
        bl_free(path);
        if (s == BL_OK) ++*n;
        else {
            fprintf(stderr, "bitladder: skipped: %s\n", why.text);
            *exit_code = 1;
        }
    }
    *out = all;
out:
    bl_list_free(name, n_names);
    return st;
}
