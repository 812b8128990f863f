"""Logs made of logs: kinds of feedback joined, classes with their own propensities, pairs, best of n.

A metric is a function of sums over rows, and a row may stand in a log more than once. So

    join       kinds of feedback one below the other, with the shares of `estimators.combine`: sums, slopes by
               the rates of each kind and influences by cluster are those of the combined columns
    of_pairs   b = 1/2 + (Y_A - Y_B) / 2 of each pair as rows 1/2, Y_A / 2 and -Y_B / 2 with weights 1, 0, 0
    best_of    the mean truth of the best of n is mean_truth with each row counted as often as it is picked,
               c = N (F_up_to^n - F_below^n) / ties, which depends on the predictions alone

With l = o t and d = o (1 - t), the slopes of class-wise columns a = l / p1 + d / p0, b = l / p1 are

    dt/dfnr = t / D,   dt/dfpr = (t - 1) / D,   da/dp1 = db/dp1 = -l / p1^2,   da/dp0 = -d / p0^2

and all four come from one gold sample, so that their covariance is one matrix (`rates.Liked.covariance`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import FLOOR, classwise_ips
from unskew.evaluate.influence import Log
from unskew.evaluate.rows import unit
from unskew.noise import Noise
from unskew.rates import Floats, Ints


def join(logs: Sequence[Log], share: Sequence[ArrayLike] | None = None) -> Log:
    """Logs one below the other, each with the rates of its own kinds.

    Args:
        logs: at least one, all with as many rates a kind.
        share: what the rows of each count; 1 when absent. Shape [N_k] each.

    Raises:
        ValueError: a number of logs, rows or rates differs.
    """
    widths = {log.covariance.shape[-1] for log in logs}
    if len(widths) != 1 or (share is not None and len(share) != len(logs)):
        raise ValueError(
            f"{len(logs)} logs with {sorted(widths)} rates a kind; one number of rates is needed"
        )
    parts = logs if share is None else [weighted(log, w) for log, w in zip(logs, share, strict=True)]
    first = np.cumsum([0, *(len(log.noise) for log in parts)])

    def stacked(name: str) -> Floats:
        return np.concatenate([getattr(log, name) for log in parts])

    return Log(
        stacked("a"),
        stacked("b"),
        stacked("slope_a"),
        stacked("slope_b"),
        stacked("by_row"),
        stacked("covariance"),
        tuple(rate for log in parts for rate in log.noise),
        np.concatenate([log.kind + start for log, start in zip(parts, first, strict=False)]),
    )


def weighted(log: Log, weight: ArrayLike) -> Log:
    """The log with each row counted so often.

    Args:
        log: N rows.
        weight: shape [N].

    Raises:
        ValueError: another shape.
    """
    w = np.asarray(weight, np.float64)
    if w.shape != log.a.shape:
        raise ValueError(f"weight has shape {w.shape}, the log {log.a.shape}; one number a row is needed")
    slope_a, slope_b = log.slope_a * w[:, None], log.slope_b * w[:, None]
    return replace(log, a=log.a * w, b=log.b * w, slope_a=slope_a, slope_b=slope_b)


def padded(log: Log, rows: int) -> Log:
    """The log followed by rows that weigh nothing, where gold may lie (`powered.gold_test`)."""
    longer: dict[str, Any] = {
        name: np.concatenate([part, np.zeros((rows, *part.shape[1:]), part.dtype)])
        for name, part in vars(log).items()
        if name in ("a", "b", "slope_a", "slope_b", "by_row", "kind")
    }
    return replace(log, **longer)


def by_class(
    label: ArrayLike, observed: ArrayLike, p1: float, p0: float, noise: Noise, covariance: ArrayLike
) -> Log:
    """`estimators.classwise_ips`, with all that it takes from gold uncertain.

    Assumption: feedback depends on the true label alone, through p1 and p0.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        p1: P(observed = 1 | true label 1), raised to the floor of the estimators. In (0, 1].
        p0: P(observed = 1 | true label 0), the same. In (0, 1].
        noise: error rates.
        covariance: of (fnr, fpr, p1, p0). Shape [4, 4].

    Raises:
        ValueError: a shape or a value is not as described.
        NoiseRefused: rates that leave too little to divide by.
    """
    spread = np.asarray(covariance, np.float64)
    if spread.shape != (4, 4):
        raise ValueError(f"covariance has shape {spread.shape}; (4, 4) of fnr, fpr, p1, p0 is needed")
    noise.checked()
    columns = classwise_ips(label, observed, p1, p0, noise.fnr, noise.fpr)
    one, zero = max(p1, float(FLOOR)), max(p0, float(FLOOR))
    o, y = np.asarray(observed, np.float64), np.asarray(label, np.float64)
    t = (np.where(o > 0, y, 0.0) - noise.fpr) / noise.D
    miss, false = o * t / noise.D, o * (t - 1) / noise.D
    tilt, nothing = 1 / one - 1 / zero, np.zeros(len(o))
    by_one, by_zero = -o * t / one**2, -o * (1 - t) / zero**2
    slope_a = np.stack([miss * tilt, false * tilt, by_one, by_zero], axis=-1)
    slope_b = np.stack([miss / one, false / one, by_one, nothing], axis=-1)
    a, b = (np.asarray(part, np.float64) for part in (columns.a, columns.b))
    kind = np.zeros(len(o), np.int64)
    return Log(a, b, slope_a, slope_b, np.zeros((len(o), 4)), spread[None], (noise,), kind)


def of_pairs(log: Log, item: Ints, ahead: Ints, behind: Ints) -> tuple[Log, Ints]:
    """A log of pairs of responses from one of single responses, b = (1 + Y_A - Y_B) / 2.

    `accuracy` of such a log, at P(A is better) by the model, is its pair accuracy: a tie in truth counts
    half. AUC and r2 mean nothing there.

    Args:
        log: whose rows of one response have weights that sum to 1 (doubly robust, joined or not).
        item: response of each row of the log. Shape [M].
        ahead: responses in slot A, numbered as `item`. Shape [P].
        behind: responses in slot B. Shape [P].

    Returns:
        (log, pair): pair of each of its rows.

    Source: `estimators.pairs_from_items`.
    """
    order = np.argsort(item, kind="stable")
    ranked = item[order]
    rows, pairs, sides = [], [np.arange(len(ahead))], []
    for side, half in ((ahead, 0.5), (behind, -0.5)):
        start, end = (np.searchsorted(ranked, side, side=where) for where in ("left", "right"))
        count = end - start
        pair = np.repeat(np.arange(len(side)), count)
        step = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
        rows.append(order[start[pair] + step])
        pairs.append(pair)
        sides.append(np.full(len(pair), half))
    at, sign = np.concatenate(rows), np.concatenate(sides)
    none, slopes = np.zeros(len(ahead)), np.zeros((len(ahead), log.slope_b.shape[1]))
    found = replace(
        log,
        a=np.concatenate([none + 1, np.zeros(len(at))]),
        b=np.concatenate([none + 0.5, sign * log.b[at]]),
        slope_a=np.concatenate([slopes, np.zeros((len(at), slopes.shape[1]))]),
        slope_b=np.concatenate([slopes, sign[:, None] * log.slope_b[at]]),
        by_row=np.concatenate([slopes, np.zeros((len(at), slopes.shape[1]))]),
        kind=np.concatenate([none.astype(np.int64), log.kind[at]]),
    )
    return found, np.concatenate(pairs)


def best_of(probability: ArrayLike, n: int = 16) -> Floats:
    """How often each response is the one predicted best among n drawn with replacement, times N. Shape [N].

    Args:
        probability: P(liked) by the model, of all responses. Shape [N], in [0, 1].
        n: draws, at least 1.

    Raises:
        ValueError: a value is not as described.

    Example:
        >>> best_of([0.1, 0.9, 0.9, 0.5], 2).tolist()
        [0.25, 1.5, 1.5, 0.75]
    """
    s = unit("probability", probability)
    if n < 1:
        raise ValueError(f"n is {n}; best of n needs at least one draw")
    _, tie, count = np.unique(s, return_inverse=True, return_counts=True)
    up_to = np.cumsum(count) / len(s)
    chance = up_to**n - np.concatenate([[0.0], up_to[:-1]]) ** n
    return np.asarray((len(s) * chance / count)[tie])
