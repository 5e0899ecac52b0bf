/* variant_write.h - a checkpoint, or a model that is open, written as a directory; what it says of its last stage. */
#ifndef BL_TESTS_VARIANT_WRITE_H
#define BL_TESTS_VARIANT_WRITE_H
#include "model_fixture.h"
#include "harness/model/variant.h"
#include "kernels/base/fs.h"

/* Every block and the ends of `m`; *bytes (may be NULL) the tensor bytes. */
static inline bl_status variant_of_model(bl_model *m, const char *dir, const bl_stage *stages, int n, uint64_t *bytes,
                                         bl_err *e)
{
    bl_status st = BL_OK;
    bl_variant *v = NULL;
    static const char layers[] = "{\"schema\": \"bitladder-layers\", \"seconds\": 0, \"layers\": []}\n";
    BL_TRY(bl_variant_begin(dir, m->ckpt, stages, n, &v, e));
    for (int64_t b = 0; b < m->config.n_layers; b++) {
        BL_TRY(bl_block_acquire(m, b, e));
        st = bl_variant_block(v, m, b, e);
        bl_block_release(m, b);
        if (st != BL_OK) goto out;
    }
    BL_TRY(bl_variant_ends(v, m, e));
    if (bytes) *bytes = bl_variant_bytes(v);
    BL_TRY(bl_variant_file(v, "layers.json", layers, strlen(layers), e));
    BL_TRY(bl_variant_commit(v, e));
    v = NULL;
out:
    bl_variant_drop(v);
    return st;
}

/* Of what was done last to a model that is saved in `dir`: the hash of the state that it left. */
static inline void last_stage_hash(const char *dir, char out[33])
{
    bl_err e = {0};
    bl_checkpoint *c;
    int n = 0;
    assert_ok(bl_checkpoint_open(dir, NULL, &c, &e));
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    assert_true(n > 0);
    if (!stage[n - 1].hash) fail_msg("%s: stage %s has no hash", dir, stage[n - 1].text);
    snprintf(out, 33, "%s", stage[n - 1].hash);
    assert_int_equal(strspn(out, "0123456789abcdef"), 32);
    bl_checkpoint_close(c);
}

/* As it is stored, by one stage of that text. */
static inline bl_status variant_of(bl_checkpoint *c, bl_backend *be, const char *dir, const char *text, uint64_t *bytes,
                                   bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = NULL;
    BL_TRY(bl_model_open(c, be, &(bl_model_opts){.stream = true, .as_stored = true, .max_len = 1}, &m, e));
    BL_TRY(variant_of_model(m, dir, &(bl_stage){.text = text}, 1, bytes, e));
out:
    bl_model_close(m);
    return st;
}
static inline bl_tensor variant_ones(const fixture *f, bl_dtype t, int64_t rows, int64_t cols)
{
    bl_err e = {0};
    bl_tensor x = fixture_tensor(f, t, rows, cols);
    assert_ok(f->be->ops->fill(f->be, &x, 1, &e));
    return x;
}

/* Something of everything that a linear may have, in a model as wide as synth:tiny. */
static inline void variant_everything(fixture *f)
{
    bl_err e = {0};
    bl_linear *q = bl_model_linear(f->m, 0, BL_ROLE_Q), *o = bl_model_linear(f->m, 0, BL_ROLE_O);
    bl_tensor turn = variant_ones(f, BL_F32, 64, 16);
    turn.ndim = 3;
    turn.dim[0] = 4;
    turn.dim[1] = turn.dim[2] = 16;
    turn.stride[0] = 256;
    turn.stride[1] = 16;
    turn.stride[2] = 1;
    assert_ok(bl_linear_add_transform(
        q, &(bl_transform){BL_T_SCALE, 64, 64, bl_tensor_1d(variant_ones(f, BL_F32, 1, 64).buf, 0, BL_F32, 64)}, &e));
    assert_ok(bl_linear_add_transform(
        q, &(bl_transform){BL_T_PERMUTE, 64, 64, bl_tensor_1d(variant_ones(f, BL_I32, 1, 64).buf, 0, BL_I32, 64)}, &e));
    assert_ok(bl_linear_add_transform(q, &(bl_transform){.kind = BL_T_HADAMARD, .in = 64, .out = 64}, &e));
    assert_ok(bl_linear_add_transform(q, &(bl_transform){BL_T_ROTATE, 64, 64, turn}, &e));
    assert_ok(bl_linear_add_transform(bl_model_linear(f->m, 0, BL_ROLE_K),
                                      &(bl_transform){BL_T_PERMUTE, 64, 64, variant_ones(f, BL_I32, 22, 3)}, &e));
    assert_ok(bl_linear_add_after(
        o, &(bl_transform){BL_T_HADAMARD, 64, 64, bl_tensor_1d(variant_ones(f, BL_F32, 1, 64).buf, 0, BL_F32, 64)},
        &e));
    assert_ok(bl_linear_add_adapter(
        o, &(bl_lowrank){variant_ones(f, BL_F32, 4, 64), variant_ones(f, BL_F32, 64, 4), 0.5f}, &e));
    bl_linear_set_act(o, (bl_actq){.bits = 8, .unit = BL_ACT_TENSOR, .scale = 0.5f, .zero = 3});
    bl_linear_set_bias(o, bl_tensor_1d(variant_ones(f, BL_F32, 1, 64).buf, 0, BL_F32, 64));
}

/* ---- a place to write to ---- */
typedef struct world {
    char dir[4096], out[4200], tied[4200];
    bl_backend *be;
} world;

static inline int begin_world(void **state)
{
    bl_err e = {0};
    world *w = calloc(1, sizeof *w);
    strcpy(w->dir, test_dir());
    snprintf(w->out, sizeof w->out, "%s/model", w->dir);
    setenv("XDG_CACHE_HOME", w->dir, 1);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &w->be, &e));
    *state = w;
    return 0;
}

static inline int end_world(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_backend_close(w->be);
    assert_ok(bl_remove_tree(w->dir, &e));
    free(w);
    return 0;
}
#endif
