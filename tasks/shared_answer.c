/* shared_answer.c - numbers out of a chain of thought, exactly as lm-evaluation-harness finds and compares them. */
#include "shared_answer.h"
#include <string.h>

bool bl_answer_strict(const char *text, const char **s, size_t *n)
{
    static const char trigger[] = "The answer is ";

    for (const char *p = text; (p = strstr(p, trigger)) != NULL; p++) {
        const char *from = p + strlen(trigger), *digits = from + (*from == '-');
        size_t run = strspn(digits, "0123456789.,");
        if (digits[run] == 0 || digits[run] == '\n') { /* a character is still owed: the group gives one back */
            if (run < 2) continue;
            run--;
        }
        if (run == 0) continue;
        *s = from;
        *n = (size_t)(digits - from) + run;
        return true;
    }
    return false;
}

bool bl_answer_ends_in_digit(const char *text, const char **s, size_t *n)
{
    static const char trigger[] = "The answer is ";

    for (const char *p = text; (p = strstr(p, trigger)) != NULL; p++) {
        const char *from = p + strlen(trigger), *digits = from + (*from == '-');
        size_t run = strspn(digits, "0123456789.,");
        while (run && strchr(".,", digits[run - 1])) run--;
        if (run == 0) continue;
        *s = from;
        *n = (size_t)(digits - from) + run;
        return true;
    }
    return false;
}

bool bl_answer_marked(const char *text, const char **s, size_t *n)
{
    for (const char *p = text; (p = strstr(p, "#### ")) != NULL; p++) {
        const char *from = p + 5, *digits = from + (*from == '-');
        size_t run = strspn(digits, "0123456789.,");
        if (run == 0) continue;
        *s = from;
        *n = (size_t)(digits - from) + run;
        return true;
    }
    return false;
}

bool bl_answer_flexible(const char *text, const char **s, size_t *n)
{
    bool found = false;

    for (const char *p = text; *p;) {
        const char *digits = p + (*p == '-');
        size_t run = strspn(digits, "$0123456789.,");
        if (run < 2) run = strspn(digits, "0123456789"); /* a lone digit; not a lone dot or dollar */
        if (run == 0) {
            p++;
            continue;
        }
        *s = p;
        *n = (size_t)(digits - p) + run;
        p = digits + run;
        found = true;
    }
    return found;
}

bool bl_answer_is_number(const char *s, size_t n)
{
    static const char digits[] = "0123456789";
    size_t i = n > 0 && s[0] == '-';
    i += i < n && s[i] == '$';
    if (i == n || !memchr(digits, s[i], 10)) return false;
    while (i < n && (s[i] == ',' || memchr(digits, s[i], 10))) i++;
    if (i < n && s[i] == '.') {
        size_t from = ++i;
        while (i < n && memchr(digits, s[i], 10)) i++;
        if (i == from) return false;
    }
    return i == n;
}

/* The next character of s[*i .. n) that counts; 0 at the end. */
static char next(const char *s, size_t *i, size_t n)
{
    while (*i < n) {
        char c = s[(*i)++];
        if (c == ',' || c == '$') continue;
        return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return 0;
}

/* What is left of s[0..n) once everything up to the last "#### " and one final dot are gone. Commas and dollar signs go
 * first, so neither may hide either. */
static void trim(const char **s, size_t *n)
{
    for (size_t i = *n; i >= 5; i--)
        if (!memcmp(*s + i - 5, "#### ", 5)) {
            *s += i;
            *n -= i;
            break;
        }
    size_t end = *n;
    while (end > 0 && ((*s)[end - 1] == ',' || (*s)[end - 1] == '$')) end--;
    *n = end > 0 && (*s)[end - 1] == '.' ? end - 1 : end;
}

bool bl_answer_equal(const char *s, size_t n, const char *gold)
{
    size_t m = strlen(gold), i = 0, j = 0;
    char a, b;

    trim(&s, &n);
    trim(&gold, &m);
    do {
        a = next(s, &i, n);
        b = next(gold, &j, m);
    } while (a && a == b);
    return a == b;
}
