/* samples.c - sequences of tokens from a file; JSON lines of ids. */
#include "samples_impl.h"
#include "kernels/base/fs.h"
#include <string.h>

const char *const bl_sample_formats[] = {"ids", "text", "alpaca", "chat", "cot", NULL};
const char *const bl_empty_answers[] = {"refuse", "skip", "keep", NULL};

static const uint64_t most_bytes = UINT64_C(4) << 30;

bl_status bl_samples_add(bl_samples_reader *r, const int32_t *ids, const uint8_t *mask, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_samples *s = &r->s;
    int64_t at = s->n ? s->start[s->n] : 0, counted = 0;

    if (r->o->seqlen > 0) n = BL_MIN(n, r->o->seqlen);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= r->o->vocab)
            return bl_fail(e, BL_E_FORMAT, "id %d, expected 0 to %lld", (int)ids[i], (long long)r->o->vocab - 1);
        counted += i > 0 && mask[i];
    }
    if (!counted && !r->all) {
        s->skipped++;
        return BL_OK;
    }
    BL_TRY(bl_grow(&s->start, &r->cap_start, (size_t)s->n + 2, sizeof *s->start, e));
    BL_TRY(bl_grow(&s->ids, &r->cap_ids, (size_t)(at + n), sizeof *s->ids, e));
    BL_TRY(bl_grow(&s->mask, &r->cap_mask, (size_t)(at + n), sizeof *s->mask, e));
    memcpy(s->ids + at, ids, (size_t)n * sizeof *ids);
    memcpy(s->mask + at, mask, (size_t)n);
    s->start[s->n++] = at;
    s->start[s->n] = at + n;
out:
    return st;
}

/* ---- answers that are empty ---- */
bool bl_samples_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", s[i])) return false;
    return true;
}

bl_status bl_samples_empty(bl_samples_reader *r, const char *what, bool *left_out, bl_err *e)
{
    if (r->o->empty == BL_EMPTY_REFUSED)
        return bl_fail(e, BL_E_FORMAT,
                       "%s is empty, expected something to learn; empty-answers skip leaves such out, "
                       "keep learns to end at once",
                       what);
    *left_out = r->o->empty == BL_EMPTY_LEFT_OUT;
    r->s.empty += *left_out;
    return BL_OK;
}

/* ---- which format a row is of ---- */
/* Keys that a row of a format has, or of which it has one of several sets; the sets that tell most come first. */
static const struct layout {
    bl_sample_format format;
    const char *key[2];
} layouts[] = {
    {BL_SAMPLES_IDS, {"ids"}},
    {BL_SAMPLES_ALPACA, {"instruction", "output"}},
    {BL_SAMPLES_CHAT, {"messages"}},
    {BL_SAMPLES_CHAT, {"conversations"}},
    {BL_SAMPLES_CHAT, {"text"}},
    {BL_SAMPLES_CHAT, {"output"}},
    {BL_SAMPLES_COT, {"question", "answer"}},
};

static bool has_keys(const bl_json *row, const struct layout *l)
{
    return bl_json_get(row, l->key[0]) && (!l->key[1] || bl_json_get(row, l->key[1]));
}

bl_status bl_samples_keys(const bl_json *row, bl_sample_format f, bl_err *e)
{
    enum { MOST = 6 };
    const struct layout *is = NULL;
    bl_text expected = {0}, found = {0};
    int n = 0;
    if (bl_json_kind(row) != BL_JSON_OBJECT) return bl_fail(e, BL_E_FORMAT, "no object");
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        const struct layout *l = &layouts[i];
        const bool there = has_keys(row, l);
        if (there && l->format == f) goto out;
        if (there && !is) is = l;
        if (l->format != f) continue;
        bl_text_addf(&expected, "%s'%s'", expected.n ? " or " : "", l->key[0]);
        if (l->key[1]) bl_text_addf(&expected, " and '%s'", l->key[1]);
    }
    for (const bl_json *v = bl_json_first(row); v && n < MOST; v = bl_json_next(v))
        bl_text_addf(&found, "%s'%.40s'", n++ ? ", " : "", bl_json_key(v));
    (void)bl_fail(e, BL_E_FORMAT, "data-format %s expects %s; found %s%s%s%s", bl_sample_formats[f],
                  expected.s ? expected.s : "", found.s ? found.s : "no keys", bl_json_size(row) > MOST ? ", ..." : "",
                  is ? ", as data-format " : "", is ? bl_sample_formats[is->format] : "");
    bl_text_free(&expected);
    bl_text_free(&found);
    return BL_E_FORMAT;
