/* Weights on a learned grid beside what the authors' code of EfficientQAT and LR-QAT computed: where they begin,
 * products, gradients, integers. */
#include "golden_file.h"
#include "harness/train/effective.h"
#include "kernels/grid_both.h"
#include "method_run.h"
#include <math.h>

enum { ROWS = 16 };
typedef struct layer {
    method_run m;
    bl_trainable *t;
    int64_t out, in;
} layer;
static const struct {
    const char *name;
    int64_t out, in;
} weights[] = {{"tiny_gate", 128, 128}, {"smol_k", 32, 576}};

static const void *part(const golden *g, const char *type, int64_t n, const char *f, ...)
{
    char key[96];
    va_list a;
    va_start(a, f);
    vsnprintf(key, sizeof key, f, a);
    va_end(a);
    return golden_need(g, key, type, n);
}

static void layer_open(layer *l, int which, const float *w)
{
    bl_err e = {0};
    l->out = weights[which].out;
    l->in = weights[which].in;
    method_open(&l->m, "rtn", w, l->out, l->in);
    assert_ok(bl_trainable_new(&l->m.model, &l->t, &e));
}

static void layer_close(layer *l)
{
    bl_trainable_free(l->t);
    method_close(&l->m);
}

static bl_tensor on(const layer *l, int64_t rows, int64_t cols, const float *x)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(l->m.be->ops->buffer_new(l->m.be, (uint64_t)(rows * cols) * sizeof(float) + 64, &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    if (x) assert_ok(l->m.be->ops->upload(l->m.be, &t, x, &e));
    return t;
}

static float *value(const layer *l, int k) { return l->t->param[l->t->w[0].param[k]].value.buf->data; }
static const float *grad(const layer *l, int k) { return l->t->param[l->t->w[0].param[k]].grad.buf->data; }

/* Scales that are a part of the packed weight. */
static float *value_of_scales(const layer *l)
{
    const bl_tensor *v = &l->t->param[l->t->w[0].param[0]].value;
    return (float *)(void *)((char *)v->buf->data + v->offset);
}

static void assert_near(const char *what, const float *x, const float *want, int64_t n, double tolerance)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - want[i]) <= tolerance * top))
            fail_msg("%s: element %lld is %.9g, recorded %.9g", what, (long long)i, (double)x[i], (double)want[i]);
}

/* y and, where recorded, dx. */
static void pass(layer *l, const float *x, const float *dy, const float *y, const float *dx)
{
    bl_err e = {0};
    bl_tensor tx = on(l, ROWS, l->in, x), tdy = on(l, ROWS, l->out, dy), ty = on(l, ROWS, l->out, NULL),
              tdx = on(l, ROWS, l->in, NULL), *all[] = {&tx, &tdy, &ty, &tdx};
    assert_ok(bl_effective_forward(l->t, l->t->w, 0, tx, ty, false, &e));
    assert_near("y", ty.buf->data, y, ROWS * l->out, 1e-5);
    assert_ok(bl_effective_backward(l->t, l->t->w, tx, tdy, tdx, false, &e));
    if (dx) assert_near("dx", tdx.buf->data, dx, ROWS * l->in, 1e-5);
    for (int i = 0; i < 4; i++) l->m.be->ops->buffer_free(all[i]->buf);
}

/* Codes of what products are with are the recorded ones but for near ties. */
static void same_codes(layer *l, const bl_grid *grid, const uint8_t *codes)
{
    bl_err e = {0};
    bl_tensor y = on(l, l->out, l->in, NULL);
    const float *w = y.buf->data;
    const int64_t groups = l->in / grid->group;
    int64_t other = 0;
    assert_ok(l->t->w[0].rule->make(l->t, l->t->w, y, &e));
    for (int64_t i = 0; i < l->out * l->in; i++) {
        const int64_t k = i / l->in * groups + i % l->in / grid->group;
        const bl_grid_group g = bl_grid_of(grid->kind, grid->bits, grid->half, value(l, 1)[k], value(l, 2)[k]);
        other += rintf(w[i] / g.s + g.z) != codes[i];
    }
    assert_true(other <= l->out * l->in / 5000);
    l->m.be->ops->buffer_free(y.buf);
}

