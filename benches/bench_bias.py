"""How wrong is the estimated loss of fixed predictions, when ratings are seen by their level and flipped?

    python benches/bench_bias.py [--logs 1000] [--rows 50000]

The test of the recommender literature on four levels, without training: true ratings r in {1, 2, 3, 4},
shares .4, .3, .2, .1, are liked when r >= 3; the chance that a rating is seen halves with every level down, p
= 8/13 at the top and one row in five over all; what is seen is flipped with fnr and fpr. Four predictions of
the rating, made from the truth and then fixed, become probabilities (prediction - 1/2) / 4:

    ROTATE   r - 1, and 4 where r = 1
    SKEW     normal about r with deviation (5 - r) / 2, cut to [1, 4]
    ONE      r, but as many rows of the lowest level as there are of the highest are predicted 4
    FOUR     r, but as many rows of the level below the highest are predicted 4

Every estimator of the mean loss of these predictions is given the nuisances that its name says, and compared
with the loss on all true labels: (estimate - truth) / truth, in per cent. `exact` is the relative error of
the expectation, summed over everything that can be recorded, in fractions (of ratios: of numerator over
denominator, the limit of a long log). `measured` is the mean over simulated logs with its 95 % interval, and
in brackets the mean absolute error of a single log. Numbers go to benches/RESULTS.md by hand.

Source: Schnabel et al., "Recommendations as Treatments" (2016), section 6.2; Wang et al., "Doubly Robust
Joint Learning for Recommendation on Data Missing Not at Random" (2019).
"""

import argparse
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew import estimators
from unskew.estimators import Columns
from unskew.rates import Z
from unskew.testing import Problem, expected

Array = NDArray[Any]
Noise = tuple[Fraction, Fraction]

LEVELS = np.array([1, 2, 3, 4])
SHARES = np.array([Fraction(n, 10) for n in (4, 3, 2, 1)])
SEEN = np.array([Fraction(n, 13) for n in (1, 2, 4, 8)])
"""P(observed | rating)."""

LIKED = np.array([Fraction(0), Fraction(0), Fraction(1), Fraction(1)])
NOISE = ((Fraction(1, 5), Fraction(1, 10)), (Fraction(1, 10), Fraction(1, 5)))
"""(fnr, fpr) of the published scenarios."""

LOSSES = ("logistic", "Brier")


# --- predictions -------------------------------------------------------------------------------------------


