"""Centre, size and principal axes of features: the coordinates in which a linear head is easy to fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.features.base import CHUNK, Array

LIMIT = 2048
"""Columns up to which the axes are computed (D^2 N operations, once); beyond it, each column is an axis."""


@dataclass(frozen=True)
class Axes:
    """x = centre + scale * (basis @ t), with t uncorrelated and of total variance one.

    Args:
        centre: mean row. Shape [D].
        scale: root mean square distance of the rows from it, > 0.
        basis: orthonormal columns, or None for the columns of the features themselves. Shape [D, D].
        variance: variance of each coordinate of t; sums to one. Shape [D].
    """

    centre: Array
    scale: float
    basis: Array | None
    variance: NDArray[np.float64]

    def stretch(self, decay: float) -> Array:
        """1 / sqrt(variance / 4 + decay): so stretched, a penalised logistic loss curves alike everywhere."""
        return (1 / np.sqrt(self.variance / 4 + decay)).astype(np.float32)


def axes(X: NDArray[Any], weight: NDArray[Any] | None = None) -> Axes:
    """The axes of feature rows.

    Args:
        X: finite features, at least one row. Shape [N, D].
        weight: weight >= 0 of each row, such as how often it is repeated; all alike when absent. Shape [N].
    """
    rows, columns = X.shape
    centre = np.zeros(columns)
    share = None if weight is None else np.asarray(weight, np.float64) / np.sum(weight)
    for start in range(0, rows, CHUNK):
        if share is None:
            centre += np.asarray(X[start : start + CHUNK]).sum(0, dtype=np.float64) / rows
        else:
            centre += share[start : start + CHUNK] @ np.asarray(X[start : start + CHUNK], np.float64)
    mean = centre.astype(np.float32)
    whole = columns <= LIMIT
    second = np.zeros((columns, columns) if whole else columns)
    for start in range(0, rows, CHUNK):
        part = np.asarray(X[start : start + CHUNK], np.float32) - mean
        if share is not None:
            part *= np.sqrt(rows * share[start : start + CHUNK, None]).astype(np.float32)
        second += (part.T @ part if whole else np.square(part, dtype=np.float64).sum(0)) / rows
    variance, basis = np.linalg.eigh(second) if whole else (second, None)
    variance = np.maximum(variance, 0)
    total = float(variance.sum()) or 1.0
    return Axes(mean, total**0.5, None if basis is None else basis.astype(np.float32), variance / total)
