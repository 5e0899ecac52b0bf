/* amx_peak.c - as avx2_peak.c, with matrices of bytes: integers only. */
#include "avx2.h"
#include <immintrin.h>

double bl_amx_peak(bool integer, int64_t n)
{
    enum { SUMS = 6, SIDE = 16, INPUTS = 64 };
    _Alignas(64) uint8_t shapes[64] = {1}, bytes[SIDE * INPUTS];
    (void)integer;
    for (int i = 0; i < 8; i++) {
        shapes[16 + 2 * i] = INPUTS;
        shapes[48 + i] = SIDE;
    }
    for (int i = 0; i < SIDE * INPUTS; i++) bytes[i] = (uint8_t)i;
    __asm__ volatile("" ::"r"(shapes), "r"(bytes) : "memory"); /* gcc 12 believes that eight bytes are read */
    _tile_loadconfig(shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_loadd(6, bytes, INPUTS);
    _tile_loadd(7, bytes, INPUTS);
    for (int64_t k = 0; k < n; k += 8) { /* a step is eight of the others' */
        _tile_dpbsud(0, 6, 7);
        _tile_dpbsud(1, 6, 7);
        _tile_dpbsud(2, 6, 7);
        _tile_dpbsud(3, 6, 7);
        _tile_dpbsud(4, 6, 7);
        _tile_dpbsud(5, 6, 7);
    }
    _tile_release();
    return (double)((n + 7) / 8) * SUMS * 2 * SIDE * SIDE * INPUTS;
}
