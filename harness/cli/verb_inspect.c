/* verb_inspect.c - every check that `run` makes of a model, then its shape, formats, weight statistics and bits. */
#include "session.h"
#include "harness/checkpoint/variant_parts.h"
#include "harness/quant/apply.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *tokenizer;
    bool allow_nonfinite;
} opts;
static const bl_opt rows[] = {{"tokenizer", BL_OPT_TEXT, .at = offsetof(opts, tokenizer), .arg = "FILE",
                               .doc = "tokenizer of a model that carries none"},
                              {"allow-nonfinite", BL_OPT_BOOL, .at = offsetof(opts, allow_nonfinite),
                               .doc = "go on with weights that hold NaN or infinity"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct stats {
    double mean, sd, absmax, kurtosis;
    int64_t n;
} stats;

/* One pass over the decoded rows, power sums in double. */
static bl_status weigh(bl_checkpoint *c, const bl_stored *t, float *rows_, int64_t most, stats *out, bl_err *e)
{
    bl_status st = BL_OK;
    double s1 = 0, s2 = 0, s3 = 0, s4 = 0, top = 0, n = (double)t->shape.out * (double)t->shape.in;
    for (int64_t r = 0; r < t->shape.out; r += most) {
        int64_t k = BL_MIN(most, t->shape.out - r);
        BL_TRY(bl_checkpoint_dense(c, t, r, k, rows_, e));
        for (int64_t i = 0; i < k * t->shape.in; i++) {
            double v = rows_[i];
            s1 += v;
            s2 += v * v;
            s3 += v * v * v;
            s4 += v * v * v * v;
            if (fabs(v) > top) top = fabs(v);
        }
    }
    double m = s1 / n, var = s2 / n - m * m;
    *out = (stats){.mean = m, .sd = sqrt(BL_MAX(var, 0)), .absmax = top, .n = (int64_t)n};
    if (var > 0) out->kurtosis = (s4 / n - 4 * m * s3 / n + 6 * m * m * s2 / n - 3 * m * m * m * m) / (var * var);
out:
    return st;
}

/* Parameters beside the usual linears and norms, by kind: "biases on q_proj, k_proj, v_proj; norms on q_proj, k_proj".
 */
static void extras(const bl_config *c, bl_text *t)
{
    static const struct {
        bl_role_kind kind;
        const char *word;
    } kinds[] = {{BL_KIND_BIAS, "biases on "}, {BL_KIND_NORM, "norms on "}};
    size_t begin = t->n;
    for (size_t k = 0; k < BL_COUNT(kinds); k++) {
        const char *before = kinds[k].word;
        for (int r = 0; r < BL_N_ROLES; r++) {
            if (bl_roles[r].kind != kinds[k].kind || bl_roles[r].of == (bl_role)r || !bl_has_role(c, (bl_role)r))
                continue;
            bl_text_addf(t, "%s%s%s", before == kinds[k].word && t->n > begin ? "; " : "", before,
                         bl_roles[bl_roles[r].of].part);
            before = ", ";
        }
    }
}

static void rotary(const bl_config *c, bl_text *t)
{
    bl_text_addf(t, "theta %g (%s", c->rope_theta, bl_rope_names[c->rope]);
    if (c->rope != BL_ROPE_PLAIN) bl_text_addf(t, ", factor %g", c->rope_factor);
    if (c->rope_original) bl_text_addf(t, ", from %lld positions", (long long)c->rope_original);
    if (c->rope == BL_ROPE_YARN) bl_text_addf(t, ", attention factor %g", c->rope_attention);
    bl_text_add(t, ")");
}

static void shape_text(const bl_config *c, bl_text *t)
{
    bl_text_addf(t,
                 "  %s: %lld blocks, width %lld, feed-forward %lld, %lld heads / %lld kv of %lld, vocabulary %lld, "
                 "length %lld\n",
                 c->arch->name, (long long)c->n_layers, (long long)c->dim, (long long)c->ffn_dim, (long long)c->n_heads,
                 (long long)c->n_kv_heads, (long long)c->head_dim, (long long)c->vocab, (long long)c->max_len);
    bl_text_add(t, "  rotary ");
    rotary(c, t);
    bl_text_addf(t, ", eps %g, head %s\n", c->eps, c->tied ? "tied" : "its own");
    bl_text other = {0};
    extras(c, &other);
    if (other.n) bl_text_addf(t, "  %s\n", other.s);
    bl_text_free(&other);
    bl_text_addf(t, "  %lld weights, %lld of them in block linears\n", (long long)bl_config_params(c),
                 (long long)bl_config_linear_params(c));
}

static void shape_json(const bl_config *c, bl_json_out *j)
{
    const struct {
        const char *key;
        int64_t v;
    } ints[] = {{"blocks", c->n_layers},
                {"dim", c->dim},
                {"ffn_dim", c->ffn_dim},
                {"heads", c->n_heads},
                {"kv_heads", c->n_kv_heads},
                {"head_dim", c->head_dim},
                {"vocab", c->vocab},
                {"max_len", c->max_len},
                {"window", c->window},
                {"weights", bl_config_params(c)},
                {"linear_weights", bl_config_linear_params(c)}};
    bl_text other = {0};
    for (size_t i = 0; i < BL_COUNT(ints); i++) bl_json_add_int(j, ints[i].key, ints[i].v);
    bl_json_add_str(j, "arch", c->arch->name);
    extras(c, &other);
    bl_json_add_strn(j, "biases_and_norms", other.s ? other.s : "", other.n);
    bl_text_free(&other);
    bl_json_add_str(j, "rope_scaling", bl_rope_names[c->rope]);
    bl_json_add_bool(j, "tied", c->tied);
    bl_json_add_real(j, "rope_theta", c->rope_theta);
    bl_json_add_real(j, "eps", c->eps);
}

/* ---- a saved model: how it came to be, and what its linears have beside their weights ---- */
static void stages_text(const bl_checkpoint *c, bl_text *t)
{
    int n;
    const bl_stage *s = bl_checkpoint_stages(c, &n);
    if (n) bl_text_addf(t, "  made by %s from %s\n", bl_checkpoint_method(c), bl_checkpoint_source(c));
    for (int i = 0; i < n; i++)
        bl_text_addf(t, "    stage %d: %s%s%.12s, options %s%s%s\n", i + 1, s[i].text, s[i].hash ? ", state " : "",
                     s[i].hash ? s[i].hash : "", s[i].options, s[i].calibration ? ", calibrated on " : "",
                     s[i].calibration ? s[i].calibration : "");
}

static void stages_json(const bl_checkpoint *c, bl_json_out *j)
{
    int n;
    const bl_stage *s = bl_checkpoint_stages(c, &n);
    if (!n) return;
    bl_json_add_str(j, "method", bl_checkpoint_method(c));
    bl_json_add_str(j, "source", bl_checkpoint_source(c));
    bl_json_array(j, "stages");
    for (int i = 0; i < n; i++) {
        bl_json_object(j, NULL);
        bl_json_add_str(j, "text", s[i].text);
        bl_json_add_str(j, "hash", s[i].hash);
        bl_json_add_text(j, "options", s[i].options);
        if (s[i].calibration) bl_json_add_str(j, "calibration", s[i].calibration);
        bl_json_end(j);
    }
    bl_json_end(j);
}

/* The list of what its layers got is there and whole. */
static bl_status check_layers(const bl_checkpoint *c, bl_err *e)
{
    bl_arena *a = NULL;
    bl_layer_stat *layer;
    int64_t n;
    double seconds;
    bl_status st = bl_arena_new(&a, e);
    if (st == BL_OK) st = bl_quantize_layers(bl_checkpoint_path(c), a, &layer, &n, &seconds, e);
    bl_arena_free(a);
    return st;
}

/* "hadamard of 64; hadamard of 48 after; activations of 8 bits per token; adapter of rank 8 in nf8_lq". */
static void beside(const bl_stored *w, bl_text *t)
{
    size_t begin = t->n;
    for (int i = 0; i < w->n_transforms + w->n_after; i++) {
        const bl_transform *x = &w->transform[i].t;
        bl_text_addf(t, "%s%s of %lld", t->n > begin ? "; " : "", bl_transform_names[x->kind], (long long)x->in);
        if (x->kind == BL_T_HADAMARD && x->data.ndim && bl_tensor_count(&x->data) < x->in)
            bl_text_addf(t, " in blocks of %lld", (long long)bl_tensor_count(&x->data));
        if (x->kind == BL_T_PERMUTE && x->data.ndim == 2) /* not a permutation of all */
            bl_text_addf(t, ", sums of %lld", (long long)x->data.dim[0]);
        if (x->out != x->in) bl_text_addf(t, " to %lld", (long long)x->out);
        if (i >= w->n_transforms) bl_text_add(t, " after");
    }
    if (w->act.bits && bl_act_is_float(w->act.unit))
        bl_text_addf(t, "%sactivations in %s", t->n > begin ? "; " : "", bl_unit_names[w->act.unit]);
    else if (w->act.bits)
        bl_text_addf(t, "%sactivations of %d bits per %s", t->n > begin ? "; " : "", w->act.bits,
                     bl_unit_names[w->act.unit]);
    for (int i = 0; i < w->n_adapters; i++) {
        const bl_stored_adapter *a = &w->adapter[i];
        bl_text_addf(t, "%sadapter of rank %lld", t->n > begin ? "; " : "", (long long)a->rank);
        if (a->packed) bl_text_addf(t, " in %s", a->packed[0].format->name);
    }
}

/* Ids that open and close a text, where the model's files name them. */
static void tokenizer_text(const bl_tokenizer *tok, bl_text *t)
{
    int32_t bos = bl_tokenizer_bos(tok), eos = bl_tokenizer_eos(tok);
    bl_text_addf(t, ", %lld tokens", (long long)bl_tokenizer_vocab(tok));
    if (bos >= 0) bl_text_addf(t, ", BOS %d%s", (int)bos, bl_tokenizer_adds_bos(tok) ? "" : " (not put in front)");
    if (eos >= 0) bl_text_addf(t, ", EOS %d", (int)eos);
}

static void tokenizer_json(const bl_tokenizer *tok, bl_json_out *j)
{
    bl_json_add_int(j, "tokenizer_vocab", bl_tokenizer_vocab(tok));
    bl_json_add_int(j, "bos", bl_tokenizer_bos(tok)); /* -1: none */
    bl_json_add_int(j, "eos", bl_tokenizer_eos(tok));
    bl_json_add_bool(j, "adds_bos", bl_tokenizer_adds_bos(tok));
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_checkpoint *c = NULL;
    bl_tokenizer *tok = NULL;
    bl_text t = {0};
    bl_json_out j = {.t = &t};
    bl_err why = {0};
    float *buf = NULL;
    bl_model *m = NULL;
    bl_hash h;
    char hex[33];
    bool json = o->common.json;
    (void)p;
    (void)exit_code;

    BL_TRY(bl_checkpoint_open(
        args->pos[0], &(bl_checkpoint_opts){.tokenizer = o->tokenizer, .allow_nonfinite = o->allow_nonfinite}, &c, e));
    if (!o->allow_nonfinite) BL_TRY(bl_checkpoint_verify(c, e));
    st = bl_tokenizer_of(c, &tok, &why);
    if (st == BL_E_MISSING) st = BL_OK; /* a model without one can be looked at */
    else if (st != BL_OK) {
        bl_fail(e, st, "%s", why.text);
        goto out;
    }
    BL_TRY(bl_model_outline(c, &m, e));
    if (bl_checkpoint_method(c)) BL_TRY(check_layers(c, e));
    BL_TRY(bl_checkpoint_fingerprint(c, &h, e));
    bl_hash_hex(h, hex);
    const bl_config *config = bl_checkpoint_config(c);
    if (json) {
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "model", bl_checkpoint_path(c));
        bl_json_add_str(&j, "stored_as", bl_checkpoint_stored_as(c));
        bl_json_add_str(&j, "fingerprint", hex);
        bl_json_add_int(&j, "bytes", (int64_t)bl_checkpoint_bytes(c));
        stages_json(c, &j);
        shape_json(config, &j);
        if (bl_checkpoint_notes(c)) bl_json_add_str(&j, "notes", bl_checkpoint_notes(c));
        bl_json_add_str(&j, "tokenizer", tok ? bl_tokenizer_kind(tok) : why.text);
        if (tok) tokenizer_json(tok, &j);
        bl_json_lines(&j, "tensors");
    } else {
        bl_text_addf(&t, "%s\n  stored as %s, %.1f MB of tensors, fingerprint %.12s\n", bl_checkpoint_path(c),
                     bl_checkpoint_stored_as(c), (double)bl_checkpoint_bytes(c) / 1e6, hex);
        stages_text(c, &t);
        shape_text(config, &t);
        if (bl_checkpoint_notes(c)) bl_text_addf(&t, "  note: %s\n", bl_checkpoint_notes(c));
        bl_text_addf(&t, "  tokenizer: %s", tok ? bl_tokenizer_kind(tok) : why.text);
        if (tok) tokenizer_text(tok, &t);
        bl_text_add(&t, "\n\n");
        bl_text_addf(&t, "%-48s %-10s %12s %8s %11s %10s %10s %9s\n", "tensor", "format", "shape", "bits", "mean", "sd",
                     "max|w|", "kurtosis");
    }
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *w = bl_checkpoint_at(c, i);
        int64_t most = BL_MAX(1, (1 << 20) / w->shape.in);
        stats s;
        char shape[32];
        double bits = bl_format_bits(w->format, &w->shape);
        bl_free(buf);
        if (!(buf = bl_new((size_t)(BL_MIN(most, w->shape.out) * w->shape.in), sizeof *buf, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(weigh(c, w, buf, most, &s, e));
        if (w->vector) snprintf(shape, sizeof shape, "%lld", (long long)w->shape.in);
        else snprintf(shape, sizeof shape, "%lldx%lld", (long long)w->shape.out, (long long)w->shape.in);
        if (json) {
            bl_json_object(&j, NULL);
            bl_json_add_str(&j, "name", w->name);
            bl_json_add_str(&j, "format", w->format->name);
            bl_json_add_int(&j, "out", w->shape.out);
            bl_json_add_int(&j, "in", w->shape.in);
            bl_json_add_real(&j, "bits", bits);
            bl_json_add_maybe(&j, "mean", s.mean);
            bl_json_add_maybe(&j, "sd", s.sd);
            bl_json_add_maybe(&j, "absmax", s.absmax);
            bl_json_add_maybe(&j, "kurtosis", s.kurtosis);
            bl_text more = {0};
            beside(w, &more);
            bl_json_add_strn(&j, "beside", more.s ? more.s : "", more.n);
            bl_text_free(&more);
            bl_json_end(&j);
        } else {
            bl_text_addf(&t, "%-48s %-10s %12s %8.3f %11.3g %10.3g %10.3g %9.2f\n", w->name, w->format->name, shape,
                         bits, s.mean, s.sd, s.absmax, s.kurtosis);
            bl_text more = {0};
            beside(w, &more);
            if (more.n) bl_text_addf(&t, "    %s\n", more.s);
            bl_text_free(&more);
        }
    }
    double bits = bl_model_bits(m);
    if (json) {
        bl_json_end(&j);
        bl_json_add_real(&j, "bits_per_weight", bits);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    } else bl_text_addf(&t, "\nblock linears: %.4f bits per weight\n", bits);
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_free(buf);
    bl_text_free(&t);
    bl_tokenizer_close(tok);
    bl_model_close(m);
    bl_checkpoint_close(c);
    return st;
}

const bl_verb bl_verb_inspect = {
    .name = "inspect",
    .args = "MODEL",
    .line = "every check of a model; shape, formats, weight statistics, bits",
    .doc = "Makes every check that run makes, weights that are not finite included, and refuses with exit 2; else "
           "prints shape, formats, statistics and bits of every tensor.",
    .example = "bitladder inspect SmolLM2-135M-Instruct.Q4_1.gguf",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
