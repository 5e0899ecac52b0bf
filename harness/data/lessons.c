/* lessons.c - words, sentences and the split into parts. */
#include "lessons.h"
#include "kernels/base/hash.h"
#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include <string.h>

enum { TEST_OF = 8, MOST = 999, MOST_STEPS = 8, MOST_PEOPLE = 5 };

const char *const bl_lesson_kinds[] = {"sums", "order", "story", "tale", "life", "fact", NULL};
const char *const bl_lesson_parts[] = {"train", "test", NULL};

static const char *const names[] = {"Ada",  "Ben",  "Cleo", "Dan", "Eva",  "Finn", "Gwen", "Hugo", "Ida",  "Jack",
                                    "Kira", "Leo",  "Mia",  "Ned", "Olga", "Paul", "Rosa", "Sam",  "Tina", "Udo",
                                    "Vera", "Will", "Yara", "Zoe", "Anna", "Bert", "Cora", "Emil", "Fay",  "Karl"};
static const char *const last_names[] = {
    "Alder",  "Barlow", "Castell", "Dray",  "Elwood", "Farr",  "Gorse", "Hale",  "Ingram", "Jarvis", "Keller", "Lunt",
    "Marlow", "Nash",   "Orford",  "Pell",  "Quill",  "Roth",  "Stone", "Thorn", "Upton",  "Vance",  "Wells",  "Yates",
    "Zeller", "Ames",   "Birch",   "Crane", "Dunn",   "Ember", "Frost", "Gale",  "Holt",   "Irving", "Judd",   "Kemp",
    "Lark",   "Moss",   "North",   "Oakes", "Pike",   "Reed",  "Slate", "Tern",  "Usher",  "Vale",   "Ward",   "York",
    "Ashby",  "Blake",  "Clay",    "Dale",  "Eaton",  "Finch", "Grove", "Hart",  "Ives",   "Jessop", "Knox",   "Lane"};
static const char *const more_names[] = {"Abel", "Beth", "Carl",  "Dora", "Elsa", "Fred", "Gina", "Hans",
                                         "Iris", "Jane", "Kurt",  "Lena", "Max",  "Nora", "Otto", "Pia",
                                         "Ralf", "Sara", "Tom",   "Uma",  "Vito", "Wes",  "Xena", "Yves",
                                         "Zita", "Alma", "Boris", "Cyd",  "Dirk", "Edna"};
static const char *const things[] = {"pens",  "apples", "coins", "cards", "books", "shells", "stamps", "eggs",
                                     "plums", "nails",  "beads", "cups",  "balls", "keys",   "stones", "seeds"};
static const char *const towns[] = {"Oslo",  "Rome",  "Paris", "Kyiv",  "Lima",  "Delhi", "Bern",
                                    "Cairo", "Tokyo", "Riga",  "Quito", "Accra", NULL};
static const char *const pets[] = {"cat",   "dog",  "goat",  "horse", "parrot", "rabbit", "turtle",
                                   "mouse", "duck", "snake", "lamb",  "fox",    NULL};
static const char *const jobs[] = {"baker",  "doctor", "farmer", "pilot", "painter", "teacher", "tailor",
                                   "singer", "smith",  "nurse",  "guard", "sailor",  NULL};
static const char *const colours[] = {"red", "blue", "green", "white", "black", "yellow", "brown", "grey", NULL};
static const char *const places[] = {"forest", "river",  "market", "harbour", "hill",   "garden",
                                     "bridge", "castle", "valley", "lake",    "school", "mill"};
static const char *const moods[] = {"glad", "sad", "tired", "proud", "afraid", "calm", "curious", "angry"};
static const char *const times[] = {"morning", "evening", "night", "summer day", "winter day", "spring day"};

#define PICK(r, list)      ((list)[bl_rng_below(r, BL_COUNT(list))])
#define PICK_WORD(r, list) ((list)[bl_rng_below(r, BL_COUNT(list) - 1)]) /* of one that NULL ends */
static int64_t between(bl_rng *r, int64_t least, int64_t most)
{
    return least + (int64_t)bl_rng_below(r, (uint64_t)(most - least + 1));
}

