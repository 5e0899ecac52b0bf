/* google.c - timings of a device in the form of Google Benchmark's report, whose compare.py reads it: a run for each
 * repetition, and the median.
 */
#include "bench_impl.h"
#include "bl_build.h"
#include "kernels/base/json.h"

static void one(bl_json_out *j, const char *name, const char *run_name, const bl_kernel_row *r, int cold,
                double seconds, int64_t n, int64_t index)
{
    bl_json_object(j, NULL);
    bl_json_add_str(j, "name", name);
    bl_json_add_str(j, "run_name", run_name);
    bl_json_add_str(j, "run_type", index < 0 ? "aggregate" : "iteration");
    bl_json_add_int(j, "repetitions", n);
    if (index >= 0) bl_json_add_int(j, "repetition_index", index);
    bl_json_add_int(j, "threads", 1);
    if (index < 0) {
        bl_json_add_str(j, "aggregate_name", "median");
        bl_json_add_str(j, "aggregate_unit", "time");
    }
    bl_json_add_int(j, "iterations", index < 0 ? n : 1);
    bl_json_add_real(j, "real_time", seconds * 1e6);
    bl_json_add_real(j, "cpu_time", seconds * 1e6); /* of the device: there is no other time */
    bl_json_add_str(j, "time_unit", "us");
    bl_json_add_real(j, "bytes_per_second", r->bytes / seconds);
    bl_json_add_real(j, "flop_per_second", r->gflops * 1e9 * r->seconds / seconds);
    bl_json_add_real(j, "bits_per_weight", r->bits);
    bl_json_add_real(j, "nmse", r->nmse);
    bl_json_add_real(j, cold ? "cold_openblas_ratio" : "openblas_ratio", cold ? r->cold_ratio : r->ratio);
    bl_json_end(j);
}

bl_status bl_bench_google(const bl_bench_result *r, bl_text *out, bl_err *e)
{
    char now[32];
    bl_json_out j = {.t = out};
    bl_utc(now);
    bl_json_object(&j, NULL);
    bl_json_object(&j, "context");
    bl_json_add_str(&j, "date", now);
    bl_json_add_str(&j, "executable", "bitladder");
    bl_json_add_int(&j, "num_cpus", r->device.threads);
    bl_json_add_int(&j, "mhz_per_cpu", (int64_t)r->facts.clock);
    bl_json_add_str(&j, "library_build_type", "release");
    bl_json_add_str(&j, "bitladder", BL_VERSION);
    bl_json_add_str(&j, "commit", BL_BUILD_COMMIT);
    bl_json_add_str(&j, "device", r->device.name);
    bl_json_add_str(&j, "driver", r->facts.driver ? r->facts.driver : "");
    bl_json_end(&j);
    bl_json_array(&j, "benchmarks");
    for (size_t i = 0; i < r->n; i++)
        for (int cold = 0; cold < 2; cold++) {
            const bl_kernel_row *x = &r->row[i];
            char run_name[256], name[272];
            if (!x->n_repeat[cold]) continue;
            bl_bench_case_name(x->kernel, x->m, x->out, x->in, cold, run_name);
            snprintf(name, sizeof name, "%s_median", run_name);
            for (int64_t k = 0; k < x->n_repeat[cold]; k++)
                one(&j, run_name, run_name, x, cold, x->repeat[cold][k], x->n_repeat[cold], k);
            one(&j, name, run_name, x, cold, cold ? x->cold : x->seconds, x->n_repeat[cold], -1);
        }
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
    return bl_text_check(out, e);
}
