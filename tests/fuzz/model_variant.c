/* model_variant.c - any bytes, sealed, as the bitladder.json of a saved model whose tensors are right: refused with a
 * sentence, or opened as a model. */
#include "variant_write.h"
#include "harness/checkpoint/variant_parts.h"
#include "kernels/base/fs.h"
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char dir[4096], model[4200], list[4300];
static bl_backend *be;

static void must(bool ok)
{
    if (!ok) abort();
}

static void tidy(void)
{
    bl_backend_close(be);
    (void)bl_remove_tree(dir, NULL);
}

static void begin(void)
{
    bl_err e = {0};
    fixture f;
    snprintf(dir, sizeof dir, "%s/blfuzz.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    must(mkdtemp(dir) != NULL);
    setenv("XDG_CACHE_HOME", dir, 1);
    snprintf(model, sizeof model, "%s/m", dir);
    snprintf(list, sizeof list, "%s/m/bitladder.json", dir);
    f = fixture_stored("synth:tiny:int4", "", 1, false);
    variant_everything(&f);
    must(variant_of_model(f.m, model, &(bl_stage){.text = "all", .hash = "12"}, 1, NULL, &e) == BL_OK);
    fixture_close(&f);
    must(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e) == BL_OK);
    must(atexit(tidy) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    bl_model *m = NULL;
    bl_text t = {0};
    if (!*dir) begin();
    bl_text_addn(&t, (const char *)data, n);
    bl_variant_seal(&t);         /* so that the rest is looked at */
    FILE *f = fopen(list, "wb"); /* in place: no other process reads it */
    must(f && fwrite(t.s, 1, t.n, f) == t.n && fclose(f) == 0);
    bl_text_free(&t);
    bl_status st = bl_checkpoint_open(model, NULL, &c, &e);
    if (st == BL_OK) st = bl_model_open(c, be, NULL, &m, &e);
    if (st == BL_OK) must(bl_model_bytes(m) == bl_checkpoint_bytes(c));
    else must(e.text[0] != 0);
    bl_model_close(m);
    bl_checkpoint_close(c);
    return 0;
}
