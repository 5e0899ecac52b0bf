/* letters.c - characters of UTF-8, and the two ways in which vocabularies spell single bytes: a letter each (byte-level
 * BPE) and pieces such as <0x41> (byte fallback). */
#include "tokenizer_impl.h"
#include <string.h>

int tok_utf8(const char *s, size_t n)
{
    uint32_t c;
    size_t k = bl_utf8_get(s, n, &c);
    return k ? (int)k : -(int)bl_utf8_skip(s, n);
}

uint32_t tok_get_utf8(const char *s, int n)
{
    uint32_t c = 0;
    bl_utf8_get(s, (size_t)n, &c);
    return c;
}

int tok_byte_piece(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        int d = s[i] >= '0' && s[i] <= '9'   ? s[i] - '0'
                : s[i] >= 'A' && s[i] <= 'F' ? s[i] - 'A' + 10
                : s[i] >= 'a' && s[i] <= 'f' ? s[i] - 'a' + 10
                                             : -1;
        if (d < 0) return -1;
        v = 16 * v + d;
    }
    return v;
}

uint32_t tok_byte_letter(uint8_t b)
{
    bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
    if (printable) return b;
    return b <= 32     ? 256u + b
           : b <= 0xA0 ? 256u + 33 + (b - 127u)
                       : 256u + 67; /* the 68 others, in order, from U+0100 */
}

int tok_letter_byte(uint32_t c)
{
    if (c < 256) return tok_byte_letter((uint8_t)c) == c ? (int)c : -1;
    c -= 256;
    return c <= 32 ? (int)c : c <= 66 ? (int)(127 + c - 33) : c == 67 ? 0xAD : -1;
}

bool tok_letters(const char *s, size_t n, bl_text *out)
{
    size_t before = out->n;
    for (size_t i = 0; i < n;) {
        int k = tok_utf8(s + i, n - i), byte = k > 0 ? tok_letter_byte(tok_get_utf8(s + i, k)) : -1;
        if (byte < 0) {
            out->n = before;
            if (out->s) out->s[before] = 0;
            return false;
        }
        bl_text_addn(out, (char[]){(char)byte}, 1);
        i += (size_t)k;
    }
    return true;
}
