"""Estimators: what was recorded and the nuisances in, the columns of a loss out.

Logistic and Brier loss are linear in the label, so every correction is two numbers a row, from a weight w and
a target t:

    a = w,  b = w t            L = b l(z, 1) + (a - b) l(z, 0)

`b` is kept as a product because class-wise weights can make `a` zero or negative. The target undoes flips,

    t = (label - fpr) / D,  D = 1 - fnr - fpr,  fnr = P(recorded 0 | true 1),  fpr = P(recorded 1 | true 0)

and may leave [0, 1]. With q the imputation, P(true label = 1), the family is

    naive            a = o                           b = o label
    cautious         a = o + s (1 - o)               b = o label + s (1 - o) / 2
    noise_corrected  a = o                           b = o t
    ips              a = o / p                       b = o t / p
    snips            a = o / p / mean(o / p)         b = a t
    classwise_ips    a = o (t / p1 + (1 - t) / p0)   b = o t / p1
    doubly_robust    a = 1                           b = q + o / p (t - q)
    mixture          w = 1                           d = log P(record | liked) / P(record | not liked)

Around it: `imputation` (a = 1, b = q), the fit of q for the more robust DR (`mrdr_fit`), weights cut at a cap
or shrunk, with the bias that this buys (`unskew.estimators.bounded`), positive-unlabelled targets for kinds
that never happen to disliked responses (`unskew.estimators.unlabelled`, `implicit_em`), the variance of a
target (`target_variance`, `robust_wins`), and remedies for pairs that several models do not believe
(`unskew.estimators.strength`).

**One response or a pair.** The functions do not ask which. For a pair the label is 1 when the response in
slot A won, and slots must mean something (display position, model): fnr is then the rate at which a true win
of A is recorded as a win of B, fpr the reverse, and fnr != fpr is position bias. Pairs kept as (chosen,
rejected) carry no slots and allow one symmetric rate only. Exchanging the slots exchanges fnr and fpr, turns
label and imputation into their complements, and the columns into `swap(columns)`.

**Arithmetic.** float64, or exact when any column is an object array of `fractions.Fraction`.

The label of a row that was not observed is ignored and may be nan. Nothing is clipped without a count.
"""

from unskew.estimators.bounded import (
    clipped_doubly_robust,
    clipped_ips,
    shrunk_doubly_robust,
    shrunk_ips,
)
from unskew.estimators.checks import CAP, FLOOR, MIN_D
from unskew.estimators.columns import Columns, Counts, Mixture, combine, ess, pairs_from_items, swap
from unskew.estimators.family import (
    cautious,
    classwise_ips,
    doubly_robust,
    ips,
    mixture,
    naive,
    noise_corrected,
    silence_weight,
    snips,
)
from unskew.estimators.implicit import Implicit, implicit_em
from unskew.estimators.imputed import imputation, mrdr_fit
from unskew.estimators.strength import (
    Strength,
    adaptive_margin,
    agreement,
    drop,
    flip,
    preference_strength,
    smooth,
    weakest,
)
from unskew.estimators.unlabelled import Posterior, implicit_posterior, nnpu, positive_unlabelled
from unskew.estimators.variance import robust_wins, target_variance

__all__ = [
    "CAP",
    "FLOOR",
    "MIN_D",
    "Columns",
    "Counts",
    "Implicit",
    "Mixture",
    "Posterior",
    "Strength",
    "adaptive_margin",
    "agreement",
    "cautious",
    "classwise_ips",
    "clipped_doubly_robust",
    "clipped_ips",
    "combine",
    "doubly_robust",
    "drop",
    "ess",
    "flip",
    "implicit_em",
    "implicit_posterior",
    "imputation",
    "ips",
    "mixture",
    "mrdr_fit",
    "naive",
    "nnpu",
    "noise_corrected",
    "pairs_from_items",
    "positive_unlabelled",
    "preference_strength",
    "robust_wins",
    "shrunk_doubly_robust",
    "shrunk_ips",
    "silence_weight",
    "smooth",
    "snips",
    "swap",
    "target_variance",
    "weakest",
]
