/* golden_layer.h - a layer of a golden file on the CPU: its weight and the factor of its second moments, as methods
 * that round on the host begin with them. */
#ifndef BL_TESTS_GOLDEN_LAYER_H
#define BL_TESTS_GOLDEN_LAYER_H
#include "golden_file.h"
#include "method_run.h"
#include "methods/shared_moments.h"
#include "methods/shared_rows.h"
#include <math.h>

typedef struct golden_layer {
    method_run m;
    bl_rows k;     /* w: inputs that never came are 0 */
    double *h;     /* [in, in], as recorded */
    float largest; /* of the weight */
} golden_layer;

static inline const void *golden_part(const golden *g, const char *name, const char *what, const char *type, int64_t n)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", name, what);
    return golden_need(g, key, type, n);
}

/* `threads` of the backend; false: the file has no such layer. */
static inline bool golden_layer_open(golden_layer *l, const golden *from, const char *name)
{
    bl_err e = {0};
    int ndim;
    int64_t dim[8];
    char key[96];
    double mean = 0;
    bl_buffer *buf[2];
    snprintf(key, sizeof key, "%s.weight", name);
    const float *w = golden_get(from, key, "F32", &ndim, dim);
    if (!w) return false;
    memset(l, 0, sizeof *l);
    int64_t out = l->k.out = dim[0], in = l->k.in = dim[1];
    const float *upper = golden_part(from, name, "hessian_upper", "F32", in * (in + 1) / 2);
    method_open(&l->m, "rtn:pc", w, out, in);
    l->h = malloc((size_t)(in * in) * sizeof *l->h);
    l->k.w = malloc((size_t)(out * in) * sizeof(float));
    l->k.u = malloc((size_t)(in * in) * sizeof(float));
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = i; j < in; j++) l->h[i * in + j] = l->h[j * in + i] = *upper++;
    for (int64_t j = 0; j < in; j++) mean += (l->h[j * (in + 1)] == 0 ? 1 : l->h[j * (in + 1)]) / (double)in;
    for (int64_t i = 0; i < out * in; i++) {
        l->k.w[i] = l->h[i % in * (in + 1)] == 0 ? 0 : w[i];
        l->largest = fmaxf(l->largest, fabsf(w[i]));
    }
    assert_ok(l->m.be->ops->buffer_new(l->m.be, (uint64_t)(in * in) * sizeof(double), &buf[0], &e));
    assert_ok(l->m.be->ops->buffer_new(l->m.be, (uint64_t)(in * in) * sizeof(float), &buf[1], &e));
    bl_tensor h = bl_tensor_2d(buf[0], 0, BL_F64, in, in), u = bl_tensor_2d(buf[1], 0, BL_F32, in, in);
    assert_ok(l->m.be->ops->upload(l->m.be, &h, l->h, &e));
    assert_ok(bl_moments_factor(&l->m.run, h, (bl_tensor){0}, mean, 0.01, u, &l->k.damp, &e));
    assert_ok(l->m.be->ops->download(l->m.be, &u, l->k.u, &e));
    l->m.be->ops->buffer_free(buf[0]);
    l->m.be->ops->buffer_free(buf[1]);
    return true;
}

/* tr(D H Dt), D the weight less v [out, in]. */
static inline double golden_output_error(const golden_layer *l, const float *v)
{
    const float *w = l->m.lin.weight.part[0].buf->data;
    double sum = 0;
    int64_t in = l->k.in;
    for (int64_t r = 0; r < l->k.out; r++)
        for (int64_t i = 0; i < in; i++) {
            double di = (double)w[r * in + i] - v[r * in + i];
            for (int64_t j = 0; j < in; j++) sum += di * l->h[i * in + j] * ((double)w[r * in + j] - v[r * in + j]);
        }
    return sum;
}

static inline void golden_layer_close(golden_layer *l)
{
    method_close(&l->m);
    free(l->h);
    free(l->k.w);
    free(l->k.u);
}

/* Calls `compare` with the layers that the cases of a file of the authors' own results speak of, each opened: an
 * outlier is in the file itself, the others where the rest is, or all in it. */
typedef void golden_compare(const golden *g, size_t c, golden_layer *l);
static inline void golden_each_layer(const char *file, const char *(*layer_of)(size_t c), size_t n,
                                     golden_compare *compare)
{
    golden g, layers;
    bool all = getenv("BITLADDER_GOLDEN") != NULL;
    size_t compared = 0;
    golden_open(&g, golden_path(file));
    if (all) golden_open(&layers, golden_path("ptq/gptq.safetensors"));
    for (size_t c = 0; c < n; c++) {
        golden_layer l;
        if (!golden_layer_open(&l, strcmp(layer_of(c), "outlier") == 0 || !all ? &g : &layers, layer_of(c))) continue;
        compare(&g, c, &l);
        golden_layer_close(&l);
        compared++;
    }
    assert_true(compared >= (all ? n : 3));
    golden_close(&g);
    if (all) golden_close(&layers);
}
#endif
