/* shared_chain.c - steps of a chain of thought, and what probes do to them. */
#include "shared_chain.h"
#include "kernels/base/rng.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool in_word(char c) { return isalnum((unsigned char)c) != 0; }
static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* ---- steps ---- */
/* The dot at text[at] belongs to a word that is not the last of its sentence; the sentence begins at `from`. */
static bool abbreviates(const char *text, size_t from, size_t at)
{
    static const char *const known[] = {"Mr", "Mrs", "Ms",     "Dr",  "Prof", "St", "vs",
                                        "No", "Fig", "approx", "e.g", "i.e",  "etc"};
    size_t begin = at;
    bool digits = true;

    while (begin > from && (in_word(text[begin - 1]) || text[begin - 1] == '.')) begin--;
    size_t n = at - begin;
    for (size_t i = 0; i < BL_COUNT(known); i++)
        if (strlen(known[i]) == n && !memcmp(known[i], text + begin, n)) return true;
    if (n == 1 && isupper((unsigned char)text[begin])) return true;
    for (size_t i = begin; i < at; i++) digits = digits && isdigit((unsigned char)text[i]);
    for (size_t i = from; i < begin; i++)
        if (!is_space(text[i])) return false;
    return digits && n > 0; /* "1. Find …": the number of a list */
}

/* Where the sentence that begins at `from` ends. */
static size_t sentence_end(const char *text, size_t n, size_t from)
{
    bool said = false;

    for (size_t i = from; i < n; i++) {
        said = said || in_word(text[i]) || (unsigned char)text[i] >= 0x80;
        if (!said) continue;
        if (text[i] == '\n') return i;
        if (!strchr(".!?", text[i]) || (text[i] == '.' && abbreviates(text, from, i))) continue;
        size_t end = i + 1;
        while (end < n && strchr(".!?\"')]", text[end])) end++;
        if (end == n || is_space(text[end])) return end;
    }
    return n;
}

static bool states_answer(const char *s, size_t n)
{
    for (size_t i = 0; i + 6 < n; i++) {
        if (strncasecmp(s + i, "answer", 6) != 0) continue;
        if (s[i + 6] == ':' || (i + 9 <= n && !strncasecmp(s + i + 6, " is", 3))) return true;
    }
    return false;
}

bl_status bl_chain_split(const char *text, bl_arena *a, bl_chain *out, bl_err *e)
{
    size_t n = strlen(text), *end = bl_alloc(a, n + 2, sizeof *end, e), at = 0;
    int steps = 0;

    if (!end) return BL_E_NOMEM;
    while (n && is_space(text[n - 1])) n--;
    while (at < n) {
        size_t to = sentence_end(text, n, at);
        bool said = false;
        if (states_answer(text + at, to - at)) break;
        for (size_t i = at; i < to; i++) said = said || in_word(text[i]) || (unsigned char)text[i] >= 0x80;
        if (said) end[++steps] = to;
        else if (steps) end[steps] = to;
        at = to;
    }
    *out = (bl_chain){.text = text, .n = steps, .end = end};
    return BL_OK;
}

/* ---- other words ---- */
/* Swapped in the order of the table, the first that fits; both sides are lower case. */
static const char *const swaps[][2] = {
    {"in total", "altogether"},
    {"altogether", "in total"},
    {"so", "therefore"},
    {"therefore", "so"},
    {"thus", "hence"},
    {"hence", "thus"},
    {"total", "sum"},
    {"sum", "total"},
    {"has to", "must"},
    {"have to", "must"},
    {"has been", "has been"}, /* stays: "has" is no possession there */
    {"has", "owns"},
    {"owns", "has"},
    {"because", "since"},
    {"then", "after that"},
    {"each", "every single"},
    {"is equal to", "equals"},
    {"equals", "is equal to"},
    {"buys", "purchases"},
    {"bought", "purchased"},
    {"purchased", "bought"},
    {"starts", "begins"},
    {"started", "began"},
    {"begins", "starts"},
    {"began", "started"},
    {"needs", "requires"},
    {"gets", "receives"},
    {"got", "received"},
    {"makes", "produces"},
    {"made", "produced"},
    {"gives", "hands over"},
    {"gave", "handed over"},
    {"sells", "disposes of"},
    {"find", "determine"},
    {"calculate", "work out"},
    {"also", "in addition"},
    {"however", "but"},
    {"but", "however"},
    {"big", "large"},
    {"large", "big"},
    {"small", "little"},
    {"kids", "children"},
    {"children", "kids"},
    {"people", "persons"},
    {"person", "individual"},
    {"shows", "indicates"},
    {"usually", "normally"},
    {"choice", "option"},
    {"option", "choice"},
    {"likely", "probable"},
    {"about", "around"},
    {"question", "problem"},
    {"problem", "question"},
    {"illness", "disease"},
    {"disease", "illness"},
    {"causes", "leads to"},
    {"caused by", "brought about by"},
    {"want", "wish"},
    {"wants", "wishes"},
    {"think", "believe"},
};

