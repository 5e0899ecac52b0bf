/* Codes, scales and decoded weights against bitsandbytes, gguf, ggml and four round-to-nearest libraries. */
#include "golden_file.h"
#include "kernels/format.h"
#include <ctype.h>
#include <math.h>

static bl_err e;

/* A packed weight in host memory, its parts allocated to the byte. */
typedef struct packed {
    const bl_format *f;
    bl_shape g;
    int n;
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS];
} packed;

static packed packed_new(const char *name, bl_shape g)
{
    packed p = {.f = bl_format_find(name), .g = g};
    if (!p.f) fail_msg("no format %s", name);
    assert_ok(p.f->check(p.f, &g, &e));
    p.n = p.f->parts(p.f, &g, p.spec);
    for (int i = 0; i < p.n; i++)
        p.part[i] = calloc((size_t)(p.spec[i].rows * p.spec[i].cols), bl_dtype_bytes(p.spec[i].dtype));
    return p;
}

static void packed_free(packed *p)
{
    for (int i = 0; i < p->n; i++) free(p->part[i]);
}

static float *unpacked(const packed *p)
{
    float *y = malloc((size_t)(p->g.out * p->g.in) * sizeof *y);
    for (int64_t r = 0; r < p->g.out; r++)
        p->f->unpack(p->f, &p->g, (const void *const *)p->part, r, 0, p->g.in, y + r * p->g.in);
    return y;
}

static void assert_near(const char *what, const float *got, const float *want, int64_t n, double relative)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= relative * top))
            fail_msg("%s: element %lld is %.9g, wanted %.9g", what, (long long)i, (double)got[i], (double)want[i]);
}

static void assert_bytes(const char *what, const uint8_t *got, const uint8_t *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (got[i] != want[i]) fail_msg("%s: byte %lld is %d, wanted %d", what, (long long)i, got[i], want[i]);
}

static const char *key(const char *fmt, ...)
{
    static char text[8][128];
    static unsigned at;
    char *s = text[at++ % 8];
    va_list a;
    va_start(a, fmt);
    vsnprintf(s, 128, fmt, a);
    va_end(a);
    return s;
}

/* ---- bitsandbytes ---- */
static const char *const weights[] = {"edge", "ragged", "gauss", "heavy", "real_k", "real_up"};
static size_t n_weights(void)
{
    return getenv("BITLADDER_GOLDEN") ? BL_COUNT(weights) : 2;
} /* the first are always there */

/* Its blocks run over the flattened weight, so the weight is taken as one long row. */
static void four_bit_codes_equal_bitsandbytes(void **state)
{
    (void)state;
    static const char *const types[] = {"nf4", "fp4"}, *const blocks[] = {"64", "128", "dq"};
    golden g;
    golden_open(&g, golden_path("formats/bitsandbytes.safetensors"));
    for (size_t w = 0; w < n_weights(); w++)
        for (int t = 0; t < 2; t++)
            for (int b = 0; b < 3; b++) {
                int ndim;
                int64_t dim[8];
                const float *x = golden_get(&g, key("%s.weight", weights[w]), "F32", &ndim, dim);
                int64_t n = dim[0] * dim[1];
                bool dq = b == 2;
                packed p = packed_new(
                    types[t],
                    (bl_shape){.out = 1, .in = n, .group = b == 1 ? 128 : 64, .scale = BL_F32, .double_quant = dq});
                int64_t groups = bl_shape_groups(&p.g);
                const char *name = key("%s.%s.%s", weights[w], types[t], blocks[b]);

                assert_ok(p.f->pack(p.f, &p.g, x, p.part, &e));
                const uint8_t *want = golden_need(&g, key("%s.packed", name), "U8", (n + 1) / 2), *got = p.part[0];
                for (int64_t i = 0; i < n; i++) { /* first of two in its high nibble, in ours the low one */
                    int a = got[i / 2] >> 4 * (i % 2) & 15, c = want[i / 2] >> 4 * (1 - i % 2) & 15;
                    if (a != c)
                        fail_msg("%s: code %lld is %d, wanted %d (weight %g)", name, (long long)i, a, c, (double)x[i]);
                }
                if (dq) {
                    assert_bytes(name, p.part[1], golden_need(&g, key("%s.absmax_codes", name), "U8", groups), groups);
                    assert_near(key("%s.absmax2", name), p.part[2],
                                golden_need(&g, key("%s.absmax2", name), "F32", (groups + 255) / 256),
                                (groups + 255) / 256, 2e-7);
                    assert_near(key("%s.offset", name), p.part[3], golden_need(&g, key("%s.offset", name), "F32", 1), 1,
                                2e-7);
                } else
                    assert_near(key("%s.absmax", name), p.part[1],
                                golden_need(&g, key("%s.absmax", name), "F32", groups), groups, 0);
                float *y = unpacked(&p);
                assert_near(name, y, golden_need(&g, key("%s.dequant", name), "F32", n), n, 1e-6);
                free(y);
                packed_free(&p);
            }
    golden_close(&g);
}

