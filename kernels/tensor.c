/* tensor.c - dtypes by name, views into buffers, the two 16-bit floats as bits, and elements of every type. */
#include "tensor.h"
#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[BL_N_DTYPES] = {
    [BL_F32] = {"F32", 4}, [BL_F16] = {"F16", 2},   [BL_BF16] = {"BF16", 2}, [BL_F64] = {"F64", 8},
    [BL_U8] = {"U8", 1},   [BL_I8] = {"I8", 1},     [BL_I16] = {"I16", 2},   [BL_I32] = {"I32", 4},
    [BL_I64] = {"I64", 8}, [BL_BOOL] = {"BOOL", 1},
};

size_t bl_dtype_bytes(bl_dtype t) { return dtypes[t].bytes; }
const char *bl_dtype_name(bl_dtype t) { return (unsigned)t < BL_N_DTYPES ? dtypes[t].name : "?"; }

/* ---- views ---- */
bl_tensor bl_tensor_1d(bl_buffer *b, uint64_t offset, bl_dtype t, int64_t n)
{
    return (bl_tensor){.buf = b, .offset = offset, .dtype = t, .ndim = 1, .dim = {n}, .stride = {1}};
}

bl_tensor bl_tensor_2d(bl_buffer *b, uint64_t offset, bl_dtype t, int64_t rows, int64_t cols)
{
    return (bl_tensor){.buf = b, .offset = offset, .dtype = t, .ndim = 2, .dim = {rows, cols}, .stride = {cols, 1}};
}

bl_tensor bl_tensor_rows(bl_tensor t, int64_t row0, int64_t rows)
{
    assert(t.ndim == 2 && row0 >= 0 && rows >= 0 && row0 + rows <= t.dim[0]);
    t.offset += (uint64_t)row0 * (uint64_t)t.stride[0] * bl_dtype_bytes(t.dtype);
    t.dim[0] = rows;
    return t;
}

bl_tensor bl_tensor_part(bl_tensor t, int64_t at, int64_t n)
{
    assert(t.ndim == 1 && at >= 0 && n >= 0 && at + n <= t.dim[0]);
    t.offset += (uint64_t)at * bl_dtype_bytes(t.dtype);
    t.dim[0] = n;
    return t;
}

int64_t bl_tensor_count(const bl_tensor *t)
{
    int64_t n = t->buf || t->ndim ? 1 : 0;
    for (int i = 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}

bool bl_tensor_contiguous(const bl_tensor *t)
{
    int64_t n = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->dim[i] != 1 && t->stride[i] != n) return false;
        n *= t->dim[i];
    }
    return true;
}

uint64_t bl_tensor_bytes(const bl_tensor *t) { return (uint64_t)bl_tensor_count(t) * bl_dtype_bytes(t->dtype); }

/* ---- half and bfloat16 ---- */
static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float bl_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest >= 0x7c00) return from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    /* Exponent and mantissa moved into place are too small by 2^112; the product is exact, subnormals included. */
    return from_bits(sign | bits_of(from_bits(rest << 13) * 0x1p112f));
}

uint16_t bl_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), a = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);

    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN stays NaN, quiet */
    if (a >= 0x47800000) return sign | 0x7c00;                                /* 65536 and above */
    if (a < 0x38800000) /* below 2^-14: units of 2^-24, rounded by an addition */
        return (uint16_t)(sign | (bits_of(from_bits(a) + 0.5f) - 0x3f000000));
    a += 0xfff + (a >> 13 & 1); /* ties to even; 65520 carries into infinity */
    return (uint16_t)(sign | (a - 0x38000000) >> 13);
}

float bl_bf16_to_f32(uint16_t h) { return from_bits((uint32_t)h << 16); }

uint16_t bl_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);

    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* ---- one element ---- */
void bl_dtype_put(bl_dtype t, double value, void *element)
{
    union {
        float f;
        double d;
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        int64_t i64;
    } v = {.d = 0};
    switch (t) {
    case BL_F32: v.f = (float)value; break;
    case BL_F64: v.d = value; break;
    case BL_F16: v.u16 = bl_f32_to_f16((float)value); break;
    case BL_BF16: v.u16 = bl_f32_to_bf16((float)value); break;
    case BL_U8: v.u8 = (uint8_t)value; break;
    case BL_I8: v.i8 = (int8_t)value; break;
    case BL_BOOL: v.u8 = value != 0; break;
    case BL_I16: v.i16 = (int16_t)value; break;
    case BL_I32: v.i32 = (int32_t)value; break;
    case BL_I64: v.i64 = (int64_t)value; break;
    case BL_N_DTYPES: assert(false);
    }
    memcpy(element, &v, bl_dtype_bytes(t));
}
