"""Logged probabilities of what was shown, put to the test: do they behave like the draw they describe?

Where one of several arms is drawn, and the probability of the drawn one is logged,

    E[1 / p] = sum over arms of p (1 / p) = number of arms that could be drawn
    E[1(arm) / p] = P(the arm could be drawn) <= 1, for each arm

so a mean of 1 / p far from the number of arms, or an arm whose share of it is above 1, is a bug in the log,
not chance. Where every candidate of a request is logged with the probability that it was the one drawn, they
sum to 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.rates import Bools, Floats, Ints, Z, mean_interval

TOLERANCE = 1e-3
"""Distance from 1 within which probabilities of a request sum to 1; they may be logged in few digits."""

SMALL = 1e-3
"""A probability below which one row outweighs a thousand."""


@dataclass(frozen=True)
class PolicyCheck:
    """What logged probabilities look like.

    Args:
        rows: with a probability.
        missing: rows without one.
        least: the smallest probability, NaN without rows.
        arms: mean of 1 / p with its 95 % interval, `value`, `low`, `high`: arms that could be drawn.
        too_small: arms whose E[1(arm) / p] is above 1 beyond chance: they were drawn more often than logged.
        requests: of several candidates, all with a probability.
        off: of them, those whose probabilities do not sum to 1.
    """

    rows: int
    missing: int
    least: float
    arms: dict[str, float]
    too_small: tuple[str, ...]
    requests: int
    off: int

    def warnings(self) -> tuple[str, ...]:
        """What speaks against the probabilities, in words; nothing when nothing does.

        Sums over requests are held against them only where most requests do sum to 1: elsewhere candidates
        seem to be drawn one by one, or not all logged.
        """
        said = []
        if self.least < SMALL:
            said.append(
                f"The smallest logged probability of showing a response is {self.least:.2g}; a weight 1 / p "
                f"makes that one row count {1 / self.least:,.0f} times."
            )
        if self.too_small:
            said.append(
                f"{', '.join(self.too_small)}: shown more often than the logged probabilities allow, beyond "
                "chance. They do not describe what the product drew."
            )
        if 0 < self.off <= self.requests / 2:
            said.append(
                f"In {self.off:,} of {self.requests:,} requests the logged probabilities of the candidates "
                "do not sum to 1, in the others they do; a candidate or its probability is missing there."
            )
        return tuple(said)


def check_policy(
    prob: ArrayLike, *, arm: ArrayLike | None = None, request: ArrayLike | None = None
) -> PolicyCheck:
    """Test the logged probabilities of one policy.

    Args:
        prob: probability with which the policy showed the row, NaN where not logged. Shape [N], in (0, 1].
        arm: what was drawn (model, item); nothing is said about arms when absent. Shape [N].
        request: rows that are candidates of one draw share it; no sums when absent. Shape [N].

    Raises:
        ValueError: the shapes differ, or a probability is not in (0, 1].
    """
    p = np.asarray(prob, np.float64)
    known = ~np.isnan(p)
    bad = np.flatnonzero(known & ~((p > 0) & (p <= 1)))
    if bad.size:
        raise ValueError(
            f"prob of row {bad[0]} is {p[bad[0]]}; it must be in (0, 1], or nan where it was not logged"
        )
    for name, column in (("arm", arm), ("request", request)):
        if column is not None and np.shape(column) != p.shape:
            raise ValueError(f"{name} has shape {np.shape(column)}, prob {p.shape}; the same is needed")
    rows, inverse = int(known.sum()), 1 / p[known]
    nothing = dict.fromkeys(("value", "low", "high"), math.nan)
    too_small: tuple[str, ...] = ()
    if arm is not None and rows:
        names, code = np.unique(np.asarray(arm)[known], return_inverse=True)
        too_small = tuple(str(name) for name in names[_above(code, inverse, len(names))])
    requests, off = (0, 0) if request is None else _sums(p, np.asarray(request))
    return PolicyCheck(
        rows,
        len(p) - rows,
        float(p[known].min()) if rows else math.nan,
        mean_interval(inverse) if rows else nothing,
        too_small,
        requests,
        off,
    )


def _above(code: Ints, inverse: Floats, arms: int) -> Bools:
    """Arms whose mean of 1(arm) / p is above 1 beyond chance, with one chance in 40 over all arms."""
    n = len(code)
    total, square = np.bincount(code, inverse, arms), np.bincount(code, inverse**2, arms)
    mean = total / n
    error = np.sqrt(np.maximum(square / n - mean**2, 0.0) / n)
    return np.asarray(mean - 1 > (Z + math.sqrt(2 * math.log(arms))) * error + 1e-9)


def _sums(p: Floats, request: NDArray[Any]) -> tuple[int, int]:
    """Requests of several candidates with all probabilities, and those that do not sum to 1."""
    code = np.unique(request, return_inverse=True)[1]
    size = np.bincount(code)
    total = np.bincount(code, p)  # NaN where one is missing
    whole = (size > 1) & ~np.isnan(total)
    return int(whole.sum()), int((whole & (np.abs(total - 1) > TOLERANCE)).sum())