def predictions(rating: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Predicted ratings in [1, 4] of each matrix. Shape [N] each."""
    n = int((rating == 4).sum())

    def raised(level: int) -> Array:
        rows = np.flatnonzero(rating == level)
        out = rating.astype(np.float64)
        out[rng.permutation(rows)[:n]] = 4
        return out

    skewed = np.clip(rng.normal(rating, (5 - rating) / 2), 1, 4)
    return {
        "ROTATE": np.where(rating == 1, 4, rating - 1),
        "SKEW": skewed,
        "ONE": raised(1),
        "FOUR": raised(3),
    }


def class_losses(prediction: Array) -> dict[str, tuple[Array, Array]]:
    """Loss against label 1 and against label 0 of predicted ratings. Shape [N] each."""
    s = (np.asarray(prediction, np.float64) - 0.5) / 4
    return {"logistic": (-np.log(s), -np.log1p(-s)), "Brier": ((1 - s) ** 2, s**2)}


# --- estimators --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """An estimator and what it is told.

    Args:
        columns: label, observed and the nuisances it takes by name, to columns.
        told: nuisances by rating that replace the true ones. Shape [4] each.
        ratio: divide by the sum of weights; by the number of rows otherwise.
    """

    columns: Callable[..., Columns]
    told: Mapping[str, Array]
    ratio: bool = False


def by_class() -> dict[str, Array]:
    """P(observed | liked) and P(observed | not liked), averaged over the levels. Shape [4] each."""
    weight = {"p1": SHARES * LIKED, "p0": SHARES * (1 - LIKED)}
    return {name: np.array([(w * SEEN).sum() / w.sum()] * 4) for name, w in weight.items()}


def ways(fnr: Fraction, fpr: Fraction) -> dict[str, Way]:
    """Every estimator of the table."""
    level = {"propensity": np.array([Fraction(1, 5)] * 4)}
    half = {"imputation": np.array([Fraction(1, 2)] * 4)}
    noisy = {"imputation": fpr + (1 - fnr - fpr) * LIKED}
    exchanged = {"fnr": np.array([fpr] * 4), "fpr": np.array([fnr] * 4)}

    def unflipped(label: Array, observed: Array, propensity: Array) -> Columns:
        return estimators.ips(label, observed, propensity, floor=0)

    ips, dr = (partial(found, floor=0) for found in (estimators.ips, estimators.doubly_robust))
    return {
        "naive: recorded labels of the observed": Way(estimators.naive, {}, ratio=True),
        "noise only: corrected labels of the observed": Way(estimators.noise_corrected, {}, ratio=True),
        "selection only: IPS, true p, recorded labels": Way(unflipped, {}),
        "IPS, true p, true rates": Way(ips, {}),
        "SNIPS, true p, true rates": Way(ips, {}, ratio=True),
        "DR, true p, q = 1/2": Way(dr, half),
        "DR, p = 1/5 for all, true q": Way(dr, level),
        "DR, true p, true q": Way(dr, {}),
        "DR, p = 1/5 for all, q of recorded labels": Way(dr, level | noisy),
        "DR, p = 1/5 for all, q = 1/2": Way(dr, level | half),
        "IPS, p = 1/5 for all, true rates": Way(ips, level),
        "IPS, true p, fnr and fpr exchanged": Way(ips, exchanged),
        "class-wise IPS, true p1, p0 and rates": Way(estimators.classwise_ips, by_class()),
    }


def truth(fnr: Fraction, fpr: Fraction) -> dict[str, Array]:
    """True nuisances by rating. Shape [4] each."""
    flips = {"fnr": np.array([fnr] * 4), "fpr": np.array([fpr] * 4)}
    return {"propensity": SEEN, "imputation": LIKED, "p1": SEEN, "p0": SEEN, **flips}


def exact(way: Way, fnr: Fraction, fpr: Fraction) -> tuple[Array, Array]:
    """Expected a and b by rating, in fractions. Shape [4] each."""
    given = truth(fnr, fpr)
    problem = Problem(LIKED, SEEN, SEEN, given["fnr"], given["fpr"], {**given, **way.told}, 0 * SEEN)
    found = expected(way.columns, problem)
    return found.a, found.b


def value(way: Way, a: Array, b: Array, one: Array, zero: Array) -> Array:
    """The estimated loss from columns and losses. Shapes [N], [N], [..., N], [..., N] to [...]."""
    return (one @ b + zero @ (a - b)) / (a.sum() if way.ratio else len(a))


# --- the table ---------------------------------------------------------------------------------------------


def recorded(way: Way, rating: Array, noise: Noise, seen: Array, label: Array) -> Columns:
    """Columns of one log."""
    told = {**truth(*noise), **way.told}
    asked = {name: told[name].astype(float)[rating - 1] for name in _asked(way.columns) & set(told)}
    return way.columns(label=label, observed=seen, **asked)


def _asked(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def measure(rating: Array, logs: int, noise: Noise, rng: np.random.Generator) -> None:
    """Print the tables of one pair of rates."""
    fnr, fpr = noise
    found = ways(fnr, fpr)
    made = {name: class_losses(p) for name, p in predictions(rating, rng).items()}
    keys = [(loss, name) for loss in LOSSES for name in made]
    one, zero = (np.stack([made[name][loss][side] for loss, name in keys]) for side in (0, 1))
    level, liked = rating - 1, LIKED.astype(float)[rating - 1]
    ideal = (one @ liked + zero @ (1 - liked)) / len(rating)
    errors: dict[str, list[Array]] = {name: [] for name in found}
    for _ in range(logs):
        seen = rng.random(len(rating)) < SEEN.astype(float)[level]
        flip = rng.random(len(rating)) < np.where(liked == 1, float(fnr), float(fpr))
        label = np.where(flip, 1 - liked, liked)
        for name, way in found.items():
            columns = recorded(way, rating, noise, seen, label)
            errors[name].append(value(way, columns.a, columns.b, one, zero) / ideal - 1)
    for loss in LOSSES:
        print(f"\n| {loss} loss, fnr {float(fnr):g}, fpr {float(fpr):g}: relative error, % |", end="")
        print("".join(f" {name}: exact | measured |" for name in made))
        print("|---|" + "---|" * 2 * len(made))
        for name, way in found.items():
            a, b = (column[level].astype(float) for column in exact(way, fnr, fpr))
            limit = value(way, a, b, one, zero) / ideal - 1
            measured = np.stack(errors[name])
            half = Z * measured.std(0, ddof=1) / np.sqrt(logs)
            cells = [
                f"{100 * limit[k]:+.2f} | {100 * measured[:, k].mean():+.2f} ± {100 * half[k]:.2f} "
                f"({100 * np.abs(measured[:, k]).mean():.1f})"
                for k, key in enumerate(keys)
                if key[0] == loss
            ]
            print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=50_000)
    chosen = parser.parse_args()
    start = time.process_time()
    rating = np.repeat(LEVELS, [int(share * chosen.rows) for share in SHARES])
    for number, noise in enumerate(NOISE):
        measure(rating, chosen.logs, noise, np.random.default_rng(number))
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
