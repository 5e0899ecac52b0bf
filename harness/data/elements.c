/* elements.c - see elements.h. What is JSON needs no more than strings and brackets to be cut into values. */
#include "elements.h"
#include <string.h>

static const char *after_space(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n')) s++;
    return s;
}

static const char *after_string(const char *s, const char *end)
{
    for (s++; s < end && *s != '"'; s++) s += *s == '\\';
    return s < end ? s + 1 : end;
}

static const char *after_value(const char *s, const char *end)
{
    int depth = 0;
    while (s < end) {
        if (*s == '"') s = after_string(s, end);
        else if (*s == '[' || *s == '{') {
            depth++;
            s++;
        } else if (*s == ']' || *s == '}') {
            depth--;
            s++;
        } else if (depth) {
            s++;
            continue;
        } else { /* a number or a word */
            while (s < end && !strchr(",]} \t\r\n", *s)) s++;
        }
        if (!depth) break;
    }
    return s;
}

bool bl_elements_next(bl_elements *all)
{
    const char *s = after_space(all->at, all->end);
    if (s < all->end && *s == ',') s = after_space(s + 1, all->end);
    if (s == all->end || *s == ']' || *s == '}') return false;
    if (all->keyed) {
        const char *end = after_string(s, all->end);
        all->key = s;
        all->n_key = (size_t)(end - s);
        s = after_space(end, all->end); /* at the colon */
        s = after_space(s + (s < all->end), all->end);
    }
    for (; all->counted < s; all->counted++) all->line += *all->counted == '\n';
    all->value = s;
    all->at = after_value(s, all->end);
    all->n_value = (size_t)(all->at - s);
    return true;
}

bl_elements bl_elements_of(const char *text, size_t n, int member, int64_t line)
{
    const char *s = after_space(text, text + n);
    bl_elements all = {.line = line, .end = text + n, .counted = text};

    all.at = s + (s < all.end);
    all.keyed = s < all.end && *s == '{';
    if (member < 0) return all;
    for (int k = 0; k <= member && bl_elements_next(&all);) k++;
    s = all.value;
    return (bl_elements){
        .line = all.line, .at = s + 1, .end = s + all.n_value, .counted = s, .keyed = all.n_value > 0 && *s == '{'};
}
