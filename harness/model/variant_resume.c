/* variant_resume.c - blocks that an interrupted writer left, for one that writes the same state.
 *
 * Beside the file of a block that is whole DIR.tmp.<pid> has block-<number>.json: the hash of the state, what the list
 * of the directory will say of the block, and what its maker wants to know. A directory of a process that is gone whose
 * state is the same becomes that of this process, by rename; any other one is removed.
 */
#include "variant_impl.h"
#include "harness/checkpoint/variant_parts.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char schema[] = "bitladder-block", view_dir[] = "view";

static char *kept_path(const char *dir, int64_t block, bl_err *e)
{
    return bl_format_text(e, "%s/block-%05" PRId64 ".json", dir, block + 1);
}
static const char *state_of(const bl_variant *v) { return v->stage[v->n_stages - 1].hash; }

/* ---- keeping ---- */
bl_status bl_variant_keep(bl_variant *v, int64_t block, const char *more, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    bl_json_out j = {.t = &t};
    char *path = NULL;
    if (!state_of(v)) return BL_OK;
    if (block + 1 != v->next)
        return bl_fail(e, BL_E_INTERNAL, "writing %s: block %" PRId64 " is kept and not the last one", v->dir, block);
    BL_TRY(bl_text_check(&v->blocks, e));
    BL_TRY(bl_text_check(&v->sums, e));
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "schema", schema);
    bl_json_add_str(&j, "state", state_of(v));
    bl_json_add_int(&j, "bytes", (int64_t)v->bytes);
    bl_json_add_int(&j, "roles", v->config.roles);
    bl_json_add_strn(&j, "parameters", v->blocks.s + v->params, v->blocks.n - v->params);
    bl_json_add_strn(&j, "tensors", v->sums.s + v->tensors, v->sums.n - v->tensors);
    bl_json_add_str(&j, "more", more);
    bl_json_end(&j);
    BL_TRY(bl_text_check(&t, e));
    if (!(path = kept_path(v->temp, block, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_write_file(path, t.s, t.n, e));
    bl_fault_point("after-block", v->dir);
out:
    bl_free(path);
    bl_text_free(&t);
    return st;
}

void bl_variant_forget(const bl_variant *v)
{
    for (int64_t b = v->config.n_layers; b-- > 0;) { /* the first ones last: what is there begins at the first */
        char *path = kept_path(v->temp, b, NULL);
        if (path) (void)unlink(path);
        bl_free(path);
    }
    char *path = bl_join(v->temp, view_dir, NULL);
    if (path) (void)bl_remove_tree(path, NULL);
    bl_free(path);
}

void bl_variant_leave(bl_variant *v)
{
    if (v && state_of(v) && v->next > 0) {
        bl_free(v->temp);
        v->temp = NULL; /* nothing to remove */
    }
    bl_variant_drop(v);
}

/* ---- finding ---- */
/* What is kept of a block of that state; NULL: nothing. */
static bl_json *kept(const char *dir, int64_t block, const char *state)
{
    bl_json *j = NULL;
    const char *s = NULL;
    bl_err e = {0};
    char *path = kept_path(dir, block, &e);
    bool same = path && bl_exists(path) && bl_json_read(path, 1 << 28, BL_JSON_PLAIN, &j, &e) == BL_OK &&
                bl_json_get_str(j, "schema", &s, &e) == BL_OK && !strcmp(s, schema) &&
                bl_json_get_str(j, "state", &s, &e) == BL_OK && !strcmp(s, state);
    bl_free(path);
    if (same) return j;
    bl_json_free(j);
    return NULL;
}

/* What is not of a block: files that were being written, a view. */
static bl_status clean(const char *dir, bl_err *e)
{
    char **names = NULL;
    size_t n = 0;
    bl_status st = bl_dir_list(dir, &names, &n, e);
    for (size_t i = 0; i < n && st == BL_OK; i++) {
        bool block = !strncmp(names[i], "block-", 6) || !strncmp(names[i], "model-", 6);
        if (block && !strstr(names[i], ".tmp.")) continue;
        char *path = bl_join(dir, names[i], e);
        st = path ? bl_remove_tree(path, e) : BL_E_NOMEM;
        bl_free(path);
    }
    bl_list_free(names, n);
    return st;
}

bl_status bl_variant_adopt(bl_variant *v, bool *taken, bl_err *e)
{
    bl_status st = BL_OK;
    char **names = NULL;
    size_t n = 0;
    const char *slash = strrchr(v->dir, '/'), *base = slash ? slash + 1 : v->dir;
    char *parent = slash ? bl_strndup(v->dir, slash == v->dir ? 1 : (size_t)(slash - v->dir), e) : bl_strdup(".", e);
    *taken = false;
    if (!parent) return BL_E_NOMEM;
    if (bl_is_dir(parent)) BL_TRY(bl_dir_list(parent, &names, &n, e));
    for (size_t i = 0; i < n; i++) {
        char *end, *path;
        size_t k = strlen(base);
        bl_json *first = NULL;
        if (strncmp(names[i], base, k) || strncmp(names[i] + k, ".tmp.", 5)) continue;
        long pid = strtol(names[i] + k + 5, &end, 10);
        if (*end || pid <= 0 || bl_pid_alive(pid)) continue;
        if (!(path = bl_join(parent, names[i], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (!*taken && state_of(v)) first = kept(path, 0, state_of(v));
        if (!first) (void)bl_remove_tree(path, NULL);
        else *taken = bl_rename(path, v->temp, NULL) == BL_OK; /* another process may have been first */
        bl_json_free(first);
        bl_free(path);
    }
out:
    bl_list_free(names, n);
    bl_free(parent);
    return st;
}

static bl_status recall_block(bl_variant *v, const bl_json *j, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t bytes, roles;
    const char *params, *tensors, *more;
    BL_TRY(bl_json_get_int(j, "bytes", &bytes, e));
    BL_TRY(bl_json_get_int(j, "roles", &roles, e));
    BL_TRY(bl_json_get_str(j, "parameters", &params, e));
    BL_TRY(bl_json_get_str(j, "tensors", &tensors, e));
    BL_TRY(bl_json_get_str(j, "more", &more, e));
    if (!(v->more[v->left] = bl_arena_str(v->arena, more, strlen(more), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_text_add(&v->blocks, params);
    bl_text_add(&v->sums, tensors);
    v->bytes = (uint64_t)bytes;
    v->config.roles |= (uint32_t)roles;
    v->next = ++v->left;
out:
    return st;
}

bl_status bl_variant_recall(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    int64_t n = v->config.n_layers;
    BL_TRY(clean(v->temp, e));
    if (!(v->more = bl_alloc(v->arena, (size_t)n, sizeof *v->more, e))) return BL_E_NOMEM;
    while (v->left < n && (j = kept(v->temp, v->left, state_of(v)))) {
        BL_TRY(recall_block(v, j, e));
        bl_json_free(j);
        j = NULL;
    }
    if (v->left) bl_log(BL_LOG_INFO, "%s: goes on at block %" PRId64 " of %" PRId64, v->dir, v->left + 1, n);
out:
    bl_json_free(j);
    return st;
}

int64_t bl_variant_left(const bl_variant *v) { return v->left; }
const char *bl_variant_more(const bl_variant *v, int64_t block) { return v->more[block]; }

/* ---- a model of what is there ---- */
/* The files of the blocks under the names that they have in a model of so many. */
static bl_status link_blocks(const bl_variant *v, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t b = 0; b < v->left && st == BL_OK; b++) {
        char as[64], is[64];
        bl_variant_file_name(b, v->config.n_layers, is);
        bl_variant_file_name(b, v->left, as);
        char *to = bl_join(dir, as, e), *from = bl_format_text(e, "../%s", is);
        if (!to || !from) st = BL_E_NOMEM;
        else if (symlink(from, to)) st = bl_fail(e, BL_E_IO, "%s: cannot link: %s", to, strerror(errno));
        bl_free(to);
        bl_free(from);
    }
    return st;
}

bl_status bl_variant_view(const bl_variant *v, bl_model *m, bl_checkpoint **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *dir = bl_join(v->temp, view_dir, e);
    bl_variant *w = NULL;
    if (!dir) return BL_E_NOMEM;
    BL_TRY(bl_remove_tree(dir, e));
    BL_TRY(bl_variant_begin(dir, v->source, v->stage + v->n_stages - 1, 1, &w, e));
    w->config.n_layers = w->next = v->left;
    w->config.roles = v->config.roles;
    w->bytes = v->bytes;
    bl_text_add(&w->blocks, v->blocks.s);
    bl_text_add(&w->sums, v->sums.s);
    BL_TRY(link_blocks(v, w->temp, e));
    BL_TRY(bl_variant_ends(w, m, e));
    BL_TRY(bl_variant_commit(w, e));
    w = NULL;
    BL_TRY(bl_checkpoint_open(dir, NULL, out, e));
out:
    bl_variant_drop(w);
    bl_free(dir);
    return st;
}
