/* json_scan.c - the strict reading of a JSON text (RFC 8259), before cJSON sees it.
 *
 * Says no to everything json.h names, with the place: line, column and the path inside the document.
 * What is left is text that every reader of JSON understands the same way.
 */
#include "json_impl.h"
#include <math.h>
#include <string.h>

typedef struct level {
    uint32_t node;
    uint32_t last;
    bool object;
    const char *key;
    size_t key_n;
} level;
typedef struct scan {
    char *s;
    size_t n, at;
    const char *name;
    bool comments;
    bl_json_scan *out;
    level stack[BL_JSON_DEPTH + 1];
    int depth;       /* open containers */
    const char *key; /* of the value that comes next */
    size_t key_n;
    bl_err *e;
} scan;

/* ---- refusing ----------------------------------------------------------------------------------- */
static void add_path(const scan *c, bl_text *t)
{
    for (int i = 0; i < c->depth; i++) {
        const level *l = &c->stack[i];
        const char *key = i + 1 < c->depth ? c->stack[i + 1].key : c->key;
        size_t n = i + 1 < c->depth ? c->stack[i + 1].key_n : c->key_n;
        uint32_t seen = c->out->node[l->node].n;
        if (!l->object) bl_text_addf(t, "[%u]", (unsigned)(seen ? seen - 1 : 0));
        else if (key) {
            bl_text_add(t, i ? "." : "");
            bl_text_addn(t, key, BL_MIN(n, 200));
        }
    }
    if (t->n) bl_text_add(t, ": ");
}

static bl_status refuse_at(const scan *c, size_t at, const char *fmt, ...) BL_PRINTF(3, 4);
static bl_status refuse_at(const scan *c, size_t at, const char *fmt, ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        if (c->s[i] == '\n') {
            line++;
            column = 1;
        } else if (((uint8_t)c->s[i] & 0xc0) != 0x80) column++;
    }
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    bl_text path = {0};
    add_path(c, &path);
    bl_fail(c->e, BL_E_FORMAT, "%s: %sline %zu, column %zu: %s", c->name, path.s ? path.s : "", line, column, what);
    bl_text_free(&path);
    return BL_E_FORMAT;
}

/* "found '}', expected a value" */
static bl_status unexpected(const scan *c, const char *expected)
{
    uint8_t b = (uint8_t)c->s[c->at];
    if (c->at >= c->n) return refuse_at(c, c->at, "the text ends here, expected %s", expected);
    if (b > ' ' && b < 0x7f) return refuse_at(c, c->at, "found '%c', expected %s", b, expected);
    return refuse_at(c, c->at, "found byte 0x%02x, expected %s", b, expected);
}

/* ---- blanks ------------------------------------------------------------------------------------- */
static void skip_blanks(scan *c)
{
    for (;;) {
        char b = c->s[c->at];
        if (b == ' ' || b == '\t' || b == '\n' || b == '\r') {
            c->at++;
            continue;
        }
        if (!c->comments || b != '/' || c->s[c->at + 1] != '/') return;
        while (c->at < c->n && c->s[c->at] != '\n') c->s[c->at++] = ' ';
    }
}

/* ---- numbers ------------------------------------------------------------------------------------ */
static bool is_digit(char b) { return b >= '0' && b <= '9'; }

static bl_status number(scan *c, bl_json *v)
{
    size_t from = c->at;
    const char *s = c->s;
    bool whole = true;
    if (s[c->at] == '-') c->at++;
    if (!is_digit(s[c->at])) return unexpected(c, "a digit");
    if (s[c->at] == '0' && is_digit(s[c->at + 1])) return refuse_at(c, from, "a number begins with a needless zero");
    while (is_digit(s[c->at])) c->at++;
    if (s[c->at] == '.') {
        whole = false;
        c->at++;
        if (!is_digit(s[c->at])) return unexpected(c, "a digit");
        while (is_digit(s[c->at])) c->at++;
    }
    if (s[c->at] == 'e' || s[c->at] == 'E') {
        whole = false;
        c->at++;
        if (s[c->at] == '+' || s[c->at] == '-') c->at++;
        if (!is_digit(s[c->at])) return unexpected(c, "a digit");
        while (is_digit(s[c->at])) c->at++;
    }
    size_t len = c->at - from;
    if (len > BL_JSON_DIGITS)
        return refuse_at(c, from, "a number of %zu characters, expected at most %d", len, BL_JSON_DIGITS);
    v->kind = BL_JSON_NUMBER;
    v->whole = whole;
    if (whole && len <= 15) {
        int64_t i = 0;
        for (size_t k = from + (s[from] == '-'); k < c->at; k++) i = i * 10 + (s[k] - '0');
        v->v.number = s[from] == '-' ? -(double)i : (double)i; /* minus zero stays */
        return BL_OK;
    }
    v->v.number = bl_real_scan(s + from, NULL);
    if (!isfinite(v->v.number)) return refuse_at(c, from, "number %.*s is not finite", (int)len, s + from);
    if (whole) { /* 2^53 + 1 reads as 2^53, so the digits decide */
        uint64_t i = 0;
        bool beyond = false;
        for (size_t k = from + (s[from] == '-'); k < c->at && !beyond; k++) {
            i = i * 10 + (uint64_t)(s[k] - '0');
            beyond = i > UINT64_C(1) << 53;
        }
        v->whole = beyond ? 2 : 1;
    }
    return BL_OK;
}

