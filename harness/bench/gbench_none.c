/* gbench_none.c - stands in for gbench_shim.cc where Google Benchmark is not installed. */
#include "gbench.h"

#if !BL_HAVE_BENCHMARK
bool bl_gbench_there(void) { return false; }

bl_status bl_gbench_run(bl_gbench_case *c, size_t n, const bl_gbench_opts *o, bl_text *json, bl_err *e)
{
    (void)c;
    (void)n;
    (void)o;
    (void)json;
    return bl_fail(
        e, BL_E_UNSUPPORTED,
        "this program was built without Google Benchmark; install it (package libbenchmark-dev) and build again");
}
#else
typedef int bl_gbench_is_there;
#endif
