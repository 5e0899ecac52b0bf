/* samples.c - JSON lines of token ids. */
#include "samples.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <string.h>

const char *const bl_sample_formats[] = {"ids", NULL};

static const uint64_t most_bytes = UINT64_C(4) << 30;

typedef struct reader {
    bl_samples s;
    size_t cap_start, cap_ids, cap_mask;
    int64_t vocab, seqlen;
} reader;

static bl_status need_list(const bl_json *v, const char *key, bl_err *e)
{
    if (bl_json_kind(v) == BL_JSON_ARRAY) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "'%s' is no list", key);
}

static bl_status one_id(const reader *r, const bl_json *v, int32_t *out, bl_err *e)
{
    int64_t id;
    bl_status st = bl_json_int(v, &id, e);
    if (st != BL_OK) return st;
    if (id < 0 || id >= r->vocab)
        return bl_fail(e, BL_E_FORMAT, "id %lld, expected 0 to %lld", (long long)id, (long long)r->vocab - 1);
    *out = (int32_t)id;
    return BL_OK;
}

static bl_status one_mark(const bl_json *v, uint8_t *out, bl_err *e)
{
    int64_t mark;
    bl_status st = bl_json_int(v, &mark, e);
    if (st != BL_OK) return st;
    if (mark != 0 && mark != 1) return bl_fail(e, BL_E_FORMAT, "mask %lld, expected 0 or 1", (long long)mark);
    *out = (uint8_t)mark;
    return BL_OK;
}

static bl_status add(reader *r, const bl_json *line, bl_err *e)
{
    static const char *const known[] = {"ids", "mask", NULL};
    bl_status st = BL_OK;
    const bl_json *ids, *mask = bl_json_get(line, "mask"), *mark = NULL;
    bl_samples *s = &r->s;

    BL_TRY(bl_json_need(line, "ids", &ids, e));
    BL_TRY(bl_json_only(line, known, e));
    BL_TRY(need_list(ids, "ids", e));
    if (mask) BL_TRY(need_list(mask, "mask", e));
    if (mask && bl_json_size(mask) != bl_json_size(ids))
        return bl_fail(e, BL_E_FORMAT, "%zu ids and %zu marks of the mask", bl_json_size(ids), bl_json_size(mask));
    if (bl_json_size(ids) == 0) return bl_fail(e, BL_E_FORMAT, "no ids");
    int64_t at = s->n ? s->start[s->n] : 0, n = (int64_t)bl_json_size(ids);
    if (r->seqlen > 0) n = BL_MIN(n, r->seqlen);
    BL_TRY(bl_grow(&s->start, &r->cap_start, (size_t)s->n + 2, sizeof *s->start, e));
    BL_TRY(bl_grow(&s->ids, &r->cap_ids, (size_t)(at + n), sizeof *s->ids, e));
    BL_TRY(bl_grow(&s->mask, &r->cap_mask, (size_t)(at + n), sizeof *s->mask, e));
    if (mask) mark = bl_json_first(mask);
    const bl_json *id = bl_json_first(ids);
    for (int64_t i = at; i < at + n; i++, id = bl_json_next(id)) {
        s->mask[i] = 1;
        BL_TRY(one_id(r, id, &s->ids[i], e));
        if (!mark) continue;
        BL_TRY(one_mark(mark, &s->mask[i], e));
        mark = bl_json_next(mark);
    }
    s->start[s->n++] = at;
    s->start[s->n] = at + n;
out:
    return st;
}

static bl_status hash_of(bl_samples *s, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_add(h, s->start, (size_t)(s->n + 1) * sizeof *s->start);
    bl_hash_add(h, s->ids, (size_t)s->start[s->n] * sizeof *s->ids);
    bl_hash_add(h, s->mask, (size_t)s->start[s->n]);
    s->hash = bl_hasher_end(h);
    return BL_OK;
}

bl_status bl_samples_ids(const char *path, int64_t vocab, int64_t seqlen, bl_samples *out, bl_err *e)
{
    bl_status st = BL_OK;
    reader r = {.vocab = vocab, .seqlen = seqlen};
    bl_json *line = NULL;
    char *text = NULL, name[32];
    size_t n;
    int64_t number = 0;

    BL_TRY(bl_read_file(path, most_bytes, &text, &n, e));
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        snprintf(name, sizeof name, "line %lld", (long long)++number);
        if (strspn(text + at, " \t\r") < len) {
            st = bl_json_parse(text + at, len, name, BL_JSON_PLAIN, &line, e);
            if (st == BL_OK && (st = add(&r, line, e)) != BL_OK && !strstr(e ? e->text : "", name))
                bl_within(e, "%s", name);
            if (st != BL_OK) {
                bl_within(e, "%s", path);
                goto out;
            }
            bl_json_free(line);
            line = NULL;
        }
        at += len + 1;
    }
    if (!r.s.n) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no lines, expected {\"ids\": [...], \"mask\": [...]}", path);
        goto out;
    }
    BL_TRY(hash_of(&r.s, e));
    *out = r.s;
    r.s = (bl_samples){0};
out:
    bl_json_free(line);
    bl_free(text);
    bl_samples_free(&r.s);
    return st;
}

void bl_samples_free(bl_samples *s)
{
    bl_free(s->start);
    bl_free(s->ids);
    bl_free(s->mask);
    *s = (bl_samples){0};
}
