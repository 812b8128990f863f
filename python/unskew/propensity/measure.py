"""What a propensity is, and how far it can be trusted."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unskew.rates import Bools, Floats, effective

FLOOR = 0.02
"""Smallest propensity used as it is."""

BINS = 10
"""Equal-sized bins of a calibration."""

Source = Literal["logged", "cells", "features", "two stages"]


@dataclass(frozen=True)
class Bin:
    """Rows of similar propensity.

    Args:
        predicted: mean propensity, before the floor.
        observed: share with feedback.
        n: rows.
        mean_o_over_p: mean of o / p after the floor; 1 when the propensities are right.
    """

    predicted: float
    observed: float
    n: int
    mean_o_over_p: float


@dataclass(frozen=True)
class Report:
    """How far propensities can be trusted, measured on rows they were not fitted to.

    Args:
        n: usable rows.
        seen: usable rows with feedback.
        mean_o_over_p: mean of o / p, 1 when the propensities are right.
        ess: effective sample size (sum w)^2 / sum w^2 of w = o / p.
        max_weight: largest o / p.
        clipped: usable rows whose propensity was raised to the floor.
        clipped_mass: share of the weight that raising to the floor takes away, in all and by recorded label
            (`audit` gives it by true class): `all`, `1`, `0`.
        ece: mean over bins of |observed - predicted|, weighted by rows.
        bins: rows by propensity, lowest first.
        held_out: whether p was fitted without the rows it is measured on (a logged column: yes).
    """

    n: int
    seen: int
    mean_o_over_p: float
    ess: float
    max_weight: float
    clipped: int
    clipped_mass: dict[str, float]
    ece: float
    bins: tuple[Bin, ...] = field(repr=False)
    held_out: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Propensity:
    """P(feedback) of each row and how it came about.

    Args:
        p: propensity, at least the floor; 1 on rows that are not usable. Shape [N].
        report: diagnostics.
        source: `logged`, `cells`, `features` or `two stages`.
        raw: propensity before the floor. Shape [N].
        settings: what the fit found, for example calibration or prior strengths.
    """

    p: Floats = field(repr=False)
    report: Report
    source: Source
    raw: Floats = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict)


def report(
    p: Floats,
    observed: Bools,
    usable: Bools,
    *,
    positive: ArrayLike | None = None,
    floor: float = FLOOR,
    held_out: bool = True,
) -> Report:
    """Diagnostics of propensities p, before the floor; see `Report`.

    Args:
        p: propensity. Shape [N], in (0, 1].
        observed: was feedback given. Shape [N].
        usable: rows that count. Shape [N].
        positive: recorded label, for the clipped mass by label. Shape [N].
        floor: smaller propensities are raised to it.
        held_out: whether p was fitted without these rows.
    """
    before, o = p[usable], observed[usable].astype(np.float64)
    after = np.maximum(before, floor)
    weight, lost = o / after, o * (1 / before - 1 / after)
    rows = np.array_split(np.argsort(before, kind="stable"), min(BINS, max(len(before), 1)))
    bins = tuple(
        Bin(float(before[at].mean()), float(o[at].mean()), len(at), float(weight[at].mean()))
        for at in rows
        if len(at)
    )
    mass = {"all": lost_mass(weight, lost)}
    if positive is not None:
        up = np.asarray(positive).astype(bool)[usable]
        mass |= {"1": lost_mass(weight * up, lost * up), "0": lost_mass(weight * ~up, lost * ~up)}
    n = max(len(before), 1)
    return Report(
        n=len(before),
        seen=int(o.sum()),
        mean_o_over_p=float(weight.sum() / n),
        ess=effective(weight),
        max_weight=float(weight.max(initial=0.0)),
        clipped=int((before < floor).sum()),
        clipped_mass=mass,
        ece=sum(b.n * abs(b.observed - b.predicted) for b in bins) / n,
        bins=bins,
        held_out=held_out,
    )


def judge(
    p: Floats,
    observed: Bools,
    usable: Bools,
    positive: ArrayLike | None,
    floor: float,
    source: Source,
    settings: dict[str, Any] | None = None,
    among: Bools | None = None,
) -> Propensity:
    """Check, measure (on the rows `among`, all usable ones when absent), raise to the floor."""
    if p.shape != observed.shape:
        raise ValueError(f"propensity has shape {p.shape}, observed {observed.shape}; the same is needed")
    bad = np.flatnonzero(usable & ~((p > 0) & (p <= 1)))
    if bad.size:
        more = f" (and of {bad.size - 1} more)" if bad.size > 1 else ""
        raise ValueError(
            f"propensity of row {bad[0]}{more} is {p[bad[0]]}; it must be in (0, 1]. Drop the row: nothing "
            "stands for it when it can never be observed"
        )
    rows = usable if among is None else usable & among
    found = report(p, observed & rows, rows, positive=positive, floor=floor)
    return Propensity(
        np.where(usable, np.maximum(p, floor), 1.0),
        found,
        source,
        np.where(usable, p, 1.0),
        {"floor": floor, **(settings or {})},
    )


def masks(observed: ArrayLike, usable: ArrayLike | None) -> tuple[Bools, Bools]:
    o = np.asarray(observed).astype(bool)
    use = np.ones(o.shape, bool) if usable is None else np.asarray(usable).astype(bool)
    if use.shape != o.shape:
        raise ValueError(f"usable has shape {use.shape}, observed {o.shape}; the same is needed")
    return o, use


def lost_mass(weight: Floats, lost: Floats) -> float:
    """Share lost / (kept + lost) of the weight; 0 without weight."""
    total = float(weight.sum() + lost.sum())
    return float(lost.sum()) / total if total else 0.0
