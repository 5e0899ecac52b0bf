/* unpacker.c - packed linears of other programs into the arrangement of our integer formats, code for code.
 *
 * Every layout is a field of b bits in a stream of 32-bit words that begins somewhere and goes on in steps: down a
 * column (gptq's codes, compressed-tensors' zeros) or along a row (gptq's zeros, compressed-tensors' codes); awq has
 * its fields of a word in an order of its own.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static const int awq_field[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* field that holds output k of its eight */

struct bl_unpacker {
    bl_checkpoint *c;
    const bl_packing *p;
    bl_find_tensor *find;
    void *ctx;
    char *path;
    bl_writer *w;
    uint64_t at; /* bytes written */
};

/* One linear. */
typedef struct linear {
    const bl_param *s;
    bl_found codes, zeros, scales, groups; /* groups: g_idx */
    bl_shape shape;
    const bl_format *format;
    int32_t *order; /* input that column i of ours is; NULL: i */
} linear;

bl_status bl_unpacker_new(bl_checkpoint *c, const bl_packing *p, bl_find_tensor *find, void *ctx, bl_unpacker **out,
                          bl_err *e)
{
    static unsigned number;
    bl_status st = BL_OK;
    const char *dir = getenv("TMPDIR");
    bl_unpacker *u = bl_new(1, sizeof *u, e);
    if (!u) return BL_E_NOMEM;
    *u = (bl_unpacker){.c = c, .p = p, .find = find, .ctx = ctx};
    u->path = bl_format_text(e, "%s/bitladder-unpacked-%ld-%u", dir && *dir ? dir : "/tmp", (long)getpid(),
                             __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
    if (!u->path) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_writer_open(u->path, &u->w, e));
    *out = u;
    u = NULL;
out:
    bl_unpacker_free(u);
    return st;
}

void bl_unpacker_free(bl_unpacker *u)
{
    if (!u) return;
    bl_writer_drop(u->w);
    bl_free(u->path);
    bl_free(u);
}

bl_status bl_unpacker_end(bl_unpacker *u, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *c = u->c;
    int file;
    size_t given = c->n_given;
    BL_TRY(bl_writer_commit(u->w, e));
    u->w = NULL;
    st = bl_checkpoint_map(c, u->path, &file, e);
    c->n_given = given;
    (void)unlink(u->path);
out:
    return st;
}

/* ---- fields ---- */
static unsigned field(const uint8_t *words, int64_t first, int64_t step, int64_t i, int b)
{
    int64_t bit = i * b, w = first + bit / 32 * step;
    int at = (int)(bit % 32);
    uint64_t v = bl_u32_at(words + 4 * w);
    if (at + b > 32) v |= (uint64_t)bl_u32_at(words + 4 * (w + step)) << 32;
    return (unsigned)(v >> at) & ((1u << b) - 1);
}

static void put(uint8_t *row, int b, int64_t i, unsigned v)
{
    int64_t bit = i * b;
    unsigned both = v << (bit & 7);
    row[bit >> 3] |= (uint8_t)both;
    if (both >> 8) row[(bit >> 3) + 1] |= (uint8_t)(both >> 8);
}

static unsigned code_at(const bl_packing *p, const linear *l, int64_t row, int64_t col)
{
    const uint8_t *w = l->codes.data;
    int64_t out = l->shape.out;
    switch (p->kind) {
    case BL_PACKED_AWQ: return bl_u32_at(w + 4 * (col * (out / 8) + row / 8)) >> 4 * awq_field[row % 8] & 15;
    case BL_PACKED_CT: return field(w, row * l->codes.t->dim[1], 1, col, p->bits);
    default: return field(w, row, out, col, p->bits);
    }
}

