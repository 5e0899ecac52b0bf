/* added.c - added tokens inside text: a trie, and what counts as a space or a word beside them. */
#include "tokenizer_impl.h"
#include "kernels/base/json.h"
#include <string.h>
#include <utf8proc.h>

static bl_status flag(const bl_json *v, const char *key, bool otherwise, bool *out, bl_err *e)
{
    const bl_json *f = bl_json_get(v, key);
    *out = otherwise;
    return f && bl_json_kind(f) != BL_JSON_NULL ? bl_json_bool(f, out, e) : BL_OK;
}

bl_status tok_added_read(const bl_json *v, tok_added *out, bl_err *e)
{
    bl_status st = BL_OK;
    tok_added a = {.id = -1};
    BL_TRY(bl_json_get_str(v, "content", &a.text, e));
    BL_TRY(flag(v, "special", false, &a.special, e));
    BL_TRY(flag(v, "normalized", !a.special, &a.normalized, e));
    BL_TRY(flag(v, "lstrip", false, &a.lstrip, e));
    BL_TRY(flag(v, "rstrip", false, &a.rstrip, e));
    BL_TRY(flag(v, "single_word", false, &a.single_word, e));
    a.n = strlen(a.text);
    *out = a;
out:
    return st;
}

bl_status tok_trie_add(tok_trie *t, const char *s, size_t n, int32_t value, bl_err *e)
{
    bl_status st = BL_OK;
    if (!t->n) memset(t->root, -1, sizeof t->root);
    int32_t at = -1;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)s[i];
        int32_t next = i ? t->node[at].child : t->root[byte];
        while (next >= 0 && t->node[next].byte != byte) next = t->node[next].sibling;
        if (next < 0) {
            BL_TRY(bl_grow(&t->node, &t->cap, t->n + 1, sizeof *t->node, e));
            next = (int32_t)t->n++;
            t->node[next] = (tok_node){.child = -1, .sibling = i ? t->node[at].child : -1, .value = -1, .byte = byte};
            if (i) t->node[at].child = next;
            else t->root[byte] = next;
        }
        at = next;
    }
    if (at >= 0) t->node[at].value = value;
out:
    return st;
}

int32_t tok_trie_find(const tok_trie *t, const char *s, size_t n, size_t *length)
{
    int32_t best = -1;
    if (!t->n || !n) return -1;
    int32_t at = t->root[(uint8_t)s[0]];
    for (size_t i = 0; at >= 0;) {
        if (t->node[at].value >= 0) {
            best = t->node[at].value;
            *length = i + 1;
        }
        if (++i >= n) break;
        at = t->node[at].child;
        while (at >= 0 && t->node[at].byte != (uint8_t)s[i]) at = t->node[at].sibling;
    }
    return best;
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

static int last_length(const char *s, size_t n) /* bytes of the last character */
{
    size_t i = n - 1;
    while (i > 0 && ((uint8_t)s[i] & 0xC0) == 0x80) i--;
    return (int)(n - i);
}

size_t tok_space_at_start(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        int k = tok_utf8(s + i, n - i);
        if (!is_space(tok_get_utf8(s + i, k))) break;
        i += (size_t)k;
    }
    return i;
}

size_t tok_space_at_end(const char *s, size_t n)
{
    size_t end = n;
    while (end > 0) {
        int k = last_length(s, end);
        if (!is_space(tok_get_utf8(s + end - k, k))) break;
        end -= (size_t)k;
    }
    return n - end;
}

bool tok_word_at_start(const char *s, size_t n) { return n && is_word(tok_get_utf8(s, tok_utf8(s, n))); }
bool tok_word_at_end(const char *s, size_t n)
{
    if (!n) return false;
    int k = last_length(s, n);
    return is_word(tok_get_utf8(s + n - k, k));
}
