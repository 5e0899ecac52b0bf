/* bm25_recorded.h - made by tests/data/bm25.py */
#ifndef BL_TESTS_DATA_BM25_RECORDED_H
#define BL_TESTS_DATA_BM25_RECORDED_H
static const struct {
    const char *question;
    double score[5];
    int first;
} recorded[] = {
    {"What do plants turn light into?", {2.03480411, 0.560644984, 0, 0, 0.393809468}, 0},
    {"Does light bend in water?", {0.393809468, 1.36195302, 0.787618935, 0, 0}, 1},
    {"SUGAR sugar", {0.484910369, 0, 0, 0.886956275, 0.484910369}, 3},
    {"42 caf\xc3\xa9"
     "s",
     {0, 0, 0, 0, 1.24718523},
     4},
    {"the frog, the frog and land", {0, 0.326105833, 2.2645874, 0, 0}, 2},
};
#endif
