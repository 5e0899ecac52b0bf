/* checkpoint.c - opening a model whatever its container, and the list of its weights. */
#include "checkpoint_impl.h"
#include "bl_build.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- names ---- */
/* Lower-case base name without the suffix of a file. */
static const char *short_name(bl_arena *a, const char *path, bool file, bl_err *e)
{
    static const char *const suffix[] = {".gguf", ".bin", ".safetensors"};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const char *from = path + n;
    while (from > path && from[-1] != '/') from--;
    char *s = bl_arena_str(a, from, (size_t)(path + n - from), e);
    if (!s) return NULL;
    for (char *p = s; *p; p++) *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    n = strlen(s);
    for (size_t i = 0; file && i < BL_COUNT(suffix); i++) {
        size_t k = strlen(suffix[i]);
        if (n > k && !strcmp(s + n - k, suffix[i])) {
            s[n - k] = 0;
            break;
        }
    }
    size_t part = strlen("-00001-of-00001"); /* the first of a split model stands for all */
    n = strlen(s);
    if (file && n > part && !strncmp(s + n - part, "-00001-of-", 10) && strspn(s + n - 5, "0123456789") == 5)
        s[n - part] = 0;
    return s;
}

/* "Q4_1", "BF16", "int4 g64": the format that holds the most weights of the block linears. */
static bl_status stored_as(bl_checkpoint *c, bl_err *e)
{
    const bl_stored *best = NULL;
    double most = 0;
    char text[64];
    for (size_t i = 0; i < c->n; i++) {
        double sum = 0;
        const bl_stored *t = &c->stored[i];
        if (bl_roles[t->role].kind != BL_KIND_LINEAR) continue;
        if (best && best->format == t->format && best->shape.group == t->shape.group) continue;
        for (size_t k = i; k < c->n; k++) {
            const bl_stored *u = &c->stored[k];
            if (bl_roles[u->role].kind == BL_KIND_LINEAR && u->format == t->format && u->shape.group == t->shape.group)
                sum += (double)u->shape.out * (double)u->shape.in;
        }
        if (sum > most) {
            most = sum;
            best = t;
        }
    }
    if (!best) best = &c->stored[0];
    for (size_t i = 0; i < c->n; i++) { /* a group of 64 is a whole row only where no row is longer */
        const bl_stored *t = &c->stored[i];
        if (bl_roles[t->role].kind == BL_KIND_LINEAR && t->format == best->format &&
            t->shape.group == best->shape.group && t->shape.in > best->shape.in)
            best = t;
    }
    if (c->packing.kind) bl_packing_text(&c->packing, text);
    else bl_stored_text(best->format, &best->shape, text);
    c->stored_as = bl_arena_str(c->arena, text, strlen(text), e);
    return c->stored_as ? BL_OK : BL_E_NOMEM;
}

static int name_order(const void *a, const void *b, void *t)
{
    const bl_stored *s = t;
    return strcmp(s[*(const uint32_t *)a].name, s[*(const uint32_t *)b].name);
}