/* The first n of `of` become different numbers below `all`, at most 32. */
static void different(bl_rng *r, size_t *of, size_t n, size_t all)
{
    uint32_t taken = 0;
    for (size_t i = 0; i < n; i++) {
        do of[i] = (size_t)bl_rng_below(r, all);
        while (taken >> of[i] & 1);
        taken |= UINT32_C(1) << of[i];
    }
}

/* ---- sums ---- */
/* One step from n: what happens, and how it is computed. Which operation: one that keeps numbers whole and in bounds.
 */
static int64_t step(bl_rng *r, int64_t n, const char *who, bl_lesson *l)
{
    static const char *const more[] = {"%s buys %d more.", "%s finds %d more.", "%s is given %d more."};
    static const char *const less[] = {"%s sells %d of them.", "%s loses %d of them.", "%s gives away %d of them."};
    char sentence[64];
    for (;;) {
        uint64_t kind = bl_rng_below(r, 4);
        int64_t k = between(r, 2, 5), to = 0;
        char sign = '+';
        *sentence = 0;
        if (kind == 0 && n < MOST - 1) {
            k = between(r, 2, BL_MIN(MOST - n, n < 20 ? 20 : 300));
            to = n + k;
            snprintf(sentence, sizeof sentence, PICK(r, more), who, (int)k);
        } else if (kind == 1 && n > 3) {
            sign = '-';
            k = between(r, 2, n - 1);
            to = n - k;
            snprintf(sentence, sizeof sentence, PICK(r, less), who, (int)k);
        } else if (kind == 2 && n * k <= MOST) {
            sign = '*';
            to = n * k;
            snprintf(sentence, sizeof sentence, "Then %s has %d times as many.", who, (int)k);
        } else if (kind == 3 && n % k == 0 && n > k) {
            sign = '/';
            to = n / k;
            snprintf(sentence, sizeof sentence, "%s makes %d equal heaps and keeps one.", who, (int)k);
        }
        if (!*sentence) continue;
        bl_text_addf(&l->question, " %s", sentence);
        bl_text_addf(&l->reasoning, "%s%d %c %d = %d.", l->reasoning.n ? " " : "", (int)n, sign, (int)k, (int)to);
        return to;
    }
}

static void sums(bl_rng *r, bl_lesson *l)
{
    const char *who = PICK(r, names), *what = PICK(r, things);
    int64_t n = between(r, 2, bl_rng_below(r, 2) ? 20 : 400), steps = between(r, 1, MOST_STEPS);
    bl_text_addf(&l->question, "%s has %d %s.", who, (int)n, what);
    for (int64_t i = 0; i < steps; i++) n = step(r, n, who, l);
    bl_text_addf(&l->question, " How many %s does %s have now?", what, who);
    bl_text_addf(&l->answer, "%d", (int)n);
}

/* ---- order ---- */
static void order(bl_rng *r, bl_lesson *l)
{
    static const char *const words[][3] = {{"taller", "tallest", "shortest"},
                                           {"older", "oldest", "youngest"},
                                           {"faster", "fastest", "slowest"},
                                           {"richer", "richest", "poorest"}};
    const char *const *w = words[bl_rng_below(r, BL_COUNT(words))];
    size_t who[MOST_PEOPLE], said[MOST_PEOPLE], n = (size_t)between(r, 3, MOST_PEOPLE);
    different(r, who, n, BL_COUNT(names));
    different(r, said, n - 1, n - 1);
    for (size_t i = 0; i + 1 < n; i++)
        bl_text_addf(&l->question, "%s is %s than %s. ", names[who[said[i]]], w[0], names[who[said[i] + 1]]);
    bl_text_addf(&l->reasoning, "From the %s:", w[1]);
    for (size_t i = 0; i < n; i++) bl_text_addf(&l->reasoning, " %s%s", names[who[i]], i + 1 < n ? "," : ".");
    size_t at = (size_t)bl_rng_below(r, 3);
    if (at < 2) {
        bl_text_addf(&l->question, "Who is the %s?", w[1 + at]);
        bl_text_add(&l->answer, names[who[at ? n - 1 : 0]]);
    } else {
        bl_text_addf(&l->question, "Who comes after the %s?", w[1]);
        bl_text_add(&l->answer, names[who[1]]);
    }
}

