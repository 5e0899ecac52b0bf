/* fmt_sign_outer.c - sign_outer: signs times a number of their row and one of their column, two sets of them in each
 * group of columns, and in some columns the sum of two such terms, two sets of those (ARB-LLM with row and column
 * scales).
 *
 *     codes    [out, ceil(in / 4)]              2 bits a weight, low bits first: its sign (1: +), then which set; in a
 *                                               salient column the sign of the first term, then that of the second
 *     scales   [out, 6 groups]                  F16, BF16 or F32: numbers of a row in a group: sets 0 and 1; of
 *                                               salient columns the two terms of set 0, then of set 1
 *     columns  [1, 4 in]                        likewise, of each column: sets 0 and 1 and two zeros; of a salient one
 *                                               the two terms of set 0, then of set 1
 *     salient  [1, ceil(in / 8)]                bit j: column j is salient
 *     sets     [out, ceil(groups salient / 8)]  bit g salient + i: set of the i-th salient column of group g
 *
 * value = s r c; in a salient column s r c + s' r' c'. shape.salient is how many columns of a group may be salient, so
 * that the bytes follow from it and not from the weights; 0: any, and all of them have set 0.
 */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>

enum { ROW = 6, COLUMN = 4, VALUES = 8 };

static bl_status check(const bl_format *f, const bl_shape *g, bl_err *e)
{
    bl_status st = bl_fmt_check(f, g, e);
    if (st == BL_OK && g->salient > g->group)
        st = bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " salient columns are too many of %" PRId64, f->name, g->salient,
                     g->group);
    return st;
}

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t groups = bl_shape_groups(g);
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, ROW * groups};
    out[2] = (bl_part_spec){"columns", g->scale, 1, COLUMN * g->in};
    out[3] = (bl_part_spec){"salient", BL_U8, 1, bl_code_bytes(g->in, 1)};
    out[4] = (bl_part_spec){"sets", BL_U8, g->out, BL_MAX(bl_code_bytes(groups * g->salient, 1), 1)};
    return 5;
}

/* The values of a column's codes for one row, `row` the six numbers of the row in its group: of a salient one the set
 * is bit 2. Returns how many. */
static int values_of(const bl_shape *g, const void *const part[], int64_t k, const float row[ROW], bool salient,
                     float value[VALUES])
{
    float c[COLUMN];
    int n = salient && g->salient ? VALUES : 4;
    for (int t = 0; t < (salient ? COLUMN : 2); t++) c[t] = bl_scale_at(part[2], g->scale, COLUMN * k + t);
    for (int q = 0; q < n; q++) {
        float s = q & 1 ? 1 : -1, s2 = q & 2 ? 1 : -1;
        int t = 2 * (q >> 2);
        value[q] = salient ? s * (row[2 + t] * c[t]) + s2 * (row[3 + t] * c[t + 1]) : s * (row[q >> 1] * c[q >> 1]);
    }
    return n;
}

static void row_numbers(const bl_shape *g, const void *const part[], int64_t r, int64_t group, float row[ROW])
{
    for (int t = 0; t < ROW; t++) row[t] = bl_scale_at(part[1], g->scale, (r * bl_shape_groups(g) + group) * ROW + t);
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t r, int64_t k0, int64_t n,
                   float *dst)
{
    int64_t set_bytes = BL_MAX(bl_code_bytes(bl_shape_groups(g) * g->salient, 1), 1);
    const uint8_t *codes = (const uint8_t *)part[0] + r * bl_code_bytes(g->in, f->bits), *salient = part[3],
                  *sets = (const uint8_t *)part[4] + r * set_bytes;
    float row[ROW], value[VALUES];
    for (int64_t group = k0 / g->group; group * g->group < k0 + n; group++) {
        int64_t first = group * g->group, end = BL_MIN(BL_MIN(first + g->group, g->in), k0 + n), i = 0;
        row_numbers(g, part, r, group, row);
        for (int64_t k = first; k < end; k++) {
            bool two = bl_code_at(salient, 1, k);
            if (k >= k0) { /* which are salient comes out of files: no bit is read outside the part */
                unsigned q = bl_code_at(codes, f->bits, k);
                if (two && i < g->salient) q |= (unsigned)bl_code_at(sets, 1, group * g->salient + i) << 2;
                values_of(g, part, k, row, two, value);
                dst[k - k0] = value[q];
            }
            i += two;
        }
    }
}

