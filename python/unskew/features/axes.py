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


def axes(X: NDArray[Any]) -> Axes:
    """The axes of feature rows.

    Args:
        X: finite features, at least one row. Shape [N, D].
    """
    rows, columns = X.shape
    centre = np.zeros(columns)
    for start in range(0, rows, CHUNK):
        centre += np.asarray(X[start : start + CHUNK]).sum(0, dtype=np.float64) / rows
    mean = centre.astype(np.float32)
    whole = columns <= LIMIT
    second = np.zeros((columns, columns) if whole else columns)
    for start in range(0, rows, CHUNK):
        part = np.asarray(X[start : start + CHUNK], np.float32) - mean
        second += (part.T @ part if whole else np.square(part, dtype=np.float64).sum(0)) / rows
    variance, basis = np.linalg.eigh(second) if whole else (second, None)
    variance = np.maximum(variance, 0)
    total = float(variance.sum()) or 1.0
    return Axes(mean, total**0.5, None if basis is None else basis.astype(np.float32), variance / total)
