/* outside.c - products of shared objects as kernels of the bench; see outside.h. */
#include "bench_impl.h"
#include "outside.h"
#include "kernels/format.h"
#include <dlfcn.h>
#include <string.h>

#define OUTSIDE_NMSE 1e-4

struct bl_outside {
    void *lib;
    __typeof__(bl_outside_name) *name; /* of the library */
    __typeof__(bl_outside_prepare) *prepare;
    __typeof__(bl_outside_bytes) *bytes;
    __typeof__(bl_outside_run) *run;
    __typeof__(bl_outside_release) *release;
    bl_kernel_family family;
    bl_kernel kernel;
    /* of the case at hand */
    void *made;
    int64_t copies, at;
    bool rotate;
};

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)be;
    return !a->transpose && w->layout == 0;
}

static bl_status run(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_outside *o = (bl_outside *)(uintptr_t)f->own;
    if (!o->made)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s does not take %lld x %lld in groups of %lld", o->kernel.name,
                       (long long)a->w[0]->shape.out, (long long)a->w[0]->shape.in, (long long)a->w[0]->shape.group);
    const bool cpu = strcmp(be->ops->name, "cpu") == 0;
    char *x = (char *)a->x.buf->data + a->x.offset, *y = (char *)a->y[0].buf->data + a->y[0].offset;
    o->at = o->rotate ? (o->at + 1) % o->copies : 0;
    int code = o->run(o->made, o->at, a->x.dim[0], x, y, cpu ? NULL : be->ops->native_stream(be));
    return code ? bl_fail(e, BL_E_DEVICE, "%s: its run ended with %d", o->kernel.name, code) : BL_OK;
}

static bool entry(bl_outside *o, const char *name, void *to)
{
    void *p = dlsym(o->lib, name);
    memcpy(to, &p, sizeof p); /* POSIX promises that the two kinds of pointers look alike */
    return p != NULL;
}

