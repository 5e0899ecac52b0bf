/* OmniQuant beside what its authors' code computed: ranges that are learned, their gradients, rounded activations and
 * scales. */
#include "golden_file.h"
#include "kernels/grid_both.h"
#include "methods/omniquant.h"
#include "method_run.h"
#include <math.h>

static const void *part(const golden *g, const char *type, int64_t n, const char *f, ...)
{
    char key[96];
    va_list a;
    va_start(a, f);
    vsnprintf(key, sizeof key, f, a);
    va_end(a);
    return golden_need(g, key, type, n);
}

static void assert_near(const char *what, const float *x, const float *want, int64_t n, double tolerance)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - want[i]) <= tolerance * top))
            fail_msg("%s: element %lld is %.9g, recorded %.9g", what, (long long)i, (double)x[i], (double)want[i]);
}

static bl_tensor on(bl_backend *be, int64_t rows, int64_t cols, const float *x)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof(float) + 64, &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    if (x) assert_ok(be->ops->upload(be, &t, x, &e));
    else assert_ok(be->ops->fill(be, &t, 0, &e));
    return t;
}

static void ranges_and_their_gradients_are_those_of_its_authors(void **state)
{
    static const struct {
        const char *name, *weight, *file, *of;
        int bits;
        int64_t out, in, group;
        float open;
    } rows[] = {{"q.w4pc.init", "q", "gptq", "q", 4, 64, 128, 128, 4},
                {"q.w4pc.random", "q", "gptq", "q", 4, 64, 128, 128, 0},
                {"q.w3g32.init", "q", "gptq", "q", 3, 64, 128, 32, 4},
                {"q.w3g32.random", "q", "gptq", "q", 3, 64, 128, 32, 0},
                {"q.w2g32.open", "q", "gptq", "q", 2, 64, 128, 32, 100},
                {"down.w2g64.init", "down", "gptq", "down", 2, 48, 384, 64, 4},
                {"down.w2g64.random", "down", "gptq", "down", 2, 48, 384, 64, 0},
                {"edge.w2g16.random", "edge", "rtn", "edge", 2, 12, 64, 16, 0}};
    golden g, inputs;
    bl_backend *be;
    bl_err e = {0};
    int64_t looked_at = 0;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/omniquant.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    for (size_t k = 0; k < BL_COUNT(rows); k++) {
        const char *name = rows[k].name;
        const int64_t out = rows[k].out, in = rows[k].in, groups = in / rows[k].group;
        char file[64];
        int ndim;
        int64_t dim[8];
        snprintf(file, sizeof file, "ptq/%s.safetensors", rows[k].file);
        golden_open(&inputs, test_path("BITLADDER_GOLDEN", file));
        char key[64];
        snprintf(key, sizeof key, "%s.weight", rows[k].weight);
        const float *w = golden_get(&inputs, key, "F32", &ndim, dim);
        assert_true(w && dim[1] == in && dim[0] >= out);
        float *opened = malloc((size_t)(out * groups) * sizeof *opened);
        for (int64_t i = 0; i < out * groups; i++) opened[i] = rows[k].open;
        const bool given = rows[k].open == 0;
        const float *hi = given ? part(&g, "F32", out * groups, "%s.upbound", name) : opened,
                    *lo = given ? part(&g, "F32", out * groups, "%s.lowbound", name) : opened;
        const bl_grid grid = {.kind = BL_GRID_CLIP, .bits = rows[k].bits, .group = rows[k].group};
        bl_tensor tw = on(be, out, in, w), ts = on(be, out, groups, hi), to = on(be, out, groups, lo),
                  ty = on(be, out, in, NULL),
                  tdy = on(be, out, in, part(&g, "F32", out * in, "%s.upstream", rows[k].of)),
                  tdw = on(be, out, in, NULL), tds = on(be, out, groups, NULL), tdo = on(be, out, groups, NULL);
        assert_ok(be->ops->grid(be, &(bl_grid_args){.w = tw, .scale = ts, .offset = to, .y = ty, .grid = grid}, &e));
        assert_ok(be->ops->grid_grad(be,
                                     &(bl_grid_grad_args){.w = tw,
                                                          .scale = ts,
                                                          .offset = to,
                                                          .dy = tdy,
                                                          .dw = tdw,
                                                          .dscale = tds,
                                                          .doffset = tdo,
                                                          .alpha = 1,
                                                          .grid = grid},
                                     &e));
        const float *y = part(&g, "F32", out * in, "%s.fake_quant", name),
                    *scale = part(&g, "F32", out * groups, "%s.scale", name),
                    *zero = part(&g, "F32", out * groups, "%s.zero", name),
                    *ds = part(&g, "F32", out * groups, "%s.grad_upbound", name),
                    *d_o = part(&g, "F32", out * groups, "%s.grad_lowbound", name),
                    *dw = part(&g, "F32", out * in, "%s.grad_weight", name);
        const float *my = ty.buf->data, *mds = tds.buf->data, *mdo = tdo.buf->data, *mdw = tdw.buf->data;
        double top_s = 0, top_o = 0, top_w = 0;
        for (int64_t i = 0; i < out * groups; i++) {
            top_s = fmax(top_s, fabs((double)ds[i]));
            top_o = fmax(top_o, fabs((double)d_o[i]));
        }
        for (int64_t i = 0; i < out * in; i++) top_w = fmax(top_w, fabs((double)dw[i]));
        for (int64_t i = 0; i < out * groups; i++) {
            const int64_t at = i * rows[k].group;
            bl_grid_ends ends = {0};
            float least = w[at], most = w[at];
            for (int64_t j = at; j < at + rows[k].group; j++) {
                least = fminf(least, w[j]);
                most = fmaxf(most, w[j]);
            }
            if (!(least < 0 && most > 0)) continue; /* theirs does not hold 0 */
            ends.lo = least;
            ends.hi = most;
            const bl_grid_group as = bl_grid_between(BL_GRID_CLIP, grid.bits, false, hi[i], lo[i], &ends);
            assert_true(fabsf(as.s - scale[i]) <= 1e-6f * scale[i] && as.z == zero[i]);
            assert_near(name, my + at, y + at, rows[k].group, 1e-6);
            assert_true(fabs((double)mds[i] - ds[i]) <= 1e-4 * top_s && fabs((double)mdo[i] - d_o[i]) <= 1e-4 * top_o);
            for (int64_t j = at; j < at + rows[k].group; j++)
                if (!(fabs((double)mdw[j] - dw[j]) <= 1e-4 * top_w))
                    fail_msg("%s: gradient of weight %lld is %g, recorded %g", name, (long long)j, (double)mdw[j],
                             (double)dw[j]);
            looked_at++;
        }
        bl_tensor *all[] = {&tw, &ts, &to, &ty, &tdy, &tdw, &tds, &tdo};
        for (size_t i = 0; i < BL_COUNT(all); i++) be->ops->buffer_free(all[i]->buf);
        free(opened);
        golden_close(&inputs);
    }
    assert_true(looked_at > 1400);
    bl_backend_close(be);
    golden_close(&g);
}

