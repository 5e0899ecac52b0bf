/* hadamard.c - the factors of Hadamard matrices, built once. */
#include "hadamard.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* In the order in which they are tried: 40 before 20, of which it is a multiple. */
static const int64_t orders[] = {172, 156, 140, 108, 60, 52, 36, 28, 40, 20, 12, 1};
enum { N_ORDERS = sizeof orders / sizeof *orders, ENTRIES = 95713 }; /* the sum of their squares */
static int8_t entries[ENTRIES];
static const int8_t *factors[N_ORDERS];

int64_t bl_hadamard_order(int64_t n)
{
    for (size_t i = 0; n > 0 && i < N_ORDERS; i++) {
        int64_t rest = n / orders[i];
        if (rest * orders[i] == n && rest > 0 && (rest & (rest - 1)) == 0) return orders[i];
    }
    return 0;
}

/* 0, or 1 when a is a square modulo the prime q, else -1. */
static int legendre(int64_t a, int64_t q)
{
    a = (a % q + q) % q;
    for (int64_t i = 1; i < q; i++)
        if (i * i % q == a) return 1;
    return a ? -1 : 0;
}

static void paley1(int8_t *h, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            h[i * n + j] = (int8_t)(i == j || j == 0 ? 1 : i == 0 ? -1 : legendre(i - j, n - 1));
}

/* [1 1; 1 -1] kron C + [1 -1; -1 -1] kron I, C the symmetric conference matrix of order n / 2. */
static void paley2(int8_t *h, int64_t n)
{
    int64_t m = n / 2;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t a = i % m, b = j % m;
            bool low = i >= m, right = j >= m;
            int c = a == b ? 0 : a == 0 || b == 0 ? 1 : legendre(b - a, m - 1);
            h[i * n + j] = (int8_t)(a == b ? (low || right ? -1 : 1) : (low && right ? -c : c));
        }
}

static void doubled(int8_t *h, const int8_t *half, int64_t n)
{
    int64_t m = n / 2;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int8_t v = half[i % m * m + j % m];
            h[i * n + j] = (int8_t)(i >= m && j >= m ? -v : v);
        }
}

/* [A B C D; -B A -D C; -C D A -B; -D -C B A] of symmetric circulants with A^2 + B^2 + C^2 + D^2 = n I. */
static void williamson(int8_t *h, const char *const row[4], int64_t n)
{
    static const struct {
        int which, sign;
    } at[4][4] = {{{0, 1}, {1, 1}, {2, 1}, {3, 1}},
                  {{1, -1}, {0, 1}, {3, -1}, {2, 1}},
                  {{2, -1}, {3, 1}, {0, 1}, {1, -1}},
                  {{3, -1}, {2, -1}, {1, 1}, {0, 1}}};
    int64_t m = n / 4;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t d = (j - i + n) % m;
            int sign = at[i / m][j / m].sign;
            h[i * n + j] = (int8_t)(row[at[i / m][j / m].which][d] == '+' ? sign : -sign);
        }
}

static const char *const rows_52[] = {"+-+--++++--+-", "+---++++++---", "++-+--++--+-+", "+----+--+----"};
static const char *const rows_156[] = {
    "+++--+-+-----+--++----++--+-----+-+--++", "++++---+--++----+-+--+-+----++--+---+++",
    "+++--++-+---+-+--+----+--+-+---+-++--++", "+---++-+-+-----+++-++-+++-----+-+-++---"};
static const char *const rows_172[] = {
    "+---++--++++-+-+++-++--++-+++-+-++++--++---", "++-++++++----+-+--++-++-++--+-+----++++++-+",
    "+++-+-++--+-+-++++-+----+-++++-+-+--++-+-++", "++---++++-+--+--++--------++--+--+-++++---+"};

static void build(void)
{
    int8_t *at = entries;
    for (size_t i = N_ORDERS; i-- > 0;) { /* 20 before 40 */
        int64_t n = orders[i];
        switch (n) {
        case 1: *at = 1; break;
        case 28:
        case 36: paley2(at, n); break;
        case 40: doubled(at, factors[i + 1], n); break;
        case 52: williamson(at, rows_52, n); break;
        case 156: williamson(at, rows_156, n); break;
        case 172: williamson(at, rows_172, n); break;
        default: paley1(at, n); break;
        }
        factors[i] = at;
        at += n * n;
    }
}

const int8_t *bl_hadamard_factor(int64_t order)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, build);
    size_t i = 0;
    while (orders[i] != order) i++;
    return factors[i];
}
