/* base.c - the checkpoint as it is stored: the reference of every comparison.
 *
 * Nothing is computed and nothing is written. A checkpoint that is itself quantized counts with the bits of its file.
 */
#include "harness/method.h"

const bl_method bl_method_base = {
    .name = "base",
    .version = 1,
    .title = "As stored",
    .cite = "baseline",
    .doc = "The checkpoint as it is stored, whatever its number format.",
    .as_stored = true,
};
