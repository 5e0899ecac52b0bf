/* weight.c - packed weights on the device: as the kernels read them, decoded, packed, looked up by id. */
#include "cuda.h"
#include "kernels/fmt_gguf_grids.h"
#include "kernels/fmt_table.h"
#include "pack.h"
#include <string.h>

enum { TABLE = 256 }; /* values that each table has room for */
static const float *const tables[] = {bl_nf2, bl_nf3, bl_nf4, bl_nf8, bl_fp4, bl_fp8_e4m3, bl_dynamic_map};

bl_status bl_cuda_tables(bl_backend *be, bl_err *e)
{
    static const size_t length[] = {4, 8, 16, 256, 16, 256, 256};
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    float host[BL_COUNT(tables)][TABLE] = {{0}};
    void *p = NULL;
    for (size_t i = 0; i < BL_COUNT(tables); i++) memcpy(host[i], tables[i], length[i] * sizeof(float));
    BL_TRY(bl_cuda_status(be, cudaMallocAsync(&p, sizeof host, c->first), "allocating tables", e));
    c->tables = p;
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(p, host, sizeof host, cudaMemcpyHostToDevice, c->first), "tables", e));
    BL_TRY(bl_cuda_sync(be, e));
    bl_cu_set_grids(bl_grid_iq2_xxs, bl_grid_iq2_xs, bl_grid_iq2_s, bl_grid_iq3_xxs, bl_grid_iq3_s, bl_grid_iq1);
    BL_TRY(bl_cuda_launched(be, "tables", e));
out:
    return st;
}

const float *bl_cuda_table(const bl_cuda *c, const bl_format *f)
{
    for (size_t i = 0; i < BL_COUNT(tables); i++)
        if (f->table == tables[i]) return c->tables + i * TABLE;
    return NULL;
}

bl_status bl_cuda_factor(bl_backend *be, int64_t order, const int8_t **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    size_t bytes = (size_t)(order * order);
    void *p = NULL;
    if (!c->factors[order]) {
        BL_TRY(bl_cuda_alloc(be, bytes, &p, e));
        BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(p, bl_hadamard_factor(order), bytes, cudaMemcpyHostToDevice, c->now),
                              "a factor of a Hadamard matrix", e));
        c->factors[order] = p;
        p = NULL;
    }
    *out = c->factors[order];
out:
    bl_cuda_release(be, p, bytes);
    return st;
}

int bl_cuda_scale_type(bl_dtype t) { return t == BL_F32 ? 0 : t == BL_F16 ? 1 : 2; }

int bl_cuda_rule(bl_range_rule rule)
{
    static const int rules[] = {
        [BL_RANGE_ZERO] = BL_CU_ZERO,           [BL_RANGE_MINMAX] = BL_CU_MINMAX, [BL_RANGE_CLIP] = BL_CU_CLIP,
        [BL_RANGE_SYMMETRIC] = BL_CU_SYMMETRIC, [BL_RANGE_FULL] = BL_CU_FULL,     [BL_RANGE_SIGN] = BL_CU_SIGN,
        [BL_RANGE_GIVEN] = BL_CU_GIVEN};
    return rules[rule];
}

bl_status bl_cuda_sum(bl_backend *be, const double *at, int64_t n, const char *what, double *sum, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    double all = 0, *host = bl_new((size_t)n, sizeof *host, e);
    if (!host) return BL_E_NOMEM;
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(host, at, (size_t)n * sizeof *host, cudaMemcpyDeviceToHost, c->now), what,
                          e));
    BL_TRY(bl_cuda_sync(be, e));
    for (int64_t i = 0; i < n; i++) all += host[i];
    *sum = all;
out:
    bl_free(host);
    return st;
}

/* Of formats whose codes are arranged in ways of their own. */
static void outline_codes(const bl_cuda *c, const bl_weight *w, bl_codes_kind kind, bl_cu_weight *out)
{
    const bl_shape *g = &w->shape;
    out->kind = BL_CU_CODES;
    out->own = (bl_codes_weight){.kind = kind,
                                 .bits = w->format->bits,
                                 .scale_type = bl_cuda_scale_type(g->scale),
                                 .out = g->out,
                                 .in = g->in,
                                 .group = g->group,
                                 .salient = g->salient,
                                 .scale_bits = bl_shape_scale_bits(g),
                                 .scale_group = bl_shape_scale_group(g),
                                 .e4m3 = bl_cuda_table(c, bl_format_find("fp8_e4m3")),
                                 .table = bl_cuda_table(c, w->format),
                                 .map = bl_cuda_table(c, bl_format_find("dyn8"))};
    for (int i = 0; i < w->n_parts; i++) out->own.part[i] = bl_cuda_at(&w->part[i]);
}

