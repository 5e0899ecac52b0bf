/* mid_int1.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_int1(int rows) { return mid_instance_of<1, false>(rows); }
