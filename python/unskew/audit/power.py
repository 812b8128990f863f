"""What a number of gold labels can show, before anybody has given one: power of tests, and the least number.

Normal approximations, closed in n; Phi is the normal distribution function, z its quantile at 1 - level / 2.
They are within four points of exact enumeration from about a hundred labels on.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

LIMIT = 10_000_000
"""Labels beyond which nobody asks."""


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def class_power(n: float, base_rate: float, p1: float, p0: float, level: float = 0.01) -> float:
    """P(gold rejects that answering does not depend on the label), by the test of the audit.

    That test sums (o - mean o) (r - mean r). With pi the base rate and s = pi p1 + (1 - pi) p0,

        mean      c = pi (1 - pi) (p1 - p0)
        square    V = pi (1 - pi)^2 (p1 (1 - p1) + (p1 - s)^2) + (1 - pi) pi^2 (p0 (1 - p0) + (p0 - s)^2)
        power     Phi((sqrt(n) |c| - z sqrt(V)) / sqrt(V - c^2)) + the same with -|c|

    Assumption: gold rows are drawn at random, and the propensity explains nothing (it can only help).

    Args:
        n: random gold labels on responses that offer the kind, > 0.
        base_rate: pi, P(liked), in (0, 1).
        p1: P(answered | liked), in [0, 1].
        p0: P(answered | not liked), in [0, 1].
        level: of the test.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(class_power(200, 0.5, 0.4, 0.2), 2)
        0.7
    """
    _checked(n=n, level=level, base_rate=base_rate)
    _probabilities(p1=p1, p0=p0)
    pi, s = base_rate, base_rate * p1 + (1 - base_rate) * p0
    c = pi * (1 - pi) * (p1 - p0)
    liked = pi * (1 - pi) ** 2 * (p1 * (1 - p1) + (p1 - s) ** 2)
    V = liked + (1 - pi) * pi**2 * (p0 * (1 - p0) + (p0 - s) ** 2)
    if V - c * c <= 1e-15:  # nobody answers, or everybody: nothing varies
        return 0.0
    z, spread = NormalDist().inv_cdf(1 - level / 2), math.sqrt(V - c * c)
    return sum(_phi((math.sqrt(n) * side - z * math.sqrt(V)) / spread) for side in (abs(c), -abs(c)))


def gap_power(n: float, gap: float, sd: float, level: float = 0.05, known: float = 0.0) -> float:
    """P(the log and gold are found to differ), when what they measure differs by `gap`.

        Phi(|gap| / se - z) + Phi(-|gap| / se - z),    se^2 = sd^2 / n + known^2

    Args:
        n: random gold labels, > 0.
        gap: bias of the log's value.
        sd: standard deviation of what is averaged over gold (sqrt(a (1 - a)) of an accuracy a), > 0.
        level: of the test.
        known: standard error of the log's value.

    Raises:
        ValueError: an argument is out of its range.

    Source: the test is that of `evaluate.gold_test`.

    Example:
        >>> round(gap_power(1000, 0.056, 0.48), 2)
        0.96
    """
    _checked(n=n, level=level)
    if not sd > 0:
        raise ValueError(f"sd is {sd}; it must be positive")
    z, size = NormalDist().inv_cdf(1 - level / 2), abs(gap) / math.sqrt(sd * sd / n + known * known)
    return _phi(size - z) + _phi(-size - z)


def log_power(n: float, base_rate: float, p1: float, p0: float, level: float = 0.05) -> float:
    """P(gold contradicts the share of liked responses that a log tells which ignores p1 != p0).

    Such a log, however long, tells v = pi p1 / (pi p1 + (1 - pi) p0) for pi: `gap_power` at v - pi.

    Args:
        n: random gold labels, > 0.
        base_rate: pi, P(liked), in (0, 1).
        p1: P(answered | liked), in [0, 1].
        p0: P(answered | not liked), in [0, 1]; one of the two is positive.
        level: of the test.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(log_power(200, 0.5, 0.4, 0.2), 2)
        1.0
    """
    _checked(n=n, level=level, base_rate=base_rate)
    _probabilities(p1=p1, p0=p0)
    answered = base_rate * p1 + (1 - base_rate) * p0
    if not answered:
        raise ValueError("p1 and p0 are both 0; nobody answers, so the log tells no share")
    gap = base_rate * p1 / answered - base_rate
    return gap_power(n, gap, math.sqrt(base_rate * (1 - base_rate)), level)


def least(reached: Callable[[int], bool]) -> int | None:
    """The least number of labels at which something is reached, when more labels never undo it.

        least(lambda n: class_power(n, 0.5, 0.4, 0.2) >= 0.8)
        least(lambda n: width(n) <= 0.1)

    Args:
        reached: whether n labels do, n >= 1.

    Returns:
        None when ten million do not.
    """
    high = 1
    while not reached(high):
        high *= 2
        if high > LIMIT:
            return None
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _checked(n: float, level: float, base_rate: float = 0.5) -> None:
    if not n > 0:
        raise ValueError(f"n is {n}; at least one gold label is needed")
    for name, value in (("level", level), ("base_rate", base_rate)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}; it must be in (0, 1)")


def _probabilities(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be in [0, 1]: it is a probability")
