/* gate.c - what two records of timings differ by, as text; see results/speed.h. */
#include "bench_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>
#include <string.h>

static void number(char out[24], double v)
{
    if (v < 0) out[0] = 0;
    else snprintf(out, 24, "%.2g", v);
}

static const char *time_text(char out[24], double seconds)
{
    if (seconds <= 0) return "";
    if (seconds < 1) snprintf(out, 24, "%.1f us", seconds * 1e6);
    else snprintf(out, 24, "%.3f s", seconds);
    return out;
}

static void table(const bl_speed_row *row, size_t n, bl_text *t)
{
    int wide = 6;
    for (size_t i = 0; i < n; i++) wide = BL_MAX(wide, (int)strlen(row[i].what));
    bl_text_addf(t,
                 "| %-*s | from   |         base |          new |  change |  noise |      p | verdict   | error   |\n",
                 wide, "timing");
    bl_text_addf(
        t, "|:%.*s-|:-------|-------------:|-------------:|--------:|-------:|-------:|:----------|:--------|\n", wide,
        "----------------------------------------------------------------------------------------------");
    for (size_t i = 0; i < n; i++) {
        const bl_speed_row *r = &row[i];
        char a[24], b[24], p[24] = "";
        if (r->n) snprintf(p, sizeof p, "%.2g", r->p_holm);
        bl_text_addf(t, "| %-*s | %-6s | %12s | %12s | %+6.1f%% | %5.1f%% | %6s | %-9s | %-7s |\n", wide, r->what,
                     r->from, time_text(a, r->a), r->b > 0 ? time_text(b, r->b) : "wrong", 100 * r->change,
                     100 * r->noise, p, r->yardstick ? "yardstick" : bl_speed_verdict_name(r->verdict),
                     bl_error_verdict_name(r->exact));
    }
}

static const char *held_by(const bl_kernel_facts *f) { return f->held && *f->held ? f->held : "nothing"; }

/* What is worse, in words, and where the repetitions are too few to say anything. */
static void words(const bl_speed_record *a, const bl_speed_record *b, const bl_speed_row *row, size_t n, double percent,
                  double shift, bl_text *t)
{
    size_t slower = 0, faster = 0, less_exact = 0, undecided = 0, judged = 0;
    int64_t fewest = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if (row[i].yardstick) continue;
        slower += row[i].verdict == BL_SPEED_SLOWER;
        faster += row[i].verdict == BL_SPEED_FASTER;
        undecided += row[i].verdict == BL_SPEED_UNDECIDED;
        less_exact += row[i].exact == BL_ERROR_MORE;
        judged += row[i].n > 0;
        if (row[i].b > 0) fewest = BL_MIN(fewest, row[i].n);
    }
    bl_text_addf(
        t,
        "\n%s (%s) and then %s (%s), on %s: %zu slower, %zu faster, %zu undecided of %zu; %zu less exact. Slower: "
        "by more than %.3g %%, than halves of the repetitions differ by and than the yardstick does, and no "
        "chance by the ranks of the repetitions (p, corrected for all).\n",
        a->name, a->facts.commit, b->name, b->facts.commit, a->facts.device, slower, faster, undecided, judged,
        less_exact, percent);
    if (shift != 1)
        bl_text_addf(t, "The yardstick, the same code in both, took %+.1f %%: changes are beside that.\n",
                     100 * (shift - 1));
    if (a->facts.clock > 0 && b->facts.clock > 0)
        bl_text_addf(t, "Clocks %.0f and %.0f MHz, held down by: %s; %s.\n", a->facts.clock, b->facts.clock,
                     held_by(&a->facts), held_by(&b->facts));
    for (size_t i = 0, k = 0; i < n; i++)
        if (row[i].probe)
            bl_text_addf(t, "%s %s %+.1f %%, %.1f %% within a record",
                         k++ ? "," : "Probes, products of the library in the second:", row[i].from,
                         100 * (row[i].b / row[i].a - 1), 100 * row[i].noise);
    if (n && row[n - 1].probe) bl_text_add(t, ". Changes of timings that are no larger are the device's.\n");
    for (size_t i = 0; i < n; i++) {
        const bl_speed_row *r = &row[i];
        char x[24], y[24];
        if (r->yardstick || r->exact != BL_ERROR_MORE) continue;
        number(x, r->error[0]);
        number(y, r->error[1]);
        if (r->error[1] >= BL_BENCH_NO_NUMBER) snprintf(y, sizeof y, "no number");
        bl_text_addf(t, "%s: its error grew from %s to %s of the power%s.\n", r->what, x, y,
                     r->b > 0 ? "" : ", more than is allowed");
    }
    int64_t needed = bl_speed_repetitions(judged);
    if (judged && fewest < needed)
        bl_text_addf(t,
                     "With %lld repetitions nothing in %zu rows can be told from chance; --repetitions %lld can (of "
                     "--against: --rounds), or fewer rows.\n",
                     (long long)fewest, judged, (long long)needed);
}

