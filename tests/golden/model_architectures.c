/* model_architectures.c - logits and greedy tokens of a tiny model of every architecture and rotary scaling, against
 * what transformers computed (tests/data/arch), read from a Hugging Face directory and from a GGUF file.
 */
#include "checkpoint_build.h"
#include "model_fixture.h"
#include <math.h>

enum { MAX_IDS = 64, MAX_TENSORS = 64 };

/* Element i of a weight: README.md of tests/data/arch. */
static float element(const char *name, uint64_t i)
{
    uint64_t h = 0xcbf29ce484222325u, z;
    for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3u;
    z = h + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    float x = (float)(z >> 40) / 8388608.0f - 1.0f;
    size_t n = strlen(name);
    if (strstr(name, "norm")) return x * 0.25f + 1.0f;
    return x * (n > 4 && !strcmp(name + n - 4, "bias") ? 0.5f : 0.4f);
}

typedef struct weight {
    const char *name, *gguf;
    int64_t rows, cols; /* a vector has rows 0 */
} weight;
typedef struct recorded {
    bl_json *doc;
    const bl_json *config;
    weight w[MAX_TENSORS];
    size_t n;
    int32_t ids[MAX_IDS], new_ids[MAX_IDS];
    int64_t n_ids, n_new;
} recorded;

static int64_t ints(const bl_json *list, int32_t *out)
{
    int64_t n = 0, v;
    for (const bl_json *j = bl_json_first(list); j; j = bl_json_next(j)) {
        assert_true(n < MAX_IDS && bl_json_int(j, &v, NULL) == BL_OK);
        out[n++] = (int32_t)v;
    }
    return n;
}

static const char *text(const bl_json *o, const char *key)
{
    const char *s = NULL;
    if (bl_json_str(bl_json_get(o, key), &s, NULL) != BL_OK) fail_msg("no %s", key);
    return s;
}

static double number(const bl_json *o, const char *key)
{
    double x = 0;
    if (bl_json_real(bl_json_get(o, key), &x, NULL) != BL_OK) fail_msg("no %s", key);
    return x;
}

static recorded load(const char *name)
{
    bl_err e = {0};
    recorded r = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/data/arch/%s", BL_SOURCE_DIR, name);
    assert_ok(bl_json_read(path, 1 << 20, BL_JSON_PLAIN, &r.doc, &e));
    r.config = bl_json_get(r.doc, "config");
    for (const bl_json *t = bl_json_first(bl_json_get(r.doc, "tensors")); t; t = bl_json_next(t)) {
        const bl_json *shape = bl_json_get(t, "shape"), *last = bl_json_first(shape);
        weight *w = &r.w[r.n++];
        assert_true(r.n <= MAX_TENSORS);
        *w = (weight){.name = text(t, "name"), .gguf = text(t, "gguf")};
        if (bl_json_size(shape) == 2) {
            assert_ok(bl_json_int(last, &w->rows, &e));
            last = bl_json_next(last);
        }
        assert_ok(bl_json_int(last, &w->cols, &e));
    }
    r.n_ids = ints(bl_json_get(r.doc, "ids"), r.ids);
    r.n_new = ints(bl_json_get(r.doc, "new_ids"), r.new_ids);
    return r;
}

/* ---- the model on disk ---- */
static void write_directory(const recorded *r, const char *dir)
{
    bl_text config = {0}, head = {0}, all = {0};
    uint64_t at = 0, n;
    bl_json_put_node(&config, r->config);
    test_write(dir, "config.json", config.s, config.n);
    for (size_t i = 0; i < r->n; i++) {
        const weight *w = &r->w[i];
        n = 4 * (uint64_t)(w->rows ? w->rows : 1) * (uint64_t)w->cols;
        bl_text_addf(&head, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "{", w->name);
        if (w->rows) bl_text_addf(&head, "%lld,", (long long)w->rows);
        bl_text_addf(&head, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)w->cols, (unsigned long long)at,
                     (unsigned long long)(at + n));
        at += n;
    }
    bl_text_add(&head, "}");
    put64(&all, head.n);
    bl_text_addn(&all, head.s, head.n);
    for (size_t i = 0; i < r->n; i++)
        for (int64_t k = 0; k < (r->w[i].rows ? r->w[i].rows : 1) * r->w[i].cols; k++)
            putf(&all, element(r->w[i].name, (uint64_t)k));
    test_write(dir, "model.safetensors", all.s, all.n);
    bl_text_free(&config);
    bl_text_free(&head);
    bl_text_free(&all);
}

