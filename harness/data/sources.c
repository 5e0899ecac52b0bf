/* sources.c - the named texts, in the order of sources.def. */
#include "data_impl.h"
#include <string.h>

#define BL_SOURCE(id, ...)                                                                                             \
    bl_status bl_source_load_##id(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e);
#define BL_TEXT BL_SOURCE
#include "sources.def"
#undef BL_TEXT
#undef BL_SOURCE

#define BL_SOURCE(id, name, split, doc, where, ...) static const char *const id##_conventions[] = {__VA_ARGS__, NULL};
#define BL_TEXT(...)
#include "sources.def"
#undef BL_TEXT
#undef BL_SOURCE
static const char *const no_conventions[] = {NULL};

static const bl_source sources[] = {
#define BL_SOURCE(id, name, split, doc, where, ...)                                                                    \
    {name, split, name ":" split, doc, where, id##_conventions, bl_source_load_##id},
#define BL_TEXT(id, name, split, doc, where)                                                                           \
    {name, split, name ":" split, doc, where, no_conventions, bl_source_load_##id},
#include "sources.def"
#undef BL_TEXT
#undef BL_SOURCE
};

const bl_source *bl_source_at(size_t i) { return i < BL_COUNT(sources) ? &sources[i] : NULL; }

const bl_source *bl_source_find(const char *text)
{
    for (size_t i = 0; i < BL_COUNT(sources); i++)
        if (!strcmp(sources[i].id, text) || (sources[i].conventions[0] && !strcmp(sources[i].name, text)))
            return &sources[i];
    return NULL;
}

const char *bl_source_own_path(const char *text)
{
    static const char mark[] = "file:";
    return text && strncmp(text, mark, sizeof mark - 1) == 0 ? text + sizeof mark - 1 : NULL;
}

bl_status bl_source_for_calibration(const char *text, const bl_source **out, bl_err *e)
{
    const char *names[BL_COUNT(sources) + 1] = {0}, *near;
    bl_text splits = {0};
    const bl_source *only = NULL;
    int n_splits = 0;
    bl_status st;

    for (size_t i = 0; i < BL_COUNT(sources); i++)
        if (!strcmp(sources[i].id, text) || (!strcmp(sources[i].name, text) && !strcmp(sources[i].split, "train"))) {
            *out = &sources[i];
            return BL_OK;
        }
    for (size_t i = 0; i < BL_COUNT(sources); i++) {
        const bl_source *s = &sources[i];
        names[i] = s->id;
        if (strcmp(s->name, text) != 0) continue;
        bl_text_addf(&splits, "%s%s", splits.n ? ", " : "", s->id);
        only = n_splits++ == 0 ? s : NULL;
    }
    if (only) {
        *out = only;
        st = BL_OK;
    } else if (splits.n) {
        st = bl_fail(e, BL_E_CONFIG, "calibration text '%s' has no training split; there is: %s", text, splits.s);
    } else {
        near = bl_nearest(text, names);
        st = bl_fail(e, BL_E_CONFIG, "no calibration text '%s'%s%s%s", text, near ? "; did you mean " : "",
                     near ? near : "; see: bitladder list texts", near ? "?" : "");
    }
    bl_text_free(&splits);
    return st;
}

const char *bl_source_note(int oddities)
{
    static const char *const notes[] = {
        [BL_TEXT_MARK] = "the data file begins with a byte order mark, which is read as text",
        [BL_TEXT_CRLF] = "lines of the data file end in CR LF; the CR is read as text",
        [BL_TEXT_MARK |
            BL_TEXT_CRLF] = "the data file begins with a byte order mark and its lines end in CR LF; both are "
                            "read as text",
    };
    return notes[oddities];
}
