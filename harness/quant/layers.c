/* layers.c - layers.json of a saved model: what each layer got. */
#include "apply.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"

bl_status bl_quantize_print_layers(const bl_layer_stat *layer, int64_t n, double seconds, bl_text *t, bl_err *e)
{
    bl_json_out o = {.t = t};
    bl_json_object(&o, NULL);
    bl_json_add_str(&o, "schema", "bitladder-layers");
    bl_json_add_real(&o, "seconds", seconds);
    bl_json_lines(&o, "layers");
    for (int64_t i = 0; i < n; i++) bl_layer_put_json(&layer[i], &o);
    bl_json_end(&o);
    bl_json_end(&o);
    bl_text_add(t, "\n");
    return bl_text_check(t, e);
}

bl_status bl_quantize_layers(const char *dir, bl_arena *a, bl_layer_stat **out, int64_t *n, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    const bl_json *list;
    char *path = bl_join(dir, BL_LAYERS_FILE, e);

    if (!path) return BL_E_NOMEM;
    if (!bl_exists(path)) {
        st = bl_fail(e, BL_E_FORMAT, "%s is missing; a saved model has it beside bitladder.json", path);
        goto out;
    }
    BL_TRY(bl_json_read(path, 1 << 28, BL_JSON_PLAIN, &doc, e));
    BL_TRY(bl_json_get_real(doc, "seconds", seconds, e));
    BL_TRY(bl_json_need(doc, "layers", &list, e));
    if (bl_json_kind(list) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "%s: 'layers' is no list", path);
        goto out;
    }
    bl_layer_stat *layer = bl_alloc(a, bl_json_size(list), sizeof *layer, e);
    if (!layer) {
        st = BL_E_NOMEM;
        goto out;
    }
    int64_t i = 0;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v), i++)
        BL_TRY(bl_layer_get_json(v, a, &layer[i], e));
    *out = layer;
    *n = i;
out:
    bl_free(path);
    bl_json_free(doc);
    return st;
}
