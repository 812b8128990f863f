"""The relative error of the loss of fixed predictions, ratings seen by their level and flipped: exactly.

The four predictions of `benches/bench_bias.py` on a population of ten ratings of four levels, Brier loss, in
fractions: what is unbiased is zero, what is not is off by what it leaves out.
"""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[1] / "benches" / "bench_bias.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_bias", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expectations(bench):
    """Expected a and b of every estimator by rating, for both pairs of rates."""
    return [
        {name: bench.exact(way, *noise) for name, way in bench.ways(*noise).items()} for noise in bench.NOISE
    ]


RATING = np.repeat([1, 2, 3, 4], [4, 3, 2, 1])
PREDICTED = {
    "ROTATE": [4, 4, 4, 4, 1, 1, 1, 2, 2, 3],
    "SKEW": [1, 1, 3, 4, 1, 2, 4, 2, 4, 4],
    "ONE": [4, 1, 1, 1, 2, 2, 2, 3, 3, 4],
    "FOUR": [1, 1, 1, 1, 2, 2, 2, 4, 3, 4],
}
UNBIASED = {
    "IPS, true p, true rates",
    "SNIPS, true p, true rates",
    "DR, true p, q = 1/2",
    "DR, p = 1/5 for all, true q",
    "DR, true p, true q",
}


def brier(predicted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    s = (np.array([Fraction(r) for r in predicted]) - Fraction(1, 2)) / 4
    return (1 - s) ** 2, s**2


def errors(bench, expectation, prediction: str) -> dict[str, Fraction]:
    """Relative error of the expectation of every estimator."""
    one, zero = brier(PREDICTED[prediction])
    liked = bench.LIKED[RATING - 1]
    ideal = (one @ liked + zero @ (1 - liked)) / len(RATING)
    found = {}
    for name, way in bench.ways(*bench.NOISE[0]).items():
        a, b = (column[RATING - 1] for column in expectation[name])
        found[name] = bench.value(way, a, b, one, zero) / ideal - 1
    return found


def test_one_row_in_five_is_seen_and_shares_are_those_of_the_bench(bench):
    assert bench.SHARES.sum() == 1
    assert (bench.SHARES * bench.SEEN).sum() == Fraction(1, 5)
    assert np.array_equal(np.bincount(RATING)[1:], 10 * bench.SHARES)


@pytest.mark.parametrize("scenario", [0, 1])
@pytest.mark.parametrize("prediction", PREDICTED)
def test_right_nuisances_have_no_error_and_those_that_leave_one_out_have(
    bench, expectations, prediction, scenario
):
    found = errors(bench, expectations[scenario], prediction)
    assert {name for name, error in found.items() if error == 0} == UNBIASED
    naive, noise, selection, *_ = found.values()
    for error in (naive, noise, selection):
        assert abs(error) > Fraction(1, 100)


def test_errors_are_those_of_their_formulas(bench, expectations):
    """Corrected labels of the observed weigh p / mean p; flips that are left add E[label] - liked."""
    fnr, fpr = bench.NOISE[0]
    found = errors(bench, expectations[0], "ONE")
    one, zero = brier(PREDICTED["ONE"])
    liked, p = bench.LIKED[RATING - 1], bench.SEEN[RATING - 1]
    clean = one * liked + zero * (1 - liked)
    flipped = fpr + (1 - fnr - fpr) * liked
    assert found["noise only: corrected labels of the observed"] == (p @ clean / p.sum()) / clean.mean() - 1
    left = ((one - zero) * (flipped - liked)).mean()
    assert found["selection only: IPS, true p, recorded labels"] == left / clean.mean()
    both = ((one - zero) * (1 - 5 * p) * (Fraction(1, 2) - liked)).mean()
    assert found["DR, p = 1/5 for all, q = 1/2"] == both / clean.mean()


def test_simulated_logs_agree_with_the_expectation(bench, expectations):
    noise, rng = bench.NOISE[0], np.random.default_rng(0)
    rating = np.repeat(RATING, 200)
    made = bench.predictions(rating, rng)
    one, zero = (
        np.stack([bench.class_losses(p)["logistic"][side] for p in made.values()]) for side in (0, 1)
    )
    liked = bench.LIKED.astype(float)[rating - 1]
    drawn = {name: [] for name in bench.ways(*noise)}
    for _ in range(50):
        seen = rng.random(len(rating)) < bench.SEEN.astype(float)[rating - 1]
        flip = rng.random(len(rating)) < np.where(liked == 1, *map(float, noise))
        for name, way in bench.ways(*noise).items():
            found = bench.recorded(way, rating, noise, seen, np.where(flip, 1 - liked, liked))
            drawn[name].append(bench.value(way, found.a, found.b, one, zero))
    for name, way in bench.ways(*noise).items():
        a, b = (column[rating - 1].astype(float) for column in expectations[0][name])
        values = np.stack(drawn[name])
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        # a ratio is off by order 1 / N besides: under a tenth of a standard error here
        assert (np.abs(values.mean(0) - bench.value(way, a, b, one, zero)) < 4.5 * error).all(), name


def test_predictions_are_those_of_their_definitions(bench):
    rating = np.repeat(RATING, 1000)
    made = bench.predictions(rating, np.random.default_rng(0))
    assert np.array_equal(np.unique(made["ROTATE"][rating == 1]), [4])
    assert np.array_equal(made["ROTATE"][rating > 1], rating[rating > 1] - 1)
    for name, level in (("ONE", 1), ("FOUR", 3)):
        moved = made[name] != rating
        assert moved.sum() == (rating == 4).sum()
        assert (rating[moved] == level).all()
        assert (made[name][moved] == 4).all()
    assert made["SKEW"].min() == 1
    assert made["SKEW"].max() == 4
    middle = made["SKEW"][rating == 4]
    # the lower half of N(4, 1/2), the upper half at 4: mean 4 - .5 / sqrt(2 pi)
    assert abs(middle.mean() - (4 - 0.5 / np.sqrt(2 * np.pi))) < 4.5 * middle.std() / np.sqrt(len(middle))