/* What convert_hf_to_gguf.py of llama.cpp writes; false: it has no keys for this scaling. */
static bool write_gguf(const recorded *r, const char *dir)
{
    const char *type = text(r->config, "model_type");
    bool pairs = !strcmp(type, "llama") || !strcmp(type, "mistral");
    const char *arch = pairs ? "llama" : type;
    const bl_json *rope = bl_json_get(r->config, "rope_parameters");
    const char *kind = text(rope, "rope_type");
    double heads = number(r->config, "num_attention_heads"), kv = number(r->config, "num_key_value_heads");
    char name[64];
    bl_text keys = {0}, t = {0};
    uint64_t n = 0, at = 0;
    static const struct {
        const char *key, *from;
    } whole[] = {{"block_count", "num_hidden_layers"},
                 {"context_length", "max_position_embeddings"},
                 {"embedding_length", "hidden_size"},
                 {"feed_forward_length", "intermediate_size"},
                 {"attention.head_count", "num_attention_heads"},
                 {"attention.head_count_kv", "num_key_value_heads"}};

    if (strcmp(kind, "default") && strcmp(kind, "linear") && strcmp(kind, "yarn")) return false;
    if (bl_json_get(rope, "mscale")) return false;
#define KEY(tail) (snprintf(name, sizeof name, "%s.%s", arch, tail), n++, name)
    for (size_t i = 0; i < BL_COUNT(whole); i++)
        key_u32(&keys, KEY(whole[i].key), (uint32_t)number(r->config, whole[i].from));
    key_f32(&keys, KEY("attention.layer_norm_rms_epsilon"), (float)number(r->config, "rms_norm_eps"));
    key_f32(&keys, KEY("rope.freq_base"), (float)number(rope, "rope_theta"));
    if (bl_json_get(r->config, "head_dim")) {
        key_u32(&keys, KEY("attention.key_length"), (uint32_t)number(r->config, "head_dim"));
        key_u32(&keys, KEY("attention.value_length"), (uint32_t)number(r->config, "head_dim"));
    }
    if (strcmp(kind, "default")) {
        key_text(&keys, KEY("rope.scaling.type"), kind);
        key_f32(&keys, KEY("rope.scaling.factor"), (float)number(rope, "factor"));
    }
    if (!strcmp(kind, "yarn"))
        key_u32(&keys, KEY("rope.scaling.original_context_length"),
                (uint32_t)number(rope, "original_max_position_embeddings"));
    if (bl_json_get(rope, "attention_factor")) /* that of the file multiplies the one that the factor gives */
        key_f32(&keys, KEY("rope.scaling.attn_factor"),
                (float)(number(rope, "attention_factor") / (0.1 * log(number(rope, "factor")) + 1)));
#undef KEY
    head(&t, 3, r->n, n + 1);
    key_text(&t, "general.architecture", arch);
    bl_text_addn(&t, keys.s, keys.n);
    for (size_t i = 0; i < r->n; i++) {
        const weight *w = &r->w[i];
        tensor(&t, w->gguf, w->rows ? 2 : 1, (uint64_t)w->cols, (uint64_t)w->rows, 0, at);
        at = (at + 4 * (uint64_t)(w->rows ? w->rows : 1) * (uint64_t)w->cols + 31) / 32 * 32;
    }
    for (size_t i = 0; i < r->n; i++) {
        const weight *w = &r->w[i];
        int64_t in = w->rows ? w->cols : 1, out = w->rows ? w->rows : w->cols; /* a bias has a number for every row */
        int64_t h = pairs && strstr(w->name, "q_proj")   ? (int64_t)heads
                    : pairs && strstr(w->name, "k_proj") ? (int64_t)kv
                                                         : 0;
        int64_t d = h ? out / h : out;
        pad(&t, 32);
        for (int64_t row = 0; row < out; row++) {
            int64_t from = h ? row / d * d + row % d / 2 + row % 2 * (d / 2) : row;
            for (int64_t k = 0; k < in; k++) putf(&t, element(w->name, (uint64_t)(from * in + k)));
        }
    }
    pad(&t, 32);
    test_write(dir, "m.gguf", t.s, t.n);
    bl_text_free(&keys);
    bl_text_free(&t);
    return true;
}