bl_status bl_cuda_weight(const bl_backend *be, const bl_weight *w, bl_cu_weight *out, bl_err *e)
{
    const bl_format *f = w->format;
    const bl_shape *g = &w->shape;
    *out = (bl_cu_weight){.bits = f->bits, .out = g->out, .in = g->in, .codes = bl_cuda_at(&w->part[0])};
    out->row_bytes = w->part[0].stride[0] * (int64_t)bl_dtype_bytes(w->part[0].dtype);
    switch (f->kind) {
    case BL_FMT_DENSE:
        out->kind = BL_CU_DENSE;
        out->bits = w->part[0].dtype == BL_F32 ? 32 : w->part[0].dtype == BL_F16 ? 16 : 15;
        return BL_OK;
    case BL_FMT_BLOCK:
        out->kind = BL_CU_BLOCK;
        out->id = f->ggml_type;
        out->block = f->block;
        out->block_bytes = f->block_bytes;
        return BL_OK;
    case BL_FMT_CODES: outline_codes(be->own, w, f->codes, out); return BL_OK;
    case BL_FMT_INT:
        if (g->zero == BL_ZERO_FLOAT || g->zero == BL_ZERO_MIDDLE) {
            outline_codes(be->own, w, g->zero == BL_ZERO_FLOAT ? BL_CODES_FLOAT : BL_CODES_MIDDLE, out);
            return BL_OK;
        }
        out->kind = BL_CU_INT;
        out->zero_type = (int)g->zero;
        if (g->zero != BL_ZERO_NONE) {
            out->zeros = bl_cuda_at(&w->part[2]);
            out->zero_bytes = w->part[2].stride[0];
        }
        break;
    case BL_FMT_TABLE:
        out->kind = BL_CU_TABLE;
        out->table = bl_cuda_table(be->own, f);
        out->e4m3 = f->table == bl_fp8_e4m3;
        if (!out->table) return bl_fail(e, BL_E_UNSUPPORTED, "format %s has no table on the device", f->name);
        break;
    }
    out->group = g->group;
    out->groups = bl_shape_groups(g);
    out->scales = bl_cuda_at(&w->part[1]);
    out->scale_type = bl_cuda_scale_type(g->scale);
    if (g->double_quant) {
        out->scale_type = 3;
        out->map = bl_cuda_table(be->own, bl_format_find("dyn8"));
        out->scales2 = bl_cuda_at(&w->part[2]);
        out->offset = bl_cuda_at(&w->part[3]);
    }
    return BL_OK;
}

/* The kernels read every format as it is. */
bl_status bl_cuda_prepare(bl_backend *be, bl_weight *w, bl_err *e)
{
    (void)be;
    (void)w;
    (void)e;
    return BL_OK;
}

bl_status bl_cuda_unpack(bl_backend *be, const bl_unpack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight w;
    BL_TRY(bl_check_unpack(be, a, e));
    BL_TRY(bl_cuda_weight(be, a->w, &w, e));
    bl_cu_unpack(c->now, &w, a->row0, a->rows, NULL, bl_cuda_at(&a->y), true, a->y.stride[0]);
    BL_TRY(bl_cuda_launched(be, "unpack", e));
out:
    return st;
}

bl_status bl_cuda_embed(bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight w;
    BL_TRY(bl_check_embed(be, a, e));
    BL_TRY(bl_cuda_weight(be, a->w, &w, e));
    bl_cu_unpack(c->now, &w, 0, a->y.dim[0], bl_cuda_at(&a->ids), bl_cuda_at(&a->y), false, a->y.stride[0]);
    BL_TRY(bl_cuda_launched(be, "embed", e));
out:
    return st;
}

/* ---- packing: dense types, integers and tables here, the other formats on the processor ---- */
static bl_status parts_on_host(const bl_weight *w, void **part, bl_err *e)
{
    for (int i = 0; i < w->n_parts; i++)
        if (!(part[i] = bl_new((size_t)bl_tensor_bytes(&w->part[i]), 1, e))) return BL_E_NOMEM;
    return BL_OK;
}