/* ---- stories ---- */
static void story(bl_rng *r, bl_lesson *l)
{
    static const struct {
        const char *say, *ask;
        const char *const *word;
        size_t n;
    } facts[] = {{"%s lives in %s. ", "Where does %s live?", towns, BL_COUNT(towns) - 1},
                 {"%s has a small %s. ", "Which animal does %s have?", pets, BL_COUNT(pets) - 1},
                 {"%s works as a %s. ", "What is the work of %s?", jobs, BL_COUNT(jobs) - 1},
                 {"%s wears a %s coat. ", "Which colour is the coat of %s?", colours, BL_COUNT(colours) - 1}};
    enum { PEOPLE = 3, FACTS = 4 };
    size_t who[PEOPLE], word[FACTS][PEOPLE], turn[PEOPLE * FACTS], n = (size_t)between(r, 2, PEOPLE), told = 0;
    different(r, who, n, BL_COUNT(names));
    for (size_t f = 0; f < FACTS; f++) different(r, word[f], n, facts[f].n);
    different(r, turn, n * FACTS, n * FACTS);
    size_t all = (size_t)between(r, (int64_t)n + 1, (int64_t)n * 3), asked = (size_t)bl_rng_below(r, all);
    for (told = 0; told < all; told++) {
        size_t p = turn[told] / FACTS, f = turn[told] % FACTS;
        bl_text_addf(&l->question, facts[f].say, names[who[p]], facts[f].word[word[f][p]]);
        if (bl_rng_below(r, 4) == 0)
            bl_text_addf(&l->question, "One %s %s was %s. ", PICK(r, times), names[who[p]], PICK(r, moods));
    }
    size_t p = turn[asked] / FACTS, f = turn[asked] % FACTS;
    bl_text_addf(&l->question, facts[f].ask, names[who[p]]);
    bl_text_add(&l->answer, facts[f].word[word[f][p]]);
}

static void tale(bl_rng *r, bl_lesson *l)
{
    bl_text *t = &l->question;
    size_t who[2];
    different(r, who, 2, BL_COUNT(names));
    const char *a = names[who[0]], *b = names[who[1]], *pet = PICK_WORD(r, pets), *place = PICK(r, places);
    const char *what = PICK(r, things);
    bl_text_addf(t, "One %s %s, the %s of %s, went to the %s.", PICK(r, times), a, PICK_WORD(r, jobs),
                 PICK_WORD(r, towns), place);
    for (int64_t i = between(r, 2, 5); i > 0; i--) switch (bl_rng_below(r, 6)) {
        case 0: bl_text_addf(t, " A %s %s sat there and looked %s.", PICK_WORD(r, colours), pet, PICK(r, moods)); break;
        case 1: bl_text_addf(t, " %s met %s, who carried %d %s.", a, b, (int)between(r, 2, 99), what); break;
        case 2: bl_text_addf(t, " Near the %s stood a %s house.", PICK(r, places), PICK_WORD(r, colours)); break;
        case 3: bl_text_addf(t, " \"Have you seen my %s?\" asked %s.", pet, b); break;
        case 4: bl_text_addf(t, " %s was %s, but %s was %s.", a, PICK(r, moods), b, PICK(r, moods)); break;
        default: bl_text_addf(t, " Then %s walked on to the %s.", a, PICK(r, places)); break;
        }
    bl_text_addf(t, " At last %s and %s came home and were %s.", a, b, PICK(r, moods));
}

/* ---- lives ---- */
/* What is true of somebody follows from a number of theirs alone, whatever the seed of a corpus. */
typedef struct life {
    char name[32];
    const char *word[3]; /* town, pet, work */
    int year;
} life;

