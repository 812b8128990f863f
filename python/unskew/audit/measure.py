"""Figures of the audit: columns in, numbers out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.data import Examples
from unskew.noise import Noise
from unskew.propensity import Classwise, Propensity, classwise_from_gold
from unskew.propensity.measure import lost_mass
from unskew.rates import Bools, Floats, design_weight, effective, wilson


@dataclass(frozen=True)
class Column:
    """One two-sided kind on its usable rows: offered, and its window closed.

    Args:
        name: of the kind.
        usable: shape [N].
        observed: anything recorded, usable rows only. Shape [N].
        positive: recorded label 1. Shape [N].
    """

    name: str
    usable: Bools
    observed: Bools
    positive: Bools

    @property
    def n(self) -> int:
        """Usable rows."""
        return int(self.usable.sum())

    @property
    def silent(self) -> int:
        """Usable rows on which nothing was recorded."""
        return int((self.usable & ~self.observed).sum())


def two_sided(examples: Examples) -> list[Column]:
    """The two-sided kinds on single responses that were offered at all."""
    found = []
    for k, kind in enumerate(examples.kinds):
        usable = examples.offered[:, k] & examples.closed[:, k]
        if kind.two_sided and kind.name != "choice" and usable.any():
            seen = examples.observed[:, k] & usable
            found.append(Column(kind.name, usable, seen, examples.positive[:, k] & seen))
    return found


@dataclass(frozen=True)
class Classes:
    """How many of the observed rows are of each class, and how often each class speaks.

    Args:
        liked, disliked: estimated observed rows of each class.
        p1, p0: P(observed | class); None when the base rate is unknown.
        low: lower 95 % bound of the smaller of the two; None when unknown.
        source: `gold`, `known rates`, `base rate` or `evidence`.
    """

    liked: float
    disliked: float
    p1: float | None
    p0: float | None
    low: float | None
    source: str

    @property
    def fewest(self) -> float:
        """Observed rows of the rarer class."""
        return min(self.liked, self.disliked)


def classes(
    column: Column,
    *,
    known: Classwise | None,
    rates: Noise | None,
    posterior: Floats | None,
) -> Classes | None:
    """Counts by class from the best source there is: gold, then known rates, then evidence.

        known rates   liked = sum over observed of (recorded - fpr) / D
        evidence      liked = sum over observed of P(liked | everything recorded)

    Args:
        column: the kind.
        known: class propensities from gold or a base rate.
        rates: flip rates that do not come from gold.
        posterior: P(liked | everything recorded). Shape [N].

    Returns:
        None when no source is there.
    """
    seen = int(column.observed.sum())
    if known is not None:
        interval = known.interval
        low = min(interval["p1"][0], interval["p0"][0])
        return Classes(known.examples["1"], known.examples["0"], known.p1, known.p0, low, known.source)
    counted: tuple[float, float] | None = None
    if rates is not None and not rates.unsafe and rates.D > 0:
        up = float(column.positive.sum())
        liked = min(max((up - rates.fpr * seen) / rates.D, 0.0), float(seen))
        counted = liked, seen - liked
    if posterior is None:
        return None if counted is None else Classes(*counted, None, None, None, "known rates")
    liked = float(posterior[column.observed].sum())
    voted = (liked, seen - liked) if counted is None else counted
    every = float(posterior[column.usable].sum())
    totals = (every, column.n - every)
    p1, p0 = (min(v / t, 1.0) if t > 0 else 0.0 for v, t in zip(voted, totals, strict=True))
    low = min(wilson(p1, totals[0])[0], wilson(p0, totals[1])[0])
    return Classes(*voted, p1, p0, low, "evidence" if counted is None else "known rates")


def class_propensities(examples: Examples, column: Column) -> Classwise | None:
    """p1 and p0 from the gold of the log; None without a gold label on a usable row."""
    if not (column.usable & ~np.isnan(examples.gold)).any():
        return None
    return classwise_from_gold(
        column.observed,
        column.positive,
        examples.gold,
        usable=column.usable,
        design=examples.gold_design,
        prob=examples.gold_prob,
    )


def liked_share(column: Column, rates: Noise | None, posterior: Floats | None) -> Floats | None:
    """P(liked) of observed rows as the log tells it: by evidence, else recorded labels with flips undone."""
    if posterior is not None:
        return posterior
    if rates is None or rates.D <= 0:
        return None
    return np.asarray((column.positive - rates.fpr) / rates.D, np.float64)


def clipped_mass(column: Column, propensity: Propensity, share: Floats) -> dict[str, float]:
    """Share of the weight of each class that the floor takes away: `1` liked, `0` not liked.

        sum over observed of c (1 / p - 1 / max(p, floor)) / sum over observed of c / p

    with c = `share` of the liked class, 1 - `share` of the other; cut to [0, 1].
    """
    at = column.observed
    kept, whole = 1 / propensity.p[at], 1 / propensity.raw[at]
    found = {}
    for name, part in (("1", share[at]), ("0", 1 - share[at])):
        found[name] = min(max(lost_mass(part * kept, part * (whole - kept)), 0.0), 1.0)
    return found


def classwise_ess(column: Column, known: Classwise, rates: Noise, floor: float) -> float:
    """Effective sample size of a = o (t / p1 + (1 - t) / p0)."""
    target = (column.positive[column.observed] - rates.fpr) / rates.D
    return effective(target / max(known.p1, floor) + (1 - target) / max(known.p0, floor))


def label_test(
    examples: Examples, column: Column, propensity: Floats | None, quality: Floats | None
) -> tuple[float, float] | None:
    """Does feedback still depend on the true label, given the propensity? (z, two-sided p value) on gold.

        z = sum w (o - p) (r - q) / sqrt(sum w^2 (o - p)^2 (r - q)^2)

    w undoes the design of the gold, q is P(liked | x) (the mean of r when absent). If feedback depends on x
    alone, z has mean 0 when either p or q is right.

    Args:
        examples: with gold.
        column: the kind.
        propensity: p of each row; the mean of o when absent. Shape [N].
        quality: q of each row, from fits that have not seen the row. Shape [N].

    Returns:
        None when fewer than two gold rows are usable, or they do not vary.
    """
    at = np.flatnonzero(column.usable & ~np.isnan(examples.gold))
    if len(at) < 2:
        return None
    w = design_weight(examples.gold_design[at], examples.gold_prob[at])
    o, r = column.observed[at].astype(np.float64), examples.gold[at]
    p = column.observed[column.usable].mean() if propensity is None else propensity[at]
    q = w @ r / w.sum() if quality is None else quality[at]
    term = w * (o - p) * (r - q)
    spread = math.sqrt(float(term @ term))
    if spread == 0:
        return None
    z = float(term.sum()) / spread
    return z, math.erfc(abs(z) / math.sqrt(2))


def balance(
    column: Column, propensity: Floats, values: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[float, float]]:
    """Standardised difference of each covariate between weighted observed rows and all usable rows.

        (sum w x / sum w - mean x) / sd x,   w = o before, w = o / p after weighting

    Returns:
        (before, after) by name; covariates that do not vary are left out.
    """
    o = column.observed[column.usable].astype(np.float64)
    after = o / propensity[column.usable]
    found = {}
    for name, values_of in values.items():
        x = np.asarray(values_of, np.float64)[column.usable]
        deviation = x.std()
        if deviation > 0 and o.any():
            centred = (x - x.mean()) / deviation
            found[name] = (float(o @ centred / o.sum()), float(after @ centred / after.sum()))
    return found


def covariates(X: NDArray[Any], count: int = 8) -> dict[str, Floats]:
    """A few columns that stand for many features: length (the last) and the leading principal components.

    Args:
        X: features, the length in the last column. Shape [N, D].
        count: principal components of the other columns, at most D - 1.
    """
    rest = np.asarray(X[:, :-1], np.float32)
    centred = rest - rest.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    leading = vectors[:, ::-1][:, :count]
    found = {"length": np.asarray(X[:, -1], np.float64)}
    scores = (centred @ leading).astype(np.float64)
    return found | {f"component {number + 1}": scores[:, number] for number in range(leading.shape[1])}
