/* race.c - what ThreadSanitizer has to say about OpenMP: nothing when barriers keep the threads apart, and something
 * about a sum that they all write (WITH_RACE). */
#include <stdio.h>

enum { N = 64 };

int main(void)
{
    int v[N], sum = 0;
#pragma omp parallel num_threads(4)
    {
#pragma omp for
        for (int i = 0; i < N; i++) v[i] = i;
#pragma omp for reduction(+ : sum)
        for (int i = 0; i < N; i++) sum += v[N - 1 - i]; /* written by another thread, before the barrier */
    }
#ifdef WITH_RACE
#pragma omp parallel num_threads(4)
    sum++;
#endif
    printf("%d\n", sum);
    return sum < N * (N - 1) / 2;
}
