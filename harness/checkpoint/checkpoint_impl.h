/* checkpoint_impl.h - what the readers of this folder share: the body of a checkpoint, and bytes.
 *
 * A reader fills `config`, walks bl_param_at(0, 1, …) and puts one bl_stored a parameter, each with the extents its
 * container has for it.
 */
#ifndef BL_HARNESS_CHECKPOINT_CHECKPOINT_IMPL_H
#define BL_HARNESS_CHECKPOINT_CHECKPOINT_IMPL_H
#include "checkpoint.h"
#include "gguf.h"
#include "packed.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <string.h>

/* What a tensor of a saved model held when it was written. */
typedef struct bl_sum {
    int file;
    uint64_t offset, bytes;
    bl_hash hash;
    const char *name;
    bool checked; /* by this process; it is looked at once */
} bl_sum;

typedef struct bl_synth bl_synth;
struct bl_checkpoint {
    bl_arena *arena; /* names and texts */
    bl_checkpoint_opts opts;
    bl_config config;
    const char *name, *path, *stored_as, *method, *source, *notes;
    bl_stage *stage;
    int n_stages;
    bl_map *map; /* the files, by bl_extent.file */
    size_t n_maps, cap_maps;
    size_t n_given;     /* files that are the checkpoint's; the map after them was made of these */
    bl_packing packing; /* of a directory whose linears another program packed */
    bl_stored *stored;
    size_t n, cap;
    uint32_t *sorted; /* indices of `stored` by name */
    bl_sum *sum;      /* by file and offset; of a saved model only */
    size_t n_sums, cap_sums;
    bl_gguf *gguf; /* of a GGUF file; lends from map[0] */
    bl_synth *synth;
    bl_tok_kind tok;
    const char *tok_path, *tok_why;
    bl_hash weights; /* as they were hashed, here or by an earlier run of the same files */
    bool hashed;
    uint64_t bytes_read;
};

/* ---- readers: each fills config and stored ---- */
bl_status bl_read_gguf(bl_checkpoint *c, bl_err *e);    /* map[0] */
bl_status bl_read_llama2c(bl_checkpoint *c, bl_err *e); /* map[0] */
bl_status bl_read_hfdir(bl_checkpoint *c, const char *dir, bl_err *e);
bl_status bl_read_variant(bl_checkpoint *c, const char *dir, bl_err *e);
bl_status bl_read_synth(bl_checkpoint *c, const char *spec, bl_err *e); /* after "synth:" */
void bl_synth_free(bl_synth *s);

/* config.json of a Hugging Face directory. */
bl_status bl_hf_config(const char *path, bl_config *out, bl_err *e);
/* llama2.c header and size; *v1 says which order the tensors have, *data where they begin. */
bl_status bl_llama2c_parse(const uint8_t *p, uint64_t n, const char *file, bl_config *out, bool *v1, uint64_t *data,
                           bl_err *e);
/* `org/name[@rev]` to a snapshot directory in the local Hugging Face cache; arena text. BL_E_MISSING says what was
 * looked for. */
bl_status bl_hub_find(const char *model, bl_arena *a, const char **dir, bl_err *e);
/* Fills tok, tok_path, tok_why. */
bl_status bl_find_tokenizer(bl_checkpoint *c, bl_err *e);

/* ---- layout.c: what every reader does ---- */
bl_status bl_checkpoint_map(bl_checkpoint *c, const char *path, int *file, bl_err *e); /* one more file */
bl_status bl_checkpoint_put(bl_checkpoint *c, const bl_stored *s, bl_err *e);          /* the name is copied */
/* One part of `bytes` at `offset` of `file`; checked against the geometry by the caller. */
bl_stored bl_stored_whole(const bl_param *s, const bl_format *f, int file, uint64_t offset, uint64_t bytes);
/* One more sentence of bl_checkpoint_notes, and of the log. */
bl_status bl_checkpoint_note(bl_checkpoint *c, bl_log_level level, const char *sentence, bl_err *e);

/* ---- sums.c ---- */
bl_status bl_sum_put(bl_checkpoint *c, const bl_extent *x, const char *name, bl_hash hash, bl_err *e);
void bl_sums_sort(bl_checkpoint *c); /* after the last */
/* The bytes of a tensor are those that were written; nothing for files that say nothing about it. BL_E_CORRUPT. */
bl_status bl_sum_check(bl_checkpoint *c, const bl_extent *x, bl_err *e);

/* ---- bytes of stored weights ---- */
/* Bytes `from` .. `from + n` of part i, wherever they come from; dst is not the map. Counts as read. */
void bl_part_read(bl_checkpoint *c, const bl_stored *t, int i, uint64_t from, uint64_t n, void *dst);
/* The made-up bytes of a synthetic checkpoint. */
void bl_synth_bytes(const bl_synth *s, const bl_stored *t, int i, uint64_t from, uint64_t n, void *dst);
/* Stands for those bytes without making them. */
bl_status bl_synth_hash(const bl_synth *s, bl_hash *out, bl_err *e);

/* Row of the stored tensor (of a vector: element) that holds row r of the HF order. */
int64_t bl_rotary_row(const bl_stored *t, int64_t r);
/* Rows row0 .. row0+rows of part i, in HF order. Only parts with a row per output. */
void bl_rows_read(bl_checkpoint *c, const bl_stored *t, int i, const bl_part_spec *spec, int64_t row0, int64_t rows,
                  void *dst);

/* Weights hash and "all finite" of the same files from an earlier run. */
bl_status bl_cache_load(const bl_checkpoint *c, bl_hash *weights, bool *finite,
                        bl_err *e);                                       /* BL_E_MISSING: not there or broken */
void bl_cache_save(const bl_checkpoint *c, bl_hash weights, bool finite); /* failure is only slower next time */

/* ---- bytes ---- */
static inline uint32_t bl_u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
} /* little-endian hosts only */
static inline uint64_t bl_u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
#endif
