"""Error rates of the record: known, from gold labels, or from anchors (only for recipes that repeat a paper).

    two-sided kinds     fnr = P(recorded 0 | true 1, recorded),  fpr = P(recorded 1 | true 0, recorded)
    one-sided kinds     P(happened | liked),  P(happened | not liked)

    from unskew import noise

    found = noise.by_kind(kinds, usable, observed, positive, gold, design, prob)
    found["thumbs"].checked()     # raises NoiseRefused when D = 1 - fnr - fpr leaves too little

A two-sided kind with D <= .2, or whose D may well be below .15, is refused: dividing by D would multiply
every error of the record. One-sided kinds are never divided by and never refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.events import Kind
from unskew.rates import RANDOM, Bools, Floats, Interval, Liked, Share

MIN_D = 0.2
"""Rates with D at or below this are refused."""

MIN_D_LOW = 0.15
"""Rates whose lower 95 % bound of D is below this are refused."""

PRIOR = 10.0
"""Effective examples that the pooled rate counts for when a sparse kind is shrunk towards it."""

Source = Literal["known", "gold", "anchors"]

UP, DOWN, SILENT = np.eye(3, dtype=bool)
HAPPENED, NOT = np.eye(2, dtype=bool)


class NoiseRefused(ValueError):
    """The record of a kind carries too little of the truth to be corrected."""


@dataclass(frozen=True)
class Noise:
    """Flip rates of a two-sided kind.

    Args:
        fnr: P(recorded 0 | true 1).
        fpr: P(recorded 1 | true 0).
        covariance: of (fnr, fpr). Shape [2, 2].
        source: `known`, `gold` or `anchors`.
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


def from_gold(
    positive: ArrayLike,
    gold: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    kind: str = "feedback",
) -> Noise:
    """Flip rates of a two-sided kind from gold labels.

        fnr = n_0 theta_0 / (n_0 theta_0 + n_1 theta_1),   theta_y = P(true 1 | recorded y) on gold rows
        fpr = n_1 (1 - theta_1) / (n_0 (1 - theta_0) + n_1 (1 - theta_1)),   n_y rows of the log recorded y

    Assumption: among rows of one record, gold rows were chosen at random or with probability `prob`. So the
    gold may be stratified by the record, which is what makes a few hundred labels enough.

    Args:
        positive: recorded label 1, read where observed. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        observed: was anything recorded; everywhere when absent. Shape [N].
        usable: rows on which the kind was offered and its window is closed; all when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        kind: name of the kind, for messages.

    Raises:
        ValueError: the shapes differ, or a class has no gold row with a record.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.random(4000) < 0.6
        >>> recorded = np.where(rng.random(4000) < 0.1, ~truth, truth)
        >>> gold = np.where(np.arange(4000) < 400, truth, np.nan)
        >>> from_gold(recorded, gold).interval["fnr"][1] < 0.2
        True
    """
    up, label, seen, use, chosen, chance = _columns(positive, gold, observed, usable, design, prob)
    record = np.where(seen, np.where(up, 0, 1), 2)
    found = Liked.of(np.where(use, record, -1), 3, label, chosen, chance)
    voted = label[use & seen & ~np.isnan(label)]
    if not (voted > 0).any() or not (voted < 1).any():
        raise ValueError(
            f"{kind}: {len(voted)} gold rows carry a record, {int((voted > 0.5).sum())} of them liked; rates "
            "need both classes. Label more rows of each record (`unskew audit --gold-plan`)"
        )
    ratios = ((DOWN, UP | DOWN, True), (UP, UP | DOWN, False))
    fnr, fpr = (found.ratio(*ratio).value for ratio in ratios)
    return Noise(fnr, fpr, found.covariance(*ratios), "gold", kind)


def happening_from_gold(
    happened: ArrayLike,
    gold: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    kind: str = "feedback",
) -> Happening:
    """P(happened | liked) and P(happened | not liked) of a one-sided kind from gold labels.

        P(happened | liked) = n_h theta_h / (n_h theta_h + n_n theta_n),   h happened, n did not

    Args:
        happened: did it happen. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        usable: rows on which the kind was offered and its window is closed; all when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        kind: name of the kind, for messages.

    Raises:
        ValueError: the shapes differ, or no usable row has a gold label.
    """
    up, label, _, use, chosen, chance = _columns(happened, gold, None, usable, design, prob)
    if not (use & ~np.isnan(label)).any():
        raise ValueError(f"{kind}: no gold row among the rows on which it was offered and closed; label some")
    found = Liked.of(np.where(use, np.where(up, 0, 1), -1), 2, label, chosen, chance)
    ratios = ((HAPPENED, HAPPENED | NOT, True), (HAPPENED, HAPPENED | NOT, False))
    liked, disliked = (found.ratio(*ratio).value for ratio in ratios)
    return Happening(liked, disliked, found.covariance(*ratios), "gold", kind)


