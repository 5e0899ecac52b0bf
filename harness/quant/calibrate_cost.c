/* calibrate_cost.c - bytes and flops of calibration, from the shape of the model alone. */
#include "calibrate_impl.h"
#include "harness/model/size.h"

enum { PASS_ROWS = 2048, WEIGHT_BYTES = 4 /* at most */ };

int64_t bl_calib_pass_windows(int64_t n, int64_t seqlen) { return BL_MIN(BL_MAX(PASS_ROWS / seqlen, 1), n); }

typedef struct widths {
    double in[4];     /* of the inputs of q k v, o, gate up, down */
    double params[4]; /* of the linears that read them */
} widths;

static widths of(const bl_config *c)
{
    double dim = (double)c->dim, q = (double)bl_width_of(c, BL_WIDTH_Q), kv = (double)bl_width_of(c, BL_WIDTH_KV),
           ffn = (double)c->ffn_dim;
    return (widths){.in = {dim, q, dim, ffn}, .params = {dim * (q + 2 * kv), q * dim, 2 * dim * ffn, ffn * dim}};
}

void bl_calib_size_of(const bl_config *c, int64_t n, int64_t seqlen, unsigned wants, bl_calib_size *out)
{
    widths w = of(c);
    double rows = (double)(bl_calib_pass_windows(n, seqlen) * seqlen), most_in = 0, block = 0;
    double chunk = BL_MIN(rows, (double)bl_chunk_rows(c)) * (double)bl_chunk_row_bytes(c);
    double pass = rows * (double)bl_pass_row_bytes(c, BL_KV_ACT) + chunk;

    for (int i = 0; i < 4; i++) {
        if (wants & BL_CALIB_HESSIAN) pass += w.in[i] * w.in[i] * sizeof(double);
        if (wants & BL_CALIB_CHANNELS) pass += w.in[i] * 3 * sizeof(double);
        if (wants & BL_CALIB_MISMATCH) pass += w.in[i] * (w.in[i] * sizeof(double) + rows * sizeof(float));
        if (wants & BL_CALIB_INPUTS) pass += w.in[i] * BL_CALIB_SAMPLE_ROWS * sizeof(float);
        most_in = BL_MAX(most_in, w.in[i]);
        block += w.params[i] * WEIGHT_BYTES;
    }
    double solve = (double)(c->ffn_dim * c->dim) * 2 * sizeof(float); /* a dense weight and what is made of it */
    if (wants & BL_CALIB_HESSIAN) solve += most_in * most_in * (sizeof(float) + sizeof(double)); /* factor, ordered H */
    double models = 1, streams = 1;
    if (wants & BL_CALIB_ORIGINAL) { /* and what it makes; of each weight itself, rounded, gradient, two sets learned */
        models = 2;
        streams = 3;
        solve += 2 * block + 2 * (double)seqlen * (double)bl_pass_row_bytes(c, BL_KV_ACT);
    }
    if (wants & BL_CALIB_HELD) streams = 5; /* of the set's first block */
    if (wants & BL_CALIB_MISMATCH) {        /* two models side by side; ordered, factor and weight in doubles */
        models = streams = 2;
        solve += (3 * most_in * most_in + (double)(c->ffn_dim * c->dim)) * sizeof(double);
    }
    *out = (bl_calib_size){.stream = (uint64_t)(streams * (double)(n * seqlen * c->dim)) * sizeof(float),
                           .pass = (uint64_t)pass,
                           .beside = (uint64_t)(pass + models * block + solve)};
}

double bl_calib_work(const bl_config *c, int64_t n, int64_t seqlen, unsigned wants, bool sequential,
                     bool original_inputs)
{
    /* Measured beside the product: a pass has more than its products; a Hessian's sums leave f32 every 128 rows. */
    static const double beside = 1.15, moments = 1.6;
    widths w = of(c);
    double tokens = (double)(n * seqlen), layers = (double)c->n_layers, before = 0, gathered = 0, in = 0;
    double attention = 2 * (double)bl_width_of(c, BL_WIDTH_Q) * (double)seqlen;

    for (int i = 0; i < 4; i++) {
        bool ends = sequential || i == 3; /* a pass that ends at the input of these */
        if (ends) gathered += before;
        before += 2 * w.params[i] + (i == 0 ? attention : 0);
        in += w.in[i] * w.in[i];
    }
    double work = tokens * beside * (original_inputs ? layers * before : layers * gathered + (layers - 1) * before);
    if (wants & BL_CALIB_ORIGINAL) work = 2 * work + tokens * beside * layers * before; /* and targets */
    if (wants & BL_CALIB_MISMATCH) work = 2 * work + 2 * tokens * layers * moments * in;
    if (wants & BL_CALIB_HESSIAN) work += tokens * layers * moments * in;
    return work;
}