static bl_status sort_names(bl_checkpoint *c, bl_err *e)
{
    if (!(c->sorted = bl_new(c->n, sizeof *c->sorted, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < c->n; i++) c->sorted[i] = (uint32_t)i;
    qsort_r(c->sorted, c->n, sizeof *c->sorted, name_order, c->stored);
    return BL_OK;
}

/* ---- opening ---- */
/* Attention beyond a window is not computed; that limits what can be scored. */
static bl_status window(bl_checkpoint *c, bl_err *e)
{
    char text[96];
    if (c->config.window == 0 || c->config.window >= bl_config_reach(&c->config)) return BL_OK;
    snprintf(text, sizeof text, "sliding window: sequences longer than %" PRId64 " tokens are refused",
             c->config.window);
    return bl_checkpoint_note(c, BL_LOG_INFO, text, e);
}

static bl_status read_file(bl_checkpoint *c, bl_err *e)
{
    int file;
    bl_status st = bl_checkpoint_map(c, c->path, &file, e);
    if (st != BL_OK) return st;
    const uint8_t *p = c->map[0].data;
    uint64_t n = c->map[0].size;
    if (n == 0) return bl_fail(e, BL_E_FORMAT, "%s: the file is empty", c->path);
    size_t len = strlen(c->path);
    if (n >= 4 && !memcmp(p, "GGUF", 4)) return bl_read_gguf(c, e);
    if (len > 5 && !strcmp(c->path + len - 5, ".gguf"))
        return bl_fail(e, BL_E_FORMAT, "%s: does not begin with 'GGUF'", c->path);
    if (len > 12 && !strcmp(c->path + len - 12, ".safetensors"))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: one safetensors file is not a model; give the directory that holds it and config.json",
                       c->path);
    /* a width of llama2.c may begin with that byte, 128 say, but no pickle goes on with zeros */
    const bool pickle = n >= 4 && p[0] == 0x80 && (p[2] || p[3]);
    if (pickle || (n >= 4 && !memcmp(p, "PK\3\4", 4)))
        return bl_fail(e, BL_E_FORMAT, "%s: a PyTorch pickle, which holds code, is not read; convert it to safetensors",
                       c->path);
    return bl_read_llama2c(c, e);
}

static bl_status read_dir(bl_checkpoint *c, bl_err *e)
{
    if (access(c->path, R_OK | X_OK) != 0) return bl_fail(e, BL_E_IO, "%s: %s", c->path, strerror(errno));
    char *own = bl_join(c->path, "bitladder.json", e);
    if (!own) return BL_E_NOMEM;
    bl_status st = bl_exists(own) ? bl_read_variant(c, c->path, e) : bl_read_hfdir(c, c->path, e);
    bl_free(own);
    return st;
}

/* The checkpoint that comes with the program: beside its source, or installed. */
static const char *own_model(void)
{
    return bl_is_dir(BL_SOURCE_MODEL_DIR) ? BL_SOURCE_MODEL_DIR : BL_SHARE_DIR "/ladder-tiny";
}

/* Where the model is: an existing path, "default", else the local Hugging Face cache. Sets path and name. */
static bl_status resolve(bl_checkpoint *c, const char *model, bool *is_dir, bl_err *e)
{
    char real[PATH_MAX];
    const char *at = model, *base = model;
    if (!bl_exists(model) && !strcmp(model, "default")) at = base = model = own_model();
    else if (!bl_exists(model)) {
        bl_status st = bl_hub_find(model, c->arena, &at, e);
        if (st != BL_OK) return st;
    }
    if (!realpath(at, real)) return bl_fail(e, errno == ENOENT ? BL_E_MISSING : BL_E_IO, "%s: %s", at, strerror(errno));
    *is_dir = bl_is_dir(real);
    const char *last = strrchr(model, '/');
    last = last ? last + 1 : model;
    if (!*last || !strcmp(last, ".") || !strcmp(last, "..")) base = real;
    c->path = bl_arena_str(c->arena, real, strlen(real), e);
    c->name = short_name(c->arena, base, !*is_dir, e);
    return c->path && c->name ? BL_OK : BL_E_NOMEM;
}

bl_status bl_checkpoint_open(const char *model, const bl_checkpoint_opts *o, bl_checkpoint **out, bl_err *e)
{
    bl_status st = BL_OK;
    bool is_dir = false;
    bl_checkpoint *c = bl_new(1, sizeof *c, e);
    if (!c) return BL_E_NOMEM;
    if (o) c->opts = *o;
    BL_TRY(bl_arena_new(&c->arena, e));
    if (!strncmp(model, "synth:", 6)) {
        BL_TRY(bl_read_synth(c, model + 6, e));
    } else {
        BL_TRY(resolve(c, model, &is_dir, e));
        BL_TRY(is_dir ? read_dir(c, e) : read_file(c, e));
    }
    BL_TRY(sort_names(c, e));
    BL_TRY(stored_as(c, e));
    BL_TRY(window(c, e));
    BL_TRY(bl_find_tokenizer(c, e));
    c->opts.tokenizer = c->tok_path; /* ours, not the caller's text */
    *out = c;
    c = NULL;
out:
    bl_checkpoint_close(c);
    return st;
}

void bl_checkpoint_close(bl_checkpoint *c)
{
    if (!c) return;
    bl_gguf_close(c->gguf);
    bl_synth_free(c->synth);
    for (size_t i = 0; i < c->n_maps; i++) bl_map_close(&c->map[i]);
    bl_free(c->map);
    bl_free(c->stored);
    bl_free(c->sorted);
    bl_free(c->sum);
    bl_arena_free(c->arena);
    bl_free(c);
}

/* ---- looking ---- */
const bl_config *bl_checkpoint_config(const bl_checkpoint *c) { return &c->config; }
const char *bl_checkpoint_name(const bl_checkpoint *c) { return c->name; }
const char *bl_checkpoint_began(const bl_checkpoint *c) { return c->source ? c->source : c->name; }
const char *bl_checkpoint_path(const bl_checkpoint *c) { return c->path; }
const char *bl_checkpoint_stored_as(const bl_checkpoint *c) { return c->stored_as; }
const char *bl_checkpoint_method(const bl_checkpoint *c) { return c->method; }
const char *bl_checkpoint_source(const bl_checkpoint *c) { return c->source; }
const char *bl_checkpoint_notes(const bl_checkpoint *c) { return c->notes; }
const bl_stage *bl_checkpoint_stages(const bl_checkpoint *c, int *n)
{
    *n = c->n_stages;
    return c->stage;
}
void bl_stage_notes(const bl_checkpoint *c, bl_text *out)
{
    for (int i = 0; i < c->n_stages; i++)
        if (c->stage[i].note) bl_text_addf(out, "%s%s: %s", out->n ? "; " : "", c->stage[i].text, c->stage[i].note);
}
bool bl_stage_saw(const bl_checkpoint *c, bl_hash text)
{
    char hex[33];
    bl_hash_hex(text, hex);
    for (int i = 0; i < c->n_stages; i++)
        if (c->stage[i].calibration_text && !strcmp(c->stage[i].calibration_text, hex)) return true;
    return false;
}
const bl_stage *bl_stage_calibrated(const bl_checkpoint *c)
{
    for (int i = c->n_stages; i-- > 0;)
        if (c->stage[i].calibration && c->stage[i].calibration_text) return &c->stage[i];
    return NULL;
}
size_t bl_checkpoint_count(const bl_checkpoint *c) { return c->n; }
const bl_stored *bl_checkpoint_at(const bl_checkpoint *c, size_t i) { return i < c->n ? &c->stored[i] : NULL; }
uint64_t bl_checkpoint_bytes_read(const bl_checkpoint *c) { return c->bytes_read; }

const bl_stored *bl_checkpoint_param(const bl_checkpoint *c, bl_role role, int64_t block)
{
    bl_param p;
    return bl_param_of(&c->config, role, block, &p) ? bl_checkpoint_find(c, p.name) : NULL;
}

const bl_stored *bl_checkpoint_find(const bl_checkpoint *c, const char *name)
{
    for (size_t lo = 0, hi = c->n; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        const bl_stored *t = &c->stored[c->sorted[mid]];
        int d = strcmp(t->name, name);
        if (d == 0) return t;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

uint64_t bl_checkpoint_bytes(const bl_checkpoint *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const bl_stored *t = &c->stored[i];
        for (int p = 0; p < t->n_parts; p++) n += t->part[p].bytes;
        for (int k = 0; k < t->n_transforms + t->n_after; k++) n += t->transform[k].extent.bytes;
        for (int k = 0; k < t->n_adapters; k++) {
            const bl_stored_adapter *a = &t->adapter[k];
            n += a->a.bytes + a->b.bytes;
            for (int m = 0; a->packed && m < 2; m++)
                for (int p = 0; p < a->packed[m].n_parts; p++) n += a->packed[m].part[p].bytes;
        }
    }
    return n;
}
