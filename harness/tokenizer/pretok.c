/* pretok.c - patterns that cut text, through PCRE2 with its just-in-time compiler.
 *
 * The patterns of tokenizer files are written for Oniguruma. Almost all of their syntax means the same to PCRE2; what
 * does not is translated or refused:
 *
 *     \s \S      by code points: PCRE2 counts U+180E as a space, Unicode since 6.3 and Oniguruma do not
 *     \v \uHHHH  one character in Oniguruma
 *     ^ $        match at every line, as in Ruby
 *     refused    \h \H \R \X \K \G \g \k and other letters with another meaning, && and [ inside a class, {,n}
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer_impl.h"
#include <pcre2.h>
#include <string.h>

#define WORD_END "'s|'t|'re|'ve|'m|'ll|'d"
const char tok_gpt2_pattern[] = WORD_END "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char tok_llama3_pattern[] =
    "(?i:" WORD_END
    ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char tok_qwen2_pattern[] =
    "(?i:" WORD_END
    ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char tok_digit_pattern[] = "\\p{N}";

const char *tok_known_pattern(const char *pattern)
{
    static const char *const all[] = {tok_gpt2_pattern, tok_llama3_pattern, tok_qwen2_pattern, tok_digit_pattern};
    for (size_t i = 0; i < BL_COUNT(all); i++)
        if (!strcmp(pattern, all[i])) return all[i];
    return NULL;
}

#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                                     \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

struct tok_regex {
    pcre2_code *code;
};
struct tok_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* One escape at p (after the backslash); *used gets its bytes. */
static bl_status escape(const char *p, size_t n, bool in_class, bl_text *out, size_t *used, const char *file, bl_err *e)
{
    *used = 1;
    if (!n) return bl_fail(e, BL_E_FORMAT, "%s: a pattern ends in a backslash", file);
    if (p[0] == 's' || p[0] == 'S') {
        bl_text_addf(out, in_class ? "%s" : "[%s]", p[0] == 's' ? SPACES : NOT_SPACES);
    } else if (p[0] == 'v') {
        bl_text_add(out, "\\x{b}");
    } else if (p[0] == 'u') {
        if (n < 5 || strspn(p + 1, "0123456789abcdefABCDEF") < 4)
            return bl_fail(e, BL_E_FORMAT, "%s: a pattern has \\u without four hexadecimal digits", file);
        bl_text_addf(out, "\\x{%.4s}", p + 1);
        *used = 5;
    } else if ((p[0] >= 'a' && p[0] <= 'z') || (p[0] >= 'A' && p[0] <= 'Z')) {
        if (!strchr(in_class ? "dDwWpPrntfeax" : "dDwWpPrntfeaxbBAzZ", p[0]))
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: \\%c in a pattern is not supported", file, p[0]);
        bl_text_addf(out, "\\%c", p[0]);
    } else {
        bl_text_add(out, "\\");
        bl_text_addn(out, p, 1);
    }
    return BL_OK;
}

static bl_status translate(const char *p, size_t n, bl_text *out, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    bool in_class = false;
    for (size_t i = 0; i < n; i++) {
        const char *rest = p + i;
        size_t left = n - i, used;
        if (p[i] == '\\') {
            BL_TRY(escape(rest + 1, left - 1, in_class, out, &used, file, e));
            i += used;
            continue;
        }
        if (in_class) {
            if (left > 1 && !memcmp(rest, "&&", 2))
                return bl_fail(e, BL_E_UNSUPPORTED, "%s: && in a character class of a pattern is not supported", file);
            if (p[i] == '[' && left > 1 && p[i + 1] == ':') {
                const char *end = memmem(rest, left, ":]", 2);
                if (end) {
                    bl_text_addn(out, rest, (size_t)(end + 2 - rest));
                    i += (size_t)(end + 1 - rest);
                    continue;
                }
            }
            if (p[i] == '[')
                return bl_fail(e, BL_E_UNSUPPORTED,
                               "%s: a class inside a character class of a pattern is not supported", file);
            if (p[i] == ']') in_class = false;
        } else if (p[i] == '[') {
            size_t k = left > 1 && p[i + 1] == '^' ? 2 : 1; /* a ] that comes first is a member */
            in_class = true;
            bl_text_addn(out, rest, k);
            if (k < left && p[i + k] == ']') bl_text_add(out, "\\]"), k++;
            i += k - 1;
            continue;
        } else if (left > 1 && !memcmp(rest, "{,", 2)) {
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: {,n} in a pattern is not supported", file);
        } else if (left > 1 && !memcmp(rest, "(?", 2)) {
            static const char *const known[] = {
                "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:", "(?-i)"};
            size_t k = 0;
            while (k < BL_COUNT(known) && (left < strlen(known[k]) || memcmp(rest, known[k], strlen(known[k])))) k++;
            if (k == BL_COUNT(known))
                return bl_fail(e, BL_E_UNSUPPORTED, "%s: '%.*s' in a pattern is not supported", file,
                               (int)BL_MIN(left, 4u), rest);
        } else if (left > 1 && !memcmp(rest, "(*", 2)) {
            return bl_fail(e, BL_E_FORMAT, "%s: '(*' in a pattern", file);
        }
        bl_text_addn(out, rest, 1);
    }
    BL_TRY(bl_text_check(out, e));
out:
    return st;
}

