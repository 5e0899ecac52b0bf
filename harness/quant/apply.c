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
    uint64_t bytes;
    double weights; /* of the block linears */
} work;

/* Applies the method to one linear and writes it; `block` says whether it counts as a block linear. */
static bl_status one(work *k, bl_linear *lin, bool block, bl_err *e)
{
    bl_status st = BL_OK;
    bl_layer_stat *stat = &k->layer[k->n_layers];
    char name[128];
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
    snprintf(name, sizeof name, "%s.weight", lin->name);
    BL_TRY(bl_variant_add(k->v, name, k->run.be, &lin->weight, &lin->act, e));
    if (block) {
        k->bytes += bl_weight_bytes(&lin->weight);
        k->weights += (double)lin->in * (double)lin->out;
    }
    k->n_layers++;
out:
    if (st != BL_OK) bl_within(e, "%s", lin->name);
    return st;
}

/* The embedding and the head, for methods that were asked to change them. */
static bl_status ends(work *k, bl_checkpoint *source, bl_err *e)
{
    static const char *const names[] = {"model.embed_tokens", "lm_head"};
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        bl_linear lin = {.block = -1, .part = names[i]};
        char full[128];
        snprintf(full, sizeof full, "%s.weight", names[i]);
        const bl_stored *t = bl_checkpoint_find(source, full);
        if (!t) continue;
        snprintf(lin.name, sizeof lin.name, "%s", names[i]);
        lin.out = t->shape.out;
        lin.in = t->shape.in;
        st = bl_checkpoint_load(source, t, k->run.be, &lin.weight, e);
        if (st == BL_OK) st = one(k, &lin, false, e);
        bl_weight_free(&lin.weight);
        if (st != BL_OK) break;
    }
    return st;
}

static bl_status all_as_stored(bl_checkpoint *source, bl_quantize_result *out)
{
    uint64_t bytes = 0;
    double weights = 0;
    for (size_t i = 0; i < bl_checkpoint_count(source); i++) {
        const bl_stored *t = bl_checkpoint_at(source, i);
        if (t->vector || strncmp(t->name, "model.layers.", 13) != 0) continue;
        bytes += bl_format_bytes(t->format, &t->shape);
        weights += (double)t->shape.in * (double)t->shape.out;
    }
    out->bits = weights > 0 ? (double)bytes * 8 / weights : 0;
    return BL_OK;
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
    BL_TRY(bl_variant_begin(dir, source, choice->text, options.s, &k.v, e));
    if (method->as_stored) BL_TRY(all_as_stored(source, &res));
    else {
        BL_TRY(bl_model_open(source, be, &(bl_model_opts){.stream = true, .max_len = 1}, &model, e));
        k.run = (bl_method_run){.method = method,
                                .opts = choice->opts,
                                .model = model,
                                .ops = be->ops,
                                .be = be,
                                .scratch = a,
                                .seed = seed};
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
            for (int i = 0; st == BL_OK && i < BL_LINEARS_PER_BLOCK; i++)
                st = one(&k, &model->linears[b * BL_LINEARS_PER_BLOCK + i], true, e);
            bl_block_release(model, b);
            if (st == BL_OK && progress) st = progress(ctx, b + 1, model->config.n_layers, e);
            if (st != BL_OK) goto out;
        }
        if (method->train) BL_TRY(method->train(&k.run, e));
        if (method->wants_head && method->wants_head(&k.run)) BL_TRY(ends(&k, source, e));
        res.bits = k.weights > 0 ? (double)k.bytes * 8 / k.weights : 0;
        res.notes = method->notes ? method->notes(&k.run) : NULL;
    }
    BL_TRY(bl_variant_copy_rest(k.v, e));
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

static const char *const parts[BL_LINEARS_PER_BLOCK] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                        "mlp.down_proj"};

/* A model of names and shapes only: enough for check, predict and notes. */
static bl_status shapes_only(bl_checkpoint *c, bl_arena *a, bl_model *m, bl_err *e)
{
    *m = (bl_model){.config = *bl_checkpoint_config(c), .ckpt = c};
    m->n_linears = (size_t)m->config.n_layers * BL_LINEARS_PER_BLOCK;
    if (!(m->linears = bl_alloc(a, m->n_linears, sizeof *m->linears, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < m->n_linears; i++) {
        bl_linear *l = &m->linears[i];
        char full[128];
        l->block = (int64_t)(i / BL_LINEARS_PER_BLOCK);
        snprintf(l->name, sizeof l->name, "model.layers.%lld.%s", (long long)l->block, parts[i % BL_LINEARS_PER_BLOCK]);
        l->part = strchr(parts[i % BL_LINEARS_PER_BLOCK], '.') + 1;
        snprintf(full, sizeof full, "%s.weight", l->name);
        const bl_stored *t = bl_checkpoint_find(c, full);
        if (!t) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", bl_checkpoint_path(c), full);
        l->in = t->shape.in;
        l->out = t->shape.out;
    }
    return BL_OK;
}

bl_status bl_quantize_check(bl_checkpoint *source, const bl_method_chain *chain, int64_t *packed_bytes, double *bits,
                            const char **notes, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_choice *choice = chain->stage;
    const bl_method *method = choice->method;
    bl_model m;
    uint64_t all = 0, linears = 0;
    double weights = 0;

    BL_TRY(one_stage(chain, e));
    BL_TRY(shapes_only(source, a, &m, e));
    bl_method_run run = {.method = method, .opts = choice->opts, .model = &m, .scratch = a};
    if (method->check) BL_TRY(method->check(&run, e));
    bool head = method->wants_head && method->wants_head(&run);
    for (size_t i = 0; i < bl_checkpoint_count(source); i++) {
        const bl_stored *t = bl_checkpoint_at(source, i);
        const bl_format *f = t->format;
        bl_shape g = t->shape;
        bl_linear lin = {.in = g.in, .out = g.out, .block = -1};
        bool block = !t->vector && strncmp(t->name, "model.layers.", 13) == 0;
        if (!t->vector && method->predict && (block || head)) {
            size_t n = strlen(t->name) - strlen(".weight");
            snprintf(lin.name, sizeof lin.name, "%.*s", (int)BL_MIN(n, sizeof lin.name - 1), t->name);
            lin.part = strrchr(lin.name, '.') ? strrchr(lin.name, '.') + 1 : lin.name;
            if (!method->predict(&run, &lin, &f, &g)) {
                f = t->format;
                g = t->shape;
            }
        }
        all += bl_format_bytes(f, &g);
        if (block) {
            linears += bl_format_bytes(f, &g);
            weights += (double)g.in * (double)g.out;
        }
    }
    *packed_bytes = (int64_t)all;
    *bits = weights > 0 ? (double)linears * 8 / weights : 0;
    *notes = method->notes ? method->notes(&run) : NULL;
out:
    return st;
}
