/* ref_sample.c - the next token: the most likely one, or a draw from the softmax at a temperature, cut to its top_p
 * share. */
#include "cpu.h"

typedef struct entry {
    double p;
    int32_t id;
} entry;

/* Order of the draw: the most likely first, the first of equal ones. */
static bool before(const entry *a, const entry *b) { return a->p != b->p ? a->p > b->p : a->id < b->id; }

/* list[at] to its place in a heap of n entries whose others are in theirs, the first of all on top. */
static void sift(entry *list, int64_t at, int64_t n)
{
    for (int64_t next; (next = 2 * at + 1) < n; at = next) {
        if (next + 1 < n && before(&list[next + 1], &list[next])) next++;
        if (before(&list[at], &list[next])) return;
        const entry swap = list[at];
        list[at] = list[next];
        list[next] = swap;
    }
}
static void make_heap(entry *list, int64_t n)
{
    for (int64_t i = n / 2; i-- > 0;) sift(list, i, n);
}
/* The top of a heap of n entries to its end. */
static entry *take_first(entry *list, int64_t n)
{
    const entry first = list[0];
    list[0] = list[n - 1];
    list[n - 1] = first;
    sift(list, 0, n - 1);
    return &list[n - 1];
}

/* Index of the draw u in list[0..n) whose weights sum to total. */
static int32_t draw(const entry *list, int64_t n, double total, double u)
{
    double at = 0;
    for (int64_t i = 0; i < n; i++)
        if ((at += list[i].p) > u * total) return list[i].id;
    return list[n - 1].id;
}

static int32_t pick(const bl_sample_args *a, const float *x, double u, entry *list)
{
    int64_t n = a->vocab, kept = 0;
    int32_t top = 0;
    double sum = 0, share = 0, at = 0;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > x[top]) top = (int32_t)i;
    if (a->temperature == 0) return top;
    for (int64_t i = 0; i < n; i++) {
        list[i] = (entry){exp(((double)x[i] - x[top]) / a->temperature), (int32_t)i};
        sum += list[i].p;
    }
    if (!(sum > 0) || !isfinite(sum)) return top;
    if (a->top_p <= 0 || a->top_p >= 1) return draw(list, n, sum, u);
    double least = (1 - a->top_p) / (double)n *
                   sum; /* smaller ones cannot be inside: all of them together weigh less than 1 - top_p */
    for (int64_t i = 0; i < n; i++)
        if (list[i].p >= least) list[kept++] = list[i];
    make_heap(list, kept);
    for (n = 0; n < kept && share < a->top_p * sum; n++) share += take_first(list, kept - n)->p;
    for (int64_t i = kept - 1; i > kept - n; i--) /* the first ones are at the end, the last of them before */
        if ((at += list[i].p) > u * share) return list[i].id;
    return list[kept - n].id;
}

bl_status bl_ref_sample(bl_backend *be, const bl_sample_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    entry *list = NULL;
    int32_t *ids = bl_cpu_at(&a->ids);
    const double *u = bl_cpu_at(&a->u);
    BL_TRY(bl_check_sample(be, a, e));
    if (!(list = bl_new((size_t)a->vocab, sizeof *list, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < a->logits.dim[0]; r++) ids[r] = pick(a, bl_cpu_row(&a->logits, r), u ? u[r] : 0, list);
out:
    bl_free(list);
    return st;
}
