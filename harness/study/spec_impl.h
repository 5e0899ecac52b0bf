/* spec_impl.h - what the files of a study's specification share. */
#ifndef BL_HARNESS_STUDY_SPEC_IMPL_H
#define BL_HARNESS_STUDY_SPEC_IMPL_H
#include "spec.h"
#include "kernels/base/json.h"

/* list[n] with room for one more; it doubles, since what the arena gave out before stays there. */
bl_status bl_spec_room(bl_arena *a, void *list, size_t n, size_t size, bl_err *e);
/* One more method: a text, or an object of the document `where` with a choice for every combination of its lists. */
bl_status bl_spec_method_text(bl_spec *s, const bl_method *const *methods, const char *text, bl_err *e);
bl_status bl_spec_method_object(bl_spec *s, const bl_method *const *methods, const char *where, const bl_json *object,
                                bl_err *e);
/* A path as a shell reads it: "~" and "~/…" are in the home directory. In a study no shell has seen it. In the arena of
 * the spec; NULL: no memory. */
const char *bl_spec_path(bl_spec *s, const char *text, size_t n, bl_err *e);
/* "train" of a document whose name is `where`: its settings, and its sets on top of them. */
bl_status bl_spec_train_read(bl_spec *s, const char *where, const bl_json *v, bl_err *e);
/* --set train.NAME=VALUE: in the settings, and in the sets that do not say NAME themselves. `value` is lent. */
bl_status bl_spec_train_set(bl_spec *s, const char *name, const char *value, bl_err *e);
/* Settings beside each other, and every set that a method learns on is there. */
bl_status bl_spec_train_check(const bl_spec *s, const char *where, bl_err *e);
bl_status bl_spec_train_put(const bl_spec *s, bl_json_out *o, bl_err *e);
#endif
