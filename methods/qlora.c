/* qlora.c - low-rank adapters beside weights of four bits (Dettmers et al. 2023), or of fewer.
 *
 * The linears of the blocks become NF4 or FP4 in blocks of 64 along their rows, their scales 8 bits wide (double
 * quantization: an offset and a maximum for 256 of them); the embedding, the head and the norms stay as stored. NF3 and
 * NF2 are what methods for fewer bits are compared with (3.127 and 2.127 bits a weight).
 */
#include "shared_lora.h"

typedef struct opts {
    bl_lora_opts lora;
    int code;
    bool single;
} opts;
static const char *const codes[] = {"nf4", "fp4", "nf3", "nf2", NULL};
enum { OF_PEFT = 2 }; /* the first ones: bitsandbytes has them too */
static const bl_opt rows[] = {
    BL_LORA_ROWS(opts, lora),
    BL_LORA_INIT_ROW(opts, lora),
    BL_LORA_DORA_ROW(opts, lora),
    {"code", BL_OPT_CHOICE, .choices = codes, .at = offsetof(opts, code), .doc = "the values of a weight"},
    {"single", BL_OPT_BOOL, .at = offsetof(opts, single), .doc = "scales stay fp32: no double quantization"},
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_lora_check(r, &((const opts *)r->opts)->lora, e);
}

static bl_shape shape_of(const void *options, const bl_linear *l)
{
    const opts *o = options;
    return (bl_shape){
        .out = l->out, .in = bl_linear_width(l), .group = 64, .scale = BL_F32, .double_quant = !o->single};
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    const bl_lora_base base = {
        .format = bl_format_find(codes[o->code]), .shape = shape_of, .opts = o, .rule = BL_RANGE_OWN};
    const bl_status st = bl_lora_learns(r, &o->lora, &base, t, e);
    if (o->code >= OF_PEFT) t->base_is_own = true;
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    *format = bl_format_find(codes[o->code]);
    *shape = shape_of(o, lin);
    bl_lora_predict(&o->lora, lin);
    return true;
}

const bl_method bl_method_qlora = {
    .name = "qlora",
    .version = 4,
    .title = "Low-rank adapters on weights of four bits or fewer",
    .cite = "Dettmers et al. 2023, arXiv 2305.14314; init=pissa: Meng et al. 2024, arXiv 2404.02948; "
            "dora: Liu et al. 2024, arXiv 2402.09353",
    .doc =
        "Weights in NF4 or FP4 (or, with three and two bits, NF3 or NF2), blocks of 64 with double-quantized scales, "
        "and adapters beside them that are trained. "
        "With init=pissa or olora the rest that the adapters leave is rounded; that rest, or NF3 or NF2, is the "
        "base of the files of peft (export --without-adapters).",
    .deviates =
        "adapters and gradients are fp32 unless --adapter-type bf16, --gradient-type bf16 are said, moments fp32 "
        "or 8 bits; dora and pissa: as lora's",
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .packs_first = true,
    .predict = predict,
};
