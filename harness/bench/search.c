/* search.c - times the index of vectors next to a product of all of them (cblas_sgemv), and checks its answers. */
#include "bench_impl.h"
#include "kernels/index.h"
#include "kernels/base/rng.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { K = 10, CENTRES = 1000, BATCH = 8 };

/* Vectors of unit length around some centres, as texts are around what they are about. */
static void fill(float *row, int64_t n, int64_t dim, const float *centre, uint64_t stream)
{
    bl_rng r = bl_rng_at(1, bl_rng_key("bench search", stream), 0);
    for (int64_t i = 0; i < n; i++) {
        const float *c = centre ? centre + (int64_t)bl_rng_below(&r, CENTRES) * dim : NULL;
        double square = 0;
        for (int64_t d = 0; d < dim; d++) {
            uint32_t u = bl_rng_u32(&r); /* the sum of two uniform numbers is round enough */
            float v = (float)(u & 0xffff) + (float)(u >> 16) - 0xffff;
            row[i * dim + d] = v / 0xffff + (c ? 20 * c[d] : 0);
            square += (double)row[i * dim + d] * row[i * dim + d];
        }
        for (int64_t d = 0; d < dim; d++) row[i * dim + d] /= (float)sqrt(square);
    }
}

static double processor(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_time(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}
static double median(double *t, int64_t n)
{
    qsort(t, (size_t)n, sizeof *t, by_time);
    return t[n / 2];
}

bl_status bl_bench_search(const bl_search_opts *o, bl_search_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = o->vectors, dim = o->dim, times = o->repetitions ? o->repetitions : 5, whole = 0;
    bl_backend *be = NULL;
    bl_index *x = NULL;
    float *row = bl_new((size_t)n, (size_t)dim * sizeof *row, e);
    float *centre = bl_new((size_t)(CENTRES + times + BATCH), (size_t)dim * sizeof *centre, e), *query;
    float *score = bl_new((size_t)n, sizeof *score, e);
    double *t = bl_new((size_t)times * 5, sizeof *t, e);
    bl_near found[K * BATCH], all[K];
    bl_search_result r = {.same = true};

    if (!row || !centre || !score || !t) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = (int)o->threads}, &be, e));
    be->ops->device_info(be, &r.device);
    fill(centre, CENTRES, dim, NULL, 0);
    fill(row, n, dim, centre, 1);
    query = centre + CENTRES * dim;
    fill(query, times + BATCH, dim, centre, 2);
    double now = bl_now();
    BL_TRY(bl_index_new(be, row, n, dim, &x, e));
    r.make = bl_now() - now;
    openblas_set_num_threads(r.device.threads);
    for (int64_t i = 0; i < times; i++) { /* in turn, so that what else the machine does meets all of them */
        const float *q = query + i * dim;
        double used = processor();
        now = bl_now();
        BL_TRY(bl_index_find(x, q, 1, K, found, &whole, e));
        t[i] = bl_now() - now;
        t[4 * times + i] = processor() - used;
        r.whole += (double)whole / (double)times;
        now = bl_now();
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (blasint)n, (blasint)dim, 1, row, (blasint)dim, q, 1, 0, score, 1);
        t[times + i] = bl_now() - now;
        now = bl_now();
        BL_TRY(bl_index_scan(x, q, 1, K, all, e));
        t[2 * times + i] = bl_now() - now;
        for (int k = 0; k < K; k++) r.same = r.same && all[k].row == found[k].row && all[k].score == found[k].score;
        now = bl_now();
        BL_TRY(bl_index_find(x, q, BATCH, K, found, NULL, e));
        t[3 * times + i] = (bl_now() - now) / BATCH;
    }
    r.fastest = t[0];
    for (int64_t i = 1; i < times; i++) r.fastest = fmin(r.fastest, t[i]);
    r.find = median(t, times);
    r.gemv = median(t + times, times);
    r.scan = median(t + 2 * times, times);
    r.batch = median(t + 3 * times, times);
    r.processor = median(t + 4 * times, times);
    *out = r;
out:
    bl_index_free(x);
    bl_backend_close(be);
    bl_free(row);
    bl_free(centre);
    bl_free(score);
    bl_free(t);
    return st;
}

void bl_search_text(const bl_search_opts *o, const bl_search_result *r, bool json, bl_text *out)
{
    if (json) {
        bl_json_out j = {.t = out};
        bl_json_object(&j, NULL);
        bl_json_add_int(&j, "vectors", o->vectors);
        bl_json_add_int(&j, "dim", o->dim);
        bl_json_add_real(&j, "seconds", r->find);
        bl_json_add_real(&j, "fastest_seconds", r->fastest);
        bl_json_add_real(&j, "batch_seconds", r->batch);
        bl_json_add_real(&j, "processor_seconds", r->processor);
        bl_json_add_real(&j, "scan_seconds", r->scan);
        bl_json_add_real(&j, "sgemv_seconds", r->gemv);
        bl_json_add_real(&j, "make_seconds", r->make);
        bl_json_add_real(&j, "looked_at_in_full", r->whole);
        bl_json_add_bool(&j, "exact", r->same);
        bl_json_end(&j);
        bl_text_add(out, "\n");
        return;
    }
    bl_text_addf(
        out,
        "%lld vectors of %lld, the %d nearest of one query: %.1f ms (fastest %.1f; %.1f ms of processor time), "
        "of each of %d together %.1f ms\n"
        "all vectors in full: %.1f ms in double, cblas_sgemv (fp32, without choosing) %.1f ms\n"
        "%.0f vectors were looked at in full; made in %.1f s; %s, %s, %d threads\n",
        (long long)o->vectors, (long long)o->dim, K, 1e3 * r->find, 1e3 * r->fastest, 1e3 * r->processor, BATCH,
        1e3 * r->batch, 1e3 * r->scan, 1e3 * r->gemv, r->whole, r->make, r->device.name, r->device.simd,
        r->device.threads);
}
