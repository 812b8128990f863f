"""Kinds with error rates of their own on two surfaces: what one rate for all does, and own rates undo."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unskew import estimators

FILE = Path(__file__).resolve().parents[1] / "benches" / "bench_kinds.py"
RATES = ((Fraction(9, 20), Fraction(1, 20)), (Fraction(1, 20), Fraction(1, 4)))
POOLED = (Fraction(1, 4), Fraction(3, 20))  # the mean of both


@pytest.fixture(scope="module")
def bench():
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    spec = importlib.util.spec_from_file_location("bench_kinds", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(truth, flips, rates):
    """Mean corrected label of a response of this truth, flips as they are and as they are taken to be."""
    one = 1 - flips[0] if truth else flips[1]
    b = [estimators.noise_corrected(np.array([Fraction(y)]), np.array([1]), *rates).b[0] for y in (0, 1)]
    return (1 - one) * b[0] + one * b[1]


@pytest.mark.parametrize("truth", [0, 1])
def test_pooled_rate_shifts_surfaces_apart_and_own_rates_do_not(truth):
    for flips in RATES:
        assert expected(truth, flips, flips) == truth
    low, high = (expected(truth, flips, POOLED) for flips in RATES)
    assert low < truth < high
    assert high - low == (RATES[0][truth == 0] - RATES[1][truth == 0]) * (1 if truth else -1) / Fraction(3, 5)


@pytest.fixture(scope="module")
def votes(bench):
    """Votes on two numbers a response; the surface is a third feature, and says nothing of liking."""
    rng = np.random.default_rng(0)
    n = 12_000
    x, surface = rng.standard_normal((n, 2)), rng.integers(0, 2, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    own = np.array([bench.ELSEWHERE, bench.WORKSPACE])[surface]
    rates = np.stack([own, np.broadcast_to(bench.RATING, (n, 2))], axis=1)
    usable = np.stack([np.ones(n, bool), surface == 1], axis=1)
    observed = usable & (rng.random((n, 2)) < 0.4)
    flip = rng.random((n, 2)) < np.where(truth[:, None], rates[:, :, 0], rates[:, :, 1])
    positive = observed & (truth[:, None] ^ flip)
    gold = np.where(rng.permutation(n) < 1500, truth, np.nan)
    design = np.where(np.isnan(gold), 0, bench.RANDOM).astype(np.int8)
    prob = np.full(n, np.nan)
    v = bench.Votes(usable, observed, positive, surface, rates, gold, design, prob)
    return np.column_stack([x, 3 * surface]).astype(np.float32), truth, v


def test_rates_by_surface_close_the_gap_between_pooled_and_oracle(bench, votes):
    from sklearn.metrics import roc_auc_score

    X, truth, v = votes
    found = {}
    for arm in ("pooled", "by surface", "oracle"):
        columns = bench.corrected(v, bench.rates_of(v, arm))
        z = bench.fit_head(X, columns, groups=np.arange(len(X)), loss="brier").head(X)
        p = 1 / (1 + np.exp(-z))
        found[arm] = float(roc_auc_score(truth, p)), float(((p - truth) ** 2).mean())
    assert found["oracle"][0] - found["pooled"][0] > 0.02
    auc, brier = bench.closed(found, "by surface")
    assert auc >= 0.85
    assert brier >= 0.85


def test_surfaces_of_the_bench_differ_in_thumbs_alone(bench):
    log = bench.drawn(2000, 0)
    there, thumbs, rating = bench.in_workspace(log), 0, 1
    assert (log.label == bench.drawn(2000, 0).label).all()
    for surface, rates in ((0, bench.ELSEWHERE), (1, bench.WORKSPACE)):
        on = there == surface
        np.testing.assert_allclose(log.fnr[on, thumbs], rates[0])
        np.testing.assert_allclose(log.fpr[on, thumbs], rates[1])
    assert not log.offered[there == 0, rating].any()
    assert log.offered[:, thumbs].all()
    np.testing.assert_allclose(log.fnr[:, rating], bench.RATING[0])
