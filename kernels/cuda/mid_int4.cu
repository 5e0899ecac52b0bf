/* mid_int4.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_int4(int rows) { return mid_instance_of<4, false>(rows); }
