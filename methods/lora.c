/* lora.c - low-rank adapters beside weights that stay as they are (Hu et al. 2021). */
#include "shared_lora.h"

typedef struct opts {
    bl_lora_opts lora;
} opts;
static const bl_opt rows[] = {
    BL_LORA_ROWS(opts, lora), BL_LORA_INIT_ROW(opts, lora), BL_LORA_DORA_ROW(opts, lora), {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_lora_check(r, &((const opts *)r->opts)->lora, e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    return bl_lora_learns(r, &((const opts *)r->opts)->lora, NULL, t, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)format;
    (void)shape;
    bl_lora_predict(&((const opts *)r->opts)->lora, lin);
    return false; /* the weight stays */
}

const bl_method bl_method_lora = {
    .name = "lora",
    .version = 4,
    .title = "Low-rank adapters",
    .cite = "Hu et al. 2021, arXiv 2106.09685; rslora: Kalajdzievski 2023, arXiv 2312.03732; pissa: Meng et al. 2024, "
            "arXiv 2404.02948; olora: Büyükakyüz 2024, arXiv 2406.01775; dora: Liu et al. 2024, arXiv 2402.09353",
    .doc =
        "y += s B A x with A and B trained and the weights as stored. A begins uniform in +-1 / sqrt(in) and B at 0, "
        "as in peft. With init=pissa or olora they begin as a part of the weight, which keeps the rest in its own "
        "type; "
        "the files of peft then tell the change of the weight as it was, in adapters of twice the rank. With dora the "
        "length of each row of W + s B A is learned too, and kept as a scale of each output.",
    .deviates =
        "dora: dropout acts on the inputs of the adapter alone, in peft on those of the direction's change too\n"
        "pissa: singular vectors of matrices of 1024 and more on both sides are near ones, in five passes",
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .predict = predict,
};
