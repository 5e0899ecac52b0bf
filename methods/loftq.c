/* loftq.c - low-rank adapters that begin as what rounding lost (Li et al. 2023).
 *
 * Algorithm 1, for t = 1 .. rounds, from B A = 0:
 *     Q = q(W - s B A),   s B A = the part of W - Q of the rank's largest singular triples,
 * so the factors of the last decomposition are beside the last Q. They are divided by sqrt(s), so that the model begins
 * as Q + s B A whatever alpha is; the published preparation does not, and with alpha below the rank begins elsewhere.
 */
#include "shared_lora.h"

typedef struct opts {
    bl_lora_opts lora;
    int64_t wbits, rounds;
    int code;
} opts;
enum { NORMAL_FLOAT, INTEGER };
static const char *const codes[] = {"nf", "int", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"code", BL_OPT_CHOICE, .choices = codes, .at = offsetof(opts, code),
     .doc = "quantiles of the normal distribution, of 2, 3, 4 and 8 bits, or integers between the "
            "ends of a group, which other widths are"},
    {"rounds", BL_OPT_INT, .min = 1, .max = 100, .def.i = 1, .at = offsetof(opts, rounds), .arg = "N",
     .doc = "of rounding and decomposing"},
    BL_LORA_ROWS(opts, lora),
    {0}};

static const bl_format *format_of(const opts *o)
{
    char name[8];
    snprintf(name, sizeof name, "%s%d", codes[o->code], (int)o->wbits);
    return bl_format_find(name);
}

static bl_shape shape_of(const void *options, const bl_linear *l)
{
    const opts *o = options;
    return (bl_shape){.out = l->out,
                      .in = l->in,
                      .group = 64,
                      .scale = o->code == NORMAL_FLOAT ? BL_F32 : BL_F16,
                      .zero = o->code == NORMAL_FLOAT ? BL_ZERO_NONE : BL_ZERO_PACKED};
}

static void settle(void *options)
{
    opts *o = options;
    if (!format_of(o)) o->code = INTEGER;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_lora_needs_dense(r, &((const opts *)r->opts)->lora, "loftq", e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    const bl_lora_base base = {.format = format_of(o),
                               .shape = shape_of,
                               .opts = o,
                               .rule = o->code == NORMAL_FLOAT ? BL_RANGE_OWN : BL_RANGE_ZERO,
                               .rounds = (int)o->rounds};
    return bl_lora_learns(r, &o->lora, &base, t, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    *format = format_of(o);
    *shape = shape_of(o, lin);
    bl_lora_predict(&o->lora, lin);
    return true;
}

const bl_method bl_method_loftq = {
    .name = "loftq",
    .version = 2,
    .title = "Adapters that begin as the error of rounding",
    .cite = "Li et al. 2023, arXiv 2310.08659",
    .doc =
        "Weights in groups of 64, rounded to what the adapters leave, and adapters that begin as the largest part of "
        "what rounding lost: rounds=1 is most of the gain. Files of peft are beside it; their base is "
        "these weights, not the model as it was (export --without-adapters).",
    .deviates = "integers span their group, which the paper clips at two deviations of the whole weight first; factors "
                "are divided by the root of their scale\n"
                "singular vectors of matrices of 1024 and more on both sides are near ones, in five passes",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .learns = learns,
    .predict = predict,
};