static void blocks_of_efficientqat_are_those_of_its_authors(void **state)
{
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/efficientqat.safetensors"));
    for (int which = 0; which < 2; which++)
        for (int bits = 2; bits <= 4; bits++)
            for (int moved = 0; moved < 2; moved++) {
                const char *name = weights[which].name, *at = moved ? "moved" : "init";
                const bl_grid grid = {.kind = BL_GRID_AFFINE, .bits = bits, .group = 64};
                const int64_t out = weights[which].out, in = weights[which].in, groups = in / 64;
                bl_err e = {0};
                layer l;
                layer_open(&l, which, part(&g, "F32", out * in, moved ? "%s.moved_weight" : "%s.weight", name));
                assert_ok(bl_train_grid(l.t, &(bl_grid_learned){.grid = grid}, &e));
                if (!moved) {
                    assert_near("scale", value(&l, 1),
                                part(&g, "F32", out * groups, "%s.w%dg64.init_scale", name, bits), out * groups, 1e-6);
                    assert_near("zero", value(&l, 2), part(&g, "F32", out * groups, "%s.w%dg64.init_zero", name, bits),
                                out * groups, 0);
                } else {
                    memcpy(value(&l, 1), part(&g, "F32", out * groups, "%s.w%dg64.moved.scale", name, bits),
                           (size_t)(out * groups) * sizeof(float));
                    memcpy(value(&l, 2), part(&g, "F32", out * groups, "%s.w%dg64.moved.zero", name, bits),
                           (size_t)(out * groups) * sizeof(float));
                }
                same_codes(&l, &grid, part(&g, "U8", out * in, "%s.w%dg64.%s.codes", name, bits, at));
                pass(&l, part(&g, "F32", ROWS * in, "%s.x", name), part(&g, "F32", ROWS * out, "%s.grad_y", name),
                     part(&g, "F32", ROWS * out, "%s.w%dg64.%s.y", name, bits, at),
                     bits == 2 && moved ? part(&g, "F32", ROWS * in, "%s.w2g64.moved.grad_x", name) : NULL);
                assert_near("dscale", grad(&l, 1),
                            part(&g, "F32", out * groups, "%s.w%dg64.%s.grad_scale", name, bits, at), out * groups,
                            1e-5);
                assert_near("dzero", grad(&l, 2),
                            part(&g, "F32", out * groups, "%s.w%dg64.%s.grad_zero", name, bits, at), out * groups,
                            1e-5);
                if (moved && bits < 4)
                    assert_near("dw", grad(&l, 0), part(&g, "F32", out * in, "%s.w%dg64.moved.grad_weight", name, bits),
                                out * in, 1e-5);
                layer_close(&l);
            }
    golden_close(&g);
}

/* Integers and zeros as packed by the authors, words of 32 bits along the inputs, of zeros along the outputs. */
static int code_at(const int32_t *words, int64_t cols, int bits, int64_t row, int64_t col)
{
    const int each = 32 / bits;
    return (int)((uint32_t)words[row / each * cols + col] >> (row % each * bits) & ((1u << bits) - 1));
}

