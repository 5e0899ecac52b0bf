/* gguf_types.c - names of llama.cpp's files, and the type that each weight has in one.
 *
 * A mixture gives more bits to what is small or hurts most: the head, the values of attention where several heads share
 * them, the last product of the MLP in some blocks. Which, is llama.cpp's choice (its quantizer as of late 2026, for
 * models without experts); tests/golden/methods_gguf.c has what it gave.
 */
#include "gguf.h"
#include <string.h>

/* In the order of `list`. */
const char *const bl_gguf_types[] = {"q4_0",    "q4_1",   "q5_0",   "q5_1",    "q8_0",   "iq4_nl", "mxfp4",  "q2_k",
                                     "q3_k",    "q4_k",   "q5_k",   "q6_k",    "tq1_0",  "tq2_0",  "iq4_xs", "iq3_s",
                                     "iq3_xxs", "iq2_s",  "iq2_xs", "iq2_xxs", "iq1_m",  "iq1_s",  "q1_0",   "q2_0",
                                     "nvfp4",   "q2_k_s", "q3_k_s", "q3_k_m",  "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s",
                                     "q5_k_m",  "iq3_xs", "iq3_m",  "iq2_m",   NULL};
enum { ONLY_MIXED = 25 };

bool bl_gguf_only_mixed(int type) { return type >= ONLY_MIXED; }

typedef struct file {
    const char *name; /* of the mixture */
    const bl_model *m;
    const bl_linear *lin;
    bool importance, shared; /* shared: four or more heads share keys and values */
} file;

static bool is(const file *f, const char *names) /* one of the names, each between blanks */
{
    char word[16];
    snprintf(word, sizeof word, " %s ", f->name);
    return strstr(names, word) != NULL;
}

/* What most weights have. iq2_s is the one name whose own type goes to the next larger file. */
static const char *base(const file *f)
{
    static const char *const of[][2] = {{"q2_k_s", "q2_k"}, {"q3_k_s", "q3_k"}, {"q3_k_m", "q3_k"},
                                        {"q3_k_l", "q3_k"}, {"q4_k_s", "q4_k"}, {"q4_k_m", "q4_k"},
                                        {"q5_k_s", "q5_k"}, {"q5_k_m", "q5_k"}, {"iq3_xs", "iq3_s"},
                                        {"iq3_m", "iq3_s"}, {"iq2_m", "iq2_s"}, {"iq2_s", "iq2_xs"}};
    for (size_t i = 0; i < BL_COUNT(of); i++)
        if (!strcmp(of[i][0], f->name)) return of[i][1];
    return f->name;
}

static const char *head(const file *f, int64_t width)
{
    const bl_format *most = bl_format_find(base(f));
    if (width % most->block) return "q8_0";
    if (is(f, " iq2_xxs iq2_xs iq3_xxs iq1_s iq2_s iq2_m iq1_m ")) return "q5_k";
    return most == bl_format_find("q8_0") ? "q8_0" : "q6_k";
}

static const char *embedding(const file *f)
{
    if (is(f, " iq2_xxs iq2_xs iq1_s iq1_m ")) return "q2_k";
    if (is(f, " iq2_s iq2_m iq3_xxs ")) return "iq3_s";
    if (is(f, " tq1_0 tq2_0 ")) return "q4_k";
    return base(f);
}

/* The first and last eighth of the blocks and every third between. */
static bool more_bits(const file *f)
{
    int64_t n = f->m->config.n_layers, i = f->lin->block;
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}
static bool early(const file *f, int64_t part) { return f->lin->block < f->m->config.n_layers / part; }

static const char *lowest(const file *f) /* mixtures of about two bits and less */
{
    bool larger = is(f, " iq2_s iq2_m ");
    switch (f->lin->role) {
    case BL_ROLE_V: return f->shared ? "q4_k" : larger ? "iq3_s" : "q2_k";
    case BL_ROLE_DOWN: return !early(f, 8) ? base(f) : larger ? "iq3_s" : "q2_k";
    case BL_ROLE_O: return larger ? "iq3_s" : is(f, " iq1_s iq1_m ") ? "iq2_xxs" : base(f);
    default: return base(f);
    }
}

