/* same_shape.h - equal shapes of weights, member by member: the bytes between the members are anything. */
#ifndef BL_TESTS_SAME_SHAPE_H
#define BL_TESTS_SAME_SHAPE_H
#include "kernels/format.h"

static inline bool same_shape(const bl_shape *a, const bl_shape *b)
{
    return a->out == b->out && a->in == b->in && a->group == b->group && a->zero == b->zero && a->scale == b->scale &&
           a->double_quant == b->double_quant && a->salient == b->salient && a->scale_bits == b->scale_bits &&
           a->scale_group == b->scale_group;
}
#endif
