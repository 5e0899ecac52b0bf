/* journal.c - one line a sample: eight hex digits of CRC-32 over the JSON after the space.
 *
 *     5d2c9a01 {"journal":2,"key":"smollm2-135m/rtn:w4g64/piqa/0","hash":"0123…"}
 *     0b7f3e44 {"id":0,"pick":1,"gold":1,"n_choices":2,"flags":0,"tokens":12,"score":[1,1],"value":[31.5,28.25]}
 *
 * Numbers are printed so that they read back as the same bits; lists that are empty are left out, and so is `group`.
 * Lines that the disk does not take wait in memory. A write that fails may have written half a line, so the next try
 * first cuts the file to what is good.
 */
#include "journal.h"
#include "kernels/base/utf8.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { VERSION = 2, CRC_DIGITS = 8 };
static const uint64_t WAIT_BOUND = 64u << 20; /* bytes of lines that may wait for the disk */
static const uint64_t FILE_BOUND = (uint64_t)4 << 30;

struct bl_journal {
    char *path, *key;
    bl_hash hash;
    int fd;        /* -1: to be opened again */
    uint64_t good; /* bytes of the file that are whole lines */
    bl_text wait;  /* lines that are not in the file yet */
    bl_sample *sample;
    size_t n, cap;
    bool sorted;
    int64_t *slot; /* open addressing over ids + 1; 0 is free */
    size_t n_slots;
    bl_arena *texts;
};

/* ---- checked lines ------------------------------------------------------------------------------ */
static uint32_t crc_of(const char *p, size_t n) { return (uint32_t)crc32_z(0, (const Bytef *)p, n); }

static void put_line(bl_text *t, const bl_text *json)
{
    bl_text_addf(t, "%08" PRIx32 " ", crc_of(json->s, json->n));
    bl_text_addn(t, json->s, json->n);
    bl_text_add(t, "\n");
    t->failed = t->failed || json->failed;
}

