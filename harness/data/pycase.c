/* pycase.c - str.capitalize: the first character in title case, the others in lower case, by Unicode's full mappings.
 *
 * A full mapping may give several characters; utf8proc has the simple ones, so those that differ are listed here
 * (Unicode's SpecialCasing.txt, unconditional, title case; of the lower cases only U+0130 differs). A capital sigma at
 * the end of a word becomes the final sigma, as CPython decides it: after a cased character and before none, characters
 * that are ignorable for casing passed over on both sides.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pytext.h"
#include "kernels/base/utf8.h"
#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

static const struct {
    uint32_t from, to[3];
} titles[] = {
    {0x00DF, {0x0053, 0x0073}},         {0x0149, {0x02BC, 0x004E}},         {0x01F0, {0x004A, 0x030C}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0582}},
    {0x1E96, {0x0048, 0x0331}},         {0x1E97, {0x0054, 0x0308}},         {0x1E98, {0x0057, 0x030A}},
    {0x1E99, {0x0059, 0x030A}},         {0x1E9A, {0x0041, 0x02BE}},         {0x1F50, {0x03A5, 0x0313}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}}, {0x1F56, {0x03A5, 0x0313, 0x0342}},
    {0x1FB2, {0x1FBA, 0x0345}},         {0x1FB4, {0x0386, 0x0345}},         {0x1FB6, {0x0391, 0x0342}},
    {0x1FB7, {0x0391, 0x0342, 0x0345}}, {0x1FC2, {0x1FCA, 0x0345}},         {0x1FC4, {0x0389, 0x0345}},
    {0x1FC6, {0x0397, 0x0342}},         {0x1FC7, {0x0397, 0x0342, 0x0345}}, {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342}},         {0x1FD7, {0x0399, 0x0308, 0x0342}},
    {0x1FE2, {0x03A5, 0x0308, 0x0300}}, {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313}},
    {0x1FE6, {0x03A5, 0x0342}},         {0x1FE7, {0x03A5, 0x0308, 0x0342}}, {0x1FF2, {0x1FFA, 0x0345}},
    {0x1FF4, {0x038F, 0x0345}},         {0x1FF6, {0x03A9, 0x0342}},         {0x1FF7, {0x03A9, 0x0342, 0x0345}},
    {0xFB00, {0x0046, 0x0066}},         {0xFB01, {0x0046, 0x0069}},         {0xFB02, {0x0046, 0x006C}},
    {0xFB03, {0x0046, 0x0066, 0x0069}}, {0xFB04, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0074}},
    {0xFB06, {0x0053, 0x0074}},         {0xFB13, {0x0544, 0x0576}},         {0xFB14, {0x0544, 0x0565}},
    {0xFB15, {0x0544, 0x056B}},         {0xFB16, {0x054E, 0x0576}},         {0xFB17, {0x0544, 0x056D}},
};
static const char final_sigma[] = "(?!\\p{Case_Ignorable})\\p{Cased}\\p{Case_Ignorable}*+\\K\\x{3A3}"
                                  "(?!\\p{Case_Ignorable}*+\\p{Cased})";

static void put(bl_text *out, const uint32_t *c, size_t n)
{
    char utf8[4];
    for (size_t i = 0; i < n && c[i]; i++) bl_text_addn(out, utf8, bl_utf8_put(c[i], utf8));
}

static void put_title(bl_text *out, uint32_t c)
{
    for (size_t i = 0; i < BL_COUNT(titles); i++)
        if (titles[i].from == c) {
            put(out, titles[i].to, BL_COUNT(titles[i].to));
            return;
        }
    put(out, (uint32_t[]){(uint32_t)utf8proc_totitle((utf8proc_int32_t)c)}, 1);
}

/* Where the next final sigma of s[0..n) is, from `at` on; n: nowhere. */
static size_t next_final(const pcre2_code *code, pcre2_match_data *match, const char *s, size_t n, size_t at)
{
    if (pcre2_match(code, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK, match, NULL) < 0) return n;
    return pcre2_get_ovector_pointer(match)[0];
}

bl_status bl_capitalize(bl_text *out, const char *s, bl_err *e)
{
    bl_status st = BL_OK;
    pcre2_code *code = NULL;
    pcre2_match_data *match = NULL;
    size_t n = strlen(s), final = n, k;

    if (strstr(s, "\xce\xa3")) { /* rare: without a capital sigma nothing has to be looked for */
        int error;
        PCRE2_SIZE where;
        code = pcre2_compile((PCRE2_SPTR)final_sigma, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &where, NULL);
        match = pcre2_match_data_create(1, NULL);
        if (!code || !match) {
            st = bl_fail(e, BL_E_NOMEM, "no memory to look for final sigmas");
            goto out;
        }
        final = next_final(code, match, s, n, 0);
    }
    for (size_t i = 0; i < n; i += k) {
        uint32_t c = 0;
        k = bl_utf8_get(s + i, n - i, &c); /* it is UTF-8 */
        if (i == 0) {
            put_title(out, c);
        } else if (i == final) {
            put(out, (uint32_t[]){0x3C2}, 1);
            final = next_final(code, match, s, n, i + k);
        } else if (c == 0x130) {
            put(out, (uint32_t[]){'i', 0x307}, 2);
        } else {
            put(out, (uint32_t[]){(uint32_t)utf8proc_tolower((utf8proc_int32_t)c)}, 1);
        }
    }
    st = bl_text_check(out, e);
out:
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return st;
}
