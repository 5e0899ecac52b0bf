/* apply.c - applies a method to a checkpoint, block by block, so that only one block is in memory, and writes the
 * result. */
#include "apply.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <string.h>

static const char layers_file[] = "layers.json";

/* ---- layers.json: what each layer got ---- */

static bl_status print_layers(const bl_layer_stat *layer, int64_t n, double seconds, bl_text *t, bl_err *e)
{
    bl_text_add(t, "{\"schema\": \"bitladder-layers\", \"seconds\": ");
    bl_json_put_real(t, seconds);
    bl_text_add(t, ", \"layers\": [");
    for (int64_t i = 0; i < n; i++) {
        bl_text_add(t, i ? ",\n" : "\n");
        bl_layer_put_json(&layer[i], t);
    }
    bl_text_add(t, "]}\n");
    return bl_text_check(t, e);
}

bl_status bl_quantize_layers(const char *dir, bl_arena *a, bl_layer_stat **out, int64_t *n, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    const bl_json *list;
    char *path = bl_join(dir, layers_file, e);

    if (!path) return BL_E_NOMEM;
    BL_TRY(bl_json_read(path, 1 << 28, BL_JSON_PLAIN, &doc, e));
    BL_TRY(bl_json_get_real(doc, "seconds", seconds, e));
    BL_TRY(bl_json_need(doc, "layers", &list, e));
    bl_layer_stat *layer = bl_alloc(a, bl_json_size(list), sizeof *layer, e);
    if (!layer) {
        st = BL_E_NOMEM;
        goto out;
    }
    int64_t i = 0;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v), i++)
        BL_TRY(bl_layer_get_json(v, a, &layer[i], e));
    *out = layer;
    *n = i;
out:
    bl_free(path);
    bl_json_free(doc);
    return st;
}

/* ---- one linear ---- */

static bl_status format_text(const bl_weight *w, bl_arena *a, const char **out, bl_err *e)
{
    char text[96];
    if (!w->shape.group) snprintf(text, sizeof text, "%s", w->format->name);
    else if (w->shape.group >= w->shape.in) snprintf(text, sizeof text, "%s pc", w->format->name);
    else snprintf(text, sizeof text, "%s g%lld", w->format->name, (long long)w->shape.group);
    *out = bl_arena_str(a, text, strlen(text), e);
    return *out ? BL_OK : BL_E_NOMEM;
}

typedef struct work {
    bl_method_run run;
    bl_variant *v;
    bl_arena *arena;
    bl_layer_stat *layer;
    int64_t n_layers;
} work;

