"""Feedback takes time: how long it takes, and how often it comes, young responses counted as what they are.

A response shown a minute ago without feedback is not silent yet. With F(t) = P(delay <= t | feedback comes)
and e = P(feedback comes), one of age a shows feedback with probability e F(a): it stands for F(a) exposures.

    e = answers / sum F(a)

F is found from the answers alone, each of which is seen because its delay did not exceed the age of its
response: the product of Kaplan and Meier in reversed time,

    F(t) = prod_{u > t} (1 - d_u / n_u),   d_u answers with delay u,   n_u answers with delay <= u <= age

No silent row and no e enters F, so e may differ as it likes between cells and between old and young
responses; Kaplan and Meier's curve in forward time, over silent rows too, needs one e for all. Assumption:
given that feedback comes, its delay depends neither on the cell nor on when the response was shown, and what
happened before the watermark has arrived. F is 1 at the longest delay seen, so some responses must be as old
as the window.

Sources: Kaplan and Meier, "Nonparametric Estimation from Incomplete Observations" (1958); Lagakos, Barraj and
De Gruttola, "Nonparametric Analysis of Truncated Survival Data, with Application to AIDS" (1988).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from unskew.rates import Bools, Floats, Ints


@dataclass(frozen=True)
class Delays:
    """Distribution of the delay of feedback that comes.

    Args:
        times: distinct delays, rising. Shape [T].
        share: F at each of them, 1 at the last. Shape [T].
        spread: variance of log F at each of them (Greenwood's sum over later delays), infinite where F is 0
            for want of answers from responses old enough. Shape [T].
        answers: how many delays it was found from.
    """

    times: Floats = field(repr=False)
    share: Floats = field(repr=False)
    spread: Floats = field(repr=False)
    answers: float

    def at(self, age: ArrayLike) -> Floats:
        """F(age): the exposures that a response of this age stands for. Same shape as `age`, in [0, 1]."""
        place = self._place(age)
        return np.where(place >= 0, self.share[place], 0.0)

    def variance(self, age: ArrayLike) -> Floats:
        """Greenwood's variance of F(age); infinite where `spread` is, 0 below the first delay seen."""
        spread = self.log_variance(age)
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(spread), self.at(age) ** 2 * spread, np.inf)

    def log_variance(self, age: ArrayLike) -> Floats:
        """Variance of log F(age), 0 below the first delay seen."""
        place = self._place(age)
        return np.where(place >= 0, self.spread[place], 0.0)

    def _place(self, age: ArrayLike) -> Ints:
        return np.searchsorted(self.times, np.asarray(age, np.float64), side="right") - 1


def delays(delay: ArrayLike, age: ArrayLike, *, count: ArrayLike | None = None) -> Delays:
    """How long feedback of a kind takes, from responses of every age.

    Args:
        delay: from the response to its first feedback of the kind, NaN where none has come. Feedback later
            than `age` (after the watermark) counts as not come yet. Shape [N], >= 0.
        age: from the response to the watermark. Shape [N], >= 0.
        count: responses that a row stands for; 1 when absent. Shape [N].

    Raises:
        ValueError: the shapes differ, a value is below 0, or no feedback has come.
    """
    t, a, seen = _columns(delay, age)
    number = np.ones(len(t)) if count is None else np.asarray(count, np.float64)
    if number.shape != t.shape:
        raise ValueError(f"count has shape {number.shape}, delay {t.shape}; the same is needed")
    seen &= number > 0
    if not seen.any():
        raise ValueError("no feedback has come yet, so how long it takes is unknown; wait for some")
    t, a, number = t[seen], a[seen], number[seen]
    times, code = np.unique(t, return_inverse=True)
    came = np.bincount(code, number)
    last = np.searchsorted(times, a, side="right") - 1  # the last of `times` at which it is at risk
    risk = np.cumsum(came - np.concatenate([[0.0], np.bincount(last, number, len(times))[:-1]]))
    left = np.maximum(risk - came, 0.0)
    left[left < 1e-12 * risk] = 0.0  # rounding of the two sums
    with np.errstate(divide="ignore"):
        jump = np.where(left > 0, came / (risk * left), np.inf)
    # The product and the sum over later delays: all but the first, from the end.
    share = np.append(np.cumprod((left / risk)[:0:-1])[::-1], 1.0)
    spread = np.append(np.cumsum(jump[:0:-1])[::-1], 0.0)
    return Delays(times, share, np.where(share > 0, spread, np.inf), float(came.sum()))


