/* base_impl.h - what the files of kernels/base share with each other and with nobody else. */
#ifndef BL_KERNELS_BASE_BASE_IMPL_H
#define BL_KERNELS_BASE_BASE_IMPL_H
#include "bl.h"
#include "json.h"
#include "opt.h"

/* Copies s[0..n) as printable text: valid UTF-8, control characters as \n or \x1b, very long words and
 * then the whole shortened in the middle so that it fits in `cap` with its NUL. */
void bl_clean_text(char *out, size_t cap, const char *s, size_t n);

/* Numbers as text, with a decimal point whatever the locale of the thread says. */
void bl_real_print(char out[40], double v);     /* %.17g */
void bl_real_short(char out[40], double v);     /* fewest digits that read back as the same bits */
double bl_real_scan(const char *s, char **end); /* strtod */

/* Small blocks for cJSON: counted and failed like all others, 16-byte alignment, not zeroed. */
void *bl_small_new(size_t bytes);
void bl_small_free(void *p);
bool bl_small_failed(bool reset); /* one of this thread's was refused since the last reset */

/* Counts one write-side call; false, with errno set, when the test wants it to fail. */
bool bl_fs_gate(void);
/* The sentence of a failed write-side call: BL_E_DISK where the disk is full or the place not writable, else BL_E_IO.
 */
bl_status bl_fail_write(bl_err *e, const char *path, const char *doing, uint64_t needed, int err);
bl_status bl_fail_read(bl_err *e, const char *path, const char *doing, int err);
int bl_gated_write(int fd, const char *p, size_t n); /* all of it; -1 with errno */
int bl_gated_sync(int fd);
bl_status bl_sync_dir(const char *dir, bl_err *e);
char *bl_dir_of(const char *path, bl_err *e); /* the directory of a path, "." when it names none; bl_free */

/* "a string \"four\"", "2.5", "an array of 3": what a value is, for an error sentence. */
void bl_json_found(const bl_json *v, char out[96]);
bool bl_json_whole(const bl_json *v); /* a number written without fraction or exponent */
/* "unknown option '--wbit'; did you mean --wbits?" */
bl_status bl_opt_unknown(const bl_opt *rows, const char *name, const char *where, const char *dashes, bl_err *e);
#endif