/* The JSON of the line at p, when the line is whole and checks; *next is the byte after it. */
static bool take_line(const char *p, size_t n, const char **json, size_t *n_json, size_t *next)
{
    const char *end = memchr(p, '\n', n);
    uint32_t crc = 0;

    if (!end || end - p < CRC_DIGITS + 1 || p[CRC_DIGITS] != ' ') return false;
    for (int i = 0; i < CRC_DIGITS; i++) {
        char c = p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        crc = crc << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *json = p + CRC_DIGITS + 1;
    *n_json = (size_t)(end - *json);
    *next = (size_t)(end - p) + 1;
    return crc_of(*json, *n_json) == crc;
}

/* ---- samples as JSON ---------------------------------------------------------------------------- */
static void put_reals(bl_json_out *o, const char *name, const double *v, int n)
{
    if (!n) return;
    bl_json_array(o, name);
    for (int i = 0; i < n; i++) bl_json_add_real(o, NULL, v[i]);
    bl_json_end(o);
}

static void put_texts(bl_json_out *o, const char *name, const char *const *v, int n)
{
    if (!n) return;
    bl_json_array(o, name);
    for (int i = 0; i < n; i++) bl_json_add_str(o, NULL, v[i]);
    bl_json_end(o);
}

static void put_sample(bl_text *t, const bl_sample *s)
{
    bl_json_out o = {.t = t, .compact = true};
    bl_json_object(&o, NULL);
    bl_json_add_int(&o, "id", s->id);
    bl_json_add_int(&o, "pick", s->pick);
    bl_json_add_int(&o, "gold", s->gold);
    bl_json_add_int(&o, "n_choices", s->n_choices);
    bl_json_add_int(&o, "flags", s->flags);
    bl_json_add_int(&o, "tokens", s->tokens);
    if (s->group) bl_json_add_str(&o, "group", s->group);
    put_reals(&o, "score", s->score, s->n_scores);
    put_reals(&o, "value", s->value, s->n_values);
    put_texts(&o, "reply", s->reply, s->n_replies);
    put_texts(&o, "answer", s->answer, s->n_answers);
    bl_json_end(&o);
}

static bl_status get_int(const bl_json *j, const char *key, int64_t least, int64_t most, int64_t *out, bl_err *e)
{
    bl_status st = bl_json_get_int(j, key, out, e);
    if (st == BL_OK && (*out < least || *out > most)) st = bl_fail(e, BL_E_FORMAT, "%s is %lld", key, (long long)*out);
    return st;
}

/* A list that may be absent; *n entries. */
static bl_status get_list(const bl_json *j, const char *key, const bl_json **list, int *n, bl_err *e)
{
    *list = bl_json_get(j, key);
    *n = 0;
    if (!*list) return BL_OK;
    if (bl_json_kind(*list) != BL_JSON_ARRAY || bl_json_size(*list) > INT32_MAX)
        return bl_fail(e, BL_E_FORMAT, "%s is not a list", key);
    *n = (int)bl_json_size(*list);
    return BL_OK;
}

static bl_status get_reals(const bl_json *j, const char *key, bl_arena *a, const double **out, int *n, bl_err *e)
{
    const bl_json *list;
    bl_status st = get_list(j, key, &list, n, e);
    double *v;
    int i = 0;

    if (st != BL_OK || !list) return st;
    if (!(v = bl_alloc(a, (size_t)*n, sizeof *v, e))) return BL_E_NOMEM;
    for (const bl_json *c = bl_json_first(list); c; c = bl_json_next(c))
        if ((st = bl_json_real(c, &v[i++], e)) != BL_OK) return st;
    *out = v;
    return BL_OK;
}

static bl_status get_text(const bl_json *v, bl_arena *a, const char **out, bl_err *e)
{
    const char *s;
    bl_status st;

    *out = NULL;
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return BL_OK;
    if ((st = bl_json_str(v, &s, e)) != BL_OK) return st;
    return (*out = bl_arena_str(a, s, strlen(s), e)) ? BL_OK : BL_E_NOMEM;
}

static bl_status get_texts(const bl_json *j, const char *key, bl_arena *a, const char *const **out, int *n, bl_err *e)
{
    const bl_json *list;
    bl_status st = get_list(j, key, &list, n, e);
    const char **v;
    int i = 0;

    if (st != BL_OK || !list) return st;
    if (!(v = bl_alloc(a, (size_t)*n, sizeof *v, e))) return BL_E_NOMEM;
    for (const bl_json *c = bl_json_first(list); c; c = bl_json_next(c))
        if ((st = get_text(c, a, &v[i++], e)) != BL_OK) return st;
    *out = v;
    return BL_OK;
}

static bl_status get_sample(const char *text, size_t n, bl_arena *a, bl_sample *out, bl_err *e)
{
    bl_sample s = {0};
    int64_t pick, gold, n_choices, flags;
    bl_json *j = NULL;
    bl_status st;

    BL_TRY(bl_json_parse(text, n, "journal", BL_JSON_PLAIN, &j, e));
    BL_TRY(get_int(j, "id", 0, INT64_MAX, &s.id, e));
    BL_TRY(get_int(j, "pick", INT32_MIN, INT32_MAX, &pick, e));
    BL_TRY(get_int(j, "gold", INT32_MIN, INT32_MAX, &gold, e));
    BL_TRY(get_int(j, "n_choices", INT32_MIN, INT32_MAX, &n_choices, e));
    BL_TRY(get_int(j, "flags", 0, UINT32_MAX, &flags, e));
    BL_TRY(get_int(j, "tokens", INT64_MIN, INT64_MAX, &s.tokens, e));
    BL_TRY(get_text(bl_json_get(j, "group"), a, &s.group, e));
    BL_TRY(get_reals(j, "score", a, &s.score, &s.n_scores, e));
    BL_TRY(get_reals(j, "value", a, &s.value, &s.n_values, e));
    BL_TRY(get_texts(j, "reply", a, &s.reply, &s.n_replies, e));
    BL_TRY(get_texts(j, "answer", a, &s.answer, &s.n_answers, e));
    s.pick = (int32_t)pick;
    s.gold = (int32_t)gold;
    s.n_choices = (int32_t)n_choices;
    s.flags = (uint32_t)flags;
    *out = s;
out:
    bl_json_free(j);
    return st;
}

static bool header_matches(const char *text, size_t n, const char *key, bl_hash hash)
{
    char hex[33];
    bl_json *j = NULL;
    int64_t version = 0;
    const char *found_key = "", *found_hash = "";
    bool same;

    bl_hash_hex(hash, hex);
    same = bl_json_parse(text, n, "journal", BL_JSON_PLAIN, &j, NULL) == BL_OK &&
           bl_json_get_int(j, "journal", &version, NULL) == BL_OK &&
           bl_json_get_str(j, "key", &found_key, NULL) == BL_OK &&
           bl_json_get_str(j, "hash", &found_hash, NULL) == BL_OK && version == VERSION && !strcmp(found_key, key) &&
           !strcmp(found_hash, hex);
    bl_json_free(j);
    return same;
}

static void put_header(bl_text *t, const char *key, bl_hash hash)
{
    char hex[33];
    bl_text json = {0};
    bl_json_out o = {.t = &json, .compact = true};

    bl_hash_hex(hash, hex);
    bl_json_object(&o, NULL);
    bl_json_add_int(&o, "journal", VERSION);
    bl_json_add_str(&o, "key", key);
    bl_json_add_str(&o, "hash", hex);
    bl_json_end(&o);
    if (json.failed) t->failed = true;
    else put_line(t, &json);
    bl_text_free(&json);
}

/* ---- samples in memory -------------------------------------------------------------------------- */
static size_t slot_of(const bl_journal *j, int64_t id)
{
    uint64_t h = (uint64_t)id * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(h >> 32) & (j->n_slots - 1);
    while (j->slot[i] && j->slot[i] != id + 1) i = (i + 1) & (j->n_slots - 1);
    return i;
}

/* Room for one more sample in both arrays. */
static bl_status make_room(bl_journal *j, bl_err *e)
{
    bl_status st = bl_grow(&j->sample, &j->cap, j->n + 1, sizeof *j->sample, e);
    int64_t *old = j->slot;
    size_t n_old = j->n_slots, n_new = n_old ? 2 * n_old : 256;

    if (st != BL_OK || 2 * (j->n + 1) <= n_old) return st;
    if (!(j->slot = bl_new(n_new, sizeof *j->slot, e))) {
        j->slot = old;
        return BL_E_NOMEM;
    }
    j->n_slots = n_new;
    for (size_t i = 0; i < n_old; i++)
        if (old[i]) j->slot[slot_of(j, old[i] - 1)] = old[i];
    bl_free(old);
    return BL_OK;
}

static void keep(bl_journal *j, const bl_sample *s)
{
    j->sorted = j->n == 0 || (j->sorted && j->sample[j->n - 1].id < s->id);
    j->sample[j->n++] = *s;
    j->slot[slot_of(j, s->id)] = s->id + 1;
}

bool bl_journal_has(const bl_journal *j, int64_t sample_id)
{
    return j->n_slots && sample_id >= 0 && sample_id < INT64_MAX && j->slot[slot_of(j, sample_id)] != 0;
}

int64_t bl_journal_count(const bl_journal *j) { return (int64_t)j->n; }

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const bl_sample *)a)->id, y = ((const bl_sample *)b)->id;
    return (x > y) - (x < y);
}

