"""Writes stats.json: tests, intervals and adjusted p of SciPy and statsmodels, for tests/unit/results_stats.c.

    python -m venv V && V/bin/pip install scipy statsmodels && V/bin/python tests/data/stats.py > tests/data/stats.json
"""
import json, sys
import numpy as np, scipy, statsmodels
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

rng = np.random.default_rng(7)
out = {"made_with": f"scipy {scipy.__version__}, statsmodels {statsmodels.__version__}, numpy {np.__version__}"}
pairs = [(0, 0), (0, 1), (1, 0), (5, 5), (11, 13), (14, 6), (16, 7), (17, 6), (0, 20), (60, 40), (300, 250),
         (1200, 1000), (5000, 5300), (40000, 40500), (3, 90), (0, 1000)]
out["mcnemar"] = [[b, c, float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)] for b, c in pairs]
out["student"] = [[t, df, float(2 * stats.t.sf(abs(t), df))]
                  for df in (1, 2, 3, 7, 7.5, 30, 199, 1837, 100000)
                  for t in (0.0, 0.01, 0.5, 1.0, -1.5, 2.0, 6.9, 11.0, 30.0, 48.0, 300.0)]
out["student_t"] = [[p, df, float(stats.t.isf(p / 2, df))] for df in (1, 2, 7, 30, 1837) for p in (0.5, 0.05, 0.01, 1e-6)]
out["holm"] = []
for n in (1, 2, 5, 12):
    p = rng.uniform(0, 0.2, n).round(4)
    p[-1] = p[0]
    out["holm"].append([p.tolist(), multipletests(p, method="holm")[1].tolist()])
out["paired"] = []                                     # score per item of a and of b, with a pull between them
for n in (2, 8, 40, 200):
    a = rng.gamma(2, 1, n).round(6)
    b = (a + rng.normal(0.1, 0.3, n)).round(6)
    t = stats.ttest_rel(b, a)
    ci = t.confidence_interval(0.95)
    one = {"a": a.tolist(), "b": b.tolist(), "mean": float(np.mean(b - a)), "se": float(stats.sem(b - a)),
           "p": float(t.pvalue), "low": float(ci.low), "high": float(ci.high)}
    if n >= 40:
        r = stats.bootstrap(((b - a),), np.mean, n_resamples=99999, method="percentile", random_state=1)
        one["boot_low"], one["boot_high"] = float(r.confidence_interval.low), float(r.confidence_interval.high)
    out["paired"].append(one)
out["windows"] = []                                    # nll of a and of b, tokens: error of ln ppl(b) / ppl(a)
for n in (40, 161):
    tokens = rng.integers(200, 2048, n)
    a = (tokens * rng.normal(2.8, 0.3, n)).round(3)
    b = (a + tokens * rng.normal(0.05, 0.02, n)).round(3)
    def quotient(x, y, w): return y.sum() / w.sum() - x.sum() / w.sum()
    r = stats.bootstrap((a, b, tokens), lambda x, y, w, axis=-1: y.sum(axis) / w.sum(axis) - x.sum(axis) / w.sum(axis),
                        paired=True, n_resamples=9999, method="percentile", random_state=1, vectorized=True)
    out["windows"].append({"a": a.tolist(), "b": b.tolist(), "tokens": tokens.tolist(),
                           "delta": float(quotient(a, b, tokens)), "boot_se": float(r.standard_error)})
out["needed"] = [[d, sd, float(NormalIndPower().solve_power(d / sd, alpha=0.05, power=0.8, ratio=0))]
                 for d, sd in ((0.01, 0.35), (0.05, 0.5), (0.2, 0.7), (-0.03, 0.2))]
ranks = np.random.default_rng(11)
out["rank_sum"] = []
for n, m, tied in ((1, 1, 0), (3, 4, 0), (5, 5, 0), (9, 9, 0), (9, 30, 0), (50, 50, 0), (60, 60, 0), (5, 5, 1), (20, 25, 1)):
    x, y = ranks.normal(0, 1, n).round(1 if tied else 9), ranks.normal(0.7, 1, m).round(1 if tied else 9)
    exact = not len(set(x) & set(y)) and len(set(x) | set(y)) == n + m and n * m <= 2500
    p = stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic").pvalue
    out["rank_sum"].append({"x": x.tolist(), "y": y.tolist(), "p": float(p)})
json.dump(out, sys.stdout, separators=(",", ":"))
print()
