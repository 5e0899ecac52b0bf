/* model_block.c - one block at a time is the model; hooks and tape show what its parts say they show. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "harness/model/block.h"
#include "kernels/base/fs.h"

static const char *const models[] = {"synth:tiny", "synth:tiny:int4"};
enum { LEN = 70, SPLIT = 33 }; /* two sequences */

typedef struct seen {
    int64_t dim[8], rows[8];
    uint32_t roles[8];
    int n;
    bool stop;
} seen;

static bl_status note(void *ctx, const bl_model *m, int64_t block, uint32_t roles, int64_t row0, bl_tensor x, bl_err *e)
{
    seen *s = ctx;
    (void)m;
    (void)block;
    (void)e;
    assert_true(s->n < 8);
    assert_int_equal(row0, 0);
    s->roles[s->n] = roles;
    s->rows[s->n] = x.dim[0];
    s->dim[s->n++] = x.dim[1];
    return s->stop ? bl_fail(e, BL_E_NUMERIC, "enough") : BL_OK;
}

static void fill_ids(int32_t *ids, int64_t vocab)
{
    bl_rng r = bl_rng_at(5, 3, 0);
    for (int i = 0; i < LEN; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
}

static float *host(const fixture *f, bl_tensor t)
{
    bl_err e = {0};
    float *x = malloc(bl_tensor_bytes(&t));
    assert_ok(f->be->ops->download(f->be, &t, x, &e));
    return x;
}

static void assert_same(const fixture *f, bl_tensor a, bl_tensor b, const char *what)
{
    float *x = host(f, a), *y = host(f, b);
    assert_int_equal(bl_tensor_count(&a), bl_tensor_count(&b));
    if (memcmp(x, y, bl_tensor_bytes(&a))) fail_msg("%s differ", what);
    free(x);
    free(y);
}

/* The embedded rows, and a cache and batch for them. */
typedef struct rows {
    bl_kv *kv;
    bl_tensor x;
    int32_t start[3], past[2], slot[2];
    bl_batch b;
} rows;

static void begin(const fixture *f, const int32_t *ids, rows *r)
{
    bl_err e = {0};
    bl_tensor id = fixture_tensor(f, BL_I32, LEN, 1);
    id = bl_tensor_1d(id.buf, 0, BL_I32, LEN);
    *r = (rows){.start = {0, SPLIT, LEN}};
    r->x = fixture_tensor(f, BL_F32, LEN, f->m->config.dim);
    assert_ok(f->be->ops->upload(f->be, &id, ids, &e));
    assert_ok(f->be->ops->embed(f->be, &(bl_embed_args){.w = &f->m->embed.weight, .ids = id, .y = r->x}, &e));
    fixture_drop(f, &id);
    assert_ok(bl_kv_new(f->m, LEN, 2, true, BL_KV_ACT, &r->kv, &e));
    assert_ok(bl_kv_slot(r->kv, SPLIT, -1, 0, &r->slot[0], &e));
    assert_ok(bl_kv_slot(r->kv, LEN - SPLIT, -1, 0, &r->slot[1], &e));
    r->b = (bl_batch){.n_seq = 2, .start = r->start, .past = r->past, .slot = r->slot};
}
static void end(const fixture *f, rows *r)
{
    bl_kv_free(r->kv);
    fixture_drop(f, &r->x);
}

static void block_after_block_is_the_whole_model(void **state)
{
    (void)state;
    bl_err e = {0};
    int32_t ids[LEN];
    for (size_t i = 0; i < BL_COUNT(models); i++)
        for (int stream = 0; stream < 2; stream++) {
            fixture f = fixture_open(models[i], "", 1, stream);
            int64_t dim = f.m->config.dim, layers = f.m->config.n_layers, row = LEN - SPLIT - 1;
            float *trace = malloc((size_t)((layers + 1) * dim) * sizeof *trace);
            int32_t slot, past = 0;
            rows r;
            bl_kv *kv;
            fill_ids(ids, f.m->config.vocab);
            assert_ok(bl_kv_new(f.m, LEN, 1, true, BL_KV_ACT, &kv, &e));
            assert_ok(bl_kv_slot(kv, LEN - SPLIT, -1, 0, &slot, &e));
            assert_ok(bl_forward_trace(
                f.m,
                &(bl_batch){
                    .ids = ids + SPLIT, .n_seq = 1, .start = (int32_t[]){0, LEN - SPLIT}, .past = &past, .slot = &slot},
                kv, row, trace, &e));
            begin(&f, ids, &r);
            for (int64_t b = 0; b < layers; b++) {
                float *x = host(&f, bl_tensor_rows(r.x, LEN - 1, 1));
                assert_memory_equal(x, trace + b * dim, (size_t)dim * sizeof *x); /* what goes into block b */
                free(x);
                assert_ok(bl_block_acquire(f.m, b, &e));
                assert_ok(bl_block_forward(f.m, b, &r.b, r.kv, r.x, NULL, NULL, &e));
                bl_block_release(f.m, b);
            }
            bl_tensor last = bl_tensor_rows(r.x, LEN - 1, 1);
            assert_ok(f.be->ops->rmsnorm(
                f.be, &(bl_rmsnorm_args){.x = last, .weight = f.m->norm.weight, .y = last, .eps = f.m->config.eps},
                &e));
            float *x = host(&f, last);
            assert_memory_equal(x, trace + layers * dim, (size_t)dim * sizeof *x);
            free(x);
            free(trace);
            end(&f, &r);
            bl_kv_free(kv);
            fixture_close(&f);
        }
}

static void hooks_see_the_input_of_every_linear_in_order(void **state)
{
    (void)state;
    bl_err e = {0};
    int32_t ids[LEN];
    uint32_t qkv = BL_ROLE_BIT(BL_ROLE_Q) | BL_ROLE_BIT(BL_ROLE_K) | BL_ROLE_BIT(BL_ROLE_V);
    uint32_t o = BL_ROLE_BIT(BL_ROLE_O), mlp = BL_ROLE_BIT(BL_ROLE_GATE) | BL_ROLE_BIT(BL_ROLE_UP);
    fixture f = fixture_open(models[0], "", 1, false);
    const bl_config *c = &f.m->config;
    const uint32_t roles[] = {qkv, o, mlp, BL_ROLE_BIT(BL_ROLE_DOWN)};
    const int64_t dims[] = {c->dim, c->n_heads * c->head_dim, c->dim, c->ffn_dim};
    fill_ids(ids, c->vocab);
    for (int last = 0; last < 5; last++) { /* 4: no end */
        seen s = {0};
        rows r;
        begin(&f, ids, &r);
        assert_ok(bl_block_forward(f.m, 1, &r.b, r.kv, r.x,
                                   &(bl_block_hooks){.input = note, .ctx = &s, .until = last < 4 ? roles[last] : 0},
                                   NULL, &e));
        assert_int_equal(s.n, last < 4 ? last + 1 : 4);
        for (int i = 0; i < s.n; i++) {
            assert_int_equal(s.roles[i], roles[i]);
            assert_int_equal(s.dim[i], dims[i]);
            assert_int_equal(s.rows[i], LEN);
        }
        end(&f, &r);
    }
    seen s = {.stop = true};
    rows r;
    begin(&f, ids, &r);
    assert_int_equal(bl_block_forward(f.m, 1, &r.b, r.kv, r.x, &(bl_block_hooks){.input = note, .ctx = &s}, NULL, &e),
                     BL_E_NUMERIC);
    assert_string_equal(e.text, "block 1: enough");
    end(&f, &r);
    fixture_close(&f);
}

static bl_tensor product(const fixture *f, bl_role role, bl_tensor x, const bl_tensor *onto)
{
    bl_err e = {0};
    const bl_linear *l = bl_model_linear(f->m, 1, role);
    bl_tensor y = fixture_tensor(f, BL_F32, x.dim[0], l->out);
    if (onto) assert_ok(f->be->ops->gather(f->be, &(bl_gather_args){.src = *onto, .dst = y, .n = x.dim[0]}, &e));
    assert_ok(bl_linear_apply(f->be, l, x, y, onto != NULL, &e));
    return y;
}

static void a_tape_holds_what_the_parts_computed(void **state)
{
    (void)state;
    bl_err e = {0};
    int32_t ids[LEN];
    for (size_t i = 0; i < BL_COUNT(models); i++) {
        fixture f = fixture_open(models[i], "", 1, false);
        rows r, plain;
        bl_tape t;
        bl_tensor y;
        fill_ids(ids, f.m->config.vocab);
        begin(&f, ids, &r);
        begin(&f, ids, &plain);
        assert_ok(bl_tape_new(f.m, LEN, &t, &e));
        assert_ok(bl_block_forward(f.m, 1, &r.b, r.kv, r.x, NULL, &t, &e));
        assert_same(&f, t.x, plain.x, "the tape's input and the block's");
        assert_ok(bl_block_forward(f.m, 1, &plain.b, plain.kv, plain.x, NULL, NULL, &e));
        assert_same(&f, r.x, plain.x, "outputs with and without a tape");
        y = product(&f, BL_ROLE_V, t.attn_in, NULL);
        assert_same(&f, y, t.v, "v and its product");
        fixture_drop(&f, &y);
        y = product(&f, BL_ROLE_O, t.attn_out, &t.x);
        assert_same(&f, y, t.mid, "the middle of the block and x + o_proj");
        fixture_drop(&f, &y);
        y = product(&f, BL_ROLE_UP, t.mlp_in, NULL);
        assert_same(&f, y, t.up, "up and its product");
        assert_ok(f.be->ops->swiglu(f.be, &(bl_swiglu_args){.gate = t.gate, .up = t.up, .y = y}, &e));
        assert_same(&f, y, t.act, "silu(gate) * up");
        fixture_drop(&f, &y);
        y = product(&f, BL_ROLE_DOWN, t.act, &t.mid);
        assert_same(&f, y, r.x, "the block's output and the middle + down_proj");
        fixture_drop(&f, &y);
        bl_tape_free(f.m, &t);
        end(&f, &r);
        end(&f, &plain);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_after_block_is_the_whole_model),
        cmocka_unit_test(hooks_see_the_input_of_every_linear_in_order),
        cmocka_unit_test(a_tape_holds_what_the_parts_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
