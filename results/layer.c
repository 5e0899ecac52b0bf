/* layer.c - layer statistics by the table of layer.def. */
#include "layer.h"
#include <string.h>

enum { ALWAYS, MAYBE };

const bl_layer_stat bl_layer_none = {
#define BL_LAYER_TEXT(member, meaning)                 .member = NULL,
#define BL_LAYER_REAL(member, unit, presence, meaning) .member = (presence) == MAYBE ? -1 : 0,
#include "layer.def"
#undef BL_LAYER_TEXT
#undef BL_LAYER_REAL
};

static const bl_layer_field fields[] = {
#define BL_LAYER_TEXT(member, meaning) {#member, NULL, meaning, false, offsetof(bl_layer_stat, member)},
#define BL_LAYER_REAL(member, unit, presence, meaning)                                                                 \
    {#member, unit, meaning, (presence) == MAYBE, offsetof(bl_layer_stat, member)},
#include "layer.def"
#undef BL_LAYER_TEXT
#undef BL_LAYER_REAL
};

const bl_layer_field *bl_layer_field_at(size_t i) { return i < BL_COUNT(fields) ? &fields[i] : NULL; }

void bl_layer_put_json(const bl_layer_stat *s, bl_json_out *o)
{
    bl_json_object(o, NULL);
    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        const void *at = (const char *)s + fields[i].at;
        const char *text = fields[i].unit ? NULL : *(const char *const *)at;
        if (fields[i].maybe && *(const double *)at < 0) continue;
        if (fields[i].unit) bl_json_add_real(o, fields[i].name, *(const double *)at);
        else bl_json_add_str(o, fields[i].name, text ? text : "");
    }
    bl_json_end(o);
}

bl_status bl_layer_get_json(const bl_json *j, bl_arena *a, bl_layer_stat *out, bl_err *e)
{
    bl_layer_stat s = bl_layer_none;
    bl_status st = BL_OK;

    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        void *at = (char *)&s + fields[i].at;
        const char *text;
        if (fields[i].maybe && !bl_json_get(j, fields[i].name)) continue;
        if (fields[i].unit) {
            BL_TRY(bl_json_get_real(j, fields[i].name, at, e));
            continue;
        }
        BL_TRY(bl_json_get_str(j, fields[i].name, &text, e));
        if (!(*(const char **)at = bl_arena_str(a, text, strlen(text), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    *out = s;
out:
    return st;
}
