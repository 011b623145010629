"""Prints the reference numbers in the tests of src/stats, from scipy and statsmodels.

Made with scipy 1.17.1, statsmodels 0.15.0 and numpy 2.2.6: `python tests/golden/make_stats.py`.
"""

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

skewed = np.exp((np.arange(40) * 7 % 40) / 12)
for method in ["percentile", "BCa"]:
    found = stats.bootstrap((skewed,), np.mean, n_resamples=1_000_000, batch=10_000, method=method,
                            rng=np.random.default_rng(1))
    print(method, found.confidence_interval, found.standard_error)
left_out = (skewed.sum() - skewed) / 39
u = left_out.mean() - left_out
print("acceleration", (u**3).sum() / (6 * (u**2).sum() ** 1.5))

p = [0.011, 0.0004, 0.8, 0.011, 0.04, 0.3, 0.0021]
reject, adjusted, _, _ = multipletests(p, alpha=0.05, method="holm")
print("holm", adjusted.tolist(), reject.tolist())

timings = [12.1, 11.9, 12.4, 30.2, 12.0, 12.2, 12.3, 11.8, 12.6, 13.0]
print("timing", np.median(timings), stats.median_abs_deviation(timings), np.quantile(timings, 0.95))
print("t", stats.t.sf(2.5, 15), stats.t.isf(0.0005, 15), stats.t.sf(6.0, 8))
print("t", stats.t.isf(0.0005, 20), stats.t.ppf(0.9, 20), stats.t.ppf(0.975, 15))
