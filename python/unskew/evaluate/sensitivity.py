"""How wrong the propensities would have to be: bounds on a metric, and the point at which a ranking flips.

Marginal sensitivity model: the odds of the true propensity, which may depend on the hidden label and on
anything else, are within a factor gamma >= 1 of those of the one that was used,

    1 / gamma <= odds(true p) / odds(p) <= gamma    hence    w in [1 + (1/p - 1) / gamma, 1 + gamma (1/p - 1)]

With c the term of a row (h + k t, see `rows.linear`) the metric lies between the least and the greatest of

    self-normalised   sum_observed w c / sum_observed w     one cut: the greatest w where c is above it
    not               sum_observed w c / N                  the greatest w where c > 0

Both are exact; the first takes one sort. With an imputation q the term is that of its residual, and the mean
of h + k q over all rows is added (doubly robust).

Model A beats model B as long as the sum of w c, c the difference of their terms, keeps its sign. For a
difference above 0 (below: all signs turned) its least value is C + P / gamma - Q gamma, with x = 1/p - 1,
C = sum c, P = sum of x c over c > 0, Q = sum of x |c| over c < 0, so that it reaches 0 at

    gamma = (C + sqrt(C^2 + 4 P Q)) / (2 Q)

These are bounds on what the log says, not intervals: what chance adds comes on top (`influence`).

Source: Tan, "A Distributional Approach for Causal Inference Using Propensity Scores" (2006); the cut: Zhao,
Small and Bhattacharya, "Sensitivity Analysis for Inverse Probability Weighting Estimators via the Percentile
Bootstrap" (2019), section 4.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import Columns
from unskew.evaluate.metrics import Result
from unskew.evaluate.rows import linear, unit
from unskew.rates import Floats

BOUNDED = ("accuracy", "brier", "mean_truth", "mean_error")
"""Names of the metrics that have bounds and ranges."""

TIPPING = ("accuracy", "brier")
"""Names of those by which one model is better than another."""


def bounds(
    probability: ArrayLike,
    columns: Columns,
    gamma: float,
    *,
    normalised: bool = True,
    imputation: ArrayLike | None = None,
) -> Result:
    """Bounds of each metric over all propensities whose odds are within a factor gamma of those used.

    Assumption: the error rates are right, and flips do not depend on who gave feedback.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        columns: of `estimators.ips` (a = observed / propensity), error rates and all. Shape [N].
        gamma: odds ratio, >= 1; 1 trusts the propensities.
        normalised: divide by the sum of the weights, not by the number of rows.
        imputation: P(true label = 1), for doubly robust metrics. Shape [N], in [0, 1].

    Returns:
        `value` (at gamma 1) and the bounds `low` and `high` by metric; see `BOUNDED`.

    Raises:
        ValueError: a shape or a value is not as described, or nothing was observed.

    Example:
        >>> from unskew import estimators
        >>> log = estimators.ips([1, 1, 0], [1, 1, 1], 0.5)
        >>> found = bounds([0.9, 0.9, 0.9], log, 2.0)["accuracy"]
        >>> [round(found[name], 3) for name in ("low", "value", "high")]
        [0.5, 0.667, 0.8]
    """
    _odds(gamma)
    inverse, terms = _terms(probability, columns, imputation)
    least, most = 1 + (inverse - 1) / gamma, 1 + (inverse - 1) * gamma
    greatest, scale = (_greatest_ratio, 1) if normalised else (_greatest_sum, len(columns.a))
    found: Result = {}
    for name, (c, add) in terms.items():
        found[name] = {
            "value": add + greatest(c, inverse, inverse) / scale,
            "low": add - greatest(-c, least, most) / scale,
            "high": add + greatest(c, least, most) / scale,
        }
    return found


def compare_bounds(first: ArrayLike, second: ArrayLike, columns: Columns, gamma: float) -> Result:
    """Bounds of the first model's metrics minus the second's, self-normalised: `bounds` of a comparison.

    They hold 0 from `tipping_gamma` on.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        columns: as in `bounds`.
        gamma: as in `bounds`.

    Returns:
        `value`, `low` and `high` for each of `TIPPING`.

    Raises:
        ValueError: a shape or a value is not as described, or nothing was observed.
    """
    _odds(gamma)
    inverse, one = _terms(first, columns, None)
    _, two = _terms(second, columns, None)
    least, most = 1 + (inverse - 1) / gamma, 1 + (inverse - 1) * gamma
    found: Result = {}
    for name in TIPPING:
        c = one[name][0] - two[name][0]
        found[name] = {
            "value": _greatest_ratio(c, inverse, inverse),
            "low": -_greatest_ratio(-c, least, most),
            "high": _greatest_ratio(c, least, most),
        }
    return found


def tipping_gamma(
    first: ArrayLike,
    second: ArrayLike,
    columns: Columns,
    *,
    normalised: bool = True,
    imputation: ArrayLike | None = None,
) -> Result:
    """The least odds ratio of the propensities at which the two models may be equal.

    Near 1 the comparison hangs on the propensities; an odds ratio that no known feature has is comfort. The
    point is that of the estimate: a difference that may be chance (`log_compare`) needs none.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        columns: as in `bounds`.
        normalised: as in `bounds`.
        imputation: as in `bounds`.

    Returns:
        `value` (first minus second) and `gamma` for each of `TIPPING`; 1 where the models do not differ,
        infinite where no odds ratio makes them equal.

    Raises:
        ValueError: a shape or a value is not as described, or nothing was observed.
    """
    inverse, one = _terms(first, columns, imputation)
    _, two = _terms(second, columns, imputation)
    found: Result = {}
    for name in TIPPING:
        c, add = one[name][0] - two[name][0], one[name][1] - two[name][1]
        total = float(inverse.sum()) if normalised else float(len(columns.a))
        value = float(inverse @ c) / total + add
        # A self-normalised imputation part moves with the weights, the other does not.
        terms, fixed = (c + add, 0.0) if normalised else (c, add * total)
        found[name] = {"value": value, "gamma": _tips(terms, inverse - 1, fixed)}
    return found


def label_odds(
    observed: ArrayLike, propensity: ArrayLike, gold: ArrayLike, *, weight: ArrayLike | None = None
) -> float:
    """How far gold sees the hidden label move the odds of the propensities: a gamma that was measured.

        log odds(true p) = log odds(p) + shift_r,   sum over gold of w [r] (o - p_shifted) = 0 for r = 1 and 0
        gamma = exp max |shift_r|

    Each class counts half a row more of its mean propensity, answered and not, so that a class that never
    answered has a finite shift. A point, with the error of the gold: a rough measure beside `tipping_gamma`.

    Args:
        observed: 1 where feedback was given, gold rows only. Shape [G], 0 or 1.
        propensity: p. Shape [G], in (0, 1].
        gold: true label. Shape [G], in [0, 1].
        weight: undoes the design of the gold; 1 when absent. Shape [G].

    Returns:
        gamma, >= 1; nan when a class has no gold.

    Raises:
        ValueError: a shape or a value is not as described.

    Example:
        >>> round(label_odds([1, 1, 0, 0] * 500, [0.5] * 2000, [1, 1, 0, 0] * 500) / 1000)
        2
    """
    o, p, r = np.asarray(observed, np.float64), unit("propensity", propensity), unit("gold", gold)
    w = np.ones(len(r)) if weight is None else np.asarray(weight, np.float64)
    if not o.shape == p.shape == r.shape == w.shape:
        raise ValueError(
            f"observed has shape {o.shape}, propensity {p.shape}, gold {r.shape}; the same [G] is needed"
        )
    inner = np.clip(p, 1e-6, 1 - 1e-6)
    odds, found = inner / (1 - inner), 1.0
    for mass in (w * r, w * (1 - r)):
        if not mass.sum() > 0:
            return math.nan
        mean = float(mass @ inner / mass.sum())
        answered, base = float(mass @ o) + 0.5, mean / (1 - mean)
        low, high = -20.0, 20.0
        for _ in range(60):
            shift = (low + high) / 2
            factor = math.exp(shift)
            moved = float(mass @ (factor * odds / (1 + factor * odds))) + factor * base / (1 + factor * base)
            low, high = (shift, high) if moved < answered else (low, shift)
        found = max(found, math.exp(abs(low)))
    return found


def _odds(gamma: float) -> None:
    if not gamma >= 1:
        raise ValueError(f"gamma is {gamma}; an odds ratio >= 1 is needed, 1 when the propensities are right")


def _terms(
    probability: ArrayLike, columns: Columns, imputation: ArrayLike | None
) -> tuple[Floats, dict[str, tuple[Floats, float]]]:
    """1 / p of the observed rows; by metric their terms, and what is added to the (weighted) mean."""
    a, b = np.asarray(columns.a, np.float64), np.asarray(columns.b, np.float64)
    s = unit("probability", probability)
    if s.shape != a.shape:
        raise ValueError(f"probability has shape {s.shape}, the columns {a.shape}; the same [N] is needed")
    bad = np.flatnonzero((a != 0) & ~(a >= 1 - 1e-12))
    if bad.size:
        raise ValueError(
            f"the weight of row {bad[0]} is {a[bad[0]]:g}; it must be 0 or 1 / propensity, as in the columns "
            "of `estimators.ips`"
        )
    at = np.flatnonzero(a)
    if not at.size:
        raise ValueError(f"none of {len(a)} rows was observed; bounds need at least one")
    t, metrics = b[at] / a[at], linear(s)
    if imputation is None:
        return a[at], {name: (h[at] + k[at] * t, 0.0) for name, (h, k) in metrics.items() if name in BOUNDED}
    q = unit("imputation", imputation)
    if q.shape != a.shape:
        raise ValueError(f"imputation has shape {q.shape}, the columns {a.shape}; the same [N] is needed")
    return a[at], {
        name: (k[at] * (t - q[at]), float((h + k * q).mean()))
        for name, (h, k) in metrics.items()
        if name in BOUNDED
    }


def _greatest_sum(c: Floats, least: Floats, most: Floats) -> float:
    """Greatest sum of w c with each w in [least, most]."""
    return float(np.where(c > 0, most, least) @ c)


def _greatest_ratio(c: Floats, least: Floats, most: Floats) -> float:
    """Greatest sum of w c / sum of w with each w in [least, most]: most above a cut of c, least below it."""
    order = np.argsort(-c, kind="stable")
    low, high, c = least[order], most[order], c[order]
    more = high - low
    above = low @ c + np.concatenate([[0.0], np.cumsum(more * c)])
    below = low.sum() + np.concatenate([[0.0], np.cumsum(more)])
    return float((above / below).max())


def _tips(c: Floats, x: Floats, fixed: float) -> float:
    """The gamma at which the sum of w c, w = 1 + x at gamma 1, plus something fixed may reach 0."""
    total = float((1 + x) @ c) + fixed
    if total == 0:
        return 1.0
    c, fixed = (c, fixed) if total > 0 else (-c, -fixed)
    C = float(c.sum()) + fixed
    P, Q = float((x * c)[c > 0].sum()), -float((x * c)[c < 0].sum())
    if Q > 0:
        return (C + math.sqrt(C * C + 4 * P * Q)) / (2 * Q)
    return -P / C if C < 0 else math.inf
