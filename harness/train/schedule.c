/* schedule.c - the learning rate of a step. */
#include "schedule.h"
#include <math.h>

const char *const bl_schedule_names[] = {"constant",
                                         "constant_with_warmup",
                                         "linear",
                                         "cosine",
                                         "cosine_with_min_lr",
                                         "cosine_with_restarts",
                                         "inverse_sqrt",
                                         "ramp",
                                         NULL};

double bl_schedule_factor(const bl_schedule *s, int64_t step)
{
    const double pi = 3.14159265358979323846;
    double done = (double)(step - 1), warm = (double)s->warmup;
    double f = (done - warm) / BL_MAX(1, (double)s->steps - warm), wave;

    if (s->kind == BL_SCHEDULE_CONSTANT) return 1;
    if (s->kind == BL_SCHEDULE_RAMP) return s->warmup ? fmin(1, (double)step / warm) : 1;
    if (done < warm) return done / warm;
    switch (s->kind) {
    case BL_SCHEDULE_LINEAR: return fmax(0, 1 - f);
    case BL_SCHEDULE_COSINE: return fmax(0, (1 + cos(pi * f)) / 2);
    case BL_SCHEDULE_COSINE_MIN: wave = (1 + cos(pi * f)) / 2; return fmax(0, wave * (1 - s->least) + s->least);
    case BL_SCHEDULE_COSINE_RESTART: return f >= 1 ? 0 : fmax(0, (1 + cos(pi * fmod((double)s->cycles * f, 1))) / 2);
    case BL_SCHEDULE_INVERSE_SQRT: {
        double scale = s->warmup ? warm : 10000;
        return 1 / sqrt((done - warm + scale) / scale);
    }
    default: return 1;
    }
}