static unsigned zero_at(const bl_packing *p, const linear *l, int64_t row, int64_t group)
{
    const uint8_t *w = l->zeros.data;
    int64_t wide = l->zeros.t->dim[1], at = row * p->bits;
    unsigned mask = (1u << p->bits) - 1;
    switch (p->kind) {
    case BL_PACKED_AWQ: return bl_u32_at(w + 4 * (group * wide + row / 8)) >> 4 * awq_field[row % 8] & 15;
    case BL_PACKED_CT: return field(w, group, wide, row, p->bits);
    case BL_PACKED_GPTQ:
        if (32 % p->bits) return (field(w, group * wide, 1, row, p->bits) + 1) & mask;
        /* a zero of 0 borrowed from its neighbour when 1 was subtracted from the word */
        return (bl_u32_at(w + 4 * (group * wide + at / 32)) + UINT32_MAX / mask) >> at % 32 & mask;
    default: return field(w, group * wide, 1, row, p->bits);
    }
}

/* ---- what is there ---- */
static bl_status expect(const bl_found *f, const char *dtype, int64_t d0, int64_t d1, bl_err *e)
{
    int ndim = d1 ? 2 : 1;
    if (f->t->ndim == ndim && f->t->dim[0] == d0 && (!d1 || f->t->dim[1] == d1) &&
        (!dtype || !strcmp(f->t->dtype_name, dtype)))
        return BL_OK;
    bl_text found = {0}, want = {0};
    for (int i = 0; i < f->t->ndim; i++) bl_text_addf(&found, "%s%" PRId64, i ? ", " : "", f->t->dim[i]);
    bl_text_addf(&want, d1 ? "%" PRId64 ", %" PRId64 : "%" PRId64, d0, d1);
    bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is %s [%s], expected %s [%s]", f->file, f->t->name, f->t->dtype_name,
            found.s ? found.s : "", dtype ? dtype : "F16, BF16 or F32", want.s ? want.s : "");
    bl_text_free(&found);
    bl_text_free(&want);
    return BL_E_FORMAT;
}

static bl_found look(bl_unpacker *u, const bl_param *s, const char *part)
{
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(s->name) - strlen("weight")), s->name, part);
    bl_found f = u->find(u->ctx, name);
    if (f.t) f.t->used = true;
    return f;
}

static bl_status need(bl_unpacker *u, const bl_param *s, const char *part, bl_found *out, bl_err *e)
{
    *out = look(u, s, part);
    if (out->t) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "%s: tensor '%.*s%s' is missing", u->c->path,
                   (int)(strlen(s->name) - strlen("weight")), s->name, part);
}

static int64_t words(int64_t n, int bits) { return (n * bits + 31) / 32; }