static bl_status to_host(bl_backend *be, const bl_tensor *t, float **out, bl_err *e)
{
    if (!t->buf) return BL_OK;
    if (!(*out = bl_new((size_t)bl_tensor_count(t), sizeof **out, e))) return BL_E_NOMEM;
    return bl_cuda_download(be, t, *out, e);
}

/* The sentence about group `at`, from the encoder of plain C, which is given that row alone. */
static bl_status refused(bl_backend *be, const bl_pack_args *a, int64_t at, bl_err *e)
{
    bl_status st = BL_OK;
    bl_shape g = a->w->shape;
    int64_t groups = bl_shape_groups(&g), row = at / groups;
    bl_tensor x = bl_tensor_rows(a->x, row, 1), scale = a->scale, zero = a->zero;
    float *hx = NULL, *hs = NULL, *hz = NULL;
    bl_weight one = *a->w;
    void *part[BL_MAX_PARTS] = {0};
    bl_fit_range *const any = a->rule == BL_RANGE_GIVEN ? NULL : bl_fit_zero;
    g.out = one.shape.out = 1;
    for (int i = 0; i < one.n_parts; i++) one.part[i] = bl_tensor_rows(one.part[i], 0, 1);
    if (scale.buf) scale = bl_tensor_rows(scale, row, 1);
    if (zero.buf) zero = bl_tensor_rows(zero, row, 1);
    BL_TRY(to_host(be, &x, &hx, e));
    BL_TRY(to_host(be, &scale, &hs, e));
    BL_TRY(to_host(be, &zero, &hz, e));
    BL_TRY(parts_on_host(&one, part, e));
    st = bl_int_encode(one.format, &g, hx, any, hs, hz, part, e);
    if (st == BL_OK)
        st = bl_fail(e, BL_E_NUMERIC, "%s: group %lld of the row cannot be stored", one.format->name,
                     (long long)(at % groups));
    bl_within(e, "row %lld", (long long)row);
out:
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    bl_free(hx);
    bl_free(hs);
    bl_free(hz);
    return st;
}

/* Codes of one bit have one rule; where scales are given none is asked for. */
static int rule_of(const bl_pack_args *a)
{
    if (a->w->format->bits == 1) return BL_CU_SIGN;
    if (a->rule == BL_RANGE_OWN || a->rule == BL_RANGE_GIVEN)
        return a->w->shape.zero == BL_ZERO_NONE ? BL_CU_SYMMETRIC : BL_CU_ZERO;
    return bl_cuda_rule(a->rule);
}

/* From the sums of rows: what was lost, then what was there. */
static bl_status give_sums(bl_backend *be, const bl_pack_args *a, const double *lost, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = a->w->shape.out;
    if (a->sq_error) BL_TRY(bl_cuda_sum(be, lost, out, "pack", a->sq_error, e));
    if (a->sq_weight) BL_TRY(bl_cuda_sum(be, lost + out, out, "pack", a->sq_weight, e));
out:
    return st;
}

static bl_status pack_int(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const bl_shape *g = &a->w->shape;
    uint64_t out = (uint64_t)g->out, groups = out * (uint64_t)bl_shape_groups(g),
             bytes = sizeof(unsigned long long) + 2 * out * sizeof(double) + 2 * groups * sizeof(float);
    unsigned long long bad = 0;
    void *space;
    bl_cu_pack p = {.x = bl_cuda_at(&a->x),
                    .scale = a->rule == BL_RANGE_GIVEN ? bl_cuda_at(&a->scale) : NULL,
                    .zero = a->rule == BL_RANGE_GIVEN ? bl_cuda_at(&a->zero) : NULL,
                    .rule = rule_of(a),
                    .mse = a->mse};
    BL_TRY(bl_cuda_weight(be, a->w, &p.w, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, bytes, &space, e));
    p.bad = space;
    p.lost = (double *)space + 1;
    bl_cu_fill(c->now, space, 8, 0, 1);
    bl_cu_pack_int(c->now, &p);
    BL_TRY(bl_cuda_launched(be, "pack", e));
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(&bad, p.bad, sizeof bad, cudaMemcpyDeviceToHost, c->now), "pack", e));
    BL_TRY(bl_cuda_sync(be, e));
    if (bad) {
        st = refused(be, a, (int64_t)~bad, e);
        goto out;
    }
    BL_TRY(give_sums(be, a, p.lost, e));
out:
    return st;
}

static bl_cu_codebook book_of(const float *table, int bits)
{
    bl_codebook b;
    bl_cu_codebook out;
    bl_codebook_init(&b, table, 1 << bits);
    out = (bl_cu_codebook){.zero = b.zero, .span = b.span, .coarse = b.coarse};
    memcpy(out.bound, b.bound, sizeof out.bound);
    memcpy(out.code, b.code, sizeof out.code);
    return out;
}