static void dynamic_blocks_equal_bitsandbytes(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, golden_path("formats/bitsandbytes.safetensors"));
    for (size_t w = 0; w < n_weights(); w++) {
        int ndim;
        int64_t dim[8];
        const float *x = golden_get(&g, key("%s.weight", weights[w]), "F32", &ndim, dim);
        int64_t n = dim[0] * dim[1];
        packed p = packed_new("dyn8", (bl_shape){.out = 1, .in = n, .group = 256, .scale = BL_F32});
        assert_ok(p.f->pack(p.f, &p.g, x, p.part, &e));
        assert_bytes(weights[w], p.part[0], golden_need(&g, key("%s.int8dyn.256.codes", weights[w]), "U8", n), n);
        assert_near(weights[w], p.part[1],
                    golden_need(&g, key("%s.int8dyn.256.absmax", weights[w]), "F32", bl_shape_groups(&p.g)),
                    bl_shape_groups(&p.g), 0);
        float *y = unpacked(&p);
        assert_near(weights[w], y, golden_need(&g, key("%s.int8dyn.256.dequant", weights[w]), "F32", n), n, 1e-6);
        free(y);
        packed_free(&p);
    }
    golden_close(&g);
}

static void tables_equal_bitsandbytes(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, golden_path("formats/bitsandbytes.safetensors"));
    assert_near("nf4", bl_format_find("nf4")->table, golden_need(&g, "table.nf4", "F32", 16), 16, 0);
    assert_near("fp4", bl_format_find("fp4")->table, golden_need(&g, "table.fp4", "F32", 16), 16, 0);
    assert_near("dyn8", bl_format_find("dyn8")->table, golden_need(&g, "table.dynamic_signed", "F32", 256), 256, 0);
    golden_close(&g);
}

/* ---- GGUF ---- */
/* Every tensor "<name>.<TYPE>.<tail>" is decoded and compared with what was decoded there, or by its error; with a
 * weight beside it, and where asked and we have an encoder, encoded too. Returns how many. */