/* ---- what it computes ---- */
static void compare(const recorded *r, const char *path, const char *what)
{
    bl_err e = {0};
    fixture f = fixture_open(path, "", 1, false);
    int64_t vocab = f.m->config.vocab, i = 0, at;
    bl_tensor hidden = fixture_hidden(&f, r->ids, (int32_t)r->n_ids), out = fixture_tensor(&f, BL_F32, 1, vocab);
    float *row = malloc((size_t)vocab * sizeof *row);
    double worst = 0, top = 0, v;

    const bl_json *logits = bl_json_first(bl_json_get(r->doc, "logits"));
    for (const bl_json *p = bl_json_first(bl_json_get(r->doc, "positions")); p;
         p = bl_json_next(p), logits = bl_json_next(logits)) {
        assert_ok(bl_json_int(p, &at, &e));
        assert_ok(bl_logits(f.m, hidden, at, 1, out, &e));
        assert_ok(f.be->ops->download(f.be, &out, row, &e));
        i = 0;
        for (const bl_json *l = bl_json_first(logits); l; l = bl_json_next(l), i++) {
            assert_ok(bl_json_real(l, &v, &e));
            worst = fmax(worst, fabs(row[i] - v));
            top = fmax(top, fabs(v));
        }
        assert_int_equal(i, vocab);
    }
    if (!(worst <= 1e-4 * top)) fail_msg("%s: logits differ by %g of %g", what, worst, top);

    bl_arena *a;
    bl_gen_reply got;
    bl_gen_request req = {.ids = r->ids, .n = r->n_ids, .max_new = r->n_new, .ignore_end = true};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_generate(f.m, NULL, &req, 1, 4096, true, a, &got, &e));
    assert_int_equal(got.n, r->n_new);
    for (int64_t k = 0; k < got.n; k++)
        if (got.ids[k] != r->new_ids[k])
            fail_msg("%s: new token %lld is %d, recorded %d", what, (long long)k, (int)got.ids[k], (int)r->new_ids[k]);
    bl_arena_free(a);
    free(row);
    fixture_drop(&f, &hidden);
    fixture_drop(&f, &out);
    fixture_close(&f);
}

static void every_recorded_model_computes_what_transformers_computes(void **state)
{
    (void)state;
    char **names = NULL, dir[4096], what[256], path[4200];
    size_t n = 0, models = 0, files = 0;
    unsigned seen = 0; /* bit i: of architecture i */
    bl_err e = {0};
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    assert_ok(bl_dir_list(BL_SOURCE_DIR "/tests/data/arch", &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".json")) continue;
        recorded r = load(names[i]);
        const bl_arch *arch = bl_arch_of_hf(text(r.config, "model_type"));
        assert_non_null(arch);
        for (size_t k = 0; bl_arch_at(k); k++) seen |= bl_arch_at(k) == arch ? 1u << k : 0;
        models++;
        write_directory(&r, dir);
        compare(&r, dir, names[i]);
        if (write_gguf(&r, dir)) {
            snprintf(what, sizeof what, "%s as GGUF", names[i]);
            snprintf(path, sizeof path, "%s/m.gguf", dir);
            compare(&r, path, what);
            files++;
        }
        bl_json_free(r.doc);
    }
    assert_true(models >= 14);
    assert_true(files >= 10);
    for (size_t i = 0; bl_arch_at(i); i++)
        if (!(seen >> i & 1)) fail_msg("no recorded model in tests/data/arch is a %s", bl_arch_at(i)->name);
    bl_list_free(names, n);
    assert_ok(bl_remove_tree(dir, &e));
}

/* The directory of one recorded model in $TMPDIR. */
static recorded directory(const char *name, char dir[4096])
{
    recorded r = load(name);
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    write_directory(&r, dir);
    return r;
}

