/* calibrate.h - what a method may know about the inputs of a linear: statistics over calibration text.
 *
 * The text goes through the model block by block. Before a method acts on a block, the inputs of its linears are
 * gathered: from blocks before it as they are by then (changed), or as they were, whichever the method says.
 *
 *     bl_tensor h;                                             // in the hook `layer`
 *     BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));          // the method says needs = BL_NEED_HESSIAN
 *
 * Linears that read the same input (q, k and v; gate and up) share one set of statistics.
 */
#ifndef BL_HARNESS_QUANT_CALIBRATE_H
#define BL_HARNESS_QUANT_CALIBRATE_H
#include "harness/data/sources.h"
#include "harness/model/model.h"
#include "harness/tokenizer/tokenizer.h"

/* ---- which text ---- */
typedef struct bl_calib_choice {
    const char *data; /* "wikitext2:train", "file:PATH" (sources.h); NULL: none is named */
    int64_t n, seqlen,
        seed; /* windows, tokens of a window (0: 2048, or as many as the model has positions), of the draw */
} bl_calib_choice;

enum {
    BL_CALIB_WINDOWS = 128, /* where a number is not said, as in GPTQ's code */
    BL_CALIB_TEXT = 160
};
/* What a choice means for a model, on which `method` (its text) is to work: seqlen is chosen when it is 0. BL_E_CONFIG:
 * no text is named, or a window is longer than the model reaches. */
bl_status bl_calib_for(const bl_calib_choice *c, const char *method, const bl_checkpoint *model, bl_calib_choice *out,
                       bl_err *e);

typedef struct bl_calib_windows {
    int32_t *ids; /* [n, seqlen] */
    int64_t n, seqlen;
    int64_t distinct; /* tokens of the text that are in at least one window */
    int64_t kinds;    /* different ids of them */
    const char *note; /* what the text's file holds that is hardly meant (sources.h); NULL */
    bl_hash text;     /* of the text's bytes */
} bl_calib_windows;
/* "primer:test 128x2048 seed 0". */
void bl_calib_text(const bl_calib_choice *c, char out[BL_CALIB_TEXT]);
/* Hash and number of the text's bytes. */
bl_status bl_calib_hash(const bl_calib_choice *c, const bl_data_dirs *dirs, bl_hash *out, uint64_t *bytes, bl_err *e);
/* BL_E_CONFIG when so many bytes are too few for a window, however they are cut into tokens. */
bl_status bl_calib_fits(const bl_calib_choice *c, uint64_t bytes, bl_err *e);
/* The windows that GPTQ's loader draws (windows.h): the text tokenized once, with the tokenizer's BOS, window i begins
 * at randint(0, tokens - seqlen - 1). BL_E_CONFIG when the text has no window of that length. ids in the arena. */
bl_status bl_calib_draw(const bl_calib_choice *c, const bl_data_dirs *dirs, const bl_tokenizer *t, bl_arena *a,
                        bl_calib_windows *out, bl_err *e);

/* ---- for methods ---- */
typedef struct bl_calibration bl_calibration;
int64_t bl_calib_sequences(const bl_calibration *c);
int64_t bl_calib_tokens(const bl_calibration *c);
/* 2 / sequences * sum over all tokens of x xT: f64 [n, n] on the backend, n = bl_linear_width(l), both triangles (GPTQ,
 * arXiv 2210.17323; the scale of its code). x is what the stored weight is multiplied with: after the transforms of the
 * linear. Lent until the linears of this stage are done; a method that changes it changes it for every linear that
 * shares it. */
bl_status bl_calib_hessian(bl_calibration *c, const bl_linear *l, bl_tensor *h, bl_err *e);
/* How x differs from x0, the inputs that the linear has in the model as it was before this method:
 * 2 / sequences * sum of (x0 - x) xT, f64 [n, n], lent (GPTAQ, arXiv 2504.02692). */
bl_status bl_calib_mismatch(bl_calibration *c, const bl_linear *l, bl_tensor *m, bl_err *e);
/* Per channel of that x, bl_linear_width of them, over all tokens, host, lent: largest |x|, mean |x|, mean x^2. */
typedef struct bl_calib_channels {
    const float *max_abs;
    const double *mean_abs, *mean_sq;
} bl_calib_channels;
bl_status bl_calib_channel(bl_calibration *c, const bl_linear *l, bl_calib_channels *out, bl_err *e);
/* Rows of x evenly spread over all tokens, at most BL_CALIB_SAMPLE_ROWS: act [rows, bl_linear_width] on the backend,
 * lent. */
enum { BL_CALIB_SAMPLE_ROWS = 1024 };
bl_status bl_calib_inputs(bl_calibration *c, const bl_linear *l, bl_tensor *x, bl_err *e);
/* With BL_NEED_INPUTS, the residual stream after the block at hand as it is now, of the first windows: act
 * [bl_calib_residual_rows, dim] into y. `until` BL_ROLE_BITs of gate and up: between the halves of the block; 0: after
 * it. For methods that compare a block with itself. */
bl_status bl_calib_residual(bl_calibration *c, uint32_t until, bl_tensor y, bl_err *e);
int64_t bl_calib_residual_rows(const bl_calibration *c); /* of whole windows, about as many as a sample of inputs has */
/* The input of `l`, and of those that share it, is x / s from now on: what is before it was divided by s, or a
 * transform that does it was added. Channels and rows that were gathered follow. */
