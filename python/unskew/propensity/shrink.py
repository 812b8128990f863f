"""Rates of cells that lean on coarser cells: each as far as its own counts leave it unknown.

    mean = (k + s parent) / (n + s)
    variance = mean (1 - mean) / (n + s + 1) + (s / (n + s))^2 variance of the parent

k of n trials succeeded in a cell. The strength s of a level is the one under which its counts are most likely
(beta-binomial): cells that truly differ keep their own rate, noisy ones take their parent's. The variance is
that of a beta distribution with its parent's mean, and of that mean; what is not known of s is left out.

Assumption: within a level, rates scatter about those of their parents as a beta distribution does.
Source: Kleinman, "Proportions with Extraneous Variance" (1973).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.rates import Floats, Ints, beta_strength


@dataclass(frozen=True)
class Shrunk:
    """Shrunk rate of the finest cell of each row.

    Args:
        mean: shape [R], in (0, 1).
        variance: shape [R].
        strength: of each level, the coarsest first.
    """

    mean: Floats = field(repr=False)
    variance: Floats = field(repr=False)
    strength: tuple[float, ...]


def shrunk(levels: Sequence[NDArray[np.int64]], successes: ArrayLike, trials: ArrayLike) -> Shrunk:
    """Rates down a hierarchy of cells: everything, then each of `levels`.

    Rows may be responses (0 or 1 success of 1 trial, or of F(age) trials, see `delay`) or cells already
    counted.

    Args:
        levels: cell of each row, from coarse to fine, each nested in the one before (`nested`). Shape [R]
            each.
        successes: of each row. Shape [R], >= 0.
        trials: of each row. Shape [R], >= 0. A cell with more successes than trials (answers to responses
            too young for one whole trial) counts as many trials as successes.

    Raises:
        ValueError: a shape differs.
    """
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    for name, column in (("trials", n), *(("cell", level) for level in levels)):
        if column.shape != k.shape:
            raise ValueError(f"{name} has shape {column.shape}, successes {k.shape}; the same is needed")
    # One pseudo-row of each outcome keeps the overall rate inside (0, 1).
    rate = (k.sum() + 0.5) / (n.sum() + 1)
    mean = np.full(len(k), rate)
    variance, strengths = np.full(len(k), rate * (1 - rate) / (n.sum() + 2)), []
    for level in levels:
        size = int(level.max(initial=-1)) + 1
        of = np.bincount(level, k, size).astype(np.float64)
        out_of = np.maximum(np.bincount(level, n, size), of)
        parent, spread = np.zeros(size), np.zeros(size)
        parent[level], spread[level] = mean, variance
        filled = out_of > 0
        s = beta_strength(of[filled], out_of[filled], parent[filled])
        found = (of + s * parent) / (out_of + s)
        lean = s / (out_of + s)
        spread = found * (1 - found) / (out_of + s + 1) + lean**2 * spread
        mean, variance = found[level], spread[level]
        strengths.append(s)
    return Shrunk(mean, variance, tuple(strengths))


def nested(columns: Sequence[ArrayLike]) -> list[Ints]:
    """Cells of a hierarchy: everything that the columns up to the first, the second, ... tell apart.

    Args:
        columns: what to split by, coarse first: surface, slot, model, length. Shape [R] each.

    Example:
        >>> [level.tolist() for level in nested([["chat", "chat", "mail"], [0, 1, 1]])]
        [[0, 0, 1], [0, 1, 2]]
    """
    levels: list[Ints] = []
    for column in columns:
        code = np.unique(np.asarray(column), return_inverse=True)[1].astype(np.int64)
        if levels:
            code = np.unique(levels[-1] * (int(code.max(initial=0)) + 1) + code, return_inverse=True)[1]
        levels.append(code.astype(np.int64))
    return levels