static int compare_blocks(const char *file, const char *tail, bool decoded, bool encode)
{
    golden g;
    int done = 0;
    golden_open(&g, golden_path(file));
    for (const bl_json *t = bl_json_first(g.header); t; t = bl_json_next(t)) {
        char name[64], type[16], rest[32];
        int ndim;
        int64_t dim[8];
        if (sscanf(bl_json_key(t), "%63[^.].%15[^.].%31s", name, type, rest) != 3 || strcmp(rest, tail)) continue;
        const uint8_t *bytes = golden_get(&g, bl_json_key(t), "U8", &ndim, dim);
        int64_t out = dim[0], row_bytes = dim[1];
        for (char *c = type; *c; c++) *c = (char)tolower(*c);
        const char *ours = !strcmp(type, "f16") ? "fp16" : type;
        const bl_format *f = bl_format_find(ours);
        if (!f) {
            assert_string_equal(type, "nvfp4");
            continue;
        }
        int64_t in = f->block ? row_bytes / f->block_bytes * f->block : row_bytes * 8 / f->bits;

        packed p = packed_new(ours, (bl_shape){.out = out, .in = in});
        assert_int_equal(bl_format_bytes(f, &p.g), out * row_bytes);
        memcpy(p.part[0], bytes, (size_t)(out * row_bytes));
        float *y = unpacked(&p);
        const float *w = golden_get(&g, key("%s.weight", name), "F32", NULL, NULL);
        if (decoded) {
            char up[16];
            sscanf(bl_json_key(t), "%*[^.].%15[^.]", up);
            assert_near(bl_json_key(t), y, golden_need(&g, key("%s.%s.dequant", name, up), "F32", out * in), out * in,
                        1e-6);
        } else { /* the recorded sum of squared errors of the decoded blocks */
            const double *want = golden_need(&g, key("%s.error", bl_json_key(t)), "F64", 2);
            double sum = 0;
            for (int64_t i = 0; i < out * in; i++) sum += ((double)y[i] - w[i]) * ((double)y[i] - w[i]);
            if (fabs(sum - want[0]) > 1e-6 * want[0])
                fail_msg("%s: error %.9g, wanted %.9g", bl_json_key(t), sum, want[0]);
        }
        if (encode && w && f->pack) {
            memset(p.part[0], 0xee, (size_t)(out * row_bytes));
            assert_ok(f->pack(f, &p.g, w, p.part, &e));
            assert_bytes(bl_json_key(t), p.part[0], bytes, out * row_bytes);
        }
        free(y);
        packed_free(&p);
        done++;
    }
    golden_close(&g);
    return done;
}

static void gguf_blocks_decode_and_encode_as_gguf_does(void **state)
{
    (void)state;
    assert_int_equal(compare_blocks("formats/gguf.safetensors", "bytes", true, true),
                     (getenv("BITLADDER_GOLDEN") ? 6 * 7 : 7) + 17);
}

static void blocks_quantized_by_ggml_decode_with_the_recorded_error(void **state)
{
    (void)state;
    assert_true(compare_blocks("ptq/ggml.safetensors", "plain", false, true) >= 15);
    assert_true(compare_blocks("ptq/ggml.safetensors", "imatrix", false, false) >= 15);
}

/* Sum of squared errors, [1] weighted. */
static void block_error(const packed *p, const float *w, const float *importance, double error[2])
{
    float *y = unpacked(p);
    error[0] = error[1] = 0;
    for (int64_t i = 0; i < p->g.out * p->g.in; i++) {
        double d = (double)y[i] - w[i];
        error[0] += d * d;
        error[1] += d * d * (importance ? importance[i % p->g.in] : 1);
    }
    free(y);
}

/* What is searched for is what is recorded: the sum of squares, and that weighted with the importance of inputs. */
static void searched_blocks_are_no_further_than_those_of_ggml(void **state)
{
    (void)state;
    golden g;
    int done = 0;
    golden_open(&g, golden_path("ptq/ggml.safetensors"));
    for (const bl_json *t = bl_json_first(g.header); t; t = bl_json_next(t)) {
        char name[64], type[16], rest[32];
        int ndim;
        int64_t dim[8];
        if (sscanf(bl_json_key(t), "%63[^.].%15[^.].%31s", name, type, rest) != 3) continue;
        bool weighted = !strcmp(rest, "imatrix");
        if (!weighted && strcmp(rest, "plain")) continue;
        const double *want = golden_need(&g, key("%s.error", bl_json_key(t)), "F64", 2);
        for (char *c = type; *c; c++) *c = (char)tolower(*c);
        const float *w = golden_get(&g, key("%s.weight", name), "F32", &ndim, dim);
        packed p = packed_new(type, (bl_shape){.out = dim[0], .in = dim[1]});
        const float *importance = weighted ? golden_need(&g, key("%s.imatrix", name), "F32", dim[1]) : NULL;
        double error[2];
        assert_ok(p.f->pack_least(p.f, &p.g, w, importance, p.part, &e));
        block_error(&p, w, importance, error);
        if (error[weighted] > 1.00001 * want[weighted])
            fail_msg("%s: error %.9g, ggml's %.9g", bl_json_key(t), error[weighted], want[weighted]);
        packed_free(&p);
        done++;
    }
    assert_true(done >= 43);
    golden_close(&g);
}

