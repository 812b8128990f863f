"""Rows sorted by prediction, and every metric as sums over them."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from unskew.rates import Floats, Ints

BINS = 10
"""Bins of a reliability curve, of equal weight."""

EDGE = 0.01
"""Predictions nearer than this to 0 or 1 are moved to it in the log loss, so that no row counts for more than
-log EDGE = 4.6."""


@dataclass(frozen=True)
class Rows:
    """Rows sorted by prediction once, so that every replication is a few cumulative sums."""

    order: Ints  # [N] rows by prediction
    s: Floats  # [N] prediction, sorted
    a: Floats  # [N] weight, sorted
    b: Floats  # [N] weighted truth, sorted
    last: Ints  # [N] index of the last row with the same prediction
    tie: Ints  # [N] number of the tie
    clusters: Ints  # [N] cluster of each row, unsorted
    best: "tuple[Ints, Ints] | None"  # sorted rows predicted best in their group, and how many tie there
    n: int

    @classmethod
    def of(
        cls,
        probability: ArrayLike,
        a: Floats,
        b: Floats,
        cluster: ArrayLike | None,
        group: ArrayLike | None,
        n: int,
    ) -> "Rows":
        s = unit("probability", probability)
        if n < 1:
            raise ValueError(f"n is {n}; best of n needs at least one draw")
        if s.ndim != 1 or not len(s) or a.shape != s.shape or b.shape != s.shape:
            raise ValueError(f"probability has shape {s.shape}, the truth {b.shape}; the same [N] is needed")
        for name, values in (("cluster", cluster), ("group", group)):
            if values is not None and np.shape(values) != s.shape:
                raise ValueError(
                    f"{name} has shape {np.shape(values)}, probability {s.shape}; the same is needed"
                )
        order = np.argsort(s, kind="stable")
        ranked = s[order]
        tie = np.cumsum(np.diff(ranked, prepend=ranked[0]) > 0).astype(np.int64)
        last = np.searchsorted(tie, tie, side="right") - 1
        keys = np.arange(len(s)) if cluster is None else np.asarray(cluster)
        codes = np.unique(keys, return_inverse=True)[1]
        best = None
        if group is not None:
            code = np.unique(np.asarray(group), return_inverse=True)[1][order]
            top = np.full(int(code.max()) + 1, -1, np.int64)
            np.maximum.at(top, code, tie)
            at = np.flatnonzero(tie == top[code])
            best = at, np.bincount(code[at], minlength=len(top))[code[at]]
        return cls(order, ranked, a[order], b[order], last, tie, codes, best, n)

    @cached_property
    def linear(self) -> dict[str, tuple[Floats, Floats]]:
        """h and k of every metric that is sum (h a + k b) / sum a. Each of shape [N], sorted."""
        return linear(self.s)

    def below(self, weight: Floats) -> Floats:
        """Weight ranked below each row, and half of what ties with it. Shape [N], sorted, as `weight` is."""
        up_to = np.concatenate([[0.0], np.cumsum(weight)])
        in_tie = np.bincount(self.tie, weight)[self.tie]
        return np.asarray(up_to[self.last + 1] - 0.5 * in_tie)

    def bins(self, weight: Floats) -> Ints:
        """Bin of each sorted row: equal parts of the sorted |weight|, ties together. Shape [N]."""
        mass = np.cumsum(np.abs(weight))
        bins = (mass[self.last] / mass[-1] * BINS - 1e-9).astype(np.int64)
        return np.asarray(np.minimum(bins, BINS - 1))

    def values(self, v: Floats) -> dict[str, float]:
        """Every metric with row i counted v_i times. v: shape [N], unsorted."""
        each = v[self.order]
        a, b = self.a * each, self.b * each
        total = float(a.sum())
        plain = {name: float(h @ a + k @ b) / total for name, (h, k) in self.linear.items()}
        mean = plain["mean_truth"]
        found = {
            "auc": self._auc(b, a - b),
            "accuracy": plain["accuracy"],
            "brier": plain["brier"],
            "log_loss": plain["log_loss"],
            "r2": 1 - plain["brier"] / (mean * (1 - mean)) if 0 < mean < 1 else math.nan,
            "mean_prediction": plain["mean_prediction"],
            "mean_truth": mean,
            "mean_error": plain["mean_error"],
            "ece": self._ece(a, b, total),
            "best_of_n": self._best_of_n(a, b, total),
        }
        if self.best is not None:
            at, ties = self.best
            picked = float((a[at] / ties).sum())
            found["best_of_group"] = float((b[at] / ties).sum()) / picked if picked else math.nan
        return found

    def _auc(self, liked: Floats, disliked: Floats) -> float:
        """sum over liked rows of (disliked below + half of the ties) / all pairs."""
        total = float(liked.sum()) * float(disliked.sum())
        if total == 0:
            return math.nan
        return float(liked @ self.below(disliked)) / total

    def _ece(self, a: Floats, b: Floats, total: float) -> float:
        """sum over bins of |sum a s - sum b| / sum a."""
        return float(np.abs(np.bincount(self.bins(a), a * self.s - b)).sum()) / total

    def _best_of_n(self, a: Floats, b: Floats, total: float) -> float:
        """sum over ties of mean truth * (F_up_to^n - F_below^n), F the weighted distribution of "
        "predictions."""
        weight, truth = np.bincount(self.tie, a), np.bincount(self.tie, b)
        above = np.cumsum(weight) / total
        chance = above**self.n - np.concatenate([[0.0], above[:-1]]) ** self.n
        # chance / weight is smooth in the weight, so that signed weights of `against_log` do no harm.
        density = np.divide(chance, weight, out=np.zeros_like(chance), where=weight != 0)
        return float(density @ truth)


def linear(s: Floats) -> dict[str, tuple[Floats, Floats]]:
    """h and k of every metric that is sum (h a + k b) / sum a, by name.

    Args:
        s: predictions. Shape [N], in [0, 1].
    """
    up, one, none = (s >= 0.5).astype(np.float64), np.ones(len(s)), np.zeros(len(s))
    inner = np.clip(s, EDGE, 1 - EDGE)
    liked, disliked = -np.log(inner), -np.log1p(-inner)
    return {
        "accuracy": (1 - up, 2 * up - 1),
        "brier": (s * s, 1 - 2 * s),
        "log_loss": (disliked, liked - disliked),
        "mean_prediction": (s, none),
        "mean_truth": (none, one),
        "mean_error": (s, -one),
    }


def unit(name: str, values: ArrayLike) -> Floats:
    """Values as float64, all in [0, 1]."""
    found = np.asarray(values, np.float64)
    bad = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if bad.size:
        raise ValueError(
            f"{name} of row {bad[0]} (and of {bad.size - 1} more) is {found.ravel()[bad[0]]}; it must be in "
            "[0, 1]"
        )
    return found
