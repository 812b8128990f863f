"""Columns of labels as arrays, or an error that names the first bad entry."""

import numpy as np
from numpy.typing import ArrayLike

from unskew.rates import Floats


def binary(values: ArrayLike, name: str) -> Floats:
    """Labels as float64: 1, 0, or NaN where there is none.

    Raises:
        ValueError: an entry is something else.
    """
    column = np.asarray(values, np.float64)
    bad = np.argwhere(~((column == 0) | (column == 1) | np.isnan(column)))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        at = where[0] if len(where) == 1 else where
        raise ValueError(
            f"{name}[{at}] is {column[where]:g}; it must be 0, 1 or NaN, where there is no label"
        )
    return column


def matrix(labels: ArrayLike, least: int) -> Floats:
    """Labels of items (rows) by sources (columns). Shape [N, K].

    Raises:
        ValueError: not two axes, no items, fewer sources than `least`, or an entry that is no label.
    """
    table = binary(labels, "labels")
    if table.ndim != 2 or len(table) == 0 or table.shape[1] < least:
        raise ValueError(
            f"labels has shape {table.shape}; [N items, K sources] is needed, with at least {least} sources"
        )
    return table


def same_length(size: int, **columns: Floats) -> None:
    """Raises ValueError where a column has not one entry a row."""
    for name, values in columns.items():
        if values.shape != (size,):
            raise ValueError(f"{name} has shape {values.shape}; ({size},) is needed, one entry a row")