/* Applies the method to one linear. */
static bl_status one(work *k, bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    bl_layer_stat *stat = &k->layer[k->n_layers];
    double t0 = bl_now();

    *stat = bl_layer_none;
    if (k->run.method->layer) BL_TRY(k->run.method->layer(&k->run, lin, stat, e));
    stat->seconds = bl_now() - t0;
    stat->bits = bl_format_bits(lin->weight.format, &lin->weight.shape);
    if (!(stat->name = bl_arena_str(k->arena, lin->name, strlen(lin->name), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(format_text(&lin->weight, k->arena, &stat->format, e));
    k->n_layers++;
out:
    if (st != BL_OK) bl_within(e, "%s", lin->name);
    return st;
}

/* The embedding and the head, for methods that were asked to change them. */
static bl_status ends(work *k, bl_model *m, bl_err *e)
{
    bl_status st = one(k, &m->embed, e);
    return st == BL_OK && m->head.weight.format ? one(k, &m->head, e) : st;
}

static bl_status one_stage(const bl_method_chain *c, bl_err *e)
{
    if (c->n == 1) return BL_OK;
    return bl_fail(e, BL_E_UNSUPPORTED, "%s: methods cannot be applied one after another", c->text);
}

bl_status bl_quantize_dir(bl_checkpoint *source, const bl_method_chain *chain, uint64_t seed, bl_backend *be,
                          const char *dir, bl_quantize_progress *progress, void *ctx, bl_arena *a,
                          bl_quantize_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_choice *choice = chain->stage;
    const bl_method *method = choice->method;
    work k = {.arena = a};
    bl_model *model = NULL;
    bl_text options = {0}, layers = {0};
    bl_quantize_result res = {0};
    double t0 = bl_now();

    BL_TRY(one_stage(chain, e));
    BL_TRY(bl_method_json(method, choice->opts, &options, e));
    BL_TRY(bl_text_check(&options, e));
    BL_TRY(bl_variant_begin(dir, source, &(bl_stage){.text = choice->text, .options = options.s}, 1, &k.v, e));
    BL_TRY(bl_model_open(source, be, &(bl_model_opts){.stream = true, .max_len = 1}, &model, e));
    k.run = (bl_method_run){
        .method = method, .opts = choice->opts, .model = model, .ops = be->ops, .be = be, .scratch = a, .seed = seed};
    if (!(k.layer = bl_alloc(a, model->n_linears + 2, sizeof *k.layer, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (method->check) BL_TRY(method->check(&k.run, e));
    if (method->model) BL_TRY(method->model(&k.run, e));
    for (int64_t b = 0; b < model->config.n_layers; b++) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        BL_TRY(bl_block_acquire(model, b, e));
        if (method->block) st = method->block(&k.run, b, e);
        for (int i = 0; st == BL_OK && i < model->blocks[b].n_linears && !method->as_stored; i++)
            st = one(&k, &model->blocks[b].linear[i], e);
        if (st == BL_OK) st = bl_variant_block(k.v, model, b, e);
        bl_block_release(model, b);
        if (st == BL_OK && progress) st = progress(ctx, b + 1, model->config.n_layers, e);
        if (st != BL_OK) goto out;
    }
    if (method->train) BL_TRY(method->train(&k.run, e));
    if (method->wants_head && method->wants_head(&k.run)) BL_TRY(ends(&k, model, e));
    BL_TRY(bl_variant_ends(k.v, model, e));
    res.bits = bl_model_bits(model);
    res.notes = method->notes ? method->notes(&k.run) : NULL;
    res.layer = k.layer;
    res.n_layers = k.n_layers;
    res.packed_bytes = bl_variant_bytes(k.v);
    res.seconds = bl_now() - t0;
    BL_TRY(print_layers(res.layer, res.n_layers, res.seconds, &layers, e));
    BL_TRY(bl_variant_file(k.v, layers_file, layers.s, layers.n, e));
    BL_TRY(bl_variant_commit(k.v, e));
    k.v = NULL;
    *out = res;
out:
    bl_variant_drop(k.v);
    bl_model_close(model);
    bl_text_free(&options);
    bl_text_free(&layers);
    return st;
}

/* ---- before any work ---- */

/* What predict says of one linear, added to the bytes of the model and, of a block, to `linears`. */
static void predicted(const bl_method_run *run, bool asked, const bl_linear *lin, uint64_t *all, uint64_t *linears)
{
    const bl_format *f = lin->weight.format;
    bl_shape g = lin->weight.shape;
    uint64_t was = bl_linear_bytes(lin), now = was;
    if (asked && run->method->predict && run->method->predict(run, lin, &f, &g))
        now = was - bl_format_bytes(lin->weight.format, &lin->weight.shape) + bl_format_bytes(f, &g);
    *all = *all - was + now;
    *linears += now;
}

bl_status bl_quantize_check(bl_checkpoint *source, const bl_method_chain *chain, int64_t *packed_bytes, double *bits,
                            const char **notes, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_choice *choice = chain->stage;
    const bl_method *method = choice->method;
    bl_model *m = NULL;
    uint64_t all, linears = 0, ends = 0;
    double weights = 0;

    BL_TRY(one_stage(chain, e));
    BL_TRY(bl_model_outline(source, &m, e));
    bl_method_run run = {.method = method, .opts = choice->opts, .model = m, .scratch = a};
    if (method->check) BL_TRY(method->check(&run, e));
    bool head = method->wants_head && method->wants_head(&run);
    all = bl_model_bytes(m);
    for (size_t i = 0; i < m->n_linears; i++) {
        predicted(&run, true, &m->linears[i], &all, &linears);
        weights += (double)m->linears[i].in * (double)m->linears[i].out;
    }
    predicted(&run, head, &m->embed, &all, &ends);
    if (m->head.weight.format) predicted(&run, head, &m->head, &all, &ends);
    *packed_bytes = (int64_t)all;
    *bits = weights > 0 ? (double)linears * 8 / weights : 0;
    *notes = method->notes ? method->notes(&run) : NULL;
out:
    bl_model_close(m);
    return st;
}