/* ---- strings ------------------------------------------------------------------------------------ */
static bool hex4(const char *s, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char b = s[i];
        int d = is_digit(b) ? b - '0' : b >= 'a' && b <= 'f' ? b - 'a' + 10 : b >= 'A' && b <= 'F' ? b - 'A' + 10 : -1;
        if (d < 0) return false;
        *out = *out << 4 | (uint32_t)d;
    }
    return true;
}

static bl_status escape(scan *c) /* at the backslash; leaves behind the escape */
{
    uint32_t high, low;
    size_t from = c->at;
    char b = c->s[from + 1];
    if (b && strchr("\"\\/bfnrt", b)) {
        c->at += 2;
        return BL_OK;
    }
    if (b != 'u' || !hex4(c->s + from + 2, &high)) return refuse_at(c, from, "a backslash that begins no escape");
    if (high == 0) return refuse_at(c, from, "\\u0000 inside a string");
    c->at += 6;
    if (high < 0xd800 || high > 0xdfff) return BL_OK;
    if (high > 0xdbff || c->s[c->at] != '\\' || c->s[c->at + 1] != 'u' || !hex4(c->s + c->at + 2, &low) ||
        low < 0xdc00 || low > 0xdfff)
        return refuse_at(c, from, "half of a surrogate pair");
    c->at += 6;
    return BL_OK;
}

static bl_status string(scan *c, const char **from, size_t *n) /* at the quote; the raw text between the quotes */
{
    bl_status st = BL_OK;
    size_t start = ++c->at;
    for (;;) {
        uint8_t b = (uint8_t)c->s[c->at];
        if (b == '"') break;
        if (b == '\\') {
            BL_TRY(escape(c));
            continue;
        }
        if (b < 0x20 && c->at >= c->n) return refuse_at(c, start - 1, "a string without an end");
        if (b < 0x20) return refuse_at(c, c->at, "control character 0x%02x inside a string", b);
        c->at++;
    }
    *from = c->s + start;
    *n = c->at++ - start;
    c->out->pool_bytes += *n + 1;
out:
    return st;
}

/* ---- values ------------------------------------------------------------------------------------- */
static bl_status word(scan *c, const char *w, bl_json *v, bl_json_type kind, bool truth)
{
    size_t n = strlen(w);
    if (strncmp(c->s + c->at, w, n) != 0) return unexpected(c, "a value");
    c->at += n;
    v->kind = (uint8_t)kind;
    v->v.truth = truth;
    return BL_OK;
}

static bl_status new_node(scan *c, uint32_t *at)
{
    bl_json_scan *o = c->out;
    if (o->n_nodes > BL_JSON_NODES) return refuse_at(c, c->at, "more than %d values", BL_JSON_NODES);
    if (bl_grow(&o->node, &o->cap, o->n_nodes + 1, sizeof *o->node, c->e) != BL_OK) return BL_E_NOMEM;
    *at = (uint32_t)o->n_nodes++;
    o->node[*at] = (bl_json){0};
    if (c->depth > 0) {
        level *l = &c->stack[c->depth - 1];
        o->node[*at].up = *at - l->node;
        if (l->last) o->node[l->last].skip = *at - l->last;
        l->last = *at;
        o->node[l->node].n++;
    }
    return BL_OK;
}