static void scales_have_the_gradients_of_efficientqat(void **state)
{
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/efficientqat.safetensors"));
    for (int which = 0; which < 2; which++)
        for (int bits = 2; bits <= 4; bits++) {
            const char *name = weights[which].name;
            const int64_t out = weights[which].out, in = weights[which].in, groups = in / 64, each = 32 / bits;
            bl_err e = {0};
            char format[8];
            layer l;
            float *w = malloc((size_t)(out * in) * sizeof *w), *s = malloc((size_t)(out * groups) * sizeof *s),
                  *z = malloc((size_t)(out * groups) * sizeof *z), *ds = malloc((size_t)(out * groups) * sizeof *ds);
            const int32_t *qw = part(&g, "I32", (in + each - 1) / each * out, "%s.w%dg64.pack.qweight", name, bits),
                          *qz = part(&g, "I32", groups * ((out + each - 1) / each), "%s.w%dg64.pack.qzeros", name,
                                     bits);
            const uint16_t *half = part(&g, "F16", groups * out, "%s.w%dg64.pack.scales", name, bits);
            for (int64_t r = 0; r < out; r++)
                for (int64_t i = 0; i < in; i++) {
                    const int64_t k = i / 64;
                    const int32_t word = qz[k * ((out + each - 1) / each) + r / each];
                    s[r * groups + k] = bl_f16_to_f32(half[k * out + r]);
                    z[r * groups + k] = (float)((uint32_t)word >> (r % each * bits) & ((1u << bits) - 1));
                    w[r * in + i] = ((float)code_at(qw, out, bits, i, r) - z[r * groups + k]) * s[r * groups + k];
                }
            layer_open(&l, which, w);
            bl_tensor dense = on(&l, out, in, w), scale = on(&l, out, groups, s), zero = on(&l, out, groups, z);
            bl_weight packed;
            const bl_shape shape = {.out = out, .in = in, .group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16};
            snprintf(format, sizeof format, "int%d", bits);
            assert_ok(bl_weight_new(l.m.be, bl_format_find(format), &shape, &packed, &e));
            assert_ok(l.m.be->ops->pack(
                l.m.be, &(bl_pack_args){.x = dense, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero},
                &e));
            const size_t codes = (size_t)bl_tensor_bytes(&packed.part[0]);
            void *before = malloc(codes);
            assert_ok(l.m.be->ops->download(l.m.be, &packed.part[0], before, &e));
            bl_linear_set_weight(&l.m.lin, &packed);
            assert_ok(bl_train_scales(l.t, &e));
            assert_int_equal(bl_trainable_count(l.t), out * groups);
            pass(&l, part(&g, "F32", ROWS * in, "%s.x", name), part(&g, "F32", ROWS * out, "%s.grad_y", name),
                 part(&g, "F32", ROWS * out, "%s.w%dg64.e2e.y", name, bits), NULL);
            const float *want = part(&g, "F32", groups * out, "%s.w%dg64.e2e.grad_scales", name, bits);
            for (int64_t i = 0; i < out * groups; i++) ds[i] = want[i % groups * out + i / groups];
            assert_near("dscale", grad(&l, 0), ds, out * groups, 1e-5);
            for (int64_t i = 0; i < out * groups; i++) value_of_scales(&l)[i] *= 1.3f; /* no integer changes */
            assert_ok(bl_trainable_store(l.t, &e));
            void *after = malloc(codes);
            assert_ok(l.m.be->ops->download(l.m.be, &l.m.lin.weight.part[0], after, &e));
            assert_memory_equal(before, after, codes);
            assert_int_equal(l.m.lin.weight.shape.scale, BL_F16);
            bl_tensor *all[] = {&dense, &scale, &zero};
            for (int i = 0; i < 3; i++) l.m.be->ops->buffer_free(all[i]->buf);
            void *host[] = {w, s, z, ds, before, after};
            for (size_t i = 0; i < BL_COUNT(host); i++) free(host[i]);
            layer_close(&l);
        }
    golden_close(&g);
}