static const char *values(const file *f)
{
    if (is(f, " q2_k ")) return f->shared ? "q4_k" : "q3_k";
    if (is(f, " q2_k_s iq3_xs iq3_s ") && f->shared) return "q4_k";
    if (is(f, " iq3_xxs ")) return f->shared ? "q4_k" : f->importance ? "iq3_xxs" : "iq3_s";
    if (is(f, " iq3_m ")) return "q4_k";
    if (is(f, " q3_k_m ")) return f->lin->block < 2 ? "q5_k" : "q4_k";
    if (is(f, " q3_k_l ")) return "q5_k";
    if (is(f, " iq4_nl iq4_xs ") && f->shared) return "q5_k";
    if (is(f, " q4_k_m q5_k_m ") && more_bits(f)) return "q6_k";
    if (is(f, " q4_k_s ") && f->lin->block < 4) return "q5_k";
    return base(f);
}

static const char *down(const file *f)
{
    if (is(f, " q2_k ")) return "q3_k";
    if (is(f, " q2_k_s ") && early(f, 8)) return "q4_k";
    if (is(f, " iq3_xxs ") && !f->importance) return early(f, 8) ? "q4_k" : "q3_k";
    if (is(f, " q3_k_m ")) return early(f, 16) ? "q5_k" : "q4_k";
    if (is(f, " iq3_m ") && early(f, 8)) return "q4_k";
    if (is(f, " q3_k_l ")) return "q5_k";
    if (is(f, " q4_k_m q5_k_m ") && more_bits(f)) return "q6_k";
    if (is(f, " iq4_nl iq4_xs ") && early(f, 8) && !f->importance) return "q5_k";
    if (is(f, " q4_k_s ") && early(f, 8)) return "q5_k";
    if (is(f, " q4_0 ") && early(f, 8) && f->importance) return "q4_1";
    if (is(f, " q5_0 ") && early(f, 8) && f->importance) return "q5_1";
    return base(f);
}

static const char *mixed(const file *f, int64_t width)
{
    const bl_config *c = &f->m->config;
    const char *v;
    if (f->lin->role == BL_ROLE_HEAD) return head(f, width);
    if (f->lin->role == BL_ROLE_EMBED) return c->tied && !f->m->head.weight.format ? head(f, width) : embedding(f);
    if (is(f, " iq2_xxs iq2_xs iq1_s iq2_s iq2_m iq1_m ")) return lowest(f);
    switch (f->lin->role) {
    case BL_ROLE_V:
        v = values(f);
        /* of 70B models */
        return c->n_layers == 80 && c->n_heads != c->n_kv_heads && (!strcmp(v, "q3_k") || !strcmp(v, "q4_k")) ? "q5_k"
                                                                                                              : v;
    case BL_ROLE_Q:
    case BL_ROLE_K: return is(f, " iq3_xs ") ? "iq3_xxs" : is(f, " iq3_xxs ") ? "iq2_s" : base(f);
    case BL_ROLE_O:
        return is(f, " q2_k ")           ? "q3_k"
               : is(f, " iq3_xxs ")      ? "iq3_s"
               : is(f, " q3_k_m iq3_m ") ? "q4_k"
               : is(f, " q3_k_l ")       ? "q5_k"
                                         : base(f);
    case BL_ROLE_DOWN: return down(f);
    case BL_ROLE_GATE:
    case BL_ROLE_UP:
        return is(f, " iq3_xs ") && !early(f, 8) && f->lin->block < 7 * c->n_layers / 8 ? "iq3_xxs" : base(f);
    default: return base(f);
    }
}

/* Blocks of 32 instead of 256; 16 bits where those do not fit either. */
static const char *instead(const char *type)
{
    static const char *const of[][2] = {{"q2_k", "q4_0"}, {"q3_k", "q4_0"}, {"tq1_0", "q4_0"}, {"tq2_0", "q4_0"},
                                        {"q4_k", "q5_0"}, {"q5_k", "q5_1"}, {"q6_k", "q8_0"},  {"iq4_nl", "fp16"}};
    for (size_t i = 0; i < BL_COUNT(of); i++)
        if (!strcmp(of[i][0], type)) return of[i][1];
    return strncmp(type, "iq", 2) ? "fp16" : "iq4_nl";
}

const bl_format *bl_gguf_type_of(int type, bool mix, bool importance, const bl_model *m, const bl_linear *lin,
                                 int64_t width)
{
    const bl_config *c = &m->config;
    file f = {.name = bl_gguf_types[type],
              .m = m,
              .lin = lin,
              .importance = importance,
              .shared = c->n_kv_heads > 0 && c->n_heads / c->n_kv_heads >= 4};
    const char *name = mix ? mixed(&f, width) : f.name;
    const bl_format *format = bl_format_find(name);
    while (format->block && width % format->block) format = bl_format_find(name = instead(name));
    return format;
}