bl_status bl_calib_divide(bl_calibration *c, const bl_linear *l, const float *s, bl_err *e);

/* BL_NEED_ORIGINAL, in the hook `block`: what the block of the model as it was makes of the inputs it has there, of all
 * windows; kept until the next call. */
bl_status bl_calib_targets(bl_calibration *c, bl_err *e);
/* Inputs of the block at hand of one window, and after bl_calib_targets that of the model as it was: act [tokens of a
 * window, dim] each. */
bl_status bl_calib_window(bl_calibration *c, int64_t window, bl_tensor x, bl_tensor target, bl_err *e);
/* The window that is asked for next (-1: that is not known), said while the device computes: what is in files is read
 * beside it. */
bl_status bl_calib_window_ahead(bl_calibration *c, int64_t window, bl_err *e);
/* What a block that learned says of its loss, at first and in the end, for the records of its linears (`layer`); below
 * 0: nothing. Each block says it anew. */
void bl_calib_say_loss(bl_calibration *c, double first, double last);
void bl_calib_loss(const bl_calibration *c, double *first, double *last);
/* A step of a block that learns, for the curve of all of them: the mean squared difference that it found, its rate, the
 * norm of its gradients. */
typedef struct bl_calib_step {
    int64_t block;
    double loss, lr, grad_norm;
} bl_calib_step;
bl_status bl_calib_say_step(bl_calibration *c, const bl_calib_step *s, bl_err *e);
void bl_calib_steps(const bl_calibration *c, const bl_calib_step **out, int64_t *n);
/* The weight of that linear of the block at hand in the model as it was, f32 [out, width], with a buffer of its own. */
bl_status bl_calib_original(bl_calibration *c, const bl_linear *l, bl_tensor *dense, bl_err *e);

/* ---- for the block loop (apply.c) ----
 * c holds the inputs of a block for all windows; `gather` fills the statistics of the linears in `roles` (BL_ROLE_BITs)
 * of that block; `advance` sends the inputs through the block as it is now. */
typedef enum bl_calib_wants {
    BL_CALIB_HESSIAN = 1,
    BL_CALIB_CHANNELS = 2,
    BL_CALIB_INPUTS = 4,
    BL_CALIB_MISMATCH = 8,
    BL_CALIB_ORIGINAL = 16,
    BL_CALIB_HELD = 32,                                    /* bl_calib_hold is called */
    BL_CALIB_BOTH = BL_CALIB_MISMATCH | BL_CALIB_ORIGINAL, /* the original model goes beside the one that is changed */
} bl_calib_wants;
/* `original`, with BL_CALIB_BOTH only, else NULL: the model as it was, opened once more; lent until the end.
 * `beside`: what does not fit goes to a file without a name in the directory of this path; NULL: everything stays in
 * memory. What is gathered is the same, bit for bit. */
bl_status bl_calib_begin(bl_model *m, bl_model *original, const bl_calib_windows *w, unsigned wants, const char *beside,
                         bl_calibration **out, bl_err *e);
/* The same, without another model beside it, where the inputs of the first `blocks` blocks are those of the model as it
 * was: what the files `path`.0, `path`.1, ... have of `of` (text, windows, model, numerics, wants) is taken from there;
 * where all blocks are, nothing goes through the model. What is gathered of such a block, all its linears at once, is
 * kept there. */
bl_status bl_calib_begin_shared(bl_model *m, const bl_calib_windows *w, unsigned wants, const char *beside,
                                const char *path, bl_hash of, int64_t blocks, bl_calibration **out, bl_err *e);
bl_status bl_calib_gather(bl_calibration *c, uint32_t roles, bl_err *e);
bl_status bl_calib_gather_advance(bl_calibration *c, uint32_t roles, bl_err *e); /* both in one pass */
bl_status bl_calib_advance(bl_calibration *c, bl_err *e);
/* With BL_CALIB_HELD and BL_CALIB_ORIGINAL, for methods with `blocks`: the inputs of the block at hand are kept beside;
 * and are there again, while bl_calib_window gives targets of the block that bl_calib_targets was called at. */
bl_status bl_calib_hold(bl_calibration *c, bl_err *e);
bl_status bl_calib_rewind(bl_calibration *c, bl_err *e);
/* The same through the block of a model that has it as it will be; NULL: of the model itself, as it is stored. */
bl_status bl_calib_pass_by(bl_calibration *c, bl_model *done, bl_err *e);
void bl_calib_end(bl_calibration *c); /* NULL is fine */

/* ---- what it takes, for the choice between memory and file, and for plans ---- */
#define BL_CALIB_RESIDENT (256ull << 20) /* bytes of the residual stream that stay in memory without a limit */
typedef struct bl_calib_size {
    uint64_t stream; /* bytes of the residual stream of all windows */
    uint64_t pass;   /* of a pass's activations and the statistics of a block */
    uint64_t beside; /* that, the parameters of the widest block and what solving its largest linear takes */
} bl_calib_size;
void bl_calib_size_of(const bl_config *c, int64_t n, int64_t seqlen, unsigned wants, bl_calib_size *out);
/* Flops of all passes and statistics, as of products among many rows. `sequential`, `original_inputs`: see method.h. */
double bl_calib_work(const bl_config *c, int64_t n, int64_t seqlen, unsigned wants, bool sequential,
                     bool original_inputs);
#endif
