/* text.c - growing text, numbers as text, error sentences and the nearest name. */
#include "base_impl.h"
#include "utf8.h"
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- status ------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    int exit_code;
} statuses[] = {
    [BL_OK] = {"BL_OK", 0},
    [BL_E_NOMEM] = {"BL_E_NOMEM", 1},
    [BL_E_DEVMEM] = {"BL_E_DEVMEM", 1},
    [BL_E_IO] = {"BL_E_IO", 1},
    [BL_E_DISK] = {"BL_E_DISK", 4},
    [BL_E_FORMAT] = {"BL_E_FORMAT", 2},
    [BL_E_CONFIG] = {"BL_E_CONFIG", 2},
    [BL_E_UNSUPPORTED] = {"BL_E_UNSUPPORTED", 2},
    [BL_E_NUMERIC] = {"BL_E_NUMERIC", 1},
    [BL_E_CORRUPT] = {"BL_E_CORRUPT", 2},
    [BL_E_NEWER] = {"BL_E_NEWER", 2},
    [BL_E_MISSING] = {"BL_E_MISSING", 2},
    [BL_E_BUSY] = {"BL_E_BUSY", 1},
    [BL_E_INTERRUPTED] = {"BL_E_INTERRUPTED", 130},
    [BL_E_DEVICE] = {"BL_E_DEVICE", 4},
    [BL_E_INTERNAL] = {"BL_E_INTERNAL", 1},
};

const char *bl_status_name(bl_status st)
{
    return (unsigned)st < BL_COUNT(statuses) ? statuses[st].name : "unknown status";
}

int bl_exit_code(bl_status st) { return (unsigned)st < BL_COUNT(statuses) ? statuses[st].exit_code : 1; }

void bl_bytes_text(uint64_t bytes, char out[32])
{
    double b = (double)bytes;
    if (b < 1e4) snprintf(out, 32, "%.0f byte%s", b, bytes == 1 ? "" : "s");
    else if (b < 1e6) snprintf(out, 32, "%.0f kB", b / 1e3);
    else if (b < 1e9) snprintf(out, 32, "%.*f MB", b < 1e7, b / 1e6);
    else snprintf(out, 32, "%.1f GB", b / 1e9);
}

/* ---- text for people --------------------------------------------------------------------------- */
/* Characters that would move the cursor, end the line or reverse the reading direction. */
static bool is_unprintable(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
           c == 0xfeff;
}

