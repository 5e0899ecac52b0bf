/* mid_table4.cu - products of up to 256 rows, see mid.cuh. */
#include "mid.cuh"

mid_instance mid_table4(int rows) { return mid_instance_of<4, true>(rows); }
