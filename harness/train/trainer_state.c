/* trainer_state.c - the state of a run as a file: 16 bytes of name, the length of a JSON header, the header, the bytes
 * of all parameters and moments in their order, XXH3-128 of all that. Numbers are those of this machine. */
#include "narrow.h"
#include "trainer.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>
#include <string.h>

static const char magic[] = "bitladder-trai2\n";
enum { MAGIC = 16, FRONT = MAGIC + 8, HASH = sizeof(bl_hash), CHUNK = 1 << 20 };

/* Part k of a parameter in a state, on the backend or in the host's memory; false after the last. */
static bool part_of(const bl_trainer *r, const bl_trained *p, int k, bl_tensor *tensor, void **at, uint64_t *bytes)
{
    const int n = p->packed ? p->packed->weight.n_parts : 1;
    if (k >= n) return bl_adamw_moment(&r->optimizer, p, k - n, tensor, at, bytes);
    *tensor = p->packed ? p->packed->weight.part[k] : p->kept.ndim ? p->kept : p->value;
    *at = NULL;
    *bytes = bl_tensor_bytes(tensor);
    return true;
}

static uint64_t bytes_of(const bl_trainer *r)
{
    uint64_t n = 0, one;
    bl_tensor x;
    void *at;
    for (size_t i = 0; i < r->t->n_params; i++)
        for (int k = 0; part_of(r, &r->t->param[i], k, &x, &at, &one); k++) n += one;
    return n;
}

/* ---- writing ---- */
static void put_header(const bl_trainer *r, bl_text *out)
{
    bl_json_out j = {.t = out, .compact = true};
    char hex[33];
    bl_hash_hex(r->identity, hex);
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "identity", hex);
    bl_json_add_int(&j, "step", r->step);
    bl_json_add_int(&j, "pass", r->t->pass);
    bl_json_array(&j, "parameters");
    for (size_t i = 0; i < r->t->n_params; i++) bl_json_add_str(&j, NULL, r->t->param[i].name);
    bl_json_end(&j);
    bl_json_array(&j, "curve");
    for (int64_t i = 0; i < r->step; i++) {
        bl_json_add_real(&j, NULL, r->curve[i].loss);
        bl_json_add_real(&j, NULL, r->curve[i].lr);
        bl_json_add_real(&j, NULL, r->curve[i].grad_norm);
        bl_json_add_maybe(&j, NULL, r->curve[i].valid);
    }
    bl_json_end(&j);
    bl_json_end(&j);
}

typedef struct sink {
    bl_writer *w;
    bl_hasher *h;
} sink;

static bl_status put(const sink *s, const void *p, size_t n, bl_err *e)
{
    bl_hash_add(s->h, p, n);
    return bl_writer_add(s->w, p, n, e);
}

static bl_status put_tensor(const sink *s, bl_backend *be, bl_tensor t, uint8_t *buf, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&t), step = (int64_t)(CHUNK / bl_dtype_bytes(t.dtype));
    bl_tensor flat = bl_tensor_1d(t.buf, t.offset, t.dtype, n);
    for (int64_t i = 0; i < n; i += step) {
        bl_tensor some = bl_tensor_part(flat, i, BL_MIN(step, n - i));
        BL_TRY(be->ops->download(be, &some, buf, e));
        BL_TRY(put(s, buf, bl_tensor_bytes(&some), e));
    }
out:
    return st;
}

