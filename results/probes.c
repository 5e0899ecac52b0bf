/* probes.c - scores of a probed chain of thought. */
#include "probes.h"

bool bl_probes_of(const bl_sample *s, bl_probes *out)
{
    if (s->n_values < 1 || !(s->value[0] >= 0 && s->value[0] <= 1e6)) return false;
    int n = (int)s->value[0];
    if (s->n_values != bl_probe_values(n)) return false;
    *out = (bl_probes){.n = n};
    for (int k = 0; k < BL_PROBE_KINDS; k++) out->same[k] = s->value + 1 + k * (n + 1);
    return true;
}

double bl_probe_settled(const double *same, int n)
{
    int i = n;
    while (i > 0 && same[i - 1] == 1) i--;
    return (double)i / n;
}

double bl_probe_area_over(const double *same, int n)
{
    double area = 0;
    int last = -1; /* asked */

    for (int i = 0; i <= n; i++) {
        if (same[i] == BL_PROBE_NONE) continue;
        if (last < 0) area += same[i] * i;
        else area += (same[last] + same[i]) / 2 * (i - last);
        last = i;
    }
    return 1 - area / n;
}