/* The tensors of a linear, each of its type and shape. */
static bl_status gather(bl_unpacker *u, linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_param *s = l->s;
    const bl_packing *p = u->p;
    bool ct = p->kind == BL_PACKED_CT, awq = p->kind == BL_PACKED_AWQ;
    int64_t groups;
    char name[8];

    snprintf(name, sizeof name, "int%d", p->bits);
    l->format = bl_format_find(name);
    l->shape = (bl_shape){.out = s->out, .in = s->in, .group = p->group < 0 ? s->in : BL_MIN(p->group, s->in)};
    l->shape.zero = p->symmetric ? BL_ZERO_NONE : BL_ZERO_PACKED;
    groups = bl_shape_groups(&l->shape);
    if (!ct && ((s->out * p->bits) % 32 || (!awq && (s->in * p->bits) % 32)))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: tensor '%s' packs %" PRId64 " outputs and %" PRId64 " inputs of %d bits, expected whole "
                       "words of 32",
                       l->codes.file, l->codes.t->name, s->out, s->in, p->bits);
    BL_TRY(need(u, s, ct ? "weight_scale" : "scales", &l->scales, e));
    if (!(ct && p->symmetric)) BL_TRY(need(u, s, ct ? "weight_zero_point" : "qzeros", &l->zeros, e));
    if (!awq) l->groups = look(u, s, ct ? "weight_g_idx" : "g_idx");
    if (ct) {
        bl_found shape;
        BL_TRY(need(u, s, "weight_shape", &shape, e));
        if (strcmp(shape.t->dtype_name, "I32")) BL_TRY(expect(&shape, "I64", 2, 0, e));
        else BL_TRY(expect(&shape, "I32", 2, 0, e));
        bool wide = shape.t->dtype == BL_I64;
        for (int i = 0; i < 2; i++) {
            int64_t d = wide ? (int64_t)bl_u64_at(shape.data + 8 * i) : (int32_t)bl_u32_at(shape.data + 4 * i);
            if (d != (i ? s->in : s->out))
                return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s'[%d] is %" PRId64 ", expected %" PRId64, shape.file,
                               shape.t->name, i, d, i ? s->in : s->out);
        }
        BL_TRY(expect(&l->codes, "I32", s->out, words(s->in, p->bits), e));
        if (l->zeros.t) BL_TRY(expect(&l->zeros, "I32", words(s->out, p->bits), groups, e));
    } else {
        BL_TRY(expect(&l->codes, "I32", awq ? s->in : words(s->in, p->bits), awq ? s->out / 8 : s->out, e));
        BL_TRY(expect(&l->zeros, "I32", groups, words(s->out, p->bits), e));
    }
    BL_TRY(expect(&l->scales, NULL, ct ? s->out : groups, ct ? groups : s->out, e));
    l->shape.scale = l->scales.t->dtype;
    if (l->shape.scale != BL_F16 && l->shape.scale != BL_BF16 && l->shape.scale != BL_F32)
        return expect(&l->scales, "F16, BF16 or F32", ct ? s->out : groups, ct ? groups : s->out, e);
    if (l->groups.t) BL_TRY(expect(&l->groups, "I32", s->in, 0, e));
out:
    return st;
}

/* Where every zero is said to be in the middle it is. */
static bl_status check_symmetric(const bl_packing *p, const linear *l, bl_err *e)
{
    unsigned middle = 1u << (p->bits - 1);
    int64_t groups = bl_shape_groups(&l->shape);
    if (!p->symmetric || !l->zeros.t) return BL_OK;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < l->shape.out; r++) {
            unsigned z = zero_at(p, l, r, g);
            if (z != middle)
                return bl_fail(e, BL_E_FORMAT,
                               "%s: tensor '%s': the zero of output %" PRId64 ", group %" PRId64
                               " is %u, expected %u in a symmetric checkpoint",
                               l->zeros.file, l->zeros.t->name, r, g, z, middle);
        }
    return BL_OK;
}

