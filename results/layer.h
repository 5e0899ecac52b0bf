/* layer.h - what a method says about one linear layer. The members are the lines of layer.def.
 *
 *     bl_layer_stat s = bl_layer_none;            // nothing is measured yet
 *     s.mse = 1e-4;
 *     bl_layer_put_json(&s, &out);                // {"name": "model.layers.0.mlp.up_proj", …}
 */
#ifndef BL_RESULTS_LAYER_H
#define BL_RESULTS_LAYER_H
#include "kernels/base/json.h"

typedef struct bl_layer_stat {
#define BL_LAYER_TEXT(member, meaning)                 const char *member;
#define BL_LAYER_REAL(member, unit, presence, meaning) double member;
#include "layer.def"
#undef BL_LAYER_TEXT
#undef BL_LAYER_REAL
} bl_layer_stat;
extern const bl_layer_stat bl_layer_none;

/* The lines of layer.def, for whoever writes or reads them all. */
typedef struct bl_layer_field {
    const char *name, *unit; /* unit NULL: a text */
    const char *meaning;
    bool maybe; /* below 0: not measured */
    size_t at;
} bl_layer_field;
const bl_layer_field *bl_layer_field_at(size_t i); /* NULL after the last */

/* Appends an object; what was not measured is left out. */
void bl_layer_put_json(const bl_layer_stat *s, bl_json_out *o); /* an element of an array */
/* Its inverse, texts in the arena. */
bl_status bl_layer_get_json(const bl_json *j, bl_arena *a, bl_layer_stat *out, bl_err *e);
#endif