static void print_rows(const bl_speed_record *a, const bl_speed_record *b, const bl_speed_row *row, size_t n,
                       double percent, double shift, bool json, bl_text *t)
{
    if (!json) {
        table(row, n, t);
        words(a, b, row, n, percent, shift, t);
        return;
    }
    bl_json_out j = {.t = t};
    bl_json_lines(&j, NULL);
    for (size_t i = 0; i < n; i++) {
        const bl_speed_row *r = &row[i];
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "what", r->what);
        if (*r->from) bl_json_add_str(&j, "from", r->from);
        bl_json_add_real(&j, "base_seconds", r->a);
        if (r->b > 0) bl_json_add_real(&j, "new_seconds", r->b);
        bl_json_add_int(&j, "repetitions", r->n);
        bl_json_add_real(&j, "change", r->change);
        bl_json_add_real(&j, "noise", r->noise);
        bl_json_add_real(&j, "p_holm", r->p_holm);
        bl_json_add_str(&j, "verdict", r->yardstick ? "yardstick" : bl_speed_verdict_name(r->verdict));
        if (r->exact != BL_ERROR_NONE) {
            bl_json_add_str(&j, "error", bl_error_verdict_name(r->exact));
            bl_json_add_real(&j, "base_nmse", r->error[0]);
            bl_json_add_real(&j, "new_nmse", r->error[1]);
        }
        bl_json_end(&j);
    }
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

bl_status bl_speed_gate(const bl_speed_record *a, const bl_speed_record *b, double percent, bool json, bl_arena *arena,
                        bl_text *t, size_t *worse, bl_err *e)
{
    bl_status st = BL_OK;
    bl_speed_row *row;
    size_t n;
    double shift;
    percent = percent > 0 ? percent : BL_SPEED_PERCENT;
    BL_TRY(bl_speed_same_conditions(a, b, e));
    BL_TRY(bl_speed_compare(a, b, percent, arena, &row, &n, &shift, e));
    print_rows(a, b, row, n, percent, shift, json, t);
    *worse += bl_speed_loss(row, n);
    st = bl_text_check(t, e);
out:
    return st;
}

/* ---- two directories ---- */
bool bl_speed_there(const char *dir)
{
    bl_err e = {0};
    bool there = false;
    static const char *const files[] = {BL_BENCH_FILE, BL_THROUGHPUT_FILE};
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        char *path = bl_join(dir, files[i], &e);
        there = there || (path && bl_exists(path));
        bl_free(path);
    }
    return there;
}

bl_status bl_speed_of_dirs(const char *const dir[2], double percent, bool json, bl_text *t, size_t *worse, bl_err *e)
{
    static bl_status (*const read[])(const char *, bl_arena *, bl_speed_record *, bl_err *) = {bl_bench_read,
                                                                                               bl_throughput_read};
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    int compared = 0;
    BL_TRY(bl_arena_new(&a, e));
    for (size_t i = 0; i < BL_COUNT(read); i++) {
        bl_speed_record of[2];
        for (int side = 0; side < 2; side++) BL_TRY(read[i](dir[side], a, &of[side], e));
        if (!of[0].n_kernels + !of[0].n_models == 2 || !of[1].n_kernels + !of[1].n_models == 2) continue;
        if (compared++ && !json) bl_text_add(t, "\n");
        BL_TRY(bl_speed_gate(&of[0], &of[1], percent, json, a, t, worse, e));
    }
    if (!compared)
        st = bl_fail(e, BL_E_MISSING,
                     "%s and %s have no timings of one kind: kernels are compared with kernels, models with models",
                     dir[0], dir[1]);
out:
    bl_arena_free(a);
    return st;
}