static life life_of(uint64_t person)
{
    bl_rng r = bl_rng_at(0, bl_rng_key("life", person), 0);
    size_t first = (size_t)(person / BL_COUNT(last_names));
    life l;
    snprintf(l.name, sizeof l.name, "%s %s",
             first < BL_COUNT(names) ? names[first] : more_names[first - BL_COUNT(names)],
             last_names[person % BL_COUNT(last_names)]);
    l.word[0] = PICK_WORD(&r, towns);
    l.word[1] = PICK_WORD(&r, pets);
    l.word[2] = PICK_WORD(&r, jobs);
    l.year = (int)between(&r, 1500, 1999);
    return l;
}

enum { LIFE_FACTS = 4 };
static const struct {
    const char *say, *ask;
} life_facts[LIFE_FACTS] = {{"%s lived in %s.", "Where did %s live?"},
                            {"%s owned a %s.", "Which animal did %s own?"},
                            {"%s was a %s.", "What was the work of %s?"},
                            {"%s was born in %s.", "When was %s born?"}};

static const char *life_word(const life *l, size_t fact, char year[8])
{
    snprintf(year, 8, "%d", l->year);
    return fact < 3 ? l->word[fact] : year;
}

static void life_story(bl_rng *r, bl_lesson *out)
{
    life l = life_of(bl_rng_below(r, BL_LESSON_PEOPLE));
    size_t turn[LIFE_FACTS];
    char year[8];
    different(r, turn, LIFE_FACTS, LIFE_FACTS);
    for (size_t i = 0; i < LIFE_FACTS; i++) {
        if (i) bl_text_add(&out->question, " ");
        bl_text_addf(&out->question, life_facts[turn[i]].say, l.name, life_word(&l, turn[i], year));
    }
}

static void fact(bl_rng *r, bl_lesson *out)
{
    life l = life_of(bl_rng_below(r, BL_LESSON_PEOPLE));
    size_t f = (size_t)bl_rng_below(r, LIFE_FACTS);
    char year[8];
    bl_text_addf(&out->question, life_facts[f].ask, l.name);
    bl_text_add(&out->answer, life_word(&l, f, year));
}

/* ---- lessons ---- */
static void empty(bl_text *t)
{
    t->n = 0;
    if (t->s) *t->s = 0;
}

bl_status bl_lesson_make(bl_lesson_kind kind, bl_lesson_part part, uint64_t seed, uint64_t number, bl_lesson *out,
                         bl_err *e)
{
    static void (*const make[])(bl_rng *, bl_lesson *) = {sums, order, story, tale, life_story, fact};
    bl_status st = BL_OK;
    bl_rng r = bl_rng_at(seed, bl_rng_key(bl_lesson_kinds[kind], number), 0);
    bool test;
    out->kind = kind;
    do {
        empty(&out->question);
        empty(&out->reasoning);
        empty(&out->answer);
        make[kind](&r, out);
        BL_TRY(bl_text_check(&out->question, e));
        BL_TRY(bl_text_check(&out->reasoning, e));
        BL_TRY(bl_text_check(&out->answer, e));
        test = bl_hash_bytes(out->question.s, out->question.n).lo % TEST_OF == 0;
    } while (test != (part == BL_LESSON_TEST));
out:
    return st;
}

const char *const *bl_lesson_choices(const bl_lesson *l)
{
    static const char *const *const lists[] = {towns, pets, jobs, colours};
    if (l->kind != BL_LESSON_STORY && l->kind != BL_LESSON_FACT) return NULL;
    for (size_t k = 0; k < BL_COUNT(lists); k++)
        for (const char *const *w = lists[k]; *w; w++)
            if (strcmp(*w, l->answer.s) == 0) return lists[k];
    return NULL;
}

void bl_lesson_free(bl_lesson *l)
{
    bl_text_free(&l->question);
    bl_text_free(&l->reasoning);
    bl_text_free(&l->answer);
}

