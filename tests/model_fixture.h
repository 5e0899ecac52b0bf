/* model_fixture.h - a checkpoint on the CPU with everything it needs, for tests. */
#ifndef BL_TESTS_MODEL_FIXTURE_H
#define BL_TESTS_MODEL_FIXTURE_H
#include "test.h"
#include "harness/model/generate.h"

typedef struct fixture {
    bl_checkpoint *ckpt;
    bl_backend *be;
    bl_model *m;
    bl_tokenizer *t;
} fixture;

/* tokenizer NULL: the model's own, "": none. */
static inline fixture fixture_on(const char *device, const char *model, const char *tokenizer, int threads,
                                 const bl_model_opts *o)
{
    bl_err e = {0};
    fixture f = {0};
    bool none = tokenizer && !*tokenizer;
    assert_ok(bl_checkpoint_open(model, &(bl_checkpoint_opts){.tokenizer = none ? NULL : tokenizer}, &f.ckpt, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = device, .threads = threads}, &f.be, &e));
    assert_ok(bl_model_open(f.ckpt, f.be, o, &f.m, &e));
    if (!none) assert_ok(bl_tokenizer_of(f.ckpt, &f.t, &e));
    return f;
}
static inline fixture fixture_with(const char *model, const char *tokenizer, int threads, const bl_model_opts *o)
{
    return fixture_on("cpu", model, tokenizer, threads, o);
}
static inline fixture fixture_open(const char *model, const char *tokenizer, int threads, bool stream)
{
    return fixture_with(model, tokenizer, threads, &(bl_model_opts){.stream = stream});
}
/* To be written or compared: its weights are in the layout of their format. */
static inline fixture fixture_stored(const char *model, const char *tokenizer, int threads, bool stream)
{
    return fixture_with(model, tokenizer, threads, &(bl_model_opts){.stream = stream, .as_stored = true});
}

static inline void fixture_close(fixture *f)
{
    bl_tokenizer_close(f->t);
    bl_model_close(f->m);
    bl_backend_close(f->be);
    bl_checkpoint_close(f->ckpt);
}

/* A tensor on a buffer of its own. */
static inline bl_tensor fixture_tensor(const fixture *f, bl_dtype t, int64_t rows, int64_t cols)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(f->be->ops->buffer_new(f->be, (uint64_t)(rows * cols) * bl_dtype_bytes(t), &b, &e));
    return bl_tensor_2d(b, 0, t, rows, cols);
}
static inline void fixture_drop(const fixture *f, bl_tensor *t) { f->be->ops->buffer_free(t->buf); }

/* Final hidden states act [n, dim] of one sequence, all rows. */
static inline bl_tensor fixture_hidden(const fixture *f, const int32_t *ids, int32_t n)
{
    bl_err e = {0};
    bl_kv *kv;
    int32_t slot, past = 0, start[] = {0, n};
    int64_t *want = malloc((size_t)n * sizeof *want);
    bl_tensor hidden = fixture_tensor(f, f->be->act, n, f->m->config.dim);
    for (int32_t i = 0; i < n; i++) want[i] = i;
    assert_ok(bl_kv_new(f->m, n, 1, true, f->m->kv, &kv, &e));
    assert_ok(bl_kv_slot(kv, n, -1, 0, &slot, &e));
    assert_ok(bl_forward(
        f->m,
        &(bl_batch){.ids = ids, .n_seq = 1, .start = start, .past = &past, .slot = &slot, .want = want, .n_want = n},
        kv, hidden, &e));
    assert_int_equal(bl_kv_len(kv, slot), n);
    bl_kv_free(kv);
    free(want);
    return hidden;
}
#endif
