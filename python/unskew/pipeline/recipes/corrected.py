"""Single responses with two-sided feedback: recorded labels, corrected, weighted, imputed.

A keyword of these classes is a setting of the recipe: `recipes: {ips: {floor: 0.1}}` in the YAML of a run.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from unskew import estimators
from unskew.estimators import FLOOR, Columns
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.parts import (
    Target,
    classes,
    cross_fitted,
    imputed_for,
    propensity,
    rates,
    two_sided,
)
from unskew.rates import Bools, Floats, design_weight

SHRINKAGE = float(4 / FLOOR**2)
"""L of the shrunk weights: none exceeds sqrt(L) / 2 = 1 / floor, the largest weight of `ips`."""


def naive(m: Material) -> Target:
    """Labels as they are, where there are any, whoever gave them."""
    return Target(
        two_sided(m.as_logged(), "naive", lambda _, y, o: estimators.naive(y, o), trust=False), "brier"
    )


LEANS = (
    "Silence counts as half a like, all of it together as much as all answers: predictions lean towards "
    "50 %, most where few people answer. Rank responses by them; they are no shares of liked responses."
)
"""What goes with every model of the recipe `cautious`, where there is silence."""


def cautious(m: Material) -> Target:
    """Labels as they are and silence as one half; all silence weighs as much as all answers, at most."""

    def make(name: str, y: Floats, o: Bools) -> Columns:
        usable = m.usable[:, m.examples.kind(name)]
        return estimators.cautious(y, o, estimators.silence_weight(o[usable]))

    columns = two_sided(m, "naive", make, trust=False)
    kinds = [m.examples.kind(name) for name in m.offered_to("naive")]
    leans = bool((m.usable & ~m.examples.observed)[:, kinds].any())
    return Target(columns, "brier", warnings=(LEANS,) if leans else ())


def noise_corrected(m: Material) -> Target:
    """Flips undone, selection left alone."""

    def make(name: str, y: Floats, o: Bools) -> Columns:
        rate = rates(m, name)
        return estimators.noise_corrected(y, o, rate.fnr, rate.fpr)

    return Target(two_sided(m, "noise_corrected", make), "brier")


@dataclass(frozen=True)
class Weighted:
    """Corrected labels, weighted: `ips` and `snips`.

    Args:
        family: of the audit.
        estimator: label, observed, propensity, fnr and fpr to columns.
        floor: smaller propensities are raised to it and counted: a cap of 1 / floor on the weights.
    """

    family: str
    estimator: Callable[..., Columns] = field(repr=False)
    _: KW_ONLY
    floor: float = float(FLOOR)

    def __call__(self, m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            rate = rates(m, name)
            return self.estimator(y, o, propensity(m, name), rate.fnr, rate.fpr, floor=self.floor)

        return Target(two_sided(m, self.family, make), "brier")


@dataclass(frozen=True)
class Shrunk:
    """`ips`, or `doubly_robust` with its imputation, with weights w / (1 + w^2 / L).

    Args:
        robust: doubly robust.
        shrinkage: L, positive and finite; the larger, the closer to the plain weights.
    """

    robust: bool
    _: KW_ONLY
    shrinkage: float = SHRINKAGE

    def __call__(self, m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            rate, p = rates(m, name), propensity(m, name)
            if self.robust:
                return estimators.shrunk_doubly_robust(
                    y, o, p, imputed_for(m, name), rate.fnr, rate.fpr, shrinkage=self.shrinkage
                )
            return estimators.shrunk_ips(y, o, p, rate.fnr, rate.fpr, shrinkage=self.shrinkage)

        return Target(two_sided(m, "doubly_robust" if self.robust else "ips", make), "brier")


def classwise_ips(m: Material) -> Target:
    """Each class weighted by its own propensity, from gold."""

    def make(name: str, y: Floats, o: Bools) -> Columns:
        rate = rates(m, name)
        return estimators.classwise_ips(y, o, *classes(m, name), rate.fnr, rate.fpr)

    return Target(two_sided(m, "classwise_ips", make), "brier")


@dataclass(frozen=True)
class DoublyRobust:
    """An imputation on every row, corrected where feedback was given.

    The imputation is the out-of-fold head of evidence; where the audit refuses that, one fitted out of fold
    to weighted corrected labels; or (MRDR) one fitted so with the weights o (1 - p) / p^2, under which it
    minimises the variance of the target.

    Args:
        more: MRDR.
        floor: smaller propensities are raised to it and counted: a cap of 1 / floor on the weights.
    """

    more: bool = False
    _: KW_ONLY
    floor: float = float(FLOOR)

    def __call__(self, m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            rate = rates(m, name)
            record = y, o, propensity(m, name)
            if self.more:
                part = estimators.mrdr_fit(*record, rate.fnr, rate.fpr, floor=self.floor)
                q = cross_fitted(m, part, loss="brier")
            else:
                q = imputed_for(m, name)
            return estimators.doubly_robust(*record, q, rate.fnr, rate.fpr, floor=self.floor)

        return Target(two_sided(m, "doubly_robust", make), "brier")


def gold(m: Material) -> Target:
    """Gold labels alone, by the inverse of their design."""
    rows = m.examples
    known = ~np.isnan(rows.gold)
    if not known.any():
        raise Refused("there are no gold labels in this store")
    a = np.zeros(len(rows))
    a[known] = design_weight(rows.gold_design[known], rows.gold_prob[known])
    return Target(Columns(a, a * np.nan_to_num(rows.gold), 0 * a), "brier")