bl_status bl_trainer_save(const bl_trainer *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text header = {0};
    sink s = {0};
    uint8_t *buf = NULL;
    void *at;
    uint64_t bytes;
    bl_tensor x;
    bl_hash sum;

    put_header(r, &header);
    BL_TRY(bl_text_check(&header, e));
    BL_TRY(bl_adamw_moments(&r->optimizer, r->t, e)); /* none before the first step */
    if (!(buf = bl_new(CHUNK, 1, e)) || !(s.h = bl_hasher_new(e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_writer_open(r->state, &s.w, e));
    BL_TRY(put(&s, magic, MAGIC, e));
    BL_TRY(put(&s, &(uint64_t){header.n}, 8, e));
    BL_TRY(put(&s, header.s, header.n, e));
    for (size_t i = 0; i < r->t->n_params; i++)
        for (int k = 0; part_of(r, &r->t->param[i], k, &x, &at, &bytes); k++)
            BL_TRY(at ? put(&s, at, bytes, e) : put_tensor(&s, r->t->m->be, x, buf, e));
    sum = bl_hasher_end(s.h);
    s.h = NULL;
    BL_TRY(bl_writer_add(s.w, &sum, HASH, e));
    BL_TRY(bl_writer_commit(s.w, e));
    s.w = NULL;
out:
    if (s.h) (void)bl_hasher_end(s.h);
    bl_writer_drop(s.w);
    bl_free(buf);
    bl_text_free(&header);
    return st;
}

/* ---- reading ---- */
static bl_status read_curve(bl_trainer *r, const bl_json *list, int64_t steps, bl_err *e)
{
    bl_status st = BL_OK;
    if (bl_json_size(list) != 4 * (size_t)steps)
        return bl_fail(e, BL_E_CORRUPT, "%s: its curve is not of %lld steps", r->state, (long long)steps);
    BL_TRY(bl_grow(&r->curve, &r->cap_curve, (size_t)steps, sizeof *r->curve, e));
    const bl_json *v = bl_json_first(list);
    for (int64_t i = 0; i < steps; i++) {
        double *const to[] = {&r->curve[i].loss, &r->curve[i].lr, &r->curve[i].grad_norm};
        for (size_t k = 0; k < 3; k++, v = bl_json_next(v)) BL_TRY(bl_json_real(v, to[k], e));
        r->curve[i].valid = NAN;
        if (bl_json_kind(v) != BL_JSON_NULL) BL_TRY(bl_json_real(v, &r->curve[i].valid, e));
        v = bl_json_next(v);
    }
out:
    return st;
}

/* Is it the state of this run? */
static bl_status same_run(const bl_trainer *r, const bl_json *header, bl_err *e)
{
    bl_status st = BL_OK;
    const char *was, *name;
    const bl_json *names, *v;
    char hex[33];
    size_t i = 0;
    bl_hash_hex(r->identity, hex);
    BL_TRY(bl_json_get_str(header, "identity", &was, e));
    BL_TRY(bl_json_need(header, "parameters", &names, e));
    bool same = strcmp(hex, was) == 0 && bl_json_size(names) == r->t->n_params;
    for (v = bl_json_first(names); same && v; v = bl_json_next(v), i++) {
        BL_TRY(bl_json_str(v, &name, e));
        same = strcmp(name, r->t->param[i].name) == 0;
    }
    if (!same)
        st = bl_fail(e, BL_E_CONFIG, "%s is the state of another run: model, method, data or settings differ",
                     r->state);
out:
    return st;
}

static bl_status take(bl_trainer *r, const uint8_t *p, const bl_json *header, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = r->t->m->be;
    const bl_json *curve;
    int64_t step, pass;
    uint64_t bytes;
    void *at;
    bl_tensor x;

    BL_TRY(bl_json_get_int(header, "step", &step, e));
    BL_TRY(bl_json_get_int(header, "pass", &pass, e));
    BL_TRY(bl_json_need(header, "curve", &curve, e));
    BL_TRY(read_curve(r, curve, step, e));
    for (size_t i = 0; i < r->t->n_params; i++)
        for (int k = 0; part_of(r, &r->t->param[i], k, &x, &at, &bytes); k++, p += bytes) {
            if (at) memcpy(at, p, bytes);
            else BL_TRY(be->ops->upload(be, &x, p, e));
        }
    BL_TRY(be->ops->sync(be, e)); /* before the file goes */
    bl_narrow_changed(r->t);
    BL_TRY(bl_trainable_make(r->t, e));
    r->step = r->optimizer.step = step;
    r->t->pass = (uint32_t)pass;
out:
    return st;
}

bl_status bl_trainer_load(bl_trainer *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_map m = {.fd = -1};
    bl_json *header = NULL;
    bl_hash sum;
    uint64_t n;

    BL_TRY(bl_map_open(r->state, &m, e));
    bool whole = m.size >= FRONT + HASH && memcmp(m.data, magic, MAGIC) == 0;
    if (whole) {
        memcpy(&sum, m.data + m.size - HASH, HASH);
        memcpy(&n, m.data + MAGIC, 8);
        whole = bl_hash_equal(sum, bl_hash_bytes(m.data, m.size - HASH)) && n <= m.size - FRONT - HASH;
    }
    if (!whole) {
        st = bl_fail(e, BL_E_CORRUPT, "%s is not a whole state of a training run", r->state);
        goto out;
    }
    BL_TRY(bl_json_parse((const char *)m.data + FRONT, n, r->state, BL_JSON_PLAIN, &header, e));
    BL_TRY(same_run(r, header, e));
    BL_TRY(bl_adamw_moments(&r->optimizer, r->t, e));
    if (m.size - FRONT - HASH - n != bytes_of(r)) {
        st = bl_fail(e, BL_E_CONFIG, "%s holds %llu bytes of parameters and moments, this run has %llu", r->state,
                     (unsigned long long)(m.size - FRONT - HASH - n), (unsigned long long)bytes_of(r));
        goto out;
    }
    BL_TRY(take(r, m.data + FRONT + n, header, e));
out:
    bl_json_free(header);
    if (m.data) bl_map_close(&m);
    return st;
}