out:
    bl_text_free(&expected);
    return BL_OK;
}

/* ---- ids ---- */
typedef struct line {
    int32_t *ids;
    uint8_t *mask;
    size_t cap_ids, cap_mask;
} line;

static bl_status need_list(const bl_json *v, const char *key, bl_err *e)
{
    if (bl_json_kind(v) == BL_JSON_ARRAY) return BL_OK;
    return bl_fail(e, BL_E_FORMAT, "'%s' is no list", key);
}

static bl_status one_id(const bl_samples_reader *r, const bl_json *v, int32_t *out, bl_err *e)
{
    int64_t id;
    bl_status st = bl_json_int(v, &id, e);
    if (st != BL_OK) return st;
    if (id < 0 || id >= r->o->vocab)
        return bl_fail(e, BL_E_FORMAT, "id %lld, expected 0 to %lld", (long long)id, (long long)r->o->vocab - 1);
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

static bl_status add(bl_samples_reader *r, const bl_json *row, line *l, bl_err *e)
{
    static const char *const known[] = {"ids", "mask", NULL};
    bl_status st = BL_OK;
    const bl_json *ids = bl_json_get(row, "ids"), *mask = bl_json_get(row, "mask"), *mark = NULL;

    BL_TRY(bl_samples_keys(row, BL_SAMPLES_IDS, e));
    BL_TRY(bl_json_only(row, known, e));
    BL_TRY(need_list(ids, "ids", e));
    if (mask) BL_TRY(need_list(mask, "mask", e));
    if (mask && bl_json_size(mask) != bl_json_size(ids))
        return bl_fail(e, BL_E_FORMAT, "the mask has %zu marks, expected %zu, one for each id", bl_json_size(mask),
                       bl_json_size(ids));
    bool marked = !mask, left_out = false;
    size_t n = bl_json_size(ids);
    if (n == 0) return bl_fail(e, BL_E_FORMAT, "no ids");
    BL_TRY(bl_grow(&l->ids, &l->cap_ids, n, sizeof *l->ids, e));
    BL_TRY(bl_grow(&l->mask, &l->cap_mask, n, sizeof *l->mask, e));
    if (mask) mark = bl_json_first(mask);
    const bl_json *id = bl_json_first(ids);
    for (size_t i = 0; i < n; i++, id = bl_json_next(id)) {
        l->mask[i] = 1;
        BL_TRY(one_id(r, id, &l->ids[i], e));
        if (!mark) continue;
        BL_TRY(one_mark(mark, &l->mask[i], e));
        marked = marked || l->mask[i];
        mark = bl_json_next(mark);
    }
    if (!marked) BL_TRY(bl_samples_empty(r, "what 'mask' counts of its ids", &left_out, e));
    if (left_out) goto out;
    BL_TRY(bl_samples_add(r, l->ids, l->mask, (int64_t)n, e));
out:
    return st;
}

static bl_status read_ids(bl_samples_reader *r, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *row = NULL;
    line l = {0};
    char *text = NULL, *name = NULL;
    size_t n;
    int64_t number = 0;

    BL_TRY(bl_read_file(path, most_bytes, &text, &n, e));
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        bl_free(name);
        if (!(name = bl_format_text(e, "%s:%lld", path, (long long)++number))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (strspn(text + at, " \t\r") < len) {
            st = bl_json_parse(text + at, len, name, BL_JSON_PLAIN, &row, e);
            if (st == BL_OK && (st = add(r, row, &l, e)) != BL_OK && !strstr(e ? e->text : "", name))
                bl_within(e, "%s", name);
            if (st != BL_OK) goto out;
            bl_json_free(row);
            row = NULL;
        }
        at += len + 1;
    }
out:
    bl_json_free(row);
    bl_free(l.ids);
    bl_free(l.mask);
    bl_free(name);
    bl_free(text);
    return st;
}

/* ---- all formats ---- */
/* Neighbours share a row while they fit. */
static bl_status rows_of(bl_samples *s, const bl_samples_opts *o, bl_err *e)
{
    if (!(s->row = bl_new((size_t)s->n + 1, sizeof *s->row, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < s->n; i++) {
        bool fits = o->pack && s->n_rows && s->start[i + 1] - s->start[s->row[s->n_rows - 1]] <= o->seqlen;
        if (!fits) s->row[s->n_rows++] = i;
        s->row[s->n_rows] = i + 1;
    }
    return BL_OK;
}

static bl_status hash_of(bl_samples *s, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_add(h, s->start, (size_t)(s->n + 1) * sizeof *s->start);
    bl_hash_add(h, s->ids, (size_t)s->start[s->n] * sizeof *s->ids);
    bl_hash_add(h, s->mask, (size_t)s->start[s->n]);
    bl_hash_add(h, s->row, (size_t)(s->n_rows + 1) * sizeof *s->row);
    bl_hash_u64(h, s->shuffled);
    s->hash = bl_hasher_end(h);
    return BL_OK;
}

bl_status bl_samples_read(const char *path, bl_sample_format f, const bl_samples_opts *o, bl_samples *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_samples_opts how = *o;
    bl_samples_reader r = {.o = &how, .all = f == BL_SAMPLES_IDS};

    if (how.seqlen == 0 && f != BL_SAMPLES_IDS) how.seqlen = BL_SAMPLES_LENGTH;
    if (how.pack && how.seqlen == 0)
        return bl_fail(e, BL_E_CONFIG, "sequences are packed into rows of a length that is said (--seqlen)");
    if (f == BL_SAMPLES_IDS) BL_TRY(read_ids(&r, path, e));
    else BL_TRY(bl_samples_text(&r, path, f, e));
    if (!r.s.n) {
        st = r.s.skipped ? bl_fail(e, BL_E_FORMAT, "%s: no token of its %lld examples counts within %lld tokens", path,
                                   (long long)r.s.skipped, (long long)how.seqlen)
             : r.s.empty ? bl_fail(e, BL_E_FORMAT, "%s: the answers of all of its %lld examples are empty", path,
                                   (long long)r.s.empty)
                         : bl_fail(e, BL_E_FORMAT, "%s: no lines, expected %s", path,
                                   f == BL_SAMPLES_IDS ? "{\"ids\": [...], \"mask\": [...]}" : "examples");
        goto out;
    }
    if (!(r.s.path = bl_format_text(e, "%s", path))) {
        st = BL_E_NOMEM;
        goto out;
    }
    r.s.shuffled = f != BL_SAMPLES_IDS;
    BL_TRY(rows_of(&r.s, &how, e));
    BL_TRY(hash_of(&r.s, e));
    *out = r.s;
    r.s = (bl_samples){0};
out:
    bl_samples_free(&r.s);
    return st;
}

void bl_samples_free(bl_samples *s)
{
    bl_free(s->path);
    bl_free(s->start);
    bl_free(s->ids);
    bl_free(s->mask);
    bl_free(s->row);
    *s = (bl_samples){0};
}

int64_t bl_samples_counted(const bl_samples *d, int64_t row)
{
    int64_t n = 0;
    for (int64_t s = d->row[row]; s < d->row[row + 1]; s++)
        for (int64_t k = d->start[s] + 1; k < d->start[s + 1]; k++) n += d->mask[k];
    return n;
}