/* One step of the cleaning: reads `*used` bytes of s, writes at most 8 to out, returns how many. */
static size_t clean_one(const char *s, size_t n, char out[12], size_t *used)
{
    uint32_t c = 0;
    size_t len = bl_utf8_get(s, n, &c);
    *used = len ? len : 1;
    if (len == 0) return (size_t)snprintf(out, 12, "\\x%02x", (unsigned)(uint8_t)s[0]);
    if (c == '\n') return (size_t)snprintf(out, 12, "\\n");
    if (c == '\t') return (size_t)snprintf(out, 12, "\\t");
    if (c == '\r') return (size_t)snprintf(out, 12, "\\r");
    if (!is_unprintable(c)) {
        memcpy(out, s, len);
        return len;
    }
    return (size_t)snprintf(out, 12, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

/* Start of the code point that byte i belongs to, when that is near. */
static size_t step_back(const char *s, size_t i)
{
    for (size_t k = 0; k < 3 && i > 0 && ((uint8_t)s[i] & 0xc0) == 0x80; k++) i--;
    return i;
}

enum { LONG_WORD = 512, WORD_END = 240 };
static const char dots[] = "\xe2\x80\xa6"; /* one ellipsis */

/* Cleans s into a head that grows and a tail that is kept in a ring, so any length fits. */
typedef struct squeeze {
    char *out;
    size_t cap, head, n;
    char ring[1024];
    size_t tail;
} squeeze;

static void put(squeeze *q, const char *s, size_t n)
{
    size_t keep = q->cap - 1 - sizeof dots;
    size_t ring = BL_MIN(sizeof q->ring, keep / 3);
    for (size_t i = 0; i < n; i++) {
        if (q->n + 1 < q->cap) q->out[q->n] = s[i];
        q->ring[q->tail++ % ring] = s[i];
        q->n++;
    }
}

void bl_clean_text(char *out, size_t cap, const char *s, size_t n)
{
    squeeze q = {.out = out, .cap = cap};
    size_t word_end = 0;
    for (size_t i = 0, used; i < n; i += used) {
        if (i >= word_end) { /* a word begins: where does it end? */
            const char *space = memchr(s + i, ' ', n - i);
            word_end = space ? (size_t)(space - s) + 1 : n;
            size_t len = word_end - i;
            if (len > LONG_WORD) {
                size_t cut = step_back(s, i + WORD_END), again = step_back(s, word_end - WORD_END);
                char bytes[12];
                for (size_t k = i, u; k < cut; k += u) {
                    size_t m = clean_one(s + k, cut - k, bytes, &u);
                    put(&q, bytes, m);
                }
                put(&q, dots, sizeof dots - 1);
                i = again;
            }
        }
        char bytes[12];
        size_t m = clean_one(s + i, n - i, bytes, &used);
        put(&q, bytes, m);
    }
    if (q.n < cap) {
        out[q.n] = 0;
        return;
    }
    size_t keep = cap - 1 - sizeof dots, ring = BL_MIN(sizeof q.ring, keep / 3), head = step_back(out, keep - ring);
    char tail[sizeof q.ring];
    for (size_t i = 0; i < ring; i++) tail[i] = q.ring[(q.tail + i) % ring];
    size_t skip = 0;
    while (skip < 3 && ((uint8_t)tail[skip] & 0xc0) == 0x80) skip++;
    memcpy(out + head, dots, sizeof dots - 1);
    memcpy(out + head + sizeof dots - 1, tail + skip, ring - skip);
    out[head + sizeof dots - 1 + ring - skip] = 0;
}

/* ---- error sentences ---------------------------------------------------------------------------- */
/* Formats, appends `tail` and cleans the whole into out[cap]. */
static void sentence(char *out, size_t cap, const char *tail, const char *fmt, va_list ap)
{
    char local[4096], *text = local;
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(local, sizeof local, fmt, ap);
    size_t len = n < 0 ? 0 : BL_MIN((size_t)n, sizeof local - 1), n_tail = strlen(tail);
    if (n >= 0 && (size_t)n + n_tail >= sizeof local) { /* a name of megabytes: cleaned from a copy */
        char *whole = bl_new((size_t)n + n_tail + 1, 1, NULL);
        if (whole) {
            vsnprintf(whole, (size_t)n + 1, fmt, again);
            text = whole;
            len = (size_t)n;
        } else {
            len = BL_MIN(len, sizeof local - 1 - BL_MIN(n_tail, sizeof local / 2));
            n_tail = BL_MIN(n_tail, sizeof local / 2);
        }
    }
    va_end(again);
    memcpy(text + len, tail, n_tail);
    bl_clean_text(out, cap, text, len + n_tail);
    if (text != local) bl_free(text);
}

bl_status bl_fail(bl_err *e, bl_status st, const char *fmt, ...)
{
    if (!e) return st;
    char out[sizeof e->text]; /* arguments may point into e->text */
    va_list ap;
    va_start(ap, fmt);
    sentence(out, sizeof out, "", fmt, ap);
    va_end(ap);
    e->status = st;
    memcpy(e->text, out, sizeof out);
    return st;
}

void bl_within(bl_err *e, const char *fmt, ...)
{
    if (!e) return;
    char old[sizeof e->text + 2], out[sizeof e->text];
    snprintf(old, sizeof old, ": %s", e->text);
    va_list ap;
    va_start(ap, fmt);
    sentence(out, sizeof out, old, fmt, ap);
    va_end(ap);
    memcpy(e->text, out, sizeof out);
}

/* ---- growing text ------------------------------------------------------------------------------- */
static bool room(bl_text *t, size_t n)
{
    size_t need;
    if (!t->failed && (__builtin_add_overflow(t->n, n, &need) || need == SIZE_MAX ||
                       bl_grow(&t->s, &t->cap, need + 1, 1, NULL) != BL_OK))
        t->failed = true;
    return !t->failed;
}

void bl_text_addn(bl_text *t, const char *s, size_t n)
{
    if (!room(t, n)) return;
    if (n) memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
}

void bl_text_add(bl_text *t, const char *s) { bl_text_addn(t, s, strlen(s)); }

void bl_text_addf(bl_text *t, const char *fmt, ...)
{
    va_list ap;
    char local[512];
    va_start(ap, fmt);
    int n = vsnprintf(local, sizeof local, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->failed = true;
        return;
    }
    if ((size_t)n < sizeof local) {
        bl_text_addn(t, local, (size_t)n);
        return;
    }
    if (!room(t, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(t->s + t->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

void bl_text_free(bl_text *t)
{
    bl_free(t->s);
    *t = (bl_text){0};
}

bl_status bl_text_check(const bl_text *t, bl_err *e)
{
    return t->failed ? bl_fail(e, BL_E_NOMEM, "out of memory for a text of more than %zu bytes", t->n) : BL_OK;
}

/* ---- numbers ------------------------------------------------------------------------------------ */
static locale_t plain;
static void make_plain(void) { plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); }
static locale_t plain_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_plain);
    return plain;
}

static void print_digits(char out[40], int digits, double v)
{
    locale_t before = uselocale(plain_locale());
    snprintf(out, 40, "%.*g", digits, v);
    uselocale(before);
}

double bl_real_scan(const char *s, char **end) { return strtod_l(s, end, plain_locale()); }
void bl_real_print(char out[40], double v) { print_digits(out, 17, v); }

void bl_real_short(char out[40], double v)
{
    for (int digits = 15; digits <= 17; digits++) {
        print_digits(out, digits, v);
        if (bl_real_scan(out, NULL) == v) return;
    }
}

/* ---- the nearest name --------------------------------------------------------------------------- */
enum { LONGEST_NAME = 96 };

static char folded(char c) { return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b. */
static size_t edits(const char *a, size_t na, const char *b, size_t nb)
{
    size_t row[3][LONGEST_NAME + 1];
    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            size_t best = BL_MIN(BL_MIN(up[j], now[j - 1]) + 1, up[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2])) best = BL_MIN(best, up2[j - 2] + 1);
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

/* The letters of `word` come in this order in `name`, the first one first: "arcc" in "arc_challenge". */
static bool abbreviates(const char *word, const char *name)
{
    if (folded(*word) != folded(*name)) return false;
    for (; *word && *name; name++)
        if (folded(*word) == folded(*name)) word++;
    return *word == 0;
}

const char *bl_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t n = strnlen(word, LONGEST_NAME + 1), least = n / 3 + (n > 1);
    if (n == 0 || n > LONGEST_NAME) return NULL;
    for (size_t i = 0; names[i]; i++) {
        size_t m = strnlen(names[i], LONGEST_NAME + 1);
        if (m > LONGEST_NAME) continue;
        size_t d = edits(word, n, names[i], m);
        if (d < BL_MAX(n, m) && (d < least || (d == least && !best))) {
            best = names[i];
            least = d;
        }
    }
    for (size_t i = 0; !best && n >= 3 && names[i]; i++)
        if (abbreviates(word, names[i])) best = names[i];
    return best;
}