const bl_sample *bl_journal_samples(bl_journal *j, int64_t *n)
{
    if (!j->sorted && j->n) qsort(j->sample, j->n, sizeof *j->sample, by_id);
    j->sorted = true;
    *n = (int64_t)j->n;
    return j->sample;
}

/* ---- writing ------------------------------------------------------------------------------------ */
/* Hands the waiting lines to the file. What the disk refuses goes on waiting, up to the bound. */
static bl_status flush(bl_journal *j, bl_err *e)
{
    bl_err why = {0};
    bl_status st = BL_OK;

    if (j->wait.n == 0) return BL_OK;
    if (j->fd < 0) st = bl_append_open(j->path, j->good, &j->fd, &why);
    if (st == BL_OK) st = bl_append(j->fd, j->path, j->wait.s, j->wait.n, &why);
    if (st == BL_OK) {
        j->good += j->wait.n;
        j->wait.n = 0;
        return BL_OK;
    }
    if (j->fd >= 0) close(j->fd); /* there may be half a line; opening again cuts it off */
    j->fd = -1;
    if (j->wait.n <= WAIT_BOUND) {
        bl_log(BL_LOG_DEBUG, "journal=%s waiting_bytes=%zu reason=\"%s\"", j->path, j->wait.n, why.text);
        return BL_OK;
    }
    return bl_fail(e, st, "%s; %zu bytes of samples wait in memory", why.text, j->wait.n);
}

static bl_status all_finite(const bl_sample *s, const char *what, const double *v, int n, bl_err *e)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return bl_fail(e, BL_E_NUMERIC, "sample %lld: %s %d is %f, not a finite number", (long long)s->id, what, i,
                           v[i]);
    return BL_OK;
}

bl_status bl_journal_add(bl_journal *j, const bl_sample *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample own;
    bl_text json = {0};
    size_t before = j->wait.n;

    if (s->id < 0 || s->id > INT64_C(1) << 53)
        return bl_fail(e, BL_E_INTERNAL, "%s: sample id %lld", j->path, (long long)s->id);
    if (bl_journal_has(j, s->id))
        return bl_fail(e, BL_E_INTERNAL, "%s: sample %lld is there already", j->path, (long long)s->id);
    BL_TRY(all_finite(s, "score", s->score, s->n_scores, e));
    BL_TRY(all_finite(s, "value", s->value, s->n_values, e));
    BL_TRY(bl_sample_copy(s, j->texts, &own, e)); /* as it will read back: a resumed cell has the same samples */
    BL_TRY(make_room(j, e));
    put_sample(&json, &own);
    if (!json.failed) put_line(&j->wait, &json);
    if (json.failed || j->wait.failed) {
        j->wait.n = before;
        j->wait.failed = false;
        st = bl_fail(e, BL_E_NOMEM, "%s: out of memory for a sample", j->path);
        goto out;
    }
    keep(j, &own);
    st = flush(j, e);
out:
    bl_text_free(&json);
    return st;
}