bl_status tok_regex_new(const char *pattern, size_t n, bool literal, const char *file, tok_regex **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text text = {0};
    tok_regex *r = NULL;
    pcre2_compile_context *c = NULL;
    int code;
    PCRE2_SIZE at;

    if (!n) return bl_fail(e, BL_E_FORMAT, "%s: a pattern is empty", file);
    if (n > 65536) return bl_fail(e, BL_E_FORMAT, "%s: a pattern of %zu bytes", file, n);
    if (literal) bl_text_addn(&text, pattern, n);
    else BL_TRY(translate(pattern, n, &text, file, e));
    BL_TRY(bl_text_check(&text, e));
    if (!(r = bl_new(1, sizeof *r, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!(c = pcre2_compile_context_create(NULL))) {
        st = bl_fail(e, BL_E_NOMEM, "%s: no memory for a pattern", file);
        goto out;
    }
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(c, 100);
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK |
                       (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    if (!(r->code = pcre2_compile((PCRE2_SPTR)text.s, text.n, options, &code, &at, c))) {
        char why[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = bl_fail(e, BL_E_FORMAT, "%s: pattern '%.*s' does not compile: %s", file, (int)BL_MIN(n, 200u), pattern,
                     why);
        goto out;
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the same matches come slower */
    *out = r;
    r = NULL;
out:
    pcre2_compile_context_free(c);
    tok_regex_free(r);
    bl_text_free(&text);
    return st;
}

void tok_regex_free(tok_regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    bl_free(r);
}

bl_status tok_matcher_new(tok_matcher **out, bl_err *e)
{
    tok_matcher *m = bl_new(1, sizeof *m, e);
    if (!m) return BL_E_NOMEM;
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, NULL);
    if (!m->data || !m->context) {
        tok_matcher_free(m);
        return bl_fail(e, BL_E_NOMEM, "no memory to match a pattern");
    }
    if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    pcre2_set_heap_limit(m->context, 256 * 1024); /* KiB */
    *out = m;
    return BL_OK;
}

void tok_matcher_free(tok_matcher *m)
{
    if (!m) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    bl_free(m);
}

bl_status tok_regex_next(const tok_regex *r, tok_matcher *m, const char *s, size_t n, size_t from, size_t *start,
                         size_t *end, bl_err *e)
{
    /* Enough for a pattern that looks at each byte some times; a pattern that backtracks without end stops here. */
    pcre2_set_match_limit(m->context, (uint32_t)BL_MIN(10000000 + 16 * (uint64_t)n, (uint64_t)UINT32_MAX));
    while (from < n) {
        int rc = pcre2_match(r->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            char why[160];
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
            return bl_fail(e, BL_E_FORMAT, "the tokenizer's pattern gave up on a text of %zu bytes: %s", n, why);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
        if (at[1] > at[0]) {
            *start = at[0];
            *end = at[1];
            return BL_OK;
        }
        from = at[0] + (at[0] < n ? (size_t)tok_utf8(s + at[0], n - at[0]) : 1);
    }
    *start = *end = n;
    return BL_OK;
}

const char *bl_tokenizer_version(void)
{
    static char text[64] = "PCRE2 ";
    pcre2_config(PCRE2_CONFIG_VERSION, text + 6);
    return text;
}
