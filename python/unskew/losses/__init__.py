"""Losses that turn columns into gradients: logistic, Brier and mixture.

    loss, stats = losses.folded(scores_a, scores_b, a, b, m, loss="brier", normalizer=n)
    loss, stats = losses.raw(scores_a, scores_b, label, observed, propensity, fnr, fpr, imputation)
    loss.backward()
    stats.ess, stats.clipped, stats.outside

`folded` reads the columns that an estimator has made, `raw` forms them from what was recorded; both sum over
the rows, in one pass with the gradient: in Rust on CPUs, in Triton on CUDA, in torch operations elsewhere.
`logistic`, `brier` and `mixture` are the same losses row by row in plain torch, for anything else.

`class_risks` splits a risk into what liked and disliked responses cost; `non_negative`, `absolute` and
`flooding` bend what fell below zero back, biased upwards: see `unskew.losses.nonnegative`.
"""

from unskew.losses.entry import Stats, folded, raw
from unskew.losses.nonnegative import absolute, class_risks, flooding, non_negative
from unskew.losses.reference import FLOOR, brier, logistic, mixture

__all__ = [
    "FLOOR",
    "Stats",
    "absolute",
    "brier",
    "class_risks",
    "flooding",
    "folded",
    "logistic",
    "mixture",
    "non_negative",
    "raw",
]
