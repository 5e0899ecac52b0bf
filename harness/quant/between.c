/* between.c - see between.h. */
#include "between.h"
#include "kernels/base/fs.h"
#include <string.h>
#include <unistd.h>

bool bl_between_stays(const bl_apply_how *how) { return how->train && !how->between; }

char *bl_between_dir(const bl_apply_how *how, const char *dir, int i, int n, bl_err *e)
{
    char *at = NULL, *of = NULL;
    if (i + 1 == n) return bl_strdup(dir, e);
    if (how->between) return bl_strdup(how->between[i], e);
    if (!(of = bl_bare_dir(dir, e))) return NULL;
    if (bl_between_stays(how)) at = bl_format_text(e, "%s.stage%d", of, i + 1);
    else at = bl_format_text(e, "%s.stage%d.%ld", of, i + 1, (long)getpid());
    bl_free(of);
    return at;
}

/* Whether `at` holds that state. */
static bl_status holds(const char *at, bl_hash state, bool *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;
    char hex[33];
    int n;
    BL_TRY(bl_checkpoint_open(at, NULL, &c, e));
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    bl_hash_hex(state, hex);
    *out = n && stage[n - 1].hash && !strcmp(stage[n - 1].hash, hex);
out:
    bl_checkpoint_close(c);
    return st;
}

static bl_status refuse(const char *at, bl_err *e)
{
    return bl_fail(e, BL_E_CONFIG, "%s is there from an earlier run; --resume goes on with it, or remove it", at);
}

/* Its state while it learned is for who takes it. */
static bl_status may_go_on(const bl_apply_how *how, const char *at, bl_err *e)
{
    char *learning = bl_format_text(e, "%s.state", at);
    if (!learning) return BL_E_NOMEM;
    bl_status st = how->train->state == BL_STATE_REFUSED && bl_exists(learning) ? refuse(learning, e) : BL_OK;
    bl_free(learning);
    return st;
}

/* Of one stage: *there, its state is whole. */
static bl_status look(const bl_apply_how *how, const char *at, bl_hash hash, bool *there, bl_err *e)
{
    bl_status st = BL_OK;
    *there = false;
    BL_TRY(may_go_on(how, at, e));
    if (!bl_exists(at)) return BL_OK;
    if (how->train->state == BL_STATE_REFUSED) return refuse(at, e);
    BL_TRY(holds(at, hash, there, e));
    if (!*there)
        st = bl_fail(e, BL_E_CONFIG, "%s is of another run: model, method, data or settings differ; remove it", at);
out:
    return st;
}

static bl_status remove_stage(const char *at, bl_err *e)
{
    bl_status st = bl_train_forget(at, e);
    return st == BL_OK ? bl_remove_tree(at, e) : st;
}

bl_status bl_between_begin(const bl_apply_how *how, const char *dir, int n, int *first, bl_err *e)
{
    bl_status st = BL_OK;
    char *at = NULL;
    bool there;
    *first = 0;
    if (n == 1) return BL_OK;
    if (!(at = bl_bare_dir(dir, e))) return BL_E_NOMEM;
    BL_TRY(may_go_on(how, at, e)); /* not after the stages before it */
    bl_free(at);
    at = NULL;
    for (int i = n - 2; i >= 0; i--) {
        if (!(at = bl_between_dir(how, dir, i, n, e))) return BL_E_NOMEM;
        BL_TRY(look(how, at, how->hash[i], &there, e));
        if (there && *first) BL_TRY(remove_stage(at, e)); /* the one after it was made of it */
        else if (there) {
            BL_TRY(bl_train_forget(at, e));
            *first = i + 1;
        }
        bl_free(at);
        at = NULL;
    }
out:
    bl_free(at);
    return st;
}

bl_status bl_between_forget(const bl_apply_how *how, const char *dir, int n, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i + 1 < n && st == BL_OK; i++) {
        bool there = false;
        char *at = bl_between_dir(how, dir, i, n, e);
        if (!at) return BL_E_NOMEM;
        if (bl_is_dir(at)) st = holds(at, how->hash[i], &there, e);
        if (there) st = remove_stage(at, e);
        bl_free(at);
    }
    return st == BL_OK ? bl_train_forget(dir, e) : st;
}