/* Hidden states of prefixes of the recorded ids, fed as one batch: f32 [sum of n, dim]. */
static bl_status prefixes(const fixture *f, const recorded *r, const int32_t *n, int32_t n_seq, float *out, bl_err *e)
{
    int32_t ids[4 * MAX_IDS], start[5] = {0}, past[4] = {0}, slot[4], rows = 0;
    int64_t want[4 * MAX_IDS], dim = f->m->config.dim;
    bl_kv *kv = NULL;
    bl_status st = BL_OK;
    for (int32_t s = 0; s < n_seq; s++) {
        memcpy(ids + rows, r->ids, (size_t)n[s] * sizeof *ids);
        rows += n[s];
        start[s + 1] = rows;
    }
    for (int32_t i = 0; i < rows; i++) want[i] = i;
    bl_tensor hidden = fixture_tensor(f, BL_F32, rows, dim);
    BL_TRY(bl_kv_new(f->m, rows, n_seq, true, BL_KV_ACT, &kv, e));
    for (int32_t s = 0; s < n_seq; s++) BL_TRY(bl_kv_slot(kv, n[s], -1, 0, &slot[s], e));
    const bl_batch b = {
        .ids = ids, .n_seq = n_seq, .start = start, .past = past, .slot = slot, .want = want, .n_want = rows};
    BL_TRY(bl_forward(f->m, &b, kv, hidden, e));
    BL_TRY(f->be->ops->download(f->be, &hidden, out, e));
out:
    bl_kv_free(kv);
    fixture_drop(f, &hidden);
    return st;
}

/* Dynamic scaling from 24 positions: each length has its own turn, and nobody else's. */
static void a_sequence_is_turned_by_its_own_length_whoever_is_beside_it(void **state)
{
    (void)state;
    enum { DIM = 32 };
    static float all[4 * MAX_IDS * DIM], one[MAX_IDS * DIM], other[MAX_IDS * DIM];
    static const int32_t n[] = {10, 40, 24, 30};
    bl_err e = {0};
    char dir[4096];
    recorded r = directory("rope-dynamic.json", dir);
    fixture f = fixture_open(dir, "", 1, false);
    size_t at = 0;
    assert_int_equal(f.m->config.dim, DIM);
    assert_ok(prefixes(&f, &r, n, BL_COUNT(n), all, &e));
    for (size_t s = 0; s < BL_COUNT(n); at += (size_t)n[s++] * DIM) {
        assert_ok(prefixes(&f, &r, &n[s], 1, one, &e));
        assert_memory_equal(one, all + at, (size_t)n[s] * DIM * sizeof *one);
    }
    /* The same first tokens of a longer sequence are turned by its length: they differ, where up to 24 they do not. */
    assert_ok(prefixes(&f, &r, &n[0], 1, one, &e));
    assert_ok(prefixes(&f, &r, &n[2], 1, other, &e));
    assert_memory_equal(one, other, (size_t)n[0] * DIM * sizeof *one);
    assert_ok(prefixes(&f, &r, &n[1], 1, other, &e));
    assert_memory_not_equal(one, other, (size_t)n[0] * DIM * sizeof *one);
    fixture_close(&f);
    bl_json_free(r.doc);
    assert_ok(bl_remove_tree(dir, &e));
}

static void a_sequence_longer_than_the_window_is_refused(void **state)
{
    (void)state;
    static float hidden[MAX_IDS * 32];
    bl_err e = {0};
    char dir[4096];
    recorded r = directory("mistral.json", dir);
    fixture f = fixture_open(dir, "", 1, false);
    const int32_t fits = 32, longer = 33;
    assert_int_equal(bl_model_max_len(f.m), 64);
    memcpy(r.ids + r.n_ids, r.ids, 16 * sizeof *r.ids);
    assert_ok(prefixes(&f, &r, &fits, 1, hidden, &e));
    assert_refused(prefixes(&f, &r, &longer, 1, hidden, &e), BL_E_UNSUPPORTED,
                   "a sequence of 33 tokens is longer than the model's sliding window of 32");
    assert_non_null(strstr(bl_checkpoint_notes(f.ckpt), "sequences longer than 32 tokens are refused"));
    fixture_close(&f);
    bl_json_free(r.doc);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_model_computes_what_transformers_computes),
        cmocka_unit_test(a_sequence_is_turned_by_its_own_length_whoever_is_beside_it),
        cmocka_unit_test(a_sequence_longer_than_the_window_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
