"""What is known about the errors of a record, and when too little is left of the truth to correct it.

two-sided kinds     fnr = P(recorded 0 | true 1, recorded),  fpr = P(recorded 1 | true 0, recorded)
one-sided kinds     P(happened | liked),  P(happened | not liked)
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from unskew.rates import Floats, Interval, Share

MIN_D = 0.2
"""Rates with D at or below this are refused."""

MIN_D_LOW = 0.15
"""Rates whose lower 95 % bound of D is below this are refused."""

Source = Literal["known", "gold", "anchors", "dawid-skene", "confident joint", "agreement", "swaps"]
"""Where rates come from."""


class NoiseRefused(ValueError):
    """The record of a kind carries too little of the truth to be corrected."""


@dataclass(frozen=True)
class Noise:
    """Flip rates of a two-sided kind.

    Args:
        fnr: P(recorded 0 | true 1).
        fpr: P(recorded 1 | true 0).
        covariance: of (fnr, fpr). Shape [2, 2].
        source: where the rates come from: `known`, `gold`, `anchors`, or an estimator without gold.
        kind: name of the kind, for messages.
        shrunk: weight of the pooled rate in (fnr, fpr), 0 when a kind stands on its own.
        unsafe: the rates rest on an assumption that logs rarely meet; never refused, always marked.
    """

    fnr: float
    fpr: float
    covariance: Floats = field(default_factory=lambda: np.zeros((2, 2)))
    source: Source = "known"
    kind: str = "feedback"
    shrunk: tuple[float, float] = (0.0, 0.0)
    unsafe: bool = False

    @property
    def D(self) -> float:
        """1 - fnr - fpr: 1 for a perfect record, 0 for one that says nothing."""
        return 1 - self.fnr - self.fpr

    @property
    def interval(self) -> dict[str, Interval]:
        """95 % intervals of `fnr`, `fpr` and `D`.

        Wilson at the effective number of gold rows of each class. That of D joins the two by the distances to
        their ends (MOVER), with the correlation rho of the estimates:

            D_low = D - sqrt(u^2 + v^2 + 2 rho u v),   u = fnr_high - fnr,  v = fpr_high - fpr

        Source: Zou and Donner, "Construction of confidence limits about effect measures" (2008).
        """
        spread = np.sqrt(np.diag(self.covariance))
        rho = float(self.covariance[0, 1] / (spread[0] * spread[1])) if spread.all() else 0.0
        miss = Share(self.fnr, float(self.covariance[0, 0])).interval
        false = Share(self.fpr, float(self.covariance[1, 1])).interval

        def joined(u: float, v: float) -> float:
            return float(np.sqrt(max(0.0, u * u + v * v + 2 * rho * u * v)))

        low = self.D - joined(miss[1] - self.fnr, false[1] - self.fpr)
        high = self.D + joined(self.fnr - miss[0], self.fpr - false[0])
        return {"fnr": miss, "fpr": false, "D": (max(low, -1.0), min(high, 1.0))}

    @property
    def n(self) -> tuple[float, float]:
        """Effective gold rows behind fnr (liked) and fpr (not liked); infinite when known."""
        return Share(self.fnr, self.covariance[0, 0]).n, Share(self.fpr, self.covariance[1, 1]).n

    @property
    def refusal(self) -> str | None:
        """Why these rates are refused, or None."""
        if self.unsafe:
            return None
        low = self.interval["D"][0]
        rates = (
            f"the record of {self.kind} has fnr {self.fnr:.3f} and fpr {self.fpr:.3f}, so D = 1 - fnr - fpr"
        )
        remedy = (
            "Label more gold rows of this kind, leave it out, or use evidence, which does not divide by D"
        )
        if self.D <= MIN_D:
            return f"{rates} is {self.D:.3f}; it must be above {MIN_D:g}. {remedy}"
        if low < MIN_D_LOW:
            return (
                f"{rates} is {self.D:.3f} and may be as low as {low:.3f}; its lower 95 % bound must be at "
                f"least {MIN_D_LOW:g}. {remedy}"
            )
        return None

    def checked(self) -> "Noise":
        """These rates, when they may be divided by.

        Raises:
            NoiseRefused: D <= .2, or its lower 95 % bound is below .15, and the rates are not `unsafe`.
        """
        reason = self.refusal
        if reason:
            raise NoiseRefused(reason)
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a rate: kind, parameter, estimate, low, high, source."""
        return _rows(self.kind, self.source, self.interval, {"fnr": self.fnr, "fpr": self.fpr})


@dataclass(frozen=True)
class Happening:
    """How often a one-sided kind happens to responses of each class.

    Args:
        liked: P(happened | liked).
        disliked: P(happened | not liked).
        covariance: of (liked, disliked). Shape [2, 2].
        source: `known` or `gold`.
        kind: name of the kind.
    """

    liked: float
    disliked: float
    covariance: Floats = field(default_factory=lambda: np.zeros((2, 2)))
    source: Source = "known"
    kind: str = "feedback"

    @property
    def interval(self) -> dict[str, Interval]:
        """95 % intervals of `liked` and `disliked`, Wilson at the effective number of gold rows."""
        return {
            "liked": Share(self.liked, float(self.covariance[0, 0])).interval,
            "disliked": Share(self.disliked, float(self.covariance[1, 1])).interval,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a rate: kind, parameter, estimate, low, high, source."""
        names = {"liked": "P(happened|liked)", "disliked": "P(happened|not)"}
        interval = {names[key]: ends for key, ends in self.interval.items()}
        return _rows(
            self.kind, self.source, interval, {names["liked"]: self.liked, names["disliked"]: self.disliked}
        )


def known(fnr: float, fpr: float, *, sd: tuple[float, float] = (0.0, 0.0), kind: str = "feedback") -> Noise:
    """Flip rates that are known from elsewhere.

    Args:
        fnr: P(recorded 0 | true 1), in [0, 1].
        fpr: P(recorded 1 | true 0), in [0, 1].
        sd: standard deviations of the two, 0 when they are exact.
        kind: name of the kind, for messages.

    Raises:
        ValueError: a rate is not a probability.
    """
    for name, rate in (("fnr", fnr), ("fpr", fpr)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} of {kind} is {rate}; it must be in [0, 1]: it is a probability")
    return Noise(float(fnr), float(fpr), np.diag(np.square(sd)).astype(np.float64), "known", kind)


def _rows(
    kind: str, source: str, interval: dict[str, Interval], values: dict[str, float]
) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "parameter": name,
            "estimate": value,
            "low": interval[name][0],
            "high": interval[name][1],
            "source": source,
        }
        for name, value in values.items()
    ]