bl_status bl_journal_sync(bl_journal *j, bl_err *e)
{
    bl_err why = {0};
    bl_status st = flush(j, e);

    if (st != BL_OK || j->fd < 0) return st;
    if (bl_append_sync(j->fd, j->path, &why) != BL_OK) bl_log(BL_LOG_WARN, "%s", why.text);
    return BL_OK;
}

/* ---- reading ------------------------------------------------------------------------------------ */
/* Replays the lines after the header; the rest of the file, from the first bad line on, does not count. */
static bl_status replay(bl_journal *j, const char *text, size_t n, size_t at, bl_err *e)
{
    const char *json;
    size_t n_json, next;
    bl_sample s;
    bl_status st;

    for (j->good = at; take_line(text + at, n - at, &json, &n_json, &next); j->good = at += next) {
        st = get_sample(json, n_json, j->texts, &s, e);
        if (st == BL_E_NOMEM) return st;
        if (st != BL_OK || bl_journal_has(j, s.id)) return BL_OK;
        if ((st = make_room(j, e)) != BL_OK) return st;
        keep(j, &s);
    }
    return BL_OK;
}

/* "<path>.stale", or with a number after it when that is taken. */
static bl_status set_aside(const char *path, bl_err *e)
{
    bl_status st = BL_E_NOMEM;
    char *to = bl_format_text(e, "%s.stale", path);

    for (int i = 1; to && bl_exists(to); i++) {
        bl_free(to);
        to = bl_format_text(e, "%s.stale.%d", path, i);
    }
    if (to) {
        bl_log(BL_LOG_WARN, "%s belongs to another cell or version; kept as %s", path, to);
        st = bl_rename(path, to, e);
    }
    bl_free(to);
    return st;
}

bl_status bl_journal_open(const char *path, const char *cell_key, bl_hash cell_hash, bl_journal **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *text = NULL;
    const char *json;
    size_t n = 0, n_json, next;
    bl_journal *j = bl_new(1, sizeof *j, e);

    if (!j) return BL_E_NOMEM;
    j->fd = -1;
    j->hash = cell_hash;
    if (!(j->path = bl_strdup(path, e)) || !(j->key = bl_utf8_repaired(cell_key, strlen(cell_key), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_arena_new(&j->texts, e));
    if (bl_exists(path)) BL_TRY(bl_read_file(path, FILE_BOUND, &text, &n, e));

    if (n && take_line(text, n, &json, &n_json, &next) && header_matches(json, n_json, j->key, cell_hash))
        BL_TRY(replay(j, text, n, next, e));
    else if (n && memchr(text, '\n', n))
        BL_TRY(set_aside(path, e)); /* a torn first line alone is ours and holds nothing */
    if (j->good == 0) {
        put_header(&j->wait, j->key, cell_hash);
        BL_TRY(bl_text_check(&j->wait, e));
    }
    BL_TRY(bl_append_open(path, j->good, &j->fd, e));
    BL_TRY(flush(j, e));
    *out = j;
    j = NULL;
out:
    bl_free(text);
    bl_journal_close(j);
    return st;
}

void bl_journal_close(bl_journal *j)
{
    if (!j) return;
    flush(j, NULL);
    if (j->fd >= 0) close(j->fd);
    bl_text_free(&j->wait);
    bl_arena_free(j->texts);
    bl_free(j->sample);
    bl_free(j->slot);
    bl_free(j->path);
    bl_free(j->key);
    bl_free(j);
}

int64_t bl_journal_parse(const char *text, size_t n)
{
    const char *json;
    size_t n_json, next, at = 0;
    bl_arena *a = NULL;
    bl_sample s;
    int64_t good = -1; /* the header is no sample */

    if (bl_arena_new(&a, NULL) != BL_OK) return 0;
    for (; take_line(text + at, n - at, &json, &n_json, &next); at += next) {
        if (good >= 0 && get_sample(json, n_json, a, &s, NULL) != BL_OK) break;
        good++;
    }
    bl_arena_free(a);
    return good < 0 ? 0 : good;
}
