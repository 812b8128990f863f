"""Exact sums about weights, calibration and balance: parts of a log add up to the bits of the whole.

Every sum is a whole number of 2^-40: values are rounded to it once, row by row, and added without error. So
`weights(log)` is the same for every order of the rows and every split into shards, `a + b` merges, and `a -
b` takes rows back out. Figures are read off at the end:

    sums = weights(w, r) + weights(more_w, more_r)
    weight_figures(sums)["ess"]
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unskew.rates import Floats

BITS = 40
"""A sum counts units of 2^-40."""

LIMB = 2.0**31
"""Sums of this many units fit int64 for 2^32 rows."""

CLIPS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Weights at which clipping is tried."""

BINS = 50
"""Equally wide bins of a calibration."""


@dataclass(frozen=True)
class Sums:
    """Sums by name, in units of 2^-40; a name that is absent is 0."""

    total: Mapping[str, int]

    def __add__(self, other: "Sums") -> "Sums":
        return self._with(other, 1)

    def __sub__(self, other: "Sums") -> "Sums":
        return self._with(other, -1)

    def __getitem__(self, name: str) -> Fraction:
        return Fraction(self.total.get(name, 0), 1 << BITS)

    def _with(self, other: "Sums", sign: int) -> "Sums":
        names = sorted({*self.total, *other.total})
        found = {name: self.total.get(name, 0) + sign * other.total.get(name, 0) for name in names}
        return Sums({name: value for name, value in found.items() if value})

    @classmethod
    def of(cls, columns: Mapping[str, Floats]) -> "Sums":
        """Sum each column."""
        found = {name: exact_sum(column) for name, column in sorted(columns.items())}
        return cls({name: value for name, value in found.items() if value})


