/* fmt_gguf_grids.h - the points of the IQ grids, as numbers packed low first.
 *
 * iq2: 8 magnitudes of 2 bits (0, 1, 2: 8, 25, 43); iq3: 4 magnitudes of 3 bits; iq1: 8 digits of 2 bits (0, 1, 2: -1,
 * 0, 1).
 */
#ifndef BL_KERNELS_FMT_GGUF_GRIDS_H
#define BL_KERNELS_FMT_GGUF_GRIDS_H
#include "fmt_gguf.h"

extern const uint16_t bl_grid_iq2_xxs[256], bl_grid_iq2_xs[512], bl_grid_iq2_s[1024];
extern const uint16_t bl_grid_iq3_xxs[256], bl_grid_iq3_s[512];
extern const uint16_t bl_grid_iq1[2048]; /* iq1_s and iq1_m */
#endif
