"""How wrong the error rates would have to be: the range of a metric over them, and the point of a flip.

D a and D b are affine in (fnr, fpr), so every metric sum (h a + k b) / sum a is a ratio of two affine
functions of the rates,

    v(rates) = (n0 + n . delta) / (m0 + m . delta),   delta = rates - estimated rates

Along a line it only rises or only falls. Hence its range over a box lies between two corners, and over an
ellipse delta' Cov^-1 delta <= radius^2 between the two roots v of Fieller's equation

    (n0 - v m0)^2 = radius^2 (n - v m)' Cov (n - v m)

and of two models, measured on the same weights, one overtakes the other on the line n0 + n . delta = 0, with
the n of the difference.

Source: Fieller, "Some Problems in Interval Estimation" (1954).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unskew.evaluate.influence import Estimate, Log, estimates
from unskew.evaluate.metrics import Result
from unskew.evaluate.sensitivity import BOUNDED, TIPPING
from unskew.rates import Floats, Interval

RADIUS = math.sqrt(-2 * math.log(0.05))
"""Radius in standard deviations of the ellipse that holds both rates with 95 % probability."""


class Affine(NamedTuple):
    """constant + slope . delta. Shape of the slope [2]."""

    constant: float
    slope: Floats

    def at(self, delta: Floats) -> Floats:
        """Value at each of some shifts of the rates. Shape of delta [..., 2]."""
        return np.asarray(self.constant + delta @ self.slope)

    def of_ellipse(self, covariance: Floats) -> float:
        """Half the range over an ellipse of radius 1."""
        return math.sqrt(max(0.0, float(self.slope @ covariance @ self.slope)))


def rate_range(
    probability: ArrayLike,
    log: Log,
    *,
    fnr: Interval | None = None,
    fpr: Interval | None = None,
    radius: float = RADIUS,
    kind: int = 0,
) -> Result:
    """Range of each metric over a region of the error rates: a box when `fnr` and `fpr` are given, else the
    ellipse of their covariance.

    Assumption: everything but the rates of this kind is right. The other kinds stay as they are.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        log: of one response a row. N rows.
        fnr: lowest and highest fnr, in [0, 1].
        fpr: lowest and highest fpr, in [0, 1].
        radius: of the ellipse, in standard deviations; 2.45 holds both rates with 95 %.
        kind: number of the kind whose rates move.

    Returns:
        `value` at the estimated rates, `low` and `high` over the region, by metric; see
        `sensitivity.BOUNDED`. Exact.

    Raises:
        ValueError: a shape or a value is not as described, or D or the weights can reach 0 in the region.

    Example:
        >>> from functools import partial
        >>> from unskew import estimators, noise
        >>> ips = partial(estimators.ips, [1, 0, 1, 0], [1, 1, 1, 0], [0.5, 0.5, 1, 1])
        >>> log = Log.of(ips, noise.known(0.1, 0.2))
        >>> found = rate_range([0.9, 0.2, 0.4, 0.6], log, fnr=(0, 0.2), fpr=(0.1, 0.3))["mean_truth"]
        >>> [round(found[name], 3) for name in ("low", "value", "high")]
        [0.429, 0.571, 0.714]
    """
    D = _D(log, kind)
    found: Result = {}
    known = estimates(probability, log.a, log.b)
    weight = _affine(float(log.a.sum()), log.by_kind(np.ones(len(log.a)), np.zeros(len(log.a)))[kind], D)
    if (fnr is None) != (fpr is None):
        raise ValueError("rate_range got one of fnr and fpr; give both for a box, or neither for the ellipse")
    if fnr is not None and fpr is not None:
        corners = _corners(fnr, fpr, log, kind)
        _positive(float(D.at(corners).min()), float(weight.at(corners).min()), log, kind)
        for name in BOUNDED:
            values = _total(known[name], log, D, kind).at(corners) / weight.at(corners)
            found[name] = {
                "value": known[name].value,
                "low": float(values.min()),
                "high": float(values.max()),
            }
        return found
    if not radius >= 0:
        raise ValueError(f"radius is {radius}; a number of standard deviations >= 0 is needed")
    covariance = log.noise[kind].covariance * radius**2
    D_least, least = (part.constant - part.of_ellipse(covariance) for part in (D, weight))
    _positive(D_least, least, log, kind)
    for name in BOUNDED:
        low, high = _fieller(_total(known[name], log, D, kind), weight, covariance)
        found[name] = {"value": known[name].value, "low": low, "high": high}
    return found


def tipping_rates(first: ArrayLike, second: ArrayLike, log: Log, *, kind: int = 0) -> Result:
    """The error rates at which the two models would be equal.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        log: as in `rate_range`.
        kind: as in `rate_range`.

    Returns:
        For each of `sensitivity.TIPPING`: `value` (first minus second); `fnr`, where the two are equal when
        fpr stays as it is, and `fpr` likewise, nan where no rate with D > 0 does it; and `distance`, in
        standard deviations of the rates to the nearest such pair of rates, infinite when the rates are known
        or play no part.

    Raises:
        ValueError: a shape or a value is not as described, or the weights sum to nothing.
    """
    D, noise = _D(log, kind), log.noise[kind]
    one, two = (estimates(model, log.a, log.b) for model in (first, second))
    found: Result = {}
    for name in TIPPING:
        x, y = (_total(part[name], log, D, kind) for part in (one, two))
        gap = Affine(x.constant - y.constant, x.slope - y.slope)
        sd = gap.of_ellipse(noise.covariance)
        found[name] = {
            "value": one[name].value - two[name].value,
            "fnr": _flips(gap.constant, float(gap.slope[0]), noise.fnr, 1 - noise.fpr),
            "fpr": _flips(gap.constant, float(gap.slope[1]), noise.fpr, 1 - noise.fnr),
            "distance": abs(gap.constant) / sd if sd > 0 else (math.inf if gap.constant else 0.0),
        }
    return found


def _D(log: Log, kind: int) -> Affine:
    """1 - fnr - fpr of a kind."""
    if not 0 <= kind < len(log.noise):
        raise ValueError(f"kind is {kind}; the log has the kinds 0 to {len(log.noise) - 1}")
    return Affine(log.noise[kind].D, -np.ones(2))


def _affine(value: float, slope: Floats, D: Affine) -> Affine:
    """D times a sum over rows, from its value and its slope by the rates: affine, so this is all of it."""
    return Affine(D.constant * value, D.constant * slope + value * D.slope)


def _total(found: Estimate, log: Log, D: Affine, kind: int) -> Affine:
    """D times the numerator of a metric, sum (h a + k b)."""
    weight = float(log.a.sum())
    h, k = found.by_a * weight + found.value, found.by_b * weight
    return _affine(found.value * weight, log.by_kind(h, k)[kind], D)


def _corners(fnr: Interval, fpr: Interval, log: Log, kind: int) -> Floats:
    """Shifts of the rates to the corners of the box. Shape [4, 2]."""
    for name, (low, high) in (("fnr", fnr), ("fpr", fpr)):
        if not 0 <= low <= high <= 1:
            raise ValueError(f"{name} is from {low} to {high}; 0 <= low <= high <= 1 is needed")
    noise = log.noise[kind]
    return np.array([(x - noise.fnr, y - noise.fpr) for x in fnr for y in fpr])


def _positive(D: float, weight: float, log: Log, kind: int) -> None:
    """Raise when the region holds rates at which nothing can be said."""
    if not D > 0:
        raise ValueError(
            f"D = 1 - fnr - fpr of {log.noise[kind].kind} falls to {D:.3f} in the region; it must stay above "
            "0. Take a smaller region, or label more gold rows"
        )
    if not weight > 0:
        raise ValueError(
            f"the weights of the columns times D sum to {weight:g} somewhere in the region; they must stay "
            "above 0. Take a smaller region, or columns whose weights do not move with the rates"
        )


def _fieller(top: Affine, bottom: Affine, covariance: Floats) -> Interval:
    """Range of top / bottom over delta' covariance^-1 delta <= 1, bottom positive on it."""
    cross = float(top.slope @ covariance @ bottom.slope)
    a = bottom.constant**2 - bottom.of_ellipse(covariance) ** 2
    b = top.constant * bottom.constant - cross
    c = top.constant**2 - top.of_ellipse(covariance) ** 2
    half = math.sqrt(max(0.0, b * b - a * c))
    return (b - half) / a, (b + half) / a


def _flips(constant: float, slope: float, rate: float, end: float) -> float:
    """The rate at which constant + slope (rate - estimate) is 0, nan outside [0, end)."""
    at = rate - constant / slope if slope else math.nan
    return at if 0 <= at < end else math.nan