/* ---- round to nearest ---- */
static const struct {
    const char *library;
    bool symmetric;
    bl_fit_range *fit;
    bl_zero zero;
} libraries[] = {
    {"gptqmodel", false, bl_fit_zero, BL_ZERO_PACKED},
    {"compressed_tensors", false, bl_fit_zero, BL_ZERO_PACKED},
    {"torchao", false, bl_fit_zero, BL_ZERO_PACKED},
    {"autoawq", false, bl_fit_clip, BL_ZERO_PACKED},
    {"autoawq", true, bl_fit_symmetric, BL_ZERO_NONE},
    {"gptqmodel", true, bl_fit_full, BL_ZERO_NONE},
    {"gptqmodel_mse", false, bl_fit_zero_mse, BL_ZERO_PACKED},
    {"gptqmodel_mse", true, bl_fit_full_mse, BL_ZERO_NONE},
};
static const struct {
    const char *name;
    int bits, group;
    bool symmetric;
} settings[] = {
    {"w2g32", 2, 32, false},    {"w3g64", 3, 64, false},    {"w4g32", 4, 32, false},    {"w4pc", 4, -1, false},
    {"w2g64_sym", 2, 64, true}, {"w3g32_sym", 3, 32, true}, {"w4g64_sym", 4, 64, true}, {"w8pc_sym", 8, -1, true},
};

static double power_error(const float *w, int64_t n, double scale, double zero, int bits)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow(fabs((fmin(fmax(rint(w[i] / scale) + zero, 0), (1 << bits) - 1) - zero) * scale - w[i]), 2.4);
    return sum;
}

/* Groups whose range is below the floor that a library puts under its scale are left out: there the libraries differ on
 * purpose. */