void bl_lesson_text(const bl_lesson *l, bool reasoned, bl_text *out)
{
    if (!l->answer.n) bl_text_addf(out, "%s\n", l->question.s);
    else if (reasoned && l->reasoning.n)
        bl_text_addf(out, "Q: %s\nA: %s The answer is %s.\n", l->question.s, l->reasoning.s, l->answer.s);
    else bl_text_addf(out, "Q: %s\nThe answer is %s.\n", l->question.s, l->answer.s);
}

bl_status bl_lesson_document(uint64_t seed, uint64_t number, bl_text *out, bl_err *e)
{
    static const bl_lesson_kind kinds[] = {BL_LESSON_SUMS, BL_LESSON_ORDER, BL_LESSON_STORY,
                                           BL_LESSON_TALE, BL_LESSON_LIFE,  BL_LESSON_FACT};
    static const uint64_t until[] = {10, 11, 13, 14, 17, 20}; /* of twenty */
    bl_status st = BL_OK;
    bl_lesson l = {0};
    bl_rng r = bl_rng_at(seed, bl_rng_key("lesson document", number), 0);
    uint64_t drawn = bl_rng_below(&r, until[BL_COUNT(until) - 1]);
    size_t k = 0;
    while (drawn >= until[k]) k++;
    bool reasoned = bl_rng_below(&r, 100) >= 35;
    BL_TRY(bl_lesson_make(kinds[k], BL_LESSON_TRAIN, seed, number, &l, e));
    bl_lesson_text(&l, reasoned, out);
    st = bl_text_check(out, e);
out:
    bl_lesson_free(&l);
    return st;
}

void bl_lesson_tokenizer(bl_text *out)
{
    static const char end[] = "<|end|>";
    bl_json_out j = {.t = out};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "version", "1.0");
    bl_json_add_str(&j, "truncation", NULL);
    bl_json_add_str(&j, "padding", NULL);
    bl_json_lines(&j, "added_tokens");
    bl_json_object(&j, NULL);
    bl_json_add_int(&j, "id", 0);
    bl_json_add_str(&j, "content", end);
    bl_json_add_bool(&j, "single_word", false);
    bl_json_add_bool(&j, "lstrip", false);
    bl_json_add_bool(&j, "rstrip", false);
    bl_json_add_bool(&j, "normalized", false);
    bl_json_add_bool(&j, "special", true);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_json_add_str(&j, "normalizer", NULL);
    bl_json_add_text(&j, "pre_tokenizer",
                     "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                     "\"use_regex\": true}");
    bl_json_add_text(
        &j, "post_processor",
        "{\"type\": \"TemplateProcessing\", "
        "\"single\": [{\"SpecialToken\": {\"id\": \"<|end|>\", \"type_id\": 0}}, "
        "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
        "\"pair\": [{\"SpecialToken\": {\"id\": \"<|end|>\", \"type_id\": 0}}, "
        "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], "
        "\"special_tokens\": {\"<|end|>\": {\"id\": \"<|end|>\", \"ids\": [0], "
        "\"tokens\": [\"<|end|>\"]}}}");
    bl_json_add_text(&j, "decoder",
                     "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                     "\"use_regex\": true}");
    bl_json_object(&j, "model");
    bl_json_add_str(&j, "type", "BPE");
    bl_json_add_str(&j, "dropout", NULL);
    bl_json_add_str(&j, "unk_token", NULL);
    bl_json_add_str(&j, "continuing_subword_prefix", NULL);
    bl_json_add_str(&j, "end_of_word_suffix", NULL);
    bl_json_add_bool(&j, "fuse_unk", false);
    bl_json_add_bool(&j, "byte_fallback", false);
    bl_json_add_bool(&j, "ignore_merges", false);
    bl_json_object(&j, "vocab");
    bl_json_add_int(&j, end, 0);
    bl_json_add_int(&j, "\xc4\x8a", 1); /* newline and space as byte-level vocabularies spell them */
    bl_json_add_int(&j, "\xc4\xa0", 2);
    for (int c = '!'; c <= '~'; c++) bl_json_add_int(&j, (char[2]){(char)c, 0}, 3 + c - '!');
    bl_json_end(&j);
    bl_json_array(&j, "merges");
    bl_json_end(&j);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
}