static bl_status pack_table(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const bl_shape *g = &a->w->shape;
    const float *table = a->w->format->table;
    uint64_t out = (uint64_t)g->out, bytes = sizeof(unsigned long long) + 2 * out * sizeof(double) +
                                             out * (uint64_t)bl_shape_groups(g) * sizeof(float);
    unsigned long long bad = 0;
    void *space;
    bl_cu_pack_codes p = {.x = bl_cuda_at(&a->x),
                          .book = book_of(table, a->w->format->bits),
                          .map = book_of(bl_dynamic_map, 8),
                          .top = table == bl_fp8_e4m3 ? 448 : 1};
    BL_TRY(bl_cuda_weight(be, a->w, &p.w, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, bytes, &space, e));
    p.bad = space;
    p.lost = (double *)space + 1;
    p.exact = (float *)(p.lost + 2 * out);
    bl_cu_fill(c->now, space, 8, 0, 1);
    bl_cu_pack_table(c->now, &p);
    BL_TRY(bl_cuda_launched(be, "pack", e));
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(&bad, p.bad, sizeof bad, cudaMemcpyDeviceToHost, c->now), "pack", e));
    BL_TRY(bl_cuda_sync(be, e));
    if (bad) {
        st = bl_cuda_pack_there(be, a, e); /* it has the sentence */
        goto out;
    }
    BL_TRY(give_sums(be, a, p.lost, e));
out:
    return st;
}

/* Dense types, and codes with given scales and zero points. */
static bool is_plain(const bl_pack_args *a, const bl_cu_weight *w)
{
    const bl_codes_kind k = w->own.kind;
    return w->kind == BL_CU_DENSE ||
           (w->kind == BL_CU_CODES && a->rule == BL_RANGE_GIVEN &&
            (k == BL_CODES_MIDDLE || ((k == BL_CODES_FLOAT || k == BL_CODES_DOWN) && a->zero.buf)));
}

static bl_status pack_plain(bl_backend *be, const bl_pack_args *a, const bl_cu_weight *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const bl_shape *g = &a->w->shape;
    const int64_t groups = w->kind == BL_CU_DENSE ? 0 : bl_tensor_count(&a->scale);
    uint64_t out = (uint64_t)g->out, bytes = 2 * out * sizeof(double) + 2 * (uint64_t)groups * sizeof(float) + 8;
    unsigned bad = 0;
    void *space;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, bytes, &space, e));
    double *lost = space;
    float *s = (float *)(lost + 2 * out), *z = s + groups;
    void *flag = z + groups;
    bl_cu_fill(c->now, flag, 4, 0, 1);
    if (w->kind == BL_CU_DENSE) bl_cu_pack_dense(c->now, bl_cuda_at(&a->x), w, lost, flag);
    else
        bl_cu_pack_between(c->now, &(bl_cu_between){.x = bl_cuda_at(&a->x),
                                                    .scale = bl_cuda_at(&a->scale),
                                                    .zero = bl_cuda_at(&a->zero),
                                                    .w = w->own,
                                                    .groups = groups,
                                                    .s = s,
                                                    .z = z,
                                                    .lost = lost,
                                                    .bad = flag});
    BL_TRY(bl_cuda_launched(be, "pack", e));
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(&bad, flag, sizeof bad, cudaMemcpyDeviceToHost, c->now), "pack", e));
    BL_TRY(bl_cuda_sync(be, e));
    if (bad) {
        st = bl_cuda_pack_there(be, a, e); /* it has the sentence */
        goto out;
    }
    BL_TRY(give_sums(be, a, lost, e));
out:
    return st;
}

bl_status bl_cuda_pack(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    bl_status st = bl_check_pack(be, a, e);
    if (st != BL_OK) return st;
    st = a->w->format->check(a->w->format, &a->w->shape, e);
    if (st != BL_OK) return st;
    bl_cu_weight w;
    st = bl_cuda_weight(be, a->w, &w, e); /* refuses what no kernel reads */
    if (st != BL_OK) return st;
    if (w.kind == BL_CU_INT) return pack_int(be, a, e);
    if (is_plain(a, &w)) return pack_plain(be, a, &w, e);
    return w.kind == BL_CU_TABLE ? pack_table(be, a, e) : bl_cuda_pack_there(be, a, e);
}
