"""Propensities by hidden class: who speaks when the response is liked, and when it is not."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unskew.propensity.measure import masks
from unskew.rates import Floats, Interval, Liked, Share

UP, DOWN, SILENT = np.eye(3, dtype=bool)


@dataclass(frozen=True)
class Classwise:
    """Propensities by hidden class, one number a class.

    Args:
        p1, p0: P(observed | liked), P(observed | not liked).
        covariance: of (p1, p0). Shape [2, 2].
        base_rate: P(liked) among usable rows.
        examples: estimated rows of the log with feedback, by class `1` and `0`.
        rows: usable rows.
        source: `gold` or `base rate`.
    """

    p1: float
    p0: float
    covariance: Floats
    base_rate: Share
    examples: dict[str, float]
    rows: int
    source: Literal["gold", "base rate"]

    @property
    def interval(self) -> dict[str, Interval]:
        """95 % intervals of `p1`, `p0` and `base_rate`, Wilson at the effective number of trials."""
        return {
            "p1": Share(self.p1, float(self.covariance[0, 0])).interval,
            "p0": Share(self.p0, float(self.covariance[1, 1])).interval,
            "base_rate": self.base_rate.interval,
        }


def classwise_from_gold(
    observed: ArrayLike,
    positive: ArrayLike,
    gold: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
) -> Classwise:
    """p1 and p0 of a kind from gold labels; flips of the record play no part.

        p1 = sum_{s seen} n_s theta_s / sum_s n_s theta_s,   theta_s = P(liked | record s) on gold rows

    over the records up, down and silent, that occur n_s times in the log; p0 with 1 - theta. Assumption:
    within a record, gold rows were chosen at random or with probability `prob`.

    Args:
        observed: was anything recorded. Shape [N].
        positive: recorded label 1. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        usable: offered and closed; all rows when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].

    Raises:
        ValueError: the shapes differ, or no usable row has a gold label.

    Source: Schnabel et al., "Recommendations as Treatments" (2016), naive Bayes propensities, with gold
        in the place of their random ratings.
    """
    o, use = masks(observed, usable)
    label = np.asarray(gold, np.float64)
    if not (use & ~np.isnan(label)).any():
        raise ValueError("no usable row has a gold label; p1 and p0 need gold or a base rate")
    record = np.where(o, np.where(np.asarray(positive).astype(bool), 0, 1), 2)
    ways = np.ones(len(o), int) if design is None else np.asarray(design)
    chance = np.full(len(o), np.nan) if prob is None else np.asarray(prob, np.float64)
    found = Liked.of(np.where(use, record, -1), 3, label, ways, chance)
    seen, every = UP | DOWN, UP | DOWN | SILENT
    ratios = ((seen, every, True), (seen, every, False))
    p1, p0 = (found.ratio(*ratio).value for ratio in ratios)
    liked = float((found.rows * found.share)[seen].sum())
    examples = {"1": liked, "0": float(found.rows[seen].sum()) - liked}
    return Classwise(
        p1, p0, found.covariance(*ratios), found.base_rate(), examples, int(use.sum()), source="gold"
    )


def classwise_from_base_rate(
    observed: ArrayLike,
    positive: ArrayLike,
    base_rate: Share | float,
    *,
    fnr: float = 0.0,
    fpr: float = 0.0,
    covariance: ArrayLike | None = None,
    usable: ArrayLike | None = None,
) -> Classwise:
    """p1 and p0 of a kind from one number about all responses, the share that is liked.

        P(liked | observed) = (mean recorded label - fpr) / D,   D = 1 - fnr - fpr
        p1 = P(observed) P(liked | observed) / base_rate
        p0 = P(observed) (1 - P(liked | observed)) / (1 - base_rate)

    Assumption: flips do not depend on anything but the true label. The variance carries the errors of the
    base rate, the rates and the counts (delta method); p1, p0 and P(liked | observed) are cut to [0, 1].

    Args:
        observed: was anything recorded. Shape [N].
        positive: recorded label 1, read where observed. Shape [N].
        base_rate: P(liked) over usable rows, from a survey or random gold. In (0, 1).
        fnr: P(recorded 0 | true 1).
        fpr: P(recorded 1 | true 0), with D > 0.
        covariance: of (fnr, fpr), zero when absent. Shape [2, 2].
        usable: offered and closed; all rows when absent. Shape [N].

    Raises:
        ValueError: the base rate is not in (0, 1), D <= 0, or nothing was observed.
    """
    o, use = masks(observed, usable)
    base = base_rate if isinstance(base_rate, Share) else Share(float(base_rate), 0.0)
    D = 1 - fnr - fpr
    if not 0 < base.value < 1:
        raise ValueError(f"base_rate is {base.value}; it must be in (0, 1): the share of liked responses")
    if D <= 0:
        raise ValueError(f"1 - fnr - fpr is {D:.3f}; it must be above 0: such a record says nothing")
    n, seen = int(use.sum()), int((use & o).sum())
    if not seen:
        raise ValueError("nothing was observed on a usable row; p1 and p0 need feedback")
    up, rate = float(np.asarray(positive).astype(bool)[use & o].mean()), seen / n
    raw = (up - fpr) / D
    liked = min(max(raw, 0.0), 1.0)
    spread = np.zeros((2, 2)) if covariance is None else np.asarray(covariance, np.float64)
    slope = np.array([raw, raw - 1]) / D
    variance = up * (1 - up) / seen / D**2 + float(slope @ spread @ slope)
    p1 = min(rate * liked / base.value, 1.0)
    p0 = min(rate * (1 - liked) / (1 - base.value), 1.0)
    # (p1, p0) by (P(liked | observed), base rate, P(observed))
    jacobian = np.array(
        [
            [rate / base.value, -p1 / base.value, p1 / rate],
            [-rate / (1 - base.value), p0 / (1 - base.value), p0 / rate],
        ]
    )
    inner = np.diag([variance, base.variance, rate * (1 - rate) / n])
    examples = {"1": seen * liked, "0": seen * (1 - liked)}
    return Classwise(p1, p0, jacobian @ inner @ jacobian.T, base, examples, n, source="base rate")
