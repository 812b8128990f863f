"""ImplicitRM: liking and activity from positive feedback, by EM. Only their product is identified.

A response has the kind happen to it when it is liked *and* its reader is active,

    P(happened | x) = P(liked | x) P(active | x)

E-step: `implicit_posterior`. M-step: two models passed in, each fitted to its columns with the logistic loss.
The likelihood holds the product alone: (c r, a / c) fits as well as (r, a), for every c that keeps both
probabilities. EM from another start ends elsewhere, with the same likelihood and other rewards. Give the
activity as known (a forced-ask subset, gold on silent rows), or say what tells the two apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import Array, aligned, probabilities
from unskew.estimators.columns import Columns
from unskew.estimators.unlabelled import implicit_posterior

PRODUCT = (
    "P(liked | x) and P(happened | liked, x) enter the log only as their product: (c liked, p1 / c) fits as "
    "well for every c"
)

Fit = Callable[[Columns], ArrayLike]
"""M-step: columns (a = 1, b in [0, 1]) to the fitted probability of each row. Shape [N]."""


@dataclass(frozen=True, eq=False)
class Implicit:
    """What EM found, and on what it rests.

    Args:
        liked: P(true label = 1). Shape [N], in [0, 1]. Its scale rests on `restriction`.
        p1: P(happened | true label 1). Shape [N], in [0, 1]. Known, or with a scale that rests on
            `restriction`.
        columns: targets for a reward model: a = 1, b = P(true label = 1 | what happened).
        likelihood: mean log-likelihood before each round and after the last. Never falls while the M-steps
            are exact.
        converged: the last round changed the likelihood by less than the tolerance.
        warning: that only the product is identified, and what was said to tell its factors apart; empty when
            p1 was known.
    """

    liked: Array
    p1: Array
    columns: Columns
    likelihood: tuple[float, ...]
    converged: bool
    warning: str

    @property
    def product(self) -> Array:
        """P(happened), the only part that the log identifies. Shape [N]."""
        return np.asarray(self.liked * self.p1)


def implicit_em(
    observed: ArrayLike,
    fit_liked: Fit,
    fit_active: Fit | None = None,
    *,
    p1: ArrayLike,
    liked: ArrayLike = 0.5,
    restriction: str = "",
    rounds: int = 200,
    tolerance: float = 1e-9,
) -> Implicit:
    """EM for P(happened | x) = P(liked | x) P(happened | liked, x).

    With p1 known (no `fit_active`), P(liked | x) is identified and found if the model can hold it. With p1
    fitted, only the product is: the result depends on the start by a factor, and carries the warning.
    Features of activity that are disjoint from those of quality leave that one factor free; a known p1 on
    some rows, a response that is surely liked, or a known base rate fixes it.

    Args:
        observed: 1 where it happened. Shape [N], 0 or 1.
        fit_liked: M-step of P(liked | x).
        fit_active: M-step of P(happened | liked, x); None when p1 is known.
        p1: P(happened | true label 1): known, or where EM starts. One number or one a row, in (0, 1].
        liked: where P(liked | x) starts. One number or one a row, in (0, 1).
        restriction: what tells liking from activity, in words; asked for with `fit_active`, kept in the
            result.
        rounds: most rounds, >= 1.
        tolerance: change of the mean log-likelihood in a round below which EM stops.

    Raises:
        ValueError: a shape or a value is not as described, a fit returns no probabilities, or p1 is fitted
            and nothing is said to tell it from liking.

    Source: ImplicitRM (arXiv 2603.23184), with the assignment of strata of its objective and appendix.
    """
    if fit_active is not None and not restriction.strip():
        raise ValueError(
            f"{PRODUCT}. Leave out `fit_active` and give the true p1, or say in `restriction` what tells "
            "the two apart, such as 'p1 depends on the surface only, and is 0.4 on the forced-ask subset'"
        )
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; at least 1 is needed")
    _, o = aligned(1, observed)
    o, r, active = (values.astype(np.float64) for values in probabilities(observed=o, liked=liked, p1=p1))
    likelihood = [_likelihood(o, r, active)]
    converged = False
    while len(likelihood) <= rounds and not converged:
        expected = implicit_posterior(o, r, active)
        r = _fitted("fit_liked", fit_liked(expected.liked), o)
        if fit_active is not None:
            active = _fitted("fit_active", fit_active(expected.active), o)
        likelihood.append(_likelihood(o, r, active))
        converged = abs(likelihood[-1] - likelihood[-2]) < tolerance
    said = f"{PRODUCT}. Told apart, it was said, by: {restriction.strip()}" if fit_active else ""
    columns = implicit_posterior(o, r, active).liked
    return Implicit(r, active, columns, tuple(likelihood), converged, said)


def _fitted(name: str, values: ArrayLike, observed: Array) -> Array:
    """What an M-step returned, if it is a probability of each row."""
    found = np.asarray(values, np.float64)
    if found.shape != observed.shape:
        raise ValueError(
            f"{name} returned shape {found.shape}; {observed.shape} is needed, a probability a row"
        )
    probabilities(**{f"result of {name}": found})
    return found


def _likelihood(o: Array, r: Array, active: Array) -> float:
    """Mean log-likelihood of what happened; -inf where it cannot have."""
    happens = r * active
    with np.errstate(divide="ignore"):
        return float(np.log(np.where(o == 1, happens, 1 - happens)).mean())
