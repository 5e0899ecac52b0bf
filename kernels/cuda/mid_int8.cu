/* mid_int8.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_int8(int rows) { return mid_instance_of<8, false>(rows); }
