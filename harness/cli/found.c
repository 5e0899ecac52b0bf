/* found.c - loads the data of a task to say what is there. */
#include "found.h"
#include <string.h>

bl_status bl_task_found(const bl_task *t, const char *name, const bl_data_dirs *dirs, bl_arena *a, bl_found *out,
                        bl_err *e)
{
    bl_status st = BL_OK;
    bl_task_data d = {.arena = a};
    bl_request r = {0};
    bl_err why = {0};
    void *opts = bl_alloc(a, 1, t->opts_size ? t->opts_size : 1, e);

    if (!opts) return BL_E_NOMEM;
    *out = (bl_found){0};
    if (t->opts) bl_opt_defaults(t->opts, opts);
    st = t->load(&(bl_task_load){.name = name, .opts = opts, .dirs = dirs}, &d, &why);
    if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", why.text);
    if (st != BL_OK) {
        out->why = bl_arena_str(a, why.text, strlen(why.text), e);
        return out->why ? BL_OK : BL_E_NOMEM;
    }
    out->items = d.n;
    out->path = d.path ? d.path : "";
    out->note = d.note;
    if (d.n >= 0) return BL_OK;
    st = t->ask(&d, 0, &(bl_turn){.arena = a}, &r, e); /* every window is of the same text */
    out->bytes = r.n_text;
    return st;
}

void bl_found_text(const bl_found *f, char out[64])
{
    char size[32];
    if (!f->path) snprintf(out, 64, "not here");
    else if (f->items >= 0) snprintf(out, 64, "%lld items", (long long)f->items);
    else {
        bl_bytes_text(f->bytes, size);
        snprintf(out, 64, "%s of text", size);
    }
}
