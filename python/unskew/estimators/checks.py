"""What every estimator asks of its arguments: one length, one arithmetic, values that can be."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

FLOOR = Fraction(1, 50)
"""Smallest propensity used as it is; smaller ones are raised to it and counted."""

MIN_D = Fraction(1, 5)
"""Rates with D = 1 - fnr - fpr at or below this are refused."""

CAP = 30.0
"""Largest |d| of the mixture: a gold label."""

_UNSAFE_D = Fraction(1, 10**6)  # where the public CausalRM code floors D


def aligned(label: ArrayLike, observed: ArrayLike, **nuisances: ArrayLike) -> list[Array]:
    """Label (0 where unobserved), observed and the nuisances, all float64 or all Fraction, of one length."""
    o = np.asarray(observed)
    columns = {"observed": o, "label": np.asarray(label)}
    columns |= {name: np.asarray(value) for name, value in nuisances.items()}
    _shaped(columns)
    require((o == 0) | (o == 1), "observed", o, "0 or 1", "1 where feedback was given")
    columns["label"] = np.where(o == 1, columns["label"], 0)
    exact = any(values.dtype == object for name, values in columns.items() if name != "observed")
    o, y, *rest = _alike(columns, exact)
    require((y >= 0) & (y <= 1), "label", y, "in [0, 1] where observed", "1 is liked, or A won; 0 is not")
    return [y, o, *rest]


def probabilities(**columns: ArrayLike) -> list[Array]:
    """Columns in [0, 1], all float64 or all Fraction, of the length of the first."""
    given = {name: np.asarray(value) for name, value in columns.items()}
    _shaped(given)
    found = _alike(given, any(values.dtype == object for values in given.values()))
    for name, values in zip(columns, found, strict=True):
        require((values >= 0) & (values <= 1), name, values, "in [0, 1]", "it is a probability, not a logit")
    return found


def _shaped(columns: dict[str, Array]) -> None:
    """Raise unless the first column has one dimension and the others its shape, or none."""
    (first, rows), *others = columns.items()
    if rows.ndim != 1:
        raise ValueError(f"{first} has shape {rows.shape}; one dimension is needed, a number for each row")
    for name, values in others:
        if values.ndim and values.shape != rows.shape:
            raise ValueError(f"{name} has shape {values.shape}, {first} {rows.shape}; the same is needed")


def _alike(columns: dict[str, Array], exact: bool) -> list[Array]:
    """All as Fractions or all as float64, of the length of the first; one number is repeated."""
    shape = next(iter(columns.values())).shape
    return [np.broadcast_to(_numbers(values, exact), shape) for values in columns.values()]


def _numbers(values: Array, exact: bool) -> Array:
    """The values as Fractions or as float64."""
    return np.asarray(_fraction(values), object) if exact else values.astype(np.float64)


_fraction = np.frompyfunc(Fraction, 1, 1)


def floored(name: str, p: Array, floor: float | Fraction) -> tuple[Array, Array]:
    """Propensities at or above the floor, and where they were below it."""
    remedy = "drop the row: nothing stands for it when it can never be observed"
    require((p > 0) & (p <= 1), name, p, "in (0, 1]", remedy)
    least = p.dtype.type(floor)
    low = p < least
    return np.where(low, least, p), low


def corrected(y: Array, fnr: Array, fpr: Array, unsafe: bool) -> tuple[Array, int]:
    """t = (label - fpr) / D, and how many D were raised."""
    for name, rate in (("fnr", fnr), ("fpr", fpr)):
        require((rate >= 0) & (rate <= 1), name, rate, "in [0, 1]", "it is a probability")
    D = 1 - fnr - fpr
    if not unsafe:
        remedy = "labels this noisy carry next to nothing: leave the kind out, or use `mixture`"
        require(D.dtype.type(MIN_D) < D, "1 - fnr - fpr", D, f"above {float(MIN_D):g}", remedy)
    least = D.dtype.type(_UNSAFE_D)
    low = least > D
    return (y - fpr) / np.where(low, least, D), count(low)


def count(where: Array) -> int:
    """How many are true."""
    return int(np.count_nonzero(where))


def require(fine: Array, name: str, values: Array, expected: str, remedy: str, unit: str = "row") -> None:
    """Raise for the first value that is not fine, with how many there are."""
    bad = np.flatnonzero(~fine)
    if bad.size:
        more = f" (and of {bad.size - 1} more)" if bad.size > 1 else ""
        raise ValueError(
            f"{name} of {unit} {bad[0]}{more} is {values[bad[0]]}; it must be {expected}. {remedy}"
        )
