"""Records BM25 scores for tests/unit/tasks_sciq.c with bm25s 0.3.16: python bm25.py > bm25_recorded.h"""
import re, bm25s

passages = ["Photosynthesis turns light into sugar; plants do it.",
            "Light is a wave. Light bends in water, and water bends light.",
            "A frog lives in water and on land.",
            "Sugar, sugar, sugar!",
            "Naïve cafés sell 42 sugar cubes to plants"]
questions = ["What do plants turn light into?", "Does light bend in water?", "SUGAR sugar", "42 cafés", "the frog, the frog and land"]
words = lambda s: re.findall(r"[a-z0-9\u0080-\uffff]+", s.lower())
vocabulary = sorted({w for p in passages for w in words(p)})
ids = {w: i for i, w in enumerate(vocabulary)}
index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
index.index(([[ids[w] for w in words(p)] for p in passages], ids), show_progress=False)
print("/* bm25_recorded.h - made by tests/data/bm25.py */\n#ifndef BL_TESTS_DATA_BM25_RECORDED_H\n#define BL_TESTS_DATA_BM25_RECORDED_H")
print("static const struct {\n    const char *question;\n    double score[5];\n    int first;\n} recorded[] = {")
for q in questions:
    s = index.get_scores([w for w in words(q) if w in ids])
    text = "".join(c if ord(c) < 128 else "".join("\\x%02x" % b for b in c.encode()) + '""' for c in q)
    print('    {"%s", {%s}, %d},' % (text, ", ".join("%.9g" % x for x in s), int(s.argmax())))
print("};\n#endif")
