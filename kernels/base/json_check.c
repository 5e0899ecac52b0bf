/* json_check.c - what cJSON 1.7 accepts although it is not JSON, or changes without a word, is refused here, token by
 * token: wrong UTF-8, byte order marks, NUL and \u0000 (ends the string early), control characters, numbers such as 01
 * and 1., numbers cut at 63 characters, integers it would round, depth and the number of values. Which tokens may
 * follow which is cJSON's business. Keys that come twice are found in json.c, once they are decoded.
 */
#include "json_impl.h"
#include "utf8.h"
#include <string.h>

typedef struct check {
    char *s;
    size_t n, at;
    const char *name;
    bl_json_facts *out;
    bl_err *e;
} check;

/* "x.jsonl: line 3", "x.jsonl:3": the text is that line, and only its columns are left to say. */
static bool is_a_line(const char *name)
{
    size_t n = strlen(name), k = n;
    while (k && name[k - 1] >= '0' && name[k - 1] <= '9') k--;
    if (k == n || k == 0) return false;
    return name[k - 1] == ':' ||
           (k >= strlen("line ") && !memcmp(name + k - strlen("line "), "line ", strlen("line ")));
}

bl_status bl_json_refuse_at(const char *name, const char *s, size_t at, bl_err *e, const char *fmt, ...)
{
    size_t line = 1, column = 1;
    char what[512];
    for (size_t i = 0; i < at; i++) {
        if (s[i] == '\n') {
            line++;
            column = 1;
        } else if (((uint8_t)s[i] & 0xc0) != 0x80) column++;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (line == 1 && is_a_line(name)) return bl_fail(e, BL_E_FORMAT, "%s, column %zu: %s", name, column, what);
    return bl_fail(e, BL_E_FORMAT, "%s: line %zu, column %zu: %s", name, line, column, what);
}
#define REFUSE(c, place, ...) bl_json_refuse_at((c)->name, (c)->s, place, (c)->e, __VA_ARGS__)

static bool is_digit(char b) { return b >= '0' && b <= '9'; }
static bool is_hex(char b) { return is_digit(b) || (b >= 'a' && b <= 'f') || (b >= 'A' && b <= 'F'); }

static bl_status digits(check *c)
{
    char b = c->s[c->at];
    if (!is_digit(b))
        return c->at == c->n                  ? REFUSE(c, c->at, "the text ends here, expected a digit")
               : b > ' ' && (uint8_t)b < 0x7f ? REFUSE(c, c->at, "found '%c', expected a digit", b)
                                              : REFUSE(c, c->at, "found byte 0x%02x, expected a digit", (uint8_t)b);
    while (is_digit(c->s[c->at])) c->at++;
    return BL_OK;
}

static bl_status number(check *c)
{
    const char *s = c->s;
    size_t from = c->at, first = from + (s[from] == '-');
    bl_json_number kind = BL_JSON_WHOLE;
    bl_status st = BL_OK;
    c->at = first;
    if (s[first] == '0' && is_digit(s[first + 1])) return REFUSE(c, from, "a number begins with a needless zero");
    BL_TRY(digits(c));
    uint64_t value = 0;
    for (size_t i = first; i < c->at && value <= UINT64_C(1) << 53; i++) value = value * 10 + (uint64_t)(s[i] - '0');
    if (value > UINT64_C(1) << 53) kind = BL_JSON_BEYOND;
    if (s[c->at] == '.') {
        kind = BL_JSON_FRACTION;
        c->at++;
        BL_TRY(digits(c));
    }
    if (s[c->at] == 'e' || s[c->at] == 'E') {
        kind = BL_JSON_FRACTION;
        c->at++;
        if (s[c->at] == '+' || s[c->at] == '-') c->at++;
        BL_TRY(digits(c));
    }
    if (c->at - from > BL_JSON_DIGITS)
        return REFUSE(c, from, "a number of %zu characters, expected at most %d", c->at - from, BL_JSON_DIGITS);
    bl_json_facts *o = c->out;
    BL_TRY(bl_grow(&o->number, &o->cap, o->n_numbers + 1, 1, c->e));
    o->number[o->n_numbers++] = (uint8_t)kind;
out:
    return st;
}

static bl_status string(check *c)
{
    const char *s = c->s;
    size_t from = c->at++;
    while (s[c->at] != '"') {
        uint8_t b = (uint8_t)s[c->at];
        if (c->at >= c->n) return REFUSE(c, from, "a string without an end");
        if (b < 0x20) return REFUSE(c, c->at, "control character 0x%02x inside a string", b);
        if (b == '\\' && s[c->at + 1] == 'u') {
            const char *hex = s + c->at + 2;
            for (int i = 0; i < 4; i++)
                if (!is_hex(hex[i])) return REFUSE(c, c->at, "\\u without four hexadecimal digits");
            if (memcmp(hex, "0000", 4) == 0) return REFUSE(c, c->at, "\\u0000 inside a string");
        }
        c->at += b == '\\' && c->at + 1 < c->n ? 2 : 1;
    }
    c->out->n_text += c->at++ - from;
    return BL_OK;
}

/* A comma before a closing bracket: refused, or with comments made a space when a value is in front of it. */
static bl_status trailing_comma(check *c, size_t comma, char before, bool comments)
{
    if (!comments) return REFUSE(c, comma, "a comma before '%c'", c->s[c->at]);
    if (before && !strchr("[{,:", before)) c->s[comma] = ' ';
    return BL_OK;
}

static bl_status tokens(check *c, bool comments, size_t most)
{
    bl_status st = BL_OK;
    size_t depth = 0, comma = 0, n = 0, keys = 0;
    char last = 0, before_comma = 0; /* first bytes of the tokens before */
    while (c->at < c->n) {
        char b = c->s[c->at];
        if (b == ' ' || b == '\t' || b == '\n' || b == '\r') {
            c->at++;
            continue;
        }
        if (comments && b == '/' && c->s[c->at + 1] == '/') {
            while (c->at < c->n && c->s[c->at] != '\n') c->s[c->at++] = ' ';
            continue;
        }
        if ((uint8_t)b < 0x20) return REFUSE(c, c->at, "byte 0x%02x between values", (uint8_t)b);
        n += !strchr(",:]}", b);
        keys += b == ':';
        if (n > keys && n - keys > most) return REFUSE(c, c->at, "more than %zu values", most);
        if (b == '[' || b == '{') {
            if (depth++ == BL_JSON_DEPTH) return REFUSE(c, c->at, "nested deeper than %d", BL_JSON_DEPTH);
        } else if (b == ']' || b == '}') {
            depth -= depth > 0;
            if (last == ',') BL_TRY(trailing_comma(c, comma, before_comma, comments));
        } else if (b == ',') {
            comma = c->at;
            before_comma = last;
        }
        last = b;
        if (b == '"') BL_TRY(string(c));
        else if (b == '-' || is_digit(b)) BL_TRY(number(c));
        else if (strchr("[]{},:", b)) c->at++;
        else
            while (c->at < c->n && !strchr(" \t\n\r\"[]{},:", c->s[c->at])) c->at++;
    }
    c->out->n_values = n > keys ? n - keys : 0;
out:
    return st;
}

bl_status bl_json_check(char *s, size_t n, const char *name, bl_json_flags f, size_t most, bl_json_facts *out,
                        bl_err *e)
{
    bl_status st = BL_OK;
    check c = {.s = s, .n = n, .name = name, .out = out, .e = e};
    size_t bad = bl_utf8_bad(s, n);
    const char *nul = memchr(s, 0, n);

    *out = (bl_json_facts){0};
    if (n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
        return bl_fail(e, BL_E_FORMAT, "%s: begins with a byte order mark, expected JSON without one", name);
    if (bad < n) return REFUSE(&c, bad, "byte 0x%02x is not valid UTF-8", (uint8_t)s[bad]);
    if (nul) return REFUSE(&c, (size_t)(nul - s), "a NUL byte");
    st = tokens(&c, f & BL_JSON_COMMENTS, most);
    if (st == BL_OK) return BL_OK;
    bl_free(out->number);
    *out = (bl_json_facts){0};
    return st;
}