static void factors_inside_the_rounding_are_those_of_lr_qat(void **state)
{
    static const struct {
        int bits;
        int64_t group;
        const char *text;
    } rows[] = {{4, 0, "w4pc"}, {3, 0, "w3pc"}, {2, 0, "w2pc"}, {4, 64, "w4g64"}};
    static const struct {
        const char *name;
        bl_phi phi;
    } kinds[] = {{"fixed_point8", BL_PHI_FIXED8}, {"int", BL_PHI_INT}, {"fp32", BL_PHI_F32}};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/lrqat.safetensors"));
    for (int which = 0; which < 2; which++)
        for (size_t row = 0; row < BL_COUNT(rows); row++)
            for (size_t kind = 0; kind < BL_COUNT(kinds); kind++) {
                const char *name = weights[which].name, *text = rows[row].text, *of = kinds[kind].name;
                const int64_t out = weights[which].out, in = weights[which].in,
                              groups = rows[row].group ? in / rows[row].group : 1, group = in / groups;
                char key[96];
                bl_err e = {0};
                layer l;
                int64_t other = 0;
                snprintf(key, sizeof key, "%s.%s.%s.y", name, text, of);
                if (!golden_get(&g, key, "F32", NULL, NULL)) continue; /* fp32 at 4 bits alone */
                layer_open(&l, which, part(&g, "F32", out * in, "%s.weight", name));
                assert_ok(bl_train_grid(
                    l.t,
                    &(bl_grid_learned){
                        .grid = {.kind = BL_GRID_INSIDE, .bits = rows[row].bits, .group = rows[row].group},
                        .rank = 8,
                        .alpha = 1,
                        .phi = kinds[kind].phi},
                    &e));
                assert_near("first scale", value(&l, 2), part(&g, "F32", out * groups, "%s.%s.scale0", name, text),
                            out * groups, 1e-6);
                if (kinds[kind].phi != BL_PHI_F32) {
                    const int8_t *phi = part(&g, "I8", out * in, "%s.%s.%s.phi", name, text, of);
                    const float *p = method_dense(&l.m),
                                unit = kinds[kind].phi == BL_PHI_INT ? 1 : (float)(1 << (8 - rows[row].bits));
                    const float *w = part(&g, "F32", out * in, "%s.weight", name);
                    for (int64_t i = 0; i < out * in; i++) {
                        const double v = (double)unit * w[i] / value(&l, 2)[i / in * groups + i % in / group];
                        if (fabs(fabs(v - floor(v)) - 0.5) > 1e-5) other += p[i] * unit != phi[i]; /* ties aside */
                    }
                    assert_int_equal(other, 0);
                }
                memcpy(value(&l, 1), part(&g, "F32", out * 8, "%s.A", name), (size_t)(out * 8) * sizeof(float));
                memcpy(value(&l, 0), part(&g, "F32", in * 8, "%s.Bt", name), (size_t)(in * 8) * sizeof(float));
                memcpy(value(&l, 2), part(&g, "F32", out * groups, "%s.%s.scale", name, text),
                       (size_t)(out * groups) * sizeof(float));
                snprintf(key, sizeof key, "%s.%s.%s.grad_x", name, text, of);
                pass(&l, part(&g, "F32", ROWS * in, "%s.x", name), part(&g, "F32", ROWS * out, "%s.grad_y", name),
                     part(&g, "F32", ROWS * out, "%s.%s.%s.y", name, text, of), golden_get(&g, key, "F32", NULL, NULL));
                assert_near("dA", grad(&l, 1), part(&g, "F32", out * 8, "%s.%s.%s.grad_A", name, text, of), out * 8,
                            1e-5);
                assert_near("dB", grad(&l, 0), part(&g, "F32", in * 8, "%s.%s.%s.grad_Bt", name, text, of), in * 8,
                            1e-5);
                assert_near("dscale", grad(&l, 2), part(&g, "F32", out * groups, "%s.%s.%s.grad_scale", name, text, of),
                            out * groups, 1e-5);
                const int8_t *merged = part(&g, "I8", out * in, "%s.%s.%s.merged", name, text, of);
                float *scale = malloc((size_t)(out * groups) * sizeof *scale);
                memcpy(scale, value(&l, 2), (size_t)(out * groups) * sizeof *scale);
                assert_ok(bl_trainable_store(l.t, &e));
                const float *w = method_dense(&l.m);
                other = 0;
                for (int64_t i = 0; i < out * in; i++)
                    other += w[i] != (float)merged[i] * scale[i / in * groups + i % in / group];
                assert_true(other <= out * in / 5000);
                free(scale);
                layer_close(&l);
            }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_efficientqat_are_those_of_its_authors),
        cmocka_unit_test(scales_have_the_gradients_of_efficientqat),
        cmocka_unit_test(factors_inside_the_rounding_are_those_of_lr_qat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
