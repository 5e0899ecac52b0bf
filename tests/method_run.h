/* method_run.h - one made-up linear on the CPU, and a method applied to it. */
#ifndef BL_TESTS_METHOD_RUN_H
#define BL_TESTS_METHOD_RUN_H
#include "test.h"
#include "methods/registry.h"

typedef struct method_run {
    bl_backend *be;
    bl_arena *scratch;
    bl_model model;
    bl_linear lin;
    bl_method_choice choice;
    bl_method_run run;
    bl_layer_stat stat;
} method_run;

/* w [out, in], or NULL: shapes only. */
static inline void method_open(method_run *m, const char *text, const float *w, int64_t out, int64_t in)
{
    bl_err e = {0};
    bl_shape g = {.out = out, .in = in};
    memset(m, 0, sizeof *m);
    assert_ok(bl_method_parse(bl_methods, text, &m->choice, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &m->be, &e));
    assert_ok(bl_arena_new(&m->scratch, &e));
    m->lin = (bl_linear){.name = "model.layers.0.mlp.up_proj", .role = BL_ROLE_UP, .in = in, .out = out};
    if (!w) m->lin.weight = (bl_weight){.format = bl_format_find("fp32"), .shape = g};
    else {
        assert_ok(bl_weight_new(m->be, bl_format_find("fp32"), &g, &m->lin.weight, &e));
        assert_ok(m->be->ops->upload(m->be, &m->lin.weight.part[0], w, &e));
    }
    m->model = (bl_model){.n_linears = 1, .linears = &m->lin, .be = m->be};
    m->run = (bl_method_run){.method = m->choice.method,
                             .opts = m->choice.opts,
                             .model = &m->model,
                             .ops = m->be->ops,
                             .be = m->be,
                             .scratch = m->scratch};
}

static inline void method_apply(method_run *m)
{
    bl_err e = {0};
    if (m->run.method->check) assert_ok(m->run.method->check(&m->run, &e));
    assert_ok(m->run.method->layer(&m->run, &m->lin, &m->stat, &e));
}

/* Host addresses of the parts; lent until method_close. */
static inline void method_parts(const method_run *m, const void *part[BL_MAX_PARTS])
{
    bl_err e = {0};
    for (int i = 0; i < m->lin.weight.n_parts; i++) {
        void *p = bl_alloc(m->scratch, bl_tensor_bytes(&m->lin.weight.part[i]) + 64, 1, &e);
        assert_non_null(p);
        assert_ok(m->be->ops->download(m->be, &m->lin.weight.part[i], p, &e));
        part[i] = p;
    }
}

/* What the stored weight is worth: f32 [out, in]. */
static inline float *method_dense(const method_run *m)
{
    bl_err e = {0};
    const bl_weight *w = &m->lin.weight;
    const void *part[BL_MAX_PARTS];
    float *v = bl_alloc(m->scratch, (size_t)(w->shape.out * w->shape.in), sizeof *v, &e);
    assert_non_null(v);
    method_parts(m, part);
    for (int64_t r = 0; r < w->shape.out; r++)
        w->format->unpack(w->format, &w->shape, part, r, 0, w->shape.in, v + r * w->shape.in);
    return v;
}

static inline void method_close(method_run *m)
{
    bl_weight_free(&m->lin.weight);
    bl_linear_clear_transforms(&m->lin);
    bl_linear_clear_adapters(&m->lin);
    bl_arena_free(m->scratch);
    bl_backend_close(m->be);
    bl_method_choice_free(&m->choice);
}
#endif