/* Inputs group by group, in their own order within one. */
static bl_status sort_inputs(linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(&l->shape), in = l->shape.in, *next = NULL;
    bool plain = true;
    if (!l->groups.t) return BL_OK;
    if (!(next = bl_new((size_t)groups, sizeof *next, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < in; i++) {
        int32_t g = (int32_t)bl_u32_at(l->groups.data + 4 * i);
        if (g < 0 || g >= groups) {
            st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s'[%" PRId64 "] is group %d, expected 0 to %" PRId64,
                         l->groups.file, l->groups.t->name, i, g, groups - 1);
            goto out;
        }
        plain = plain && g == i / l->shape.group;
        next[g]++;
    }
    for (int64_t g = 0; g < groups; g++) {
        int64_t want = BL_MIN(l->shape.group, in - g * l->shape.group);
        if (next[g] != want) {
            st = bl_fail(e, BL_E_FORMAT,
                         "%s: tensor '%s' has %" PRId64 " inputs in group %" PRId64 ", expected %" PRId64,
                         l->groups.file, l->groups.t->name, next[g], g, want);
            goto out;
        }
        next[g] = g * l->shape.group;
    }
    if (plain) goto out;
    if (!(l->order = bl_new((size_t)in, sizeof *l->order, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < in; i++) l->order[next[bl_u32_at(l->groups.data + 4 * i)]++] = (int32_t)i;
out:
    bl_free(next);
    return st;
}

/* ---- into our arrangement ---- */
static bl_status write_part(bl_unpacker *u, const void *p, uint64_t n, bl_extent *x, bl_err *e)
{
    static const uint8_t nothing[64];
    bl_status st = bl_writer_add(u->w, p, n, e);
    *x = (bl_extent){.file = (int)u->c->n_maps, .offset = u->at, .bytes = n};
    uint64_t fill = (64 - n % 64) % 64;
    if (st == BL_OK) st = bl_writer_add(u->w, nothing, fill, e);
    u->at += n + fill;
    return st;
}

static void fill(const bl_packing *p, const linear *l, const bl_part_spec *spec, uint8_t *const part[])
{
    int64_t groups = bl_shape_groups(&l->shape), size = (int64_t)bl_dtype_bytes(l->shape.scale);
    for (int64_t r = 0; r < l->shape.out; r++) {
        uint8_t *codes = part[0] + r * spec[0].cols;
        for (int64_t i = 0; i < l->shape.in; i++) put(codes, p->bits, i, code_at(p, l, r, l->order ? l->order[i] : i));
        for (int64_t g = 0; g < groups; g++) {
            int64_t at = p->kind == BL_PACKED_CT ? r * groups + g : g * l->shape.out + r;
            memcpy(part[1] + (r * groups + g) * size, l->scales.data + at * size, (size_t)size);
            if (part[2]) put(part[2] + r * spec[2].cols, p->bits, g, zero_at(p, l, r, g));
        }
    }
}

static bl_status permute(bl_unpacker *u, const linear *l, bl_stored *t, bl_err *e)
{
    bl_stored_transform *x = bl_alloc(u->c->arena, 1, sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    x->t = (bl_transform){.kind = BL_T_PERMUTE,
                          .in = l->shape.in,
                          .out = l->shape.in,
                          .data = bl_tensor_1d(NULL, 0, BL_I32, l->shape.in)};
    t->transform = x;
    t->n_transforms = 1;
    return write_part(u, l->order, 4 * (uint64_t)l->shape.in, &x->extent, e);
}

static bl_status unpack(bl_unpacker *u, linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    uint8_t *part[BL_MAX_PARTS] = {0};
    bl_stored t;
    BL_TRY(gather(u, l, e));
    BL_TRY(check_symmetric(u->p, l, e));
    BL_TRY(sort_inputs(l, e));
    t = bl_stored_whole(l->s, l->format, 0, 0, 0);
    t.shape = l->shape;
    BL_TRY(l->format->check(l->format, &l->shape, e));
    t.n_parts = l->format->parts(l->format, &l->shape, spec);
    for (int i = 0; i < t.n_parts; i++)
        if (!(part[i] = bl_new((size_t)(spec[i].rows * spec[i].cols), bl_dtype_bytes(spec[i].dtype), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    fill(u->p, l, spec, part);
    for (int i = 0; i < t.n_parts; i++)
        BL_TRY(write_part(u, part[i], (uint64_t)(spec[i].rows * spec[i].cols) * bl_dtype_bytes(spec[i].dtype),
                          &t.part[i], e));
    if (l->order) BL_TRY(permute(u, l, &t, e));
    BL_TRY(bl_checkpoint_put(u->c, &t, e));
out:
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    bl_free(l->order);
    return st;
}

bl_status bl_unpacker_put(bl_unpacker *u, const bl_param *s, bool *is, bl_err *e)
{
    bl_role_kind kind = bl_roles[s->role].kind;
    linear l = {.s = s};
    *is = false;
    if (kind != BL_KIND_LINEAR && kind != BL_KIND_HEAD) return BL_OK;
    l.codes = look(u, s, u->p->kind == BL_PACKED_CT ? "weight_packed" : "qweight");
    *is = l.codes.t != NULL;
    return *is ? unpack(u, &l, e) : BL_OK;
}