static void activations_are_rounded_as_by_its_authors(void **state)
{
    enum { ROWS = 16, N = 128 };
    golden g;
    bl_backend *be;
    bl_err e = {0};
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/omniquant.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    for (int bits = 4; bits <= 6; bits += 2) {
        bl_tensor x = on(be, ROWS, N, part(&g, "F32", ROWS * N, "act.x")), y = on(be, ROWS, N, NULL);
        assert_ok(be->ops->act_round(be, &(bl_act_round_args){.x = x, .y = y, .act = {.bits = bits}}, &e));
        assert_near("activations", y.buf->data, part(&g, "F32", ROWS * N, "act.a%d.fake_quant", bits), ROWS * N, 1e-6);
        be->ops->buffer_free(x.buf);
        be->ops->buffer_free(y.buf);
    }
    bl_backend_close(be);
    golden_close(&g);
}

static void scales_keep_away_from_0_as_by_its_authors(void **state)
{
    golden g;
    int looked_at = 0;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/omniquant.safetensors"));
    const float *in = part(&g, "F32", 8, "let.truncate_in"), *out = part(&g, "F32", 8, "let.truncate_out");
    for (int i = 0; i < 8; i++) {
        if (in[i] == 0) continue; /* which it would be divided by */
        assert_true(fabsf(bl_omniquant_scale(in[i]) - out[i]) <= 1e-7f);
        looked_at++;
    }
    assert_true(looked_at >= 6);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_and_their_gradients_are_those_of_its_authors),
        cmocka_unit_test(activations_are_rounded_as_by_its_authors),
        cmocka_unit_test(scales_keep_away_from_0_as_by_its_authors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
