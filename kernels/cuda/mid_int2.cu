/* mid_int2.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_int2(int rows) { return mid_instance_of<2, false>(rows); }