bl_status bl_outside_open(const char *path, const char *format, const char *device, bl_arena *a, bl_outside **out,
                          bl_err *e)
{
    static const char *const names[] = {"bl_outside_name", "bl_outside_prepare", "bl_outside_bytes", "bl_outside_run",
                                        "bl_outside_release"};
    bl_status st = BL_OK;
    bl_outside *o = bl_new(1, sizeof *o, e);
    const bl_format *f = bl_format_find(format);
    if (!o) return BL_E_NOMEM;
    if (!f || (f->kind != BL_FMT_INT && f->kind != BL_FMT_TABLE)) {
        st = bl_fail(e, BL_E_CONFIG, "--outside-format: '%s' is no format of integers or of a table", format);
        goto out;
    }
    if (!(o->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
        st = bl_fail(e, BL_E_CONFIG, "--outside: %s", dlerror());
        goto out;
    }
    void *const to[] = {&o->name, &o->prepare, &o->bytes, &o->run, &o->release};
    for (size_t i = 0; i < BL_COUNT(names); i++)
        if (!entry(o, names[i], to[i])) {
            st = bl_fail(e, BL_E_CONFIG, "--outside: %s has no function %s; expected the five of outside.h", path,
                         names[i]);
            goto out;
        }
    o->family = (bl_kernel_family){.op = "linear",
                                   .backend = device && strcmp(device, "cpu") != 0 ? "cuda" : "cpu",
                                   .doc = "of a shared object",
                                   .nmse_limit = OUTSIDE_NMSE,
                                   .applicable = applicable,
                                   .run = run,
                                   .own = o};
    const char *name = o->name();
    o->kernel = (bl_kernel){.name = bl_arena_str(a, name, strlen(name), e), .family = &o->family, .format = f};
    if (!o->kernel.name) {
        st = BL_E_NOMEM;
        goto out;
    }
    *out = o;
    o = NULL;
out:
    bl_outside_close(o);
    return st;
}

void bl_outside_close(bl_outside *o)
{
    if (!o) return;
    if (o->made) o->release(o->made);
    if (o->lib) dlclose(o->lib);
    bl_free(o);
}

const bl_kernel *bl_outside_kernel(const bl_outside *o) { return &o->kernel; }

static bl_outside *outside_of(const bl_kernel *k)
{
    return k->family->run == run ? (bl_outside *)(uintptr_t)k->family->own : NULL;
}

bool bl_outside_is(const bl_kernel *k) { return outside_of(k) != NULL; }

void bl_outside_drop(const bl_kernel *k)
{
    bl_outside *o = outside_of(k);
    if (!o || !o->made) return;
    o->release(o->made);
    o->made = NULL;
}

void bl_outside_rotate(const bl_kernel *k, bool cold)
{
    bl_outside *o = outside_of(k);
    if (o) o->rotate = cold;
}

double bl_outside_moved(const bl_kernel *k, const bl_kernel_shape *s)
{
    const bl_outside *o = outside_of(k);
    if (!o || !o->made) return bl_kernel_bytes(k, s);
    double act = strcmp(k->family->backend, "cpu") == 0 ? 4 : 2;
    return o->bytes(o->made) + act * (double)s->rows * (double)(s->in + s->out);
}

/* The weight as numbers: a row of values at a time from the backend, codes from its parts. */
static bl_status weight_of(bl_backend *be, const bl_weight *w, uint8_t *codes, float *scales, float *zeros,
                           float *values, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_shape *g = &w->shape;
    const int64_t groups = bl_shape_groups(g);
    void *part[BL_MAX_PARTS] = {NULL};
    const void *parts[BL_MAX_PARTS] = {NULL};
    bl_buffer *b = NULL;
    for (int i = 0; i < w->n_parts; i++) {
        if (!(part[i] = bl_new(bl_tensor_bytes(&w->part[i]) + 64, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(be->ops->download(be, &w->part[i], part[i], e));
        parts[i] = part[i];
    }
    BL_TRY(be->ops->buffer_new(be, (uint64_t)g->in * sizeof *values, &b, e));
    bl_tensor one = bl_tensor_2d(b, 0, BL_F32, 1, g->in);
    for (int64_t o = 0; o < g->out; o++) {
        BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = w, .row0 = o, .rows = 1, .y = one}, e));
        BL_TRY(be->ops->download(be, &one, values + o * g->in, e));
        if (w->format->kind == BL_FMT_INT)
            bl_int_decode(w->format, g, parts, o, codes + o * g->in, scales + o * groups, zeros + o * groups);
    }
out:
    for (int i = 0; i < w->n_parts; i++) bl_free(part[i]);
    be->ops->buffer_free(b);
    return st;
}

bl_status bl_outside_make(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, uint64_t cold_bytes, bool *taken,
                          bl_err *e)
{
    bl_status st = BL_OK;
    bl_outside *o = outside_of(k);
    const bl_shape *g = &c->w.shape;
    const size_t n = (size_t)(g->out * g->in), groups = (size_t)(g->out * bl_shape_groups(g));
    uint8_t *codes = NULL;
    float *scales = NULL, *zeros = NULL, *values = NULL;
    bl_device_info info = {.threads = 1};
    *taken = true;
    if (!o) return BL_OK;
    bl_outside_drop(k);
    be->ops->device_info(be, &info);
    if (!(codes = bl_new(n, 1, e)) || !(scales = bl_new(groups, sizeof *scales, e)) ||
        !(zeros = bl_new(groups, sizeof *zeros, e)) || !(values = bl_new(n, sizeof *values, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(weight_of(be, &c->w, codes, scales, zeros, values, e));
    o->copies = (int64_t)BL_MAX(2, (cold_bytes + bl_weight_bytes(&c->w) - 1) / bl_weight_bytes(&c->w));
    o->at = 0;
    o->made = o->prepare(&(bl_outside_case){.version = BL_OUTSIDE_VERSION,
                                            .device = k->family->backend,
                                            .threads = info.threads,
                                            .format = k->format->name,
                                            .rows = c->shape.rows,
                                            .out = g->out,
                                            .in = g->in,
                                            .group = g->group,
                                            .bits = k->format->bits,
                                            .codes = codes,
                                            .scales = scales,
                                            .zeros = zeros,
                                            .values = values,
                                            .copies = o->copies});
    *taken = o->made != NULL;
out:
    bl_free(codes);
    bl_free(scales);
    bl_free(zeros);
    bl_free(values);
    return st;
}
