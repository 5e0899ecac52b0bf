/* layout.c - what every reader of a container does: map a file, put a parameter into the list, note what is odd. */
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <ctype.h>

bl_stored bl_stored_whole(const bl_param *s, const bl_format *f, int file, uint64_t offset, uint64_t bytes)
{
    return (bl_stored){.name = s->name,
                       .role = s->role,
                       .block = s->block,
                       .format = f,
                       .shape = {.out = s->out, .in = s->in},
                       .vector = s->vector,
                       .n_parts = 1,
                       .part = {{.file = file, .offset = offset, .bytes = bytes}}};
}

bl_status bl_checkpoint_put(bl_checkpoint *c, const bl_stored *s, bl_err *e)
{
    bl_status st = s->format->check(s->format, &s->shape, e);
    if (st != BL_OK) {
        bl_within(e, "%s: tensor '%s'", c->path, s->name);
        if (e) e->status = BL_E_FORMAT;
        return BL_E_FORMAT;
    }
    if ((st = bl_grow(&c->stored, &c->cap, c->n + 1, sizeof *c->stored, e)) != BL_OK) return st;
    c->stored[c->n] = *s;
    if (!(c->stored[c->n].name = bl_arena_str(c->arena, s->name, strlen(s->name), e))) return BL_E_NOMEM;
    c->n++;
    return BL_OK;
}

bl_status bl_checkpoint_map(bl_checkpoint *c, const char *path, int *file, bl_err *e)
{
    bl_status st = bl_grow(&c->map, &c->cap_maps, c->n_maps + 1, sizeof *c->map, e);
    if (st == BL_OK) st = bl_map_open(path, &c->map[c->n_maps], e);
    if (st == BL_OK) *file = (int)(c->n_given = ++c->n_maps) - 1;
    return st;
}

void bl_stored_text(const bl_format *f, const bl_shape *shape, char out[64])
{
    if (f->kind == BL_FMT_DENSE) { /* fp32 -> F32, bf16 -> BF16 */
        snprintf(out, 64, "%s%d", f->name[0] == 'b' ? "BF" : "F", f->bits);
        return;
    }
    int n = snprintf(out, 64, "%s", f->name);
    if (f->kind == BL_FMT_BLOCK)
        for (char *p = out; *p; p++) *p = (char)toupper((unsigned char)*p);
    else if (shape->group >= shape->in) n += snprintf(out + n, 64 - (size_t)n, " pc");
    else if (shape->group) n += snprintf(out + n, 64 - (size_t)n, " g%" PRId64, shape->group);
    if (f->coded_scales)
        snprintf(out + n, 64 - (size_t)n, " s%d/%" PRId64, bl_shape_scale_bits(shape), bl_shape_scale_group(shape));
}

bl_status bl_checkpoint_note(bl_checkpoint *c, bl_log_level level, const char *sentence, bl_err *e)
{
    bl_log(level, "%s: %s", c->path, sentence);
    char *both = bl_format_text(e, "%s%s%s", c->notes ? c->notes : "", c->notes ? "; " : "", sentence);
    if (!both) return BL_E_NOMEM;
    c->notes = bl_arena_str(c->arena, both, strlen(both), e);
    bl_free(both);
    return c->notes ? BL_OK : BL_E_NOMEM;
}
