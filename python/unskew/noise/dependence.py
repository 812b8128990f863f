"""Do two kinds of feedback err independently, given the true label? An exact test on gold rows.

Within gold-liked rows, and within gold-disliked rows, count what the two kinds recorded:

              second 1   second 0
    first 1      a          b           odds ratio psi = P(1,1) P(0,0) / (P(1,0) P(0,1)),  1 when independent
    first 0      c          d

Given the margins of each table, P(sum of a = s) is proportional to c_s psi^s, with c_s the convolution of the
hypergeometric counts binom(a + b, i) binom(c + d, a + c - i) of the tables. So one odds ratio common to both
tables is estimated and tested without any approximation, and each table alone too: dependence of opposite
sign in the two hides from the pooled test.

Sources: Cox, "The Regression Analysis of Binary Sequences" (1958), and Gart, "Point and Interval Estimation
of the Common Odds Ratio in the Combination of 2 x 2 Tables with Fixed Marginals" (1970), for the exact form
of what Mantel and Haenszel (1959) test in large samples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.checks import binary, same_length
from unskew.rates import Floats, Interval

SIDE = 0.025
"""Probability left out at each end of an interval."""

FAR = 40.0
"""Largest |log odds ratio| that is searched."""


@dataclass(frozen=True)
class Association:
    """Dependence of two records within gold rows of one class, or pooled over both.

    Args:
        odds_ratio: conditional maximum likelihood; 0 or infinite at the ends, NaN when the margins leave one
            table.
        interval: exact 95 % interval (Cornfield's, both tails), (0, inf) when nothing can be said.
        p: twice the smaller tail under independence, at most 1; below .05 exactly when 1 is outside the
            interval.
        rows: gold rows with both records.
    """

    odds_ratio: float
    interval: Interval
    p: float
    rows: int


@dataclass(frozen=True)
class Independence:
    """The test in each class and over both.

    Args:
        liked: within gold rows that are truly liked.
        disliked: within the others.
        pooled: one odds ratio for both.
    """

    liked: Association
    disliked: Association
    pooled: Association

    @property
    def p(self) -> float:
        """Smallest of the three p values times three (Bonferroni), at most 1."""
        return min(1.0, 3 * min(self.liked.p, self.disliked.p, self.pooled.p))

    def verdict(self, level: float = 0.05) -> str:
        """What the test says, in words."""
        low, high = self.pooled.interval
        told = (
            f"odds ratio {self.pooled.odds_ratio:.2f}, 95 % interval {low:.2f} to {high:.2f}, p {self.p:.2g}"
        )
        rows = self.liked.rows + self.disliked.rows
        if self.p < level:
            return (
                f"the two records depend on each other within a class ({told}, {rows} gold rows): adding "
                "their evidence counts it twice, and rates from repeated labels are off"
            )
        if low < 1 / 3 or high > 3:
            return (
                f"{rows} gold rows are too few to tell whether two records are independent within a class "
                f"({told})"
            )
        return f"nothing speaks against independence within a class ({told}, {rows} gold rows)"


def independence(first: ArrayLike, second: ArrayLike, gold: ArrayLike) -> Independence:
    """Exact test that two records are independent given the true label.

    Assumption: gold rows were chosen at random, or with probabilities that depend on the true label and at
    most one of the two records; a choice by both makes independent records look dependent.

    Args:
        first: recorded 1 or 0, or happened for a one-sided kind; NaN where it was not usable. Shape [N].
        second: the same of the other kind. Shape [N].
        gold: true label 1 or 0, NaN where there is none. Shape [N].

    Raises:
        ValueError: shapes or values are wrong, or no gold row has both records.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> gold = rng.random(800) < 0.5
        >>> up, copied = rng.random((2, 800)) < np.where(gold, 0.8, 0.3)
        >>> independence(up, copied, gold).p > 0.05
        True
    """
    x, y, truth = binary(first, "first"), binary(second, "second"), binary(gold, "gold")
    same_length(x.size, first=x, second=y, gold=truth)
    both = ~(np.isnan(x) | np.isnan(y) | np.isnan(truth))
    if not both.any():
        raise ValueError(
            "no gold row has both records; label rows on which both kinds were offered and closed"
        )
    tables = [
        np.array([[((x == i) & (y == j) & (truth == z)).sum() for j in (1, 0)] for i in (1, 0)])
        for z in (1, 0)
    ]
    return Independence(associate(tables[:1]), associate(tables[1:]), associate(tables))


def associate(tables: Sequence[ArrayLike]) -> Association:
    """Odds ratio common to 2 x 2 tables [[a, b], [c, d]], exactly and given their margins."""
    weight, low, seen, rows = np.zeros(1), 0, 0, 0
    for table in tables:
        (a, b), (c, d) = np.asarray(table).astype(int)
        least, most = max(0, a - d), min(a + b, a + c)
        i = range(least, most + 1)
        counts = [_log_choose(a + b, k) + _log_choose(c + d, a + c - k) for k in i]
        weight, low = _convolve(weight, np.array(counts)), low + least
        seen, rows = seen + int(a), rows + int(a + b + c + d)
    s, at = np.arange(low, low + len(weight)), seen - low
    if len(weight) == 1:
        return Association(math.nan, (0.0, math.inf), 1.0, rows)

    def law(log_ratio: float) -> Floats:
        told = weight + log_ratio * s
        shares = np.exp(told - told.max())
        return np.asarray(shares / shares.sum())

    def least_tail(log_ratio: float) -> float:
        return float(law(log_ratio)[: at + 1].sum())

    def most_tail(log_ratio: float) -> float:
        return float(law(log_ratio)[at:].sum())

    bottom, top = at == 0, at == len(weight) - 1
    middle = -math.inf if bottom else math.inf if top else _root(lambda t: float(law(t) @ s) - seen)
    start = -math.inf if bottom else _root(lambda t: most_tail(t) - SIDE)
    end = math.inf if top else _root(lambda t: SIDE - least_tail(t))
    p = min(1.0, 2 * min(least_tail(0.0), most_tail(0.0)))
    return Association(math.exp(middle), (math.exp(start), math.exp(end)), p, rows)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _convolve(one: Floats, two: Floats) -> Floats:
    """Convolution of two sequences that are given as logarithms."""
    out = np.full(len(one) + len(two) - 1, -np.inf)
    for k, value in enumerate(two):
        out[k : k + len(one)] = np.logaddexp(out[k : k + len(one)], one + value)
    return out


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from below 0 crosses it, by halving on [-FAR, FAR]."""
    low, high = -FAR, FAR
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
