"""Did what is shown, or who answers, change? Distances between windows, and a running alarm.

    PSI = sum_b (p_b - q_b) log(p_b / q_b)             population stability index of two windows
    JS = (KL(p, m) + KL(q, m)) / 2, m = (p + q) / 2    Jensen-Shannon, in bits: 0 the same, 1 disjoint

over the values b of one dimension (surface, model, slot, ...). Half a row is added to every count, so that a
value that one window lacks does not make PSI infinite. Without change PSI / (1 / n + 1 / m) is about
chi-square with B - 1 degrees of freedom: small windows with many values are far apart by chance, which the p
value knows and the customary limits (0.1 watch, 0.25 act) do not.

Sources: Lin, "Divergence Measures Based on the Shannon Entropy" (1991); Page, "Continuous Inspection Schemes"
(1954), and Hinkley, "Inference about the Change-Point from Cumulative Sum Tests" (1971).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unskew.evaluate.drift import chi2_tail
from unskew.rates import Floats


def distances(before: ArrayLike, after: ArrayLike) -> dict[str, float]:
    """Distance of two windows by their counts of each value.

    Args:
        before: rows with each of B values. Shape [B], >= 0, with a positive sum.
        after: the same of the other window. Shape [B].

    Returns:
        `psi`, `js`, and `p`, the chance of so large a PSI without change.

    Raises:
        ValueError: the shapes differ, a count is negative, or a window is empty.
    """
    one, two = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"before has shape {one.shape}, after {two.shape}; the same [B] is needed")
    for name, counts in (("before", one), ("after", two)):
        if (counts < 0).any() or not counts.sum() > 0:
            raise ValueError(f"{name} counts {counts.tolist()}; counts of at least 0, not all 0, are needed")
    there = one + two > 0
    one, two = one[there], two[there]
    p, q = (one + 0.5) / (one + 0.5).sum(), (two + 0.5) / (two + 0.5).sum()
    psi = float((p - q) @ np.log(p / q))
    f, g = one / one.sum(), two / two.sum()
    middle = (f + g) / 2
    js = (_divergence(f, middle) + _divergence(g, middle)) / 2
    values = len(one) - 1
    chance = 1.0 if values == 0 else chi2_tail(psi / (1 / one.sum() + 1 / two.sum()), values)
    return {"psi": psi, "js": js, "p": chance}


def mix_drift(dimension: ArrayLike, window: ArrayLike) -> list[dict[str, Any]]:
    """Each window beside the one before it, over the values of one dimension.

    Args:
        dimension: value of each row (surface, model, slot, cell). Shape [N].
        window: number or name of the window of each row, in the order of time. Shape [N].

    Returns:
        For each window but the first: `window`, `n`, `psi`, `js`, `p`, and `most`, the value whose share grew
        most, with its `share` and the share `before`.

    Raises:
        ValueError: the shapes differ, or there is one window.
    """
    values, keys = np.asarray(dimension), np.asarray(window)
    if values.shape != keys.shape:
        raise ValueError(
            f"window has shape {keys.shape}, dimension {values.shape}; one window a row is needed"
        )
    names, code = np.unique(keys, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"window has {len(names)} value; at least 2 windows are needed to see a change")
    kinds, value = np.unique(values, return_inverse=True)
    table = np.bincount(code * len(kinds) + value, minlength=len(names) * len(kinds)).reshape(-1, len(kinds))
    share = table / table.sum(1, keepdims=True)
    found = []
    for number in range(1, len(names)):
        most = int(np.argmax(share[number] - share[number - 1]))
        found.append(
            {
                "window": names[number].item(),
                "n": int(table[number].sum()),
                **distances(table[number - 1], table[number]),
                "most": kinds[most].item(),
                "share": float(share[number, most]),
                "before": float(share[number - 1, most]),
            }
        )
    return found


@dataclass(frozen=True)
class Alarm:
    """Where a running mean was found to have moved.

    Args:
        row: at which the alarm was given.
        since: where the excursion began: the change is likely to lie here.
        direction: of the change.
    """

    row: int
    since: int
    direction: Literal["up", "down"]


def page_hinkley(values: ArrayLike, *, change: float, level: float = 0.01) -> Alarm | None:
    """First alarm that the mean of a sequence moved, for instance of observed, or of observed - p.

        U_t = sum_{s <= t} (x_s - mean_s - change / 2),   alarm up when U_t - min U > h,   down likewise
        h = v log(2 n / level) / change

    mean_s and v are the mean so far and the variance of the whole. U drifts down by change / 2 a row, and
    such a walk rises by h above its minimum at a given row with chance exp(-h change / v), so that a sequence
    without change gives an alarm with chance of about `level` at most.

    Args:
        values: in the order of time. Shape [N].
        change: of the mean that matters, > 0; half of it is tolerated.
        level: chance of an alarm without change, in (0, 1).

    Raises:
        ValueError: an argument is out of range.
    """
    x = np.asarray(values, np.float64)
    if not (change > 0 and 0 < level < 1) or x.ndim != 1:
        raise ValueError(
            f"change is {change}, level {level}, values have shape {x.shape}; change > 0, a level in (0, 1) "
            "and [N] are needed"
        )
    if len(x) < 2:
        return None
    height = float(x.var()) * math.log(2 * len(x) / level) / change
    away = x - np.cumsum(x) / np.arange(1, len(x) + 1)
    alarms = [_alarm(away, change / 2, height, "up"), _alarm(-away, change / 2, height, "down")]
    return min((alarm for alarm in alarms if alarm is not None), key=lambda alarm: alarm.row, default=None)


def _alarm(away: Floats, slack: float, height: float, direction: Literal["up", "down"]) -> Alarm | None:
    walk = np.cumsum(away - slack)
    over = np.flatnonzero(walk - np.minimum.accumulate(walk) > height)
    if not over.size:
        return None
    row = int(over[0])
    return Alarm(row, int(np.argmin(walk[: row + 1])) + 1, direction)


def _divergence(p: Floats, q: Floats) -> float:
    """KL divergence in bits; 0 log 0 = 0."""
    at = p > 0
    return float(p[at] @ np.log2(p[at] / q[at]))
