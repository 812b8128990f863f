"""The value of a policy from the log of another."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import ess
from unskew.evaluate.rows import unit
from unskew.rates import Floats, Z

HALF, FEW, EARNING, ALONE, OFF = 0.5, 200, 30, 0.1, 3.0
"""Limits of a warning: share of the rows that the weights leave, and how many; effective rows with a reward;
share of all weight on one row; standard errors of the mean weight from 1."""


@dataclass(frozen=True)
class PolicyValue:
    """What a policy would earn, estimated from the log of another.

    Args:
        value: mean reward.
        se: its standard error.
        low, high: 95 % interval.
        ess: effective sample size of the weights.
        n: rows.
        max_weight: largest weight.
        mean_weight: mean weight, 1 in expectation when the log covers what the policy would do.
        warnings: what a person should know before believing the interval, a sentence each.
    """

    value: float
    se: float
    low: float
    high: float
    ess: float
    n: int
    max_weight: float
    mean_weight: float
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return asdict(self)


def policy_value(
    reward: ArrayLike,
    logged_prob: ArrayLike,
    target_prob: ArrayLike,
    *,
    estimator: Literal["snips", "ips"] = "snips",
) -> PolicyValue:
    """Value of a target policy from rows that a logging policy chose.

        w = target / logged,   ips = mean(w r),   snips = sum w r / sum w
        se of ips = sd(w r) / sqrt(N),   se of snips = sqrt(sum w^2 (r - snips)^2) / sum w

    The second standard error is that of the ratio (its influence function); the spread of the terms w r /
    mean w would ignore that the denominator is random too. Assumption: the log covers every action of the
    target.

    Args:
        reward: what was earned. Shape [N].
        logged_prob: probability with which the logging policy chose this action here. Shape [N], in (0, 1].
        target_prob: probability with which the target policy would. Shape [N], in [0, 1].
        estimator: `snips` (consistent, bounded by the rewards) or `ips` (unbiased).

    Raises:
        ValueError: a shape or a value is not as described, or no row has weight.

    Source: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (2015).

    Example:
        >>> policy_value([1, 0], [0.5, 0.5], [1.0, 0.0]).value
        1.0
    """
    if estimator not in ("snips", "ips"):
        raise ValueError(f"estimator is {estimator!r}; it must be 'snips' or 'ips'")
    r, p = np.asarray(reward, np.float64), np.asarray(logged_prob, np.float64)
    target = unit("target_prob", target_prob)
    if not r.shape == p.shape == target.shape:
        raise ValueError(
            f"reward has shape {r.shape}, logged_prob {p.shape}, target_prob {target.shape}; the same is "
            "needed"
        )
    bad = np.flatnonzero(~((p > 0) & (p <= 1)))
    if bad.size:
        raise ValueError(
            f"logged_prob of row {bad[0]} is {p[bad[0]]}; it must be in (0, 1]: the row was logged, so its "
            "action had a chance"
        )
    w = target / p
    total = float(w.sum())
    if total == 0:
        raise ValueError("no row of the log has an action that the target policy takes; nothing can be said")
    if estimator == "ips":
        value = float((w * r).mean())
        se = float((w * r).std(ddof=1) / math.sqrt(len(r))) if len(r) > 1 else math.inf
    else:
        value = float(w @ r) / total
        se = math.sqrt(float((w * (r - value)) @ (w * (r - value)))) / total
    figures = ess(w), len(r), float(w.max()), float(w.mean())
    return PolicyValue(value, se, value - Z * se, value + Z * se, *figures, tuple(_warnings(w, r)))


def _warnings(w: Floats, r: Floats) -> Iterator[str]:
    """What speaks against an interval: few rows behind it, one row that decides, rows that the log lacks."""
    n, left, earned = len(w), ess(w), ess(w * r)
    if left < max(HALF * n, FEW):
        yield (
            f"The weights leave an effective {left:,.0f} of {n:,} rows: the log says as much about this "
            f"policy as {left:,.0f} rows of its own would."
        )
    if earned < EARNING:
        yield (
            f"The value rests on an effective {earned:,.0f} rows with a reward; a normal interval wants "
            f"{EARNING} or more."
        )
    if w.max() > ALONE * w.sum():
        yield f"One row carries {w.max() / w.sum():.0%} of all weight: the value is mostly that row's."
    spread = float(w.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    if abs(float(w.mean()) - 1) > OFF * spread:
        yield (
            f"The mean weight is {w.mean():.3f}, which should be 1: the policy does what the log lacks, or "
            "the logged probabilities are wrong."
        )
