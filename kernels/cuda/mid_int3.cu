/* mid_int3.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_int3(int rows) { return mid_instance_of<3, false>(rows); }
