/* int4.c - the example of harness/bench/outside.h: weights of 4 bits, two a byte, times rows of f32, in plain C.
 *
 *     cc -O3 -march=native -fopenmp -shared -fPIC -I harness/bench -o int4.so examples/outside/int4.c
 */
#include "outside.h"
#include <stdlib.h>
#include <string.h>

typedef struct made {
    int64_t out, in, group, groups, copies, threads;
    uint8_t *codes; /* [copies, out, in / 2] low half first */
    float *scales;  /* [copies, out, groups] */
    float *offsets; /* [copies, out, groups] zero times scale */
} made;

const char *bl_outside_name(void) { return "outside_int4"; }

void bl_outside_release(void *p)
{
    made *m = p;
    if (!m) return;
    free(m->codes);
    free(m->scales);
    free(m->offsets);
    free(m);
}

void *bl_outside_prepare(const bl_outside_case *c)
{
    if (c->version != BL_OUTSIDE_VERSION || strcmp(c->device, "cpu") != 0 || c->bits != 4 || c->in % 2 || c->group % 2)
        return NULL;
    made *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->out = c->out;
    m->in = c->in;
    m->group = c->group;
    m->groups = (c->in + c->group - 1) / c->group;
    m->copies = c->copies;
    m->threads = c->threads;
    size_t codes = (size_t)(c->out * c->in / 2), groups = (size_t)(c->out * m->groups);
    m->codes = malloc(codes * (size_t)c->copies);
    m->scales = malloc(groups * (size_t)c->copies * sizeof *m->scales);
    m->offsets = malloc(groups * (size_t)c->copies * sizeof *m->offsets);
    if (!m->codes || !m->scales || !m->offsets) {
        bl_outside_release(m);
        return NULL;
    }
    for (size_t i = 0; i < codes; i++) m->codes[i] = (uint8_t)(c->codes[2 * i] | c->codes[2 * i + 1] << 4);
    for (size_t i = 0; i < groups; i++) {
        m->scales[i] = c->scales[i];
        m->offsets[i] = c->scales[i] * c->zeros[i];
    }
    for (int64_t k = 1; k < c->copies; k++) {
        memcpy(m->codes + (size_t)k * codes, m->codes, codes);
        memcpy(m->scales + (size_t)k * groups, m->scales, groups * sizeof *m->scales);
        memcpy(m->offsets + (size_t)k * groups, m->offsets, groups * sizeof *m->offsets);
    }
    return m;
}

double bl_outside_bytes(const void *p)
{
    const made *m = p;
    return (double)m->out * (double)m->in / 2 + 8.0 * (double)m->out * (double)m->groups;
}

int bl_outside_run(void *p, int64_t copy, int64_t rows, const void *x, void *y, void *stream)
{
    const made *m = p;
    (void)stream;
#pragma omp parallel for schedule(static) num_threads((int)m->threads)
    for (int64_t o = 0; o < m->out; o++) {
        const uint8_t *w = m->codes + (copy * m->out + o) * (m->in / 2);
        const float *s = m->scales + (copy * m->out + o) * m->groups,
                    *off = m->offsets + (copy * m->out + o) * m->groups;
        for (int64_t r = 0; r < rows; r++) {
            const float *xr = (const float *)x + r * m->in;
            double all = 0;
            for (int64_t g = 0; g < m->groups; g++) { /* sum (q s - z s) x */
                const int64_t end = (g + 1) * m->group < m->in ? (g + 1) * m->group : m->in;
                float dot = 0, sum = 0;
                for (int64_t k = g * m->group; k < end; k += 2) {
                    dot += (float)(w[k / 2] & 15) * xr[k] + (float)(w[k / 2] >> 4) * xr[k + 1];
                    sum += xr[k] + xr[k + 1];
                }
                all += s[g] * dot - off[g] * sum;
            }
#ifdef PLANTED_ERROR /* of the test that a wrong one is named */
            all *= 1 + PLANTED_ERROR;
#endif
            ((float *)y)[r * m->out + o] = (float)all;
        }
    }
    return 0;
}