static void compare_rtn(const golden *g, const char *weight, size_t lib, size_t set)
{
    int ndim;
    int64_t dim[8];
    const float *w = golden_get(g, key("%s.weight", weight), "F32", &ndim, dim);
    int64_t out = dim[0], in = dim[1], group = settings[set].group < 0 ? in : settings[set].group;
    const char *name = key("%s.%s.%s", weight, settings[set].name, libraries[lib].library);
    char scales[96];
    snprintf(scales, sizeof scales, "%s.scale", name);
    /* recorded at 2 and 3 bits; its search at 2 bits with zero points tries their neighbours too, which is not
     * published */
    if (!strcmp(libraries[lib].library, "gptqmodel_mse") && (!golden_get(g, scales, NULL, NULL, NULL) || set == 0))
        return;
    packed p = packed_new(
        key("int%d", settings[set].bits),
        (bl_shape){.out = out, .in = in, .group = group, .zero = libraries[lib].zero, .scale = BL_F32});
    int64_t groups = bl_shape_groups(&p.g);
    const float *want_scale = golden_need(g, key("%s.scale", name), "F32", out * groups);
    const float *want_value = golden_get(g, key("%s.dequant", name), "F32", NULL, NULL);
    const uint8_t *want_u8 = NULL;
    const int16_t *want_i16 = NULL;
    bool exact = !strncmp(libraries[lib].library, "gptqmodel", 9) || want_value;
    int shift = !strcmp(libraries[lib].library, "compressed_tensors") ? 1 << (settings[set].bits - 1) : 0;
    if (!want_value && exact) want_u8 = golden_need(g, key("%s.codes", name), "U8", out * in);
    else if (!want_value) want_i16 = golden_need(g, key("%s.codes", name), "I16", out * in);

    assert_ok(bl_int_encode(p.f, &p.g, w, libraries[lib].fit, NULL, NULL, p.part, &e));
    int64_t differ = 0, compared = 0;
    double ours = 0, theirs = 0;
    uint8_t *q = malloc((size_t)in);
    float *y = unpacked(&p), scale[64], zero[64];
    for (int64_t r = 0; r < out; r++) {
        bl_int_decode(p.f, &p.g, (const void *const *)p.part, r, q, scale, zero);
        for (int64_t k = 0; k < in; k++) {
            int64_t i = r * in + k, c = k / group;
            double top = 0, least = 0;
            for (int64_t j = c * group; j < BL_MIN(in, (c + 1) * group); j++) {
                top = fmax(top, fabsf(w[r * in + j]));
                least = fmin(least, w[r * in + j]);
            }
            if (top == 0) { /* a group of zeros stays zero, whatever its scale */
                assert_true(y[i] == 0);
                if (strncmp(libraries[lib].library, "gptqmodel", 9)) continue;
            }
            if (libraries[lib].symmetric && top < 1e-5) continue;
            /* its symmetric range of a group without negative weights is 0..max, of which half the codes are left */
            if (libraries[lib].fit == bl_fit_full && least == 0) continue;
            if (libraries[lib].fit == bl_fit_full_mse && least == 0) continue;
            if (!strcmp(libraries[lib].library, "gptqmodel_mse") && scale[c] != want_scale[r * groups + c]) {
                const float *x = w + r * in + c * group;
                double mine = power_error(x, BL_MIN(group, in - c * group), scale[c], zero[c], settings[set].bits);
                double other = power_error(x, BL_MIN(group, in - c * group), want_scale[r * groups + c], zero[c],
                                           settings[set].bits);
                if (fabs(mine / other - 1) < 1e-6) continue; /* a tie between two ranges */
            }
            if (fabs(scale[c] / want_scale[r * groups + c] - 1) > 1e-6)
                fail_msg("%s: scale of row %lld, group %lld is %g, wanted %g", name, (long long)r, (long long)c,
                         (double)scale[c], (double)want_scale[r * groups + c]);
            int d = want_value ? (int)rint(fabs(y[i] - want_value[i]) / scale[c])
                               : abs(q[k] - (want_u8 ? want_u8[i] : want_i16[i] + shift));
            if (d > 1) fail_msg("%s: row %lld, column %lld is %d codes away", name, (long long)r, (long long)k, d);
            double v = (double)y[i] + (want_value
                                           ? (double)want_value[i] - y[i]
                                           : scale[c] * (double)((want_u8 ? want_u8[i] : want_i16[i] + shift) - q[k]));
            ours += ((double)y[i] - w[i]) * ((double)y[i] - w[i]);
            theirs += (v - w[i]) * (v - w[i]);
            differ += d != 0;
            compared++;
        }
    }
    if (exact ? differ > 0 : differ > BL_MAX(compared / 1000, 3))
        fail_msg("%s: %lld of %lld codes differ", name, (long long)differ, (long long)compared);
    if (fabs(ours - theirs) > 1e-4 * theirs) fail_msg("%s: squared error %.9g, wanted %.9g", name, ours, theirs);
    free(y);
    free(q);
    packed_free(&p);
}

static void rtn_codes_equal_those_of_four_libraries(void **state)
{
    (void)state;
    static const char *const names[] = {"edge", "tiny", "smol"};
    golden g;
    golden_open(&g, golden_path("ptq/rtn.safetensors"));
    for (size_t w = 0; w < (getenv("BITLADDER_GOLDEN") ? BL_COUNT(names) : 1); w++)
        for (size_t l = 0; l < BL_COUNT(libraries); l++)
            for (size_t s = 0; s < BL_COUNT(settings); s++)
                if (libraries[l].symmetric == settings[s].symmetric) compare_rtn(&g, names[w], l, s);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_bit_codes_equal_bitsandbytes),
        cmocka_unit_test(dynamic_blocks_equal_bitsandbytes),
        cmocka_unit_test(tables_equal_bitsandbytes),
        cmocka_unit_test(gguf_blocks_decode_and_encode_as_gguf_does),
        cmocka_unit_test(blocks_quantized_by_ggml_decode_with_the_recorded_error),
        cmocka_unit_test(searched_blocks_are_no_further_than_those_of_ggml),
        cmocka_unit_test(rtn_codes_equal_those_of_four_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
