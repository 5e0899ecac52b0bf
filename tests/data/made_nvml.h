/* made_nvml.h - a management library of NVIDIA that says what a test wants: made_nvml.c is built as libnvidia-ml.so.1,
 * and whoever is linked with it finds it by that name. */
#ifndef BL_TESTS_DATA_MADE_NVML_H
#define BL_TESTS_DATA_MADE_NVML_H

typedef struct made_nvml {
    unsigned sm, memory; /* MHz */
    unsigned milliwatts, degrees;
    unsigned long long reasons;
    int open; /* calls of init that no shutdown followed */
} made_nvml;
extern made_nvml made;
#endif
