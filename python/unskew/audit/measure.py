"""Figures of the audit: columns in, numbers out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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


def mean_weight(column: Column, propensity: Propensity) -> float:
    """Held-out mean of o / p over usable rows above the floor, where p is what was fitted; 1 is right.

    Rows below the floor have a weight that is too small by design; `clipped_mass` says what that costs.
    """
    above = column.usable & (propensity.raw == propensity.p)
    if not above.any():
        return propensity.report.mean_o_over_p
    return float((column.observed[above] / propensity.p[above]).mean())


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


class LabelTest(NamedTuple):
    """Whether feedback depends on the true label beyond the propensity.

    Args:
        z: covariance of answers and labels that is left, in standard errors.
        p: two-sided p value.
        reach: standard errors that the covariance would be if liked responses, or the others, were answered
            twice as often as the rest.
    """

    z: float
    p: float
    reach: float


def label_test(
    examples: Examples, column: Column, propensity: Floats | None, quality: Floats | None
) -> LabelTest | None:
    """Does feedback still depend on the true label, given the propensity? A test on gold.

        z = sum w (o - p) (r - q) / sqrt(sum w^2 (o - p)^2 (r - q)^2)

    w are the weights of `_gold_rows`, q is P(liked | x) (the mean of r when absent). If feedback depends on x
    alone, z has mean 0 when either p or q is right. With v = sum w (r - q)^2 / sum w, pi the mean of r and s
    that of o, a class that answers twice as often moves the covariance by v s / (1 + pi): `reach`.

    Args:
        examples: with gold.
        column: the kind.
        propensity: p of each row; the mean of o when absent. Shape [N].
        quality: q of each row, from fits that have not seen the row. Shape [N].

    Returns:
        None when no answered, or no silent row has gold, or the gold rows do not vary.
    """
    at, w = _gold_rows(examples, column)
    if not len(at):
        return None
    o, r = column.observed[at].astype(np.float64), examples.gold[at]
    rate = float(column.observed[column.usable].mean())
    p = rate if propensity is None else propensity[at]
    q = w @ r / w.sum() if quality is None else quality[at]
    term = w * (o - p) * (r - q)
    spread = math.sqrt(float(term @ term))
    if spread == 0:
        return None
    z = float(term.sum()) / spread
    twice = float(w @ (r - q) ** 2) * rate / (1 + float(w @ r / w.sum()))
    return LabelTest(z, _two_sided(z), twice / spread)


def feature_test(examples: Examples, column: Column, propensity: Floats) -> float | None:
    """p value of the test, on gold, that answers do not depend on the features given the label.

        z = sum w (o - mean o of the class) (p - mean p of the class), in standard errors

    If the label alone decides who answers, as class-wise weights take it, z has mean 0.

    Returns:
        None when no answered, or no silent row has gold, or the propensity does not vary.
    """
    at, w = _gold_rows(examples, column)
    o, p, r = column.observed[at].astype(np.float64), propensity[at], examples.gold[at]
    if not len(at) or np.ptp(p) < 1e-9:
        return None
    square = total = 0.0
    for share in (r, 1 - r):
        weight = w * share
        if weight.sum() > 0:
            term = weight * (o - weight @ o / weight.sum()) * (p - weight @ p / weight.sum())
            total, square = total + float(term.sum()), square + float(term @ term)
    return None if square == 0 else _two_sided(total / math.sqrt(square))


def _gold_rows(examples: Examples, column: Column) -> tuple[NDArray[np.int64], Floats]:
    """Gold rows of a kind, and weights under which answered and silent ones have their shares in the log.

    So a plan that labels answered rows alone beside some random ones does not make answering look common.
    """
    at = np.flatnonzero(column.usable & ~np.isnan(examples.gold))
    seen = column.observed[at]
    if not seen.any() or seen.all():
        return at[:0], np.zeros(0)
    share, w = float(column.observed[column.usable].mean()), np.zeros(len(at))
    for part, size in ((seen, share), (~seen, 1 - share)):
        own = design_weight(examples.gold_design[at][part], examples.gold_prob[at][part])
        w[part] = size * own / own.sum()
    return at, w


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


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