static size_t words_in(const char *s, size_t n)
{
    size_t words = 0;
    for (size_t i = 0; i < n; i++) words += !is_space(s[i]) && (i == 0 || is_space(s[i - 1]));
    return words;
}

static const char *const *swap_at(const char *text, size_t n, size_t at)
{
    for (size_t k = 0; k < BL_COUNT(swaps); k++) {
        size_t m = strlen(swaps[k][0]);
        if (at + m <= n && !strncasecmp(text + at, swaps[k][0], m) && (at + m == n || !in_word(text[at + m])))
            return swaps[k];
    }
    return NULL;
}

bl_status bl_chain_reword(const char *text, size_t n, bl_arena *a, const char **out, int64_t *words, int64_t *kept,
                          bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    int64_t lost = 0;

    for (size_t i = 0; i < n;) {
        const char *const *s = i == 0 || !(in_word(text[i - 1]) || text[i - 1] == '\'') ? swap_at(text, n, i) : NULL;
        if (!s) {
            bl_text_addn(&t, text + i++, 1);
            continue;
        }
        size_t first = t.n;
        bl_text_add(&t, s[1]);
        if (isupper((unsigned char)text[i]) && t.n > first) t.s[first] = (char)toupper((unsigned char)t.s[first]);
        if (strcmp(s[0], s[1]) != 0) lost += (int64_t)words_in(s[0], strlen(s[0]));
        i += strlen(s[0]);
    }
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.n ? t.s : "", t.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    int64_t all = (int64_t)words_in(text, n);
    *words += all;
    *kept += all - lost;
out:
    bl_text_free(&t);
    return st;
}

/* ---- what a model says instead ---- */
/* Numbers without their commas, and letters in brackets: what other words must not change. */
static bl_status facts_of(const char *text, size_t n, bl_arena *a, const char ***out, size_t *n_out, bl_err *e)
{
    const char **list = bl_alloc(a, n + 1, sizeof *list, e);
    size_t count = 0;
    char fact[64];

    if (!list) return BL_E_NOMEM;
    for (size_t i = 0; i < n;) {
        size_t k = 0, from = i;
        if (i + 2 < n && text[i] == '(' && isupper((unsigned char)text[i + 1]) && text[i + 2] == ')') {
            fact[k++] = text[i + 1];
            i += 3;
        } else if (isdigit((unsigned char)text[i])) {
            for (; i < n && (isdigit((unsigned char)text[i]) ||
                             (strchr(",.", text[i]) && i + 1 < n && isdigit((unsigned char)text[i + 1])));
                 i++)
                if (text[i] != ',' && k < sizeof fact) fact[k++] = text[i];
        } else i++;
        if (i == from || !k) continue;
        if (!(list[count++] = bl_arena_str(a, fact, k, e))) return BL_E_NOMEM;
    }
    *out = list;
    *n_out = count;
    return BL_OK;
}

