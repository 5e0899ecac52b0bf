/* hub.c - `org/name` in the local Hugging Face cache. Nothing is ever fetched.
 *
 *     HUB/models--org--name/refs/main          the commit, as text
 *     HUB/models--org--name/snapshots/COMMIT/  links into ../../blobs
 * HUB is $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub. `org/name@rev` takes refs/rev, or the commit
 * itself.
 */
#include "checkpoint_impl.h"
#include <stdlib.h>

/* Letters, digits, '-', '_' and '.', not beginning with '.'. */
static bool word(const char *s, size_t n)
{
    if (n == 0 || n > 96 || s[0] == '.') return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool ok = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' || c == '_' || c == '.';
        if (!ok) return false;
    }
    return true;
}

static char *hub_dir(bl_err *e)
{
    const char *v;
    if ((v = getenv("HF_HUB_CACHE")) && *v) return bl_strdup(v, e);
    if ((v = getenv("HF_HOME")) && *v) return bl_join(v, "hub", e);
    if ((v = getenv("HOME")) && *v) return bl_join(v, ".cache/huggingface/hub", e);
    return bl_strdup(".cache/huggingface/hub", e);
}

bl_status bl_hub_find(const char *model, bl_arena *a, const char **dir, bl_err *e)
{
    bl_status st = BL_OK;
    char *hub = NULL, *repo = NULL, *ref = NULL, *commit = NULL, *snapshot = NULL;
    size_t n;
    const char *slash = strchr(model, '/'), *at = strchr(model, '@');
    const char *end = at ? at : model + strlen(model), *rev = at ? at + 1 : "main";

    if (!slash || slash > end || !word(model, (size_t)(slash - model)) || !word(slash + 1, (size_t)(end - slash - 1)) ||
        !word(rev, strlen(rev)))
        return bl_fail(e, BL_E_MISSING, "no file or directory '%s'", model);
    if (!(hub = hub_dir(e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    repo = bl_format_text(e, "%s/models--%.*s--%.*s", hub, (int)(slash - model), model, (int)(end - slash - 1),
                          slash + 1);
    if (!repo) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!bl_is_dir(repo)) {
        st = bl_fail(e, BL_E_MISSING,
                     "no file or directory '%s', and the Hugging Face cache has no %s (nothing is downloaded)", model,
                     repo);
        goto out;
    }
    if (!(ref = bl_format_text(e, "%s/refs/%s", repo, rev))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (bl_exists(ref)) {
        BL_TRY(bl_read_file(ref, 4096, &commit, &n, e));
        while (n && (commit[n - 1] == '\n' || commit[n - 1] == '\r' || commit[n - 1] == ' ')) commit[--n] = 0;
        if (!word(commit, strlen(commit))) {
            st = bl_fail(e, BL_E_FORMAT, "%s: does not hold the name of a commit", ref);
            goto out;
        }
    } else {
        if (!(commit = bl_strdup(rev, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        n = strlen(commit);
    }
    if (!(snapshot = bl_format_text(e, "%s/snapshots/%s", repo, commit))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!bl_is_dir(snapshot)) {
        st = bl_fail(e, BL_E_MISSING,
                     "%s is in the Hugging Face cache, but %s is not a directory; download the model again", model,
                     snapshot);
        goto out;
    }
    if (!(*dir = bl_arena_str(a, snapshot, strlen(snapshot), e))) st = BL_E_NOMEM;
out:
    bl_free(snapshot);
    bl_free(commit);
    bl_free(ref);
    bl_free(repo);
    bl_free(hub);
    return st;
}
