/* strength.h - how strong players are that met in pairs: the model of Bradley and Terry (1952).
 *
 *     bl_match m[] = {{.a = 0, .b = 1, .score = 1, .item = 7}};      // the first won on question 7
 *     bl_strength s[2];
 *     BL_TRY(bl_strengths(m, 1, 2, 1000, 0, s, e));                   // s[0].rating - s[1].rating > 0
 *
 * P(a beats b) = p_a / (p_a + p_b), a tie is half a win of each. Ratings are 400 log10 p, their mean 1000, as chess and
 * FastChat print them: a difference of 400 is odds of ten to one. p is the maximum of the likelihood times that of one
 * tie of every player with a player of rating 1000 that all share, without which who never lost would be infinitely
 * strong (Caron and Doucet 2012 call such a prior weak). Found by the iteration of Hunter (2004).
 */
#ifndef BL_RESULTS_STRENGTH_H
#define BL_RESULTS_STRENGTH_H
#include "kernels/base/bl.h"

typedef struct bl_match {
    int a, b;     /* players */
    double score; /* of a: 1 won, 0.5 tie, 0 lost */
    int64_t item; /* what it was about; matches of one item are drawn together */
} bl_match;
typedef struct bl_strength {
    double rating, low, high; /* 95% interval: percentiles over draws of items with replacement (Efron 1979) */
    int64_t won, lost, tied;
} bl_strength;
/* out[n_players]. The same every time for one seed. BL_E_CONFIG for a player against itself or outside. */
bl_status bl_strengths(const bl_match *m, size_t n, int n_players, int draws, uint64_t seed, bl_strength *out,
                       bl_err *e);
#endif