def exact_sum(values: Floats) -> int:
    """Sum in units of 2^-40, each value rounded to them, without error and whatever the order.

    Args:
        values: finite. Shape [N].

    Raises:
        ValueError: a value is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(f"value of row {bad[0]} is {values[bad[0]]}; sums need finite numbers")
    rest = np.rint(np.ldexp(values, BITS))
    total, place = 0, 0
    while rest.any():  # 31 bits at a time; signs are kept
        total += int(np.fmod(rest, LIMB).astype(np.int64).sum()) << place
        rest, place = np.trunc(rest / LIMB), place + 31
    return total


def weights(weight: ArrayLike, value: ArrayLike) -> Sums:
    """Sums of weighted values, as they are and with weights clipped.

    Args:
        weight: o / p of each row. Shape [N], >= 0.
        value: label or corrected target. Shape [N].
    """
    w, r = _same(weight=weight, value=value)
    columns = {"n": np.ones(len(w)), "w": w, "ww": w * w, "wr": w * r, "wwr": w * w * r, "wwrr": (w * r) ** 2}
    for clip in CLIPS:
        cut = np.minimum(w, clip)
        columns |= {f"w<{clip}": cut, f"wr<{clip}": cut * r, f"wwrr<{clip}": (cut * r) ** 2}
    size = np.frexp(w)[1]
    for number in np.unique(size[w > 0]):
        columns[f"2^{number}"] = ((size == number) & (w > 0)).astype(np.float64)
    return Sums.of(columns)


def weight_figures(sums: Sums) -> dict[str, Any]:
    """What `weights` say.

    Returns:
        `n`; `ips` and `snips`, means of the value, with standard errors `ips_error` and `snips_error`; `ess`
        (sum w)^2 / sum w^2; `largest`, a power of two that no weight reaches, and `largest_share`, the most
        that one row can hold of the weight; and `clips`, for each of `CLIPS`: `clip`, `mass` (share of the
        weight above it, which clipping takes away), `ips` so clipped, `bias` (what that moves) and `error`.
        NaN where nothing has weight.
    """
    n, w, ww = sums["n"], sums["w"], sums["ww"]
    if not w or not n:
        names = ("ips", "ips_error", "snips", "snips_error", "largest", "largest_share")
        return {"n": int(n), "ess": 0.0, "clips": [], **dict.fromkeys(names, math.nan)}
    ips, snips = sums["wr"] / n, sums["wr"] / w
    spread = sums["wwrr"] - 2 * snips * sums["wwr"] + snips**2 * ww
    largest = 2.0 ** max(int(name[2:]) for name in sums.total if name.startswith("2^"))
    clips = []
    for clip in CLIPS:
        cut = sums[f"wr<{clip}"] / n
        mass, error = float(1 - sums[f"w<{clip}"] / w), _error(sums[f"wwrr<{clip}"], cut, n)
        clips.append(
            {"clip": clip, "mass": mass, "ips": float(cut), "bias": float(cut - ips), "error": error}
        )
    return {
        "n": int(n),
        "ips": float(ips),
        "ips_error": _error(sums["wwrr"], ips, n),
        "snips": float(snips),
        "snips_error": math.sqrt(max(spread, Fraction(0))) / float(w),
        "ess": float(w**2 / ww),
        "largest": largest,
        "largest_share": min(1.0, largest / float(w)),
        "clips": clips,
    }


def calibration(p: ArrayLike, observed: ArrayLike) -> Sums:
    """Sums of propensity and feedback in 50 equally wide bins of the propensity.

    Args:
        p: propensity. Shape [N], in [0, 1].
        observed: was feedback given. Shape [N].
    """
    e, o = _same(p=p, observed=observed)
    at = np.minimum((e * BINS).astype(np.int64), BINS - 1)
    columns: dict[str, Floats] = {}
    for number in np.unique(at):
        here = at == number
        columns |= {
            f"n {number}": np.ones(int(here.sum())),
            f"p {number}": e[here],
            f"o {number}": o[here],
        }
    return Sums.of(columns)


def calibration_figures(sums: Sums) -> dict[str, Any]:
    """What `calibration` says.

    Returns:
        `n`, `ece` (sum over bins of |sum o - sum p| / n), and `bins` that hold rows, lowest first: `n`,
        `predicted`, `observed`.
    """
    bins, away, n = [], Fraction(0), Fraction(0)
    for number in range(BINS):
        rows, p, o = (sums[f"{name} {number}"] for name in "npo")
        if rows:
            away, n = away + abs(o - p), n + rows
            bins.append({"n": int(rows), "predicted": float(p / rows), "observed": float(o / rows)})
    return {"n": int(n), "ece": float(away / n) if n else math.nan, "bins": bins}


def balance(observed: ArrayLike, p: ArrayLike, covariates: Mapping[str, ArrayLike]) -> Sums:
    """Sums of covariates over all rows, over answered ones, and over these weighted by 1 / p.

    Args:
        observed: was feedback given. Shape [N].
        p: propensity. Shape [N], in (0, 1].
        covariates: by name. Shape [N] each.
    """
    o, e = _same(observed=observed, p=p)
    w = o / e
    columns = {"n": np.ones(len(o)), "o": o, "w": w}
    for name, values in covariates.items():
        x = _same(observed=o, **{f"covariate {name}": values})[1]
        columns |= {f"x {name}": x, f"xx {name}": x * x, f"ox {name}": o * x, f"wx {name}": w * x}
    return Sums.of(columns)


def balance_figures(sums: Sums, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Standardised mean difference of answered and all rows, (before, after) weighting, by covariate.

    Covariates that do not vary are left out, as in `audit`.
    """
    n, found = sums["n"], {}
    for name in names:
        mean = sums[f"x {name}"] / n if n else Fraction(0)
        variance = sums[f"xx {name}"] / n - mean**2 if n else Fraction(0)
        if variance > 0 and sums["o"]:
            deviation = math.sqrt(variance)
            before, after = (sums[f"{k}x {name}"] / sums[k] - mean for k in "ow")
            found[name] = (float(before) / deviation, float(after) / deviation)
    return found


def _error(squares: Fraction, mean: Fraction, n: Fraction) -> float:
    return math.sqrt(max((squares / n - mean**2) / n, Fraction(0)))


def _same(**columns: ArrayLike) -> list[Floats]:
    found = [np.asarray(column, np.float64) for column in columns.values()]
    for name, column in zip(columns, found, strict=True):
        if column.shape != found[0].shape:
            raise ValueError(
                f"{name} has shape {column.shape}, {next(iter(columns))} {found[0].shape}; the same is needed"
            )
    return found