static bl_status put_row(const bl_format *f, const bl_shape *g, int64_t r, const float *scale, void *const part[],
                         bl_err *e)
{
    int64_t n = bl_shape_groups(g) * ROW;
    for (int64_t i = r * n; i < (r + 1) * n; i++)
        if (!isfinite(bl_scale_put(part[1], g->scale, i, scale[i], false)))
            return bl_fail_scale(f, g, r, (i - r * n) / ROW, scale[i], e);
    return BL_OK;
}

/* Of the values of its column the nearest to each weight, the first of equals. The parts `columns` and `salient` are
 * there. */
static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t bytes = bl_code_bytes(g->in, f->bits), bits = bl_shape_groups(g) * g->salient,
            set_bytes = BL_MAX(bl_code_bytes(bits, 1), 1);
    const void *const *in = (const void *const *)part;
    uint8_t *q = NULL, *sets = NULL;
    float row[ROW], value[VALUES];
    (void)zero;
    BL_TRY(check(f, g, e));
    for (int64_t i = 0; i < COLUMN * g->in; i++)
        if (!isfinite(bl_scale_at(part[2], g->scale, i))) {
            st = bl_fail(e, BL_E_NUMERIC, "%s: a number of column %" PRId64 " is not finite", f->name, i / COLUMN);
            goto out;
        }
    if (!(q = bl_new((size_t)g->in, 1, e)) || !(sets = bl_new((size_t)BL_MAX(bits, 1), 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        int64_t i = 0;
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        BL_TRY(put_row(f, g, r, scale, part, e));
        memset(sets, 0, (size_t)BL_MAX(bits, 1));
        for (int64_t k = 0; k < g->in; k++) {
            bool two = bl_code_at(part[3], 1, k);
            if (k % g->group == 0) {
                row_numbers(g, in, r, k / g->group, row);
                i = 0;
            }
            if (two && g->salient && i == g->salient) {
                st = bl_fail(e, BL_E_NUMERIC, "%s: more than %" PRId64 " columns of a group are salient", f->name,
                             g->salient);
                goto out;
            }
            int n = values_of(g, in, k, row, two, value), best = 0;
            for (int c = 1; c < n; c++)
                if (fabsf(value[c] - x[k]) < fabsf(value[best] - x[k])) best = c;
            q[k] = (uint8_t)(best & 3);
            if (two && g->salient) sets[k / g->group * g->salient + i++] = (uint8_t)(best >> 2);
        }
        bl_codes_write((uint8_t *)part[0] + r * bytes, f->bits, g->in, q);
        memset((uint8_t *)part[4] + r * set_bytes, 0, (size_t)set_bytes);
        bl_codes_write((uint8_t *)part[4] + r * set_bytes, 1, bits, sets);
    }
out:
    bl_free(q);
    bl_free(sets);
    return st;
}

/* No column is salient, all have 1; set 1 is what is larger than the mean size of the row in its group. */
static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g);
    float *scale = NULL;
    BL_TRY(check(f, g, e));
    memset(part[3], 0, (size_t)bl_code_bytes(g->in, 1));
    for (int64_t i = 0; i < COLUMN * g->in; i++) bl_scale_put(part[2], g->scale, i, i % COLUMN < 2, false);
    if (!(scale = bl_new((size_t)(g->out * groups * ROW), sizeof *scale, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < g->out * groups; i++) {
        int64_t k = i % groups * g->group, n = BL_MIN(g->group, g->in - k), count[2] = {0};
        const float *x = w + i / groups * g->in + k;
        double size = 0, sum[2] = {0};
        for (int64_t j = 0; j < n; j++) size += fabsf(x[j]) / (double)n;
        for (int64_t j = 0; j < n; j++) {
            sum[fabsf(x[j]) > size] += fabsf(x[j]);
            count[fabsf(x[j]) > size]++;
        }
        for (int t = 0; t < 2; t++) scale[i * ROW + t] = (float)(sum[t] / (double)BL_MAX(count[t], 1));
    }
    BL_TRY(encode(f, g, w, scale, NULL, part, e));
out:
    bl_free(scale);
    return st;
}

const bl_format bl_format_sign_outer = {.name = "sign_outer",
                                        .doc = "signs times a number of the row and one of the column, in some columns "
                                               "the sum of two",
                                        .salient = true,
                                        .no_zeros = true,
                                        .check = check,
                                        .encode = encode,
                                        BL_FORMAT_OF_CODES(2, BL_CODES_SIGN_OUTER)};
