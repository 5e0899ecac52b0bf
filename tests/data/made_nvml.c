/* made_nvml.c - see made_nvml.h. Names, arguments and numbers are those of nvml.h of CUDA 13.0. */
#include "made_nvml.h"
#include <string.h>

made_nvml made;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *version, unsigned length);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *clock);
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons);
int nvmlDeviceGetPowerUsage(void *device, unsigned *power);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *temperature);

enum { SUCCESS = 0, INVALID = 2, NOT_FOUND = 6 };
enum { CLOCK_SM = 1, CLOCK_MEM = 2, TEMPERATURE_GPU = 0 };

int nvmlInit_v2(void)
{
    made.open++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    made.open--;
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    if (length < sizeof "580.159.04") return INVALID;
    strcpy(version, "580.159.04");
    return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device)
{
    *device = &made;
    return strcmp(bus, "0000:1a:00.0") == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *clock)
{
    if (device != &made || (type != CLOCK_SM && type != CLOCK_MEM)) return INVALID;
    *clock = type == CLOCK_SM ? made.sm : made.memory;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons)
{
    *reasons = made.reasons;
    return device == &made ? SUCCESS : INVALID;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *power)
{
    *power = made.milliwatts;
    return device == &made ? SUCCESS : INVALID;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *temperature)
{
    *temperature = made.degrees;
    return device == &made && sensor == TEMPERATURE_GPU ? SUCCESS : INVALID;
}
