"""Error rates of slot-coded choices from the same pair shown in both orders.

A label is 1 when slot A was chosen. Show responses X and Y as (X, Y), then as (Y, X): whatever the truth, one
of the two has the better response in slot A. With u and v the two labels of a pair,

    first  = P(u = 1, v = 1)    slot A both times: right where A is better, wrong where B is
    second = P(u = 0, v = 0)    slot B both times
    fpr - fnr = first - second                                position bias; needs no further assumption
    first  = fpr (1 - fnr),  second = fnr (1 - fpr)           if the two readings err independently
    D = sqrt(1 - 2 (first + second) + (first - second)^2)
    fpr = (1 - D + (first - second)) / 2,   fnr = (1 - D - (first - second)) / 2

Without independence the share w of pairs that are misread both times is unseen, and fnr = second + w,
fpr = first + w, with 0 <= w <= (1 - first - second) / 2 as long as D >= 0: those are the bounds. Independence
says w = fnr fpr. A judge who prefers the worse response for what it says (length, tone) does so in both
orders, so for most judges the estimate is a lower bound and only gold shows w: on LLMBar's adversarial pairs
GPT-4 comes out at (.06, .06) where gold says (.29, .29), with the same position bias.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.checks import same_length
from unskew.noise.records import Noise, NoiseRefused
from unskew.rates import Floats, Interval, Share, mean_interval


@dataclass(frozen=True)
class Swaps:
    """What showing pairs in both orders says about the errors of choices.

    Args:
        noise: fnr and fpr if the two readings err independently; source `swaps`.
        first: P(slot A both times).
        second: P(slot B both times).
        pairs: pairs with a label in both orders.
        left_out: pairs without.
    """

    noise: Noise
    first: Share
    second: Share
    pairs: int
    left_out: int

    @property
    def inconsistent(self) -> float:
        """P(the two orders contradict each other)."""
        return self.first.value + self.second.value

    @property
    def bias(self) -> float:
        """fpr - fnr: above 0 when slot A is favoured. Holds without independence."""
        return self.first.value - self.second.value

    @property
    def bounds(self) -> dict[str, Interval]:
        """What fnr, fpr and D can be when the readings may err together, but D >= 0; sampling left aside."""
        most = (1 - self.inconsistent) / 2
        return {
            "fnr": (self.second.value, self.second.value + most),
            "fpr": (self.first.value, self.first.value + most),
            "D": (0.0, 1 - self.inconsistent),
        }


def from_swaps(forward: ArrayLike, backward: ArrayLike, *, kind: str = "choice") -> Swaps:
    """Slot-wise flip rates from pairs that were judged in both orders, without gold.

    Formulas in the module docstring; covariance by the delta method over pairs, at shares with half a pair of
    each outcome added; an outcome that never occurs counts as half a pair. Assumption of `noise`: given which
    response is better, the two readings err independently, with rates that are the same for all pairs.
    `bias` and `bounds` do without.

    Args:
        forward: was slot A chosen when X was in it; 1, 0, P(A) of a judge that gives probabilities, or NaN
            for no answer. Shape [N], in [0, 1].
        backward: was slot A chosen when Y was in it, likewise. Shape [N].
        kind: name of the kind, for messages.

    Raises:
        ValueError: shapes differ, a label is outside [0, 1], or no pair was answered in both orders.
        NoiseRefused: the orders contradict each other more often than independent errors with D > 0 can.

    Source: ours; that only swapping shows position bias: Zheng et al., "Judging LLM-as-a-Judge" (2023), 3.3,
        and Lee et al., "RLAIF vs. RLHF" (2023), appendix on position bias.

    Example:
        >>> right, first, second, wrong = [1, 0] * 36, [1] * 18, [0] * 8, [0, 1]
        >>> turned = [1 - label for label in right + wrong]
        >>> found = from_swaps(right + wrong + first + second, turned + first + second)
        >>> round(found.noise.fnr, 2), round(found.noise.fpr, 2), round(found.bias, 2)
        (0.1, 0.2, 0.1)
    """
    u, v = np.asarray(forward, np.float64), np.asarray(backward, np.float64)
    same_length(u.size, forward=u, backward=v)
    for name, values in (("forward", u), ("backward", v)):
        bad = np.flatnonzero((values < 0) | (values > 1))
        if bad.size:
            raise ValueError(
                f"{name}[{bad[0]}] is {values[bad[0]]:g}; it must be in [0, 1], or NaN for no answer"
            )
    both = ~(np.isnan(u) | np.isnan(v))
    n = int(both.sum())
    if not n:
        raise ValueError(
            f"{kind}: no pair has an answer in both orders; show some pairs a second time, swapped"
        )
    u, v = u[both], v[both]
    outcome = np.stack([u * v, (1 - u) * (1 - v)])
    a, b = (max(float(share), 0.5 / (n + 1.5)) for share in outcome.mean(1))
    square = 1 - 2 * (a + b) + (a - b) ** 2
    if square <= 0 or a + b >= 1:
        raise NoiseRefused(
            f"{kind}: the two orders contradict each other in {a + b:.1%} of pairs ({a:.1%} slot A twice, "
            f"{b:.1%} slot B twice), at least as often as coins do. Nothing is left to correct; leave the "
            "judge out"
        )
    D = float(np.sqrt(square))
    spread = _covariance(outcome, n)
    # (fnr, fpr) by (first, second): dD / dfirst = (a - b - 1) / D, dD / dsecond = -(1 + a - b) / D
    by_first, by_second = (a - b - 1) / D, -(1 + a - b) / D
    slope = np.array([[-by_first - 1, -by_second + 1], [-by_first + 1, -by_second - 1]]) / 2
    # fnr = (1 - D - (a - b)) / 2 and fpr = (1 - D + a - b) / 2 written without cancelling
    fpr, fnr = 2 * a / (1 + D + a - b), 2 * b / (1 + D - a + b)
    noise = Noise(fnr, fpr, slope @ spread @ slope.T, "swaps", kind)
    return Swaps(noise, Share(a, float(spread[0, 0])), Share(b, float(spread[1, 1])), n, len(both) - n)


def _covariance(outcome: Floats, n: int) -> Floats:
    """Covariance of the two mean outcomes, half a pair of each of the three outcomes added. Shape [2, 2]."""
    share = (outcome.sum(1) + 0.5) / (n + 1.5)
    second = (outcome @ outcome.T + 0.5 * np.eye(2)) / (n + 1.5)
    return np.asarray((second - np.outer(share, share)) / n)


@dataclass(frozen=True)
class Position:
    """Position bias of a judge that gives probabilities.

    Args:
        offset: logits that slot A gets for being slot A, with its 95 % interval (`value`, `low`, `high`).
        preferred: P(X is better) without the bias. Shape [N]; NaN where an order is missing.
        clipped: probabilities of 0 or 1, moved to `LIMIT`.
    """

    offset: dict[str, float]
    preferred: Floats
    clipped: int


LIMIT = 1e-6
"""Probabilities closer to 0 or 1 than this have no usable logit."""


def position_bias(forward: ArrayLike, backward: ArrayLike) -> Position:
    """The bias of slot A in logits, and each pair's preference without it.

        logit forward = s + beta,  logit backward = -s + beta
        beta = (logit forward + logit backward) / 2
        P(X better) = sigmoid((logit forward - logit backward) / 2)

    Assumption: the position adds the same logits in both orders of a pair. Then s is exact, pair by pair,
    while averaging probabilities shrinks every preference towards 1/2. Says nothing about errors that both
    orders share.

    Args:
        forward: P(slot A) with X in it. Shape [N], in [0, 1], NaN for no answer.
        backward: P(slot A) with Y in it. Shape [N].

    Raises:
        ValueError: shapes differ, a probability is outside [0, 1], or no pair has both.
    """
    u, v = np.asarray(forward, np.float64), np.asarray(backward, np.float64)
    same_length(u.size, forward=u, backward=v)
    both = ~(np.isnan(u) | np.isnan(v))
    values = np.concatenate([u[both], v[both]])
    if not values.size or values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"{int(both.sum())} pairs have two probabilities; at least one is needed, all of them in [0, 1]"
        )
    logit = [np.log(p / (1 - p)) for p in (np.clip(x, LIMIT, 1 - LIMIT) for x in (u, v))]
    offset = mean_interval(((logit[0] + logit[1]) / 2)[both])
    clipped = int(((values < LIMIT) | (values > 1 - LIMIT)).sum())
    return Position(offset, 1 / (1 + np.exp((logit[1] - logit[0]) / 2)), clipped)