def by_kind(
    kinds: Sequence[Kind],
    usable: Bools,
    observed: Bools,
    positive: Bools,
    gold: Floats,
    design: NDArray[Any] | None = None,
    prob: Floats | None = None,
    *,
    prior: float = PRIOR,
) -> "dict[str, Noise | Happening]":
    """Rates of every kind from gold, sparse two-sided kinds shrunk to the pooled rate.

        rate = (n own + prior pooled) / (n + prior),   n effective gold rows of the class

    The covariance stays that of the kind's own rows, so a shrunk rate is never claimed to be better known
    than its gold allows. Kinds without gold of both classes, choices (they compare) and kinds that are no
    evidence are left out.

    Args:
        kinds: the K kinds.
        usable: offered and closed. Shape [N, K].
        observed: anything was recorded. Shape [N, K].
        positive: 1 was recorded, or it happened. Shape [N, K].
        gold: true label, NaN where there is none. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED`; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        prior: effective examples that the pooled rate counts for; 0 for no shrinkage.

    Returns:
        `Noise` for two-sided, `Happening` for one-sided kinds, by name.
    """
    found: dict[str, Noise | Happening] = {}
    for k, kind in enumerate(kinds):
        use, labelled = usable[:, k], ~np.isnan(gold)
        if kind.one_sided and (use & labelled).any():
            found[kind.name] = happening_from_gold(
                positive[:, k], gold, usable=use, design=design, prob=prob, kind=kind.name
            )
        elif kind.two_sided and kind.name != "choice":
            voted = gold[use & observed[:, k] & labelled]
            if (voted > 0).any() and (voted < 1).any():
                found[kind.name] = from_gold(
                    positive[:, k],
                    gold,
                    observed=observed[:, k],
                    usable=use,
                    design=design,
                    prob=prob,
                    kind=kind.name,
                )
    two = [rate for rate in found.values() if isinstance(rate, Noise)]
    return found | {rate.kind: rate for rate in shrink(two, prior)}


def shrink(rates: Sequence[Noise], prior: float = PRIOR) -> list[Noise]:
    """Each kind's rates moved towards those of all kinds; see `by_kind`. One kind alone stays as it is."""
    if len(rates) < 2 or prior <= 0:
        return list(rates)
    n = np.array([rate.n for rate in rates])
    own = np.array([(rate.fnr, rate.fpr) for rate in rates])
    certain = np.where(np.isinf(n), 1e9, n)
    pooled = (certain * own).sum(0) / certain.sum(0)
    weight = prior / (certain + prior)
    moved = (1 - weight) * own + weight * pooled
    return [
        Noise(float(m[0]), float(m[1]), rate.covariance, rate.source, rate.kind, (float(w[0]), float(w[1])))
        for rate, m, w in zip(rates, moved, weight, strict=True)
    ]


def quantile_anchors(posterior: ArrayLike, quantile: float = 0.97, *, kind: str = "feedback") -> Noise:
    """Flip rates read off the ends of a noisy posterior, as CausalRM does; unsafe.

        fnr = 1 - quantile_q of P(recorded 1 | x),   fpr = quantile_{1-q} of P(recorded 1 | x)

    Right only when some responses are surely liked, some surely disliked, and feedback does not depend on
    either; selection inflates P(recorded 1 | x, observed): with truth (.20, .10) fpr comes out at .3 to .7.
    For recipes that repeat the paper, never for ours.

    Args:
        posterior: P(recorded 1 | x) of each row. Shape [N], in [0, 1].
        quantile: q, in (.5, 1].
        kind: name of the kind, for messages.

    Raises:
        ValueError: `quantile` or the posterior is out of range.

    Source: CausalRM (arXiv 2603.18736), Algorithm 1 step 4, quantiles in place of the extremes.
    """
    values = np.asarray(posterior, np.float64)
    if not 0.5 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be in (0.5, 1]")
    if values.size == 0 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"posterior of {kind} has {values.size} values; it must hold probabilities in [0, 1]"
        )
    low, high = np.quantile(values, [1 - quantile, quantile])
    return Noise(float(1 - high), float(low), np.zeros((2, 2)), "anchors", kind, unsafe=True)


def _columns(
    positive: ArrayLike,
    gold: ArrayLike,
    observed: ArrayLike | None,
    usable: ArrayLike | None,
    design: ArrayLike | None,
    prob: ArrayLike | None,
) -> tuple[Bools, Floats, Bools, Bools, NDArray[Any], Floats]:
    """The arguments as arrays of one length, absent ones filled in."""
    up = np.asarray(positive).astype(bool)
    given = {"gold": gold, "observed": observed, "usable": usable, "design": design, "prob": prob}
    absent: dict[str, Any] = {"observed": True, "usable": True, "design": RANDOM, "prob": np.nan}
    columns = {
        name: np.full(up.shape, absent[name]) if value is None else np.asarray(value)
        for name, value in given.items()
    }
    for name, values in columns.items():
        if values.shape != up.shape:
            raise ValueError(f"{name} has shape {values.shape}, the record {up.shape}; the same is needed")
    label = columns["gold"].astype(np.float64)
    seen, use = columns["observed"].astype(bool), columns["usable"].astype(bool)
    return up, label, seen, use, columns["design"], columns["prob"].astype(np.float64)


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