/* Reads one value; a container is opened only, its members come in the loop of bl_json_scan_text. */
static bl_status value(scan *c)
{
    uint32_t at = 0;
    const char *from = NULL;
    size_t n = 0;
    bl_status st = BL_OK;
    char b = c->s[c->at];
    BL_TRY(new_node(c, &at));
    if ((b == '{' || b == '[') && c->depth == BL_JSON_DEPTH)
        return refuse_at(c, c->at, "nested deeper than %d", BL_JSON_DEPTH);
    bl_json *v = &c->out->node[at];
    switch (b) {
    case '{':
    case '[':
        v->kind = b == '{' ? BL_JSON_OBJECT : BL_JSON_ARRAY;
        c->stack[c->depth++] = (level){.node = at, .object = b == '{', .key = c->key, .key_n = c->key_n};
        c->key = NULL;
        c->at++;
        break;
    case '"':
        BL_TRY(string(c, &from, &n));
        v->kind = BL_JSON_STRING;
        break;
    case 't': return word(c, "true", v, BL_JSON_BOOL, true);
    case 'f': return word(c, "false", v, BL_JSON_BOOL, false);
    case 'n': return word(c, "null", v, BL_JSON_NULL, false);
    default:
        if (b == '-' || is_digit(b)) return number(c, v);
        return unexpected(c, v->up == 1 && !c->stack[c->depth - 1].object ? "a value or ']'" : "a value");
    }
out:
    return st;
}

static bl_status key(scan *c)
{
    bl_status st = BL_OK;
    c->key = NULL;
    if (c->s[c->at] != '"' || c->at >= c->n) return unexpected(c, "a key in quotes or '}'");
    BL_TRY(string(c, &c->key, &c->key_n));
    skip_blanks(c);
    if (c->s[c->at] != ':') return unexpected(c, "':'");
    c->at++;
    skip_blanks(c);
out:
    return st;
}

/* Behind a value: closes what ends here. *more: a member of the innermost container follows. */
static bl_status behind(scan *c, bool *more)
{
    *more = false;
    while (c->depth > 0) {
        level *l = &c->stack[c->depth - 1];
        char close = l->object ? '}' : ']';
        skip_blanks(c);
        if (c->s[c->at] == ',') {
            size_t comma = c->at++;
            skip_blanks(c);
            if (c->s[c->at] != close) {
                *more = true;
                return BL_OK;
            }
            if (!c->comments) return refuse_at(c, comma, "a comma before '%c'", close);
            c->s[comma] = ' ';
        }
        if (c->s[c->at] != close) return unexpected(c, l->object ? "',' or '}'" : "',' or ']'");
        c->at++;
        c->depth--;
        c->key = l->key;
        c->key_n = l->key_n;
    }
    return BL_OK;
}

static bl_status members(scan *c)
{
    bl_status st = BL_OK;
    skip_blanks(c);
    for (;;) {
        int before = c->depth;
        bool more = false;
        BL_TRY(value(c));
        if (c->depth > before) { /* a container was opened: empty, or its first member is next */
            bool object = c->stack[c->depth - 1].object;
            skip_blanks(c);
            more = c->s[c->at] != (object ? '}' : ']');
        }
        if (!more) BL_TRY(behind(c, &more));
        if (!more) break;
        if (c->stack[c->depth - 1].object) BL_TRY(key(c));
    }
    c->key = NULL;
    skip_blanks(c);
    if (c->at < c->n) st = unexpected(c, "the end of the text");
out:
    return st;
}

bl_status bl_json_scan_text(char *s, size_t n, const char *name, bl_json_flags f, bl_json_scan *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json_scan o = {0};
    scan c = {.s = s, .n = n, .name = name, .comments = f & BL_JSON_COMMENTS, .out = &o, .e = e};
    size_t bad = bl_utf8_bad(s, n);
    const char *nul = memchr(s, 0, n);

    if (n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
        return bl_fail(e, BL_E_FORMAT, "%s: begins with a byte order mark, expected JSON without one", name);
    if (bad < n) return refuse_at(&c, bad, "byte 0x%02x is not valid UTF-8", (uint8_t)s[bad]);
    if (nul) return refuse_at(&c, (size_t)(nul - s), "a NUL byte");
    if (bl_grow(&o.node, &o.cap, n / 16 + 2, sizeof *o.node, e) != BL_OK) return BL_E_NOMEM;
    o.node[o.n_nodes++] = (bl_json){0}; /* the document itself */
    BL_TRY(members(&c));
    *out = o;
    return BL_OK;
out:
    bl_free(o.node);
    return st;
}
