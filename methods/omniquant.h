/* omniquant.h - OmniQuant's rule for a learned scale, for its tests. */
#ifndef BL_METHODS_OMNIQUANT_H
#define BL_METHODS_OMNIQUANT_H
/* A scale as it is used: not nearer to 0 than 1/100, of its sign; gradients go straight through. */
float bl_omniquant_scale(float s);
#endif