@dataclass(frozen=True)
class Rates:
    """How often feedback comes in each of C cells, young responses counted for what they are.

    Args:
        rate: answers / exposures, NaN without exposures. Shape [C].
        variance: of the rate; binomial, plus Greenwood's for the exposures. Shape [C].
        answers: responses with feedback, open ones too. Shape [C].
        exposures: sum of F(age). Shape [C].
        rows: responses. Shape [C].
    """

    rate: Floats
    variance: Floats
    answers: Floats
    exposures: Floats
    rows: Floats


def corrected(
    delay: ArrayLike,
    age: ArrayLike,
    found: Delays,
    cell: ArrayLike | None = None,
    *,
    count: ArrayLike | None = None,
) -> Rates:
    """Propensity of each cell from all responses, open ones included.

        e = K / E,   K answers,   E = sum F(a)
        variance = sum e F(a) (1 - e F(a)) / E^2 + e^2 Var(E) / E^2
        Var(E) = sum_ij F(a_i) F(a_j) Var log F(max(a_i, a_j))

    The two parts add because F is read off the delays given who answered, and K is who answered.

    Args:
        delay: from the response to its first feedback, NaN where none has come. Shape [N], >= 0.
        age: from the response to the watermark. Shape [N], >= 0.
        found: F, of this kind of feedback.
        cell: number of the cell of each row, 0 to C - 1; one cell when absent. Shape [N].
        count: responses that a row stands for; 1 when absent. Shape [N].

    Raises:
        ValueError: the shapes differ, or a value is below 0.
    """
    _, a, seen = _columns(delay, age)
    place = np.zeros(len(a), np.int64) if cell is None else np.asarray(cell, np.int64)
    number = np.ones(len(a)) if count is None else np.asarray(count, np.float64)
    if place.shape != a.shape or number.shape != a.shape:
        raise ValueError(
            f"cell has shape {place.shape}, count {number.shape}, age {a.shape}; the same is needed"
        )
    size = int(place.max(initial=0)) + 1
    share = found.at(a)

    def counted(values: Floats) -> Floats:
        return np.asarray(np.bincount(place, values, size), np.float64)

    rows, answers, exposures = counted(number), counted(number * seen), counted(number * share)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = answers / exposures
    e = rate[place] * share
    chance = counted(number * np.clip(e * (1 - e), 0.0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (chance + rate**2 * _of_exposures(place, a, number, found, size)) / exposures**2
    return Rates(rate, variance, answers, exposures, rows)


def _of_exposures(cell: Ints, age: Floats, count: Floats, found: Delays, size: int) -> Floats:
    """Var(sum F(a)) of each cell: ages in order, each with all younger ones of its cell."""
    weight, spread = count * found.at(age), found.log_variance(age)
    young = np.flatnonzero((weight > 0) & (spread > 0))
    order = young[np.lexsort((age[young], cell[young]))]
    c, w = cell[order], weight[order]
    before = np.cumsum(w) - w
    younger = before - before[np.searchsorted(c, c)]
    return np.asarray(np.bincount(c, spread[order] * w * (2 * younger + w), size), np.float64)


def _columns(delay: ArrayLike, age: ArrayLike) -> tuple[Floats, Floats, Bools]:
    """Delay, age, and whether feedback has come."""
    t, a = np.asarray(delay, np.float64), np.asarray(age, np.float64)
    if t.shape != a.shape or t.ndim != 1:
        raise ValueError(f"delay has shape {t.shape}, age {a.shape}; the same [N] is needed")
    for name, column in (("delay", t), ("age", a)):
        bad = np.flatnonzero(column < 0)
        if bad.size:
            raise ValueError(
                f"{name} of row {bad[0]} is {column[bad[0]]}; it must be at least 0: time since the response"
            )
    bad = np.flatnonzero(np.isnan(a))
    if bad.size:
        raise ValueError(f"age of row {bad[0]} is nan; every response has one")
    return t, a, t <= a