static int by_text(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

static bl_status same_facts(const char *s, size_t n, const char *t, size_t m, bl_arena *a, bool *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **x, **y;
    size_t nx, ny;

    BL_TRY(facts_of(s, n, a, &x, &nx, e));
    BL_TRY(facts_of(t, m, a, &y, &ny, e));
    *out = nx == ny;
    if (nx && *out) {
        qsort(x, nx, sizeof *x, by_text);
        qsort(y, ny, sizeof *y, by_text);
    }
    for (size_t i = 0; i < nx && *out; i++) *out = !strcmp(x[i], y[i]);
out:
    return st;
}

typedef struct word {
    const char *s;
    size_t n;
} word;
/* The next word from *at on, without the marks around it; n 0 after the last. */
static word next_word(const char *s, size_t n, size_t *at)
{
    while (*at < n && !in_word(s[*at])) ++*at;
    size_t from = *at, end;
    while (*at < n && !is_space(s[*at])) ++*at;
    for (end = *at; end > from && !in_word(s[end - 1]);) end--;
    return (word){s + from, end - from};
}

/* How many words of s are there in t too, each of t for one of s. */
static bl_status words_said(const char *s, size_t n, const char *t, size_t m, bl_arena *a, int64_t *words,
                            int64_t *kept, bl_err *e)
{
    bool *used = bl_alloc(a, m + 1, sizeof *used, e);
    word x, y;

    if (!used) return BL_E_NOMEM;
    for (size_t at = 0; (x = next_word(s, n, &at)).n > 0; ++*words)
        for (size_t to = 0; (y = next_word(t, m, &to)).n > 0;) {
            if (x.n != y.n || used[y.s - t] || strncasecmp(x.s, y.s, x.n) != 0) continue;
            used[y.s - t] = true;
            ++*kept;
            break;
        }
    return BL_OK;
}

bl_status bl_chain_reworded(const char *step, size_t n, const char *said, bl_arena *a, const char **out, int64_t *words,
                            int64_t *kept, bl_err *e)
{
    bl_status st = BL_OK;
    size_t lead = 0, m = strlen(said);
    bool same = false;
    bl_text t = {0};

    while (m && is_space(*said)) said++, m--;
    while (m && is_space(said[m - 1])) m--;
    while (lead < n && is_space(step[lead])) lead++;
    *out = NULL;
    if (m && !states_answer(said, m)) BL_TRY(same_facts(step, n, said, m, a, &same, e));
    BL_TRY(words_said(step, n, same ? said : step, same ? m : n, a, words, kept, e));
    if (!same) goto out;
    bl_text_addn(&t, step, lead);
    bl_text_addn(&t, said, m);
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s, t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}

/* ---- mistakes ---- */
/* Length of the number that begins at text[i], commas included, and its value; 0: none that can grow. */
static size_t number_at(const char *text, size_t n, size_t i, int64_t *value)
{
    size_t k = i;
    int64_t v = 0;

    if (!isdigit((unsigned char)text[i]) ||
        (i > 0 && (in_word(text[i - 1]) || text[i - 1] == '.' || text[i - 1] == ',')))
        return 0;
    for (; k < n &&
           (isdigit((unsigned char)text[k]) || (text[k] == ',' && k + 1 < n && isdigit((unsigned char)text[k + 1])));
         k++) {
        if (text[k] == ',') continue;
        if (v > 99999999999999) return 0;
        v = 10 * v + (text[k] - '0');
    }
    if (k < n && in_word(text[k])) return 0;
    *value = v;
    return k - i;
}

static size_t letter_at(const char *text, size_t n, size_t i, int n_options)
{
    return i + 2 < n && text[i] == '(' && text[i + 2] == ')' && text[i + 1] >= 'A' && text[i + 1] < 'A' + n_options;
}

bl_status bl_chain_mistake(const char *text, size_t n, int n_options, uint64_t seed, uint64_t place, bl_arena *a,
                           const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rng rng = bl_rng_at(seed, bl_rng_key("mistake", 0), place);
    bl_text t = {0};
    int64_t value = 0;
    uint32_t letters = 0, numbers = 0, which;
    size_t length;

    *out = NULL;
    for (size_t i = 0; i < n; i++) {
        letters += letter_at(text, n, i, n_options) > 0;
        numbers += number_at(text, n, i, &value) > 0;
    }
    if (!letters && !numbers) return BL_OK;
    which = (uint32_t)(bl_rng_uniform(&rng) * (letters ? letters : numbers));
    double u = bl_rng_uniform(&rng);
    for (size_t i = 0; i < n; i++) {
        if (!(length = letters ? letter_at(text, n, i, n_options) : number_at(text, n, i, &value)) || which--) continue;
        bl_text_addn(&t, text, i);
        if (letters) {
            int other = (int)(u * (n_options - 1)), was = text[i + 1] - 'A';
            bl_text_addf(&t, "(%c", 'A' + other + (other >= was));
            length = 2;
        } else bl_text_addf(&t, "%lld", (long long)(value + 1 + (int64_t)(u * 9)));
        bl_text_addn(&t, text + i + length, n - i - length);
        break;
    }
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s, t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}
